"""Decide what a drill exercises, when, and whether a person was reached. Pure: the caller passes the time.

A drill is a test of people's numbers and of the gateways, marked as one in every text. Its notices are no notices of an
incident: they are kept apart from those, have no part in brakes, bundles or escalations, and give way to anything
real. None is ever sent a second time: what went wrong is the result.
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
    """State of one notification of a drill."""

    #: Stored; the gateway is being called, or the process ended during the call.
    CALLING = "calling"
    #: The gateway accepted it. There may never be a receipt.
    ACCEPTED = "accepted"
    #: It reached the handset, the fax machine or the tray.
    DELIVERED = "delivered"
    #: The person pressed the key.
    CONFIRMED = "confirmed"
    #: It did not arrive.
    FAILED = "failed"
    #: It was not tried: a real notification came first, or the office was closed.
    SKIPPED = "skipped"


#: Nothing more is expected.
ENDED = frozenset({DrillState.DELIVERED, DrillState.CONFIRMED, DrillState.FAILED, DrillState.SKIPPED})

#: A later member never gives way to an earlier one; a failure reported late does not undo an arrival.
_RANKS = (
    {DrillState.CALLING},
    {DrillState.ACCEPTED},
    {DrillState.FAILED, DrillState.SKIPPED},
    {DrillState.DELIVERED},
    {DrillState.CONFIRMED},
)
_RANK = {state: rank for rank, states in enumerate(_RANKS) for state in states}


def may_follow(before: DrillState, after: DrillState) -> bool:
    """Whether what was heard later may be written over what is known."""
    return _RANK[after] > _RANK[before]


def standing(channel: Channel, attempt: Attempt) -> DrillState:
    """Return how an exercise stands by its one attempt. Of a doubtful one nothing is found out: it did not arrive."""
    if attempt.state not in LEFT:
        return DrillState.FAILED
    # The tray has a letter; nothing more is to become of it.
    has_arrived = attempt.state is AttemptState.DELIVERED or channel is Channel.LETTER
    return DrillState.DELIVERED if has_arrived else DrillState.ACCEPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillTarget:
    """Somebody whose numbers are tried, or ("" as key) an office whose gateways are."""

    #: The agency whose file names the contact; "" for those of all agencies and of the NOC.
    agency: str
    contact: Contact
    #: Who speaks.
    office: IssuingOffice


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillNotification:
    """One notice of a drill that is to be sent: to one address by one gateway."""

    trainee: DrillTarget
    address: Address
    gateway: str

    @property
    def key(self) -> str:
        """What it is, within its drill. Without the number: keys are seen where numbers are not."""
        place = self.trainee.contact.addresses.index(self.address)
        who = f"{self.trainee.agency}/{self.trainee.contact.key}"
        return f"{who}/{self.address.channel}/{place}/{self.gateway}"


def plan(
    trainees: Sequence[DrillTarget], gateways: Mapping[Channel, Sequence[str]], turn: int
) -> tuple[DrillNotification, ...]:
    """Return what a drill exercises: every address once, and every gateway at least once.

    *gateways* by channel, as configured. *turn* is the drill's number: from one to the next each address is tried by
    the channel's next gateway. A channel that no address is on has nothing to try its gateways with.
    """
    found: list[DrillNotification] = []
    for channel in Channel:
        lines = gateways.get(channel, ())
        targets = [(trainee, a) for trainee in trainees for a in trainee.contact.addresses if a.channel is channel]
        if not lines or not targets:
            continue
        chosen = [
            DrillNotification(trainee=trainee, address=address, gateway=lines[(turn + place) % len(lines)])
            for place, (trainee, address) in enumerate(targets)
        ]
        used = {exercise.gateway for exercise in chosen}
        rest = [line for line in lines if line not in used]
        # Fewer addresses than gateways: somebody is asked twice.
        chosen += [
            DrillNotification(
                trainee=targets[place % len(targets)][0], address=targets[place % len(targets)][1], gateway=line
            )
            for place, line in enumerate(rest)
        ]
        found += chosen
    return tuple(found)


def rest_of(
    exercises: Sequence[DrillNotification], begun: Mapping[str, datetime], pace: timedelta, now: datetime
) -> Iterator[DrillNotification]:
    """Yield what may be begun now: the first that is left of each gateway, if its last one was *pace* ago.

    *begun*: when each exercise was begun, by its key. A person is never called by two gateways at once, either.
    """
    gateways: dict[str, datetime] = {}
    people: dict[tuple[str, str], datetime] = {}
    for exercise in exercises:
        at = begun.get(exercise.key)
        if at is not None:
            who = (exercise.trainee.agency, exercise.trainee.contact.key)
            gateways[exercise.gateway] = max(at, gateways.get(exercise.gateway, at))
            people[who] = max(at, people.get(who, at))
    for exercise in exercises:
        who = (exercise.trainee.agency, exercise.trainee.contact.key)
        last = [at for at in (gateways.get(exercise.gateway), people.get(who)) if at is not None]
        if exercise.key in begun or any(is_recent(at, now, pace) for at in last):
            continue
        gateways[exercise.gateway] = people[who] = now
        yield exercise


def obstacle(exercise: DrillNotification, *, engaged: AbstractSet[str], pending: bool, now: datetime) -> str | None:
    """Return why *exercise* must not be begun now, or `None`. It may be over before the drill is.

    *engaged*: keys and numbers of the contacts that an open incident may tell, or has told: one person may be a contact
    of several agencies, under several keys. *pending*: a real notice waits.
    """
    contact = exercise.trainee.contact
    if not engaged.isdisjoint({contact.key, *(address.number for address in contact.addresses)}):
        return "a real incident is open for this person"
    if pending:
        return "a real notice waits to be sent"
    if not is_answered(exercise.address, now):
        return "the office is closed"
    return None


def facts(office: IssuingOffice, channel: Channel, number: str, now: datetime) -> Facts:
    """Return what a notice of a drill tells. A page of an agency is the page that its recipients would get."""
    page = channel in ON_PAPER and bool(office.domain)
    return Facts(
        purpose=Purpose.DRILL,
        plan=Plan.ANNOUNCEMENT if page else Plan.ESCALATION,
        matter=IncidentType.BOTH,
        office=office,
        number=number,
        began_at=now,
        noticed_at=now,
    )


#: Of lines that say nothing of their own hours.
_USUAL_HOURS = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))


def is_answered(address: Address, at: datetime) -> bool:
    """Whether a drill may ring there at *at*: never an office line outside of office hours.

    A line without hours of its own counts as an office's when it has an extension, is a fax machine, or is no Malaysian
    mobile, whose numbers begin with 1; then the usual hours hold.
    """
    if address.hours is not None:
        return address.answers(at)
    mobile = address.channel in {Channel.SMS, Channel.VOICE} and not address.extension
    return (mobile and address.number.startswith("+601")) or _USUAL_HOURS.is_open(at)
