"""Codes that open once: an invitation or a reset, by telephone or letter and never by mail.

By telephone a short one, good for ten minutes (ASVS 6.5.5) and kept as a password is. By letter a long one, good for two
weeks: it has 120 bits, which nobody guesses, so that a plain digest of it may be kept (ASVS 6.5.2).
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final

#: Crockford's base 32: no letter that is read for another, none that makes words. Five bits each.
SIGNS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS: Final = str.maketrans("ILO", "110")


class CodeWay(StrEnum):
    """How a code comes to its person."""

    TELEPHONE = "telephone"
    LETTER = "letter"

    @property
    def signs(self) -> int:
        """How many signs it has."""
        return 10 if self is CodeWay.TELEPHONE else 24

    @property
    def good_for(self) -> timedelta:
        """How long it opens."""
        return timedelta(minutes=10) if self is CodeWay.TELEPHONE else timedelta(days=14)


def typed_code(text: str) -> str:
    """Return a code as it is compared: whatever somebody put between its signs, and O for 0."""
    return "".join(each for each in text.upper().translate(_READ_AS) if each in SIGNS)


def digest_of_code(text: str) -> str:
    """Return what is kept of a long one."""
    return sha256(typed_code(text).encode()).hexdigest()
