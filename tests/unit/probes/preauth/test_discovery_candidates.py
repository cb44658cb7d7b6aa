"""Candidate servers for an address, and their order."""

from __future__ import annotations

import dns.rdata
import pytest

from probes.model.mail_platform import MailPlatform
from probes.model.mailbox import Security
from probes.preauth.discovery import (
    MAX_CANDIDATES,
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
        # Invalid host names, among them some that would break a page or a file.
        ([r"0 0 993 a\032b.gov.my.", r"0 0 993 <b>.gov.my.", r"0 0 993 x\010y.gov.my.", "0 0 993 localhost."], []),
        (["0 0 993 MEL.GOV.MY."], [("mel.gov.my", 993)]),
    ],
)
def test_srv_hosts_are_valid_and_sorted_by_priority(records: list[str], hosts: list[tuple[str, int]]) -> None:
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
def test_platform_is_recognised_by_mx_hosts(exchangers: list[str], platform: MailPlatform | None) -> None:
    assert platform_of_exchangers(exchangers) is platform


def test_platform_is_recognised_by_server_hosts() -> None:
    for platform in MailPlatform:
        assert {platform_of_server(each.host) for each in platform_candidates(platform)} == {platform}
    assert platform_of_server("mel.jabatan-contoh.gov.my") is None


def test_candidates_per_protocol_come_from_first_source() -> None:
    announced = [candidate("diumumkan.gov.my")]
    found = choose_candidates(
        announced, platform_candidates(MailPlatform.GOOGLE), guess_candidates(Protocol.SMTP, "mail.gov.my")
    )
    assert [each.host for each in found] == ["smtp.gmail.com", "diumumkan.gov.my"]


def test_candidates_exclude_denied_protocol() -> None:
    found = choose_candidates([], platform_candidates(MailPlatform.GOOGLE), denied={Protocol.IMAP})
    assert [each.protocol for each in found] == [Protocol.SMTP]


def test_candidates_are_limited() -> None:
    found = choose_candidates([candidate(f"mel{number}.gov.my") for number in range(100)])
    assert len(found) == MAX_CANDIDATES
