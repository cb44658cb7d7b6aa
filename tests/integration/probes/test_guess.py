"""Where the servers of an address may be, as a real name server tells it."""

from __future__ import annotations

import pytest

from monitor.cli.operation.guess import Guess, guess
from tests.real.nameserver import NameServer

pytestmark = pytest.mark.real


async def test_servers_are_proposed_by_what_the_dns_says(name_server: NameServer) -> None:
    name_server.add("_submission._tcp.teka.gov.my", "SRV", "10 1 587 serah.teka.gov.my.")
    name_server.add("_imaps._tcp.teka.gov.my", "SRV", "20 1 993 dua.teka.gov.my.")
    name_server.add("_imaps._tcp.teka.gov.my", "SRV", "10 1 993 satu.teka.gov.my.")
    name_server.add("awan.gov.my", "MX", "1 aspmx.l.google.com.")
    name_server.add("mel.biasa-sahaja.gov.my", "A", "192.0.2.7")

    assert await guess("teka.gov.my", name_server.validating) == Guess(
        smtp="serah.teka.gov.my:587 starttls", imap="satu.teka.gov.my:993"
    )
    assert (await guess("awan.gov.my", name_server.validating)).imap == "imap.gmail.com"
    assert (await guess("biasa-sahaja.gov.my", name_server.validating)).smtp == "mel.biasa-sahaja.gov.my"
    assert await guess("tiada.gov.my", name_server.validating) == Guess()


async def test_a_service_that_the_domain_says_it_has_not_is_not_proposed(name_server: NameServer) -> None:
    name_server.add("_submissions._tcp.tutup.gov.my", "SRV", "0 0 0 .")
    name_server.add("_imaps._tcp.tutup.gov.my", "SRV", "0 0 0 .")
    assert await guess("tutup.gov.my", name_server.validating) == Guess()


async def test_without_an_answer_nothing_is_proposed_and_nobody_waits_for_long(name_server: NameServer) -> None:
    assert await guess("teka.gov.my", name_server.silent) == Guess()
