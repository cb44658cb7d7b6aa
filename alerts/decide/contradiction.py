"""Effects of a person's command, and contradictions to the newest runs. Pure.

A release states that mail fails; a recovery or a correction states that it works. A command whose notifications
contradict the newest runs needs the name of the contradiction as confirmation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.decide.announcement import Announce, announce
from alerts.decide.state_change import Notify, conclude
from alerts.model.contradiction import Contradiction
from alerts.model.delivery import Notification, NotificationDraft
from alerts.model.event import Close, MarkFalseAlarm, Release
from alerts.model.incident import Incident, apply
from alerts.model.notification import IncidentType

Order = Release | Close | MarkFalseAlarm

#: Start of the newest run in each direction (`SENDING`, `RECEIVING`) whose message arrived.
Delivered = Mapping[IncidentType, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEffect:
    """Effect of a command."""

    #: The notifications that it would cause.
    drafts: Sequence[NotificationDraft]
    contradiction: Contradiction | None
    #: The directions that work, or the type that still fails.
    found: tuple[IncidentType, ...] = ()


def effect(
    incident: Incident, order: Order, notices: Sequence[Notification], delivered: Delivered, now: datetime
) -> OrderEffect:
    """Return the effect of *order*; *notices*: the notifications of the incident."""
    after = apply(incident, order)
    if after is incident:
        return OrderEffect(drafts=(), contradiction=None)
    if isinstance(order, Release):
        decided = announce(after, (), now)
        drafts = decided.drafts if isinstance(decided, Announce) else ()
        found = _working(incident, delivered)
        return OrderEffect(drafts=drafts, contradiction=Contradiction.WORKS_AGAIN if found else None, found=found)
    drafts = tuple(each.draft for each in conclude(after, notices, now) if isinstance(each, Notify))
    wrong = None if after.is_open or after.closed_without_recovery else _still_wrong(incident, delivered)
    if wrong is None:
        return OrderEffect(drafts=drafts, contradiction=None)
    return OrderEffect(drafts=drafts, contradiction=Contradiction.STILL_FAILS, found=(wrong,))


def ways(matter: IncidentType | None) -> frozenset[IncidentType]:
    """Return the directions of an outage."""
    return _WAYS if matter is IncidentType.BOTH else _WAYS & {matter}


_WAYS: frozenset[IncidentType] = frozenset({IncidentType.SENDING, IncidentType.RECEIVING})


def _working(incident: Incident, delivered: Delivered) -> tuple[IncidentType, ...]:
    """Return the failing directions in which a message has arrived since.

    Runs do not contradict a declared outage: it is declared because no run shows it.
    """
    told = ways(incident.reported_type) & ways(incident.detected) - ways(incident.declared_type)
    return tuple(sorted(way for way in told if _is_delivered(way, incident, delivered)))


def _still_wrong(incident: Incident, delivered: Delivered) -> IncidentType | None:
    """Return the type that still fails, unless the newest message in each of its directions arrived."""
    if not incident.is_open or incident.detected is None:
        return None
    of_measured = ways(incident.detected)
    works = bool(of_measured) and all(_is_delivered(way, incident, delivered) for way in of_measured)
    return None if works else incident.detected


def _is_delivered(way: IncidentType, incident: Incident, delivered: Delivered) -> bool:
    began_at = delivered.get(way)
    return began_at is not None and began_at > incident.reported_type_began_at
