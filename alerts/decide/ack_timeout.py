"""Decide whether an acknowledgement still stands. Pure: the caller passes the time.

An acknowledgement is a promise, and it has an end: `acknowledge_for` after whoever has taken the incident on was last
heard of. They are reminded before it, and nobody loses an incident without having been: a service that was down when it was
time reminds first, and gives them as long as it always does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from alerts.decide.escalation import facts, successors
from alerts.model.channel import Channel
from alerts.model.delivery import NotificationDraft
from alerts.model.incident import Incident
from alerts.model.notification import Plan, Purpose
from alerts.model.oncall import Override


@dataclass(frozen=True, slots=True)
class AckReminderDue:
    """It is about to expire. Empty: nobody knows where to reach them."""

    drafts: tuple[NotificationDraft, ...]


@dataclass(frozen=True, slots=True)
class AckTimedOut:
    """They were reminded in time, and are not heard of."""


@dataclass(frozen=True, slots=True)
class AckValid:
    """Nothing to do before then."""

    until: datetime


@dataclass(frozen=True, slots=True)
class NotAcknowledged:
    """Nobody has taken it on, or it is over."""


Promise = AckReminderDue | AckTimedOut | AckValid | NotAcknowledged


def promise(incident: Incident, now: datetime, overrides: Sequence[Override] = ()) -> Promise:
    """Decide about an incident. Whoever reminds writes down that they have (`Incident.reminded_at`).

    *overrides*: those that may stand now, of any rota; they say who is told when it expires.
    """
    until = incident.acknowledged_until
    if until is None:
        return NotAcknowledged()
    if incident.reminded_at is not None:
        return AckTimedOut() if now >= until else AckValid(until)
    due = until - incident.brief.escalation.remind_before
    return AckReminderDue(tuple(_reminders(incident, now, overrides))) if now >= due else AckValid(due)


def _reminders(incident: Incident, now: datetime, overrides: Sequence[Override]) -> Iterator[NotificationDraft]:
    """Yield the reminder to whoever has taken it on; nothing for somebody whom the policy does not know."""
    person = incident.brief.escalation.named(incident.acknowledged_by or "")
    until = replace(incident, reminded_at=now).acknowledged_until
    if person is None or until is None or incident.heard_at is None:
        return
    at = incident.position
    yield NotificationDraft(
        incident_id=incident.id,
        person=person.key,
        language=person.language,
        facts=replace(
            facts(incident, Plan.ESCALATION, Purpose.REMINDER, now),
            until=until,
            successors=successors(incident, until, overrides),
        ),
        expires_at=until,
        addresses=person.addresses_on([Channel.SMS, Channel.VOICE]),
        wave=at.wave,
        round=at.round,
        step=at.step,
        once=incident.heard_at.isoformat(timespec="seconds"),  # One a promise.
    )
