"""Rotation of refresh tokens from consents: a new token from the provider is stored, encrypted, in the database.

A restart uses the newest, and so does another service on the same store, which reads it before each request. Of two
concurrent requests the later response counts. If the process is killed between a response and the write, the next start
uses the previous token: Microsoft accepts it until it expires (learn.microsoft.com, "Refresh tokens in the Microsoft
identity platform"), Google does not rotate. A provider that accepts each token only once then requires a new consent.
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

#: The smallest difference of times that databases store.
_LATER: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _AtHand:
    """The newest token that this process has."""

    token: str = field(repr=False)
    at: datetime
    is_kept: bool


class RefreshTokenRotation:
    """Replacements of each typed token. It is opened before any sign-in."""

    def __init__(self) -> None:
        self._secrets: Secrets | None = None
        self._safe: SecretStore
        self._clock: Clock
        #: By the name of the typed token.
        self._at_hand: dict[str, _AtHand] = {}
        #: Names that were read from the database since the start; and whether its last query succeeded.
        self._seen: set[str] = set()
        self._answers = True

    def open(self, secrets: Secrets, safe: SecretStore, clock: Clock) -> None:
        """Store tokens in the database from now on. *clock*: the same for all services on the store."""
        self._secrets, self._safe, self._clock = secrets, safe, clock

    def rotation(self, name: str, typed: str) -> RefreshTokens:
        """Return the source of tokens that replace the one *typed* under a name."""
        return _Followed(self, name, typed)

    async def newest(self, name: str) -> str | None:
        """Return the newest replacement; `None`: there is none.

        While the database is unavailable, it is the newest in memory.
        """
        known = self._at_hand.get(name)
        if self._is_away and not self._answers and name in self._seen:
            # Without a further attempt, which may not even be refused: a waiting session depends on it. A full disk can
            # be read.
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
            log.debug("refresh token could not be read from the database", secret=name, reason=str(away))
        except SecretLockedError as locked:
            log.warning("rotated refresh token cannot be decrypted", secret=name, reason=str(locked))
        finally:
            # Also if the caller has waited long enough, and is cancelled.
            self._answers = answers
        return known.token if known else None

    async def keep(self, name: str, following: str) -> None:
        """Store a replacement. If that fails, it is stored later, and used from memory meanwhile."""
        known, now = self._at_hand.get(name), self._clock.now()
        # After the clock was set back it must still be newer than the token that it replaces.
        at = now if known is None else max(now, known.at + _LATER)
        # Before anything else: whatever happens to the database, the previous token may be invalid by now.
        self._at_hand[name] = _AtHand(token=following, at=at, is_kept=False)
        if not self._is_away:
            await self._try_to_keep(name)

    async def catch_up(self) -> None:
        """Store what could not be stored before."""
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
            log.warning("rotated refresh token is not stored yet", secret=name, reason=str(why))
            return
        if self._at_hand.get(name) is not held:
            return  # A newer one was set meanwhile.
        if is_wanted:
            self._at_hand[name] = replace(held, is_kept=True)
        else:
            # No document names the typed token any more.
            del self._at_hand[name]


def _place(name: str) -> SecretPlace:
    return SecretPlace(purpose=SecretPurpose.RENEWED, owner=name)


class _Followed:
    """Implements `RefreshTokens` for one typed token."""

    def __init__(self, renewals: RefreshTokenRotation, name: str, typed: str) -> None:
        self._renewals = renewals
        self._name = name
        self._typed = typed

    async def current(self) -> str:
        """Return the current token."""
        return await self._renewals.newest(self._name) or self._typed

    async def turn(self, following: str) -> None:
        """Use *following* from now on."""
        await self._renewals.keep(self._name, following)
