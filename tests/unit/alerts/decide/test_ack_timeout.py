"""Acknowledgement timeout and its reminder."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.decide.ack_timeout import AckReminderDue, AckTimedOut, AckValid, NotAcknowledged, check_acknowledgement
from alerts.decide.escalation import StartStep, escalate, resume_escalation
from alerts.decide.state_change import Cancel, consequences
from alerts.model.channel import Channel
from alerts.model.event import Acknowledge, Expire, Resolve
from alerts.model.incident import Incident, Position, apply
from alerts.model.notification import Purpose, Successors
from tests.unit.alerts.people import MINUTE, SECOND, SMS_SITI, SNAPSHOT, T0, VOICE_SITI, incident, written

HOUR = timedelta(hours=1)


def acknowledged(by: str = "Siti Contoh", acknowledgement_timeout: timedelta = HOUR) -> Incident:
    snapshot = replace(
        SNAPSHOT, escalation=replace(SNAPSHOT.escalation, acknowledgement_timeout=acknowledgement_timeout)
    )
    return apply(incident(snapshot=snapshot), Acknowledge(incident_id=1, at=T0, by=by))


def reminder(of: Incident, after: timedelta) -> AckReminderDue:
    decision = check_acknowledgement(of, T0 + after)
    assert isinstance(decision, AckReminderDue)
    return decision


def test_reminder_due_ten_minutes_before_acknowledgement_expires() -> None:
    assert check_acknowledgement(acknowledged(), T0 + 50 * MINUTE - SECOND) == AckValid(T0 + 50 * MINUTE)
    (draft,) = reminder(acknowledged(), 50 * MINUTE).drafts
    assert (draft.purpose, draft.person, draft.expires_at) == (Purpose.REMINDER, "siti", T0 + HOUR)
    assert draft.facts.until == T0 + HOUR
    assert draft.addresses == (SMS_SITI, VOICE_SITI), "rung only where no SMS gets there"

    reminded = replace(acknowledged(), reminded_at=T0 + 50 * MINUTE)
    assert check_acknowledgement(reminded, T0 + HOUR - SECOND) == AckValid(T0 + HOUR)
    assert check_acknowledgement(reminded, T0 + HOUR) == AckTimedOut()


def test_late_reminder_postpones_acknowledgement_expiry() -> None:
    (draft,) = reminder(acknowledged(), 5 * HOUR).drafts
    assert draft.facts.until == T0 + 5 * HOUR + 10 * MINUTE
    late = replace(acknowledged(), reminded_at=T0 + 5 * HOUR)
    assert check_acknowledgement(late, T0 + 5 * HOUR + 10 * MINUTE - SECOND) == AckValid(T0 + 5 * HOUR + 10 * MINUTE)
    assert check_acknowledgement(late, T0 + 5 * HOUR + 10 * MINUTE) == AckTimedOut()


def test_short_acknowledgement_timeout_reserves_last_quarter_for_reminder() -> None:
    assert check_acknowledgement(acknowledged(acknowledgement_timeout=20 * MINUTE), T0) == AckValid(T0 + 15 * MINUTE)


@pytest.mark.parametrize(
    ("by", "person"),
    [
        ("siti", "siti"),
        ("Siti Contoh (konsol-noc)", "siti"),
        ("Ravi Contoh", "ravi"),
        ("operator", None),
        ("", None),
    ],
)
def test_reminder_finds_assignee_by_name_key_and_api_client(by: str, person: str | None) -> None:
    assert [draft.person for draft in reminder(acknowledged(by), HOUR).drafts] == ([person] if person else [])


@pytest.mark.parametrize(
    ("by", "step", "expected"),
    [
        # The next step notifies both, or Siti first and Ravi later.
        ("Siti Contoh", 0, Successors.OTHERS),
        ("Siti Contoh", 1, Successors.SELF),
        ("Ravi Contoh", 1, Successors.OTHERS),
        # A console user who is not in the policy.
        ("Puan NOC Contoh", 1, None),
    ],
)
def test_reminder_states_successors_after_expiry(by: str, step: int, expected: Successors | None) -> None:
    of = replace(acknowledged(by), position=Position(step=step, since=T0))
    assert [draft.facts.successors for draft in reminder(of, HOUR).drafts] == ([expected] if expected else [])
    alone = replace(SNAPSHOT, escalation=replace(SNAPSHOT.escalation, steps=SNAPSHOT.escalation.steps[:1]))
    if by == "Siti Contoh":
        (draft,) = reminder(replace(of, policy=alone), 8 * 24 * HOUR).drafts
        assert draft.facts.successors is Successors.NOBODY


def test_each_acknowledgement_has_own_reminder_key() -> None:
    first = reminder(acknowledged(), HOUR).drafts[0].key
    again = apply(acknowledged(), Acknowledge(incident_id=1, at=T0 + 55 * MINUTE, by="Siti Contoh"))
    assert reminder(again, 2 * HOUR).drafts[0].key != first
    assert reminder(acknowledged(), 2 * HOUR).drafts[0].key == first


def test_no_reminder_when_not_acknowledged_or_resolved() -> None:
    assert check_acknowledgement(incident(), T0 + 9 * HOUR) == NotAcknowledged()
    over = apply(acknowledged(), Resolve(dedup_key="JCM", at=T0 + MINUTE, ended_at=T0))
    assert check_acknowledgement(over, T0 + 9 * HOUR) == NotAcknowledged()


def test_pending_reminder_cancelled_on_new_acknowledgement_or_recovery() -> None:
    waiting = written(reminder(acknowledged(), 50 * MINUTE).drafts[0])
    reminded = replace(acknowledged(), reminded_at=T0 + 50 * MINUTE)
    assert list(consequences(reminded, [waiting], T0 + 51 * MINUTE)) == []
    answered = apply(reminded, Acknowledge(incident_id=1, at=T0 + 51 * MINUTE, by="Siti Contoh"))
    assert list(consequences(answered, [waiting], T0 + 51 * MINUTE)) == [Cancel(waiting)]
    over = apply(reminded, Resolve(dedup_key="JCM", at=T0 + 51 * MINUTE, ended_at=T0))
    assert list(consequences(over, [waiting], T0 + 51 * MINUTE)) == [Cancel(waiting)]


@pytest.mark.parametrize(("step", "since", "following"), [(0, T0, (0, 1)), (1, T0, (0, 0)), (0, T0 + HOUR, (0, 1))])
def test_acknowledgement_expiry_starts_next_step_at_once(step: int, since: object, following: tuple[int, int]) -> None:
    at = Position(step=step, since=T0 + HOUR - SECOND if since != T0 else T0)
    expired = apply(replace(acknowledged(), position=at), Expire(incident_id=1, at=T0 + HOUR))
    decision = escalate(resume_escalation(expired, T0 + HOUR), (), T0 + HOUR)
    assert isinstance(decision, StartStep)
    assert (decision.position.round, decision.position.step) == following
    assert {draft.facts.by for draft in decision.drafts} == {"Siti Contoh"}
    assert {draft.addresses[0].channel for draft in decision.drafts} <= {Channel.SMS, Channel.VOICE}
