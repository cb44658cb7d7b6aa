"""PINs of duty officers: salted hashes in memory (scrypt, RFC 7914), never the digits."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

#: Parameters of scrypt: 8 MiB and about 20 ms for each attempt. A call allows three attempts.
_SCRYPT_PARAMETERS = {"n": 2**13, "r": 8, "p": 1, "dklen": 32}

MIN_DIGITS, MAX_DIGITS = 6, 12


def pin_problem(pin: str) -> str | None:
    """Return what is wrong with a PIN, without repeating it; `None` if it is acceptable."""
    if not (pin.isascii() and pin.isdigit() and MIN_DIGITS <= len(pin) <= MAX_DIGITS):
        return f"a PIN is {MIN_DIGITS} to {MAX_DIGITS} digits"
    # A repeated digit has only the step 0, a sequence only the step 1 (ascending) or 9 (descending).
    steps = {(int(second) - int(first)) % 10 for first, second in pairwise(pin)}
    if len(steps) == 1 and steps <= {0, 1, 9}:
        return "a repeated digit or a sequence of digits is easy to guess"
    return None


def hash_pin(pin: str) -> str:
    """Return a salted hash of *pin*: "salt$hash" in hex. Blocks for about 20 ms."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}${hashlib.scrypt(pin.encode(), salt=salt, **_SCRYPT_PARAMETERS).hex()}"


def matches_hash(pin: str, pin_hash: str) -> bool:
    """Whether *pin* matches *pin_hash*. Blocks for about 20 ms."""
    salt, _, expected = pin_hash.partition("$")
    actual = hashlib.scrypt(pin.encode(), salt=bytes.fromhex(salt), **_SCRYPT_PARAMETERS)
    return hmac.compare_digest(actual, bytes.fromhex(expected))


@dataclass(frozen=True, slots=True)
class PinStore:
    """Hashed PINs by which staff release announcements on the telephone."""

    #: Hashes by agency and key of the contact.
    _hashes: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False)

    def has_pin(self, agency: str, person: str) -> bool:
        """Whether this contact of the agency has a PIN."""
        return (agency, person) in self._hashes

    def agencies(self, agency: str, person: str) -> frozenset[str]:
        """Return the agencies where this contact has the same PIN: several for a contact that agencies share.

        They then share the hash, too. Two hashes of one PIN would differ by their salts.
        """
        pin_hash = self._hashes.get((agency, person))
        same = (other for (other, key), other_hash in self._hashes.items() if key == person and other_hash == pin_hash)
        return frozenset(same) | {agency}

    async def check(self, agency: str, person: str, pin: str) -> bool:
        """Whether *pin* is this contact's PIN."""
        pin_hash = self._hashes.get((agency, person))
        return pin_hash is not None and await asyncio.to_thread(matches_hash, pin, pin_hash)
