"""Access tokens (RFC 6749 1.4): had once, kept until shortly before they expire, shared by all who sign in to a mailbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from probes.model.mailbox import AccessToken

_log = structlog.get_logger(__name__)

#: A token is renewed this long before it expires, or when a quarter of its life is left if that is shorter.
_MARGIN = timedelta(minutes=5)
#: What a token is good for when whoever issued it does not say.
_UNSAID = timedelta(minutes=5)
#: A token that is refused this soon is not refused for its age: a new one would be refused, too.
_NEW = timedelta(minutes=2)
#: How long nothing is asked after a failure: no authorization server is hammered, and refusals may count towards a lock.
_AFTER_REFUSAL = timedelta(seconds=60)
_AFTER_SILENCE = timedelta(seconds=5)
#: For one answer. Less than a session may take: a slow authorization server is not to pass for a slow mail server.
_ANSWER = timedelta(seconds=10)


class AccessTokenError(Exception):
    """No access token could be had. The message is the authorization server's reason, or what broke; it holds no secret."""

    def __init__(self, message: str, *, refused: bool = False, error: str = "") -> None:
        super().__init__(message)
        #: The authorization server has refused us in words; otherwise nobody can say anything about our account.
        self.refused = refused
        #: Its error code (RFC 6749 5.2), where it has said one.
        self.error = error


class Issuer(Protocol):
    """Asks for a token each time."""

    async def issue(self) -> AccessToken:
        """Return a new token. Raise `AccessTokenError`. The caller sets the deadline."""


def utc_now() -> datetime:
    """Return what the clock on the wall says; tests have others."""
    return datetime.now(UTC)


def steady_seconds() -> float:
    """Return the seconds by a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class TokenCache:
    """Implements `probes.model.mailbox.AccessTokens`: asks *issuer* only when nothing good is at hand, and once for all."""

    def __init__(
        self,
        issuer: Issuer,
        *,
        within: timedelta = _ANSWER,
        clock: Callable[[], datetime] = utc_now,
        steady: Callable[[], float] = steady_seconds,
    ) -> None:
        self._issuer = issuer
        self._within = within
        self._clock = clock
        self._steady = steady
        self._asking = asyncio.Lock()
        self._token: AccessToken | None = None
        self._issued_at, self._issued = datetime.min.replace(tzinfo=UTC), 0.0
        self._failure: AccessTokenError | None = None
        self._failed_at = self._issued_at

    @property
    def expires_at(self) -> datetime | None:
        """When the token at hand expires."""
        return self._token.expires_at if self._token else None

    async def get(self) -> AccessToken:
        """Return the token at hand, or a new one. Raise `AccessTokenError`; for a while after a failure without asking."""
        if (token := self._good()) is not None:
            return token
        async with self._asking:
            # Somebody else may have been given one meanwhile.
            if (token := self._good()) is not None:
                return token
            if (held := self._held()) is None:
                try:
                    return await self._renewed()
                except AccessTokenError as failure:
                    self._failure, self._failed_at, held = failure, self._clock(), failure
            if self._token is not None and not self._over(self._token):
                # It could not be renewed early; it serves to its end.
                return self._token
            raise AccessTokenError(str(held), refused=held.refused)

    def reject(self, token: AccessToken) -> bool:
        """Let go of *token*, unless it is so new that another one would fare no better."""
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
        self._issued = self._steady()
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
        # A clock that was put back must not make it longer.
        return self._failure if timedelta(0) <= self._clock() - self._failed_at < hold else None

    def _age(self) -> timedelta:
        # A clock that was set back does not make a token younger, nor one that was put right forwards good for longer.
        return max(self._clock() - self._issued_at, timedelta(seconds=self._steady() - self._issued))
