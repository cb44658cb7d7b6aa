"""Where the servers of an address may be, as a real name server tells it."""

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


async def found_at(domain: str, servers: NameServers) -> DiscoveredServers:
    """Search, and again while questions stay open: a person is not let wait as long as a busy machine may take to answer."""
    async with asyncio.timeout(60):
        while (found := await find_servers(domain, servers)).is_incomplete:
            pass
    return found


def seen(found: DiscoveredServers, *protocols: Protocol) -> list[tuple[str, int]]:
    return [(each.host, each.port) for each in found.of(*protocols)]


async def test_servers_are_found_by_what_the_dns_says(name_server: NameServer) -> None:
    name_server.add("_submission._tcp.teka.gov.my", "SRV", "10 1 587 serah.teka.gov.my.")
    name_server.add("_imaps._tcp.teka.gov.my", "SRV", "20 1 993 dua.teka.gov.my.")
    name_server.add("_imaps._tcp.teka.gov.my", "SRV", "10 1 993 satu.teka.gov.my.")
    name_server.add("awan.gov.my", "MX", "1 aspmx.l.google.com.")
    name_server.add("biasa-sahaja.gov.my", "MX", "1 mx.biasa-sahaja.gov.my.")
    name_server.add("mx.biasa-sahaja.gov.my", "A", "192.0.2.8")
    name_server.add("mel.biasa-sahaja.gov.my", "AAAA", "2001:db8::7")

    found = await found_at("teka.gov.my", name_server.validating)
    (sending,) = found.of(Protocol.SMTP)
    assert (sending.host, sending.port, sending.security) == ("serah.teka.gov.my", 587, Security.STARTTLS)
    assert sending.source is ServerSource.ANNOUNCED
    assert seen(found, Protocol.IMAP) == [("satu.teka.gov.my", 993), ("dua.teka.gov.my", 993)]

    found = await found_at("awan.gov.my", name_server.validating)
    assert (found.platform, seen(found, Protocol.IMAP)) == (MailPlatform.GOOGLE, [("imap.gmail.com", 993)])

    found = await found_at("biasa-sahaja.gov.my", name_server.validating)
    hosts = ["mel.biasa-sahaja.gov.my", "mx.biasa-sahaja.gov.my"]
    assert seen(found, Protocol.SMTP) == [(host, port) for host in hosts for port in (465, 587)]
    assert {each.source for each in found.candidates} == {ServerSource.USUAL}

    assert await found_at("tiada.gov.my", name_server.validating) == DiscoveredServers()


async def test_a_service_that_the_domain_says_it_has_not_is_not_guessed_at(name_server: NameServer) -> None:
    name_server.add("_submissions._tcp.tutup.gov.my", "SRV", "0 0 0 .")
    name_server.add("_imaps._tcp.tutup.gov.my", "SRV", "0 0 0 .")
    name_server.add("mail.tutup.gov.my", "A", "192.0.2.9")
    assert await found_at("tutup.gov.my", name_server.validating) == DiscoveredServers()


async def test_without_an_answer_nothing_is_found_and_it_is_said_that_there_may_be_more(
    name_server: NameServer,
) -> None:
    assert await find_servers("teka.gov.my", name_server.silent) == DiscoveredServers(is_incomplete=True)
