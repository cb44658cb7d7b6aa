"""Rotas: plans of who is on call when. Pure: the caller passes the time.

A rota has layers; a layer has people who take turns in shifts. An incident's policy snapshot contains the rotas. The
person on call at a time follows from the rota and the overrides: stored replacements of a person for a while.

A day of duty lasts from one handover time to the next, without gaps. It is a workday or a rest day according to the
date on which it starts. When clocks change, the handover is the first instant at which clocks show the handover time;
if they skip that time, the first instant after the skipped hour (`alerts.hours.wallclock`).
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

#: How far ahead gaps (times without anybody on call) are reported.
GAP_HORIZON = timedelta(days=7)
#: Days ahead or back in which a handover is searched: a quarter of a year, so that monthly shifts are found.
_SEARCH_DAYS = 92
_DAY = timedelta(days=1)
#: Smallest difference of two times: subtracted to look just before a time, added to include the end of a span.
_INSTANT = timedelta(microseconds=1)


class Days(StrEnum):
    """Days of duty that a layer covers."""

    ALL = "all"
    WORKDAYS = "workdays"
    #: Weekends and public holidays.
    REST = "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """People who take turns in shifts, on all days or on some."""

    days: Days = Days.ALL
    #: In the order of their shifts.
    people: tuple[Contact, ...]
    #: First day of the first shift; nobody is on duty before.
    starts_on: date
    #: Length of a shift in days. Days that the layer does not cover count, too.
    shift_days: int = 7

    def person(self, day: date) -> Contact | None:
        """Return the person on shift on *day*; `None` before the layer begins."""
        if day < self.starts_on or not self.people:
            return None
        return self.people[(day - self.starts_on).days // self.shift_days % len(self.people)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rota:
    """Plan of who is on call: on each day, the person of the first layer that has one."""

    #: "CODE/key" of an agency's rota, "key" of a rota that agencies share.
    name: str
    zone: ZoneInfo
    #: Local time at which a day of duty begins.
    handover: time = time(8)
    calendar: Calendar = field(default_factory=Calendar)
    layers: tuple[Layer, ...]

    def duty_start(self, day: date) -> datetime:
        """Return when the duty of *day* begins (UTC)."""
        return first_instant(datetime.combine(day, self.handover), self.zone)

    def day(self, moment: datetime) -> date:
        """Return the day of duty at *moment*: before the handover time the previous day."""
        day = moment.astimezone(self.zone).date() + _DAY
        while self.duty_start(day) > moment:
            day -= _DAY
        return day

    def person(self, day: date) -> Contact | None:
        """Return the planned person of *day*, without overrides; `None`: nobody."""
        kind = Days.WORKDAYS if self.calendar.is_workday(day) else Days.REST
        shift_people = (layer.person(day) for layer in self.layers if layer.days in (Days.ALL, kind))
        return next((person for person in shift_people if person is not None), None)

    @property
    def people(self) -> tuple[Contact, ...]:
        """Everybody with a shift, each once."""
        return tuple({person.key: person for layer in self.layers for person in layer.people}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Replacement of the person on call for a time, made by a person at run time and not configured."""

    id: int
    #: Name of the rota.
    rota: str
    #: The substitute, as configured when the override was made. If the rota has a contact with the same key, that
    #: contact's present addresses are used.
    contact: Contact
    starts_at: datetime
    #: Exclusive.
    ends_at: datetime
    #: Who made it.
    by: str
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """Change of the person on call."""

    at: datetime
    #: Who is on call from `at` on; `None`: nobody.
    to: Contact | None
    #: Who was on call before; `None`: nobody, or not determined (`next_handover`).
    previous: Contact | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Time without anybody on call."""

    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCallPeriod:
    """Time in which the person on call does not change."""

    starts_at: datetime
    ends_at: datetime
    #: `None`: nobody is on call.
    person: Contact | None


def on_call(rota: Rota, overrides: Sequence[Override], moment: datetime) -> Contact | None:
    """Return the person on call at *moment*; `None`: nobody. If overrides overlap, the last one made applies."""
    active = [o for o in overrides if o.rota == rota.name and o.starts_at <= moment < o.ends_at]
    if not active:
        return rota.person(rota.day(moment))
    contact = max(active, key=lambda override: override.id).contact
    return next((person for person in rota.people if person.key == contact.key), contact)


def next_handover(
    rota: Rota, overrides: Sequence[Override], moment: datetime, *, within: timedelta = _SEARCH_DAYS * _DAY
) -> Handover | None:
    """Return the next handover after *moment*; `None` if there is none *within* that time."""
    current_person = on_call(rota, overrides, moment)
    for at in _possible_handovers(rota, overrides, moment, moment + within + _INSTANT):
        next_person = on_call(rota, overrides, at)
        if _key(next_person) != _key(current_person):
            return Handover(at=at, to=next_person)
    return None


def last_handover(rota: Rota, overrides: Sequence[Override], after: datetime, moment: datetime) -> Handover | None:
    """Return the last handover at or before *moment*; `None` if there was none later than *after*."""
    for at in reversed([*_possible_handovers(rota, overrides, after, moment + _INSTANT)]):
        before_person, after_person = on_call(rota, overrides, at - _INSTANT), on_call(rota, overrides, at)
        if _key(before_person) != _key(after_person):
            return Handover(at=at, to=after_person, previous=before_person)
    return None


def next_change(rota: Rota, overrides: Sequence[Override], moment: datetime) -> datetime | None:
    """Return the next time at which the person on call may change; `None` if there is none within two days.

    It is cheaper than `next_handover`, because it does not compare the people before and after.
    """
    return next(_possible_handovers(rota, overrides, moment, moment + 2 * _DAY), None)


def gaps(rota: Rota, overrides: Sequence[Override], now: datetime, horizon: timedelta = GAP_HORIZON) -> tuple[Gap, ...]:
    """Return the gaps between *now* and the end of the *horizon*, in order."""
    periods = _periods_between(rota, overrides, now, now + horizon)
    return tuple(Gap(starts_at=each.starts_at, ends_at=each.ends_at) for each in periods if each.person is None)


def on_call_periods(
    rota: Rota, overrides: Sequence[Override], first: datetime, last: datetime
) -> tuple[OnCallPeriod, ...]:
    """Return the periods from *first* to *last*, in order.

    The first and the last period extend beyond *first* and *last*, by at most a quarter of a year. If the first period
    began even earlier, it starts with the month of *first*, so that its start is the same for each *first* in a month.
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
    """Return the people whose duty *override* changes from *now* on, each once: the substitute and those replaced.

    *overrides*: all overrides of the rota.
    """
    starts_at = max(override.starts_at, now)
    other_overrides = [each for each in overrides if each.id != override.id]
    planned_periods = on_call_periods(rota, other_overrides, starts_at, override.ends_at)
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
