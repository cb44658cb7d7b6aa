"""An agency's days and availability, both computed from the same minute states. Pure: no clock, no I/O.

A minute state is the state of mail in one minute, such as up, no sending, maintenance. A minute is *settled* when its
state is stored, or when it is too old for a state to be stored. A day's states are stored encoded, as a text such as
"w60b3": a letter for each state, and its number of minutes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

from monitor.model.day import MINUTES, DayTimeline, MinuteState, day_of, minute_of

#: States in which mail was down, as detected or declared.
OUTAGES = (MinuteState.NO_SENDING, MinuteState.NO_RECEIVING, MinuteState.NO_MAIL)
#: States in which the state of mail is known.
OBSERVED_STATES = (MinuteState.UP, MinuteState.DEGRADED, *OUTAGES)
#: Numbers of days, including today, over which availability is shown.
SPANS = (30, 90)

#: Time within which the state of a minute may still be stored. Later, a minute without a state counts as missing.
_SETTLING_TIME = timedelta(minutes=15)
#: Shares are truncated to millionths. Rounded to 1, a share would hide a minute of downtime in a year.
_SHARE_PRECISION = 1_000_000

_NO_MINUTES: Mapping[MinuteState, int] = dict.fromkeys(MinuteState, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayView:
    """A day, from midnight to midnight in Malaysia."""

    day: date
    #: Number of minutes in each state; for today, only settled minutes count.
    minutes: Mapping[MinuteState, int]
    #: Share of the observed minutes of this day in which mail was not down: 0 to 1. `None`: no minute was observed.
    availability: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Availability of mail over some days, including today."""

    #: Number of days.
    days: int
    #: Share of the observed minutes in which mail was not down: 0 to 1. `None`: no minute was observed.
    availability: float | None
    #: Number of minutes in each state.
    minutes: Mapping[MinuteState, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyDays:
    """An agency's latest days."""

    agency: str
    #: Time zone (IANA name) in which a day begins and ends.
    time_zone: str
    #: Availability over each of `SPANS`.
    availability: Sequence[Availability]
    #: Consecutive days, the oldest first; the last one is today.
    days: Sequence[DayView]


def observed_minutes(minutes: Mapping[MinuteState, int]) -> int:
    """Return the number of minutes in which the state of mail is known."""
    return sum(minutes[state] for state in OBSERVED_STATES)


def outage_minutes(minutes: Mapping[MinuteState, int]) -> int:
    """Return the number of minutes in which mail was down."""
    return sum(minutes[state] for state in OUTAGES)


def view_days(agency: str, timelines: Mapping[date, DayTimeline], now: datetime, count: int) -> AgencyDays:
    """Return the latest *count* days, and the availability over each of `SPANS`.

    *timelines*: all stored days among the latest *count* days, and among the longest of `SPANS`.
    """
    today = day_of(now)
    all_days = [today - timedelta(days=ago) for ago in reversed(range(max(count, *SPANS)))]
    days = [_view(day, timelines.get(day, DayTimeline()), now) for day in all_days]
    return AgencyDays(
        agency=agency,
        time_zone="Asia/Kuala_Lumpur",
        availability=[_availability(days[-span:]) for span in SPANS],
        days=days[-count:],
    )


def read_days(text: str) -> Mapping[date, str]:
    """Return the encoded minute states by day from a text such as "2026-11-24 w1440 2026-11-25 w60"."""
    words = text.split(" ") if text else []
    return {date.fromisoformat(day): encoded for day, encoded in zip(words[::2], words[1::2], strict=True)}


def past_minutes(days: Mapping[date, str], today: date) -> Sequence[Mapping[MinuteState, int]]:
    """Return, for each of `SPANS`, the number of minutes in each state on the days before *today*.

    *days*: the encoded minute states by day. The result is valid until the end of *today*.
    """
    ages = [((today - day).days, encoded) for day, encoded in days.items()]
    # Nearly all days of an agency have the same text, so evaluate each distinct text only once. Each span includes
    # today, so that span - 1 days are past.
    return [_total_minutes(Counter(encoded for age, encoded in ages if 0 < age < span), span - 1) for span in SPANS]


def availability_of(
    past: Sequence[Mapping[MinuteState, int]], today: DayTimeline, now: datetime
) -> Sequence[Availability]:
    """Return the availability over each of `SPANS`. *past*: the result of `past_minutes`."""
    minutes = today.counts(_settled_minutes(today, now))
    totals = [_sum((past_of_span, minutes)) for past_of_span in past]
    return [
        Availability(days=span, availability=_share(each), minutes=each)
        for span, each in zip(SPANS, totals, strict=True)
    ]


@lru_cache(maxsize=4096)
def _count_minutes(encoded: str) -> Mapping[MinuteState, int]:
    """Return the number of minutes in each state of a past day.

    The result is cached, because nearly all days have the same text.
    """
    return DayTimeline(encoded).counts()


def _total_minutes(day_counts: Counter[str], days: int) -> Mapping[MinuteState, int]:
    """Return the number of minutes in each state over *days* days.

    *day_counts*: number of days with each encoded text. The other days have the empty text, because nothing is stored.
    """
    totals = dict(_NO_MINUTES)
    for encoded, day_count in (*day_counts.items(), ("", days - day_counts.total())):
        for state, count in _count_minutes(encoded).items():
            totals[state] += count * day_count
    return totals


def _view(day: date, timeline: DayTimeline, now: datetime) -> DayView:
    minutes = timeline.counts(_settled_minutes(timeline, now) if day == day_of(now) else MINUTES)
    return DayView(day=day, minutes=minutes, availability=_share(minutes))


def _settled_minutes(timeline: DayTimeline, now: datetime) -> int:
    """Return the number of today's settled minutes.

    A minute is settled if it is not later than the last stored state, or older than `_SETTLING_TIME`.
    """
    last = timeline.last_marked()
    stored = last[1] + 1 if last else 0  # `last` is the last stored state, and its minute from 0.
    settled_until = now - _SETTLING_TIME
    old = minute_of(settled_until) if day_of(settled_until) == day_of(now) else 0
    return min(minute_of(now) + 1, max(stored, old))


def _availability(days: Sequence[DayView]) -> Availability:
    minutes = _sum(day.minutes for day in days)
    return Availability(days=len(days), availability=_share(minutes), minutes=minutes)


def _sum(counts: Iterable[Mapping[MinuteState, int]]) -> Mapping[MinuteState, int]:
    totals = dict(_NO_MINUTES)
    for minutes in counts:
        for state, count in minutes.items():
            totals[state] += count
    return totals


def _share(minutes: Mapping[MinuteState, int]) -> float | None:
    observed = observed_minutes(minutes)
    if not observed:
        return None
    return math.floor((observed - outage_minutes(minutes)) * _SHARE_PRECISION / observed) / _SHARE_PRECISION
