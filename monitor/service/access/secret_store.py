"""Secrets entered in the portal: encrypted in the store, written once, never shown again."""

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

#: Per transaction, so that other writers do not wait long.
_AT_ONCE: Final = 100


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
    #: Secrets that cannot be read and stay unchanged.
    locked: int


class SecretStore:
    """Reads and encrypts secrets. Raises `StoreUnavailable`."""

    def __init__(self, secrets: Secrets, clock: Clock, keyring: Keyring | None) -> None:
        """Without a *keyring* no secret can be stored or read."""
        self._secrets = secrets
        self._clock = clock
        self._keyring = keyring

    @property
    def can_keep(self) -> bool:
        """Whether there is a key."""
        return self._keyring is not None

    async def secret(self, place: SecretPlace) -> str | None:
        """Return the secret of a place; `None`: there is none. Raise `SecretLockedError`."""
        kept = await self._secrets.find(place)
        return None if kept is None else self.decrypt(place, kept)

    def encrypt(self, place: SecretPlace, secret: str) -> Ciphertext:
        """Encrypt a secret for storage. Raise `SecretLockedError` without a key."""
        return self._keys().encrypt(place, secret)

    def decrypt(self, place: SecretPlace, kept: Ciphertext) -> str:
        """Decrypt a secret. Raise `SecretLockedError`."""
        return self._keys().decrypt(place, kept)

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

    async def look(self) -> None:
        """Log at start which secrets cannot be read. Change nothing."""
        for each in await self.counts():
            if not each.is_readable:
                log.error(
                    "secrets cannot be decrypted: key missing; name its file in portal.previous_secrets_key_file",
                    key=each.key_id,
                    secrets=each.count,
                    purpose=each.purpose,
                )

    async def rotate(self, *, by: str) -> SecretRotation:
        """Encrypt all secrets with the current key that use another one. A repeated call resumes an interrupted one.

        Raise `OperationRejectedError` without a key. Secrets that change meanwhile stay as written.
        """
        if self._keyring is None:
            raise OperationRejectedError(
                "there is no key: write portal.secrets_key_file into the settings, and start the service"
            )
        keyring, changed, after = self._keyring, 0, None
        while some := await self._secrets.under(keyring.key_ids - {keyring.key_id}, after, _AT_ONCE):
            changes: list[tuple[SecretPlace, Ciphertext, Ciphertext]] = []
            for place, kept in some:
                try:
                    changes.append((place, kept, keyring.encrypt(place, keyring.decrypt(place, kept))))
                except SecretLockedError as why:
                    log.warning(
                        "secret could not be re-encrypted", purpose=place.purpose, owner=place.owner, reason=str(why)
                    )
            if changes:
                detail = {"key": keyring.key_id, "secrets": str(len(changes))}
                entry = AuditEntry(at=self._clock.now(), actor=by, event="secrets encrypted anew", detail=detail)
                changed += await self._secrets.replace(changes, entry)
            after = some[-1][0]
        locked = sum(each.count for each in await self.counts() if not each.is_current)
        return SecretRotation(key_id=keyring.key_id, changed=changed, locked=locked)

    def _keys(self) -> Keyring:
        if self._keyring is None:
            raise SecretLockedError("there is no key: portal.secrets_key_file names none")
        return self._keyring
