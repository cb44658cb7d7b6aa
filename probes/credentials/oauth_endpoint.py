"""OAuth client of a token endpoint (RFC 6749 3.2), and two issuers of access tokens that use it.

One issuer uses client credentials, the other a refresh token. Authlib makes the requests. Errors contain no secrets.
"""

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
from probes.model.reply import shorten

_log = structlog.get_logger(__name__)


class RefreshTokens(Protocol):
    """Source of the current refresh token.

    The first refresh token comes from a person's consent. A provider may replace ("rotate") it at each use (RFC 6749 6,
    RFC 9700 4.14.2).
    """

    async def current(self) -> str:
        """Return the current token. Raise `AccessTokenError` if it cannot be read."""

    async def rotate(self, rotated: str) -> None:
        """Use the new token *rotated* from now on. A failure to store it raises nothing."""


#: Returns the source of the current refresh token, by the name and the value of the configured token.
RotationFactory = Callable[[str, str], RefreshTokens]


class RefreshTokenStore:
    """Implementation of `RefreshTokens` in memory, or in a file.

    Without *file*, a rotated token is lost at a restart or a change of the mailbox. The configured token is then used
    again, and a provider with strict rotation treats the reuse as theft. Only Pantau writes *file*. The file contains
    the rotated token, and a hash of the configured token that was rotated. If another token is configured, the hash
    differs, and the file is ignored.
    """

    def __init__(self, configured: str, file: Path | None = None) -> None:
        self._configured = configured
        self._file = file
        self._rotated: str | None = None

    async def current(self) -> str:
        """Return the current token. Raise `AccessTokenError` if the file cannot be read."""
        if self._rotated is None and self._file is not None:
            self._rotated = await asyncio.to_thread(self._read, self._file)
        return self._rotated or self._configured

    async def rotate(self, rotated: str) -> None:
        """Use *rotated* from now on."""
        self._rotated = rotated
        if self._file is None:
            return
        try:
            await asyncio.to_thread(self._write, self._file, rotated)
        except OSError as error:
            # The error is only logged: the new access token is valid, and the file is read only after a restart.
            _log.warning("refresh token cannot be kept", file=str(self._file), detail=error.strerror)

    def _read(self, file: Path) -> str | None:
        try:
            fingerprint, _, rotated = file.read_text(encoding="ascii").partition("\n")
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise AccessTokenError(f"{file} cannot be read") from None
        return rotated.strip() or None if fingerprint == self._fingerprint() else None

    def _write(self, file: Path, rotated: str) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            # `mkstemp` creates a file that only its owner can read.
            with os.fdopen(descriptor, "w", encoding="utf-8") as output:
                output.write(f"{self._fingerprint()}\n{rotated}\n")
                output.flush()
                os.fsync(output.fileno())
            Path(temporary).replace(file)
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink()
            raise

    def _fingerprint(self) -> str:
        return hashlib.sha256(self._configured.encode()).hexdigest()


#: Temporary errors of RFC 6749 4.1.2.1 and RFC 8628 3.5. They do not concern the account, and the request may be
#: repeated.
_TEMPORARY_ERRORS = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
#: Longest lifetime of an access token; a longer one is shortened.
_MAX_LIFETIME = timedelta(days=365)
#: Limit of octets of a response. Tokens of Google and Microsoft have 2 to 4 KiB.
_MAX_RESPONSE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """OAuth client and its token endpoint (RFC 6749 2)."""

    token_url: str
    #: "" if another parameter of the request identifies the client (RFC 7523 2.1).
    client_id: str
    #: `None` for a public client, such as a desktop application, which has no secret.
    client_secret: str | None = field(default=None, repr=False)
    #: Scopes, separated by spaces; `None`: the authorization server's default.
    scope: str | None = None
    #: TLS context with the trusted certificate authorities.
    tls: ssl.SSLContext = field(repr=False, compare=False)

    @property
    def _authentication(self) -> Any:
        if not self.client_id:
            return _send_unauthenticated
        return "client_secret_post" if self.client_secret else "none"

    def session(self) -> AbstractAsyncContextManager[Any]:
        """Return an Authlib client for one request.

        The client sends its id and secret in the body, as Google and Microsoft require.
        """
        return AsyncOAuth2Client(  # type: ignore[no-any-return]
            client_id=self.client_id,
            client_secret=self.client_secret,
            token_endpoint_auth_method=self._authentication,
            scope=self.scope,
            verify=self.tls,
            # The caller's deadline is the only timeout.
            timeout=None,
            # A compressed response is not accepted, because a small response may exceed the memory when unpacked.
            headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [_limit_response]},
        )


def _send_unauthenticated(_client: object, _method: str, uri: str, headers: Any, body: str) -> tuple[str, Any, str]:
    """Add nothing to the request (an authentication method of Authlib)."""
    return uri, headers, body


async def _limit_response(response: httpx2.Response) -> None:
    """Limit the size of *response*. Raise `AccessTokenError` if it is compressed."""
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise AccessTokenError(f"{response.url.host} compresses its responses although the request excludes it")
    response.stream = _LimitedStream(response.stream, response.url.host)


class _LimitedStream(httpx2.AsyncByteStream):
    """Response body with a size limit."""

    def __init__(self, stream: Any, host: str) -> None:
        self._stream = stream
        self._host = host

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > _MAX_RESPONSE:
                raise AccessTokenError(f"{self._host} sends a larger response than a token endpoint should")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class ClientCredentialsIssuer:
    """Issuer by client credentials (RFC 6749 4.4), as Microsoft 365 provides for services."""

    def __init__(self, client: Client, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._client = client
        self._clock = clock

    async def issue(self) -> AccessToken:
        """Request a new token. Raise `AccessTokenError`."""
        async with self._client.session() as session:
            request = session.fetch_token(self._client.token_url, grant_type="client_credentials")
            return parse_token(await read_response(request, self._client), self._clock())


class RefreshTokenIssuer:
    """Issuer by a refresh token from a person's consent (RFC 6749 6)."""

    def __init__(
        self, client: Client, refresh_tokens: RefreshTokens, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._client = client
        self._refresh_tokens = refresh_tokens
        self._clock = clock

    async def issue(self) -> AccessToken:
        """Request a new token, and keep a new refresh token in the response. Raise `AccessTokenError`."""
        refresh = await self._refresh_tokens.current()
        async with self._client.session() as session:
            request = session.refresh_token(self._client.token_url, refresh_token=refresh)
            response = await read_response(request, self._client, refresh)
        rotated = response.get("refresh_token")
        if isinstance(rotated, str) and is_valid_token(rotated) and rotated != refresh:
            await self._refresh_tokens.rotate(rotated)
        return parse_token(response, self._clock())


async def read_response(request: Awaitable[Any], client: Client, *secrets: str) -> Mapping[str, Any]:
    """Return a token endpoint's response to *request*. Raise `AccessTokenError`, without any of *secrets*."""
    host = urlsplit(client.token_url).hostname
    try:
        response = await request
    except OAuthError as error:
        text = f"{error.error}: {error.description}" if error.description else str(error.error)
        # Microsoft appends ids of the request, which differ each time; they are cut off.
        detail = _mask(text.partition("Trace ID:")[0], client.client_secret, *secrets)
        code = str(error.error)
        raise AccessTokenError(detail, refused=code not in _TEMPORARY_ERRORS, error=code) from None
    except httpx2.HTTPStatusError as error:
        status = error.response.status_code
        refused = 400 <= status < 500 and status not in {408, 429}
        raise AccessTokenError(f"{host} answered with HTTP status {status}", refused=refused) from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise AccessTokenError(shorten(f"{host} was not reached: {error or type(error).__name__}")) from None
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise AccessTokenError(f"{host} does not respond like a token endpoint") from None
    if not isinstance(response, Mapping):
        raise AccessTokenError(f"{host} does not respond like a token endpoint")
    return response


def parse_token(response: Mapping[str, Any], now: datetime) -> AccessToken:
    """Return the access token in a response received at *now*. Raise `AccessTokenError`."""
    secret = response.get("access_token")
    if not isinstance(secret, str) or not is_valid_token(secret):
        raise AccessTokenError("the authorization server's response contains no access token")
    lifetime = parse_duration(response.get("expires_in"), _MAX_LIFETIME)
    return AccessToken(secret=secret, expires_at=None if lifetime is None else now + lifetime)


def is_valid_token(text: str) -> bool:
    """Whether *text* can be a token: ASCII on one line without spaces, a superset of RFC 6750 2.1."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def parse_duration(seconds: object, longest: timedelta) -> timedelta | None:
    """Return the duration of *seconds*, a number in a response, at most *longest*; `None` if it is invalid."""
    try:
        value = float(str(seconds))
    except ValueError:
        return None
    if math.isnan(value) or value <= 0:
        return None
    return timedelta(seconds=min(value, longest.total_seconds()))


def _mask(text: str, *secrets: str | None) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return shorten(text)
