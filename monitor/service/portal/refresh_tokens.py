"""Rotation of OAuth refresh tokens: a replacement that the provider returns is stored, encrypted, in the database.

The newest token is used after a restart, and by other processes on the database, which read it before each request.
Of two concurrent requests the later response counts. If the process is killed between a response and the write, the
next start uses the previous token: Microsoft accepts it until it expires (learn.microsoft.com, "Refresh tokens in the
Microsoft identity platform"), Google does not rotate. A provider that accepts each token only once then requires a new
consent.
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

#: Smallest difference of times that databases store.
_SMALLEST_STEP: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LatestToken:
    """The newest token that this process has."""

    token: str = field(repr=False)
    at: datetime
    is_stored: bool


class RefreshTokenRotation:
    """Replacements of each refresh token that was typed or consented to. Call `open` before any sign-in."""

    def __init__(self) -> None:
        self._secrets: Secrets | None = None
        self._secret_store: SecretStore
        self._clock: Clock
        #: Newest token in memory, by the name of the original token.
        self._latest: dict[str, _LatestToken] = {}
        #: Names that were read from the database since the start.
        self._names_read: set[str] = set()
        self._last_query_succeeded = True

    def open(self, secrets: Secrets, safe: SecretStore, clock: Clock) -> None:
        """Store tokens in the database from now on. *clock*: the same for all processes on the database."""
        self._secrets, self._secret_store, self._clock = secrets, safe, clock

    def rotation(self, name: str, typed: str) -> RefreshTokens:
        """Return the source of the current token for the name of a secret whose original token is *typed*."""
        return _RotatingToken(self, name, typed)

    async def newest(self, name: str) -> str | None:
        """Return the newest replacement; `None`: there is none.

        While the database is unavailable, the current token is the newest token in memory.
        """
        latest = self._latest.get(name)
        if self._is_database_unavailable and not self._last_query_succeeded and name in self._names_read:
            # Send no query: it could hang, and a session waits for the token. The last query decides, because a
            # database that cannot be written (a full disk) may still be readable.
            return latest.token if latest else None
        succeeded = False
        try:
            stored = await self._secrets.renewed(name) if self._secrets else None
            succeeded = True
            self._names_read.add(name)
            if stored is not None and (latest is None or stored.at > latest.at):
                token = self._secret_store.decrypt(_secret_place(name), stored.secret)
                latest = self._latest[name] = _LatestToken(token=token, at=stored.at, is_stored=True)
        except StoreUnavailable as error:
            log.debug("refresh token could not be read from the database", secret=name, reason=str(error))
        except SecretLockedError as error:
            log.warning("rotated refresh token cannot be decrypted", secret=name, reason=str(error))
        finally:
            # Also if the caller's timeout cancels the query.
            self._last_query_succeeded = succeeded
        return latest.token if latest else None

    async def keep(self, name: str, replacement: str) -> None:
        """Store a replacement. If that fails, it is used from memory, and stored later."""
        latest, now = self._latest.get(name), self._clock.now()
        # Even after the clock was set back, the replacement is newer than the token that it replaces.
        at = now if latest is None else max(now, latest.at + _SMALLEST_STEP)
        # In memory first, whatever happens to the database: the previous token may be invalid by now.
        self._latest[name] = _LatestToken(token=replacement, at=at, is_stored=False)
        if not self._is_database_unavailable:
            await self._try_to_store(name)

    async def catch_up(self) -> None:
        """Store the replacements that could not be stored before."""
        for name in [name for name, each in self._latest.items() if not each.is_stored]:
            await self._try_to_store(name)

    @property
    def _is_database_unavailable(self) -> bool:
        return self._secrets is not None and self._secrets.is_unavailable

    async def _try_to_store(self, name: str) -> None:
        latest = self._latest[name]
        if self._secrets is None:
            return
        try:
            rotated = RotatedToken(secret=self._secret_store.encrypt(_secret_place(name), latest.token), at=latest.at)
            is_current = await self._secrets.renew(name, rotated)
        except (StoreUnavailable, SecretLockedError) as error:
            log.warning("rotated refresh token is not stored yet", secret=name, reason=str(error))
            return
        if self._latest.get(name) is not latest:
            return  # Another response has set a newer token meanwhile.
        if is_current:
            self._latest[name] = replace(latest, is_stored=True)
        else:
            # No document refers to the original token any more.
            del self._latest[name]


def _secret_place(name: str) -> SecretPlace:
    return SecretPlace(purpose=SecretPurpose.RENEWED, owner=name)


class _RotatingToken:
    """`RefreshTokens` of one original token."""

    def __init__(self, rotation: RefreshTokenRotation, name: str, typed: str) -> None:
        self._rotation = rotation
        self._name = name
        self._typed = typed

    async def current(self) -> str:
        """Return the current token."""
        return await self._rotation.newest(self._name) or self._typed

    async def rotate(self, following: str) -> None:
        """Use *following* from now on."""
        await self._rotation.keep(self._name, following)
