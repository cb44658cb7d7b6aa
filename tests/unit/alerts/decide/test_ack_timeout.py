"""How long an acknowledgement stands, and who is reminded of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.decide.ack_timeout import AckReminderDue, AckTimedOut, AckValid, NotAcknowledged, check_acknowledgement
from alerts.decide.escalation import StartStep, escalate, resume_escalation
from alerts.decide.state_change import Cancel, conclude
from alerts.model.channel import Channel
from alerts.model.event import Acknowledge, Expire, Resolve
from alerts.model.incident import Incident, Position, apply
from alerts.model.notification import Purpose, Successors
from tests.unit.alerts.people import BRIEF, MINUTE, SECOND, SMS_SITI, T0, VOICE_SITI, incident, written

HOUR = timedelta(hours=1)


def taken(by: str = "Siti Contoh", acknowledgement_timeout: timedelta = HOUR) -> Incident:
    brief = replace(BRIEF, escalation=replace(BRIEF.escalation, acknowledgement_timeout=acknowledgement_timeout))
    return apply(incident(brief=brief), Acknowledge(incident_id=1, at=T0, by=by))


def reminder(of: Incident, after: timedelta) -> AckReminderDue:
    decision = check_acknowledgement(of, T0 + after)
    assert isinstance(decision, AckReminderDue)
    return decision


def test_it_stands_until_the_reminder_and_expires_ten_minutes_later() -> None:
    assert check_acknowledgement(taken(), T0 + 50 * MINUTE - SECOND) == AckValid(T0 + 50 * MINUTE)
    (draft,) = reminder(taken(), 50 * MINUTE).drafts
    assert (draft.purpose, draft.person, draft.expires_at) == (Purpose.REMINDER, "siti", T0 + HOUR)
    assert draft.facts.until == T0 + HOUR
    assert draft.addresses == (SMS_SITI, VOICE_SITI), "rung only where no SMS gets there"

    reminded = replace(taken(), reminded_at=T0 + 50 * MINUTE)
    assert check_acknowledgement(reminded, T0 + HOUR - SECOND) == AckValid(T0 + HOUR)
    assert check_acknowledgement(reminded, T0 + HOUR) == AckTimedOut()


def test_who_is_reminded_late_has_as_long_to_answer() -> None:
    (draft,) = reminder(taken(), 5 * HOUR).drafts
    assert draft.facts.until == T0 + 5 * HOUR + 10 * MINUTE
    late = replace(taken(), reminded_at=T0 + 5 * HOUR)
    assert check_acknowledgement(late, T0 + 5 * HOUR + 10 * MINUTE - SECOND) == AckValid(T0 + 5 * HOUR + 10 * MINUTE)
    assert check_acknowledgement(late, T0 + 5 * HOUR + 10 * MINUTE) == AckTimedOut()


def test_of_a_short_time_the_last_quarter_is_for_the_reminder() -> None:
    assert check_acknowledgement(taken(acknowledgement_timeout=20 * MINUTE), T0) == AckValid(T0 + 15 * MINUTE)


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
def test_whoever_the_policy_knows_is_reminded_by_name_by_key_and_through_a_program(by: str, person: str | None) -> None:
    assert [draft.person for draft in reminder(taken(by), HOUR).drafts] == ([person] if person else [])


@pytest.mark.parametrize(
    ("by", "step", "expected"),
    [
        # The next step tells both of them, or Siti alone and Ravi after her.
        ("Siti Contoh", 0, Successors.OTHERS),
        ("Siti Contoh", 1, Successors.SELF),
        ("Ravi Contoh", 1, Successors.OTHERS),
        # At the console, and named nowhere.
        ("Puan NOC Contoh", 1, None),
    ],
)
def test_reminder_says_who_is_told_when_the_acknowledgement_expires(
    by: str, step: int, expected: Successors | None
) -> None:
    of = replace(taken(by), position=Position(step=step, since=T0))
    assert [draft.facts.successors for draft in reminder(of, HOUR).drafts] == ([expected] if expected else [])
    alone = replace(BRIEF, escalation=replace(BRIEF.escalation, steps=BRIEF.escalation.steps[:1]))
    if by == "Siti Contoh":
        (draft,) = reminder(replace(of, policy=alone), 8 * 24 * HOUR).drafts
        assert draft.facts.successors is Successors.NOBODY


def test_each_promise_has_a_reminder_of_its_own() -> None:
    first = reminder(taken(), HOUR).drafts[0].key
    again = apply(taken(), Acknowledge(incident_id=1, at=T0 + 55 * MINUTE, by="Siti Contoh"))
    assert reminder(again, 2 * HOUR).drafts[0].key != first
    assert reminder(taken(), 2 * HOUR).drafts[0].key == first


def test_nobody_is_reminded_of_what_nobody_has_or_is_over() -> None:
    assert check_acknowledgement(incident(), T0 + 9 * HOUR) == NotAcknowledged()
    over = apply(taken(), Resolve(dedup_key="JCM", at=T0 + MINUTE, ended_at=T0))
    assert check_acknowledgement(over, T0 + 9 * HOUR) == NotAcknowledged()


def test_a_reminder_that_waits_is_not_sent_once_they_are_heard_of() -> None:
    waiting = written(reminder(taken(), 50 * MINUTE).drafts[0])
    reminded = replace(taken(), reminded_at=T0 + 50 * MINUTE)
    assert list(conclude(reminded, [waiting], T0 + 51 * MINUTE)) == []
    heard = apply(reminded, Acknowledge(incident_id=1, at=T0 + 51 * MINUTE, by="Siti Contoh"))
    assert list(conclude(heard, [waiting], T0 + 51 * MINUTE)) == [Cancel(waiting)]
    over = apply(reminded, Resolve(dedup_key="JCM", at=T0 + 51 * MINUTE, ended_at=T0))
    assert list(conclude(over, [waiting], T0 + 51 * MINUTE)) == [Cancel(waiting)]


@pytest.mark.parametrize(("step", "since", "following"), [(0, T0, (0, 1)), (1, T0, (0, 0)), (0, T0 + HOUR, (0, 1))])
def test_when_it_expires_the_next_step_begins_at_once(step: int, since: object, following: tuple[int, int]) -> None:
    at = Position(step=step, since=T0 + HOUR - SECOND if since != T0 else T0)
    expired = apply(replace(taken(), position=at), Expire(incident_id=1, at=T0 + HOUR))
    decision = escalate(resume_escalation(expired, T0 + HOUR), (), T0 + HOUR)
    assert isinstance(decision, StartStep)
    assert (decision.position.round, decision.position.step) == following
    assert {draft.facts.by for draft in decision.drafts} == {"Siti Contoh"}
    assert {draft.addresses[0].channel for draft in decision.drafts} <= {Channel.SMS, Channel.VOICE}
