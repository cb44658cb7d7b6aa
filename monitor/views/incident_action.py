"""Possible actions of a person on an incident in the portal, and the required permissions. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import StrEnum
from typing import Final

from alerts.model.incident import OUTAGES, Incident, may_mark_false_alarm
from monitor.access.role import Permission


class IncidentAction(StrEnum):
    """Action of staff on an incident. The values are parts of the portal's URLs, and so keep earlier terms."""

    #: Acknowledge the incident, or extend the acknowledgement.
    ACKNOWLEDGE = "acknowledge"
    #: Take the incident over from its assignee (the person who acknowledged it).
    TAKE_OVER = "take-over"
    #: Add a note.
    ADD_NOTE = "remark"
    #: Escalate to the next step.
    ESCALATE = "hand-on"
    #: Release the announcement: approve that offices outside are informed of the outage.
    RELEASE = "release"
    #: Close the incident manually.
    CLOSE = "close"
    #: Mark the incident as a false alarm.
    MARK_FALSE_ALARM = "correct"


PERMISSION_FOR: Final[Mapping[IncidentAction, Permission]] = {
    IncidentAction.ACKNOWLEDGE: Permission.ACKNOWLEDGE,
    IncidentAction.TAKE_OVER: Permission.ACKNOWLEDGE,
    IncidentAction.ADD_NOTE: Permission.ACKNOWLEDGE,
    IncidentAction.ESCALATE: Permission.ACKNOWLEDGE,
    IncidentAction.RELEASE: Permission.RELEASE,
    IncidentAction.CLOSE: Permission.MANAGE_INCIDENTS,
    IncidentAction.MARK_FALSE_ALARM: Permission.MANAGE_INCIDENTS,
}


def possible_actions(incident: Incident, names: AbstractSet[str], now: datetime) -> AbstractSet[IncidentAction]:
    """Return the possible actions of a person on an incident, regardless of permissions.

    An incident that somebody else has acknowledged can only be taken over, not acknowledged. *names*: the names under
    which the person may be recorded as the assignee.
    """
    actions = {IncidentAction.ADD_NOTE}
    if incident.is_open:
        actions |= {IncidentAction.ESCALATE, IncidentAction.CLOSE}
        has_other_assignee = incident.acknowledged_by is not None and not incident.is_assigned_to(names)
        actions.add(IncidentAction.TAKE_OVER if has_other_assignee else IncidentAction.ACKNOWLEDGE)
    if may_release(incident):
        actions.add(IncidentAction.RELEASE)
    if may_mark_false_alarm(incident, now):
        actions.add(IncidentAction.MARK_FALSE_ALARM)
    return actions


def may_release(incident: Incident) -> bool:
    """Whether a person can release the announcement, so that a recipient outside is notified.

    A person who knows that the outage will last can release the announcement before Pantau offers the release.
    """
    return (
        incident.is_open
        and incident.released_at is None
        and {incident.type, incident.current_type} <= OUTAGES
        and bool(incident.policy.announcement.recipients)
    )
