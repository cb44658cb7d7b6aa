"""Decide whether and whom to tell outside the agency. Pure: the caller passes the time.

The circular (paragraph 4) moves official business to letter, fax and telephone while mail is down; the agency's
correspondents must know that. But a false letter cannot be called back, so a duty officer releases the announcement,
unless the agency has opted in to automatic release.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.channel import Channel
from alerts.contact import Address, Recipient
from alerts.delivery import Draft
from alerts.escalation import facts
from alerts.incident import OUTAGES, Incident
from alerts.notice import Plan, Purpose

#: A fax that is not through after a working day is laid before a person; a letter waits for its clerk.
EXPIRY: dict[Channel, timedelta] = {
    Channel.SMS: timedelta(hours=2),
    Channel.VOICE: timedelta(hours=2),
    Channel.FAX: timedelta(hours=12),
    Channel.LETTER: timedelta(days=7),
}


@dataclass(frozen=True, slots=True)
class ReleaseNow:
    """The agency opted in to automatic release, and its time has come."""


@dataclass(frozen=True, slots=True)
class NotBefore:
    """Automatic release is due then, if the outage lasts."""

    at: datetime


@dataclass(frozen=True, slots=True)
class AwaitOfficer:
    """A duty officer decides. `offered`: the outage has lasted long enough to ask for it."""

    offered: bool


@dataclass(frozen=True, slots=True)
class Announce:
    """Released: these are to be told."""

    drafts: tuple[Draft, ...]


@dataclass(frozen=True, slots=True)
class Nobody:
    """Nobody outside is to hear of this."""


Announcement = ReleaseNow | NotBefore | AwaitOfficer | Announce | Nobody


def announce(incident: Incident, now: datetime) -> Announcement:
    """Decide about an incident. Asking again changes nothing: drafts carry unique keys."""
    plan = incident.brief.announcement
    if incident.matter not in OUTAGES or not plan.recipients or not incident.is_open:
        return Nobody()
    if incident.released_at is not None:
        return Announce(tuple(_draft(incident, r, a, now) for r in plan.recipients for a in r.addresses))
    offered_at = incident.since + plan.offered_after
    if not plan.automatic:
        return AwaitOfficer(offered=now >= offered_at)
    return ReleaseNow() if now >= offered_at else NotBefore(offered_at)


def _draft(incident: Incident, recipient: Recipient, address: Address, now: datetime) -> Draft:
    key = f"{incident.id}/announcement/0.0.0/outage/{recipient.key}/{address.channel}"
    return Draft(
        key=key,
        plan=Plan.ANNOUNCEMENT,
        purpose=Purpose.OUTAGE,
        person=recipient.key,
        language=recipient.language,
        facts=facts(incident, Plan.ANNOUNCEMENT, Purpose.OUTAGE, now),
        expires_at=now + EXPIRY[address.channel],
        addresses=(address,),
        addressee=recipient.addressee,
    )
