"""Uptime bars of an agency's latest days: appearance, and description in words (`history.yaml`).

Colour is never the only sign: a worse day has a taller bar, which is visible even at a width of two pixels, and all is
described in words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from alerts.wording.source import sections
from monitor.model.day import MinuteState
from monitor.views.days import AgencyDays, Availability, DayView, outage, watched

_WORDS: Mapping[str, Mapping[str, str]] = sections(Path(__file__).with_suffix(".yaml"))

#: Minutes of outage. Two minutes do not make a day red.
_LONG, _SOME = 60, 5
#: Minutes: from this duration on slowness is shown.
_SLOW = 60

#: States in which no probing is expected.
_CLOSED = (MinuteState.MAINTENANCE, MinuteState.OFF_HOURS)


class BarStyle(StrEnum):
    """Appearance of a day's bar: the name of its class in uptime_bars.css."""

    #: Down for an hour or more.
    LONG = "long"
    #: Down for five minutes or more.
    SOME = "some"
    #: Down for less.
    BRIEF = "brief"
    #: Slow, or down on some routes only, for an hour or more.
    SLOW = "slow"
    UP = "up"
    #: Maintenance or outside of probe hours during the whole day, as far as it has passed.
    CLOSED = "closed"
    #: Less than half of the time has data, and no outage was detected. Never shown as up.
    NO_DATA = "no_data"


#: Of 32. Unknown is as tall as the worst, so that it is not mistaken for up.
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

    shade: BarStyle
    #: Less than half of the time has data, whatever was detected in the rest.
    is_thin: bool
    #: The date and the state, in words.
    says: str

    @property
    def height(self) -> int:
        """Height, of 32."""
        return _HEIGHTS[self.shade]


@dataclass(frozen=True, slots=True, kw_only=True)
class UptimeBars:
    """Bars of an agency, the oldest first."""

    bars: Sequence[DayBar]
    #: Summary in one sentence, for screen readers.
    summary: str
    #: Availability over each period, and the time without data.
    figures: Sequence[str]
    #: Explanation of how to read the days without a mouse.
    key: str


def strip_of(days: AgencyDays, language: str) -> UptimeBars:
    """Return the bars of an agency's days, with their texts. *language*: "ms" or "en"."""
    words = _WORDS[language]
    longest = days.availability[-1]
    return UptimeBars(
        bars=[_bar(day, words) for day in days.days],
        summary="; ".join(_summary(days, longest, words)),
        figures=[", ".join(_figure(each, words)) for each in days.availability],
        key=words["key"],
    )


def percent_of(availability: float) -> str:
    """Return an availability as a percentage, rounded down: 100% means no outage."""
    # The share was counted in millionths; rounding to these removes the error of the float.
    return f"{math.floor(round(availability * 1_000_000) / 100) / 100:.2f}%".replace(".00%", "%")


def _bar(day: DayView, words: Mapping[str, str]) -> DayBar:
    minutes = day.minutes
    to_watch = sum(minutes.values()) - sum(minutes[state] for state in _CLOSED)
    is_thin = 2 * watched(minutes) < to_watch
    said = "; ".join(_parts(minutes, words)) or words["nothing"]
    return DayBar(shade=_shade(minutes, to_watch, is_thin=is_thin), is_thin=is_thin, says=f"{day.day:%d/%m/%Y}: {said}")


def _shade(minutes: Mapping[MinuteState, int], to_watch: int, *, is_thin: bool) -> BarStyle:
    down = outage(minutes)
    for least, shade in ((_LONG, BarStyle.LONG), (_SOME, BarStyle.SOME), (1, BarStyle.BRIEF)):
        if down >= least:
            return shade
    if is_thin:
        return BarStyle.NO_DATA
    if minutes[MinuteState.DEGRADED] >= _SLOW:
        return BarStyle.SLOW
    if to_watch > 0:
        return BarStyle.UP
    return BarStyle.CLOSED if any(minutes[state] for state in _CLOSED) else BarStyle.NO_DATA


def _parts(minutes: Mapping[MinuteState, int], words: Mapping[str, str]) -> Iterator[str]:
    if down := outage(minutes):
        yield words["outage"].format(minutes=_lasting(down, words))
    elif watched(minutes):
        yield words["no_outage"]
    for state in (MinuteState.DEGRADED, MinuteState.FALSE_ALARM, *_CLOSED):
        if minutes[state]:
            yield words[state].format(minutes=_lasting(minutes[state], words))
    if (no_data := minutes[MinuteState.NO_DATA]) and watched(minutes):
        yield words["no_data"].format(minutes=_lasting(no_data, words))


def _summary(days: AgencyDays, longest: Availability, words: Mapping[str, str]) -> Iterator[str]:
    if longest.availability is None:
        yield words["no_figure"].format(days=longest.days)
        return
    yield words["summary"].format(days=longest.days, percent=percent_of(longest.availability))
    if down := outage(longest.minutes):
        count = sum(outage(day.minutes) > 0 for day in days.days)
        yield words["outages"].format(minutes=_lasting(down, words), count=count)
    else:
        yield words["no_outage"]
    if no_data := longest.minutes[MinuteState.NO_DATA]:
        yield words["no_data"].format(minutes=_lasting(no_data, words))


def _figure(each: Availability, words: Mapping[str, str]) -> Iterator[str]:
    if each.availability is None:
        yield words["no_figure"].format(days=each.days)
        return
    yield words["figure"].format(days=each.days, percent=percent_of(each.availability))
    if no_data := each.minutes[MinuteState.NO_DATA]:
        yield words["no_data"].format(minutes=_lasting(no_data, words))


def _lasting(minutes: int, words: Mapping[str, str]) -> str:
    """Return the two largest units of a duration: "3 d 4 h", "1 h 5 min"."""
    days, rest = divmod(minutes, 24 * 60)
    hours, left = divmod(rest, 60)
    parts = [
        words[unit].format(count=count) for unit, count in (("day", days), ("hour", hours), ("minute", left)) if count
    ]
    return " ".join(parts[:2])
