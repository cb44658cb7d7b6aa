"""Queries to block lists and the meaning of their answers."""

from __future__ import annotations

import ipaddress

import pytest

from probes.domain.blocklist import Listing, classify_answer, query_name


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((), Listing.CLEAN),
        (("127.0.0.2",), Listing.LISTED),
        (("127.0.0.4", "127.0.0.11"), Listing.LISTED),
        (("127.255.255.252",), Listing.REFUSED),
        (("127.255.255.254",), Listing.REFUSED),
        (("127.255.255.255",), Listing.REFUSED),
        (("127.0.0.2", "127.255.255.255"), Listing.REFUSED),
        (("198.51.100.1",), Listing.INVALID),
        (("127.0.0.2", "198.51.100.1"), Listing.INVALID),
    ],
)
def test_blocklist_answer_is_classified(answers: tuple[str, ...], expected: Listing) -> None:
    assert classify_answer(tuple(map(ipaddress.ip_address, answers))) is expected


def test_blocklist_query_name_reverses_address() -> None:
    assert query_name(ipaddress.ip_address("192.0.2.99"), "bl.example") == "99.2.0.192.bl.example"
    six = query_name(ipaddress.ip_address("2001:db8::1"), "bl.example")
    assert six == "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.bl.example"
