"""Invented history of the ninety days before a demo: random with a fixed seed, so it is the same for the same day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from random import Random
from typing import Final

from alerts.model.notification import Cause, IncidentType
from alerts.wording.moment import MALAYSIA
from monitor.model.day import MINUTES, DayTimeline, MinuteState, TimelineSpan, day_of, minute_of, split_by_day
from pantau_lab.world import AGENCIES, FictionalAgency

#: Number of days, including today; as many as the portal shows.
DAYS: Final = 90
_SEED: Final = "pantau"
#: Days from one outage to the next, for each agency in the order of `AGENCIES`. The date of an outage varies by up to
#: `_VARIATION_DAYS` either way; even so, every month has an outage of the first agency for its monthly report.
_INTERVAL_DAYS: Final = (22, 40, 60)
_VARIATION_DAYS: Final = 2
#: The last outage is older than this when the demo begins, because a posted letter is followed up for a week.
QUIET_PERIOD: Final = timedelta(days=8)
#: Time from the first message that fails to the detection of the outage.
_DETECTED_AFTER: Final = timedelta(seconds=40)

#: Types and causes of the outages, the latest first, for each agency in the order of `AGENCIES`.
_OUTAGES: Final[Sequence[Sequence[tuple[IncidentType, Cause]]]] = (
    (
        (IncidentType.BOTH, Cause.TIMEOUT),
        (IncidentType.RECEIVING, Cause.LOST),
        (IncidentType.SENDING, Cause.AUTH),
        (IncidentType.BOTH, Cause.CERTIFICATE),
    ),
    ((IncidentType.SENDING, Cause.CONNECT), (IncidentType.BOTH, Cause.DNS)),
    ((IncidentType.RECEIVING, Cause.REJECTED),),
)
#: Possible durations of an outage, in minutes.
_DURATIONS: Final = (9, 14, 26, 41, 68, 95, 140, 205)
_STATES: Final = {
    IncidentType.BOTH: MinuteState.NO_MAIL,
    IncidentType.SENDING: MinuteState.NO_SENDING,
    IncidentType.RECEIVING: MinuteState.NO_RECEIVING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PastOutage:
    """Outage that has ended."""

    #: Code of the agency.
    agency: str
    type: IncidentType
    cause: Cause
    #: Time of the first message that failed.
    began_at: datetime
    detected_at: datetime
    #: Name of the person.
    acknowledged_by: str
    acknowledged_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleHistory:
    """Invented history of all agencies."""

    #: Outages in the order of their beginning.
    outages: Sequence[PastOutage]
    #: Timelines by agency code and day.
    timelines: dict[tuple[str, date], DayTimeline]


def sample_history(now: datetime) -> SampleHistory:
    """Return the history before *now*; the timelines of today end there."""
    today = day_of(now)
    outages = sorted(
        (
            each
            for agency, interval_days, outages_of_agency in zip(AGENCIES, _INTERVAL_DAYS, _OUTAGES, strict=True)
            for each in _outages(agency, interval_days, outages_of_agency, today)
        ),
        key=lambda each: (each.began_at, each.agency),
    )
    days = [today - timedelta(days=number) for number in range(DAYS)]
    gaps = _monitoring_gaps(days)
    timelines = {(agency.code, day): _timeline(agency, day, gaps) for agency in AGENCIES for day in days}
    for outage in outages:
        span = TimelineSpan(state=_STATES[outage.type], starts_at=outage.began_at, until=outage.ended_at)
        for day, state, begin, end in split_by_day([span]):
            timelines[outage.agency, day].mark(state, begin, end)
    for agency in AGENCIES:
        timelines[agency.code, today] = _cut_off(timelines[agency.code, today], minute_of(now))
    return SampleHistory(outages=outages, timelines=timelines)


def _outages(
    agency: FictionalAgency, interval_days: int, types: Sequence[tuple[IncidentType, Cause]], today: date
) -> Iterator[PastOutage]:
    random = Random(f"{_SEED} outages of {agency.code}")
    days_before = range(interval_days // 2, DAYS - _VARIATION_DAYS, interval_days)
    durations = random.sample(_DURATIONS, len(days_before))
    for days, duration, (type_, cause) in zip(days_before, durations, types, strict=True):
        varied_days = days + random.randint(-_VARIATION_DAYS, _VARIATION_DAYS)
        # In working hours, when changes cause outages.
        midnight = datetime.combine(today - timedelta(days=varied_days), time(), MALAYSIA)
        began_at = midnight + timedelta(minutes=random.randint(8 * 60, 18 * 60), seconds=random.randint(0, 59))
        detected_at = began_at + _DETECTED_AFTER
        yield PastOutage(
            agency=agency.code,
            type=type_,
            cause=cause,
            began_at=began_at,
            detected_at=detected_at,
            acknowledged_by=random.choice((agency.duty, agency.duty, agency.deputy)).name,
            # Some people answer the SMS, others the call that follows.
            acknowledged_at=detected_at + timedelta(seconds=random.randint(8, 75)),
            ended_at=detected_at + timedelta(minutes=duration),
        )


def _monitoring_gaps(days: Sequence[date]) -> dict[date, tuple[int, int]]:
    """Return the first and last minute, exclusive, of gaps in which the service or its machine was updated, by day."""
    random = Random(f"{_SEED} absences")
    gaps: dict[date, tuple[int, int]] = {}
    for day in days[1:]:
        # Draw these also for a day without a gap, so that another probability of gaps would not move the other gaps.
        at, length = random.randint(9 * 60, 22 * 60), random.randint(4, 25)
        if random.random() < 0.04:
            gaps[day] = at, at + length
    return gaps


def _timeline(agency: FictionalAgency, day: date, monitoring_gaps: dict[date, tuple[int, int]]) -> DayTimeline:
    random = Random(f"{_SEED} {agency.code} {day}")
    timeline = DayTimeline()
    # Maintenance is on the first Saturday of a month, from 1 to 3 o'clock.
    has_maintenance = day.weekday() == 5 and day.day <= 7
    gaps = [monitoring_gaps[day]] if day in monitoring_gaps else []
    if has_maintenance:
        timeline.mark(MinuteState.MAINTENANCE, 60, 180)
        gaps.insert(0, (60, 180))
    begin = 0
    # Mark only the minutes between the gaps, because UP has precedence over no data and MAINTENANCE.
    for first, last in gaps:
        timeline.mark(MinuteState.UP, begin, first)
        begin = last
    timeline.mark(MinuteState.UP, begin, MINUTES)
    if random.random() < 0.12:
        at = random.randint(8 * 60, 17 * 60)
        timeline.mark(MinuteState.DEGRADED, at, at + random.randint(2, 9))
    return timeline


def _cut_off(timeline: DayTimeline, minute: int) -> DayTimeline:
    """Return a copy of *timeline* without the marks from *minute* on."""
    copy = DayTimeline()
    for state, begin, end in timeline.runs():
        copy.mark(state, begin, min(end, max(begin, minute)))
    return copy
