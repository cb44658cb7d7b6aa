"""Decide which mailbox of a reference's pool a process uses, and how much of the messages each has. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from monitor.model.route import MonitoredRoute

#: The last number in a name: that of "pantau-2", and of "pantau-2.contoh.gov.my".
_NUMBER = re.compile(r"\d+(?=\D*\Z)", re.ASCII)


def dealt(addresses: Collection[str], process: str) -> Sequence[str]:
    """Return *addresses*, the one first that the process called *process* uses: the same whenever and by whomever it is asked.

    Processes whose names differ in a number only are dealt out in turn, so that no two of them share a mailbox while there
    are enough. All others draw by lot, and may draw the same. The order in which addresses are written means nothing; one
    more or one less deals them anew.
    """
    found = _NUMBER.search(process)
    stem, number = (process, 0) if found is None else (_NUMBER.sub("#", process), int(found[0]))
    ranked = sorted({each.lower(): each for each in addresses}.items(), key=lambda pair: (_lot(stem, pair[0]), pair[0]))
    first = number % max(1, len(ranked))
    return [address for _, address in (*ranked[first:], *ranked[:first])]


def _lot(stem: str, address: str) -> bytes:
    return hashlib.blake2b(f"{stem}\n{address}".encode(), digest_size=8).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """From how many places routes are probed, and over how many mailboxes what a reference does is shared out."""

    #: Each probes every agency, with the same accounts.
    sites: int = 1
    #: By the names of references: how many mailboxes of a pool are used.
    pools: Mapping[str, int] = field(default_factory=dict)

    def share(self, route: MonitoredRoute, account: str) -> float:
        """Return how much of what a route sends, or receives, is one account's: of a control route all, since each process runs it."""
        return self.sites / (self.pools.get(account, 1) if route.agency else 1)


#: One site, and one process that uses one mailbox of each reference.
ALONE: Final = Spread()
