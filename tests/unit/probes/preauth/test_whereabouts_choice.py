"""Which servers are suggested for an address, and in which order."""

from __future__ import annotations

import dns.rdata
import pytest

from probes.model.mail_platform import MailPlatform
from probes.model.mailbox import Security
from probes.preauth.discovery import (
    MOST_CANDIDATES,
    ServerCandidate,
    ServerSource,
    choose_candidates,
    guess_candidates,
    platform_candidates,
    platform_of_exchangers,
    platform_of_server,
    srv_hosts,
)
from probes.preauth.session import Protocol


def srv(text: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text("IN", "SRV", text)


def candidate(host: str, protocol: Protocol = Protocol.IMAP) -> ServerCandidate:
    return ServerCandidate(
        protocol=protocol, host=host, port=993, security=Security.IMPLICIT, source=ServerSource.ANNOUNCED
    )


@pytest.mark.parametrize(
    ("records", "hosts"),
    [
        (["20 1 993 dua.gov.my.", "10 1 993 satu.gov.my."], [("satu.gov.my", 993), ("dua.gov.my", 993)]),
        (["10 1 993 ringan.gov.my.", "10 9 993 berat.gov.my."], [("berat.gov.my", 993), ("ringan.gov.my", 993)]),
        (["0 0 0 ."], []),
        (["0 0 993 ."], []),
        # What is no host's name, and what would be written into a page or a file as something else.
        ([r"0 0 993 a\032b.gov.my.", r"0 0 993 <b>.gov.my.", r"0 0 993 x\010y.gov.my.", "0 0 993 localhost."], []),
        (["0 0 993 MEL.GOV.MY."], [("mel.gov.my", 993)]),
    ],
)
def test_announced_hosts_come_by_priority_and_are_hosts(records: list[str], hosts: list[tuple[str, int]]) -> None:
    assert srv_hosts([srv(each) for each in records]) == hosts


@pytest.mark.parametrize(
    ("exchangers", "platform"),
    [
        (["aspmx.l.google.com"], MailPlatform.GOOGLE),
        (["contoh-gov-my.mail.protection.outlook.com"], MailPlatform.MICROSOFT),
        (["mel.contoh.gov.my", "evil-google.com"], None),
        ([], None),
    ],
)
def test_a_platform_is_known_by_its_exchangers(exchangers: list[str], platform: MailPlatform | None) -> None:
    assert platform_of_exchangers(exchangers) is platform


def test_a_platform_is_known_by_its_servers_too() -> None:
    for platform in MailPlatform:
        assert {platform_of_server(each.host) for each in platform_candidates(platform)} == {platform}
    assert platform_of_server("mel.jabatan-contoh.gov.my") is None


def test_each_side_takes_the_first_source_that_has_something() -> None:
    announced = [candidate("diumumkan.gov.my")]
    found = choose_candidates(
        announced, platform_candidates(MailPlatform.GOOGLE), guess_candidates(Protocol.SMTP, "mail.gov.my")
    )
    assert [each.host for each in found] == ["smtp.gmail.com", "diumumkan.gov.my"]


def test_what_the_domain_says_it_has_not_is_suggested_by_nobody() -> None:
    found = choose_candidates([], platform_candidates(MailPlatform.GOOGLE), denied={Protocol.IMAP})
    assert [each.protocol for each in found] == [Protocol.SMTP]


def test_a_domain_that_announces_a_hundred_servers_has_few_of_them_knocked_at() -> None:
    found = choose_candidates([candidate(f"mel{number}.gov.my") for number in range(100)])
    assert len(found) == MOST_CANDIDATES
