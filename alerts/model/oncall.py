"""Rotas: who is on call when. Pure: the caller passes the time.

A rota has layers of people who follow one another in shifts. It is frozen into an incident with the incident's policy.
The person on call at a time follows from the rota and the stored overrides, which replace a person for a while.

A day of duty begins at the rota's handover time and ends at the next one, without gaps. It is a workday or a rest day
like the date of its start. When clocks change, the handover is the first instant that shows its time, or the first
after the gap (`alerts.hours.wallclock`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

from alerts.hours.calendar import Calendar
from alerts.hours.wallclock import first_instant
from alerts.model.contact import Contact

#: How far ahead gaps are reported.
GAP_HORIZON = timedelta(days=7)
#: Days ahead in which a handover is searched. A quarter covers monthly shifts.
_SEARCH_DAYS = 92
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
    """Plan of who is on call. On each day the first layer with a person decides."""

    #: "CODE/key" of an agency's rota, "key" of a shared one.
    name: str
    zone: ZoneInfo
    handover: time = time(8)
    calendar: Calendar = field(default_factory=Calendar)
    layers: tuple[Layer, ...]

    def duty_start(self, day: date) -> datetime:
        """Return the start of the duty of *day* (UTC)."""
        return first_instant(datetime.combine(day, self.handover), self.zone)

    def day(self, moment: datetime) -> date:
        """Return the day of duty at *moment*."""
        day = moment.astimezone(self.zone).date() + _DAY
        while self.duty_start(day) > moment:
            day -= _DAY
        return day

    def person(self, day: date) -> Contact | None:
        """Return the planned person of *day*."""
        kind = Days.WORKDAYS if self.calendar.is_workday(day) else Days.REST
        shift_people = (layer.person(day) for layer in self.layers if layer.days in (Days.ALL, kind))
        return next((person for person in shift_people if person is not None), None)

    @property
    def people(self) -> tuple[Contact, ...]:
        """Everybody with a shift, each once."""
        return tuple({person.key: person for layer in self.layers for person in layer.people}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Replacement of the person on call for a time, made at run time and stored outside of the policy."""

    id: int
    #: Name of the rota.
    rota: str
    #: As configured when the override was made. A contact with the same key in the rota takes precedence.
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
    #: The previous person; `None`: nobody, or not determined (`next_handover`).
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
    active = [o for o in overrides if o.rota == rota.name and o.starts_at <= moment < o.ends_at]
    if not active:
        return rota.person(rota.day(moment))
    contact = max(active, key=lambda override: override.id).contact
    return next((person for person in rota.people if person.key == contact.key), contact)


def next_handover(
    rota: Rota, overrides: Sequence[Override], moment: datetime, *, within: timedelta = _SEARCH_DAYS * _DAY
) -> Handover | None:
    """Return the next handover after *moment*; `None` without one *within* that time."""
    current_person = on_call(rota, overrides, moment)
    for at in _possible_handovers(rota, overrides, moment, moment + within + _INSTANT):
        next_person = on_call(rota, overrides, at)
        if _key(next_person) != _key(current_person):
            return Handover(at=at, to=next_person)
    return None


def last_handover(rota: Rota, overrides: Sequence[Override], after: datetime, moment: datetime) -> Handover | None:
    """Return the last handover until *moment*; `None` if there was none later than *after*."""
    for at in reversed([*_possible_handovers(rota, overrides, after, moment + _INSTANT)]):
        before_person, after_person = on_call(rota, overrides, at - _INSTANT), on_call(rota, overrides, at)
        if _key(before_person) != _key(after_person):
            return Handover(at=at, to=after_person, previous=before_person)
    return None


def next_change(rota: Rota, overrides: Sequence[Override], moment: datetime) -> datetime | None:
    """Return the next time at which the person on call may change; `None` without one within two days."""
    return next(_possible_handovers(rota, overrides, moment, moment + 2 * _DAY), None)


def gaps(rota: Rota, overrides: Sequence[Override], now: datetime, horizon: timedelta = GAP_HORIZON) -> tuple[Gap, ...]:
    """Return the gaps between *now* and the end of the *horizon*, in order."""
    periods = _periods_between(rota, overrides, now, now + horizon)
    return tuple(Gap(starts_at=each.starts_at, ends_at=each.ends_at) for each in periods if each.person is None)


def on_call_periods(
    rota: Rota, overrides: Sequence[Override], first: datetime, last: datetime
) -> tuple[OnCallPeriod, ...]:
    """Return the periods from *first* to *last*, in order; the outer periods in full length, up to a quarter of a year.

    If the first period began longer ago, it starts with the month of *first*, so that successive calls agree.
    """
    first_handover = last_handover(rota, overrides, first - _SEARCH_DAYS * _DAY, first)
    next_end = next_handover(rota, overrides, last)
    start = first_handover.at if first_handover else rota.duty_start(rota.day(first).replace(day=1))
    return tuple(_periods_between(rota, overrides, start, next_end.at if next_end else last))


def _periods_between(
    rota: Rota, overrides: Sequence[Override], start: datetime, end: datetime
) -> Sequence[OnCallPeriod]:
    """Return the periods between two times, in order."""
    periods: list[OnCallPeriod] = []
    for at, until in pairwise([start, *_possible_handovers(rota, overrides, start, end), end]):
        person = on_call(rota, overrides, at)
        continues = bool(periods) and _key(periods[-1].person) == _key(person)
        periods.append(
            OnCallPeriod(starts_at=periods.pop().starts_at if continues else at, ends_at=until, person=person)
        )
    return periods


def affected_contacts(
    rota: Rota, override: Override, overrides: Sequence[Override], now: datetime
) -> tuple[Contact, ...]:
    """Return the people whose duty an override changes from *now* on, each once: the substitute and those replaced.

    *overrides*: all overrides of the rota.
    """
    starts_at = max(override.starts_at, now)
    planned_periods = on_call_periods(
        rota, [each for each in overrides if each.id != override.id], starts_at, override.ends_at
    )
    replaced = [each.person for each in planned_periods if each.starts_at < override.ends_at and each.person]
    return tuple({person.key: person for person in (override.contact, *replaced)}.values())


def _possible_handovers(
    rota: Rota, overrides: Sequence[Override], after: datetime, before: datetime
) -> Iterator[datetime]:
    """Yield the times between *after* and *before* at which the person on call may change, in order, each once."""
    first, last = rota.day(after), rota.day(before)
    moments = {rota.duty_start(first + number * _DAY) for number in range((last - first).days + 2)}
    moments |= {at for o in overrides if o.rota == rota.name for at in (o.starts_at, o.ends_at)}
    yield from sorted(at for at in moments if after < at < before)


def _key(contact: Contact | None) -> str | None:
    return None if contact is None else contact.key
