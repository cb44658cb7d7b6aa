"""Urgency and priority of notifications."""

from __future__ import annotations

import pytest

from alerts.model.notification import Plan, Purpose
from alerts.model.urgency import UNLIMITED, Urgency, priority, urgency
from tests.unit.alerts.people import MINUTE, T0

STAFF, OUTSIDE = Plan.ESCALATION, Plan.ANNOUNCEMENT


@pytest.mark.parametrize(
    ("plan", "purpose", "round_", "notified_before", "expected"),
    [
        (STAFF, Purpose.OUTAGE, 0, False, Urgency.FIRST),
        (STAFF, Purpose.OUTAGE, 2, False, Urgency.FIRST),
        (STAFF, Purpose.OUTAGE, 0, True, Urgency.ESCALATION),
        (STAFF, Purpose.OUTAGE, 1, True, Urgency.REPEAT),
        (STAFF, Purpose.RECOVERY, 0, True, Urgency.RECOVERY),
        (STAFF, Purpose.CORRECTION, 0, True, Urgency.ANNOUNCEMENT),
        (STAFF, Purpose.RELEASE, 0, True, Urgency.ANNOUNCEMENT),
        (OUTSIDE, Purpose.OUTAGE, 0, False, Urgency.ANNOUNCEMENT),
        (OUTSIDE, Purpose.CORRECTION, 0, True, Urgency.ANNOUNCEMENT),
        (OUTSIDE, Purpose.RECOVERY, 0, True, Urgency.RECOVERY),
    ],
)
def test_urgency_of_first_notification_is_highest(
    plan: Plan, purpose: Purpose, round_: int, expected: Urgency, *, notified_before: bool
) -> None:
    assert urgency(plan, purpose, round=round_, notified_before=notified_before) is expected


def test_priority_order_by_urgency() -> None:
    expected = [
        priority(Urgency.FIRST, T0, 9),
        priority(Urgency.FIRST, T0 + MINUTE, 1),
        priority(Urgency.ESCALATION, T0, 2),
        priority(Urgency.ESCALATION, T0 + MINUTE, 3),
        priority(Urgency.ANNOUNCEMENT, T0, 4),
        priority(Urgency.REPEAT, T0, 5),
        priority(Urgency.RECOVERY, T0, 6),
    ]
    assert sorted([*expected[3:], *expected[:3]]) == expected


def test_first_notification_and_announcement_are_not_rate_limited() -> None:
    assert {Urgency.FIRST, Urgency.ANNOUNCEMENT} == UNLIMITED
