"""Single-use codes for an invitation or a password reset, given by telephone or letter, never by e-mail.

A code for the telephone is short, valid for ten minutes (ASVS 6.5.5), and stored like a password. A code for a letter
is long and valid for two weeks. It has 120 random bits, so a plain digest of it may be stored (ASVS 6.5.2).
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final

#: Characters of a code, five bits each: Crockford's base 32, which omits letters that look like digits.
CODE_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LOOKALIKES: Final = str.maketrans("ILO", "110")


class CodeKind(StrEnum):
    """Kind of a code, by how a person receives it."""

    TELEPHONE = "telephone"
    LETTER = "letter"

    @property
    def length(self) -> int:
        """Number of characters."""
        return 10 if self is CodeKind.TELEPHONE else 24

    @property
    def validity(self) -> timedelta:
        """How long a code is valid after its creation."""
        return timedelta(minutes=10) if self is CodeKind.TELEPHONE else timedelta(days=14)


def normalise_code(text: str) -> str:
    """Return a typed code in upper case without separators, with 0 for O, and 1 for I and L."""
    return "".join(character for character in text.upper().translate(_LOOKALIKES) if character in CODE_ALPHABET)


def digest_of_code(text: str) -> str:
    """Return the stored digest of a long code."""
    return sha256(normalise_code(text).encode()).hexdigest()
