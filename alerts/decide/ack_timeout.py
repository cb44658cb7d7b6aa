"""Expiry of acknowledgements. Pure: the caller passes the time.

An acknowledgement ends `acknowledgement_timeout` after the assignee's last answer. The assignee is reminded first, and no
acknowledgement expires without a reminder: a service that was down at that time sends the reminder first, and then
grants the usual time.
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
    """The acknowledgement expires soon. Without notifications: the assignee has no known address."""

    drafts: tuple[NotificationDraft, ...]


@dataclass(frozen=True, slots=True)
class AckTimedOut:
    """The assignee was reminded in time and has not answered."""


@dataclass(frozen=True, slots=True)
class AckValid:
    """Nothing to do before then."""

    until: datetime


@dataclass(frozen=True, slots=True)
class NotAcknowledged:
    """The incident is not acknowledged, or is over."""


Promise = AckReminderDue | AckTimedOut | AckValid | NotAcknowledged


def promise(incident: Incident, now: datetime, overrides: Sequence[Override] = ()) -> Promise:
    """Decide about an incident. The caller records a reminder (`Incident.reminded_at`).

    *overrides*: those that may apply now, of any rota; they decide who is notified after the expiry.
    """
    until = incident.acknowledged_until
    if until is None:
        return NotAcknowledged()
    if incident.reminded_at is not None:
        return AckTimedOut() if now >= until else AckValid(until)
    due = until - incident.policy.escalation.remind_before
    return AckReminderDue(tuple(_reminders(incident, now, overrides))) if now >= due else AckValid(due)


def _reminders(incident: Incident, now: datetime, overrides: Sequence[Override]) -> Iterator[NotificationDraft]:
    """Yield the reminder to the assignee; nothing for a person who is not in the policy."""
    person = incident.policy.escalation.named(incident.acknowledged_by or "")
    until = replace(incident, reminded_at=now).acknowledged_until
    if person is None or until is None or incident.last_response_at is None:
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
        restarts=at.restarts,
        round=at.round,
        step=at.step,
        once=incident.last_response_at.isoformat(timespec="seconds"),  # One per acknowledgement.
    )
