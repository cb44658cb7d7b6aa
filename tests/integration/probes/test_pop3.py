"""A real mailbox that is read over POP3, with the same promises as over IMAP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from probes.kinds import retrieval, submission
from probes.model.check import CheckScope, Verdict
from probes.model.reply import Reason
from probes.model.result import Arrival, Outcome, Party
from tests.hanging import HANGS
from tests.integration.probes.trip import PATIENCE, between
from tests.real.mailserver import REFERENCE, UNKNOWABLE, Door, MailServer, TokenState

pytestmark = pytest.mark.real

FOREIGN = b"From: bos@jabatan-contoh.gov.my\r\nSubject: mesyuarat\r\n\r\nPukul 9.\r\n"


@pytest.mark.parametrize("door", [Door.POP3, Door.POP3S])
async def test_a_message_is_found_and_deleted_and_foreign_mail_survives(mail_server: MailServer, door: Door) -> None:
    recipient = mail_server.mailbox(f"pos-{door}", pop3=door)
    for _ in range(5):
        mail_server.deliver(recipient.address, FOREIGN)
    async with between(mail_server.mailbox("semakan", domain=REFERENCE), recipient) as trips:
        for _ in range(3):
            assert (await trips.run()).outcome is Outcome.DELIVERED
            mail_server.deliver(recipient.address, FOREIGN)
    left = mail_server.mails(recipient.address)
    assert len(left) == 8
    assert all(b"mesyuarat" in mail for mail in left)
    assert trips.arrivals == []


async def test_a_bounce_is_found_in_a_senders_pop3_mailbox(mail_server: MailServer) -> None:
    sender = mail_server.mailbox("pos-pulang", domain=REFERENCE, pop3=Door.POP3S)
    async with between(sender, mail_server.mailbox(TokenState.BOUNCED)) as trips:
        result = await trips.run()
    assert result.outcome is Outcome.BOUNCED
    assert mail_server.mails(sender.address) == []


async def test_a_second_copy_is_a_duplicate(mail_server: MailServer) -> None:
    recipient = mail_server.mailbox(TokenState.DOUBLED, pop3=Door.POP3S)
    async with between(mail_server.mailbox("semakan", domain=REFERENCE), recipient) as trips:
        token = trips.issue()
        assert (await trips.run(token)).outcome is Outcome.DELIVERED
        assert await trips.arrived(1) == [(Arrival.DUPLICATE, token.id)]
        async with asyncio.timeout(HANGS):
            await trips.recipient.wait_until_deleted()
    assert mail_server.mails(recipient.address) == []


@pytest.mark.parametrize(
    ("name", "secret", "reason"),
    [("pos-salah", "salah", Reason.CREDENTIALS_REFUSED), (UNKNOWABLE, "x", Reason.SIGN_IN_UNAVAILABLE)],
)
async def test_a_sign_in_that_fails_says_why(mail_server: MailServer, name: str, secret: str, reason: Reason) -> None:
    recipient = mail_server.mailbox(name, pop3=Door.POP3, secret=secret)
    async with between(mail_server.mailbox("semakan", domain=REFERENCE), recipient) as trips:
        result = await trips.run()
    assert result.outcome is Outcome.AUTH, result
    assert result.failure is not None
    assert (result.failure.party, result.failure.reason) == (Party.RECIPIENT, reason)
    assert result.duration < PATIENCE.session, "at once, and not when time is up"


async def test_both_ends_of_a_real_mailbox_are_tried_and_nothing_is_left(mail_server: MailServer) -> None:
    over_imap, over_pop3 = mail_server.mailbox("cuba"), mail_server.mailbox("cuba-pos", pop3=Door.POP3)
    for box in (over_imap, over_pop3):
        mail_server.deliver(box.address, FOREIGN)
    check_scope = CheckScope(agency="JCONTOH", mailboxes=(over_imap, over_pop3), domains=())
    for kind in (submission.KIND, retrieval.KIND):
        found = await kind.build(check_scope, lambda: datetime.now(UTC)).run()
        assert [finding.verdict for finding in found] == [Verdict.PASS, Verdict.PASS], found
    assert [len(mail_server.mails(box.address)) for box in (over_imap, over_pop3)] == [1, 1]
