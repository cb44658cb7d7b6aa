"""Encryption of stored secrets with AES-256-GCM and random nonces.

The purpose and the owner of a secret are authenticated data: a person who can write to the database cannot present the
secret of one account as that of another.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from secrets import token_bytes
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from monitor.access.encryption import KEY_OCTETS, Ciphertext, EncryptionKey, SecretId

#: Length of a nonce (NIST SP 800-38D, 8.2.2). Two random nonces coincide only after some billions of secrets.
_NONCE_OCTETS: Final = 12
#: Version of the ciphertext format, the part before the dot. It distinguishes a newer format from corrupt data.
_FORMAT: Final = "1"


class SecretLockedError(Exception):
    """A secret cannot be decrypted with the available keys. The message says why, and names a missing key."""


def new_key() -> str:
    """Return a new key in the format of a key file."""
    return urlsafe_b64encode(token_bytes(KEY_OCTETS)).decode()


class Keyring:
    """The current encryption key, and the previous key, which decrypts secrets until all are re-encrypted."""

    def __init__(self, key: str, old: str | None = None) -> None:
        """*key* and *old*: the current and the previous key, in the format of a key file. Raise `BadKeyError`."""
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

    def encrypt(self, secret_id: SecretId, secret: str) -> Ciphertext:
        """Encrypt the secret of *secret_id*."""
        nonce = token_bytes(_NONCE_OCTETS)
        octets = nonce + AESGCM(self._key.octets).encrypt(
            nonce, secret.encode(), _associated_data(secret_id, self._key.id)
        )
        return Ciphertext(key_id=self._key.id, text=f"{_FORMAT}.{urlsafe_b64encode(octets).decode()}")

    def decrypt(self, secret_id: SecretId, ciphertext: Ciphertext) -> str:
        """Return the secret of *secret_id*. Raise `SecretLockedError`."""
        key = self._keys.get(ciphertext.key_id)
        if key is None:
            raise SecretLockedError(
                f"it was encrypted with the key {ciphertext.key_id}, which is not available (the settings name "
                f"{' and '.join(self._keys)}); let portal.previous_secrets_key_file name the file with that key"
            )
        format_version, _, text = ciphertext.text.partition(".")
        if format_version != _FORMAT:
            raise SecretLockedError(f"it was written by another version of Pantau, in form {format_version[:8]!r}")
        try:
            octets = urlsafe_b64decode(text)
            plain = AESGCM(key.octets).decrypt(
                octets[:_NONCE_OCTETS], octets[_NONCE_OCTETS:], _associated_data(secret_id, key.id)
            )
        except (InvalidTag, ValueError):
            raise SecretLockedError("it was changed in the database, or belongs to something else") from None
        return plain.decode()

    def __repr__(self) -> str:
        """Return a representation without the keys."""
        return f"Keyring({self._key.id})"


def _associated_data(secret_id: SecretId, key_id: str) -> bytes:
    # No part contains a NUL, so that the joined parts of two different secrets differ.
    return "\0".join(("pantau", _FORMAT, key_id, str(secret_id.purpose), secret_id.owner)).encode()
