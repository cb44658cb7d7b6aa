"""HTTP client for providers: one deadline, and one classification of failures.

All HTTP gateways use it, because the difference between *nothing was sent* (retry) and *perhaps processed* (query
first) must be the same everywhere.
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

#: When the Internet is down, the local gateway must be tried within seconds.
CONNECT_DEADLINE = timedelta(seconds=5)

#: Seconds for the whole exchange; configurable for slow lines.
Deadline = Annotated[float, Field(gt=0, le=60)]
DEADLINE_SECONDS = 10.0

E164 = Annotated[str, StringConstraints(pattern=r"^\+[1-9]\d{6,14}$")]


def _safe(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not host or (parts.scheme != "https" and not (parts.scheme == "http" and loopback)):
        # Every request's header contains the credentials.
        raise ValueError("must be https (plain http only to this machine); write instead: https://...")
    if parts.username is not None:
        raise ValueError("holds a login; write instead: the address without it, and the login under the keys for it")
    return url


#: The longest lists hold a thousand messages.
_ANSWER_AT_MOST = 8 * 1024 * 1024
#: Eleven days; larger values are not meant as seconds. Python refuses to parse numbers of thousands of digits.
_WAIT_DIGITS_AT_MOST = 6
#: Half surrogate pairs and NUL are valid JSON.
_NOT_STORED = re.compile("[\0\ud800-\udfff]")
#: The length of a provider's id in the store.
_ID_AT_MOST = 100

#: URL of a request, checked.
SafeUrl = Annotated[str, AfterValidator(_safe)]
#: A provider's base URL, without the trailing slash.
ProviderUrl = Annotated[SafeUrl, AfterValidator(lambda url: url.rstrip("/"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMeaning:
    """Meaning of a provider's error, in our words: theirs quote numbers and texts."""

    error: ErrorClass
    code: str
    detail: str


_HEADERS = {
    "User-Agent": "pantau",
    # A small compressed body may expand beyond memory.
    "Accept-Encoding": "identity",
}

#: Errors before any byte of the request was sent.
_NOTHING_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)

_BY_STATUS = {
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
def _trust() -> ssl.SSLContext:
    """Load the trusted authorities once for all gateways: it takes milliseconds and half a megabyte."""
    return httpx.create_ssl_context(trust_env=False)


class HttpClient:
    """Sends one request at a time to a provider. Returns the response or the reason for its absence."""

    def __init__(self, *, proxy: SecretStr | None, deadline: Deadline) -> None:
        self._deadline = deadline
        connect = min(CONNECT_DEADLINE.total_seconds(), deadline)
        self._timeouts = {"timeout": httpx.Timeout(deadline, connect=connect).as_dict()}
        # The transport, not the client: the client logs every URL at INFO, with the number in it. No keep-alive: a
        # connection that the provider has closed would turn a clean send into an ambiguous one. The environment is
        # ignored: a proxy is configured or not used.
        self._transport = httpx.AsyncHTTPTransport(
            verify=_trust(),
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
        """Return the response, whatever its status.

        Raise `DeliveryError`: `ambiguous` when it may have been processed.
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
        # Raised outside the handler: httpx's error contains the request, with credentials and text.
        raise failure

    async def close(self) -> None:
        await self._transport.aclose()


class JsonApi:
    """JSON API with basic authentication, for one gateway.

    `read_error` returns the `ErrorMeaning` of an error response's JSON, or `None` if the HTTP status decides.
    """

    def __init__(
        self,
        *,
        user: str,
        password: SecretStr,
        proxy: SecretStr | None,
        deadline: Deadline,
        read_error: Callable[[Mapping[str, Any]], ErrorMeaning | None],
    ) -> None:
        credentials = base64.b64encode(f"{user}:{password.get_secret_value()}".encode()).decode()
        self._headers = {"Authorization": f"Basic {credentials}", "Accept": "application/json"}
        self._read_error = read_error
        self._client = HttpClient(proxy=proxy, deadline=deadline)
        #: The provider's date in its latest response; `None` before the first.
        self.date: datetime | None = None

    async def submit(
        self,
        url: str,
        *,
        form: Mapping[str, str | Sequence[str]] | None = None,
        json: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """POST and return the response's JSON object.

        Raise `DeliveryError`; a request that may have been processed is `UNKNOWN`.
        """
        ambiguous = ErrorClass.UNKNOWN
        received = await self._client.exchange(
            "POST", url, ambiguous=ambiguous, headers=self._headers, form=form, json=json
        )
        return self._read(received, ambiguous=ambiguous)

    async def ask(self, url: str, *, params: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """GET and return the response's JSON object.

        Raise `DeliveryError`; a query changes nothing, so failures in transit are `TRANSIENT`.
        """
        ambiguous = ErrorClass.TRANSIENT
        received = await self._client.exchange("GET", url, ambiguous=ambiguous, headers=self._headers, params=params)
        return self._read(received, ambiguous=ambiguous)

    async def close(self) -> None:
        await self._client.close()

    def _read(self, received: ProviderResponse, *, ambiguous: ErrorClass) -> Mapping[str, Any]:
        self.date = _date_of(received)
        try:
            body = read_json(received.body)
        except ValueError:
            body = None
        if received.is_success and isinstance(body, dict):
            return body
        raise refusal(received, self._read_error(body) if isinstance(body, dict) else None, ambiguous)


class InboxPoll:
    """Inbound SMS of a provider's inbox that is polled repeatedly. Each SMS is passed on once."""

    def __init__(self) -> None:
        #: Avoids a database query for each known SMS at every poll.
        self._handed_in: set[str] = set()

    async def hand_in(self, said: Sequence[InboundSms], desk: CallbackHandler) -> Sequence[tuple[str, SmsContent]]:
        """Pass the new SMS of the inbox to *desk*. Return the replies to send, by number.

        Replies are sent after all SMS are stored: one may take as long as the deadline, and calls go on meanwhile.
        """
        self._handed_in &= {one.event_id for one in said}
        owed: list[tuple[str, SmsContent]] = []
        for one in said:
            if one.event_id not in self._handed_in:
                answer = await desk.receive(one)
                self._handed_in.add(one.event_id)
                owed += [] if answer is None else [(one.sender, answer)]
        return owed


def _date_of(received: ProviderResponse) -> datetime | None:
    try:
        at = parsedate_to_datetime(received.headers.get("Date", ""))
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
        if len(body) > _ANSWER_AT_MOST:
            return b""
    return bytes(body)


def read_json(octets: bytes) -> Any:
    """Parse JSON, with characters replaced that no database stores. Raise `ValueError` if it is invalid."""
    try:
        return _storable(codec.loads(octets))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _storable(value: Any) -> Any:
    # Item by item: one text must not invalidate a list of others.
    match value:
        case str():
            return _NOT_STORED.sub("\ufffd", value)
        case list():
            return [_storable(item) for item in value]
        case dict():
            return {_storable(key): _storable(item) for key, item in value.items()}
        case _:
            return value


def is_id(value: object) -> bool:
    """Whether *value* is valid as a provider's id, in the store and in URLs."""
    return isinstance(value, str) and 0 < len(value) <= _ID_AT_MOST and value.isascii() and value.isprintable()


def refusal(received: ProviderResponse, verdict: ErrorMeaning | None, ambiguous: ErrorClass) -> DeliveryError:
    """Return the error of a refused request: by the provider's error, else by the HTTP status."""
    status = received.status
    wait = received.headers.get("Retry-After", "")
    said = wait.isascii() and wait.isdigit() and len(wait) <= _WAIT_DIGITS_AT_MOST
    retry_after = timedelta(seconds=int(wait)) if said else None
    if verdict is not None:
        return DeliveryError(verdict.error, verdict.detail, code=verdict.code, retry_after=retry_after)
    if received.is_success:
        # A captive portal, or a proxy's own page.
        return DeliveryError(ambiguous, "the answer is not the provider's", code=str(status))
    if status >= 500:
        return DeliveryError(ambiguous, "the provider failed", code=str(status), retry_after=retry_after)
    if status < 400:
        # Redirects are not followed: they would leak the credentials.
        return DeliveryError(ErrorClass.CONFIGURATION, "something else answers here", code=str(status))
    error, detail = _BY_STATUS.get(status, (ErrorClass.PERMANENT, "refused"))
    return DeliveryError(error, detail, code=str(status), retry_after=retry_after)
