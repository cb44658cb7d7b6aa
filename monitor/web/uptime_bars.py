"""Uptime bars: one bar for each of an agency's latest days, with a description in words (`uptime_bars.yaml`).

Users who cannot distinguish the colours see the state of a day by the height of its bar: a bad day has a taller bar.
The height is visible even in a bar that is two pixels wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from alerts.wording.source import sections
from monitor.model.day import MinuteState
from monitor.views.days import AgencyDays, Availability, DayView, observed_minutes, outage_minutes

_TEXTS: Mapping[str, Mapping[str, str]] = sections(Path(__file__).with_suffix(".yaml"))

#: Minutes of outage from which a day's bar is that of a long or a medium outage. A day with two minutes of outage must
#: not look like a bad one.
_LONG_OUTAGE, _MEDIUM_OUTAGE = 60, 5
#: Threshold in minutes per day: a day on which mail was slow for less time is shown as up.
_SLOW_THRESHOLD = 60

#: States of a minute in which no probing is expected.
_UNPROBED_STATES = (MinuteState.MAINTENANCE, MinuteState.OFF_HOURS)


class BarStyle(StrEnum):
    """Appearance of a day's bar. The values are class names in uptime_bars.css."""

    #: Down for an hour or more.
    LONG = "long"
    #: Down for five minutes to an hour.
    SOME = "some"
    #: Down for less than five minutes.
    BRIEF = "brief"
    #: Slow, or down on some routes only, for an hour or more.
    SLOW = "slow"
    #: No outage, and less than an hour slow.
    UP = "up"
    #: The day, or the part of it that has passed, is only maintenance or time outside of probe hours.
    CLOSED = "closed"
    #: No outage was detected, and `DayBar.has_gaps` or nothing is known. Such a day must not be shown as up.
    NO_DATA = "no_data"


#: Heights of the bars; the chart is 32 units high. A brief outage has the height of a good day. A day without data has
#: that of the worst day, so that nobody takes it for a good one.
_HEIGHTS: Mapping[BarStyle, int] = {
    BarStyle.LONG: 32,
    BarStyle.SOME: 25,
    BarStyle.BRIEF: 12,
    BarStyle.SLOW: 18,
    BarStyle.UP: 12,
    BarStyle.CLOSED: 12,
    BarStyle.NO_DATA: 32,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBar:
    """Bar of one day."""

    style: BarStyle
    #: Whether less than half of the minutes in which probes were due have data.
    has_gaps: bool
    #: Date, and how long the day's mail was in each state, in words.
    description: str

    @property
    def height(self) -> int:
        """Height of the bar in the chart, which is 32 units high."""
        return _HEIGHTS[self.style]


@dataclass(frozen=True, slots=True, kw_only=True)
class UptimeBars:
    """Bars of an agency, the oldest day first, with their texts."""

    bars: Sequence[DayBar]
    #: Summary in one sentence, for screen readers.
    summary: str
    #: One text per period (the last 30 days, and the last 90): its availability, and the time without data.
    figures: Sequence[str]
    #: Hint for users without a mouse: the arrow keys select a day.
    keyboard_hint: str


def build_uptime_bars(days: AgencyDays, language: str) -> UptimeBars:
    """Return the bars of an agency's days, with their texts. *language*: "ms" or "en"."""
    texts = _TEXTS[language]
    longest_period = days.availability[-1]
    return UptimeBars(
        bars=[_bar(day, texts) for day in days.days],
        summary="; ".join(_summary_texts(days, longest_period, texts)),
        figures=[", ".join(_availability_texts(each, texts)) for each in days.availability],
        keyboard_hint=texts["key"],
    )


def format_percent(availability: float) -> str:
    """Return an availability (0 to 1) as a percentage, rounded down, so that 100% means no outage."""
    # First remove the floating-point error by rounding to millionths, the precision of stored availabilities.
    return f"{math.floor(round(availability * 1_000_000) / 100) / 100:.2f}%".replace(".00%", "%")


def _bar(day: DayView, texts: Mapping[str, str]) -> DayBar:
    minutes = day.minutes
    probed_minutes = sum(minutes.values()) - sum(minutes[state] for state in _UNPROBED_STATES)
    has_gaps = 2 * observed_minutes(minutes) < probed_minutes
    state_text = "; ".join(_state_texts(minutes, texts)) or texts["nothing"]
    return DayBar(
        style=_bar_style(minutes, probed_minutes, has_gaps=has_gaps),
        has_gaps=has_gaps,
        description=f"{day.day:%d/%m/%Y}: {state_text}",
    )


def _bar_style(minutes: Mapping[MinuteState, int], probed_minutes: int, *, has_gaps: bool) -> BarStyle:
    down = outage_minutes(minutes)
    # An outage counts even on a day with little data.
    for threshold, style in ((_LONG_OUTAGE, BarStyle.LONG), (_MEDIUM_OUTAGE, BarStyle.SOME), (1, BarStyle.BRIEF)):
        if down >= threshold:
            return style
    if has_gaps:
        return BarStyle.NO_DATA
    if minutes[MinuteState.DEGRADED] >= _SLOW_THRESHOLD:
        return BarStyle.SLOW
    if probed_minutes > 0:
        return BarStyle.UP
    return BarStyle.CLOSED if any(minutes[state] for state in _UNPROBED_STATES) else BarStyle.NO_DATA


def _state_texts(minutes: Mapping[MinuteState, int], texts: Mapping[str, str]) -> Iterator[str]:
    if down := outage_minutes(minutes):
        yield texts["outage"].format(minutes=_duration_text(down, texts))
    elif observed_minutes(minutes):
        yield texts["no_outage"]
    for state in (MinuteState.DEGRADED, MinuteState.FALSE_ALARM, *_UNPROBED_STATES):
        if minutes[state]:
            yield texts[state].format(minutes=_duration_text(minutes[state], texts))
    if (no_data := minutes[MinuteState.NO_DATA]) and observed_minutes(minutes):
        yield texts["no_data"].format(minutes=_duration_text(no_data, texts))


def _summary_texts(days: AgencyDays, period: Availability, texts: Mapping[str, str]) -> Iterator[str]:
    if period.availability is None:
        yield texts["no_figure"].format(days=period.days)
        return
    yield texts["summary"].format(days=period.days, percent=format_percent(period.availability))
    if down := outage_minutes(period.minutes):
        count = sum(outage_minutes(day.minutes) > 0 for day in days.days)
        yield texts["outages"].format(minutes=_duration_text(down, texts), count=count)
    else:
        yield texts["no_outage"]
    if no_data := period.minutes[MinuteState.NO_DATA]:
        yield texts["no_data"].format(minutes=_duration_text(no_data, texts))


def _availability_texts(period: Availability, texts: Mapping[str, str]) -> Iterator[str]:
    if period.availability is None:
        yield texts["no_figure"].format(days=period.days)
        return
    yield texts["figure"].format(days=period.days, percent=format_percent(period.availability))
    if no_data := period.minutes[MinuteState.NO_DATA]:
        yield texts["no_data"].format(minutes=_duration_text(no_data, texts))


def _duration_text(minutes: int, texts: Mapping[str, str]) -> str:
    """Return the two largest units of a duration: "3 d 4 h", "1 h 5 min"."""
    days, remainder = divmod(minutes, 24 * 60)
    hours, remaining_minutes = divmod(remainder, 60)
    parts = [
        texts[unit].format(count=count)
        for unit, count in (("day", days), ("hour", hours), ("minute", remaining_minutes))
        if count
    ]
    return " ".join(parts[:2])
