"""A name server that answers differently each time, as in DNS rebinding."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rdatatype
import dns.rrset

from monitor.runtime.resolver import separate_resolver
from probes.model.check import NameServers

_FAMILIES = {"A": socket.AF_INET, "AAAA": socket.AF_INET6}


@dataclass
class RebindingDns(asyncio.DatagramProtocol):
    """Name server with successive answers by "NAME TYPE"; the last one repeats. Other names have no records."""

    answers: Mapping[str, Sequence[Sequence[str]]]
    asked: Counter[str] = field(default_factory=Counter)
    port: int = 0

    @property
    def name_servers(self) -> NameServers:
        """Return the name servers for a DNS client."""
        return NameServers(addresses=("127.0.0.1",), port=self.port, within=timedelta(seconds=5))

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = dns.message.from_wire(data)
        (asked,) = question.question
        key = f"{asked.name.to_text(omit_final_dot=True)} {dns.rdatatype.to_text(asked.rdtype)}"
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        if (turns := self.answers.get(key)) is not None:
            records = turns[min(self.asked[key], len(turns) - 1)]
            answer.answer.append(dns.rrset.from_text(asked.name, 0, "IN", asked.rdtype, *records))
        self.asked[key] += 1
        self._transport.sendto(answer.to_wire(), addr)

    def refresh_latest(self, host: str, port: int, **_: int) -> list[Any]:
        """Answer as `socket.getaddrinfo`, blocking."""
        found = [
            (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (record.to_text(), port))
            for kind, family in _FAMILIES.items()
            for rrset in self._query(host, kind)
            for record in rrset
        ]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "tiada")
        return found

    def _query(self, host: str, kind: str) -> Sequence[Any]:
        question = dns.message.make_query(host, kind)
        return dns.query.udp(question, "127.0.0.1", port=self.port, timeout=5).answer


@asynccontextmanager
async def rebinding_dns(answers: Mapping[str, Sequence[Sequence[str]]]) -> AsyncIterator[RebindingDns]:
    """Run the name server as this process's only resolver until the end of the block."""
    dns_server = RebindingDns(answers)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: dns_server, local_addr=("127.0.0.1", 0))
    try:
        with separate_resolver(dns_server.refresh_latest):
            yield dns_server
    finally:
        transport.close()
