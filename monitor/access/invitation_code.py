"""Single-use codes for an invitation or a password reset, given by telephone or letter, never by e-mail.

A code by telephone is short, valid for ten minutes (ASVS 6.5.5) and stored like a password. A code by letter is long and
valid for two weeks; it has 120 bits, so that a plain digest may be stored (ASVS 6.5.2).
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final

#: Characters of a code: Crockford's base 32, without letters that are mistaken for others. Five bits each.
SIGNS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LOOKALIKES: Final = str.maketrans("ILO", "110")


class CodeWay(StrEnum):
    """How a code is given to a person."""

    TELEPHONE = "telephone"
    LETTER = "letter"

    @property
    def length(self) -> int:
        """Number of characters."""
        return 10 if self is CodeWay.TELEPHONE else 24

    @property
    def validity(self) -> timedelta:
        """Validity."""
        return timedelta(minutes=10) if self is CodeWay.TELEPHONE else timedelta(days=14)


def normalise_code(text: str) -> str:
    """Return a typed code in the form for comparison: without separators, and O as 0, I and L as 1."""
    return "".join(character for character in text.upper().translate(_LOOKALIKES) if character in SIGNS)


def digest_of_code(text: str) -> str:
    """Return the stored digest of a long code."""
    return sha256(normalise_code(text).encode()).hexdigest()
