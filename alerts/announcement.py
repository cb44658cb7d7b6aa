"""Decide whether and whom to tell outside the agency. Pure: the caller passes the time.

The circular (paragraph 4) moves official business to letter, fax and telephone while mail is down; the agency's
correspondents must know that. But a false letter cannot be called back, so a duty officer releases the announcement,
unless the agency has opted in to automatic release.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.channel import Channel
from alerts.contact import Address, Recipient
from alerts.delivery import Draft
from alerts.escalation import facts
from alerts.incident import OUTAGES, Incident, release_is_offered
from alerts.notice import Plan, Purpose

#: A fax that is not through after a working day is laid before a person; a letter waits for its clerk.
EXPIRY: dict[Channel, timedelta] = {
    Channel.SMS: timedelta(hours=2),
    Channel.VOICE: timedelta(hours=2),
    Channel.FAX: timedelta(hours=12),
    Channel.LETTER: timedelta(days=7),
}


#: Whoever is not reached is called again for as long.
OFFER_EXPIRY = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class ReleaseNow:
    """The agency opted in to automatic release, and its time has come."""


@dataclass(frozen=True, slots=True)
class NotBefore:
    """Automatic release is due then, if the outage lasts."""

    at: datetime


@dataclass(frozen=True, slots=True)
class AwaitStaff:
    """Automatic release is due, and no notice to staff has left: nobody outside hears of it before them."""


@dataclass(frozen=True, slots=True)
class AwaitOfficer:
    """A duty officer decides. `offered`: the outage has lasted long enough to ask for it."""

    offered: bool
    #: From when on it is.
    at: datetime
    #: Whoever has taken the incident on is called about it. While nobody has, the calls of the escalation offer it.
    drafts: tuple[Draft, ...] = ()


@dataclass(frozen=True, slots=True)
class Announce:
    """Released: these are to be told."""

    drafts: tuple[Draft, ...]


@dataclass(frozen=True, slots=True)
class Nobody:
    """Nobody outside is to hear of this."""


Announcement = ReleaseNow | NotBefore | AwaitStaff | AwaitOfficer | Announce | Nobody


def announce(incident: Incident, now: datetime, *, staff_know: bool = True) -> Announcement:
    """Decide about an incident. Asking again changes nothing: drafts carry unique keys.

    *staff_know*: see `alerts.escalation.staff_know`; until they do nothing is released by itself.
    """
    plan = incident.brief.announcement
    if incident.matter not in OUTAGES or not plan.recipients or not incident.is_open:
        return Nobody()
    if incident.released_at is not None:
        return Announce(tuple(_draft(incident, r, a, now) for r in plan.recipients for a in r.addresses))
    offered_at = incident.since + plan.offered_after
    if not plan.automatic:
        offered = release_is_offered(incident, now)
        return AwaitOfficer(offered=offered, at=offered_at, drafts=tuple(_offers(incident, now)) if offered else ())
    if now < offered_at:
        return NotBefore(offered_at)
    return ReleaseNow() if staff_know else AwaitStaff()


def _offers(incident: Incident, now: datetime) -> Iterator[Draft]:
    """Yield the call to the person who has acknowledged; nothing for somebody whom the policy does not know."""
    if incident.acknowledged_at is None:
        return
    person = incident.brief.escalation.named(incident.acknowledged_by or "")
    if person is None:
        return
    yield Draft(
        key=f"{incident.id}/escalation/{incident.position.wave}.0.0/release/{person.key}",
        plan=Plan.ESCALATION,
        purpose=Purpose.RELEASE,
        person=person.key,
        language=person.language,
        facts=facts(incident, Plan.ESCALATION, Purpose.RELEASE, now),
        expires_at=now + OFFER_EXPIRY,
        addresses=person.addresses_on([Channel.VOICE, Channel.SMS]),
        wave=incident.position.wave,
    )


def expiry(address: Address, now: datetime) -> datetime:
    """Return until when an announcement to *address* that is decided on *now* is tried.

    An office that has closed is told after it has opened; what is due at night would be over before.
    """
    span = EXPIRY[address.channel]
    if address.hours is None:
        return now + span
    ends = address.hours.opening(now) + span
    return ends if address.hours.is_open(ends) else address.hours.closing(ends)


def _draft(incident: Incident, recipient: Recipient, address: Address, now: datetime) -> Draft:
    key = f"{incident.id}/announcement/0.0.0/outage/{recipient.key}/{address.channel}"
    return Draft(
        key=key,
        plan=Plan.ANNOUNCEMENT,
        purpose=Purpose.OUTAGE,
        person=recipient.key,
        language=recipient.language,
        facts=replace(facts(incident, Plan.ANNOUNCEMENT, Purpose.OUTAGE, now), enclosure=1),
        expires_at=expiry(address, now),
        addresses=(address,),
        addressee=recipient.addressee,
    )
