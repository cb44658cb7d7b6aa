"""Decide what an acknowledgement and a recovery mean for the notices of an incident. Pure.

Recovery is told to those who were told of the outage, by the way they were told, and to nobody else. What has not
left is withdrawn; a letter still in the tray is taken back and then needs no recovery letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.announcement import EXPIRY
from alerts.channel import Channel
from alerts.contact import Address, Contact
from alerts.delivery import SETTLED, Attempt, AttemptState, Draft, Notice
from alerts.escalation import facts
from alerts.incident import Incident, IncidentState
from alerts.move import CAME_TO_NOTHING, decisive
from alerts.notice import Plan, Purpose


@dataclass(frozen=True, slots=True)
class Cancel:
    """Not sent yet and no longer needed."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Whether it was sent cannot be found out, and it is no longer needed: it is not sent again."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Lies in the tray: take it back before a clerk posts it."""

    notice: Notice
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class TellRecovery:
    """A person was told of the outage, and is owed this."""

    draft: Draft


Conclusion = Cancel | GiveUp | TakeBack | TellRecovery


def conclude(incident: Incident, notices: Sequence[Notice], now: datetime) -> Iterator[Conclusion]:
    """Yield what is owed to the notices of an incident that was acknowledged or is over; nothing while it is neither."""
    if incident.state is IncidentState.TRIGGERED:
        return
    over = incident.state is IncidentState.RESOLVED
    told: set[str] = set()
    for notice in notices:
        if notice.purpose is not Purpose.OUTAGE or not (over or notice.plan is Plan.ESCALATION):
            continue
        last = decisive(notice)
        if notice.state not in SETTLED:
            if last is None or last.state in CAME_TO_NOTHING:
                yield GiveUp(notice) if notice.was_told else Cancel(notice)
            elif over and notice.channel is Channel.LETTER and last.state is AttemptState.ACCEPTED:
                # An error: it was tried, and the tray could not be reached. Again after a pause.
                if last.error is None or now >= last.look_at:
                    yield TakeBack(notice, last)
                continue
            elif last.state in _UNDER_WAY:
                continue
        if over and notice.was_told:
            draft = _recovery(incident, notice, now)
            if draft and draft.key not in told:
                told.add(draft.key)
                yield TellRecovery(draft)


#: What becomes of these decides whether a recovery is owed; a letter among them may still be taken back.
_UNDER_WAY = frozenset({AttemptState.CALLING, AttemptState.UNKNOWN})


def _recovery(incident: Incident, notice: Notice, now: datetime) -> Draft | None:
    if notice.plan is Plan.ESCALATION:
        key = f"{incident.id}/escalation/0.0.0/recovery/{notice.person}"
        addresses = _staff_addresses(incident, notice)
        expires_at = now + timedelta(hours=2)
    else:
        key = f"{incident.id}/announcement/0.0.0/recovery/{notice.person}/{notice.channel}"
        addresses = notice.addresses
        expires_at = now + EXPIRY[notice.channel]
    if not addresses:
        return None
    return Draft(
        key=key,
        plan=notice.plan,
        purpose=Purpose.RECOVERY,
        person=notice.person,
        language=notice.language,
        facts=facts(incident, notice.plan, Purpose.RECOVERY, now, first_noticed_at=notice.created_at),
        expires_at=expires_at,
        addresses=addresses,
        addressee=notice.addressee,
    )


def _staff_addresses(incident: Incident, notice: Notice) -> tuple[Address, ...]:
    """Return where to tell staff of the recovery: by SMS where there is one. Good news rings nobody out of bed."""
    contact = contact_of(incident, notice.person)
    by_sms = contact.addresses_on([Channel.SMS]) if contact else ()
    return by_sms or notice.addresses


def contact_of(incident: Incident, key: str) -> Contact | None:
    """Return the contact of the frozen policy with this key."""
    steps = incident.brief.escalation.steps
    return next((c for step in steps for c in step.contacts if c.key == key), None)
