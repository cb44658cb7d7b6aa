"""Retries and expiry in the mail queue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pantau_lab.mail import QueuePolicy
from pantau_lab.mail.transport.queue import Retry, Return, after_refusal
from pantau_lab.mail.transport.queued_message import Refusal, SmtpReply

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POLICY = QueuePolicy(retry_after=2 * SECOND, give_up_after=60 * SECOND)
TEMPORARY = Refusal(reply=SmtpReply(code=451, status="4.4.1", text="no answer"), remote="mail.rujukan-satu.example")
PERMANENT = Refusal(reply=SmtpReply(code=550, status="5.1.1", text="User unknown"))


def test_permanent_refusal_is_returned_at_once() -> None:
    assert after_refusal(PERMANENT, accepted_at=T0, now=T0, policy=POLICY) == Return(refusal=PERMANENT)


def test_temporary_refusal_is_retried() -> None:
    now = T0 + 10 * SECOND
    assert after_refusal(TEMPORARY, accepted_at=T0, now=now, policy=POLICY) == Retry(at=now + 2 * SECOND)


def test_expired_message_is_returned_with_last_reply() -> None:
    step = after_refusal(TEMPORARY, accepted_at=T0, now=T0 + 59 * SECOND, policy=POLICY)
    assert isinstance(step, Return)
    assert step.refusal.reply.status == "4.4.7"
    assert "451 4.4.1 no answer" in step.refusal.reply.text
    assert step.refusal.remote == TEMPORARY.remote
