"""The bars of an agency's latest days: what each looks like, and what it says in words (`strip.yaml`).

Colour is never alone: the worse, the taller, which is seen where a bar is two pixels wide; and all of it is in words.
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

#: In minutes of outage. Two minutes are no red day.
_LONG, _SOME = 60, 5
#: In minutes: so much slowness is shown.
_SLOW = 60

#: Whole minutes of a state that is no time to watch.
_CLOSED = (MinuteState.MAINTENANCE, MinuteState.OFF_HOURS)


class BarStyle(StrEnum):
    """What the bar of a day looks like: the name of its class in uptime_bars.css."""

    #: Down for an hour and more.
    LONG = "long"
    #: Down for five minutes and more.
    SOME = "some"
    #: Down for less.
    BRIEF = "brief"
    #: Slow, or only on some routes, for an hour and more.
    SLOW = "slow"
    UP = "up"
    #: Maintenance or outside of its hours for all of the day that there was.
    CLOSED = "closed"
    #: Less than half of the time was watched, and no outage seen in it. Never taken for well.
    NO_DATA = "no_data"


#: Of 32. What is not known is as tall as what is worst: nobody may take it for well.
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
    """A day."""

    shade: BarStyle
    #: Less than half of the time was watched, whatever was seen in the rest.
    is_thin: bool
    #: The day and what it was, in words.
    says: str

    @property
    def height(self) -> int:
        """How tall it is, of 32."""
        return _HEIGHTS[self.shade]


@dataclass(frozen=True, slots=True, kw_only=True)
class UptimeBars:
    """An agency's bars, the oldest first."""

    bars: Sequence[DayBar]
    #: All of it in a sentence, for whoever does not see it.
    summary: str
    #: Availability over each span, and what was not watched of it.
    figures: Sequence[str]
    #: How to read each day without a mouse.
    key: str


def strip_of(days: AgencyDays, language: str) -> UptimeBars:
    """Return what is drawn and said of an agency's days. *language*: "ms" or "en"."""
    words = _WORDS[language]
    longest = days.availability[-1]
    return UptimeBars(
        bars=[_bar(day, words) for day in days.days],
        summary="; ".join(_summary(days, longest, words)),
        figures=[", ".join(_figure(each, words)) for each in days.availability],
        key=words["key"],
    )


def percent_of(availability: float) -> str:
    """Return a share as people read it, cut off and not rounded up: where it says 100% there was no outage."""
    # Of millionths as they were counted: what is almost a whole number as a float is that number.
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
    """Return the two largest units of a time: "3 d 4 h", "1 h 5 min"."""
    days, rest = divmod(minutes, 24 * 60)
    hours, left = divmod(rest, 60)
    parts = [
        words[unit].format(count=count) for unit, count in (("day", days), ("hour", hours), ("minute", left)) if count
    ]
    return " ".join(parts[:2])
