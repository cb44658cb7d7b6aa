"""Decide which mailbox of a reference's pool a process uses. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

#: The last number in a name: that of "pantau-2", and of "pantau-2.contoh.gov.my".
_NUMBER = re.compile(r"\d+(?=\D*\Z)", re.ASCII)


def drawn(addresses: Collection[str], process: str) -> str:
    """Return which of *addresses* the process called *process* uses: the same whenever and by whomever it is asked.

    Processes whose names differ in a number only are dealt out in turn, so that no two of them share a mailbox while there
    are enough. All others draw by lot, and may draw the same. The order in which addresses are written means nothing; one
    more or one less deals them anew. Raise `ValueError` when there is none.
    """
    if not addresses:
        raise ValueError("a pool without a mailbox")
    found = _NUMBER.search(process)
    stem, number = (process, 0) if found is None else (_NUMBER.sub("#", process), int(found[0]))
    ranked = sorted({each.lower(): each for each in addresses}.items(), key=lambda pair: (_lot(stem, pair[0]), pair[0]))
    return ranked[number % len(ranked)][1]


def _lot(stem: str, address: str) -> bytes:
    return hashlib.blake2b(f"{stem}\n{address}".encode(), digest_size=8).digest()
