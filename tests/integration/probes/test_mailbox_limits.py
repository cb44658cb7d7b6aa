"""Limits of a single mailbox on real servers, and mail that a rule files elsewhere."""

from __future__ import annotations

import poplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from probes.kinds import retrieval
from probes.model.check import CheckScope, Verdict
from probes.model.mailbox import Mailbox
from probes.model.reply import Reason
from probes.model.result import Outcome, RefusalCause
from tests.integration.probes.foreign_mail import signed_in
from tests.integration.probes.round_trips import SHORT_TIMEOUTS, TIMEOUTS, between
from tests.mailbox_parts import password_of
from tests.real.mailserver import REFERENCE, Listener, MailServer

pytestmark = pytest.mark.real


@contextmanager
def extra_settings(server: MailServer, settings: str) -> Iterator[None]:
    """Add *settings* to Dovecot until the end of the block."""
    server.share(settings)
    try:
        yield
    finally:
        server.share("")


@pytest.mark.blind
@pytest.mark.parametrize("folder", ["Projek.2026", "E-mel Remeh"])
async def test_real_dovecot_internal_mail_filed_by_rule_is_found_and_deleted(
    mail_server: MailServer, folder: str
) -> None:
    """Defect: Mail from a mailbox to itself that a rule files elsewhere is LOST and stays there.

    Pantau: A real Dovecot shows it found and deleted.
    """
    box = mail_server.mailbox(f"tunggal-{len(folder)}")
    mail_server.rule(box.address, f'require ["fileinto", "mailbox"];\nfileinto :create "{folder}";\n')
    async with between(box, box, SHORT_TIMEOUTS) as round_trips:
        result = await round_trips.run()
    mail_server.rule(box.address, None)
    assert result.failure is not None, result
    assert (result.outcome, result.failure.detail) == (Outcome.JUNK, folder)
    assert mail_server.mails(box.address, folder) == []


@contextmanager
def _pop3_session(box: Mailbox) -> Iterator[None]:
    """Hold the only allowed POP3 session."""
    assert box.pop3 is not None
    # The connection goes to this machine and carries nothing secret.
    client = poplib.POP3_SSL("127.0.0.1", box.pop3.port, context=ssl._create_unverified_context())
    client.user(password_of(box).username)
    client.pass_(password_of(box).secret)
    try:
        yield
    finally:
        client.quit()


@pytest.mark.blind
async def test_real_dovecot_pop3_mailbox_in_use_is_inconclusive(mail_server: MailServer) -> None:
    """Defect: Somebody else's POP3 session, of which Dovecot tells after ten seconds, was an outage.

    Pantau: The same at a real Dovecot.
    """
    box = mail_server.mailbox("pos-dipegang", pop3=Listener.POP3S)
    with _pop3_session(box):
        async with between(mail_server.mailbox("semakan", domain=REFERENCE), box) as round_trips:
            result = await round_trips.run()
    assert result.failure is not None, result
    assert (result.outcome, result.failure.reason) == (Outcome.INCONCLUSIVE, Reason.MAILBOX_IN_USE)
    assert result.failure.cause is RefusalCause.SESSION_LIMIT
    assert result.duration < TIMEOUTS.total


@pytest.mark.blind
async def test_real_dovecot_session_limit_is_inconclusive(mail_server: MailServer) -> None:
    """Defect: A colleague's client held the one IMAP session that there may be: an outage.

    Pantau: It is told as that, as over POP3.
    """
    box = mail_server.mailbox("rakan-sekerja")
    with extra_settings(mail_server, "protocol imap {\n  mail_max_userip_connections = 1\n}\n"), signed_in(box):
        async with between(mail_server.mailbox("semakan", domain=REFERENCE), box) as round_trips:
            result = await round_trips.run()
    assert result.failure is not None, result
    assert (result.outcome, result.failure.cause) == (Outcome.INCONCLUSIVE, RefusalCause.SESSION_LIMIT)


#: Quota of 20 KiB; a full mailbox rejects mail at once, or temporarily.
QUOTA = """mail_plugins {
  quota = yes
}
protocol imap {
  mail_plugins {
    imap_quota = yes
  }
}
quota "User quota" {
  storage_size = 20k
}
"""
TRY_LATER = f"{QUOTA}protocol lmtp {{\n  quota_full_tempfail = yes\n}}\n"


def fill_mailbox(server: MailServer, box: Mailbox, kib: int) -> None:
    """Fill a mailbox with foreign mail, before the quota applies."""
    server.deliver(box.address, b"Subject: surat\r\n\r\n" + b"x" * (1024 * kib - 700) + b"\r\n")


@pytest.mark.blind
@pytest.mark.parametrize(
    ("settings", "outcome"), [(QUOTA, Outcome.BOUNCED), (TRY_LATER, Outcome.LOST)], ids=["552", "452"]
)
async def test_real_dovecot_full_mailbox_is_reported_as_receiving_limit(
    mail_server: MailServer, settings: str, outcome: Outcome
) -> None:
    """Defect: The probe's own full mailbox is an outage, although its server reports the quota.

    Pantau: The quota is read at each opening, and a full mailbox is reported as one.
    """
    box, sender = mail_server.mailbox(f"penuh-{outcome}"), mail_server.mailbox("semakan", domain=REFERENCE)
    fill_mailbox(mail_server, box, 33)
    with extra_settings(mail_server, settings):
        async with between(sender, box, SHORT_TIMEOUTS) as round_trips:
            result = await round_trips.run()
            quota = round_trips.recipient.quota
    assert quota is not None
    assert (quota.is_full, quota.limit, quota.used >= 33) == (True, 20, True), quota
    assert result.failure is not None, result
    assert (result.outcome, result.failure.cause) == (outcome, RefusalCause.RECEIVING_LIMIT)
    if outcome is Outcome.LOST:
        assert f"the mailbox is full: {quota.summary}" in result.failure.detail


@pytest.mark.blind
@pytest.mark.parametrize(("kib", "verdict"), [(2, Verdict.PASS), (18, Verdict.FAIL), (33, Verdict.FAIL)])
async def test_real_dovecot_retrieval_check_reports_quota(mail_server: MailServer, kib: int, verdict: Verdict) -> None:
    """Defect: A mailbox that is nearly full is not reported.

    Pantau: The retrieval check warns before.
    """
    box = mail_server.mailbox(f"kuota-{kib}")
    fill_mailbox(mail_server, box, kib)
    check_scope = CheckScope(agency="JCONTOH", mailboxes=(box,), domains=())
    with extra_settings(mail_server, QUOTA):
        (found,) = await retrieval.KIND.build(check_scope, lambda: datetime.now(UTC)).run()
    assert found.verdict is verdict, found
    assert f"{kib} of 20 KiB are used" in found.detail
