"""Secrets entered in the portal, by their names in documents, as far as they can be read."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from functools import cached_property

from monitor.access.encryption import Ciphertext, SecretPlace, SecretPurpose
from monitor.config.files.secret import StoredSecret
from monitor.config.model.settings import Settings
from monitor.model.lazy_text import said
from monitor.store.admin.secrets import read_secrets
from monitor.store.admin.unopened import DocumentsAwayError

#: Decrypted secrets by name, each with its ciphertext. A name is never reused for another secret.
ReadSecrets = MutableMapping[str, tuple[Ciphertext, StoredSecret]]


class StoredSecrets:
    """Lookup of stored secrets during one read of the configuration. The database is queried at the first lookup."""

    def __init__(
        self,
        settings: Settings | None,
        fresh: Mapping[str, StoredSecret],
        known: ReadSecrets,
        *,
        is_followed: bool = False,
    ) -> None:
        """*fresh*: secrets about to be stored. *known*: cache of earlier reads; decrypted secrets are added to it.

        *is_followed*: the sign-in code resolves successors of refresh tokens itself. Otherwise the newest token is
        returned.
        """
        self._settings = settings
        self._fresh = fresh
        self._known = known
        self._is_followed = is_followed

    def __call__(self, name: str) -> StoredSecret:
        """Return the secret of that name; its `why` says if it is unavailable."""
        if name in self._fresh:
            return self._fresh[name]
        kept = self._kept
        if isinstance(kept, str):
            # While the database is unavailable, cached secrets stay valid.
            return self._known[name][1] if name in self._known else StoredSecret("", why=kept)
        if (ciphertext := kept.get(name)) is None:
            return StoredSecret("", why="what was typed is not in this store: the mailbox is not signed in to")
        if name in self._known and self._known[name][0] == ciphertext:
            return self._known[name][1]
        found = self._decrypted(name, ciphertext)
        if not found.why:
            self._known[name] = ciphertext, found
        return found

    @cached_property
    def _kept(self) -> Mapping[str, Ciphertext] | str:
        return self._of(SecretPurpose.MAILBOX)

    @cached_property
    def _renewed(self) -> Mapping[str, Ciphertext]:
        found = {} if self._is_followed else self._of(SecretPurpose.RENEWED)
        return {} if isinstance(found, str) else found

    def _of(self, purpose: SecretPurpose) -> Mapping[str, Ciphertext] | str:
        if self._settings is None:
            return "what was typed cannot be looked for: the settings cannot be read"
        server = None if self._settings.store is None else self._settings.store.build()
        try:
            return read_secrets(self._settings.state_dir, server, purpose)
        except DocumentsAwayError as away:
            return said("what was typed cannot be looked for: {away}", away=away)

    def _decrypted(self, name: str, ciphertext: Ciphertext) -> StoredSecret:
        from monitor.store.admin.keyring import SecretLockedError  # noqa: PLC0415 - most who read settings decrypt nothing

        portal = self._settings.portal if self._settings else None
        keyring = portal.keyring() if portal else None
        if keyring is None:
            return StoredSecret(
                "", why="what was typed cannot be read: portal.secrets_key_file names no key that can be read"
            )
        try:
            place = SecretPlace(purpose=SecretPurpose.MAILBOX, owner=name)
            found = StoredSecret.read(keyring.decrypt(place, ciphertext), name)
            if (renewed := self._renewed.get(name)) is None:
                return found
            place = SecretPlace(purpose=SecretPurpose.RENEWED, owner=name)
            return StoredSecret(keyring.decrypt(place, renewed), allowed_hosts=found.allowed_hosts, name=name)
        except (SecretLockedError, ValueError) as why:
            return StoredSecret("", why=said("what was typed cannot be read: {why}", why=why))
