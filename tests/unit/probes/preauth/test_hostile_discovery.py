"""A domain that announces foreign servers: each is checked against the egress policy before a connection."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace

import pytest

from probes.model.egress import AllowedNetwork, EgressDenial, EgressPolicy
from probes.model.mailbox import Security, Server
from probes.model.reply import Reason
from probes.preauth.capabilities import ServerCapabilities, query_servers
from probes.preauth.discovery import ServerCandidate, find_servers
from tests.unit.probes.rebinding_dns import RebindingDns, rebinding_dns
from tests.unit.probes.standin import ImapStandIn, hosts, listening, server_context, trust

DOMAIN = "contoh.gov.my"
IMAPS = f"_imaps._tcp.{DOMAIN} SRV"
#: The domain offers no submission, so no server is guessed.
NO_SUBMISSION = {f"_submissions._tcp.{DOMAIN} SRV": [["0 0 0 ."]]}
HOST = f"mel.{DOMAIN}"


def restricted_server(candidate: ServerCandidate, egress: EgressPolicy, tls: ssl.SSLContext) -> Server:
    """Return a server as `monitor.service.portal.mailbox_setup` queries it."""
    return Server(host=candidate.host, port=candidate.port, security=candidate.security, tls=tls, egress=egress)


async def query_announced(dns_server: RebindingDns, egress: EgressPolicy) -> list[ServerCapabilities]:
    """Find the servers of the domain, and query each."""
    found = await find_servers(DOMAIN, dns_server.name_servers)
    assert found.candidates
    return list(
        await query_servers([(each.protocol, restricted_server(each, egress, trust())) for each in found.candidates])
    )


async def test_discovery_rebinding_name_is_denied_at_second_query() -> None:
    outside, inside = ImapStandIn(capabilities="IMAP4rev1"), ImapStandIn()
    async with (
        hosts({"127.0.0.2": outside, "127.0.0.1": inside}, server_context(HOST)) as port,
        rebinding_dns(
            NO_SUBMISSION | {IMAPS: [[f"0 0 {port} {HOST}."]], f"{HOST} A": [["127.0.0.2"], ["127.0.0.1"]]}
        ) as dns_server,
    ):
        egress = EgressPolicy(exceptions=(AllowedNetwork.read(f"127.0.0.2:{port}"),), ports=frozenset({port}))
        (first,) = await query_announced(dns_server, egress)
        # One DNS query: the address cannot change between check and connection.
        assert (first.is_usable, dns_server.asked[f"{HOST} A"]) == (True, 1)
        (second,) = await query_announced(dns_server, egress)

    assert second.failure is not None
    assert (second.failure.reason, second.failure.detail) == (Reason.EGRESS_DENIED, EgressDenial.THIS_MACHINE)
    assert (outside.connections, inside.connections) == (1, 0)


async def test_discovery_each_server_of_domain_is_checked() -> None:
    outside, inside = ImapStandIn(), ImapStandIn()
    async with (
        hosts({"127.0.0.2": outside, "127.0.0.1": inside}, server_context(HOST)) as port,
        rebinding_dns(
            NO_SUBMISSION
            | {
                IMAPS: [[f"0 0 {port} {HOST}.", f"1 0 {port} lain.{DOMAIN}."]],
                f"{HOST} A": [["127.0.0.2"]],
                f"lain.{DOMAIN} A": [["127.0.0.1", "169.254.169.254", "10.0.0.1"]],
            }
        ) as dns_server,
    ):
        results = await query_announced(
            dns_server, EgressPolicy(exceptions=(AllowedNetwork.read(f"127.0.0.2:{port}"),), ports=frozenset({port}))
        )

    assert [each.is_usable for each in results] == [True, False]
    assert inside.connections == 0


@pytest.mark.parametrize(
    ("target", "resolves_to", "why"),
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
        # A target that is an address needs no query.
        ("127.0.0.1", "", EgressDenial.THIS_MACHINE),
        ("169.254.169.254", "", EgressDenial.LINK),
    ],
)
async def test_discovery_internal_target_is_not_contacted(target: str, resolves_to: str, why: EgressDenial) -> None:
    inside = ImapStandIn()
    async with listening(inside) as port:
        records = {f"{target} {'AAAA' if ':' in resolves_to else 'A'}": [[resolves_to]]} if resolves_to else {}
        async with rebinding_dns(NO_SUBMISSION | {IMAPS: [[f"0 0 {port} {target}."]]} | records) as dns_server:
            (result,) = await query_announced(dns_server, EgressPolicy(ports=frozenset({port})))

    assert result.failure is not None
    # The detail is a class and no address, which would reveal answers of our resolver.
    assert (result.failure.reason, result.failure.detail) == (Reason.EGRESS_DENIED, why)
    assert inside.connections == 0


async def test_discovery_target_at_other_port_is_not_contacted() -> None:
    inside = ImapStandIn()
    async with listening(inside, address="127.0.0.2") as port:
        services = NO_SUBMISSION | {IMAPS: [[f"0 0 {port} {HOST}."]], f"{HOST} A": [["127.0.0.2"]]}
        async with rebinding_dns(services) as dns_server:
            (result,) = await query_announced(dns_server, EgressPolicy(exceptions=(AllowedNetwork.read("127.0.0.2"),)))

    assert (result.failure and result.failure.detail, inside.connections) == (EgressDenial.PORT, 0)


async def test_discovery_response_of_non_mail_server_is_not_quoted() -> None:
    async def send_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 Rahsia\r\nX-Rahsia: dalaman\r\n\r\n")
        await writer.drain()

    async with listening(send_http, address="127.0.0.2") as port:
        services = {f"_imap._tcp.{DOMAIN} SRV": [[f"0 0 {port} {HOST}."]], f"{HOST} A": [["127.0.0.2"]]}
        async with rebinding_dns(NO_SUBMISSION | services) as dns_server:
            egress = EgressPolicy(exceptions=(AllowedNetwork.read(f"127.0.0.2:{port}"),))
            (result,) = await query_announced(dns_server, egress)

    assert result.failure is not None
    assert (result.failure.reason, "Rahsia" in str(result)) == (Reason.UNEXPECTED_ANSWER, False)


async def test_discovery_server_without_egress_policy_is_contacted() -> None:
    """The same server, entered by an operator: only the egress policy denies it to officers."""
    inside = ImapStandIn()
    async with (
        listening(inside, server_context(HOST)) as port,
        rebinding_dns(NO_SUBMISSION | {IMAPS: [[f"0 0 {port} {HOST}."]], f"{HOST} A": [["127.0.0.1"]]}) as dns_server,
    ):
        (found,) = (await find_servers(DOMAIN, dns_server.name_servers)).candidates
        server = restricted_server(found, EgressPolicy(), trust())
        (result,) = await query_servers([(found.protocol, replace(server, egress=None))])

    assert (result.is_usable, found.security, inside.connections) == (True, Security.IMPLICIT, 1)
