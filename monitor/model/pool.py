"""Assignment of a reference's pool mailboxes to processes, and their share of messages. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from monitor.model.route import MonitoredRoute

#: The last number in a name: of "pantau-2", and of "pantau-2.contoh.gov.my".
_NUMBER = re.compile(r"\d+(?=\D*\Z)", re.ASCII)


def dealt(addresses: Collection[str], process: str) -> Sequence[str]:
    """Return *addresses*, first the one for *process*: equal for all callers.

    Processes whose names differ in a number only take turns, so that no two share a mailbox while there are enough.
    Others are hashed, and may share one. The order of *addresses* does not matter; a change of their number reassigns
    them.
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
    """Number of sites that probe, and of mailboxes that share a reference's messages."""

    #: Each probes every agency with the same accounts.
    sites: int = 1
    #: By reference: number of pool mailboxes in use.
    pools: Mapping[str, int] = field(default_factory=dict)

    def share(self, route: MonitoredRoute, account: str) -> float:
        """Return an account's share of a route's messages: of a control route all, because each process runs it."""
        return self.sites / (self.pools.get(account, 1) if route.agency else 1)


#: One site with one process, which uses one mailbox of each reference.
ALONE: Final = Spread()
