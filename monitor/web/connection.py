"""Connection limits of a listener, and the choice of the connection to close when a limit is reached. No I/O.

Any client can open connections and leave them idle. Each connection uses a file descriptor, and probes and the database
need file descriptors as well. So a listener may use only a part of the process's descriptor limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

#: A listener may use an eighth of the process's file descriptors. There are two public listeners, so three quarters
#: remain for probes, gateways and the database.
_DESCRIPTOR_DIVISOR = 8
#: Upper limit of a listener's connections: the portal serves a thousand viewers with fewer.
_MAX_CONNECTIONS = 1024
#: One address may use a quarter of a listener's connections, enough for an office with a hundred browsers behind it.
_ADDRESS_DIVISOR = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Connection limits of a listener."""

    total: int
    per_address: int


def connection_limits(descriptors: int) -> ConnectionLimits:
    """Return the limits of each listener for a process that may have this number of file descriptors."""
    # At least one connection per address.
    total = max(_ADDRESS_DIVISOR, min(_MAX_CONNECTIONS, descriptors // _DESCRIPTOR_DIVISOR))
    return ConnectionLimits(total=total, per_address=total // _ADDRESS_DIVISOR)


@dataclass(eq=False, slots=True, kw_only=True)
class Connection:
    """One accepted connection."""

    #: Address to which the limit per address applies: an IPv4 address, or the /64 network of an IPv6 address, because
    #: providers assign a /64 network to one customer. "" for a proxy or this machine: they have no limit per address.
    origin: str
    #: Function that closes the connection without a response.
    close: Callable[[], object] = field(repr=False)


class Connections:
    """The connections of one listener."""

    def __init__(self, limits: ConnectionLimits, proxies: Sequence[str] = ()) -> None:
        """Take the limits, and the networks of *proxies*. The connections of one proxy belong to many clients."""
        self._limits = limits
        self._proxies = [ip_network(each) for each in (*proxies, "127.0.0.0/8", "::1")]
        #: Connections with an incomplete request or an unread response, the longest-waiting first. `admit` may close
        #: these connections for new ones.
        self._waiting_for_client: dict[Connection, None] = {}
        self._open: set[Connection] = set()
        self._count_by_origin = Counter[str]()
        #: Number of connections that were closed for new ones or rejected.
        self.closed_count = 0

    def admit(self, connection: Connection) -> bool:
        """Admit *connection* if possible, and return whether it was admitted.

        If a limit is reached, close another connection first. Only a connection with an incomplete request or an unread
        response may be closed; if there is none, do not admit *connection*. At the limit per address, close the
        longest-waiting connection of the same address. At the total limit, close the longest-waiting connection of the
        address with the most connections. So a flood of connections from one address closes only its own connections.
        """
        is_address_full = (
            bool(connection.origin) and self._count_by_origin[connection.origin] >= self._limits.per_address
        )
        if is_address_full or len(self._open) >= self._limits.total:
            self.closed_count += 1
            candidates = (
                each for each in self._waiting_for_client if not is_address_full or each.origin == connection.origin
            )
            # Of several candidates with the same count, `max` returns the first, which has waited longest.
            oldest = max(candidates, key=lambda each: self._resulting_count(each, connection), default=None)
            if oldest is None:
                return False
            self.remove(oldest)
            oldest.close()
        self._open.add(connection)
        self._count_by_origin[connection.origin] += 1
        self.update(connection, is_waiting_for_client=True)
        return True

    def _resulting_count(self, candidate: Connection, new_connection: Connection) -> int:
        """Return how many connections the origin of *candidate* has if *new_connection* is admitted.

        Return 0 if the origin is a proxy or this machine, because their connections belong to many clients.
        """
        if not candidate.origin:
            return 0
        return self._count_by_origin[candidate.origin] + (candidate.origin == new_connection.origin)

    def update(self, connection: Connection, *, is_waiting_for_client: bool) -> None:
        """Record whether the server waits for the client to send the rest of the request or to read the response."""
        self._waiting_for_client.pop(connection, None)
        if is_waiting_for_client and connection in self._open:
            self._waiting_for_client[connection] = None

    def remove(self, connection: Connection) -> None:
        """Remove a closed connection."""
        if connection in self._open:
            self._open.discard(connection)
            self._waiting_for_client.pop(connection, None)
            self._count_by_origin[connection.origin] -= 1
            if not self._count_by_origin[connection.origin]:
                del self._count_by_origin[connection.origin]

    def origin(self, address: str) -> str:
        """Return the origin (see `Connection`) of a connection from *address*."""
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return ""
        if isinstance(parsed, IPv6Address):
            parsed = parsed.ipv4_mapped or parsed
        if any(parsed in network for network in self._proxies):
            return ""
        return str(ip_network((parsed, 64), strict=False) if isinstance(parsed, IPv6Address) else parsed)
