"""What may be done to an incident, by where it stands."""

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
ALWAYS = {IncidentAction.REMARK}
ENDING = {IncidentAction.CLOSE, IncidentAction.CORRECT}
OPEN = ALWAYS | ENDING | {IncidentAction.HAND_ON}


def after(*events: Event, of: Incident | None = None) -> Incident:
    found = of or incident()
    for event in events:
        found = apply(found, event)
    return found


ENDED = Resolve(dedup_key="JCM", at=T0, ended_at=T0)
TAKEN, THEIRS = Acknowledge(incident_id=1, at=T0, by=BY), Acknowledge(incident_id=1, at=T0, by=OTHER)
UNHEARD = replace(incident(), policy=replace(incident().policy, announcement=AnnouncementPlan()))


@pytest.mark.parametrize(
    ("stands", "may"),
    [
        (incident(), OPEN | {IncidentAction.ACKNOWLEDGE, IncidentAction.RELEASE}),
        # It can be kept for longer by who has it, and not be taken from another.
        (after(TAKEN), OPEN | {IncidentAction.ACKNOWLEDGE, IncidentAction.RELEASE}),
        (after(replace(TAKEN, by="Siti Contoh")), OPEN | {IncidentAction.ACKNOWLEDGE, IncidentAction.RELEASE}),
        (after(THEIRS), OPEN | {IncidentAction.TAKE_OVER, IncidentAction.RELEASE}),
        (after(Release(incident_id=1, at=T0, by=OTHER)), OPEN | {IncidentAction.ACKNOWLEDGE}),
        # Nobody outside hears of slowness, nor where nobody outside is named.
        (after(of=incident(IncidentType.DEGRADED)), OPEN | {IncidentAction.ACKNOWLEDGE}),
        (replace(incident(), current_type=IncidentType.DEGRADED), OPEN | {IncidentAction.ACKNOWLEDGE}),
        (UNHEARD, OPEN | {IncidentAction.ACKNOWLEDGE}),
        (after(ENDED), ALWAYS | {IncidentAction.CORRECT}),
        (after(ENDED, MarkFalseAlarm(incident_id=1, at=T0, by=OTHER, reason="silap")), ALWAYS),
    ],
)
def test_what_can_be_done_follows_from_where_it_stands(stands: Incident, may: set[IncidentAction]) -> None:
    assert possible_actions(stands, MINE, T0) == may


def test_a_day_after_its_end_it_can_be_declared_a_false_alarm_no_more() -> None:
    assert possible_actions(after(ENDED), MINE, T0 + DAY) == ALWAYS | {IncidentAction.CORRECT}
    assert possible_actions(after(ENDED), MINE, T0 + DAY + timedelta(seconds=1)) == ALWAYS


def test_every_deed_needs_what_duty_officers_have_and_others_have_not() -> None:
    assert set(PERMISSION_FOR) == set(IncidentAction)
    for role in Role:
        may = {PERMISSION_FOR[deed] in PERMISSIONS[role] for deed in IncidentAction}
        assert may == {role in {Role.DUTY, Role.NOC}}
