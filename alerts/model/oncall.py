"""Who is on call. Pure: the caller passes the time.

A rota's *definition* is frozen into an incident with its policy; the person on call follows from it, the overrides in
the store, and the start of a step.

A day of duty begins at the rota's handover time and ends at the next, without gaps. It is a workday or a rest day like
the date of its start. At clock changes the handover is the first instant that shows its time, or the first after the
gap (`alerts.hours.wallclock`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

from alerts.hours.calendar import Calendar
from alerts.hours.wallclock import first_showing
from alerts.model.contact import Contact

#: How far ahead gaps are reported.
OUTLOOK = timedelta(days=7)
#: Days ahead in which a handover is searched: a quarter covers monthly shifts.
_FAR = 92
_DAY = timedelta(days=1)
_INSTANT = timedelta(microseconds=1)


class Days(StrEnum):
    """Days of duty of a layer."""

    ALL = "all"
    WORKDAYS = "workdays"
    #: Weekends and public holidays.
    REST = "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """People in successive shifts, on all days or on some."""

    days: Days = Days.ALL
    #: In the order of their shifts.
    people: tuple[Contact, ...]
    #: First day of the first shift; nobody is on duty before.
    starts_on: date
    #: Length of a shift, including days outside the layer.
    shift_days: int = 7

    def person(self, day: date) -> Contact | None:
        """Return the person on shift on *day*; `None` before the layer begins."""
        if day < self.starts_on or not self.people:
            return None
        return self.people[(day - self.starts_on).days // self.shift_days % len(self.people)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rota:
    """Rota of duties. The first layer with a person on a day decides."""

    #: "CODE/key" of an agency's rota, "key" of a shared one.
    name: str
    zone: ZoneInfo
    handover: time = time(8)
    calendar: Calendar = field(default_factory=Calendar)
    layers: tuple[Layer, ...]

    def begin(self, day: date) -> datetime:
        """Return the start of the duty of *day* (UTC)."""
        return first_showing(datetime.combine(day, self.handover), self.zone)

    def day(self, moment: datetime) -> date:
        """Return the day of duty at *moment*."""
        day = moment.astimezone(self.zone).date() + _DAY
        while self.begin(day) > moment:
            day -= _DAY
        return day

    def person(self, day: date) -> Contact | None:
        """Return the planned person of *day*."""
        kind = Days.WORKDAYS if self.calendar.is_workday(day) else Days.REST
        fitting = (layer.person(day) for layer in self.layers if layer.days in (Days.ALL, kind))
        return next((person for person in fitting if person is not None), None)

    @property
    def people(self) -> tuple[Contact, ...]:
        """Everybody with a shift, each once."""
        return tuple({person.key: person for layer in self.layers for person in layer.people}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A temporary replacement, made at run time and read anew each time."""

    id: int
    #: Name of the rota.
    rota: str
    #: As known when the override was made; an incident's own data on the person take precedence.
    contact: Contact
    starts_at: datetime
    #: Exclusive.
    ends_at: datetime
    by: str
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """From `at` on another person is on call, or nobody."""

    at: datetime
    to: Contact | None
    #: The previous person; `None`: nobody, or not requested.
    previous: Contact | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Nobody is on call from `starts_at` until `ends_at`."""

    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCallPeriod:
    """One person, or nobody, is on call from `starts_at` until `ends_at`."""

    starts_at: datetime
    ends_at: datetime
    person: Contact | None


def on_call(rota: Rota, overrides: Sequence[Override], moment: datetime) -> Contact | None:
    """Return the person on call at *moment*, or `None`. Of overlapping overrides the latest wins."""
    standing = [o for o in overrides if o.rota == rota.name and o.starts_at <= moment < o.ends_at]
    if not standing:
        return rota.person(rota.day(moment))
    contact = max(standing, key=lambda override: override.id).contact
    return next((person for person in rota.people if person.key == contact.key), contact)


def next_handover(
    rota: Rota, overrides: Sequence[Override], moment: datetime, *, within: timedelta = _FAR * _DAY
) -> Handover | None:
    """Return the next handover after *moment*; `None` when there is none, or not *within* three months."""
    now = on_call(rota, overrides, moment)
    for at in _changes(rota, overrides, moment, moment + within + _INSTANT):
        then = on_call(rota, overrides, at)
        if _key(then) != _key(now):
            return Handover(at=at, to=then)
    return None


def last_handover(rota: Rota, overrides: Sequence[Override], after: datetime, moment: datetime) -> Handover | None:
    """Return the handover to the person on call at *moment*; `None`: not *after* that time."""
    for at in reversed([*_changes(rota, overrides, after, moment + _INSTANT)]):
        before, then = on_call(rota, overrides, at - _INSTANT), on_call(rota, overrides, at)
        if _key(before) != _key(then):
            return Handover(at=at, to=then, previous=before)
    return None


def next_change(rota: Rota, overrides: Sequence[Override], moment: datetime) -> datetime | None:
    """Return the next possible handover; `None` when not within a day of duty."""
    return next(_changes(rota, overrides, moment, moment + 2 * _DAY), None)


def gaps(rota: Rota, overrides: Sequence[Override], now: datetime, outlook: timedelta = OUTLOOK) -> tuple[Gap, ...]:
    """Return the gaps between *now* and the end of the *outlook*, in order and in full length."""
    during = _between(rota, overrides, now, now + outlook)
    return tuple(Gap(starts_at=each.starts_at, ends_at=each.ends_at) for each in during if each.person is None)


def spells(rota: Rota, overrides: Sequence[Override], first: datetime, last: datetime) -> tuple[OnCallPeriod, ...]:
    """Return the periods between two times, in order; those at the edges in full length, up to a quarter.

    An earlier start is limited to the start of its month, so that it does not depend on the time of the call.
    """
    begins = last_handover(rota, overrides, first - _FAR * _DAY, first)
    ends = next_handover(rota, overrides, last)
    start = begins.at if begins else rota.begin(rota.day(first).replace(day=1))
    return tuple(_between(rota, overrides, start, ends.at if ends else last))


def _between(rota: Rota, overrides: Sequence[Override], start: datetime, end: datetime) -> Sequence[OnCallPeriod]:
    """Return the periods between two times, in order."""
    found: list[OnCallPeriod] = []
    for at, until in pairwise([start, *_changes(rota, overrides, start, end), end]):
        person = on_call(rota, overrides, at)
        goes_on = bool(found) and _key(found[-1].person) == _key(person)
        found.append(OnCallPeriod(starts_at=found.pop().starts_at if goes_on else at, ends_at=until, person=person))
    return found


def concerned(rota: Rota, override: Override, others: Sequence[Override], now: datetime) -> tuple[Contact, ...]:
    """Return the people whose duty an override changes from *now* on: the replacement, and the replaced, each once.

    *others*: the other overrides.
    """
    begins = max(override.starts_at, now)
    without = spells(rota, [each for each in others if each.id != override.id], begins, override.ends_at)
    relieved = [each.person for each in without if each.starts_at < override.ends_at and each.person]
    return tuple({person.key: person for person in (override.contact, *relieved)}.values())


def _changes(rota: Rota, overrides: Sequence[Override], after: datetime, before: datetime) -> Iterator[datetime]:
    """Yield the times between the two at which a handover is possible, in order, each once."""
    first, last = rota.day(after), rota.day(before)
    moments = {rota.begin(first + number * _DAY) for number in range((last - first).days + 2)}
    moments |= {at for o in overrides if o.rota == rota.name for at in (o.starts_at, o.ends_at)}
    yield from sorted(at for at in moments if after < at < before)


def _key(contact: Contact | None) -> str | None:
    return None if contact is None else contact.key
