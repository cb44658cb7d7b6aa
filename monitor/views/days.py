"""An agency's days and availability, all from the same minutes. No clock, no I/O."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

from monitor.model.day import MINUTES, DayTimeline, MinuteState, day_of, minute_of

#: States of a detected or declared outage, unless retracted.
OUTAGES = (MinuteState.NO_SENDING, MinuteState.NO_RECEIVING, MinuteState.NO_MAIL)
#: States in which the state of mail is known.
WATCHED = (MinuteState.UP, MinuteState.DEGRADED, *OUTAGES)
#: Days over which availability is shown.
SPANS = (30, 90)

#: The next runs settle what the latest have shown; until then a minute is not missing.
_SETTLES = timedelta(minutes=15)
#: Decimals of a share. Truncated, not rounded: a minute of downtime in a year must not vanish.
_DECIMALS = 1_000_000

_NOTHING: Mapping[MinuteState, int] = dict.fromkeys(MinuteState, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayView:
    """A day, from midnight to midnight in Malaysia."""

    day: date
    #: Number of minutes in each state; of today, the settled ones.
    minutes: Mapping[MinuteState, int]
    #: As in `Availability`, of this day.
    availability: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Availability of mail over some days, including today."""

    days: int
    #: Share of the observed minutes in which mail was not down: 0 to 1. `None`: none was observed.
    availability: float | None
    #: Number of minutes in each state.
    minutes: Mapping[MinuteState, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyDays:
    """An agency's latest days."""

    agency: str
    #: Time zone in which a day begins and ends.
    time_zone: str
    availability: Sequence[Availability]
    #: The oldest first, without gaps; the last is today.
    days: Sequence[DayView]


def watched(minutes: Mapping[MinuteState, int]) -> int:
    """Return the number of observed minutes."""
    return sum(minutes[state] for state in WATCHED)


def outage(minutes: Mapping[MinuteState, int]) -> int:
    """Return the number of minutes in which mail was down."""
    return sum(minutes[state] for state in OUTAGES)


def view_days(agency: str, sheets: Mapping[date, DayTimeline], now: datetime, count: int) -> AgencyDays:
    """Return the latest *count* days. *sheets*: the known days, of the longest of `SPANS` at least."""
    today = day_of(now)
    every = [today - timedelta(days=ago) for ago in reversed(range(max(count, *SPANS)))]
    days = [_view(on, sheets.get(on, DayTimeline()), now) for on in every]
    return AgencyDays(
        agency=agency,
        time_zone="Asia/Kuala_Lumpur",
        availability=[_over(days[-span:]) for span in SPANS],
        days=days[-count:],
    )


def read_days(gathered: str) -> Mapping[date, str]:
    """Return the stored days of a text such as "2026-11-24 w1440 2026-11-25 w60"."""
    words = iter(gathered.split(" ") if gathered else ())
    return {date.fromisoformat(on): minutes for on, minutes in zip(words, words, strict=True)}


def past_minutes(days: Mapping[date, str], today: date) -> Sequence[Mapping[MinuteState, int]]:
    """Return the number of minutes in each state, over each of `SPANS` without *today*. Valid until a day changes."""
    ages = [((today - on).days, minutes) for on, minutes in days.items()]
    # Nearly all days are alike, also those of one agency: each kind is counted once.
    return [_added(Counter(minutes for ago, minutes in ages if 0 < ago < span), span - 1) for span in SPANS]


def availability_of(
    past: Sequence[Mapping[MinuteState, int]], today: DayTimeline, now: datetime
) -> Sequence[Availability]:
    """Return the availability over each of `SPANS`, as `view_days`, from the result of `past_minutes`."""
    minutes = today.counts(_settled(today, now))
    whole = [_sum((before, minutes)) for before in past]
    return [
        Availability(days=span, availability=_share(each), minutes=each)
        for span, each in zip(SPANS, whole, strict=True)
    ]


@lru_cache(maxsize=4096)
def _counted(minutes: str) -> Mapping[MinuteState, int]:
    """Return the minutes of a whole day. Cached: nearly all days are alike."""
    return DayTimeline(minutes).counts()


def _added(kinds: Counter[str], days: int) -> Mapping[MinuteState, int]:
    """Return the number of minutes in each state over so many *days*, some of them unknown."""
    whole = dict(_NOTHING)
    for minutes, times in (*kinds.items(), ("", days - kinds.total())):
        for state, count in _counted(minutes).items():
            whole[state] += count * times
    return whole


def _view(on: date, sheet: DayTimeline, now: datetime) -> DayView:
    minutes = sheet.counts(_settled(sheet, now) if on == day_of(now) else MINUTES)
    return DayView(day=on, minutes=minutes, availability=_share(minutes))


def _settled(sheet: DayTimeline, now: datetime) -> int:
    """Return the number of today's settled minutes: up to the last mark, or as many as are due by now."""
    due, last = now - _SETTLES, sheet.last()
    marked = last[1] + 1 if last else 0
    return min(minute_of(now) + 1, max(marked, minute_of(due) if day_of(due) == day_of(now) else 0))


def _over(days: Sequence[DayView]) -> Availability:
    minutes = _sum(day.minutes for day in days)
    return Availability(days=len(days), availability=_share(minutes), minutes=minutes)


def _sum(every: Iterable[Mapping[MinuteState, int]]) -> Mapping[MinuteState, int]:
    whole = dict(_NOTHING)
    for minutes in every:
        for state, count in minutes.items():
            whole[state] += count
    return whole


def _share(minutes: Mapping[MinuteState, int]) -> float | None:
    known = watched(minutes)
    return math.floor((known - outage(minutes)) * _DECIMALS / known) / _DECIMALS if known else None
