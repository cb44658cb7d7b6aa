"""PINs of duty officers: salted hashes in memory (scrypt, RFC 7914), never the digits."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

#: 8 MiB and about 20 ms per attempt: a call allows three.
_COST = {"n": 2**13, "r": 8, "p": 1, "dklen": 32}

SHORTEST, LONGEST = 6, 12


def objection(pin: str) -> str | None:
    """Return what is wrong with a PIN, without repeating it; `None` if it is acceptable."""
    if not (pin.isascii() and pin.isdigit() and SHORTEST <= len(pin) <= LONGEST):
        return f"a PIN is {SHORTEST} to {LONGEST} digits"
    steps = {(int(b) - int(a)) % 10 for a, b in pairwise(pin)}
    if len(steps) == 1 and steps <= {0, 1, 9}:
        return "the same digit again and again, or digits in a row, are the first that anybody tries"
    return None


def hashed(pin: str) -> str:
    """Return a salted hash of *pin*. Blocks for about 20 ms."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}${hashlib.scrypt(pin.encode(), salt=salt, **_COST).hex()}"


def matches(pin: str, kept: str) -> bool:
    """Return whether *pin* matches the hash. Blocks for about 20 ms."""
    salt, _, expected = kept.partition("$")
    found = hashlib.scrypt(pin.encode(), salt=bytes.fromhex(salt), **_COST)
    return hmac.compare_digest(found, bytes.fromhex(expected))


@dataclass(frozen=True, slots=True)
class PinStore:
    """PINs for release by telephone, by agency and contact."""

    _kept: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False)

    def has(self, agency: str, person: str) -> bool:
        """Whether this contact of the agency has a PIN."""
        return (agency, person) in self._kept

    def agencies(self, agency: str, person: str) -> frozenset[str]:
        """Return the agencies where this contact has the same PIN: a shared contact has many."""
        kept = self._kept.get((agency, person))
        return frozenset(other for (other, key), pin in self._kept.items() if key == person and pin == kept) | {agency}

    async def check(self, agency: str, person: str, pin: str) -> bool:
        """Return whether *pin* is this contact's PIN."""
        kept = self._kept.get((agency, person))
        return kept is not None and await asyncio.to_thread(matches, pin, kept)
