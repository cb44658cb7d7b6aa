"""Random secrets and their stored forms: passwords, codes, and the keys of browsers and programs.

argon2id with 19 MiB and two passes, as OWASP recommends (Password Storage cheat sheet).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from secrets import choice, token_bytes, token_urlsafe
from typing import Final, Self

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from monitor.access.api_token import PREFIX
from monitor.access.invitation_code import SIGNS, CodeWay
from monitor.access.totp import RECOVERY_CODES, SECRET_OCTETS, written_secret

#: In KiB.
_MEMORY: Final = 19_456
_PASSES: Final = 2


def hash_password(password: str) -> str:
    """Return the stored form of a password: a PHC string of argon2id. Takes 50 ms of CPU; call it in a thread."""
    kept: str = Argon2id(
        salt=token_bytes(16), length=32, iterations=_PASSES, lanes=1, memory_cost=_MEMORY
    ).derive_phc_encoded(password.encode())
    return kept


def is_password(password: str, kept: str) -> bool:
    """Whether *kept* was made from the password. The duration does not depend on the result."""
    try:
        Argon2id.verify_phc_encoded(password.encode(), kept)
    except InvalidKey:
        return False
    return True


def new_code(way: CodeWay) -> str:
    """Return a code in groups, for reading aloud: "7K3QM-9T0XZ"."""
    signs = "".join(choice(SIGNS) for _ in range(way.signs))
    size = 5 if way is CodeWay.TELEPHONE else 4
    return "-".join(signs[first : first + size] for first in range(0, len(signs), size))


def new_recovery_codes() -> list[str]:
    """Return codes of 120 bits, in the form for paper."""
    return [new_code(CodeWay.LETTER) for _ in range(RECOVERY_CODES)]


def new_one_time_secret() -> str:
    """Return a new secret for an authenticator app."""
    return written_secret(token_bytes(SECRET_OCTETS))


def new_nonce() -> str:
    """Return a unique name for a browser."""
    return token_urlsafe(12)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedKey:
    """Key that a client presents; only its digest is stored, which suffices for 256 bits (ASVS 6.5.2)."""

    text: str

    @classmethod
    def new(cls) -> Self:
        """Return a new random key."""
        return cls(text=token_urlsafe(32))

    @property
    def digest(self) -> str:
        """The stored form."""
        return sha256(self.text.encode("utf-8", "surrogateescape")).hexdigest()

    def __repr__(self) -> str:
        """Omit the secret."""
        return f"{type(self).__name__}(...)"


class SessionKey(PresentedKey):
    """The key of a browser."""


class FeedKey(PresentedKey):
    """The key of a calendar program."""


class TokenSecret(PresentedKey):
    """The secret of any other program."""

    @classmethod
    def new(cls) -> Self:
        """Return a new random key with a prefix by which leaked tokens can be found."""
        return cls(text=f"{PREFIX}{token_urlsafe(32)}")
