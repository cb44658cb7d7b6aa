"""Certificates of a real Postfix and Dovecot."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest

from probes.kinds.certificate import KIND
from probes.model.check import CheckScope, Finding, Verdict
from probes.model.mailbox import Mailbox, Password, Server
from tests.real.mailserver import HOST, Listener, MailServer

pytestmark = pytest.mark.real


def check_scope_of(*, smtp: Server | None = None, imap: Server | None = None, pop3: Server | None = None) -> CheckScope:
    login = Password(username="semakan", secret="rahsia")
    mailbox = Mailbox(name="a", address="semakan@jabatan-contoh.gov.my", login=login, smtp=smtp, imap=imap, pop3=pop3)
    return CheckScope(agency="JCM", mailboxes=(mailbox, mailbox), domains=("jabatan-contoh.gov.my",))


async def findings_by_aspect(check_scope: CheckScope, now: datetime | None = None) -> dict[str, Finding]:
    findings = await KIND.build(check_scope, lambda: now or datetime.now(UTC)).run()
    assert len({(one.aspect, one.subject) for one in findings}) == len(findings)
    return {one.aspect: one for one in findings}


def verdicts(findings: dict[str, Finding]) -> dict[str, Verdict]:
    return {aspect: finding.verdict for aspect, finding in findings.items()}


@pytest.mark.parametrize(
    ("protocol", "door"),
    [
        ("smtp", Listener.SUBMISSION),
        ("smtp", Listener.SUBMISSIONS),
        ("imap", Listener.IMAP),
        ("imap", Listener.IMAPS),
        ("pop3", Listener.POP3),
        ("pop3", Listener.POP3S),
    ],
)
async def test_valid_certificate_passes_all_aspects(mail_server: MailServer, protocol: str, door: Listener) -> None:
    server = mail_server.server(door)
    findings = await findings_by_aspect(check_scope_of(**{protocol: server}))
    assert verdicts(findings) == dict.fromkeys(KIND.aspects, Verdict.PASS)
    assert {one.subject for one in findings.values()} == {f"localhost:{server.port}"}
    assert findings["expiry"].expires_at is not None


async def test_expired_certificate_fails_only_expiry(mail_server: MailServer) -> None:
    findings = await findings_by_aspect(check_scope_of(smtp=mail_server.server(Listener.EXPIRED)))
    assert verdicts(findings) == dict.fromkeys(KIND.aspects, Verdict.PASS) | {"expiry": Verdict.FAIL}
    assert "expired on" in findings["expiry"].detail
    ended = findings["expiry"].expires_at
    assert ended is not None
    assert ended < datetime.now(UTC)


async def test_certificate_near_expiry_warns_20_days_before(mail_server: MailServer) -> None:
    check_scope = check_scope_of(smtp=mail_server.server(Listener.SUBMISSIONS))
    end = (await findings_by_aspect(check_scope))["expiry"].expires_at
    assert end is not None
    early, late = end - timedelta(days=21), end - timedelta(days=20)
    assert (await findings_by_aspect(check_scope, early))["expiry"].verdict is Verdict.PASS
    warned = (await findings_by_aspect(check_scope, late))["expiry"]
    assert warned.verdict is Verdict.WARN
    assert "in 20 days" in warned.detail


async def test_starttls_not_offered_leaves_certificate_unknown(mail_server: MailServer) -> None:
    findings = await findings_by_aspect(check_scope_of(smtp=mail_server.server(Listener.CLEAR)))
    assert verdicts(findings) == dict.fromkeys(KIND.aspects, Verdict.UNKNOWN) | {"offered": Verdict.FAIL}
    assert "STARTTLS is not offered" in findings["offered"].detail


async def test_certificate_for_other_name_fails_only_name(mail_server: MailServer) -> None:
    good = mail_server.server(Listener.IMAPS)
    other = Server(host=good.host, port=good.port, security=good.security, tls=good.tls, tls_name="imap.lain.gov.my")
    findings = await findings_by_aspect(check_scope_of(imap=other))
    assert verdicts(findings) == dict.fromkeys(KIND.aspects, Verdict.PASS) | {"name": Verdict.FAIL}
    assert findings["name"].detail == f"it is for {HOST}; imap.lain.gov.my is expected"


async def test_certificate_of_unknown_authority_fails_only_trust(mail_server: MailServer) -> None:
    stranger = ssl.create_default_context()
    findings = await findings_by_aspect(check_scope_of(imap=mail_server.server(Listener.IMAP, tls=stranger)))
    assert verdicts(findings) == dict.fromkeys(KIND.aspects, Verdict.PASS) | {"trust": Verdict.FAIL}


async def test_closed_port_leaves_certificate_unknown(mail_server: MailServer) -> None:
    findings = await findings_by_aspect(check_scope_of(smtp=mail_server.server(Listener.CLOSED)))
    assert verdicts(findings) == dict.fromkeys(KIND.aspects, Verdict.UNKNOWN)
    assert "port refused" in findings["trust"].detail
