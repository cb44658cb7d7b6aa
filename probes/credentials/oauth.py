"""Cache of OAuth access tokens (RFC 6749 1.4), which all sign-ins to a mailbox share until shortly before expiry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from probes.model.mailbox import AccessToken

_log = structlog.get_logger(__name__)

#: A token is renewed this long before its expiry, but not before three quarters of its lifetime have passed.
_RENEWAL_MARGIN = timedelta(minutes=5)
#: Assumed lifetime of a token whose issuer states none.
_DEFAULT_LIFETIME = timedelta(minutes=5)
#: If a mail server rejects a token that is younger than this, it would also reject a new token.
_MIN_REJECTED_AGE = timedelta(minutes=2)
#: Pauses after a refusal and after a missing response. They limit the requests to the authorization server, which may
#: lock an account after many refusals.
_REFUSAL_PAUSE = timedelta(seconds=60)
_NO_RESPONSE_PAUSE = timedelta(seconds=5)
#: Timeout of one response. It is shorter than that of a mail session, so that a slow authorization server does not
#: count as a slow mail server.
_RESPONSE_TIMEOUT = timedelta(seconds=10)


class AccessTokenError(Exception):
    """No access token was issued.

    The message is the authorization server's reason, or the error; it contains no secret.
    """

    def __init__(self, message: str, *, refused: bool = False, error: str = "") -> None:
        super().__init__(message)
        #: The authorization server refused the request. Any other failure is no evidence about the account.
        self.refused = refused
        #: The server's error code (RFC 6749 5.2); "" without one.
        self.error = error


class Issuer(Protocol):
    """Issuer of access tokens, without a cache."""

    async def issue(self) -> AccessToken:
        """Request a new token. Raise `AccessTokenError`. The caller sets the deadline."""


def utc_now() -> datetime:
    """Return the current time in UTC; tests pass another clock."""
    return datetime.now(UTC)


def monotonic_seconds() -> float:
    """Return the seconds since the machine's start, suspension included. Setting the time does not affect them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class TokenCache:
    """Implementation of `probes.model.mailbox.AccessTokens` with a cache.

    It requests a token from *issuer* only if it has no valid token. Concurrent callers share one request.
    """

    def __init__(
        self,
        issuer: Issuer,
        *,
        within: timedelta = _RESPONSE_TIMEOUT,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = monotonic_seconds,
    ) -> None:
        """*within*: timeout of a request to *issuer*."""
        self._issuer = issuer
        self._within = within
        self._clock = clock
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._token: AccessToken | None = None
        #: Time at which the cached token was issued, by the wall clock and by the monotonic clock.
        self._issued_at, self._issued_monotonic = datetime.min.replace(tzinfo=UTC), 0.0
        self._failure: AccessTokenError | None = None
        self._failed_at = self._issued_at

    @property
    def expires_at(self) -> datetime | None:
        """Expiry of the cached token."""
        return self._token.expires_at if self._token else None

    async def get(self) -> AccessToken:
        """Return the cached token, or a new token.

        Raise `AccessTokenError`. During the pause after a failure, raise the same failure again without a request.
        """
        if (token := self._usable_token()) is not None:
            return token
        async with self._lock:
            # Another caller may have requested a token while this one waited for the lock.
            if (token := self._usable_token()) is not None:
                return token
            if (recent := self._recent_failure()) is None:
                try:
                    return await self._request()
                except AccessTokenError as error:
                    self._failure, self._failed_at, recent = error, self._clock(), error
            if self._token is not None and not self._is_expired(self._token):
                # The early renewal failed; the cached token is used until it expires.
                return self._token
            raise AccessTokenError(str(recent), refused=recent.refused)

    def reject(self, token: AccessToken) -> bool:
        """Drop *token*, which a mail server has rejected. Return whether the server may accept a new token.

        A very young token is kept, because the server would also reject a new one.
        """
        if self._token is None or token.secret != self._token.secret:
            return True
        if self._age() < _MIN_REJECTED_AGE:
            return False
        self._token = None
        return True

    async def _request(self) -> AccessToken:
        try:
            async with asyncio.timeout(self._within.total_seconds()):
                token = await self._issuer.issue()
        except TimeoutError:
            raise AccessTokenError("no response to the request for a token") from None
        self._token, self._issued_at, self._failure = token, self._clock(), None
        self._issued_monotonic = self._monotonic()
        _log.debug("access token issued", expires_at=str(token.expires_at))
        return token

    def _usable_token(self) -> AccessToken | None:
        token = self._token
        if token is None:
            return None
        lifetime = self._lifetime(token)
        return token if self._age() < lifetime - min(_RENEWAL_MARGIN, lifetime / 4) else None

    def _is_expired(self, token: AccessToken) -> bool:
        return token.expires_at is not None and self._age() >= self._lifetime(token)

    def _lifetime(self, token: AccessToken) -> timedelta:
        return _DEFAULT_LIFETIME if token.expires_at is None else token.expires_at - self._issued_at

    def _recent_failure(self) -> AccessTokenError | None:
        if self._failure is None:
            return None
        pause = _REFUSAL_PAUSE if self._failure.refused else _NO_RESPONSE_PAUSE
        # A negative time ends the pause, so that a clock that was set back does not extend it.
        return self._failure if timedelta(0) <= self._clock() - self._failed_at < pause else None

    def _age(self) -> timedelta:
        # The larger age counts, so that a wall clock that was set back does not extend the use of the token.
        return max(self._clock() - self._issued_at, timedelta(seconds=self._monotonic() - self._issued_monotonic))
