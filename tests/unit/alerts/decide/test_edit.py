"""Effect of a changed contact number on the notifications of an open incident."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alerts.decide.edit import apply_edit
from alerts.decide.escalation import StartStep, escalate
from alerts.model.contact import Address
from alerts.model.delivery import AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.incident import Incident
from alerts.model.policy_snapshot import AnnouncementPlan
from tests.unit.alerts.people import (
    MINUTE,
    POLICY,
    SITI,
    SMS_SITI,
    SNAPSHOT,
    T0,
    VOICE_SITI,
    attempt,
    incident,
    tried,
    written,
)

#: Another number for SMS; the number for calls stays.
BY_SMS = replace(SMS_SITI, number="+60100000177")
PLAN = replace(
    SNAPSHOT,
    escalation=replace(POLICY, steps=(replace(POLICY.steps[0], contacts=(SITI,)),)),
    announcement=AnnouncementPlan(),
)


def begun() -> tuple[Incident, NotificationDraft]:
    opened = incident(snapshot=PLAN)
    match escalate(opened, (), T0):
        case StartStep(position=position, drafts=(draft,)):
            return replace(opened, position=position), draft
    raise AssertionError


@pytest.mark.parametrize(
    ("states", "addresses", "withdrawn", "again"),
    [
        pytest.param([(NotificationState.SENT, None)], (BY_SMS,), 0, 1, id="sent to the old number"),
        pytest.param([(NotificationState.SENT, None)], (SMS_SITI, VOICE_SITI), 0, 0, id="same number"),
        pytest.param([(NotificationState.SENT, None)], (SMS_SITI, BY_SMS), 0, 0, id="additional number"),
        pytest.param([(NotificationState.PENDING, None)], (BY_SMS,), 1, 1, id="pending"),
        pytest.param([(NotificationState.PENDING, AttemptState.FAILED)], (BY_SMS,), 1, 1, id="pending after a failure"),
        pytest.param([(NotificationState.PENDING, AttemptState.CALLING)], (BY_SMS,), 0, 1, id="call in progress"),
        pytest.param([(NotificationState.FAILED, AttemptState.FAILED)], (BY_SMS,), 0, 1, id="failed at the old number"),
        pytest.param(
            [(NotificationState.SENT, None), (NotificationState.PENDING, None)],
            (BY_SMS,),
            1,
            1,
            id="one sent and one pending",
        ),
        pytest.param([(NotificationState.WITHDRAWN, None)], (BY_SMS,), 0, 0, id="withdrawn"),
    ],
)
def test_edited_number_notifies_again_unless_reached_at_kept_number(
    states: list[tuple[NotificationState, AttemptState | None]],
    addresses: tuple[Address, ...],
    withdrawn: int,
    again: int,
) -> None:
    opened, draft = begun()
    notices: list[Notification] = []
    for number, (state, of_attempt) in enumerate(states, 1):
        notice = written(draft, number, state)
        if of_attempt or state is NotificationState.SENT:
            notice = tried(notice, attempt(of_attempt or AttemptState.ACCEPTED))
        notices.append(notice)
    contact = replace(SITI, addresses=addresses)
    step = replace(PLAN.escalation.steps[0], contacts=(contact,))
    present = replace(PLAN, escalation=replace(PLAN.escalation, steps=(step,)))
    edit = apply_edit(opened, present, notices, T0 + MINUTE)
    if addresses == SITI.addresses:
        assert edit is None
        return
    assert edit is not None
    assert (len(edit.withdrawn), len(edit.drafts)) == (withdrawn, again)
    assert all(set(each.addresses) <= set(addresses) for each in edit.drafts)
