"""Encryption of secrets in the store: keys, purposes, ciphertexts."""

from __future__ import annotations

import hmac
from base64 import b64decode
from binascii import Error
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

#: Octets: AES-256.
KEY_OCTETS: Final = 32


class BadKeyError(Exception):
    """The text is no valid key. The message describes the format, and contains nothing of the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionKey:
    """A key with its id, which ciphertexts name."""

    octets: bytes = field(repr=False)
    id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a key file. Raise `BadKeyError`."""
        try:
            octets = b64decode(text.strip().encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeError, Error, ValueError):
            octets = b""
        if len(octets) != KEY_OCTETS:
            raise BadKeyError("is no key: 44 signs, as `pantau secrets generate-key` makes them")
        # Distinguishes keys and reveals nothing about them.
        return cls(octets=octets, id=hmac.digest(octets, b"pantau: the name of this key", "sha256").hex()[:8])


class SecretPurpose(StrEnum):
    """Purpose of a secret. It is stored and authenticated: never rename a value."""

    #: A user's one-time code secret, by the user's id.
    ONE_TIME = "one_time"
    #: The same, offered to a browser and not confirmed yet.
    ONE_TIME_OFFER = "one_time_offer"
    #: A mailbox secret, by its name in documents.
    MAILBOX = "mailbox"
    #: The refresh token that replaced a mailbox's configured one, by the same name.
    RENEWED = "renewed"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SecretPlace:
    """Purpose and owner of a secret."""

    purpose: SecretPurpose
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ciphertext:
    """An encrypted secret, with the id of its key."""

    key_id: str
    text: str = field(repr=False)
