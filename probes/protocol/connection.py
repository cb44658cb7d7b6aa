"""Connection to a server: resolve the name, try each address in turn, start implicit TLS if configured.

A name is resolved once. An egress policy restricts the addresses of hosts that no operator configured: each address is
checked, and the connection goes to the checked address. So DNS rebinding (a name that resolves differently a moment
later) has no effect.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from asyncio.sslproto import SSLProtocol
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from probes.model.egress import EgressDenial, EgressPolicy
from probes.model.mailbox import Security, Server
from probes.model.probe import ProbeFailedError, Trace
from probes.model.reply import Reason, probe_failure
from probes.model.result import Outcome, Party, Phase
from probes.protocol.cause import timed_phase

#: Time before the next address is tried. It is needed, because a packet filter that drops packets never answers.
_CONNECT_TIMEOUT_SECONDS = 10.0

#: Octets of asyncio's TLS read buffer. The default is 256 KiB for each open connection, and a process reads thousands
#: of mailboxes. A TLS record is at most this long (RFC 8446 5.1), so each is read at once.
_TLS_READ_BUFFER = 16 * 1024

#: Socket family, type and protocol, and the socket address, whose first items are the IP address and the port.
_Address = tuple[int, int, int, Any]
#: Resolves a host and a port.
Resolve = Callable[[str, int], Awaitable[Sequence[_Address]]]
_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)


async def connect(
    server: Server, trace: Trace, party: Party, create_protocol: Callable[[], _Protocol]
) -> tuple[asyncio.Transport, _Protocol]:
    """Return a connection: with implicit TLS (RFC 8314 3) after the handshake, with STARTTLS still without TLS.

    The caller aborts the transport. Raise `ProbeFailedError` with the outcome DNS, CONNECT or TLS.
    """
    implicit = server.security is Security.IMPLICIT
    sock = await open_socket(server, trace, party)
    with timed_phase(trace, Phase.TLS if implicit else Phase.CONNECT, party):
        return await asyncio.get_running_loop().create_connection(
            create_protocol,
            sock=sock,
            ssl=server.tls if implicit else None,
            server_hostname=server.certificate_name if implicit else None,
        )


def address_literal(transport: asyncio.BaseTransport) -> str:
    """Return our own address as an EHLO literal (RFC 5321 4.1.3). Resolving our own name would take time."""
    host = str(transport.get_extra_info("sockname")[0])
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"


async def resolve(host: str, port: int) -> Sequence[_Address]:
    """Resolve *host* by this machine's resolver. Raise `OSError`."""
    if (literal := _parse_literal(host, port)) is not None:
        return [literal]
    # The resolver blocks, so asyncio calls it in a thread. After a cancellation that call ends by itself.
    results = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in results]


async def open_socket(server: Server, trace: Trace, party: Party, *, resolver: Resolve = resolve) -> socket.socket:
    """Return a connected, non-blocking socket; the caller closes it.

    Raise `ProbeFailedError` with the outcome DNS or CONNECT, or INCONCLUSIVE if the egress policy denies the server.
    """
    # asyncio reads the buffer size from this class, because it has no setting for it. See docs/explanation/probing.md.
    SSLProtocol.max_size = _TLS_READ_BUFFER
    with timed_phase(trace, Phase.DNS, party):
        addresses = await resolver(server.host, server.port)
    with timed_phase(trace, Phase.CONNECT, party):
        if server.egress is None:
            return await _connect_first(addresses)
        allowed, denial = filter_addresses(server.egress, addresses)
        if not allowed:
            # The error names only the kind of address, because the user who entered the host must not learn the answer
            # of our resolver.
            raise probe_failure(Outcome.INCONCLUSIVE, Reason.EGRESS_DENIED, Phase.CONNECT, party, str(denial))
        sock = await _connect_first(allowed)
        return _check_peer(sock, server.egress, party)


def filter_addresses(
    egress: EgressPolicy, addresses: Sequence[_Address]
) -> tuple[Sequence[_Address], EgressDenial | None]:
    """Return the allowed *addresses*, and the reason of the first denial; `None` if all are allowed."""
    decisions = [(address, egress.denial(address[3][0], address[3][1])) for address in addresses]
    denials = [denial for _, denial in decisions if denial is not None]
    return [address for address, denial in decisions if denial is None], denials[0] if denials else None


@contextmanager
def hide_peer_text(server: Server) -> Iterator[None]:
    """Remove the peer's text from errors if the peer is not a mail server and no operator configured the host.

    Otherwise the user who entered the host could read the response of a service that only this machine can reach.
    """
    try:
        yield
    except ProbeFailedError as error:
        if server.egress is None or error.failure.reason is not Reason.UNEXPECTED_ANSWER:
            raise
        raise ProbeFailedError(error.outcome, replace(error.failure, detail="", code=None, status=None)) from None


def _check_peer(sock: socket.socket, egress: EgressPolicy, party: Party) -> socket.socket:
    """Return *sock* if the egress policy allows its peer, to which a proxy on this machine may have redirected it."""
    host, port, *_ = sock.getpeername()
    if (denial := egress.denial(host, port)) is not None:
        sock.close()
        raise probe_failure(Outcome.INCONCLUSIVE, Reason.EGRESS_DENIED, Phase.CONNECT, party, str(denial))
    return sock


def _parse_literal(host: str, port: int) -> _Address | None:
    # A literal address must not occupy one of the few threads of the resolver.
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, (host, port)


async def _connect_first(addresses: Sequence[_Address]) -> socket.socket:
    errors: list[OSError] = []
    for address in addresses:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_SECONDS):
                return await _connect_address(address)
        except OSError as error:
            errors.append(error)
    # The error of another address is more useful than "network unreachable", which a machine without IPv6 reports for
    # each IPv6 address.
    raise next((error for error in errors if error.errno != errno.ENETUNREACH), errors[0])


async def _connect_address(address: _Address) -> socket.socket:
    family, kind, protocol, socket_address = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, socket_address)
    except BaseException:
        sock.close()
        raise
    return sock
