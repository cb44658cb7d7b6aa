"""Connections to servers entered by non-operators use exactly the checked addresses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest

from probes.domain.mta_sts import MtaStsPolicyError, PolicyServer, PolicyUnreachableError, fetch_policy
from probes.domain.names import DnsClient, IPAddress
from probes.model.check import NameServers, Verdict
from probes.model.egress import AllowedNetwork, EgressDenial, EgressPolicy
from probes.model.mailbox import Security, Server
from probes.model.probe import ProbeFailedError, ProtocolError
from probes.model.reply import Reason
from probes.model.result import Outcome, Party
from probes.preauth.callout import make_callout
from probes.preauth.session import Protocol, open_session
from probes.protocol.connection import open_socket
from probes.protocol.imap import open_session as open_imap
from probes.protocol.pop3 import open_session as open_pop3
from probes.protocol.smtp import try_submission
from probes.run.trace import TraceRecorder
from probes.verdict.mx_verdict import judge_connection
from tests.unit.probes.standin import hosts, listening, mailbox, server, server_context, trust, until


def restricted_server(port: int, *exceptions: str, host: str = "mel.jabatan-contoh.gov.my") -> Server:
    return replace(server(port), host=host, egress=EgressPolicy(exceptions=tuple(map(AllowedNetwork.read, exceptions))))


class Resolver:
    """Resolver with a different answer for each query."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self, _host: str, port: int) -> Sequence[tuple[int, int, int, object]]:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, (each, port))
            for each in answer
        ]


class CountingServer:
    """Server that counts connections and sends a fixed greeting."""

    def __init__(self, says: bytes = b"") -> None:
        self.connections = 0
        #: Everything received on each connection.
        self.received: list[bytes] = []
        self._says = says

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(self._says)
        await writer.drain()
        self.received.append(await reader.read())


async def denied_connection(server: Server, resolver: Resolver) -> ProbeFailedError:
    with pytest.raises(ProbeFailedError) as refusal:
        await open_socket(server, TraceRecorder(), Party.RECIPIENT, resolver=resolver)
    return refusal.value


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
async def test_connection_name_resolving_to_this_machine_is_denied(address: str) -> None:
    counter = CountingServer()
    async with listening(counter) as port:
        target = restricted_server(port)
        why = await denied_connection(
            replace(target, egress=EgressPolicy(ports=frozenset({port}))), Resolver([address])
        )

    assert (why.outcome, why.failure.reason) == (Outcome.INCONCLUSIVE, Reason.EGRESS_DENIED)
    # The detail is a class and no address.
    assert why.failure.detail == EgressDenial.THIS_MACHINE
    assert counter.connections == 0


async def test_connection_to_denied_port_is_not_opened() -> None:
    counter = CountingServer()
    async with listening(counter) as port:
        why = await denied_connection(restricted_server(port, "127.0.0.0/8"), Resolver(["127.0.0.1"]))

    assert why.failure.detail == EgressDenial.PORT
    assert counter.connections == 0


async def test_connection_rebinding_name_uses_checked_address() -> None:
    allowed, ours = CountingServer(), CountingServer()
    async with hosts({"127.0.0.2": allowed, "127.0.0.1": ours}) as port:
        rebinds = Resolver(["127.0.0.2"], ["127.0.0.1"])
        sock = await open_socket(
            restricted_server(port, f"127.0.0.2:{port}"), TraceRecorder(), Party.SENDER, resolver=rebinds
        )
        peer = sock.getpeername()
        sock.close()

    assert (rebinds.asked, peer) == (1, ("127.0.0.2", port))
    assert ours.connections == 0


@pytest.mark.parametrize(("opened", "lands"), [("0.0.0.0", "127.0.0.1"), ("[::]", "::1")])
async def test_connection_to_other_peer_than_checked_is_closed_unused(opened: str, lands: str) -> None:
    # The kernel connects "any address" to this machine, as a transparent proxy would.
    counter = CountingServer(b"* OK dalaman\r\n")
    async with listening(counter, address=lands) as port:
        target = restricted_server(port, f"{opened}:{port}")
        target = replace(target, egress=replace(target.egress or EgressPolicy(), ports=frozenset({port})))
        why = await denied_connection(target, Resolver([opened.strip("[]")]))
        await until(lambda: len(counter.received) == 1)

    assert (why.outcome, why.failure.reason) == (Outcome.INCONCLUSIVE, Reason.EGRESS_DENIED)
    assert why.failure.detail == EgressDenial.THIS_MACHINE
    # The connection was closed at once, and nothing was sent.
    assert counter.received == [b""]


async def test_connection_uses_only_allowed_addresses_of_host() -> None:
    allowed, ours = CountingServer(), CountingServer()
    async with hosts({"127.0.0.2": allowed, "127.0.0.1": ours}) as port:
        both = Resolver(["127.0.0.1", "::1", "127.0.0.2"])
        sock = await open_socket(
            restricted_server(port, f"127.0.0.2:{port}"), TraceRecorder(), Party.SENDER, resolver=both
        )
        peer = sock.getpeername()
        sock.close()

    assert peer == ("127.0.0.2", port)
    assert ours.connections == 0


async def test_connection_without_egress_policy_is_opened() -> None:
    counter = CountingServer()
    async with listening(counter) as port:
        sock = await open_socket(server(port), TraceRecorder(), Party.SENDER, resolver=Resolver(["127.0.0.1"]))
        sock.close()


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "localhost"])
async def test_connection_other_notations_of_this_machine_are_denied(host: str) -> None:
    with pytest.raises(ProbeFailedError) as refusal:
        await open_session(Protocol.IMAP, restricted_server(993, host=host), Party.RECIPIENT)

    assert refusal.value.failure.detail == EgressDenial.THIS_MACHINE


async def test_callout_mx_host_at_this_machine_is_not_contacted() -> None:
    counter = CountingServer(b"220 dalaman ESMTP\r\n")
    async with listening(counter) as port:
        target = replace(server(port, Security.STARTTLS), egress=EgressPolicy(ports=frozenset({port})))
        seen = await make_callout(target)

    verdict, described = judge_connection(seen, 4, is_open=True)
    assert (verdict, described) == (Verdict.UNKNOWN, "we do not connect there: it is this machine itself")
    assert counter.connections == 0


class Records(DnsClient):
    """DNS client that resolves every host to one address."""

    def __init__(self, address: str) -> None:
        super().__init__(NameServers())
        self._address = address

    async def resolve(self, _host: str) -> tuple[IPAddress, ...]:
        return (ip_address(self._address),)


async def test_mta_sts_policy_from_this_machine_or_redirect_is_not_fetched() -> None:
    inside = CountingServer()
    async with listening(inside) as ours:
        redirect = f"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:{ours}/\r\nContent-Length: 0\r\n\r\n"
        outside = CountingServer(redirect.encode())
        async with listening(outside, server_context("mta-sts.contoh.gov.my"), address="127.0.0.2") as port:
            policies, egress = (
                PolicyServer(port=port, tls=trust()),
                EgressPolicy(exceptions=(AllowedNetwork.read("127.0.0.2"),)),
            )

            with pytest.raises(MtaStsPolicyError, match="answers 302"):
                await fetch_policy(Records("127.0.0.2"), "contoh.gov.my", policies, egress)
            with pytest.raises(PolicyUnreachableError, match="is not contacted: its address is this machine itself"):
                await fetch_policy(Records("127.0.0.1"), "contoh.gov.my", policies, egress)

    assert (outside.connections, inside.connections) == (1, 0)


async def test_certificate_name_is_configured_agency_host() -> None:
    target = restricted_server(1, host="127.0.0.1")

    assert target.certificate_name == "mel.jabatan-contoh.gov.my"


async def test_web_server_instead_of_mail_server_is_not_quoted_under_egress_policy() -> None:
    page = b"HTTP/1.1 400 Bad Request\r\nServer: dalaman/1.0\r\n\r\n<html><script>alert(1)</script></html>\r\n"
    async with listening(CountingServer(page)) as port:
        target = replace(restricted_server(port, f"127.0.0.1:{port}", host="127.0.0.1"), security=Security.STARTTLS)
        box, span = replace(mailbox(smtp=target, imap=target), pop3=target), timedelta(seconds=5)
        for opening in (
            open_imap(box, TraceRecorder(), Party.RECIPIENT, response_timeout=span),
            open_pop3(box, TraceRecorder(), Party.RECIPIENT, response_timeout=span),
            try_submission(box, TraceRecorder(), span),
        ):
            with pytest.raises(ProbeFailedError) as refusal:
                await opening
            assert refusal.value.failure.reason is Reason.UNEXPECTED_ANSWER
            assert refusal.value.failure.detail == ""
        for protocol in Protocol:
            session = await open_session(protocol, target, Party.RECIPIENT)
            with pytest.raises(ProtocolError, match=r"^not a reply of a mail server$"):
                await session.read_greeting()
            session.close()
        # For an operator's server the response is quoted.
        with pytest.raises(ProbeFailedError) as described:
            await try_submission(mailbox(smtp=replace(target, egress=None)), TraceRecorder(), span)
    assert "400 Bad Request" in described.value.failure.detail
