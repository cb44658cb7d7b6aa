"""HTTP client for the providers of SMS, calls and fax, with a common deadline and classification of failures.

All HTTP gateways use the client, so that all distinguish two failures alike: a request that was not sent is retried
(`ErrorClass.TRANSIENT`); a request that may have been processed is not resent before the provider was queried about it
(`UNKNOWN`).
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json as codec
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from alerts.model.gateway import CallbackHandler, DeliveryError, ErrorClass, InboundSms, SmsContent

#: Deadline for connecting. It is short, so that without Internet a local gateway (a modem, a tray) is tried soon.
CONNECT_DEADLINE = timedelta(seconds=5)

#: Seconds for the whole exchange, from connecting to the end of the response; configurable for slow lines.
Deadline = Annotated[float, Field(gt=0, le=60)]
#: Default of `Deadline`.
DEADLINE_SECONDS = 10.0

#: Telephone number in the format of ITU-T E.164: "+60123456789".
E164 = Annotated[str, StringConstraints(pattern=r"^\+[1-9]\d{6,14}$")]


def _check_url(url: str) -> str:
    """Return *url* if it is safe for credentials. Raise `ValueError` otherwise."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not host or (parts.scheme != "https" and not (parts.scheme == "http" and loopback)):
        # Plain HTTP would disclose the credentials, which each request contains in a header.
        raise ValueError("must be https (plain http only to this machine); write instead: https://...")
    if parts.username is not None:
        raise ValueError("holds a login; write instead: the address without it, and the login under the keys for it")
    return url


#: Maximum length of a response. The longest lists contain a thousand messages.
_MAX_RESPONSE_OCTETS = 8 * 1024 * 1024
#: Maximum digits of Retry-After in seconds: eleven days. Python refuses to parse numbers of thousands of digits.
_MAX_WAIT_DIGITS = 6
#: Characters that JSON allows and databases refuse: NUL and unpaired surrogates.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
#: Length of the database column for a provider's id.
_MAX_ID_LENGTH = 100

#: URL of a request, checked.
SafeUrl = Annotated[str, AfterValidator(_check_url)]
#: A provider's base URL, without the trailing slash.
ProviderUrl = Annotated[SafeUrl, AfterValidator(lambda url: url.rstrip("/"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMeaning:
    """Meaning of a provider's error."""

    error: ErrorClass
    #: The provider's own code.
    code: str
    #: Pantau's text. The provider's text is not used, because it may contain telephone numbers and messages.
    detail: str


_HEADERS = {
    "User-Agent": "pantau",
    # No compression: a small compressed body may expand beyond memory.
    "Accept-Encoding": "identity",
}

#: Errors that occur before any byte of the request is sent.
_NOTHING_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)

#: HTTP status: error class and text of Pantau. CONFIGURATION: the gateway works for no address, and another is used.
_STATUS_MEANINGS = {
    401: (ErrorClass.CONFIGURATION, "credentials refused"),
    402: (ErrorClass.CONFIGURATION, "no funds"),
    403: (ErrorClass.CONFIGURATION, "not allowed"),
    404: (ErrorClass.CONFIGURATION, "no such account or resource"),
    407: (ErrorClass.CONFIGURATION, "proxy refuses"),
    408: (ErrorClass.TRANSIENT, "request not received in time"),
    # "Is never processed and is always safe to retry" (twilio.com/docs/errors/20429).
    429: (ErrorClass.TRANSIENT, "too many requests"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderResponse:
    """A complete HTTP response."""

    status: int
    headers: Mapping[str, str]
    #: Empty if it was compressed or too long.
    body: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


@cache
def _ssl_context() -> ssl.SSLContext:
    """Return a context with the trusted authorities, loaded once: it takes milliseconds and half a megabyte."""
    return httpx.create_ssl_context(trust_env=False)


class HttpClient:
    """HTTP client of one provider."""

    def __init__(self, *, proxy: SecretStr | None, deadline: Deadline) -> None:
        self._deadline = deadline
        connect = min(CONNECT_DEADLINE.total_seconds(), deadline)
        self._timeouts = {"timeout": httpx.Timeout(deadline, connect=connect).as_dict()}
        # Use httpx's transport without its client, because the client logs every URL, with telephone numbers, at INFO.
        # Do not keep connections alive: if the provider closes one, it is unknown whether the next request on it was
        # processed. Ignore the environment, so that only a configured proxy is used.
        self._transport = httpx.AsyncHTTPTransport(
            verify=_ssl_context(),
            trust_env=False,
            proxy=None if proxy is None else httpx.Proxy(proxy.get_secret_value()),
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        ambiguous: ErrorClass,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str | Sequence[str]] | None = None,
        json: Any = None,
    ) -> ProviderResponse:
        """Send one request and return the response, whatever its status.

        Raise `DeliveryError` without a complete response: with the class *ambiguous* if the request may have been
        processed, and with `TRANSIENT` if it was not sent.
        """
        if params:
            url = str(httpx.URL(url).copy_merge_params(params))  # Keep the URL's own query.
        request = httpx.Request(
            method, url, data=form, json=json, headers={**_HEADERS, **headers}, extensions=self._timeouts
        )
        try:
            async with asyncio.timeout(self._deadline):
                response = await self._transport.handle_async_request(request)
                try:
                    body = await _body(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            failure = DeliveryError(ambiguous, "no answer in time")
        except _NOTHING_SENT as error:
            failure = DeliveryError(ErrorClass.TRANSIENT, f"not reached ({type(error).__name__})")
        except httpx.RequestError as error:
            failure = DeliveryError(ambiguous, f"no whole answer ({type(error).__name__})")
        else:
            return ProviderResponse(status=response.status_code, headers=response.headers, body=body)
        # Raise outside of the `except` block: otherwise `__context__` would be httpx's error, with credentials and the
        # message.
        raise failure

    async def close(self) -> None:
        await self._transport.aclose()


class JsonApi:
    """JSON API with basic authentication, for one gateway."""

    def __init__(
        self,
        *,
        user: str,
        password: SecretStr,
        proxy: SecretStr | None,
        deadline: Deadline,
        read_error: Callable[[Mapping[str, Any]], ErrorMeaning | None],
    ) -> None:
        """*read_error* returns the meaning of an error response's JSON, or `None` if the HTTP status decides."""
        credentials = base64.b64encode(f"{user}:{password.get_secret_value()}".encode()).decode()
        self._headers = {"Authorization": f"Basic {credentials}", "Accept": "application/json"}
        self._read_error = read_error
        self._client = HttpClient(proxy=proxy, deadline=deadline)
        #: The provider's time: `Date` header of the latest response; `None` without one.
        self.date: datetime | None = None

    async def submit(
        self,
        url: str,
        *,
        form: Mapping[str, str | Sequence[str]] | None = None,
        json: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """POST and return the response's JSON object.

        Raise `DeliveryError`, with the class `UNKNOWN` if the request may have been processed.
        """
        ambiguous = ErrorClass.UNKNOWN
        response = await self._client.exchange(
            "POST", url, ambiguous=ambiguous, headers=self._headers, form=form, json=json
        )
        return self._read(response, ambiguous=ambiguous)

    async def query(self, url: str, *, params: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """GET and return the response's JSON object.

        Raise `DeliveryError`. A query changes nothing, so that a missing response is `TRANSIENT`.
        """
        ambiguous = ErrorClass.TRANSIENT
        response = await self._client.exchange("GET", url, ambiguous=ambiguous, headers=self._headers, params=params)
        return self._read(response, ambiguous=ambiguous)

    async def close(self) -> None:
        await self._client.close()

    def _read(self, response: ProviderResponse, *, ambiguous: ErrorClass) -> Mapping[str, Any]:
        self.date = _response_date(response)
        try:
            body = read_json(response.body)
        except ValueError:
            body = None
        if response.is_success and isinstance(body, dict):
            return body
        raise rejection_error(response, self._read_error(body) if isinstance(body, dict) else None, ambiguous)


class InboxPoll:
    """Filter for a provider's inbox that is polled repeatedly: it passes each SMS on once."""

    def __init__(self) -> None:
        #: Ids of SMS in the inbox that were passed on before. Remembering them saves a database query at each poll.
        self._passed_on: set[str] = set()

    async def pass_on(
        self, messages: Sequence[InboundSms], handler: CallbackHandler
    ) -> Sequence[tuple[str, SmsContent]]:
        """Pass the new SMS among *messages* to *handler*. Return telephone numbers with the reply to send to each.

        The caller sends the replies after all SMS are stored, because sending a reply may take as long as the deadline.
        """
        self._passed_on &= {sms.event_id for sms in messages}
        replies: list[tuple[str, SmsContent]] = []
        for sms in messages:
            if sms.event_id not in self._passed_on:
                reply = await handler.receive(sms)
                self._passed_on.add(sms.event_id)
                replies += [] if reply is None else [(sms.sender, reply)]
        return replies


def _response_date(response: ProviderResponse) -> datetime | None:
    try:
        at = parsedate_to_datetime(response.headers.get("Date", ""))
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


async def _body(response: httpx.Response) -> bytes:
    """Return the body; empty if it is compressed or too long."""
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        return b""
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > _MAX_RESPONSE_OCTETS:
            return b""
    return bytes(body)


def read_json(text_octets: bytes) -> Any:
    """Parse JSON, and replace the characters that databases refuse. Raise `ValueError` for invalid JSON."""
    try:
        return _storable(codec.loads(text_octets))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _storable(value: Any) -> Any:
    # Replace the characters instead of rejecting the response, because the other items of a list are usable.
    match value:
        case str():
            return _UNSTORABLE.sub("\ufffd", value)
        case list():
            return [_storable(item) for item in value]
        case dict():
            return {_storable(key): _storable(item) for key, item in value.items()}
        case _:
            return value


def is_id(value: object) -> bool:
    """Whether *value* is valid as a provider's id, in the store and in URLs."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_ID_LENGTH and value.isascii() and value.isprintable()


def rejection_error(response: ProviderResponse, meaning: ErrorMeaning | None, ambiguous: ErrorClass) -> DeliveryError:
    """Return the error for a response that is no success.

    *meaning*: what the response states; `None`: its HTTP status decides. *ambiguous*: class of an error after which the
    request may have been processed.
    """
    status = response.status
    retry_after_header = response.headers.get("Retry-After", "")
    is_seconds = (
        retry_after_header.isascii() and retry_after_header.isdigit() and len(retry_after_header) <= _MAX_WAIT_DIGITS
    )
    retry_after = timedelta(seconds=int(retry_after_header)) if is_seconds else None
    if meaning is not None:
        return DeliveryError(meaning.error, meaning.detail, code=meaning.code, retry_after=retry_after)
    if response.is_success:
        # For example the page of a captive portal or proxy.
        return DeliveryError(ambiguous, "the answer is not the provider's", code=str(status))
    if status >= 500:
        return DeliveryError(ambiguous, "the provider failed", code=str(status), retry_after=retry_after)
    if status < 400:
        # A redirect is not followed, because the target would get the credentials.
        return DeliveryError(ErrorClass.CONFIGURATION, "something else answers here", code=str(status))
    # PERMANENT: this address does not work.
    error, detail = _STATUS_MEANINGS.get(status, (ErrorClass.PERMANENT, "refused"))
    return DeliveryError(error, detail, code=str(status), retry_after=retry_after)
