"""Effect of a person's operation on an incident, and its contradiction to the newest runs. Pure.

A run is one probe message from one mailbox to another; a direction is sending or receiving by the agency. If a person
releases (approves) the announcement to offices outside, it states that mail fails. If a person closes the incident or
marks a false alarm, the notifications state that mail works. If the newest runs show the opposite, the person must
confirm the operation by naming the contradiction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.decide.announcement import Announce, announce
from alerts.decide.state_change import Notify, consequences
from alerts.model.contradiction import Contradiction
from alerts.model.delivery import Notification, NotificationDraft
from alerts.model.event import Close, MarkFalseAlarm, Release
from alerts.model.incident import Incident, apply
from alerts.model.notification import IncidentType

Operation = Release | Close | MarkFalseAlarm

#: Start of the newest run whose message arrived, by direction (`SENDING`, `RECEIVING`).
LatestArrivals = Mapping[IncidentType, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationEffect:
    """Effect of an operation."""

    #: The notifications that the operation would cause.
    drafts: Sequence[NotificationDraft]
    #: `None`: the newest runs do not contradict.
    contradiction: Contradiction | None
    #: For WORKS_AGAIN the directions that work; for STILL_FAILS the detected type. Empty without a contradiction.
    conflicting_types: tuple[IncidentType, ...] = ()


def operation_effect(
    incident: Incident,
    operation: Operation,
    notifications: Sequence[Notification],
    latest_arrivals: LatestArrivals,
    now: datetime,
) -> OperationEffect:
    """Return the effect that *operation* would have now. *notifications*: all notifications of the incident."""
    after = apply(incident, operation)
    if after is incident:
        return OperationEffect(drafts=(), contradiction=None)
    if isinstance(operation, Release):
        decided = announce(after, (), now)
        drafts = decided.drafts if isinstance(decided, Announce) else ()
        recovered = _recovered_directions(incident, latest_arrivals)
        contradiction = Contradiction.WORKS_AGAIN if recovered else None
        return OperationEffect(drafts=drafts, contradiction=contradiction, conflicting_types=recovered)
    drafts = tuple(each.draft for each in consequences(after, notifications, now) if isinstance(each, Notify))
    remaining = None if after.is_open or after.closed_without_recovery else _remaining_type(incident, latest_arrivals)
    if remaining is None:
        return OperationEffect(drafts=drafts, contradiction=None)
    return OperationEffect(drafts=drafts, contradiction=Contradiction.STILL_FAILS, conflicting_types=(remaining,))


def directions(incident_type: IncidentType | None) -> frozenset[IncidentType]:
    """Return the directions that fail in an outage of this type; none for other types."""
    return _DIRECTIONS if incident_type is IncidentType.BOTH else _DIRECTIONS & {incident_type}


_DIRECTIONS: frozenset[IncidentType] = frozenset({IncidentType.SENDING, IncidentType.RECEIVING})


def _recovered_directions(incident: Incident, latest_arrivals: LatestArrivals) -> tuple[IncidentType, ...]:
    """Return the failing directions in which a message has arrived since the failure began.

    Directions that a person has declared are left out, because people declare failures that no run shows.
    """
    failing = directions(incident.reported_type) & directions(incident.detected) - directions(incident.declared_type)
    return tuple(sorted(direction for direction in failing if _has_arrived(direction, incident, latest_arrivals)))


def _remaining_type(incident: Incident, latest_arrivals: LatestArrivals) -> IncidentType | None:
    """Return the detected type; `None` if a message has arrived in each of its directions since the failure began."""
    if not incident.is_open or incident.detected is None:
        return None
    detected_directions = directions(incident.detected)
    all_arrived = bool(detected_directions) and all(
        _has_arrived(direction, incident, latest_arrivals) for direction in detected_directions
    )
    return None if all_arrived else incident.detected


def _has_arrived(direction: IncidentType, incident: Incident, latest_arrivals: LatestArrivals) -> bool:
    run_began_at = latest_arrivals.get(direction)
    return run_began_at is not None and run_began_at > incident.reported_type_began_at
