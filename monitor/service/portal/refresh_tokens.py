"""Follows refresh tokens that officers have consented to: what a provider gives in exchange is kept, encrypted, in the store.

A restart goes on with the newest, and so does another service on the same store, which looks before it asks. Of two that ask at once
the one that was answered last counts. Killed between an answer and the store, the next start asks with the one before: Microsoft
takes it until it ends by itself (learn.microsoft.com, "Refresh tokens in the Microsoft identity platform"), Google exchanges none.
Who takes each only once will want a consent anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.access.encryption import SecretPlace, SecretPurpose
from monitor.service.access.secret_store import SecretStore
from monitor.store.admin.keyring import SecretLockedError
from monitor.store.admin.secrets import RotatedToken, Secrets
from probes.credentials.oauth_endpoint import RefreshTokens

log = structlog.get_logger()

#: The least that one is later than another, as stores tell times apart.
_LATER: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _AtHand:
    """The newest token that this process knows."""

    token: str = field(repr=False)
    at: datetime
    is_kept: bool


class RefreshTokenRotation:
    """Knows which token follows each that was typed. It is opened before anybody signs in."""

    def __init__(self) -> None:
        self._secrets: Secrets | None = None
        self._safe: SecretStore
        self._clock: Clock
        #: By the name of what was typed.
        self._at_hand: dict[str, _AtHand] = {}
        #: Names of which the store has said since the start what followed; and whether it answered when it was last asked.
        self._seen: set[str] = set()
        self._answers = True

    def open(self, secrets: Secrets, safe: SecretStore, clock: Clock) -> None:
        """Keep them there from now on. *clock*: the same for all services on the store."""
        self._secrets, self._safe, self._clock = secrets, safe, clock

    def rotation(self, name: str, typed: str) -> RefreshTokens:
        """Return which token follows the one that was *typed* under a name."""
        return _Followed(self, name, typed)

    async def newest(self, name: str) -> str | None:
        """Return the newest token that has followed; `None`: none has. While the store is away it is the newest known here."""
        known = self._at_hand.get(name)
        if self._is_away and not self._answers and name in self._seen:
            # Not once more: it may not even refuse, and whoever signs in has a session that waits. A full disk can be read.
            return known.token if known else None
        answers = False
        try:
            kept = await self._secrets.renewed(name) if self._secrets else None
            answers = True
            self._seen.add(name)
            if kept is not None and (known is None or kept.at > known.at):
                token = self._safe.decrypt(_place(name), kept.secret)
                known = self._at_hand[name] = _AtHand(token=token, at=kept.at, is_kept=True)
        except StoreUnavailable as away:
            log.debug("whether a refresh token was renewed elsewhere cannot be seen", secret=name, why=str(away))
        except SecretLockedError as locked:
            log.warning("a renewed refresh token cannot be read", secret=name, why=str(locked))
        finally:
            # Also where whoever asked has waited long enough, and is cancelled.
            self._answers = answers
        return known.token if known else None

    async def keep(self, name: str, following: str) -> None:
        """Keep what came in exchange. What cannot be kept now is tried again later, and holds here meanwhile."""
        known, now = self._at_hand.get(name), self._clock.now()
        # A clock that was put back does not make it older than what it came in exchange for.
        at = now if known is None else max(now, known.at + _LATER)
        # First of all: whatever happens to the store, the one before may be good for nothing by now.
        self._at_hand[name] = _AtHand(token=following, at=at, is_kept=False)
        if not self._is_away:
            await self._try_to_keep(name)

    async def catch_up(self) -> None:
        """Keep what could not be kept before."""
        for name in [name for name, each in self._at_hand.items() if not each.is_kept]:
            await self._try_to_keep(name)

    @property
    def _is_away(self) -> bool:
        return self._secrets is not None and self._secrets.are_away

    async def _try_to_keep(self, name: str) -> None:
        held = self._at_hand[name]
        if self._secrets is None:
            return
        try:
            later = RotatedToken(secret=self._safe.encrypt(_place(name), held.token), at=held.at)
            is_wanted = await self._secrets.renew(name, later)
        except (StoreUnavailable, SecretLockedError) as why:
            log.warning("a renewed refresh token is not kept yet", secret=name, why=str(why))
            return
        if self._at_hand.get(name) is not held:
            return  # Another has come meanwhile.
        if is_wanted:
            self._at_hand[name] = replace(held, is_kept=True)
        else:
            # No document names what it follows any more.
            del self._at_hand[name]


def _place(name: str) -> SecretPlace:
    return SecretPlace(purpose=SecretPurpose.RENEWED, owner=name)


class _Followed:
    """Implements `RefreshTokens` of one that was typed."""

    def __init__(self, renewals: RefreshTokenRotation, name: str, typed: str) -> None:
        self._renewals = renewals
        self._name = name
        self._typed = typed

    async def current(self) -> str:
        """Return the token to use."""
        return await self._renewals.newest(self._name) or self._typed

    async def turn(self, following: str) -> None:
        """Use *following* from now on."""
        await self._renewals.keep(self._name, following)
