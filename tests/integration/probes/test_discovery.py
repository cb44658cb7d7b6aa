"""Discovery of an address's servers at a real name server."""

from __future__ import annotations

import asyncio

import pytest

from probes.model.check import NameServers
from probes.model.mail_platform import MailPlatform
from probes.model.mailbox import Security
from probes.preauth.discovery import DiscoveredServers, ServerSource, find_servers
from probes.preauth.session import Protocol
from tests.real.nameserver import NameServer

pytestmark = pytest.mark.real


async def discover(domain: str, servers: NameServers) -> DiscoveredServers:
    """Search until no query is unanswered; on a busy machine one search may time out."""
    async with asyncio.timeout(60):
        while (found := await find_servers(domain, servers)).is_incomplete:
            pass
    return found


def hosts_of(found: DiscoveredServers, *protocols: Protocol) -> list[tuple[str, int]]:
    return [(each.host, each.port) for each in found.for_protocols(*protocols)]


async def test_discovery_finds_servers_by_dns(name_server: NameServer) -> None:
    name_server.add("_submission._tcp.teka.gov.my", "SRV", "10 1 587 serah.teka.gov.my.")
    name_server.add("_imaps._tcp.teka.gov.my", "SRV", "20 1 993 dua.teka.gov.my.")
    name_server.add("_imaps._tcp.teka.gov.my", "SRV", "10 1 993 satu.teka.gov.my.")
    name_server.add("awan.gov.my", "MX", "1 aspmx.l.google.com.")
    name_server.add("biasa-sahaja.gov.my", "MX", "1 mx.biasa-sahaja.gov.my.")
    name_server.add("mx.biasa-sahaja.gov.my", "A", "192.0.2.8")
    name_server.add("mel.biasa-sahaja.gov.my", "AAAA", "2001:db8::7")

    found = await discover("teka.gov.my", name_server.validating)
    (sending,) = found.for_protocols(Protocol.SMTP)
    assert (sending.host, sending.port, sending.security) == ("serah.teka.gov.my", 587, Security.STARTTLS)
    assert sending.source is ServerSource.ANNOUNCED
    assert hosts_of(found, Protocol.IMAP) == [("satu.teka.gov.my", 993), ("dua.teka.gov.my", 993)]

    found = await discover("awan.gov.my", name_server.validating)
    assert (found.platform, hosts_of(found, Protocol.IMAP)) == (MailPlatform.GOOGLE, [("imap.gmail.com", 993)])

    found = await discover("biasa-sahaja.gov.my", name_server.validating)
    hosts = ["mel.biasa-sahaja.gov.my", "mx.biasa-sahaja.gov.my"]
    assert hosts_of(found, Protocol.SMTP) == [(host, port) for host in hosts for port in (465, 587)]
    assert {each.source for each in found.candidates} == {ServerSource.USUAL}

    assert await discover("tiada.gov.my", name_server.validating) == DiscoveredServers()


async def test_discovery_denied_service_is_not_guessed(name_server: NameServer) -> None:
    name_server.add("_submissions._tcp.tutup.gov.my", "SRV", "0 0 0 .")
    name_server.add("_imaps._tcp.tutup.gov.my", "SRV", "0 0 0 .")
    name_server.add("mail.tutup.gov.my", "A", "192.0.2.9")
    assert await discover("tutup.gov.my", name_server.validating) == DiscoveredServers()


async def test_discovery_without_dns_answer_is_incomplete(
    name_server: NameServer,
) -> None:
    assert await find_servers("teka.gov.my", name_server.silent) == DiscoveredServers(is_incomplete=True)
