"""Where connections may go that somebody has named who is no operator."""

from __future__ import annotations

import pytest

from probes.model.egress import MAIL_PORTS, EgressDeniedError, EgressException, EgressPolicy

_SITE = EgressPolicy(
    openings=(
        EgressException.read("10.20.0.0/16"),
        EgressException.read("10.99.0.5:2525"),
        EgressException.read("fd00:20::/48"),
    )
)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", EgressDeniedError.THIS_MACHINE),
        ("127.8.8.8", EgressDeniedError.THIS_MACHINE),
        ("0.0.0.0", EgressDeniedError.THIS_MACHINE),
        ("0.0.0.9", EgressDeniedError.THIS_MACHINE),
        ("::1", EgressDeniedError.THIS_MACHINE),
        ("::", EgressDeniedError.THIS_MACHINE),
        ("::ffff:127.0.0.1", EgressDeniedError.THIS_MACHINE),
        ("169.254.169.254", EgressDeniedError.LINK),
        ("::ffff:169.254.169.254", EgressDeniedError.LINK),
        ("fe80::1", EgressDeniedError.LINK),
        ("fe80::1%eth0", EgressDeniedError.LINK),
        ("10.0.0.1", EgressDeniedError.PRIVATE),
        ("172.31.255.255", EgressDeniedError.PRIVATE),
        ("192.168.1.1", EgressDeniedError.PRIVATE),
        ("100.64.0.1", EgressDeniedError.PRIVATE),
        ("::ffff:10.0.0.1", EgressDeniedError.PRIVATE),
        ("fd12::1", EgressDeniedError.PRIVATE),
        ("fd00:ec2::254", EgressDeniedError.PRIVATE),
        ("fec0::1", EgressDeniedError.PRIVATE),
        ("64:ff9b::169.254.169.254", EgressDeniedError.RESERVED),
        ("64:ff9b:1::a00:1", EgressDeniedError.RESERVED),
        ("2002:7f00:1::", EgressDeniedError.RESERVED),
        ("2001:0:7f00:1::", EgressDeniedError.RESERVED),
        ("::7f00:1", EgressDeniedError.RESERVED),
        ("::169.254.169.254", EgressDeniedError.RESERVED),
        ("224.0.0.1", EgressDeniedError.RESERVED),
        ("ff02::1", EgressDeniedError.RESERVED),
        ("192.88.99.1", EgressDeniedError.RESERVED),
        ("203.0.113.9", EgressDeniedError.RESERVED),
        ("2001:db8::1", EgressDeniedError.RESERVED),
        ("198.18.0.1", EgressDeniedError.RESERVED),
        ("240.0.0.1", EgressDeniedError.RESERVED),
        ("255.255.255.255", EgressDeniedError.RESERVED),
        ("4000::1", EgressDeniedError.RESERVED),
    ],
)
def test_what_is_not_the_internet_is_refused_however_it_is_written(address: str, why: EgressDeniedError) -> None:
    assert EgressPolicy().refusal(address, 993) is why


@pytest.mark.parametrize("address", ["8.8.8.8", "::ffff:8.8.8.8", "172.32.0.1", "2404:6800:4001::6c"])
def test_the_internet_is_allowed_at_the_ports_of_mail_servers(address: str) -> None:
    assert {EgressPolicy().refusal(address, port) for port in MAIL_PORTS} == {None}
    assert {EgressPolicy().refusal(address, port) for port in (22, 80, 443, 2525, 5432, 6379)} == {
        EgressDeniedError.PORT
    }


@pytest.mark.parametrize(
    ("address", "port", "why"),
    [
        ("10.20.3.4", 993, None),
        ("::ffff:10.20.3.4", 993, None),
        ("10.20.3.4", 5432, EgressDeniedError.PORT),
        ("10.21.0.1", 993, EgressDeniedError.PRIVATE),
        ("10.99.0.5", 2525, None),
        # One port was opened there, and no other.
        ("10.99.0.5", 993, EgressDeniedError.PRIVATE),
        ("10.99.0.6", 2525, EgressDeniedError.PORT),
        ("fd00:20::5", 143, None),
        # No way round by a tunnel to what was opened.
        ("64:ff9b::10.20.3.4", 993, EgressDeniedError.RESERVED),
    ],
)
def test_a_site_opens_networks_and_single_ports(address: str, port: int, why: EgressDeniedError | None) -> None:
    assert _SITE.refusal(address, port) is why


def test_other_ports_are_asked_for_by_those_who_fetch_from_them() -> None:
    web = EgressPolicy().at({443})

    assert web.refusal("8.8.8.8", 443) is None
    assert web.refusal("8.8.8.8", 993) is EgressDeniedError.PORT
    assert web.refusal("127.0.0.1", 443) is EgressDeniedError.THIS_MACHINE


@pytest.mark.parametrize(
    "text", ["mel.contoh.gov.my", "10.20.0.5/16", "10.0.0.1:0", "10.0.0.1:70000", "[10.0.0.1]:25x", ""]
)
def test_an_opening_is_a_network_and_perhaps_a_port(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever ipaddress says of it
        EgressException.read(text)
