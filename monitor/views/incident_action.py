"""Possible actions of a person on an incident, and the required permissions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import StrEnum
from typing import Final

from alerts.model.incident import OUTAGES, Incident, may_mark_false_alarm
from monitor.access.role import Permission


class IncidentAction(StrEnum):
    """Action of staff on an incident, as in the portal's addresses."""

    #: Acknowledge it, or extend the acknowledgement.
    ACKNOWLEDGE = "acknowledge"
    #: Take it over from its assignee.
    TAKE_OVER = "take-over"
    #: Add a note.
    REMARK = "remark"
    #: Escalate to the next step.
    HAND_ON = "hand-on"
    #: Release the announcement to recipients.
    RELEASE = "release"
    #: Close it manually.
    CLOSE = "close"
    #: Mark it as a false alarm.
    CORRECT = "correct"


PERMISSION_FOR: Final[Mapping[IncidentAction, Permission]] = {
    IncidentAction.ACKNOWLEDGE: Permission.ACKNOWLEDGE,
    IncidentAction.TAKE_OVER: Permission.ACKNOWLEDGE,
    IncidentAction.REMARK: Permission.ACKNOWLEDGE,
    IncidentAction.HAND_ON: Permission.ACKNOWLEDGE,
    IncidentAction.RELEASE: Permission.RELEASE,
    IncidentAction.CLOSE: Permission.MANAGE_INCIDENTS,
    IncidentAction.CORRECT: Permission.MANAGE_INCIDENTS,
}


def possible(incident: Incident, names: AbstractSet[str], now: datetime) -> AbstractSet[IncidentAction]:
    """Return the possible actions on an incident, whatever the permissions. An assigned incident can only be taken over.

    *names*: the person's names as an assignee.
    """
    found = {IncidentAction.REMARK}
    if incident.is_open:
        found |= {IncidentAction.HAND_ON, IncidentAction.CLOSE}
        is_anothers = incident.acknowledged_by is not None and not incident.is_assigned_to(names)
        found.add(IncidentAction.TAKE_OVER if is_anothers else IncidentAction.ACKNOWLEDGE)
    if may_release(incident):
        found.add(IncidentAction.RELEASE)
    if may_mark_false_alarm(incident, now):
        found.add(IncidentAction.CORRECT)
    return found


def may_release(incident: Incident) -> bool:
    """Whether a release would notify anybody outside.

    It need not be offered yet: people may know the outage's duration.
    """
    return (
        incident.is_open
        and incident.released_at is None
        and {incident.type, incident.current_type} <= OUTAGES
        and bool(incident.policy.announcement.recipients)
    )
