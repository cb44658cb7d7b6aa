"""Secrets that users enter in the portal, such as mailbox passwords: stored encrypted, and never shown again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry
from monitor.access.encryption import Ciphertext, SecretId
from monitor.service.errors import OperationRejectedError
from monitor.store.admin.keyring import Keyring, SecretLockedError
from monitor.store.admin.secrets import Secrets

log = structlog.get_logger()

#: Maximum number of secrets that one transaction replaces: other writers wait for its end.
_SECRETS_PER_TRANSACTION: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretCount:
    """Number of secrets with one purpose and one encryption key."""

    #: Value of `SecretPurpose`.
    purpose: str
    #: Identifier of the key, which is stored with each secret.
    key_id: str
    count: int
    #: Whether the settings contain that key.
    is_readable: bool
    #: Whether new secrets are encrypted with this key.
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRotation:
    """Result of a key rotation."""

    #: Identifier of the current key.
    key_id: str
    #: Number of secrets that were encrypted again.
    changed: int
    #: Number of secrets that cannot be decrypted and stay unchanged.
    locked: int


class SecretStore:
    """Reads, decrypts and encrypts secrets. Raises `StoreUnavailable`."""

    def __init__(self, secrets: Secrets, clock: Clock, keyring: Keyring | None) -> None:
        """Take *keyring*, the keys of the settings; `None`: no secret can be stored or read."""
        self._secrets = secrets
        self._clock = clock
        self._keyring = keyring

    @property
    def has_key(self) -> bool:
        """Whether a key is configured."""
        return self._keyring is not None

    async def read(self, secret_id: SecretId) -> str | None:
        """Return a secret; `None`: it is not stored. Raise `SecretLockedError` if the settings lack its key."""
        ciphertext = await self._secrets.find(secret_id)
        return None if ciphertext is None else self.decrypt(secret_id, ciphertext)

    def encrypt(self, secret_id: SecretId, secret: str) -> Ciphertext:
        """Encrypt a secret for storage. Raise `SecretLockedError` if no key is configured."""
        return self._require_keyring().encrypt(secret_id, secret)

    def decrypt(self, secret_id: SecretId, ciphertext: Ciphertext) -> str:
        """Decrypt a secret. Raise `SecretLockedError` if the settings lack its key."""
        return self._require_keyring().decrypt(secret_id, ciphertext)

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
        """Encrypt with the current key all secrets that use another key. Repeat an interrupted call to complete it.

        A secret that a user changes meanwhile is not overwritten. Raise `OperationRejectedError` if no key is
        configured.
        """
        if self._keyring is None:
            raise OperationRejectedError("no key is configured: set portal.secrets_key_file, and restart the service")
        keyring, changed, last_secret_id = self._keyring, 0, None
        while batch := await self._secrets.list_encrypted_with(
            keyring.key_ids - {keyring.key_id}, last_secret_id, _SECRETS_PER_TRANSACTION
        ):
            changes: list[tuple[SecretId, Ciphertext, Ciphertext]] = []
            for secret_id, ciphertext in batch:
                try:
                    changes.append(
                        (secret_id, ciphertext, keyring.encrypt(secret_id, keyring.decrypt(secret_id, ciphertext)))
                    )
                except SecretLockedError as lock_error:
                    log.warning(
                        "secret could not be re-encrypted",
                        purpose=secret_id.purpose,
                        owner=secret_id.owner,
                        reason=str(lock_error),
                    )
            if changes:
                detail = {"key": keyring.key_id, "secrets": str(len(changes))}
                entry = AuditEntry(at=self._clock.now(), actor=by, event="secrets encrypted anew", detail=detail)
                changed += await self._secrets.replace(changes, entry)
            last_secret_id = batch[-1][0]
        locked = sum(each.count for each in await self.counts() if not each.is_current)
        return SecretRotation(key_id=keyring.key_id, changed=changed, locked=locked)

    def _require_keyring(self) -> Keyring:
        if self._keyring is None:
            raise SecretLockedError("no key is configured: set portal.secrets_key_file")
        return self._keyring
