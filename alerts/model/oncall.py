"""Decide who is on call. Pure: the caller passes the moment.

A rota's *definition* is frozen into an incident with its policy; *who* is on call follows from the definition, the
overrides that stand in the store, and the moment at which a step starts.

A day of duty begins at the rota's handover time and ends where the next begins, so no instant lies between two. It is a
workday or a rest day as the date on which it begins. Where clocks are changed, the handover is the first instant at
which they show its time, or the first after the gap that skips it (`alerts.hours.wallclock`).
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

#: How far ahead gaps are looked for.
OUTLOOK = timedelta(days=7)
#: How far ahead a handover is looked for: a quarter covers monthly shifts.
_FAR = 92
_DAY = timedelta(days=1)
_INSTANT = timedelta(microseconds=1)


class Days(StrEnum):
    """Which days of duty a layer is for."""

    ALL = "all"
    WORKDAYS = "workdays"
    #: Weekends and public holidays.
    REST = "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """People who follow one another in shifts, on all days or only on some."""

    days: Days = Days.ALL
    #: In the order of their shifts.
    people: tuple[Contact, ...]
    #: The first day of the first person's first shift; nobody is on duty before it.
    begins: date
    #: How long a shift is. Days that the layer is not for count as well.
    shift_days: int = 7

    def person(self, day: date) -> Contact | None:
        """Return whose shift it is on *day*; `None` before the layer begins."""
        if day < self.begins or not self.people:
            return None
        return self.people[(day - self.begins).days // self.shift_days % len(self.people)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rota:
    """Who has duty when. The first layer that has somebody on a day decides."""

    #: "CODE/key" of an agency's, "key" of one that all may name.
    name: str
    zone: ZoneInfo
    handover: time = time(8)
    calendar: Calendar = field(default_factory=Calendar)
    layers: tuple[Layer, ...]

    def begin(self, day: date) -> datetime:
        """Return when the duty of *day* begins (UTC)."""
        return first_showing(datetime.combine(day, self.handover), self.zone)

    def day(self, moment: datetime) -> date:
        """Return the day of duty that *moment* falls in."""
        day = moment.astimezone(self.zone).date() + _DAY
        while self.begin(day) > moment:
            day -= _DAY
        return day

    def person(self, day: date) -> Contact | None:
        """Return who has the duty of *day*, as it was planned."""
        kind = Days.WORKDAYS if self.calendar.is_workday(day) else Days.REST
        fitting = (layer.person(day) for layer in self.layers if layer.days in (Days.ALL, kind))
        return next((person for person in fitting if person is not None), None)

    @property
    def people(self) -> tuple[Contact, ...]:
        """Everybody who has a shift, each once."""
        return tuple({person.key: person for layer in self.layers for person in layer.people}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Somebody takes a duty over for a while. Made on the running service, and read anew each time."""

    id: int
    #: Name of the rota.
    rota: str
    #: As known when the override was made; an incident's own data on the same person count first.
    contact: Contact
    begins: datetime
    #: No longer part of it.
    ends: datetime
    by: str
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """From `at` on somebody else is on call, or nobody."""

    at: datetime
    to: Contact | None
    #: Who had the duty until then; `None`: nobody, or nobody asked.
    of: Contact | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Nobody is on call from `begins` until `ends`."""

    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCallPeriod:
    """One person is on call without a break, or nobody, from `begins` until `ends`."""

    begins: datetime
    ends: datetime
    person: Contact | None


def on_call(rota: Rota, overrides: Sequence[Override], moment: datetime) -> Contact | None:
    """Return who is on call at *moment*, or `None`. Of overrides that overlap the one made last counts."""
    standing = [o for o in overrides if o.rota == rota.name and o.begins <= moment < o.ends]
    if not standing:
        return rota.person(rota.day(moment))
    contact = max(standing, key=lambda override: override.id).contact
    return next((person for person in rota.people if person.key == contact.key), contact)


def next_handover(
    rota: Rota, overrides: Sequence[Override], moment: datetime, *, within: timedelta = _FAR * _DAY
) -> Handover | None:
    """Return when somebody else is on call than at *moment*; `None` when that never comes, or not *within* three months."""
    now = on_call(rota, overrides, moment)
    for at in _changes(rota, overrides, moment, moment + within + _INSTANT):
        then = on_call(rota, overrides, at)
        if _key(then) != _key(now):
            return Handover(at=at, to=then)
    return None


def last_handover(rota: Rota, overrides: Sequence[Override], after: datetime, moment: datetime) -> Handover | None:
    """Return when whoever is on call at *moment* took the duty over from somebody else; `None`: not *after* then."""
    for at in reversed([*_changes(rota, overrides, after, moment + _INSTANT)]):
        before, then = on_call(rota, overrides, at - _INSTANT), on_call(rota, overrides, at)
        if _key(before) != _key(then):
            return Handover(at=at, to=then, of=before)
    return None


def next_change(rota: Rota, overrides: Sequence[Override], moment: datetime) -> datetime | None:
    """Return when somebody else may come on duty; `None` when not within a day of duty."""
    return next(_changes(rota, overrides, moment, moment + 2 * _DAY), None)


def gaps(rota: Rota, overrides: Sequence[Override], now: datetime, outlook: timedelta = OUTLOOK) -> tuple[Gap, ...]:
    """Return when nobody is on call between *now* and the end of the *outlook*, in order, each as long as it is."""
    during = _between(rota, overrides, now, now + outlook)
    return tuple(Gap(begins=each.begins, ends=each.ends) for each in during if each.person is None)


def spells(rota: Rota, overrides: Sequence[Override], first: datetime, last: datetime) -> tuple[OnCallPeriod, ...]:
    """Return who is on call when between the two moments, in order; those at the edges whole, as far as a quarter goes.

    What begins before that begins with its month: at the same moment whenever it is asked.
    """
    begins = last_handover(rota, overrides, first - _FAR * _DAY, first)
    ends = next_handover(rota, overrides, last)
    start = begins.at if begins else rota.begin(rota.day(first).replace(day=1))
    return tuple(_between(rota, overrides, start, ends.at if ends else last))


def _between(rota: Rota, overrides: Sequence[Override], start: datetime, end: datetime) -> Sequence[OnCallPeriod]:
    """Return who is on call when between the two moments, in order."""
    found: list[OnCallPeriod] = []
    for at, until in pairwise([start, *_changes(rota, overrides, start, end), end]):
        person = on_call(rota, overrides, at)
        goes_on = bool(found) and _key(found[-1].person) == _key(person)
        found.append(OnCallPeriod(begins=found.pop().begins if goes_on else at, ends=until, person=person))
    return found


def concerned(rota: Rota, override: Override, others: Sequence[Override], now: datetime) -> tuple[Contact, ...]:
    """Return whose duty an override changes from *now* on: who takes it over, and who would have it without, each once.

    *others*: those that stand beside it.
    """
    begins = max(override.begins, now)
    without = spells(rota, [each for each in others if each.id != override.id], begins, override.ends)
    relieved = [each.person for each in without if each.begins < override.ends and each.person]
    return tuple({person.key: person for person in (override.contact, *relieved)}.values())


def _changes(rota: Rota, overrides: Sequence[Override], after: datetime, before: datetime) -> Iterator[datetime]:
    """Yield the moments between the two at which somebody else may come on duty, in order, each once."""
    first, last = rota.day(after), rota.day(before)
    moments = {rota.begin(first + number * _DAY) for number in range((last - first).days + 2)}
    moments |= {at for o in overrides if o.rota == rota.name for at in (o.begins, o.ends)}
    yield from sorted(at for at in moments if after < at < before)


def _key(contact: Contact | None) -> str | None:
    return None if contact is None else contact.key
