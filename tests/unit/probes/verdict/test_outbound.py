"""The sending address, as the receiving system recorded it."""

from __future__ import annotations

import ipaddress
import time

import pytest

from probes.verdict.outbound import outbound_address

_INTERNAL = "Received: from a.rujukan.example (a.rujukan.example [203.0.113.7]) by b.rujukan.example; x\r\n"
_CROSSING = "Received: from mel.contoh.gov.my (mel.contoh.gov.my [192.0.2.25]) by a.rujukan.example; x\r\n"
_CLAIMED = "Received: from lain.example (lain.example [198.51.100.9]) by mel.contoh.gov.my; x\r\n"


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        (_CROSSING, "192.0.2.25"),
        (_INTERNAL + _CROSSING + _CLAIMED, "192.0.2.25"),
        ("Received: by 2002:a05:6000 with SMTP id 1; x\r\n" + _CROSSING, "192.0.2.25"),
        ("Received: from mel.contoh.gov.my (10.0.0.1) by a.rujukan.example; x\r\n" + _CLAIMED, "198.51.100.9"),
        (
            "Received: from A.contoh.gov.my (2001:db8::25) by\r\n B.rujukan.example (2001:db8::1) with x; y\r\n",
            "2001:db8::25",
        ),
        ("Received: from mel.contoh.gov.my ([IPv6:2001:db8::9]) by a.rujukan.example; x\r\n", "2001:db8::9"),
        ("Received: from x (y [999.1.2.3]) by a.rujukan.example; x\r\n", None),
        ("Received: " + "from " * 5000 + "\r\n", None),
        ("Subject: tiada\r\n", None),
        ("", None),
    ],
)
def test_outbound_address_is_last_public_sender(headers: str, address: str | None) -> None:
    expected = None if address is None else ipaddress.ip_address(address)
    assert outbound_address(f"{headers}From: a@contoh.gov.my\r\n\r\nx".encode()) == expected


def test_outbound_address_header_of_blanks_is_read_quickly() -> None:
    header = b"Received: from a " + b" " * 90_000 + b"\r\n"
    began = time.process_time()
    assert outbound_address(header + b"From: a@contoh.gov.my\r\n\r\nx") is None
    assert time.process_time() - began < 0.1


def test_outbound_address_thirty_headers_of_blanks_are_read_quickly() -> None:
    header = b"Received: from a" + b" \t" * 990 + b"\r\n"
    began = time.process_time()
    assert outbound_address(header * 30 + b"From: a@contoh.gov.my\r\n\r\nx") is None
    assert time.process_time() - began < 0.1
