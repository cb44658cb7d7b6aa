"""Planning of drills, and results of their notifications. Pure: the caller passes the time.

A drill tests people's numbers and the gateways; every text is marked as a drill. Its notifications are separate from
those of incidents: no rate limits, bundles or escalations apply, and real notifications come first. Nothing is resent:
a failure is the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from alerts.hours.calendar import Calendar
from alerts.hours.elapsed import is_recent
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address, Contact
from alerts.model.delivery import LEFT, Attempt, AttemptState
from alerts.model.notification import Facts, IncidentType, IssuingOffice, Plan, Purpose


class DrillState(StrEnum):
    """State of a drill notification."""

    #: The gateway is being called, or the process died during the call.
    CALLING = "calling"
    #: The gateway accepted it. There may never be a receipt.
    ACCEPTED = "accepted"
    #: It arrived at the handset, the fax machine or the tray.
    DELIVERED = "delivered"
    #: The person pressed the key.
    CONFIRMED = "confirmed"
    #: It did not arrive.
    FAILED = "failed"
    #: Not sent: a real notification came first, or the office was closed.
    SKIPPED = "skipped"


#: Final states.
ENDED = frozenset({DrillState.DELIVERED, DrillState.CONFIRMED, DrillState.FAILED, DrillState.SKIPPED})

#: A state is not replaced by one of a lower rank; a late failure does not undo an arrival.
_RANKS = (
    {DrillState.CALLING},
    {DrillState.ACCEPTED},
    {DrillState.FAILED, DrillState.SKIPPED},
    {DrillState.DELIVERED},
    {DrillState.CONFIRMED},
)
_RANK = {state: rank for rank, states in enumerate(_RANKS) for state in states}


def may_follow(before: DrillState, after: DrillState) -> bool:
    """Whether *after* may replace *before*."""
    return _RANK[after] > _RANK[before]


def drill_state(channel: Channel, attempt: Attempt) -> DrillState:
    """Return the state by the only attempt. A doubtful attempt is not examined: it did not arrive."""
    if attempt.state not in LEFT:
        return DrillState.FAILED
    # The letter is in the tray, which completes a drill.
    has_arrived = attempt.state is AttemptState.DELIVERED or channel is Channel.LETTER
    return DrillState.DELIVERED if has_arrived else DrillState.ACCEPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillTarget:
    """A person whose numbers are tested or, with the key "", an office whose gateways are."""

    #: The agency that defines the contact; "" for shared contacts and the NOC.
    agency: str
    contact: Contact
    #: The sender.
    office: IssuingOffice


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillNotification:
    """One notification of a drill: to one address by one gateway."""

    target: DrillTarget
    address: Address
    gateway: str

    @property
    def key(self) -> str:
        """Identifies it within its drill. It does not contain the number, because keys are shown more widely."""
        place = self.target.contact.addresses.index(self.address)
        who = f"{self.target.agency}/{self.target.contact.key}"
        return f"{who}/{self.address.channel}/{place}/{self.gateway}"


def plan(
    targets: Sequence[DrillTarget], gateways: Mapping[Channel, Sequence[str]], turn: int
) -> tuple[DrillNotification, ...]:
    """Return the notifications of a drill: every address once, and every gateway at least once.

    *gateways*: by channel, as configured. *turn*: the drill's number, which rotates the gateways of each address.
    Gateways of a channel without addresses are not tested.
    """
    found: list[DrillNotification] = []
    for channel in Channel:
        lines = gateways.get(channel, ())
        pairs = [(target, a) for target in targets for a in target.contact.addresses if a.channel is channel]
        if not lines or not pairs:
            continue
        chosen = [
            DrillNotification(target=target, address=address, gateway=lines[(turn + place) % len(lines)])
            for place, (target, address) in enumerate(pairs)
        ]
        used = {notification.gateway for notification in chosen}
        rest = [line for line in lines if line not in used]
        # Fewer addresses than gateways: some get two.
        chosen += [
            DrillNotification(target=pairs[place % len(pairs)][0], address=pairs[place % len(pairs)][1], gateway=line)
            for place, line in enumerate(rest)
        ]
        found += chosen
    return tuple(found)


def due_notifications(
    notifications: Sequence[DrillNotification], begun: Mapping[str, datetime], pace: timedelta, now: datetime
) -> Iterator[DrillNotification]:
    """Yield the notifications to start now: the next one of each gateway if its last was *pace* ago.

    *begun*: start times by key. A person is never called by two gateways at once.
    """
    gateways: dict[str, datetime] = {}
    people: dict[tuple[str, str], datetime] = {}
    for notification in notifications:
        at = begun.get(notification.key)
        if at is not None:
            who = (notification.target.agency, notification.target.contact.key)
            gateways[notification.gateway] = max(at, gateways.get(notification.gateway, at))
            people[who] = max(at, people.get(who, at))
    for notification in notifications:
        who = (notification.target.agency, notification.target.contact.key)
        last = [at for at in (gateways.get(notification.gateway), people.get(who)) if at is not None]
        if notification.key in begun or any(is_recent(at, now, pace) for at in last):
            continue
        gateways[notification.gateway] = people[who] = now
        yield notification


def obstacle(notification: DrillNotification, *, engaged: AbstractSet[str], pending: bool, now: datetime) -> str | None:
    """Return why *notification* must not start now, or `None`.

    *engaged*: keys and numbers of contacts in open incidents: one person may be a contact of several agencies, under
    several keys. *pending*: a real notification waits.
    """
    contact = notification.target.contact
    if not engaged.isdisjoint({contact.key, *(address.number for address in contact.addresses)}):
        return "a real incident is open for this person"
    if pending:
        return "a real notice waits to be sent"
    if not is_answered(notification.address, now):
        return "the office is closed"
    return None


def facts(office: IssuingOffice, channel: Channel, number: str, now: datetime) -> Facts:
    """Return the facts of a drill notification. A page of an agency has the letterhead that its recipients know."""
    page = channel in ON_PAPER and bool(office.domain)
    return Facts(
        purpose=Purpose.DRILL,
        plan=Plan.ANNOUNCEMENT if page else Plan.ESCALATION,
        type=IncidentType.BOTH,
        office=office,
        number=number,
        began_at=now,
        notified_at=now,
    )


#: For numbers without hours of their own.
_USUAL_HOURS = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))


def is_answered(address: Address, at: datetime) -> bool:
    """Whether a drill may call there at *at*: an office number only during office hours.

    A number without hours counts as an office's if it has an extension, is a fax machine, or is no Malaysian mobile
    (which begin with 1); then the usual hours apply.
    """
    if address.hours is not None:
        return address.answers(at)
    mobile = address.channel in {Channel.SMS, Channel.VOICE} and not address.extension
    return (mobile and address.number.startswith("+601")) or _USUAL_HOURS.is_open(at)
