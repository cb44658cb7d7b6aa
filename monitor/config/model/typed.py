"""Lookup of secrets that were entered in the portal, by their names in agency documents."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from functools import cached_property

from monitor.access.encryption import Ciphertext, SecretPlace, SecretPurpose
from monitor.config.files.secret import StoredSecret
from monitor.config.model.settings import Settings
from monitor.model.lazy_text import lazy_text
from monitor.store.admin.secrets import read_secrets
from monitor.store.admin.unopened import DocumentsAwayError

#: Decrypted secrets by name, each with its ciphertext. A name is never reused for another secret.
SecretCache = MutableMapping[str, tuple[Ciphertext, StoredSecret]]


class StoredSecrets:
    """Lookup of secrets in the database during one read of the configuration. The first call queries the database."""

    def __init__(
        self,
        settings: Settings | None,
        new_secrets: Mapping[str, StoredSecret],
        cache: SecretCache,
        *,
        resolves_rotations: bool = False,
    ) -> None:
        """Take secrets that are about to be stored from *new_secrets*, and decrypted secrets of earlier reads from *cache*.

        Newly decrypted secrets are added to *cache*. *resolves_rotations*: whether the sign-in code itself replaces a
        refresh token by its successor; otherwise the lookup returns the newest token.
        """
        self._settings = settings
        self._new_secrets = new_secrets
        self._cache = cache
        self._resolves_rotations = resolves_rotations

    def __call__(self, name: str) -> StoredSecret:
        """Return the secret of that name. If it is unavailable, it is empty and `unavailable_reason` has the reason."""
        if name in self._new_secrets:
            return self._new_secrets[name]
        ciphertexts = self._mailbox_secrets
        if isinstance(ciphertexts, str):
            # While the database is unavailable, cached secrets stay valid.
            return self._cache[name][1] if name in self._cache else StoredSecret("", unavailable_reason=ciphertexts)
        if (ciphertext := ciphertexts.get(name)) is None:
            return StoredSecret(
                "", unavailable_reason="what was typed is not in this store: the mailbox is not signed in to"
            )
        if name in self._cache and self._cache[name][0] == ciphertext:
            return self._cache[name][1]
        secret = self._decrypt(name, ciphertext)
        if not secret.unavailable_reason:
            self._cache[name] = ciphertext, secret
        return secret

    @cached_property
    def _mailbox_secrets(self) -> Mapping[str, Ciphertext] | str:
        return self._read_ciphertexts(SecretPurpose.MAILBOX)

    @cached_property
    def _rotated_tokens(self) -> Mapping[str, Ciphertext]:
        tokens = {} if self._resolves_rotations else self._read_ciphertexts(SecretPurpose.RENEWED)
        return {} if isinstance(tokens, str) else tokens

    def _read_ciphertexts(self, purpose: SecretPurpose) -> Mapping[str, Ciphertext] | str:
        if self._settings is None:
            return "what was typed cannot be looked for: the settings cannot be read"
        server = None if self._settings.store is None else self._settings.store.build()
        try:
            return read_secrets(self._settings.state_dir, server, purpose)
        except DocumentsAwayError as error:
            return lazy_text("what was typed cannot be looked for: {away}", away=error)

    def _decrypt(self, name: str, ciphertext: Ciphertext) -> StoredSecret:
        from monitor.store.admin.keyring import SecretLockedError  # noqa: PLC0415 - most who read settings decrypt nothing

        portal = self._settings.portal if self._settings else None
        keyring = portal.keyring() if portal else None
        if keyring is None:
            return StoredSecret(
                "",
                unavailable_reason="what was typed cannot be read: portal.secrets_key_file names no key that can be read",
            )
        try:
            secret_place = SecretPlace(purpose=SecretPurpose.MAILBOX, owner=name)
            secret = StoredSecret.parse(keyring.decrypt(secret_place, ciphertext), name)
            if (rotated := self._rotated_tokens.get(name)) is None:
                return secret
            secret_place = SecretPlace(purpose=SecretPurpose.RENEWED, owner=name)
            return StoredSecret(keyring.decrypt(secret_place, rotated), allowed_hosts=secret.allowed_hosts, name=name)
        except (SecretLockedError, ValueError) as error:
            return StoredSecret("", unavailable_reason=lazy_text("what was typed cannot be read: {why}", why=error))
