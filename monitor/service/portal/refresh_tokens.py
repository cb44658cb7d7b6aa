"""Rotation of OAuth refresh tokens: a replacement that the provider returns is stored, encrypted, in the database.

Every process on the database reads the newest token before each request, so it also continues after a restart. Of two
concurrent requests the later response counts. If a process is killed between a response and the write, the next start
uses the previous token. Microsoft accepts that token until it expires (learn.microsoft.com, "Refresh tokens in the
Microsoft identity platform"), and Google does not rotate tokens. A provider that accepts each token only once then
requires a new consent.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.access.encryption import SecretId, SecretPurpose
from monitor.service.access.secret_store import SecretStore
from monitor.store.admin.keyring import SecretLockedError
from monitor.store.admin.secrets import RotatedToken, Secrets
from probes.credentials.oauth_endpoint import RefreshTokens

log = structlog.get_logger()

#: Smallest difference of times that the databases can store.
_SMALLEST_STEP: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LatestToken:
    """The newest token that this process has."""

    token: str = field(repr=False)
    #: When the provider returned it.
    at: datetime
    #: Whether it is in the database.
    is_stored: bool


class RefreshTokenRotation:
    """Latest replacement of each original refresh token, which a user typed or obtained by a consent.

    Call `open` before any sign-in.
    """

    def __init__(self) -> None:
        self._secrets: Secrets | None = None
        self._secret_store: SecretStore
        self._clock: Clock
        #: Newest token in memory, by the name of the secret that contains the original token.
        self._latest: dict[str, _LatestToken] = {}
        #: Names that were read from the database since the start.
        self._names_read: set[str] = set()
        self._last_query_succeeded = True

    def open(self, secrets: Secrets, secret_store: SecretStore, clock: Clock) -> None:
        """Store tokens in the database from now on. *clock*: the same for all processes on the database."""
        self._secrets, self._secret_store, self._clock = secrets, secret_store, clock

    def rotation(self, name: str, original_token: str) -> RefreshTokens:
        """Return the source of the current token. *name*: the name of the secret that contains *original_token*."""
        return _RotatingToken(self, name, original_token)

    async def newest(self, name: str) -> str | None:
        """Return the newest replacement; `None`: there is none.

        While the database is unavailable, the current token is the newest token in memory.
        """
        latest = self._latest.get(name)
        if self._is_database_unavailable and not self._last_query_succeeded and name in self._names_read:
            # Send no query: it could hang, and a session waits for the token. But if the last query succeeded, send
            # one: a database that cannot be written (a full disk) may still be readable.
            return latest.token if latest else None
        succeeded = False
        try:
            stored = await self._secrets.find_rotated_token(name) if self._secrets else None
            succeeded = True
            self._names_read.add(name)
            if stored is not None and (latest is None or stored.at > latest.at):
                token = self._secret_store.decrypt(_secret_id(name), stored.secret)
                latest = self._latest[name] = _LatestToken(token=token, at=stored.at, is_stored=True)
        except StoreUnavailable as error:
            log.debug("refresh token could not be read from the database", secret=name, reason=str(error))
        except SecretLockedError as error:
            log.warning("rotated refresh token cannot be decrypted", secret=name, reason=str(error))
        finally:
            # In `finally`, because the caller's timeout may cancel the query.
            self._last_query_succeeded = succeeded
        return latest.token if latest else None

    async def store_replacement(self, name: str, replacement: str) -> None:
        """Store a replacement. If that fails, use the replacement from memory, and store it later (`catch_up`)."""
        latest, now = self._latest.get(name), self._clock.now()
        # The replacement is newer than the token that it replaces, even if the clock was set back.
        at = now if latest is None else max(now, latest.at + _SMALLEST_STEP)
        # Keep the replacement in memory before the write: if the write fails, the previous token may be invalid already.
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
            rotated = RotatedToken(secret=self._secret_store.encrypt(_secret_id(name), latest.token), at=latest.at)
            is_current = await self._secrets.store_rotated_token(name, rotated)
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


def _secret_id(name: str) -> SecretId:
    return SecretId(purpose=SecretPurpose.RENEWED, owner=name)


class _RotatingToken:
    """`RefreshTokens` of one original token."""

    def __init__(self, rotation: RefreshTokenRotation, name: str, original_token: str) -> None:
        self._rotation = rotation
        self._name = name
        self._original_token = original_token

    async def current(self) -> str:
        """Return the current token."""
        return await self._rotation.newest(self._name) or self._original_token

    async def rotate(self, rotated: str) -> None:
        """Use *rotated* from now on."""
        await self._rotation.store_replacement(self._name, rotated)
