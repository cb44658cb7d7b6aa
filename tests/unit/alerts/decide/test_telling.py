"""How long it takes to tell somebody: what counts as how far, and from when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from alerts.decide.escalation import StartStep, escalate
from alerts.decide.gateway.latency import (
    Milestone,
    acknowledged_notification,
    is_first_notification,
    latency_start,
    new_milestones,
)
from alerts.decide.silence import Silence
from alerts.model.channel import Channel
from alerts.model.delivery import RANK, AttemptState, Notification
from alerts.model.notification import Plan, Purpose
from tests.unit.alerts.people import MINUTE, T0, attempt, incident, tried, written

ACCEPTED, DELIVERED = Milestone.ACCEPTED, Milestone.DELIVERED


@pytest.mark.parametrize(
    ("channel", "before", "after", "milestones"),
    [
        (Channel.SMS, AttemptState.CALLING, AttemptState.ACCEPTED, [ACCEPTED]),
        (Channel.SMS, AttemptState.UNKNOWN, AttemptState.ACCEPTED, [ACCEPTED]),
        (Channel.SMS, AttemptState.CALLING, AttemptState.FAILED, []),
        (Channel.SMS, AttemptState.CALLING, AttemptState.UNKNOWN, []),
        (Channel.SMS, AttemptState.ACCEPTED, AttemptState.ACCEPTED, []),
        (Channel.SMS, AttemptState.ACCEPTED, AttemptState.SENT, []),
        (Channel.SMS, AttemptState.SENT, AttemptState.DELIVERED, [DELIVERED]),
        # The receipt was quicker than the answer to the call.
        (Channel.SMS, AttemptState.CALLING, AttemptState.DELIVERED, [ACCEPTED, DELIVERED]),
        (Channel.SMS, AttemptState.DELIVERED, AttemptState.DELIVERED, []),
        # Two receipts, of which the worse came first.
        (Channel.SMS, AttemptState.FAILED, AttemptState.DELIVERED, [DELIVERED]),
        # Laid in the tray, posted, or posted though it was withdrawn.
        (Channel.LETTER, AttemptState.CALLING, AttemptState.ACCEPTED, [ACCEPTED]),
        (Channel.LETTER, AttemptState.ACCEPTED, AttemptState.SENT, [DELIVERED]),
        (Channel.LETTER, AttemptState.SENT, AttemptState.DELIVERED, []),
        (Channel.LETTER, AttemptState.WITHDRAWN, AttemptState.SENT, [DELIVERED]),
    ],
)
def test_a_milestone_is_come_to_once(
    channel: Channel, before: AttemptState, after: AttemptState, milestones: Sequence[Milestone]
) -> None:
    assert list(new_milestones(channel, before, after)) == milestones


def test_whatever_way_an_attempt_goes_no_milestone_is_come_to_twice() -> None:
    # As the store writes them: an earlier rank never overwrites a later one, and what has arrived has not failed.
    def ways(state: AttemptState, left: int) -> list[list[AttemptState]]:
        onward = [
            s
            for s in AttemptState
            if RANK[s] >= RANK[state] and (state, s) != (AttemptState.DELIVERED, AttemptState.FAILED)
        ]
        return [[state]] + ([[state, *way] for s in onward for way in ways(s, left - 1)] if left else [])

    for channel in (Channel.SMS, Channel.LETTER):
        for way in ways(AttemptState.CALLING, 4):
            milestone_latencies = [m for before, after in pairwise(way) for m in new_milestones(channel, before, after)]
            assert len(milestone_latencies) == len(set(milestone_latencies)), (channel, way)


def first(after: timedelta) -> Notification:
    decided = escalate(incident(), (), T0)
    assert isinstance(decided, StartStep)
    return replace(written(decided.drafts[0]), created_at=T0 + after)


def silence(begins: timedelta, ends: timedelta, about: str = "JCM") -> Silence:
    return Silence(id=1, target=about, starts_at=T0 + begins, ends_at=T0 + ends, reason="", by="")


@pytest.mark.parametrize(
    ("silences", "due"),
    [
        # The engine was late: that is time in which nobody was told.
        ((), timedelta(0)),
        ((silence(-MINUTE, 20 * MINUTE),), 20 * MINUTE),
        ((silence(-MINUTE, 20 * MINUTE), silence(MINUTE, 25 * MINUTE)), 25 * MINUTE),
        ((silence(-MINUTE, 20 * MINUTE, about="MDC"),), timedelta(0)),
        # It is decided on at the moment the silence ends.
        ((silence(-MINUTE, 30 * MINUTE),), 30 * MINUTE),
        # It was over before, is to come, or goes on, and they are told all the same.
        ((silence(-9 * MINUTE, -MINUTE),), timedelta(0)),
        ((silence(40 * MINUTE, 50 * MINUTE),), timedelta(0)),
        ((silence(MINUTE, 50 * MINUTE),), timedelta(0)),
    ],
)
def test_a_first_notice_is_due_since_the_opening_or_since_a_silence_has_ended(
    silences: Sequence[Silence], due: timedelta
) -> None:
    assert latency_start(first(30 * MINUTE), incident(), silences) == T0 + due


@pytest.mark.parametrize(("wave", "round_", "step"), [(0, 0, 1), (0, 1, 0), (1, 0, 0)])
def test_a_later_notice_is_due_since_it_was_decided_on(wave: int, round_: int, step: int) -> None:
    later = replace(first(30 * MINUTE), restarts=wave, round=round_, step=step)
    assert latency_start(later, incident(), ()) == T0 + 30 * MINUTE


def test_that_somebody_has_it_is_none_of_the_notices_that_an_incident_begins_with() -> None:
    [draft, *_] = escalate(incident(), (), T0).drafts  # type: ignore[union-attr]
    assert is_first_notification(written(draft))
    assert not is_first_notification(written(replace(draft, facts=replace(draft.facts, purpose=Purpose.TAKEN))))
    assert not is_first_notification(written(replace(draft, facts=replace(draft.facts, plan=Plan.ANNOUNCEMENT))))


@pytest.mark.parametrize(("person", "minutes"), [("siti", 2), ("ravi", 4), ("aminah", 4)])
def test_what_moved_somebody_is_what_they_were_told_last_and_only_of_nobody_what_another_was(
    person: str, minutes: int
) -> None:
    def sent(to: str, after: int, state: AttemptState = AttemptState.ACCEPTED) -> Notification:
        notice = replace(first(timedelta(0)), person=to, deliveries=())
        return tried(notice, replace(attempt(state), started_at=T0 + after * MINUTE))

    notices = [sent("siti", 2), sent("siti", 1), sent("siti", 3, AttemptState.FAILED), sent("ravi", 4)]
    thanked = replace(sent("siti", 5), purpose=Purpose.TAKEN)
    told = acknowledged_notification([*notices, thanked], person)
    assert told is not None
    assert told[1].started_at == T0 + minutes * MINUTE
