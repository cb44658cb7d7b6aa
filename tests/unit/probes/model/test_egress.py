"""Egress policy: addresses to which servers entered by non-operators may lead."""

from __future__ import annotations

import pytest

from probes.model.egress import MAIL_PORTS, AllowedNetwork, EgressDenial, EgressPolicy

_SITE = EgressPolicy(
    exceptions=(
        AllowedNetwork.read("10.20.0.0/16"),
        AllowedNetwork.read("10.99.0.5:2525"),
        AllowedNetwork.read("fd00:20::/48"),
    )
)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", EgressDenial.THIS_MACHINE),
        ("127.8.8.8", EgressDenial.THIS_MACHINE),
        ("0.0.0.0", EgressDenial.THIS_MACHINE),
        ("0.0.0.9", EgressDenial.THIS_MACHINE),
        ("::1", EgressDenial.THIS_MACHINE),
        ("::", EgressDenial.THIS_MACHINE),
        ("::ffff:127.0.0.1", EgressDenial.THIS_MACHINE),
        ("169.254.169.254", EgressDenial.LINK),
        ("::ffff:169.254.169.254", EgressDenial.LINK),
        ("fe80::1", EgressDenial.LINK),
        ("fe80::1%eth0", EgressDenial.LINK),
        ("10.0.0.1", EgressDenial.PRIVATE),
        ("172.31.255.255", EgressDenial.PRIVATE),
        ("192.168.1.1", EgressDenial.PRIVATE),
        ("100.64.0.1", EgressDenial.PRIVATE),
        ("::ffff:10.0.0.1", EgressDenial.PRIVATE),
        ("fd12::1", EgressDenial.PRIVATE),
        ("fd00:ec2::254", EgressDenial.PRIVATE),
        ("fec0::1", EgressDenial.PRIVATE),
        ("64:ff9b::169.254.169.254", EgressDenial.RESERVED),
        ("64:ff9b:1::a00:1", EgressDenial.RESERVED),
        ("2002:7f00:1::", EgressDenial.RESERVED),
        ("2001:0:7f00:1::", EgressDenial.RESERVED),
        ("::7f00:1", EgressDenial.RESERVED),
        ("::169.254.169.254", EgressDenial.RESERVED),
        ("224.0.0.1", EgressDenial.RESERVED),
        ("ff02::1", EgressDenial.RESERVED),
        ("192.88.99.1", EgressDenial.RESERVED),
        ("203.0.113.9", EgressDenial.RESERVED),
        ("2001:db8::1", EgressDenial.RESERVED),
        ("198.18.0.1", EgressDenial.RESERVED),
        ("240.0.0.1", EgressDenial.RESERVED),
        ("255.255.255.255", EgressDenial.RESERVED),
        ("4000::1", EgressDenial.RESERVED),
    ],
)
def test_egress_non_internet_address_in_any_notation_is_denied(address: str, why: EgressDenial) -> None:
    assert EgressPolicy().denial(address, 993) is why


@pytest.mark.parametrize("address", ["8.8.8.8", "::ffff:8.8.8.8", "172.32.0.1", "2404:6800:4001::6c"])
def test_egress_internet_address_is_allowed_only_at_mail_ports(address: str) -> None:
    assert {EgressPolicy().denial(address, port) for port in MAIL_PORTS} == {None}
    assert {EgressPolicy().denial(address, port) for port in (22, 80, 443, 2525, 5432, 6379)} == {EgressDenial.PORT}


@pytest.mark.parametrize(
    ("address", "port", "why"),
    [
        ("10.20.3.4", 993, None),
        ("::ffff:10.20.3.4", 993, None),
        ("10.20.3.4", 5432, EgressDenial.PORT),
        ("10.21.0.1", 993, EgressDenial.PRIVATE),
        ("10.99.0.5", 2525, None),
        # Only one port is allowed there.
        ("10.99.0.5", 993, EgressDenial.PRIVATE),
        ("10.99.0.6", 2525, EgressDenial.PORT),
        ("fd00:20::5", 143, None),
        # A tunnel address of an allowed network is still denied.
        ("64:ff9b::10.20.3.4", 993, EgressDenial.RESERVED),
    ],
)
def test_egress_exceptions_allow_networks_and_single_ports(address: str, port: int, why: EgressDenial | None) -> None:
    assert _SITE.denial(address, port) is why


def test_egress_with_ports_allows_only_those_ports() -> None:
    web = EgressPolicy().with_ports({443})

    assert web.denial("8.8.8.8", 443) is None
    assert web.denial("8.8.8.8", 993) is EgressDenial.PORT
    assert web.denial("127.0.0.1", 443) is EgressDenial.THIS_MACHINE


@pytest.mark.parametrize(
    "text", ["mel.contoh.gov.my", "10.20.0.5/16", "10.0.0.1:0", "10.0.0.1:70000", "[10.0.0.1]:25x", ""]
)
def test_allowed_network_invalid_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever ipaddress says of it
        AllowedNetwork.read(text)
