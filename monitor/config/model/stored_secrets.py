"""Lookup of secrets that users entered in the portal, such as passwords of mailboxes.

An agency's document contains only the name of such a secret. The secret itself is in the database, encrypted.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from functools import cached_property

from monitor.access.encryption import Ciphertext, SecretId, SecretPurpose
from monitor.config.files.secret import StoredSecret
from monitor.config.model.settings import Settings
from monitor.model.translatable import translatable
from monitor.store.admin.secrets import read_secrets
from monitor.store.admin.unopened import StoreUnreadableError

#: Decrypted secrets by name, each with the ciphertext that it was decrypted from. A name is never reused for another
#: secret.
SecretCache = MutableMapping[str, tuple[Ciphertext, StoredSecret]]


class StoredSecretLookup:
    """Lookup of stored secrets during one read of the configuration. Only the first lookup queries the database.

    A *rotated* token is a refresh token by which an authorization server replaced the one that a user entered.
    """

    def __init__(
        self,
        settings: Settings | None,
        new_secrets: Mapping[str, StoredSecret],
        cache: SecretCache,
        *,
        resolves_rotations: bool = False,
    ) -> None:
        """Create the lookup for one read.

        *settings*: location of the database and its keys; `None` if they are invalid. *new_secrets*: secrets that are
        not stored yet, by name. *cache*: secrets that earlier reads decrypted; this read adds its own.
        *resolves_rotations*: whether the caller itself replaces a refresh token by the latest rotated one; otherwise
        the lookup returns the latest.
        """
        self._settings = settings
        self._new_secrets = new_secrets
        self._cache = cache
        self._resolves_rotations = resolves_rotations

    def __call__(self, name: str) -> StoredSecret:
        """Return the secret *name*. An unavailable secret is empty, and its `unavailable_reason` is set."""
        if name in self._new_secrets:
            return self._new_secrets[name]
        ciphertexts = self._mailbox_secrets
        if isinstance(ciphertexts, str):
            # The database is unavailable. Cached secrets stay valid.
            return self._cache[name][1] if name in self._cache else StoredSecret("", unavailable_reason=ciphertexts)
        if (ciphertext := ciphertexts.get(name)) is None:
            return StoredSecret(
                "",
                unavailable_reason=(
                    "the secret from the portal is not in this database, so Pantau cannot sign in to the mailbox"
                ),
            )
        if name in self._cache and self._cache[name][0] == ciphertext:
            return self._cache[name][1]
        secret = self._decrypt(name, ciphertext)
        if not secret.unavailable_reason:
            self._cache[name] = ciphertext, secret
        return secret

    @cached_property
    def _mailbox_secrets(self) -> Mapping[str, Ciphertext] | str:
        """As `_read_ciphertexts` returns them."""
        return self._read_ciphertexts(SecretPurpose.MAILBOX)

    @cached_property
    def _rotated_tokens(self) -> Mapping[str, Ciphertext]:
        """Rotated tokens by the name of the replaced secret; empty if the caller resolves rotations."""
        tokens = {} if self._resolves_rotations else self._read_ciphertexts(SecretPurpose.RENEWED)
        return {} if isinstance(tokens, str) else tokens

    def _read_ciphertexts(self, purpose: SecretPurpose) -> Mapping[str, Ciphertext] | str:
        """Return the ciphertexts with *purpose* by the secret's name, or the reason why they cannot be read."""
        if self._settings is None:
            return "secrets from the portal cannot be read, because the settings cannot be read"
        # Without a server, the database is a file in the state directory.
        server = None if self._settings.store is None else self._settings.store.build()
        try:
            return read_secrets(self._settings.state_dir, server, purpose)
        except StoreUnreadableError as error:
            return translatable("secrets from the portal cannot be read: {error}", error=error)

    def _decrypt(self, name: str, ciphertext: Ciphertext) -> StoredSecret:
        """Return the secret *name*, or the token that replaced it; empty, with the reason, if that is impossible."""
        from monitor.store.admin.keyring import SecretLockedError  # noqa: PLC0415 - slow import, rarely needed

        portal = self._settings.portal if self._settings else None
        keyring = portal.keyring() if portal else None
        if keyring is None:
            return StoredSecret(
                "",
                unavailable_reason=(
                    "secrets from the portal cannot be decrypted: portal.secrets_key_file names no readable key"
                ),
            )
        try:
            secret_id = SecretId(purpose=SecretPurpose.MAILBOX, owner=name)
            secret = StoredSecret.parse(keyring.decrypt(secret_id, ciphertext), name)
            if (rotated := self._rotated_tokens.get(name)) is None:
                return secret
            secret_id = SecretId(purpose=SecretPurpose.RENEWED, owner=name)
            token = keyring.decrypt(secret_id, rotated)
            return StoredSecret(token, allowed_recipients=secret.allowed_recipients, name=name)
        except (SecretLockedError, ValueError) as error:
            return StoredSecret(
                "", unavailable_reason=translatable("the secret from the portal cannot be decrypted: {why}", why=error)
            )
