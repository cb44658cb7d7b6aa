"""When a mail system tries again and when it gives up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pantau_lab.mail import QueuePolicy
from pantau_lab.mail.transport.parcel import Refusal, SmtpReply
from pantau_lab.mail.transport.queue import Retry, Return, after_refusal

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POLICY = QueuePolicy(retry_after=2 * SECOND, give_up_after=60 * SECOND)
LATER = Refusal(reply=SmtpReply(code=451, status="4.4.1", text="no answer"), remote="mail.rujukan-satu.example")
NEVER = Refusal(reply=SmtpReply(code=550, status="5.1.1", text="User unknown"))


def test_a_final_refusal_is_told_at_once() -> None:
    assert after_refusal(NEVER, accepted_at=T0, now=T0, policy=POLICY) == Return(refusal=NEVER)


def test_a_temporary_refusal_is_tried_again() -> None:
    now = T0 + 10 * SECOND
    assert after_refusal(LATER, accepted_at=T0, now=now, policy=POLICY) == Retry(at=now + 2 * SECOND)


def test_after_too_long_the_sender_is_told_with_the_last_answer() -> None:
    step = after_refusal(LATER, accepted_at=T0, now=T0 + 59 * SECOND, policy=POLICY)
    assert isinstance(step, Return)
    assert step.refusal.reply.status == "4.4.7"
    assert "451 4.4.1 no answer" in step.refusal.reply.text
    assert step.refusal.remote == LATER.remote
