"""What secrets in the store are encrypted with, for, and as: keys, places and ciphertexts."""

from __future__ import annotations

import hmac
from base64 import b64decode
from binascii import Error
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

#: In octets: AES-256.
KEY_OCTETS: Final = 32


class BadKeyError(Exception):
    """What was given is no key. The message says what one is, and none of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionKey:
    """A key, and the name that ciphertexts have of it."""

    octets: bytes = field(repr=False)
    id: str

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a key as its file holds it. Raise `BadKeyError`."""
        try:
            octets = b64decode(text.strip().encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeError, Error, ValueError):
            octets = b""
        if len(octets) != KEY_OCTETS:
            raise BadKeyError("is no key: 44 signs, as `pantau secrets generate-key` makes them")
        # Tells keys from each other, and nothing of what they are.
        return cls(octets=octets, id=hmac.digest(octets, b"pantau: the name of this key", "sha256").hex()[:8])


class SecretPurpose(StrEnum):
    """What a secret is for. It stands in the database, and in what is authenticated: never to be called otherwise."""

    #: Of the one-time codes of a user, by the user's id.
    ONE_TIME = "one_time"
    #: The same, offered to a browser and kept by nobody yet.
    ONE_TIME_OFFER = "one_time_offer"
    #: Of a mailbox, by the name that documents have of it.
    MAILBOX = "mailbox"
    #: The refresh token that a provider gave in exchange for one of a mailbox, by the same name.
    RENEWED = "renewed"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SecretPlace:
    """What a secret is for, and whose it is."""

    purpose: SecretPurpose
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ciphertext:
    """An encrypted secret, and the name of the key that reads it."""

    key_id: str
    text: str = field(repr=False)
