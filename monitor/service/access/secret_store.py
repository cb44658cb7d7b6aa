"""Secrets that users enter in the portal, such as mailbox passwords: stored encrypted, and never shown again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry
from monitor.access.encryption import Ciphertext, SecretPlace
from monitor.service.errors import OperationRejectedError
from monitor.store.admin.keyring import Keyring, SecretLockedError
from monitor.store.admin.secrets import Secrets

log = structlog.get_logger()

#: Other writers wait for a transaction to end.
_SECRETS_PER_TRANSACTION: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretCount:
    """Number of secrets of a purpose that are encrypted with a key."""

    purpose: str
    key_id: str
    count: int
    #: Whether the settings contain that key.
    is_readable: bool
    #: Whether new secrets are encrypted with this key.
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRotation:
    """Result of a key rotation."""

    key_id: str
    changed: int
    #: Number of secrets that cannot be decrypted and stay unchanged.
    locked: int


class SecretStore:
    """Reader and encrypter of secrets. Raises `StoreUnavailable`."""

    def __init__(self, secrets: Secrets, clock: Clock, keyring: Keyring | None) -> None:
        """Take *keyring*, the keys of the settings; `None`: no secret can be stored or read."""
        self._secrets = secrets
        self._clock = clock
        self._keyring = keyring

    @property
    def has_key(self) -> bool:
        """Whether a key is configured."""
        return self._keyring is not None

    async def read(self, place: SecretPlace) -> str | None:
        """Return the secret of a place; `None`: none is stored. Raise `SecretLockedError` without its key."""
        ciphertext = await self._secrets.find(place)
        return None if ciphertext is None else self.decrypt(place, ciphertext)

    def encrypt(self, place: SecretPlace, secret: str) -> Ciphertext:
        """Encrypt a secret for storage. Raise `SecretLockedError` without a key."""
        return self._require_keyring().encrypt(place, secret)

    def decrypt(self, place: SecretPlace, ciphertext: Ciphertext) -> str:
        """Decrypt a secret. Raise `SecretLockedError` without its key."""
        return self._require_keyring().decrypt(place, ciphertext)

    async def counts(self) -> Sequence[SecretCount]:
        """Return the number of secrets by purpose and key."""
        keyring = self._keyring
        return [
            SecretCount(
                purpose=purpose,
                key_id=key_id,
                count=count,
                is_readable=keyring is not None and key_id in keyring.key_ids,
                is_current=keyring is not None and key_id == keyring.key_id,
            )
            for (purpose, key_id), count in sorted((await self._secrets.counts()).items())
        ]

    async def log_unreadable(self) -> None:
        """Log how many secrets cannot be decrypted, by key."""
        for each in await self.counts():
            if not each.is_readable:
                log.error(
                    "secrets cannot be decrypted: key missing; name its file in portal.previous_secrets_key_file",
                    key=each.key_id,
                    secrets=each.count,
                    purpose=each.purpose,
                )

    async def rotate(self, *, by: str) -> SecretRotation:
        """Encrypt with the current key all secrets that use another key. A repeated call resumes an interrupted call.

        Raise `OperationRejectedError` without a key. A secret that a user changes meanwhile is not overwritten.
        """
        if self._keyring is None:
            raise OperationRejectedError("no key is configured: set portal.secrets_key_file, and restart the service")
        keyring, changed, last_place = self._keyring, 0, None
        while batch := await self._secrets.under(
            keyring.key_ids - {keyring.key_id}, last_place, _SECRETS_PER_TRANSACTION
        ):
            changes: list[tuple[SecretPlace, Ciphertext, Ciphertext]] = []
            for place, ciphertext in batch:
                try:
                    changes.append((place, ciphertext, keyring.encrypt(place, keyring.decrypt(place, ciphertext))))
                except SecretLockedError as lock_error:
                    log.warning(
                        "secret could not be re-encrypted",
                        purpose=place.purpose,
                        owner=place.owner,
                        reason=str(lock_error),
                    )
            if changes:
                detail = {"key": keyring.key_id, "secrets": str(len(changes))}
                entry = AuditEntry(at=self._clock.now(), actor=by, event="secrets encrypted anew", detail=detail)
                changed += await self._secrets.replace(changes, entry)
            last_place = batch[-1][0]
        locked = sum(each.count for each in await self.counts() if not each.is_current)
        return SecretRotation(key_id=keyring.key_id, changed=changed, locked=locked)

    def _require_keyring(self) -> Keyring:
        if self._keyring is None:
            raise SecretLockedError("no key is configured: set portal.secrets_key_file")
        return self._keyring
