"""Ask a provider over HTTP: one deadline, and one reading of what a failure means.

Every gateway that speaks HTTP goes through here, because the difference between *nothing was sent* (try again) and
*perhaps processed* (ask first) must be judged alike everywhere.
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

#: When the Internet is down the local gateway must get its turn within seconds.
CONNECT_DEADLINE = timedelta(seconds=5)

#: The whole exchange, in seconds; a setting for slow lines.
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
        # The credentials travel in a header of every request.
        raise ValueError("must be https (plain http only to this machine); write instead: https://...")
    if parts.username is not None:
        raise ValueError("holds a login; write instead: the address without it, and the login under the keys for it")
    return url


#: The longest lists that are asked for hold a thousand messages.
_ANSWER_AT_MOST = 8 * 1024 * 1024
#: Eleven days: whoever says more means something else. Python refuses to read a number of thousands of digits.
_WAIT_DIGITS_AT_MOST = 6
#: Half a surrogate pair, and NUL: they are JSON.
_NOT_STORED = re.compile("[\0\ud800-\udfff]")
#: As long as a provider's id, which the store keeps, may be.
_ID_AT_MOST = 100

#: Where something is asked for, as it is written.
SafeUrl = Annotated[str, AfterValidator(_safe)]
#: A provider's base URL, without the slash at its end.
ProviderUrl = Annotated[SafeUrl, AfterValidator(lambda url: url.rstrip("/"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMeaning:
    """What a provider's own error means for us, in our words: theirs quote numbers and texts."""

    error: ErrorClass
    code: str
    detail: str


_HEADERS = {
    "User-Agent": "pantau",
    # A little that is packed may unpack to more than memory holds.
    "Accept-Encoding": "identity",
}

#: Raised before a byte of the request left.
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
    """An HTTP answer, whole."""

    status: int
    headers: Mapping[str, str]
    #: Empty when it was packed, or longer than any answer.
    body: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


@cache
def _trust() -> ssl.SSLContext:
    """Read the authorities that are trusted, once for all gateways: it takes milliseconds and half a megabyte."""
    return httpx.create_ssl_context(trust_env=False)


class HttpClient:
    """Carries one request at a time to a provider, and brings the answer, or the reason why there is none."""

    def __init__(self, *, proxy: SecretStr | None, deadline: Deadline) -> None:
        self._deadline = deadline
        connect = min(CONNECT_DEADLINE.total_seconds(), deadline)
        self._timeouts = {"timeout": httpx.Timeout(deadline, connect=connect).as_dict()}
        # The transport and not the client: the client logs every URL at INFO, and the number asked about is in it.
        # No kept connections: one that the provider has closed meanwhile would turn a clean send into an ambiguous one.
        # The environment decides nothing: a proxy is named in the configuration or not used.
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
        """Return the answer, whatever its status. Raise `DeliveryError`: `ambiguous` when it may have been processed."""
        if params:
            url = str(httpx.URL(url).copy_merge_params(params))  # What the URL has of its own stays.
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
        # Raised outside the handler: httpx's error holds the request, and with it the credentials and the text.
        raise failure

    async def close(self) -> None:
        await self._transport.aclose()


class JsonApi:
    """A JSON API with basic authentication, as one gateway uses it.

    `read_error` makes a `ErrorMeaning` of an error answer's JSON, or `None` when only the HTTP status tells.
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
        #: What the provider's clock showed when it last answered; `None`: it has not said.
        self.date: datetime | None = None

    async def submit(
        self,
        url: str,
        *,
        form: Mapping[str, str | Sequence[str]] | None = None,
        json: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """POST and return the answer's JSON object.

        Raise `DeliveryError`; what may have been processed is `UNKNOWN`.
        """
        ambiguous = ErrorClass.UNKNOWN
        received = await self._client.exchange(
            "POST", url, ambiguous=ambiguous, headers=self._headers, form=form, json=json
        )
        return self._read(received, ambiguous=ambiguous)

    async def ask(self, url: str, *, params: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """GET and return the answer's JSON object.

        Raise `DeliveryError`; a question changes nothing, so what fails on the way is `TRANSIENT`.
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
    """What people have sent, as it is fetched from a provider's inbox again and again. Each SMS is handed in once."""

    def __init__(self) -> None:
        #: So that each look does not ask the store about all of them again.
        self._handed_in: set[str] = set()

    async def hand_in(self, said: Sequence[InboundSms], desk: CallbackHandler) -> Sequence[tuple[str, SmsContent]]:
        """Hand *desk* those of the SMS in the inbox that are new; return the answers that are owed for them, by number.

        To be sent when all are taken in: an answer may take as long as the deadline, and people are called meanwhile.
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
    """Return the body; what is packed, or longer than any answer, is none that is understood."""
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        return b""
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > _ANSWER_AT_MOST:
            return b""
    return bytes(body)


def read_json(octets: bytes) -> Any:
    """Return what JSON says, with other characters for those that no store keeps. Raise `ValueError` when it is none."""
    try:
        return _storable(codec.loads(octets))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _storable(value: Any) -> Any:
    # An item at a time: of a list of what people wrote, one text must not keep the others from being heard.
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
    """Whether *value* can be a provider's id, as the store and URLs take it."""
    return isinstance(value, str) and 0 < len(value) <= _ID_AT_MOST and value.isascii() and value.isprintable()


def refusal(received: ProviderResponse, verdict: ErrorMeaning | None, ambiguous: ErrorClass) -> DeliveryError:
    """Return what an answer that took nothing means: by the provider's own error, else by the HTTP status."""
    status = received.status
    wait = received.headers.get("Retry-After", "")
    said = wait.isascii() and wait.isdigit() and len(wait) <= _WAIT_DIGITS_AT_MOST
    retry_after = timedelta(seconds=int(wait)) if said else None
    if verdict is not None:
        return DeliveryError(verdict.error, verdict.detail, code=verdict.code, retry_after=retry_after)
    if received.is_success:
        # A captive portal or a proxy's own page.
        return DeliveryError(ambiguous, "the answer is not the provider's", code=str(status))
    if status >= 500:
        return DeliveryError(ambiguous, "the provider failed", code=str(status), retry_after=retry_after)
    if status < 400:
        # Redirects are not followed: they would take the credentials along.
        return DeliveryError(ErrorClass.CONFIGURATION, "something else answers here", code=str(status))
    error, detail = _BY_STATUS.get(status, (ErrorClass.PERMANENT, "refused"))
    return DeliveryError(error, detail, code=str(status), retry_after=retry_after)
