"""How many connections a listener has at a time, in all and of one address, and which makes room for a new one. Pure.

Whoever can reach a listener can open connections and say nothing. Each costs a descriptor, and probes and the store need
theirs: so the listeners share a part of the process's limit, and the rest is never theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

#: A listener takes an eighth of the process's descriptors, and there are two that strangers may reach: three quarters are left to
#: probes, gateways and the store.
_PART = 8
#: More are of no use: a portal serves a thousand viewers on fewer.
_MOST = 1024
#: Of these, one address has a quarter: an office of a hundred browsers behind one address needs no more.
_ADDRESS_PART = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How many connections a listener has at a time."""

    in_all: int
    of_address: int


def connection_limits(descriptors: int) -> ConnectionLimits:
    """Return the limits of each listener in a process that may have so many descriptors open."""
    in_all = max(_ADDRESS_PART, min(_MOST, descriptors // _PART))
    return ConnectionLimits(in_all=in_all, of_address=in_all // _ADDRESS_PART)


@dataclass(eq=False, slots=True, kw_only=True)
class Connection:
    """One connection, from its acceptance on."""

    #: Where it comes from: an IPv4 address or a /64 of IPv6, as a provider gives it to one customer. "": this machine.
    origin: str
    #: Ends it without a word.
    close: Callable[[], object] = field(repr=False)


class Connections:
    """The connections of one listener."""

    def __init__(self, limits: ConnectionLimits, proxies: Sequence[str] = ()) -> None:
        """*proxies*: the networks of proxies, whose connections are those of many."""
        self._limits = limits
        self._proxies = [ip_network(each) for each in (*proxies, "127.0.0.0/8", "::1")]
        #: Those that have not finished asking, or do not read their answer, the oldest first.
        self._asking: dict[Connection, None] = {}
        self._open: set[Connection] = set()
        self._of = Counter[str]()
        #: How many were closed for others, or not admitted.
        self.cut = 0

    def admit(self, connection: Connection) -> bool:
        """Return whether there is room for *connection*; one that has not finished asking, or does not read its answer, may be closed for it.

        That is the oldest of those whose address has the most: a flood closes its own.
        """
        has_share = bool(connection.origin) and self._of[connection.origin] >= self._limits.of_address
        if has_share or len(self._open) >= self._limits.in_all:
            self.cut += 1
            candidates = (each for each in self._asking if not has_share or each.origin == connection.origin)
            oldest = max(candidates, key=lambda each: self._weight(each, connection), default=None)
            if oldest is None:
                return False
            self.leave(oldest)
            oldest.close()
        self._open.add(connection)
        self._of[connection.origin] += 1
        self.note(connection, is_asking=True)
        return True

    def _weight(self, candidate: Connection, newcomer: Connection) -> int:
        """Return how many connections the address of *candidate* would have; 0: proxies and this machine, who are many."""
        return self._of[candidate.origin] + (candidate.origin == newcomer.origin) if candidate.origin else 0

    def note(self, connection: Connection, *, is_asking: bool) -> None:
        """Note whether somebody is still asking or does not read, or is being answered."""
        self._asking.pop(connection, None)
        if is_asking and connection in self._open:
            self._asking[connection] = None

    def leave(self, connection: Connection) -> None:
        """Note that a connection is over."""
        if connection in self._open:
            self._open.discard(connection)
            self._asking.pop(connection, None)
            self._of[connection.origin] -= 1
            if not self._of[connection.origin]:
                del self._of[connection.origin]

    def origin(self, address: str) -> str:
        """Return what counts as the origin of *address*; "" for proxies and this machine, which have no share of their own."""
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return ""
        if isinstance(parsed, IPv6Address):
            parsed = parsed.ipv4_mapped or parsed
        if any(parsed in network for network in self._proxies):
            return ""
        return str(ip_network((parsed, 64), strict=False) if isinstance(parsed, IPv6Address) else parsed)
