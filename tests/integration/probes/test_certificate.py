"""Certificates of a real Postfix and Dovecot."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest

from probes.kinds.certificate import KIND
from probes.model.check import CheckScope, Finding, Verdict
from probes.model.mailbox import Mailbox, Password, Server
from tests.real.mailserver import HOST, Door, MailServer

pytestmark = pytest.mark.real


def of(*, smtp: Server | None = None, imap: Server | None = None, pop3: Server | None = None) -> CheckScope:
    login = Password(username="semakan", secret="rahsia")
    mailbox = Mailbox(name="a", address="semakan@jabatan-contoh.gov.my", login=login, smtp=smtp, imap=imap, pop3=pop3)
    return CheckScope(agency="JCM", mailboxes=(mailbox, mailbox), domains=("jabatan-contoh.gov.my",))


async def found(check_scope: CheckScope, now: datetime | None = None) -> dict[str, Finding]:
    findings = await KIND.build(check_scope, lambda: now or datetime.now(UTC)).run()
    assert len({(one.aspect, one.subject) for one in findings}) == len(findings)
    return {one.aspect: one for one in findings}


def verdicts(findings: dict[str, Finding]) -> dict[str, Verdict]:
    return {aspect: finding.verdict for aspect, finding in findings.items()}


@pytest.mark.parametrize(
    ("protocol", "door"),
    [
        ("smtp", Door.SUBMISSION),
        ("smtp", Door.SUBMISSIONS),
        ("imap", Door.IMAP),
        ("imap", Door.IMAPS),
        ("pop3", Door.POP3),
        ("pop3", Door.POP3S),
    ],
)
async def test_a_good_certificate_passes_in_every_aspect(mail_server: MailServer, protocol: str, door: Door) -> None:
    server = mail_server.server(door)
    findings = await found(of(**{protocol: server}))
    assert verdicts(findings) == dict.fromkeys(KIND.aspects, Verdict.PASS)
    assert {one.subject for one in findings.values()} == {f"localhost:{server.port}"}
    assert findings["expiry"].expires_at is not None


async def test_an_expired_certificate_is_rightly_named_and_trusted_all_the_same(mail_server: MailServer) -> None:
    findings = await found(of(smtp=mail_server.server(Door.EXPIRED)))
    assert verdicts(findings) == dict.fromkeys(KIND.aspects, Verdict.PASS) | {"expiry": Verdict.FAIL}
    assert "expired on" in findings["expiry"].detail
    ended = findings["expiry"].expires_at
    assert ended is not None
    assert ended < datetime.now(UTC)


async def test_a_certificate_that_soon_ends_is_told_of_three_weeks_ahead(mail_server: MailServer) -> None:
    check_scope = of(smtp=mail_server.server(Door.SUBMISSIONS))
    end = (await found(check_scope))["expiry"].expires_at
    assert end is not None
    early, late = end - timedelta(days=21), end - timedelta(days=20)
    assert (await found(check_scope, early))["expiry"].verdict is Verdict.PASS
    warned = (await found(check_scope, late))["expiry"]
    assert warned.verdict is Verdict.WARN
    assert "in 20 days" in warned.detail


async def test_starttls_that_is_not_offered_is_not_a_certificate_that_is_not_valid(mail_server: MailServer) -> None:
    findings = await found(of(smtp=mail_server.server(Door.CLEAR)))
    assert verdicts(findings) == dict.fromkeys(KIND.aspects, Verdict.UNKNOWN) | {"offered": Verdict.FAIL}
    assert "STARTTLS is not offered" in findings["offered"].detail


async def test_a_certificate_for_another_name_is_trusted_and_not_expired(mail_server: MailServer) -> None:
    good = mail_server.server(Door.IMAPS)
    other = Server(host=good.host, port=good.port, security=good.security, tls=good.tls, tls_name="imap.lain.gov.my")
    findings = await found(of(imap=other))
    assert verdicts(findings) == dict.fromkeys(KIND.aspects, Verdict.PASS) | {"name": Verdict.FAIL}
    assert findings["name"].detail == f"it is for {HOST}; imap.lain.gov.my is expected"


async def test_a_certificate_of_an_authority_that_nobody_knows_is_read_all_the_same(mail_server: MailServer) -> None:
    stranger = ssl.create_default_context()
    findings = await found(of(imap=mail_server.server(Door.IMAP, tls=stranger)))
    assert verdicts(findings) == dict.fromkeys(KIND.aspects, Verdict.PASS) | {"trust": Verdict.FAIL}


async def test_a_server_that_is_not_there_is_unknown_and_not_at_fault(mail_server: MailServer) -> None:
    findings = await found(of(smtp=mail_server.server(Door.CLOSED)))
    assert verdicts(findings) == dict.fromkeys(KIND.aspects, Verdict.UNKNOWN)
    assert "port refused" in findings["trust"].detail
