"""MX hosts, ranked by preference."""

from __future__ import annotations

from dns.rdata import from_text
from dns.rdtypes.ANY.MX import MX

from probes.domain.exchanger import ranked_hosts


def record(text: str) -> MX:
    found = from_text("IN", "MX", text)
    assert isinstance(found, MX)
    return found


def test_mx_hosts_are_ranked_by_preference_and_unique() -> None:
    records = [record("20 b.contoh.gov.my."), record("10 A.contoh.gov.my."), record("30 b.contoh.gov.my.")]
    assert ranked_hosts(records) == ("a.contoh.gov.my", "b.contoh.gov.my")
    assert ranked_hosts([record("0 .")]) == ()


def test_mx_hosts_are_limited_to_twenty() -> None:
    hosts = ranked_hosts(record(f"{number} mx{number}.contoh.gov.my.") for number in range(1000))
    assert hosts == tuple(f"mx{number}.contoh.gov.my" for number in range(20))
