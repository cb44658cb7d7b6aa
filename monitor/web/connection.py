"""Connection limits of a listener, in total and per address, and the choice of connections to close for new ones. Pure.

A client of a listener can open idle connections. Each uses a file descriptor, which probes and the database need as
well. So listeners share a part of the process's limit, and the rest is reserved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

#: A listener may use an eighth of the process's descriptors, and two listeners are public: three quarters remain for
#: probes, gateways and the database.
_PART = 8
#: More are not needed: a portal serves a thousand viewers with fewer.
_MOST = 1024
#: One address may use a quarter of these, which suffices for an office of a hundred browsers behind one address.
_ADDRESS_PART = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Connection limits of a listener."""

    in_all: int
    of_address: int


def connection_limits(descriptors: int) -> ConnectionLimits:
    """Return the limits of each listener for a process with this descriptor limit."""
    in_all = max(_ADDRESS_PART, min(_MOST, descriptors // _PART))
    return ConnectionLimits(in_all=in_all, of_address=in_all // _ADDRESS_PART)


@dataclass(eq=False, slots=True, kw_only=True)
class Connection:
    """One accepted connection."""

    #: Its origin: an IPv4 address, or a /64 of IPv6, which providers assign to one customer. "": this machine.
    origin: str
    #: Closes the connection without a response.
    close: Callable[[], object] = field(repr=False)


class Connections:
    """The connections of one listener."""

    def __init__(self, limits: ConnectionLimits, proxies: Sequence[str] = ()) -> None:
        """*proxies*: the networks of proxies, whose connections belong to many clients."""
        self._limits = limits
        self._proxies = [ip_network(each) for each in (*proxies, "127.0.0.0/8", "::1")]
        #: Connections with an incomplete request or an unread response, the oldest first.
        self._asking: dict[Connection, None] = {}
        self._open: set[Connection] = set()
        self._of = Counter[str]()
        #: Number of connections that were closed for others or rejected.
        self.cut = 0

    def admit(self, connection: Connection) -> bool:
        """Admit *connection* if possible, and return whether it was admitted. This may close another connection.

        Candidates have an incomplete request or an unread response. The oldest one of the address with the most
        connections is closed, so a flood closes its own connections.
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
        """Return how many connections the address of *candidate* would have.

        It is 0 for proxies and this machine, which serve many clients.
        """
        return self._of[candidate.origin] + (candidate.origin == newcomer.origin) if candidate.origin else 0

    def note(self, connection: Connection, *, is_asking: bool) -> None:
        """Record whether the client is still sending its request or not reading, or is being served."""
        self._asking.pop(connection, None)
        if is_asking and connection in self._open:
            self._asking[connection] = None

    def leave(self, connection: Connection) -> None:
        """Record that a connection is closed."""
        if connection in self._open:
            self._open.discard(connection)
            self._asking.pop(connection, None)
            self._of[connection.origin] -= 1
            if not self._of[connection.origin]:
                del self._of[connection.origin]

    def origin(self, address: str) -> str:
        """Return the origin for *address*; "" for proxies and this machine, which have no limit of their own."""
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return ""
        if isinstance(parsed, IPv6Address):
            parsed = parsed.ipv4_mapped or parsed
        if any(parsed in network for network in self._proxies):
            return ""
        return str(ip_network((parsed, 64), strict=False) if isinstance(parsed, IPv6Address) else parsed)
