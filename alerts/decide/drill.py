"""Planning of drills, and results of their notifications. Pure: the caller passes the time.

A drill sends test notifications, marked as such, to test people's numbers and the gateways. Rate limits, bundles and
escalation do not apply to them, and notifications of incidents take precedence. A failed test notification is not
resent, because the failure is the result of the test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import cycle
from zoneinfo import ZoneInfo

from alerts.hours.calendar import Calendar
from alerts.hours.elapsed import is_recent
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address, Contact
from alerts.model.delivery import SUBMITTED, Attempt, AttemptState
from alerts.model.notification import Facts, IncidentType, IssuingOffice, Plan, Purpose


class DrillState(StrEnum):
    """State of a drill notification."""

    #: The gateway is being called, or the process died during the call.
    CALLING = "calling"
    #: The gateway accepted the notification. A receipt may never follow.
    ACCEPTED = "accepted"
    #: The notification arrived at the handset or the fax machine, or is in the tray (the directory for letters).
    DELIVERED = "delivered"
    #: The person pressed the key that confirms.
    CONFIRMED = "confirmed"
    #: The notification did not arrive.
    FAILED = "failed"
    #: The notification was not sent: an incident took precedence, or the office was closed.
    SKIPPED = "skipped"


#: Final states.
ENDED = frozenset({DrillState.DELIVERED, DrillState.CONFIRMED, DrillState.FAILED, DrillState.SKIPPED})

#: States by rank, the lowest first. A state of a lower or equal rank never replaces another one: a late report of a
#: failure does not undo an arrival.
_RANKS = (
    {DrillState.CALLING},
    {DrillState.ACCEPTED},
    {DrillState.FAILED, DrillState.SKIPPED},
    {DrillState.DELIVERED},
    {DrillState.CONFIRMED},
)
_RANK = {state: rank for rank, states in enumerate(_RANKS) for state in states}


def may_replace(before: DrillState, after: DrillState) -> bool:
    """Whether *after* may replace *before*."""
    return _RANK[after] > _RANK[before]


def drill_state(channel: Channel, attempt: Attempt) -> DrillState:
    """Return the state of a drill notification after its only attempt. An attempt of unknown result has failed."""
    if attempt.state not in SUBMITTED:
        return DrillState.FAILED
    # The drill of a letter ends in the tray: the letter is not posted.
    has_arrived = attempt.state is AttemptState.DELIVERED or channel is Channel.LETTER
    return DrillState.DELIVERED if has_arrived else DrillState.ACCEPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillTarget:
    """A person whose numbers are tested, or an office to which messages are sent to test gateways."""

    #: The agency that defines the contact; "" for shared contacts and the NOC.
    agency: str
    #: For an office the key is "".
    contact: Contact
    #: Sender of the notifications.
    office: IssuingOffice


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillNotification:
    """One notification of a drill: to one address by one gateway."""

    target: DrillTarget
    address: Address
    gateway: str

    @property
    def key(self) -> str:
        """Key within the drill. It has the index of the address, not the number: more people see keys than numbers."""
        address_index = self.target.contact.addresses.index(self.address)
        person = f"{self.target.agency}/{self.target.contact.key}"
        return f"{person}/{self.address.channel}/{address_index}/{self.gateway}"


def plan_notifications(
    targets: Sequence[DrillTarget], gateways: Mapping[Channel, Sequence[str]], drill_number: int
) -> tuple[DrillNotification, ...]:
    """Return the notifications of a drill: every address at least once, and every gateway at least once.

    *gateways*: names by channel, as configured. *drill_number*: number of the drill; each drill uses the next gateway
    for an address. Gateways of a channel without addresses are not tested.
    """
    planned: list[DrillNotification] = []
    for channel in Channel:
        gateway_names = gateways.get(channel, ())
        pairs = [(target, a) for target in targets for a in target.contact.addresses if a.channel is channel]
        if not gateway_names or not pairs:
            continue
        notifications = [
            DrillNotification(
                target=target, address=address, gateway=gateway_names[(drill_number + position) % len(gateway_names)]
            )
            for position, (target, address) in enumerate(pairs)
        ]
        used_gateways = {notification.gateway for notification in notifications}
        unused = [name for name in gateway_names if name not in used_gateways]
        # If there are fewer addresses than gateways, some addresses get several notifications.
        notifications += [
            DrillNotification(target=target, address=address, gateway=name)
            for name, (target, address) in zip(unused, cycle(pairs), strict=False)
        ]
        planned += notifications
    return tuple(planned)


def due_notifications(
    notifications: Sequence[DrillNotification], started: Mapping[str, datetime], pace: timedelta, now: datetime
) -> Iterator[DrillNotification]:
    """Yield the notifications to start now.

    A gateway and a person get at most one notification within *pace*. *started*: start times of earlier notifications
    of the drill, by key.
    """
    gateway_last: dict[str, datetime] = {}
    person_last: dict[tuple[str, str], datetime] = {}
    for notification in notifications:
        at = started.get(notification.key)
        if at is not None:
            person = (notification.target.agency, notification.target.contact.key)
            gateway_last[notification.gateway] = max(at, gateway_last.get(notification.gateway, at))
            person_last[person] = max(at, person_last.get(person, at))
    for notification in notifications:
        person = (notification.target.agency, notification.target.contact.key)
        last = [at for at in (gateway_last.get(notification.gateway), person_last.get(person)) if at is not None]
        if notification.key in started or any(is_recent(at, now, pace) for at in last):
            continue
        gateway_last[notification.gateway] = person_last[person] = now
        yield notification


def blocking_reason(
    notification: DrillNotification, *, busy_keys: AbstractSet[str], pending: bool, now: datetime
) -> str | None:
    """Return why *notification* must not start now; `None` if it may.

    *busy_keys*: keys and numbers of the contacts of open incidents. The numbers are needed, because one person may be a
    contact of several agencies under several keys. *pending*: a notification of an incident waits to be sent.
    """
    contact = notification.target.contact
    if not busy_keys.isdisjoint({contact.key, *(address.number for address in contact.addresses)}):
        return "an incident is open for this person"
    if pending:
        return "a notification of an incident waits to be sent"
    if not may_use_now(notification.address, now):
        return "the office is closed"
    return None


def drill_facts(office: IssuingOffice, channel: Channel, number: str, now: datetime) -> Facts:
    """Return the facts of a drill notification.

    *number*: number of the drill, in place of an incident number: "LATIH-01". A fax or letter of an agency has the
    letterhead of the agency's announcements, so that the letterhead is tested, too.
    """
    # The NOC has no domain.
    is_official_page = channel in ON_PAPER and bool(office.domain)
    return Facts(
        purpose=Purpose.DRILL,
        plan=Plan.ANNOUNCEMENT if is_official_page else Plan.ESCALATION,
        type=IncidentType.BOTH,
        office=office,
        number=number,
        began_at=now,
        notified_at=now,
    )


#: Assumed office hours of an office whose hours are not configured.
_USUAL_HOURS = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))


def may_use_now(address: Address, at: datetime) -> bool:
    """Whether a drill may use *address* at *at*: an office's address only during office hours.

    An address without configured hours counts as an office's, except a Malaysian mobile number (+601...) without
    extension, which is always available by SMS and voice.
    """
    if address.hours is not None:
        return address.is_available(at)
    is_mobile = address.channel in {Channel.SMS, Channel.VOICE} and not address.extension
    return (is_mobile and address.number.startswith("+601")) or _USUAL_HOURS.is_open(at)
