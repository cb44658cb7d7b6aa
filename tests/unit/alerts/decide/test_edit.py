"""What becomes of the notices of an open incident whose contact has another number by now."""

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
    BRIEF,
    MINUTE,
    POLICY,
    SITI,
    SMS_SITI,
    T0,
    VOICE_SITI,
    attempt,
    incident,
    tried,
    written,
)

#: Another number for SMS; the telephone stays.
BY_SMS = replace(SMS_SITI, number="+60100000177")
PLAN = replace(
    BRIEF,
    escalation=replace(POLICY, steps=(replace(POLICY.steps[0], contacts=(SITI,)),)),
    announcement=AnnouncementPlan(),
)


def begun() -> tuple[Incident, NotificationDraft]:
    opened = incident(brief=PLAN)
    match escalate(opened, (), T0):
        case StartStep(position=position, drafts=(draft,)):
            return replace(opened, position=position), draft
    raise AssertionError


@pytest.mark.parametrize(
    ("states", "addresses", "withdrawn", "again"),
    [
        pytest.param([(NotificationState.SENT, None)], (BY_SMS,), 0, 1, id="told at the old number"),
        pytest.param([(NotificationState.SENT, None)], (SMS_SITI, VOICE_SITI), 0, 0, id="the number is the same"),
        pytest.param([(NotificationState.SENT, None)], (SMS_SITI, BY_SMS), 0, 0, id="another one beside it"),
        pytest.param([(NotificationState.PENDING, None)], (BY_SMS,), 1, 1, id="waits"),
        pytest.param([(NotificationState.PENDING, AttemptState.FAILED)], (BY_SMS,), 1, 1, id="waits after a failure"),
        pytest.param([(NotificationState.PENDING, AttemptState.CALLING)], (BY_SMS,), 0, 1, id="a call is under way"),
        pytest.param([(NotificationState.FAILED, AttemptState.FAILED)], (BY_SMS,), 0, 1, id="failed at the old number"),
        pytest.param(
            [(NotificationState.SENT, None), (NotificationState.PENDING, None)],
            (BY_SMS,),
            1,
            1,
            id="told, and another waits",
        ),
        pytest.param([(NotificationState.WITHDRAWN, None)], (BY_SMS,), 0, 0, id="never told"),
    ],
)
def test_edit_of_number_tells_once_again_where_nobody_was_reached_at_it(
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
