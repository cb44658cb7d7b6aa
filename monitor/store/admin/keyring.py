"""Encryption of stored secrets, each bound to one purpose and one owner. The previous key still decrypts.

AES-256-GCM with a random nonce. Purpose and owner are authenticated with the secret, so that a writer to the database
cannot present one account's secret as another's.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from secrets import token_bytes
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from monitor.access.encryption import KEY_OCTETS, Ciphertext, EncryptionKey, SecretPlace

#: In octets (NIST SP 800-38D, 8.2.2). Two random nonces coincide only after some billions of secrets.
_NONCE: Final = 12
#: Version of the ciphertext format: distinguishes what another version wrote from corrupt data.
_FORM: Final = "1"


class SecretLockedError(Exception):
    """A secret cannot be decrypted with the available keys. The message names the key that can."""


def new_key() -> str:
    """Return a new key in the form in which a file contains it."""
    return urlsafe_b64encode(token_bytes(KEY_OCTETS)).decode()


class Keyring:
    """The current encryption key, and the previous key until every secret is encrypted anew."""

    def __init__(self, key: str, old: str | None = None) -> None:
        """Raise `BadKeyError`."""
        self._key = EncryptionKey.parse(key)
        self._keys = {each.id: each for each in (*((EncryptionKey.parse(old),) if old else ()), self._key)}

    @property
    def key_id(self) -> str:
        """Identifier of the key that encrypts."""
        return self._key.id

    @property
    def key_ids(self) -> frozenset[str]:
        """Identifiers of all keys that decrypt."""
        return frozenset(self._keys)

    def encrypt(self, place: SecretPlace, secret: str) -> Ciphertext:
        """Encrypt the secret of *place*."""
        nonce = token_bytes(_NONCE)
        octets = nonce + AESGCM(self._key.octets).encrypt(nonce, secret.encode(), _bound_to(place, self._key.id))
        return Ciphertext(key_id=self._key.id, text=f"{_FORM}.{urlsafe_b64encode(octets).decode()}")

    def decrypt(self, place: SecretPlace, kept: Ciphertext) -> str:
        """Return the secret of *place*. Raise `SecretLockedError`."""
        key = self._keys.get(kept.key_id)
        if key is None:
            raise SecretLockedError(
                f"it was encrypted with the key {kept.key_id}, which is not here (the settings name "
                f"{' and '.join(self._keys)}); let portal.previous_secrets_key_file name the file with that key"
            )
        form, _, text = kept.text.partition(".")
        if form != _FORM:
            raise SecretLockedError(f"it was written by another version of Pantau, in form {form[:8]!r}")
        try:
            octets = urlsafe_b64decode(text)
            plain = AESGCM(key.octets).decrypt(octets[:_NONCE], octets[_NONCE:], _bound_to(place, key.id))
        except (InvalidTag, ValueError):
            raise SecretLockedError("it was changed in the database, or belongs to something else") from None
        return plain.decode()

    def __repr__(self) -> str:
        """Return a representation without the keys."""
        return f"Keyring({self._key.id})"


def _bound_to(place: SecretPlace, key_id: str) -> bytes:
    # None of the parts contains a NUL, so the joined texts of two places differ.
    return "\0".join(("pantau", _FORM, key_id, str(place.purpose), place.owner)).encode()
