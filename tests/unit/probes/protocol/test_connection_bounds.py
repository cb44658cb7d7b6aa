"""A server that somebody has named who is no operator: what is connected to is what was checked."""

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
from probes.model.egress import EgressDenial, EgressException, EgressPolicy
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


def bounded(port: int, *exceptions: str, host: str = "mel.jabatan-contoh.gov.my") -> Server:
    return replace(
        server(port), host=host, egress=EgressPolicy(exceptions=tuple(map(EgressException.read, exceptions)))
    )


class Resolver:
    """Says something else each time it is asked."""

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


class Door:
    """Counts who comes in, and says what it says."""

    def __init__(self, says: bytes = b"") -> None:
        self.callers = 0
        #: What each caller has said until they left.
        self.heard: list[bytes] = []
        self._says = says

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.callers += 1
        writer.write(self._says)
        await writer.drain()
        self.heard.append(await reader.read())


async def refused(server: Server, resolver: Resolver) -> ProbeFailedError:
    with pytest.raises(ProbeFailedError) as refusal:
        await open_socket(server, TraceRecorder(), Party.RECIPIENT, resolver=resolver)
    return refusal.value


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_to_this_machine_is_not_connected_to(address: str) -> None:
    door = Door()
    async with listening(door) as port:
        there = bounded(port)
        why = await refused(replace(there, egress=EgressPolicy(ports=frozenset({port}))), Resolver([address]))

    assert (why.outcome, why.failure.reason) == (Outcome.INCONCLUSIVE, Reason.EGRESS_DENIED)
    # What kind it is, and not what our resolver says.
    assert why.failure.detail == EgressDenial.THIS_MACHINE
    assert door.callers == 0


async def test_a_port_of_ours_is_not_connected_to() -> None:
    door = Door()
    async with listening(door) as port:
        why = await refused(bounded(port, "127.0.0.0/8"), Resolver(["127.0.0.1"]))

    assert why.failure.detail == EgressDenial.PORT
    assert door.callers == 0


async def test_a_name_that_leads_elsewhere_a_moment_later_is_met_where_it_was_checked() -> None:
    allowed, ours = Door(), Door()
    async with hosts({"127.0.0.2": allowed, "127.0.0.1": ours}) as port:
        rebinds = Resolver(["127.0.0.2"], ["127.0.0.1"])
        sock = await open_socket(bounded(port, f"127.0.0.2:{port}"), TraceRecorder(), Party.SENDER, resolver=rebinds)
        peer = sock.getpeername()
        sock.close()

    assert (rebinds.asked, peer) == (1, ("127.0.0.2", port))
    assert ours.callers == 0


@pytest.mark.parametrize(("opened", "lands"), [("0.0.0.0", "127.0.0.1"), ("[::]", "::1")])
async def test_a_connection_that_has_come_elsewhere_than_it_was_to_go_is_given_up_unused(
    opened: str, lands: str
) -> None:
    # The kernel leads what is for "any address" to this machine, as a proxy of the machine's would lead another.
    door = Door(b"* OK dalaman\r\n")
    async with listening(door, address=lands) as port:
        there = bounded(port, f"{opened}:{port}")
        there = replace(there, egress=replace(there.egress or EgressPolicy(), ports=frozenset({port})))
        why = await refused(there, Resolver([opened.strip("[]")]))
        await until(lambda: len(door.heard) == 1)

    assert (why.outcome, why.failure.reason) == (Outcome.INCONCLUSIVE, Reason.EGRESS_DENIED)
    assert why.failure.detail == EgressDenial.THIS_MACHINE
    # It was let go of at once, and nothing was said on it.
    assert door.heard == [b""]


async def test_of_several_addresses_those_are_met_that_are_allowed() -> None:
    allowed, ours = Door(), Door()
    async with hosts({"127.0.0.2": allowed, "127.0.0.1": ours}) as port:
        both = Resolver(["127.0.0.1", "::1", "127.0.0.2"])
        sock = await open_socket(bounded(port, f"127.0.0.2:{port}"), TraceRecorder(), Party.SENDER, resolver=both)
        peer = sock.getpeername()
        sock.close()

    assert peer == ("127.0.0.2", port)
    assert ours.callers == 0


async def test_a_host_that_operators_have_named_is_met_wherever_it_is() -> None:
    door = Door()
    async with listening(door) as port:
        sock = await open_socket(server(port), TraceRecorder(), Party.SENDER, resolver=Resolver(["127.0.0.1"]))
        sock.close()


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "localhost"])
async def test_other_ways_to_write_this_machine_lead_there_and_are_refused(host: str) -> None:
    with pytest.raises(ProbeFailedError) as refusal:
        await open_session(Protocol.IMAP, bounded(993, host=host), Party.RECIPIENT)

    assert refusal.value.failure.detail == EgressDenial.THIS_MACHINE


async def test_a_domain_whose_mail_exchanger_leads_to_this_machine_is_not_called_at() -> None:
    door = Door(b"220 dalaman ESMTP\r\n")
    async with listening(door) as port:
        there = replace(server(port, Security.STARTTLS), egress=EgressPolicy(ports=frozenset({port})))
        seen = await make_callout(there)

    verdict, told = judge_connection(seen, 4, is_open=True)
    assert (verdict, told) == (Verdict.UNKNOWN, "we do not call there: it is this machine itself")
    assert door.callers == 0


class Records(DnsClient):
    """Says one address of every host."""

    def __init__(self, address: str) -> None:
        super().__init__(NameServers())
        self._address = address

    async def resolve(self, _host: str) -> tuple[IPAddress, ...]:
        return (ip_address(self._address),)


async def test_a_policy_is_not_fetched_from_this_machine_and_no_redirection_is_followed_to_it() -> None:
    inside = Door()
    async with listening(inside) as ours:
        redirect = f"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:{ours}/\r\nContent-Length: 0\r\n\r\n"
        outside = Door(redirect.encode())
        async with listening(outside, server_context("mta-sts.contoh.gov.my"), address="127.0.0.2") as port:
            policies, egress = (
                PolicyServer(port=port, tls=trust()),
                EgressPolicy(exceptions=(EgressException.read("127.0.0.2"),)),
            )

            with pytest.raises(MtaStsPolicyError, match="answers 302"):
                await fetch_policy(Records("127.0.0.2"), "contoh.gov.my", policies, egress)
            with pytest.raises(PolicyUnreachableError, match="is not asked: it leads to this machine itself"):
                await fetch_policy(Records("127.0.0.1"), "contoh.gov.my", policies, egress)

    assert (outside.callers, inside.callers) == (1, 0)


async def test_the_name_stays_the_one_that_the_certificate_is_held_against() -> None:
    there = bounded(1, host="127.0.0.1")

    assert there.certificate_name == "mel.jabatan-contoh.gov.my"


async def test_a_web_server_in_the_place_of_a_mail_server_is_told_as_a_class_and_is_not_quoted() -> None:
    page = b"HTTP/1.1 400 Bad Request\r\nServer: dalaman/1.0\r\n\r\n<html><script>alert(1)</script></html>\r\n"
    async with listening(Door(page)) as port:
        there = replace(bounded(port, f"127.0.0.1:{port}", host="127.0.0.1"), security=Security.STARTTLS)
        box, span = replace(mailbox(smtp=there, imap=there), pop3=there), timedelta(seconds=5)
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
            session = await open_session(protocol, there, Party.RECIPIENT)
            with pytest.raises(ProtocolError, match=r"^not what mail servers say$"):
                await session.read_greeting()
            session.close()
        # An operator reads what is there.
        with pytest.raises(ProbeFailedError) as told:
            await try_submission(mailbox(smtp=replace(there, egress=None)), TraceRecorder(), span)
    assert "400 Bad Request" in told.value.failure.detail
