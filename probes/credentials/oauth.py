"""Access tokens (RFC 6749 1.4): cached until shortly before they expire, shared by all sign-ins to a mailbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from probes.model.mailbox import AccessToken

_log = structlog.get_logger(__name__)

#: A token is renewed this long before it expires, or at a quarter of its lifetime if that is shorter.
_MARGIN = timedelta(minutes=5)
#: Lifetime of a token whose issuer states none.
_UNSAID = timedelta(minutes=5)
#: A token rejected at this age has not expired early: a new one would be rejected, too.
_NEW = timedelta(minutes=2)
#: Pauses after a failure: they limit requests to the authorization server, and rejections may count towards a lockout.
_AFTER_REFUSAL = timedelta(seconds=60)
_AFTER_SILENCE = timedelta(seconds=5)
#: Timeout of one response, shorter than a session's: a slow authorization server must not count as a slow mail server.
_ANSWER = timedelta(seconds=10)


class AccessTokenError(Exception):
    """No access token was issued.

    The message is the authorization server's reason, or the error; it contains no secret.
    """

    def __init__(self, message: str, *, refused: bool = False, error: str = "") -> None:
        super().__init__(message)
        #: The authorization server refused explicitly; any other failure says nothing about the account.
        self.refused = refused
        #: The server's error code (RFC 6749 5.2), if any.
        self.error = error


class Issuer(Protocol):
    """Issuer that requests a token at each call."""

    async def issue(self) -> AccessToken:
        """Request a new token. Raise `AccessTokenError`. The caller sets the deadline."""


def utc_now() -> datetime:
    """Return the current time in UTC; tests pass another clock."""
    return datetime.now(UTC)


def steady_seconds() -> float:
    """Return seconds of a clock that is never set and that continues during suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class TokenCache:
    """Implementation of `probes.model.mailbox.AccessTokens` with a cache.

    It requests from *issuer* only without a valid token, and once for all callers.
    """

    def __init__(
        self,
        issuer: Issuer,
        *,
        within: timedelta = _ANSWER,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = steady_seconds,
    ) -> None:
        self._issuer = issuer
        self._within = within
        self._clock = clock
        self._monotonic = monotonic
        self._asking = asyncio.Lock()
        self._token: AccessToken | None = None
        self._issued_at, self._issued = datetime.min.replace(tzinfo=UTC), 0.0
        self._failure: AccessTokenError | None = None
        self._failed_at = self._issued_at

    @property
    def expires_at(self) -> datetime | None:
        """Expiry of the cached token."""
        return self._token.expires_at if self._token else None

    async def get(self) -> AccessToken:
        """Return the cached token, or a new one.

        Raise `AccessTokenError`; for a while after a failure without a request.
        """
        if (token := self._good()) is not None:
            return token
        async with self._asking:
            # Another caller may have received one meanwhile.
            if (token := self._good()) is not None:
                return token
            if (held := self._held()) is None:
                try:
                    return await self._renewed()
                except AccessTokenError as failure:
                    self._failure, self._failed_at, held = failure, self._clock(), failure
            if self._token is not None and not self._over(self._token):
                # The early renewal failed; the cached token is used until it expires.
                return self._token
            raise AccessTokenError(str(held), refused=held.refused)

    def reject(self, token: AccessToken) -> bool:
        """Drop *token*, unless it is so new that another would be rejected, too."""
        if self._token is None or token.secret != self._token.secret:
            return True
        if self._age() < _NEW:
            return False
        self._token = None
        return True

    async def _renewed(self) -> AccessToken:
        try:
            async with asyncio.timeout(self._within.total_seconds()):
                token = await self._issuer.issue()
        except TimeoutError:
            raise AccessTokenError("no answer to the request for a token") from None
        self._token, self._issued_at, self._failure = token, self._clock(), None
        self._issued = self._monotonic()
        _log.debug("access token issued", expires_at=str(token.expires_at))
        return token

    def _good(self) -> AccessToken | None:
        token = self._token
        if token is None:
            return None
        life = self._life(token)
        return token if self._age() < life - min(_MARGIN, life / 4) else None

    def _over(self, token: AccessToken) -> bool:
        return token.expires_at is not None and self._age() >= self._life(token)

    def _life(self, token: AccessToken) -> timedelta:
        return _UNSAID if token.expires_at is None else token.expires_at - self._issued_at

    def _held(self) -> AccessTokenError | None:
        if self._failure is None:
            return None
        hold = _AFTER_REFUSAL if self._failure.refused else _AFTER_SILENCE
        # A clock that was set back must not extend the pause.
        return self._failure if timedelta(0) <= self._clock() - self._failed_at < hold else None

    def _age(self) -> timedelta:
        # A clock that was set back must not reduce a token's age, nor one that was set forward extend its use.
        return max(self._clock() - self._issued_at, timedelta(seconds=self._monotonic() - self._issued))
