"""A real mailbox over POP3, with the same guarantees as over IMAP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from probes.kinds import retrieval, submission
from probes.model.check import CheckScope, Verdict
from probes.model.reply import Reason
from probes.model.result import Arrival, Outcome, Party
from tests.integration.probes.round_trips import TIMEOUTS, between
from tests.real.mailserver import REFERENCE, UNAVAILABLE_USER, Listener, MailServer, RecipientOutcome
from tests.timeouts import HANG_TIMEOUT

pytestmark = pytest.mark.real

FOREIGN = b"From: bos@jabatan-contoh.gov.my\r\nSubject: mesyuarat\r\n\r\nPukul 9.\r\n"


@pytest.mark.parametrize("door", [Listener.POP3, Listener.POP3S])
async def test_real_pop3_probe_message_is_deleted_and_foreign_mail_kept(
    mail_server: MailServer, door: Listener
) -> None:
    recipient = mail_server.mailbox(f"pos-{door}", pop3=door)
    for _ in range(5):
        mail_server.deliver(recipient.address, FOREIGN)
    async with between(mail_server.mailbox("semakan", domain=REFERENCE), recipient) as round_trips:
        for _ in range(3):
            assert (await round_trips.run()).outcome is Outcome.DELIVERED
            mail_server.deliver(recipient.address, FOREIGN)
    left = mail_server.mails(recipient.address)
    assert len(left) == 8
    assert all(b"mesyuarat" in mail for mail in left)
    assert round_trips.arrivals == []


async def test_real_pop3_bounce_in_sender_mailbox_is_found(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("pos-pulang", domain=REFERENCE, pop3=Listener.POP3S)
    async with between(sender, mail_server.mailbox(RecipientOutcome.BOUNCED)) as round_trips:
        result = await round_trips.run()
    assert result.outcome is Outcome.BOUNCED
    assert mail_server.mails(sender.address) == []


async def test_real_pop3_second_copy_is_duplicate(mail_server: MailServer) -> None:
    recipient = mail_server.mailbox(RecipientOutcome.DOUBLED, pop3=Listener.POP3S)
    async with between(mail_server.mailbox("semakan", domain=REFERENCE), recipient) as round_trips:
        token = round_trips.issue()
        assert (await round_trips.run(token)).outcome is Outcome.DELIVERED
        assert await round_trips.arrived(1) == [(Arrival.DUPLICATE, token.id)]
        async with asyncio.timeout(HANG_TIMEOUT):
            await round_trips.recipient.wait_until_deleted()
    assert mail_server.mails(recipient.address) == []


@pytest.mark.parametrize(
    ("name", "secret", "reason"),
    [("pos-salah", "salah", Reason.CREDENTIALS_REFUSED), (UNAVAILABLE_USER, "x", Reason.SIGN_IN_UNAVAILABLE)],
)
async def test_real_pop3_sign_in_failure_has_reason(
    mail_server: MailServer, name: str, secret: str, reason: Reason
) -> None:
    recipient = mail_server.mailbox(name, pop3=Listener.POP3, secret=secret)
    async with between(mail_server.mailbox("semakan", domain=REFERENCE), recipient) as round_trips:
        result = await round_trips.run()
    assert result.outcome is Outcome.AUTH, result
    assert result.failure is not None
    assert (result.failure.party, result.failure.reason) == (Party.RECIPIENT, reason)
    assert result.duration < TIMEOUTS.session, "at once, and not when time is up"


async def test_real_mailbox_checks_pass_and_leave_mail_unchanged(mail_server: MailServer) -> None:
    over_imap, over_pop3 = mail_server.mailbox("cuba"), mail_server.mailbox("cuba-pos", pop3=Listener.POP3)
    for box in (over_imap, over_pop3):
        mail_server.deliver(box.address, FOREIGN)
    check_scope = CheckScope(agency="JCONTOH", mailboxes=(over_imap, over_pop3), domains=())
    for kind in (submission.KIND, retrieval.KIND):
        found = await kind.build(check_scope, lambda: datetime.now(UTC)).run()
        assert [finding.verdict for finding in found] == [Verdict.PASS, Verdict.PASS], found
    assert [len(mail_server.mails(box.address)) for box in (over_imap, over_pop3)] == [1, 1]
