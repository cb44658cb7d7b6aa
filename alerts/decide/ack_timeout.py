"""Expiry of acknowledgements. Pure: the caller passes the time.

An acknowledgement expires `acknowledgement_timeout` after the assignee's last response. A reminder is always sent
before: if Pantau was down when the reminder was due, it sends the reminder late and gives the assignee the usual time
to respond.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from alerts.decide.escalation import build_facts, successors
from alerts.model.channel import Channel
from alerts.model.delivery import NotificationDraft
from alerts.model.incident import Incident
from alerts.model.notification import Plan, Purpose
from alerts.model.oncall import Override


@dataclass(frozen=True, slots=True)
class AckReminderDue:
    """The acknowledgement expires soon: remind the assignee."""

    #: The reminder; empty if the assignee is not in the incident's policy.
    drafts: tuple[NotificationDraft, ...]


@dataclass(frozen=True, slots=True)
class AckTimedOut:
    """The assignee was reminded and has not responded in time."""


@dataclass(frozen=True, slots=True)
class AckValid:
    """Nothing to do before `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class NotAcknowledged:
    """The incident is not acknowledged, or is over."""


AckDecision = AckReminderDue | AckTimedOut | AckValid | NotAcknowledged


def check_acknowledgement(incident: Incident, now: datetime, overrides: Sequence[Override] = ()) -> AckDecision:
    """Return what is due for the acknowledgement of *incident*.

    The caller stores the time of a reminder as `Incident.reminded_at`. *overrides*: stored
    replacements of people on call, of any rota, that may apply now. The reminder names who is notified after the
    expiry, which depends on the overrides.
    """
    until = incident.acknowledged_until
    if until is None:
        return NotAcknowledged()
    if incident.reminded_at is not None:
        return AckTimedOut() if now >= until else AckValid(until)
    due_at = until - incident.policy.escalation.remind_before
    return AckReminderDue(tuple(_reminders(incident, now, overrides))) if now >= due_at else AckValid(due_at)


def _reminders(incident: Incident, now: datetime, overrides: Sequence[Override]) -> Iterator[NotificationDraft]:
    """Yield the reminder to the assignee; nothing for a person who is not in the policy."""
    person = incident.policy.escalation.contact_by_name(incident.acknowledged_by or "")
    until = replace(incident, reminded_at=now).acknowledged_until  # A late reminder postpones the expiry.
    if person is None or until is None or incident.last_response_at is None:
        return
    current = incident.position
    yield NotificationDraft(
        incident_id=incident.id,
        person=person.key,
        language=person.language,
        facts=replace(
            build_facts(incident, Plan.ESCALATION, Purpose.REMINDER, now),
            until=until,
            successors=successors(incident, until, overrides),
        ),
        expires_at=until,
        addresses=person.addresses_on([Channel.SMS, Channel.VOICE]),
        restarts=current.restarts,
        round=current.round,
        step=current.step,
        key_suffix=incident.last_response_at.isoformat(timespec="seconds"),  # One reminder per response.
    )
