"""Connection to a server: resolve the name, try each address in turn, start implicit TLS if configured.

A name is resolved once. With an egress policy, each address is checked and the connection goes to the checked address:
a name that resolves differently a moment later (DNS rebinding) has no effect.
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

from probes.model.egress import EgressDeniedError, EgressPolicy
from probes.model.mailbox import Security, Server
from probes.model.probe import ProbeFailedError, Trace
from probes.model.reply import Reason, failed
from probes.model.result import Outcome, Party, Phase
from probes.protocol.cause import stage

#: Seconds before the next address is tried; a packet filter that drops packets never answers.
_ADDRESS_SECONDS = 10.0

#: Buffer size of asyncio's TLS, octets: the default is 256 KiB for each open connection, and thousands of mailboxes are
#: watched. No TLS record is longer than this (RFC 8446 5.1), so each is read at once.
_READ_BUFFER = 16 * 1024

_Address = tuple[int, int, int, Any]
#: Resolves a host and a port: family, kind, protocol, and the socket's address.
Resolve = Callable[[str, int], Awaitable[Sequence[_Address]]]
_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)


async def connect(
    server: Server, trace: Trace, party: Party, protocol: Callable[[], _Protocol]
) -> tuple[asyncio.Transport, _Protocol]:
    """Return a connection with *protocol*, after the handshake with implicit TLS (RFC 8314 3).

    The caller aborts the transport. Raise `ProbeFailedError` DNS, CONNECT or TLS.
    """
    implicit = server.security is Security.IMPLICIT
    sock = await open_socket(server, trace, party)
    with stage(trace, Phase.TLS if implicit else Phase.CONNECT, party):
        return await asyncio.get_running_loop().create_connection(
            protocol,
            sock=sock,
            ssl=server.tls if implicit else None,
            server_hostname=server.certificate_name if implicit else None,
        )


def address_literal(transport: asyncio.BaseTransport) -> str:
    """Return our own address as an EHLO literal (RFC 5321 4.1.3): resolving our name takes time."""
    host = str(transport.get_extra_info("sockname")[0])
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"


async def resolve(host: str, port: int) -> Sequence[_Address]:
    """Resolve by this machine's resolver. Raise `OSError`."""
    if (literal := _literal(host, port)) is not None:
        return [literal]
    # The resolver blocks, so asyncio calls it in a thread; an abandoned call ends by itself.
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]


async def open_socket(server: Server, trace: Trace, party: Party, *, ask: Resolve = resolve) -> socket.socket:
    """Return a connected, non-blocking socket; the caller closes it.

    Raise `ProbeFailedError` DNS or CONNECT, and INCONCLUSIVE when the egress policy denies the server.
    """
    # There is no setting: connections take it from their class when they are created. See docs/explanation/probing.md.
    SSLProtocol.max_size = _READ_BUFFER
    with stage(trace, Phase.DNS, party):
        addresses = await ask(server.host, server.port)
    with stage(trace, Phase.CONNECT, party):
        if server.bounds is None:
            return await _first_that_answers(addresses)
        allowed, why = within(server.bounds, addresses)
        if not allowed:
            # Without the address: the user who entered the name learns its kind, and not our resolver's answer.
            raise failed(Outcome.INCONCLUSIVE, Reason.OUT_OF_BOUNDS, Phase.CONNECT, party, str(why))
        sock = await _first_that_answers(allowed)
        return _as_checked(sock, server.bounds, party)


def within(bounds: EgressPolicy, addresses: Sequence[_Address]) -> tuple[Sequence[_Address], EgressDeniedError | None]:
    """Return those of *addresses* that *bounds* allow, and why the first of the others is denied."""
    judged = [(each, bounds.refusal(each[3][0], each[3][1])) for each in addresses]
    refused = [why for _, why in judged if why is not None]
    return [each for each, why in judged if why is None], refused[0] if refused else None


@contextmanager
def unquoted(server: Server) -> Iterator[None]:
    """Remove the peer's text from errors if it is no mail server, and the host was not configured by an operator.

    Otherwise the user who entered the name could read what runs on a port that they cannot reach themselves.
    """
    try:
        yield
    except ProbeFailedError as failure:
        if server.bounds is None or failure.failure.reason is not Reason.UNEXPECTED_ANSWER:
            raise
        raise ProbeFailedError(failure.outcome, replace(failure.failure, detail="", code=None, status=None)) from None


def _as_checked(sock: socket.socket, bounds: EgressPolicy, party: Party) -> socket.socket:
    """Return *sock* if its peer is the checked address: a proxy on this machine may have redirected it."""
    host, port, *_ = sock.getpeername()
    if (why := bounds.refusal(host, port)) is not None:
        sock.close()
        raise failed(Outcome.INCONCLUSIVE, Reason.OUT_OF_BOUNDS, Phase.CONNECT, party, str(why))
    return sock


def _literal(host: str, port: int) -> _Address | None:
    # A server given by address needs no resolver and none of its few threads.
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, (host, port)


async def _first_that_answers(addresses: Sequence[_Address]) -> socket.socket:
    errors: list[OSError] = []
    for address in addresses:
        try:
            async with asyncio.timeout(_ADDRESS_SECONDS):
                return await _connected(address)
        except OSError as error:
            errors.append(error)
    # A machine without IPv6 reports "network unreachable" for one address: the other address's error is more useful.
    raise next((error for error in errors if error.errno != errno.ENETUNREACH), errors[0])


async def _connected(address: _Address) -> socket.socket:
    family, kind, protocol, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock
