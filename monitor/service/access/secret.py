"""Random secrets of the portal and their stored forms: passwords, codes, and the keys of browsers and programs.

Passwords, and invitation codes that are given by telephone, are hashed by argon2id with 19 MiB and two passes, as OWASP
recommends (Password Storage cheat sheet). Invitation codes by letter, and recovery codes, are longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from secrets import choice, token_bytes, token_urlsafe
from typing import Final, Self

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from monitor.access.api_token import PREFIX
from monitor.access.invitation_code import CODE_ALPHABET, CodeKind
from monitor.access.totp import RECOVERY_CODE_COUNT, SECRET_OCTETS, encode_secret

#: Parameters of argon2id.
_MEMORY_KIB: Final = 19_456
_PASSES: Final = 2


def hash_password(password: str) -> str:
    """Return the stored form of a password: a PHC string of argon2id. Takes 50 ms of CPU; call it in a thread."""
    stored_hash: str = Argon2id(
        salt=token_bytes(16), length=32, iterations=_PASSES, lanes=1, memory_cost=_MEMORY_KIB
    ).derive_phc_encoded(password.encode())
    return stored_hash


def verify_password(password: str, stored_hash: str) -> bool:
    """Return whether *stored_hash* is the hash of the password. The duration does not depend on the result."""
    try:
        Argon2id.verify_phc_encoded(password.encode(), stored_hash)
    except InvalidKey:
        return False
    return True


def new_code(kind: CodeKind) -> str:
    """Return a new code in groups, such as "7K3QM-9T0XZ"; *kind*: whether it is given by telephone or by letter."""
    characters = "".join(choice(CODE_ALPHABET) for _ in range(kind.length))
    group_size = 5 if kind is CodeKind.TELEPHONE else 4
    return "-".join(characters[start : start + group_size] for start in range(0, len(characters), group_size))


def new_recovery_codes() -> list[str]:
    """Return new recovery codes of 120 bits, in the notation of codes by letter."""
    return [new_code(CodeKind.LETTER) for _ in range(RECOVERY_CODE_COUNT)]


def new_one_time_secret() -> str:
    """Return a new secret for an authenticator app."""
    return encode_secret(token_bytes(SECRET_OCTETS))


def new_nonce() -> str:
    """Return a random text that makes the device cookie of a browser unique."""
    return token_urlsafe(12)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedKey:
    """Random key of 256 bits that a client presents. Only its SHA-256 digest is stored (ASVS 6.5.2)."""

    text: str

    @classmethod
    def new(cls) -> Self:
        """Return a new random key."""
        return cls(text=token_urlsafe(32))

    @property
    def digest(self) -> str:
        """The stored form: SHA-256 in hexadecimal digits."""
        return sha256(self.text.encode("utf-8", "surrogateescape")).hexdigest()

    def __repr__(self) -> str:
        """Omit the secret."""
        return f"{type(self).__name__}(...)"


class SessionKey(PresentedKey):
    """Key of a browser: of a session, a pending session, a login at a provider, or a wallboard."""


class FeedKey(PresentedKey):
    """Key of a calendar program that subscribes to a rota."""


class TokenSecret(PresentedKey):
    """Secret of an API token."""

    @classmethod
    def new(cls) -> Self:
        """Return a new random key with a prefix by which leaked tokens can be found."""
        return cls(text=f"{PREFIX}{token_urlsafe(32)}")
