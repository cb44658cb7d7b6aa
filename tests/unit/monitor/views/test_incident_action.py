"""Actions that the state of an incident permits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.model.event import Acknowledge, Event, MarkFalseAlarm, Release, Resolve
from alerts.model.incident import Incident, apply
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import AnnouncementPlan
from monitor.access.role import PERMISSIONS, Role
from monitor.views.incident_action import PERMISSION_FOR, IncidentAction, possible_actions
from tests.unit.alerts.people import T0, incident

BY, OTHER = "Siti Contoh (siti)", "Ravi Contoh"
MINE = {BY, "Siti Contoh"}
DAY = timedelta(days=1)
ALWAYS = {IncidentAction.ADD_NOTE}
ENDING = {IncidentAction.CLOSE, IncidentAction.MARK_FALSE_ALARM}
OPEN = ALWAYS | ENDING | {IncidentAction.ESCALATE}


def after(*events: Event, of: Incident | None = None) -> Incident:
    found = of or incident()
    for event in events:
        found = apply(found, event)
    return found


ENDED = Resolve(dedup_key="JCM", at=T0, ended_at=T0)
TAKEN, THEIRS = Acknowledge(incident_id=1, at=T0, by=BY), Acknowledge(incident_id=1, at=T0, by=OTHER)
WITHOUT_ANNOUNCEMENT = replace(incident(), policy=replace(incident().policy, announcement=AnnouncementPlan()))


@pytest.mark.parametrize(
    ("case", "may"),
    [
        (incident(), OPEN | {IncidentAction.ACKNOWLEDGE, IncidentAction.RELEASE}),
        # The holder can extend the acknowledgement, but not take it from another.
        (after(TAKEN), OPEN | {IncidentAction.ACKNOWLEDGE, IncidentAction.RELEASE}),
        (after(replace(TAKEN, by="Siti Contoh")), OPEN | {IncidentAction.ACKNOWLEDGE, IncidentAction.RELEASE}),
        (after(THEIRS), OPEN | {IncidentAction.TAKE_OVER, IncidentAction.RELEASE}),
        (after(Release(incident_id=1, at=T0, by=OTHER)), OPEN | {IncidentAction.ACKNOWLEDGE}),
        # Degraded mail is not announced, nor is an incident without recipients of announcements.
        (after(of=incident(IncidentType.DEGRADED)), OPEN | {IncidentAction.ACKNOWLEDGE}),
        (replace(incident(), current_type=IncidentType.DEGRADED), OPEN | {IncidentAction.ACKNOWLEDGE}),
        (WITHOUT_ANNOUNCEMENT, OPEN | {IncidentAction.ACKNOWLEDGE}),
        (after(ENDED), ALWAYS | {IncidentAction.MARK_FALSE_ALARM}),
        (after(ENDED, MarkFalseAlarm(incident_id=1, at=T0, by=OTHER, reason="silap")), ALWAYS),
    ],
)
def test_possible_actions_follow_incident_state(case: Incident, may: set[IncidentAction]) -> None:
    assert possible_actions(case, MINE, T0) == may


def test_possible_actions_false_alarm_expires_after_one_day() -> None:
    assert possible_actions(after(ENDED), MINE, T0 + DAY) == ALWAYS | {IncidentAction.MARK_FALSE_ALARM}
    assert possible_actions(after(ENDED), MINE, T0 + DAY + timedelta(seconds=1)) == ALWAYS


def test_permission_for_every_action_is_of_duty_roles_only() -> None:
    assert set(PERMISSION_FOR) == set(IncidentAction)
    for role in Role:
        may = {PERMISSION_FOR[action] in PERMISSIONS[role] for action in IncidentAction}
        assert may == {role in {Role.DUTY, Role.NOC}}
