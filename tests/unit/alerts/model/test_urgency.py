"""How much a notice presses, and whose turn it is."""

from __future__ import annotations

import pytest

from alerts.model.notification import Plan, Purpose
from alerts.model.urgency import UNLIMITED, Urgency, priority, urgency
from tests.unit.alerts.people import MINUTE, T0

STAFF, OUTSIDE = Plan.ESCALATION, Plan.ANNOUNCEMENT


@pytest.mark.parametrize(
    ("plan", "purpose", "round_", "heard", "presses"),
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
def test_who_has_not_heard_yet_comes_first(
    plan: Plan, purpose: Purpose, round_: int, presses: Urgency, *, heard: bool
) -> None:
    assert urgency(plan, purpose, round=round_, notified_before=heard) is presses


def test_the_order_is_first_notices_escalations_announcements_repeats_and_recoveries() -> None:
    wanted = [
        priority(Urgency.FIRST, T0, 9),
        priority(Urgency.FIRST, T0 + MINUTE, 1),
        priority(Urgency.ESCALATION, T0, 2),
        priority(Urgency.ESCALATION, T0 + MINUTE, 3),
        priority(Urgency.ANNOUNCEMENT, T0, 4),
        priority(Urgency.REPEAT, T0, 5),
        priority(Urgency.RECOVERY, T0, 6),
    ]
    assert sorted([*wanted[3:], *wanted[:3]]) == wanted


def test_no_brake_holds_what_somebody_has_not_heard() -> None:
    assert {Urgency.FIRST, Urgency.ANNOUNCEMENT} == UNLIMITED
