"""A domain announces servers that are none of its own: what is announced is looked at within bounds, and only where it was checked."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace

import pytest

from probes.model.egress import EgressDenial, EgressException, EgressPolicy
from probes.model.mailbox import Security, Server
from probes.model.reply import Reason
from probes.preauth.capabilities import ServerCapabilities, query_servers
from probes.preauth.discovery import ServerCandidate, find_servers
from tests.unit.probes.standin import ImapStandIn, hosts, listening, server_context, trust
from tests.unit.probes.turncoat import Turncoat, turncoat

DOMAIN = "contoh.gov.my"
IMAPS = f"_imaps._tcp.{DOMAIN} SRV"
#: It sends nothing, so that nothing is guessed.
SILENT = {f"_submissions._tcp.{DOMAIN} SRV": [["0 0 0 ."]]}
HOST = f"mel.{DOMAIN}"


def met(candidate: ServerCandidate, egress: EgressPolicy, tls: ssl.SSLContext) -> Server:
    """Return a server as `monitor.service.portal.mailbox_setup` has it looked at."""
    return Server(host=candidate.host, port=candidate.port, security=candidate.security, tls=tls, egress=egress)


async def looked(served: Turncoat, egress: EgressPolicy) -> list[ServerCapabilities]:
    """Find the servers of the domain, and look at each."""
    found = await find_servers(DOMAIN, served.name_servers)
    assert found.candidates
    return list(await query_servers([(each.protocol, met(each, egress, trust())) for each in found.candidates]))


async def test_a_name_that_leads_inside_once_it_was_checked_leads_nowhere() -> None:
    outside, inside = ImapStandIn(capabilities="IMAP4rev1"), ImapStandIn()
    async with (
        hosts({"127.0.0.2": outside, "127.0.0.1": inside}, server_context(HOST)) as port,
        turncoat(SILENT | {IMAPS: [[f"0 0 {port} {HOST}."]], f"{HOST} A": [["127.0.0.2"], ["127.0.0.1"]]}) as served,
    ):
        egress = EgressPolicy(exceptions=(EgressException.read(f"127.0.0.2:{port}"),), ports=frozenset({port}))
        (first,) = await looked(served, egress)
        # It was asked for once: between the check and the connection nothing could turn.
        assert (first.is_usable, served.asked[f"{HOST} A"]) == (True, 1)
        (second,) = await looked(served, egress)

    assert second.failure is not None
    assert (second.failure.reason, second.failure.detail) == (Reason.EGRESS_DENIED, EgressDenial.THIS_MACHINE)
    assert (outside.connections, inside.connections) == (1, 0)


async def test_a_name_that_turns_between_two_servers_of_one_look_is_checked_for_each() -> None:
    outside, inside = ImapStandIn(), ImapStandIn()
    async with (
        hosts({"127.0.0.2": outside, "127.0.0.1": inside}, server_context(HOST)) as port,
        turncoat(
            SILENT
            | {
                IMAPS: [[f"0 0 {port} {HOST}.", f"1 0 {port} lain.{DOMAIN}."]],
                f"{HOST} A": [["127.0.0.2"]],
                f"lain.{DOMAIN} A": [["127.0.0.1", "169.254.169.254", "10.0.0.1"]],
            }
        ) as served,
    ):
        looks = await looked(
            served, EgressPolicy(exceptions=(EgressException.read(f"127.0.0.2:{port}"),), ports=frozenset({port}))
        )

    assert [each.is_usable for each in looks] == [True, False]
    assert inside.connections == 0


@pytest.mark.parametrize(
    ("target", "leads", "why"),
    [
        (HOST, "127.0.0.1", EgressDenial.THIS_MACHINE),
        (HOST, "0.0.0.0", EgressDenial.THIS_MACHINE),
        (HOST, "169.254.169.254", EgressDenial.LINK),
        (HOST, "10.0.0.5", EgressDenial.PRIVATE),
        (HOST, "100.64.0.1", EgressDenial.PRIVATE),
        (HOST, "224.0.0.1", EgressDenial.RESERVED),
        (HOST, "::1", EgressDenial.THIS_MACHINE),
        (HOST, "::ffff:127.0.0.1", EgressDenial.THIS_MACHINE),
        (HOST, "::ffff:169.254.169.254", EgressDenial.LINK),
        (HOST, "64:ff9b::7f00:1", EgressDenial.RESERVED),
        (HOST, "fe80::1", EgressDenial.LINK),
        # A target that is an address already asks nobody.
        ("127.0.0.1", "", EgressDenial.THIS_MACHINE),
        ("169.254.169.254", "", EgressDenial.LINK),
    ],
)
async def test_what_a_domain_announces_inside_is_not_knocked_at(target: str, leads: str, why: EgressDenial) -> None:
    inside = ImapStandIn()
    async with listening(inside) as port:
        records = {f"{target} {'AAAA' if ':' in leads else 'A'}": [[leads]]} if leads else {}
        async with turncoat(SILENT | {IMAPS: [[f"0 0 {port} {target}."]]} | records) as served:
            (seen,) = await looked(served, EgressPolicy(ports=frozenset({port})))

    assert seen.failure is not None
    # Which kind of place, and no address: that would be what our resolver says.
    assert (seen.failure.reason, seen.failure.detail) == (Reason.EGRESS_DENIED, why)
    assert inside.connections == 0


async def test_a_port_of_something_else_is_not_knocked_at_wherever_it_is() -> None:
    inside = ImapStandIn()
    async with listening(inside, address="127.0.0.2") as port:
        services = SILENT | {IMAPS: [[f"0 0 {port} {HOST}."]], f"{HOST} A": [["127.0.0.2"]]}
        async with turncoat(services) as served:
            (seen,) = await looked(served, EgressPolicy(exceptions=(EgressException.read("127.0.0.2"),)))

    assert (seen.failure and seen.failure.detail, inside.connections) == (EgressDenial.PORT, 0)


async def test_what_answers_within_bounds_and_is_no_mail_server_is_not_quoted() -> None:
    async def says(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 Rahsia\r\nX-Rahsia: dalaman\r\n\r\n")
        await writer.drain()

    async with listening(says, address="127.0.0.2") as port:
        services = {f"_imap._tcp.{DOMAIN} SRV": [[f"0 0 {port} {HOST}."]], f"{HOST} A": [["127.0.0.2"]]}
        async with turncoat(SILENT | services) as served:
            egress = EgressPolicy(exceptions=(EgressException.read(f"127.0.0.2:{port}"),))
            (seen,) = await looked(served, egress)

    assert seen.failure is not None
    assert (seen.failure.reason, "Rahsia" in str(seen)) == (Reason.UNEXPECTED_ANSWER, False)


async def test_the_one_who_looks_is_bounded_by_the_server_and_an_operators_server_is_not() -> None:
    """The same door, named by an operator: what keeps officers out is the bounds, and nothing else in this test."""
    inside = ImapStandIn()
    async with (
        listening(inside, server_context(HOST)) as port,
        turncoat(SILENT | {IMAPS: [[f"0 0 {port} {HOST}."]], f"{HOST} A": [["127.0.0.1"]]}) as served,
    ):
        (found,) = (await find_servers(DOMAIN, served.name_servers)).candidates
        server = met(found, EgressPolicy(), trust())
        (seen,) = await query_servers([(found.protocol, replace(server, egress=None))])

    assert (seen.is_usable, found.security, inside.connections) == (True, Security.IMPLICIT, 1)
