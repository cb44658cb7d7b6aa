"""Questions to real name servers, one that validates and one that does not."""

from __future__ import annotations

import ipaddress

import pytest

from probes.domain.dnssec import Signing, dnssec_status
from probes.domain.exchanger import find_exchangers
from probes.domain.names import DnsClient, DnsNoAnswerReason, DnsUnansweredError
from tests.real.nameserver import BARE, FORGED, ISLAND, VOUCHED, NameServer

pytestmark = pytest.mark.real


async def test_what_is_not_there_is_told_from_what_nobody_answers(name_server: NameServer) -> None:
    name_server.add("ada.gov.my", "A", "192.0.2.1")
    names = DnsClient(name_server.validating)
    there, no_such_record, no_such_name = [
        await names.query(*question) for question in (("ada.gov.my", "A"), ("ada.gov.my", "MX"), ("tiada.gov.my", "A"))
    ]
    assert [record.to_text() for record in there.records] == ["192.0.2.1"]
    assert (no_such_record.records, no_such_record.exists) == ((), True)
    assert (no_such_name.records, no_such_name.exists) == ((), False)
    assert there.validated
    assert no_such_record.validated
    assert no_such_name.validated


async def test_a_forged_answer_and_a_silent_server_are_two_kinds_of_no_answer(name_server: NameServer) -> None:
    with pytest.raises(DnsUnansweredError) as forged:
        await DnsClient(name_server.validating).query(FORGED, "SOA")
    with pytest.raises(DnsUnansweredError) as silent:
        await DnsClient(name_server.silent).query(FORGED, "SOA")
    with pytest.raises(DnsUnansweredError) as senseless:
        await DnsClient(name_server.validating).query("a" * 64 + ".gov.my", "SOA")
    told = [error.value.reason for error in (forged, silent, senseless)]
    assert told == [DnsNoAnswerReason.FAILED, DnsNoAnswerReason.SILENT, DnsNoAnswerReason.UNASKED]


@pytest.mark.parametrize(
    ("domain", "signed"),
    [
        ("dalam.gov.my", Signing.PROVEN),
        (VOUCHED, Signing.PROVEN),
        (FORGED, Signing.BOGUS),
        (ISLAND, Signing.ISLAND),
        (BARE, Signing.BARE),
    ],
)
async def test_how_a_domain_is_signed(name_server: NameServer, domain: str, signed: Signing) -> None:
    assert await dnssec_status(DnsClient(name_server.validating), domain) is signed


@pytest.mark.parametrize(
    ("domain", "signed"),
    [(VOUCHED, Signing.LINKED), (FORGED, Signing.BOGUS), (ISLAND, Signing.ISLAND), (BARE, Signing.BARE)],
)
async def test_the_last_link_is_checked_where_the_name_server_checks_nothing(
    name_server: NameServer, domain: str, signed: Signing
) -> None:
    assert await dnssec_status(DnsClient(name_server.careless), domain) is signed


async def test_the_hosts_that_take_mail_come_by_preference(name_server: NameServer) -> None:
    name_server.add("urutan.gov.my", "MX", "20 MX2.urutan.gov.my.", "10 mx1.urutan.gov.my.")
    found = await find_exchangers(DnsClient(name_server.validating), "urutan.gov.my")
    assert found.hosts == ("mx1.urutan.gov.my", "mx2.urutan.gov.my")
    assert (found.implicit, found.null, found.validated) == (False, False, True)


async def test_without_a_record_mail_goes_to_the_domain_itself_if_it_has_an_address(name_server: NameServer) -> None:
    name_server.add("tersirat.gov.my", "AAAA", "2001:db8::1")
    name_server.add("kosong.gov.my", "TXT", "tiada apa-apa")
    names = DnsClient(name_server.validating)
    implicit, none, absent = [
        await find_exchangers(names, domain) for domain in ("tersirat.gov.my", "kosong.gov.my", "tiada.gov.my")
    ]
    assert (implicit.hosts, implicit.implicit) == (("tersirat.gov.my",), True)
    assert (none.hosts, none.implicit, none.exists) == ((), False, True)
    assert (absent.hosts, absent.exists) == ((), False)


async def test_a_null_record_says_that_no_mail_is_taken(name_server: NameServer) -> None:
    name_server.add("diam.gov.my", "MX", "0 .")
    found = await find_exchangers(DnsClient(name_server.validating), "diam.gov.my")
    assert (found.hosts, found.null) == ((), True)


async def test_both_families_of_addresses_are_found(name_server: NameServer) -> None:
    name_server.add("dua.gov.my", "A", "192.0.2.2", "192.0.2.1")
    name_server.add("dua.gov.my", "AAAA", "2001:db8::2")
    told = await DnsClient(name_server.validating).resolve("dua.gov.my")
    assert told == tuple(map(ipaddress.ip_address, ("192.0.2.1", "192.0.2.2", "2001:db8::2")))
