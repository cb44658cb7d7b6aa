"""Queries to real name servers, validating and non-validating."""

from __future__ import annotations

import ipaddress

import pytest

from probes.domain.dnssec import DnssecStatus, dnssec_status
from probes.domain.exchanger import find_exchangers
from probes.domain.names import DnsClient, DnsNoAnswerReason, DnsUnansweredError
from tests.real.nameserver import DELEGATED_SIGNED, DELEGATED_UNSIGNED, FORGED, ISLAND, NameServer

pytestmark = pytest.mark.real


async def test_dns_missing_record_differs_from_missing_name(name_server: NameServer) -> None:
    name_server.add("ada.gov.my", "A", "192.0.2.1")
    names = DnsClient(name_server.validating)
    there, no_such_record, no_such_name = [
        await names.query(*question) for question in (("ada.gov.my", "A"), ("ada.gov.my", "MX"), ("tiada.gov.my", "A"))
    ]
    assert [record.to_text() for record in there.records] == ["192.0.2.1"]
    assert (no_such_record.records, no_such_record.exists) == ((), True)
    assert (no_such_name.records, no_such_name.exists) == ((), False)
    assert there.is_validated
    assert no_such_record.is_validated
    assert no_such_name.is_validated


async def test_dns_forged_silent_and_invalid_queries_have_different_reasons(name_server: NameServer) -> None:
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
        ("dalam.gov.my", DnssecStatus.VALIDATED),
        (DELEGATED_SIGNED, DnssecStatus.VALIDATED),
        (FORGED, DnssecStatus.BOGUS),
        (ISLAND, DnssecStatus.ISLAND),
        (DELEGATED_UNSIGNED, DnssecStatus.UNSIGNED),
    ],
)
async def test_dnssec_status_with_validating_server(name_server: NameServer, domain: str, signed: DnssecStatus) -> None:
    assert await dnssec_status(DnsClient(name_server.validating), domain) is signed


@pytest.mark.parametrize(
    ("domain", "signed"),
    [
        (DELEGATED_SIGNED, DnssecStatus.MATCHES_DS),
        (FORGED, DnssecStatus.BOGUS),
        (ISLAND, DnssecStatus.ISLAND),
        (DELEGATED_UNSIGNED, DnssecStatus.UNSIGNED),
    ],
)
async def test_dnssec_status_with_non_validating_server_checks_ds(
    name_server: NameServer, domain: str, signed: DnssecStatus
) -> None:
    assert await dnssec_status(DnsClient(name_server.not_validating), domain) is signed


async def test_mx_hosts_are_sorted_by_preference(name_server: NameServer) -> None:
    name_server.add("urutan.gov.my", "MX", "20 MX2.urutan.gov.my.", "10 mx1.urutan.gov.my.")
    found = await find_exchangers(DnsClient(name_server.validating), "urutan.gov.my")
    assert found.hosts == ("mx1.urutan.gov.my", "mx2.urutan.gov.my")
    assert (found.is_implicit_mx, found.is_null_mx, found.is_validated) == (False, False, True)


async def test_domain_without_mx_record_is_implicit_mx_if_it_has_address(name_server: NameServer) -> None:
    name_server.add("tersirat.gov.my", "AAAA", "2001:db8::1")
    name_server.add("kosong.gov.my", "TXT", "tiada apa-apa")
    names = DnsClient(name_server.validating)
    is_implicit_mx, none, absent = [
        await find_exchangers(names, domain) for domain in ("tersirat.gov.my", "kosong.gov.my", "tiada.gov.my")
    ]
    assert (is_implicit_mx.hosts, is_implicit_mx.is_implicit_mx) == (("tersirat.gov.my",), True)
    assert (none.hosts, none.is_implicit_mx, none.exists) == ((), False, True)
    assert (absent.hosts, absent.exists) == ((), False)


async def test_null_mx_record_means_no_mail(name_server: NameServer) -> None:
    name_server.add("diam.gov.my", "MX", "0 .")
    found = await find_exchangers(DnsClient(name_server.validating), "diam.gov.my")
    assert (found.hosts, found.is_null_mx) == ((), True)


async def test_dns_resolve_returns_ipv4_and_ipv6(name_server: NameServer) -> None:
    name_server.add("dua.gov.my", "A", "192.0.2.2", "192.0.2.1")
    name_server.add("dua.gov.my", "AAAA", "2001:db8::2")
    told = await DnsClient(name_server.validating).resolve("dua.gov.my")
    assert told == tuple(map(ipaddress.ip_address, ("192.0.2.1", "192.0.2.2", "2001:db8::2")))
