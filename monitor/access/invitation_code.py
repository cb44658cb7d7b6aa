"""Single-use codes for an invitation or a reset, given by telephone or letter, never by mail.

By telephone a short one, valid for ten minutes (ASVS 6.5.5) and stored like a password. By letter a long one, valid for
two weeks: it has 120 bits, so that a plain digest may be stored (ASVS 6.5.2).
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final

#: Crockford's base 32: no ambiguous letters, none that form words. Five bits each.
SIGNS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS: Final = str.maketrans("ILO", "110")


class CodeWay(StrEnum):
    """How a code is given to a person."""

    TELEPHONE = "telephone"
    LETTER = "letter"

    @property
    def signs(self) -> int:
        """Number of characters."""
        return 10 if self is CodeWay.TELEPHONE else 24

    @property
    def good_for(self) -> timedelta:
        """Validity."""
        return timedelta(minutes=10) if self is CodeWay.TELEPHONE else timedelta(days=14)


def typed_code(text: str) -> str:
    """Return a code normalised for comparison: without separators, and with O as 0."""
    return "".join(each for each in text.upper().translate(_READ_AS) if each in SIGNS)


def digest_of_code(text: str) -> str:
    """Return the stored digest of a long code."""
    return sha256(typed_code(text).encode()).hexdigest()
