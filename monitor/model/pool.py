"""Assignment of pool mailboxes to processes, and each mailbox's share of the messages. Pure.

A *reference* is a mailbox of the operator, outside the agencies: the other end of a route from or to an agency. A
*pool* is a reference with several mailboxes, of which each process uses its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from monitor.model.route import MonitoredRoute

#: The last number in a process name: 2 in "pantau-2" and in "pantau-2.contoh.gov.my".
_NUMBER = re.compile(r"\d+(?=\D*\Z)", re.ASCII)


def preferred_order(addresses: Collection[str], process: str) -> Sequence[str]:
    """Return *addresses* in the order in which *process* prefers them. The order of the argument does not matter.

    Processes whose names differ only in a number prefer different mailboxes, if there are enough. The preference of
    processes with other names is a hash, so two of them may share a mailbox. When an address is added or removed, all
    preferences may change.
    """
    match = _NUMBER.search(process)
    stem, number = (process, 0) if match is None else (_NUMBER.sub("#", process), int(match[0]))
    ranked = sorted(
        {each.lower(): each for each in addresses}.items(), key=lambda pair: (_hash_order(stem, pair[0]), pair[0])
    )
    first = number % max(1, len(ranked))
    return [address for _, address in (*ranked[first:], *ranked[:first])]


def _hash_order(stem: str, address: str) -> bytes:
    return hashlib.blake2b(f"{stem}\n{address}".encode(), digest_size=8).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How messages are spread: the number of sites (locations that probe), and of mailboxes per reference."""

    #: Number of sites. Each site probes every agency with the same accounts.
    sites: int = 1
    #: Number of pool mailboxes in use, by reference.
    pools: Mapping[str, int] = field(default_factory=dict)

    def share(self, route: MonitoredRoute, account: str) -> float:
        """Return how many messages one mailbox of *account* sends or receives per interval of a route, for all sites.

        *account*: name of the route's sender or recipient; unless it is a pool, it has one mailbox. A control route,
        from one reference to another, is not divided: every process runs it with its own mailbox.
        """
        return self.sites / (self.pools.get(account, 1) if route.agency else 1)


#: One site with one process, which uses one mailbox of each reference.
SINGLE_SITE: Final = Spread()
