"""Token endpoint (RFC 6749 3.2). Uses Authlib; its errors are reported without secrets."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx2
import structlog
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError

from probes.credentials.oauth import AccessTokenError, utc_now
from probes.model.mailbox import AccessToken
from probes.model.reply import shortened

_log = structlog.get_logger(__name__)


class RefreshTokens(Protocol):
    """The current refresh token: the consented one, until it is exchanged for another (RFC 6749 6, RFC 9700 4.14.2)."""

    async def current(self) -> str:
        """Return the current token. Raise `AccessTokenError` when it is not known."""

    async def turn(self, following: str) -> None:
        """Use *following* from now on. A failure to store it is not reported to the caller."""


#: Returns the rotation of a refresh token, by the name of the configured token and its value.
Rotations = Callable[[str, str], RefreshTokens]


class Rotation:
    """Implementation of `RefreshTokens` in memory, or in a file.

    Without *file* a rotated token is kept in memory only: after a restart, or a change of the mailbox, the configured
    one is used again, which a provider with strict rotation treats as theft. *file* belongs to Pantau; it names the
    configured token that it replaces, so that a newly configured one is used at once.
    """

    def __init__(self, configured: str, file: Path | None = None) -> None:
        self._configured = configured
        self._file = file
        self._following: str | None = None

    async def current(self) -> str:
        """Return the current token. Raise `AccessTokenError` when the file cannot be read."""
        if self._following is None and self._file is not None:
            self._following = await asyncio.to_thread(self._read, self._file)
        return self._following or self._configured

    async def turn(self, following: str) -> None:
        """Use *following* from now on."""
        self._following = following
        if self._file is None:
            return
        try:
            await asyncio.to_thread(self._write, self._file, following)
        except OSError as error:
            # The access token is valid; only a restart would need the stored refresh token.
            _log.warning("refresh token cannot be kept", file=str(self._file), detail=error.strerror)

    def _read(self, file: Path) -> str | None:
        try:
            mark, _, following = file.read_text(encoding="ascii").partition("\n")
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise AccessTokenError(f"{file} cannot be read") from None
        return following.strip() or None if mark == self._mark() else None

    def _write(self, file: Path, following: str) -> None:
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            # `mkstemp` makes it readable by its owner only.
            with os.fdopen(descriptor, "w", encoding="utf-8") as draft:
                draft.write(f"{self._mark()}\n{following}\n")
                draft.flush()
                os.fsync(draft.fileno())
            Path(name).replace(file)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise

    def _mark(self) -> str:
        return hashlib.sha256(self._configured.encode()).hexdigest()


#: Temporary errors of RFC 6749 4.1.2.1 and RFC 8628 3.5: they do not concern the account, and the request may be
#: repeated.
_PASSING = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
_LONGEST = timedelta(days=365)
#: Octets: tokens of Google and Microsoft have 2 to 4 KiB.
_ANSWER_AT_MOST = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """OAuth client and its token endpoint (RFC 6749 2)."""

    token_url: str
    #: "": another parameter identifies the client (RFC 7523 2.1).
    client_id: str
    #: `None` for a public client: a desktop application's refresh token needs no secret.
    client_secret: str | None = field(default=None, repr=False)
    #: Separated by spaces; `None`: the authorization server's default.
    scope: str | None = None
    tls: ssl.SSLContext = field(repr=False, compare=False)

    @property
    def _authentication(self) -> Any:
        if not self.client_id:
            return _as_it_is
        return "client_secret_post" if self.client_secret else "none"

    def session(self) -> AbstractAsyncContextManager[Any]:
        """Return an Authlib client for one request.

        Id and secret are sent in the body, as Google and Microsoft require.
        """
        return AsyncOAuth2Client(  # type: ignore[no-any-return]
            client_id=self.client_id,
            client_secret=self.client_secret,
            token_endpoint_auth_method=self._authentication,
            scope=self.scope,
            verify=self.tls,
            # The caller's deadline is the only timeout.
            timeout=None,
            # A small compressed response may exceed the memory when unpacked.
            headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [_bound]},
        )


def _as_it_is(_client: object, _method: str, uri: str, headers: Any, body: str) -> tuple[str, Any, str]:
    return uri, headers, body


async def _bound(response: httpx2.Response) -> None:
    """Limit the size of *response* to that of a token endpoint's responses."""
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise AccessTokenError(f"{response.url.host} packs its answers, though it was asked not to")
    response.stream = _Bounded(response.stream, response.url.host)


class _Bounded(httpx2.AsyncByteStream):
    """Response body with a size limit."""

    def __init__(self, stream: Any, host: str) -> None:
        self._stream = stream
        self._host = host

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > _ANSWER_AT_MOST:
                raise AccessTokenError(f"{self._host} says more than a token endpoint has to say")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class ClientCredentials:
    """Issuer by client credentials (RFC 6749 4.4), as Microsoft 365 provides for services."""

    def __init__(self, client: Client, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._client = client
        self._clock = clock

    async def issue(self) -> AccessToken:
        """Request a new token. Raise `AccessTokenError`."""
        async with self._client.session() as session:
            asked = session.fetch_token(self._client.token_url, grant_type="client_credentials")
            return token_of(await answer_of(asked, self._client), self._clock())


class RefreshToken:
    """Issuer by a refresh token from a person's consent (RFC 6749 6)."""

    def __init__(self, client: Client, rotation: RefreshTokens, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._client = client
        self._rotation = rotation
        self._clock = clock

    async def issue(self) -> AccessToken:
        """Request a new token, and store the refresh token returned with it. Raise `AccessTokenError`."""
        refresh = await self._rotation.current()
        async with self._client.session() as session:
            asked = session.refresh_token(self._client.token_url, refresh_token=refresh)
            answer = await answer_of(asked, self._client, refresh)
        following = answer.get("refresh_token")
        if isinstance(following, str) and is_token(following) and following != refresh:
            await self._rotation.turn(following)
        return token_of(answer, self._clock())


async def answer_of(asked: Awaitable[Any], client: Client, *secrets: str) -> Mapping[str, Any]:
    """Return a token endpoint's response to *asked*. Raise `AccessTokenError`, without any of *secrets*."""
    host = urlsplit(client.token_url).hostname
    try:
        answer = await asked
    except OAuthError as refusal:
        text = f"{refusal.error}: {refusal.description}" if refusal.description else str(refusal.error)
        words = _without(text.partition("Trace ID:")[0], client.client_secret, *secrets)
        error = str(refusal.error)
        raise AccessTokenError(words, refused=error not in _PASSING, error=error) from None
    except httpx2.HTTPStatusError as error:
        status = error.response.status_code
        refused = 400 <= status < 500 and status not in {408, 429}
        raise AccessTokenError(f"{host} answered with HTTP status {status}", refused=refused) from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise AccessTokenError(shortened(f"{host} was not reached: {error or type(error).__name__}")) from None
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise AccessTokenError(f"{host} does not answer as a token endpoint does") from None
    if not isinstance(answer, Mapping):
        raise AccessTokenError(f"{host} does not answer as a token endpoint does")
    return answer


def token_of(answer: Mapping[str, Any], now: datetime) -> AccessToken:
    """Return the token of a response received at *now*. Raise `AccessTokenError`."""
    secret = answer.get("access_token")
    if not isinstance(secret, str) or not is_token(secret):
        raise AccessTokenError("the authorization server's answer holds no access token")
    life = span_in(answer.get("expires_in"), _LONGEST)
    return AccessToken(secret=secret, expires_at=None if life is None else now + life)


def is_token(text: str) -> bool:
    """Whether *text* can be a token (a superset of RFC 6750 2.1): a line of ASCII without spaces."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def span_in(seconds: object, longest: timedelta) -> timedelta | None:
    """Return the span of a number of seconds in a response, limited to *longest*; `None` without a valid number."""
    try:
        value = float(str(seconds))
    except ValueError:
        return None
    if math.isnan(value) or value <= 0:
        return None
    return timedelta(seconds=min(value, longest.total_seconds()))


def _without(text: str, *secrets: str | None) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return shortened(text)
