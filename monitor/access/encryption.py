"""Keys, identifiers and ciphertexts of secrets that the database stores encrypted."""

from __future__ import annotations

import hmac
from base64 import b64decode
from binascii import Error
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

#: Length of a key in octets, for AES-256.
KEY_OCTETS: Final = 32


class BadKeyError(Exception):
    """The text is not a valid key. The message describes the expected format and does not quote the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionKey:
    """A key with its id. Each ciphertext contains the id of its key."""

    octets: bytes = field(repr=False)
    #: Eight hexadecimal digits.
    id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the content of a key file: the key in URL-safe base 64. Raise `BadKeyError`."""
        try:
            octets = b64decode(text.strip().encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeError, Error, ValueError):
            octets = b""
        if len(octets) != KEY_OCTETS:
            raise BadKeyError("is no key of 44 characters, as `pantau secrets generate-key` creates it")
        # The id distinguishes keys, and reveals nothing about them.
        return cls(octets=octets, id=hmac.digest(octets, b"pantau: the name of this key", "sha256").hex()[:8])


class SecretPurpose(StrEnum):
    """Purpose of a secret. It is stored, and authenticated with the ciphertext (AES-GCM): never rename a value."""

    #: Secret of a user's one-time codes (TOTP). Owner: the user's id.
    ONE_TIME = "one_time"
    #: New secret of one-time codes, which the user has not confirmed with a code yet. Owner: the user's id.
    ONE_TIME_OFFER = "one_time_offer"
    #: Secret of a mailbox, such as its password. Owner: the secret's name in agency documents.
    MAILBOX = "mailbox"
    #: Refresh token by which an authorization server replaced the one in `MAILBOX`. Owner: as for `MAILBOX`.
    RENEWED = "renewed"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SecretId:
    """Identifier of a secret in the database. Each `SecretPurpose` says what the owner is."""

    purpose: SecretPurpose
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ciphertext:
    """An encrypted secret, as text, with the id of its key."""

    key_id: str
    text: str = field(repr=False)
