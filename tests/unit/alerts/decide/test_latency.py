"""Notification latency: milestones and start time."""

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
        # The receipt arrived before the answer to the call.
        (Channel.SMS, AttemptState.CALLING, AttemptState.DELIVERED, [ACCEPTED, DELIVERED]),
        (Channel.SMS, AttemptState.DELIVERED, AttemptState.DELIVERED, []),
        # Two receipts; the worse one came first.
        (Channel.SMS, AttemptState.FAILED, AttemptState.DELIVERED, [DELIVERED]),
        # Queued in the tray, posted, or posted although withdrawn.
        (Channel.LETTER, AttemptState.CALLING, AttemptState.ACCEPTED, [ACCEPTED]),
        (Channel.LETTER, AttemptState.ACCEPTED, AttemptState.SENT, [DELIVERED]),
        (Channel.LETTER, AttemptState.SENT, AttemptState.DELIVERED, []),
        (Channel.LETTER, AttemptState.WITHDRAWN, AttemptState.SENT, [DELIVERED]),
    ],
)
def test_new_milestones_returns_each_milestone_once(
    channel: Channel, before: AttemptState, after: AttemptState, milestones: Sequence[Milestone]
) -> None:
    assert list(new_milestones(channel, before, after)) == milestones


def test_new_milestones_over_any_state_sequence_never_repeats() -> None:
    # As the store writes them: a lower rank never replaces a higher one, and a delivered attempt does not fail.
    def paths(state: AttemptState, left: int) -> list[list[AttemptState]]:
        onward = [
            s
            for s in AttemptState
            if RANK[s] >= RANK[state] and (state, s) != (AttemptState.DELIVERED, AttemptState.FAILED)
        ]
        return [[state]] + ([[state, *path] for s in onward for path in paths(s, left - 1)] if left else [])

    for channel in (Channel.SMS, Channel.LETTER):
        for path in paths(AttemptState.CALLING, 4):
            reached = [m for before, after in pairwise(path) for m in new_milestones(channel, before, after)]
            assert len(reached) == len(set(reached)), (channel, path)


def first(after: timedelta) -> Notification:
    decided = escalate(incident(), (), T0)
    assert isinstance(decided, StartStep)
    return replace(written(decided.drafts[0]), created_at=T0 + after)


def silence(begins: timedelta, ends: timedelta, target: str = "JCM") -> Silence:
    return Silence(id=1, target=target, starts_at=T0 + begins, ends_at=T0 + ends, reason="", by="")


@pytest.mark.parametrize(
    ("silences", "due"),
    [
        # A late engine counts as latency.
        ((), timedelta(0)),
        ((silence(-MINUTE, 20 * MINUTE),), 20 * MINUTE),
        ((silence(-MINUTE, 20 * MINUTE), silence(MINUTE, 25 * MINUTE)), 25 * MINUTE),
        ((silence(-MINUTE, 20 * MINUTE, target="MDC"),), timedelta(0)),
        # The notification is created when the silence ends.
        ((silence(-MINUTE, 30 * MINUTE),), 30 * MINUTE),
        # A silence that is over, in the future or still active does not count.
        ((silence(-9 * MINUTE, -MINUTE),), timedelta(0)),
        ((silence(40 * MINUTE, 50 * MINUTE),), timedelta(0)),
        ((silence(MINUTE, 50 * MINUTE),), timedelta(0)),
    ],
)
def test_first_notification_latency_starts_at_opening_or_end_of_silence(
    silences: Sequence[Silence], due: timedelta
) -> None:
    assert latency_start(first(30 * MINUTE), incident(), silences) == T0 + due


@pytest.mark.parametrize(("restarts", "round_", "step"), [(0, 0, 1), (0, 1, 0), (1, 0, 0)])
def test_later_notification_latency_starts_when_it_was_created(restarts: int, round_: int, step: int) -> None:
    later = replace(first(30 * MINUTE), restarts=restarts, round=round_, step=step)
    assert latency_start(later, incident(), ()) == T0 + 30 * MINUTE


def test_assignee_update_and_announcement_are_not_first_notification() -> None:
    [draft, *_] = escalate(incident(), (), T0).drafts  # type: ignore[union-attr]
    assert is_first_notification(written(draft))
    assert not is_first_notification(written(replace(draft, facts=replace(draft.facts, purpose=Purpose.TAKEN))))
    assert not is_first_notification(written(replace(draft, facts=replace(draft.facts, plan=Plan.ANNOUNCEMENT))))


@pytest.mark.parametrize(("person", "minutes"), [("siti", 2), ("ravi", 4), ("aminah", 4)])
def test_acknowledged_notification_is_latest_sent_to_person_else_to_anyone(person: str, minutes: int) -> None:
    def sent(to: str, after: int, state: AttemptState = AttemptState.ACCEPTED) -> Notification:
        notice = replace(first(timedelta(0)), person=to, deliveries=())
        return tried(notice, replace(attempt(state), started_at=T0 + after * MINUTE))

    notices = [sent("siti", 2), sent("siti", 1), sent("siti", 3, AttemptState.FAILED), sent("ravi", 4)]
    assignee_update = replace(sent("siti", 5), purpose=Purpose.TAKEN)
    found = acknowledged_notification([*notices, assignee_update], person)
    assert found is not None
    assert found[1].started_at == T0 + minutes * MINUTE
