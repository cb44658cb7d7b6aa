"""Opens a connection to a server: the name's addresses first, then each of them in turn, then TLS where it comes first."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from typing import Any, TypeVar

from probes.model.mailbox import Security, Server
from probes.model.probe import Trace
from probes.model.result import Party, Phase
from probes.protocol.cause import stage

#: An address that has not answered by then is given up for the next; a packet filter that drops says nothing for ever.
_ADDRESS_SECONDS = 10.0

#: Of asyncio's TLS: it keeps a buffer of 256 KiB for each connection, for as long as it is open, and thousands of
#: mailboxes are watched. No TLS record is longer than this (RFC 8446 5.1), so no record takes more than one reading.
_READ_BUFFER = 16 * 1024

_Address = tuple[int, int, int, Any]
_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)


async def connect(
    server: Server, trace: Trace, party: Party, protocol: Callable[[], _Protocol]
) -> tuple[asyncio.Transport, _Protocol]:
    """Return a connection on which *protocol* listens, after the handshake where TLS comes first (RFC 8314 3).

    The caller aborts the transport. Raise `ProbeFailure` DNS, CONNECT or TLS.
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
    """Return our own address as EHLO takes it (RFC 5321 4.1.3): asking the resolver for our name takes time."""
    host = str(transport.get_extra_info("sockname")[0])
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"


async def open_socket(server: Server, trace: Trace, party: Party) -> socket.socket:
    """Return a connected, non-blocking socket; the caller closes it.

    Raise `ProbeFailure` DNS or CONNECT.
    """
    # There is no setting: connections take it from their class when they are made. See docs/adr/0016.
    SSLProtocol.max_size = _READ_BUFFER
    with stage(trace, Phase.DNS, party):
        addresses = await _addresses(server)
    with stage(trace, Phase.CONNECT, party):
        return await _first_that_answers(addresses)


async def _addresses(server: Server) -> list[_Address]:
    loop = asyncio.get_running_loop()
    if (literal := _literal(server)) is not None:
        return [literal]
    # The resolver blocks, so asyncio asks it in a thread; an abandoned question ends by itself.
    found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]


def _literal(server: Server) -> _Address | None:
    # A server met by its address needs no resolver and none of its few threads.
    try:
        version = ipaddress.ip_address(server.host).version
    except ValueError:
        return None
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, (server.host, server.port)


async def _first_that_answers(addresses: list[_Address]) -> socket.socket:
    errors: list[OSError] = []
    for address in addresses:
        try:
            async with asyncio.timeout(_ADDRESS_SECONDS):
                return await _connected(address)
        except OSError as error:
            errors.append(error)
    # A host without IPv6 of its own says "network unreachable" for one address: the other address's error tells more.
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
