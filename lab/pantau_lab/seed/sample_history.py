"""What is said to have happened in the ninety days before a demo: drawn by lot with a fixed seed, the same for the same day."""

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

#: As many as the portal shows, today among them.
DAYS: Final = 90
_SEED: Final = "pantau"
#: In days, from one outage to the next, by the agency's place in the world. With two days either way every month has one of
#: the first agency, whose statement has something to say then.
_APART: Final = (22, 40, 60)
_EITHER_WAY: Final = 2
#: So long all has been over when the demo begins: a letter that was posted is looked after for a week.
OVER_FOR: Final = timedelta(days=8)
#: From the first message that fails to the verdict.
_NOTICED_AFTER: Final = timedelta(seconds=40)

#: What fails and why, the latest first: of each agency, by its place in the world.
_TROUBLES: Final[Sequence[Sequence[tuple[IncidentType, Cause]]]] = (
    (
        (IncidentType.BOTH, Cause.TIMEOUT),
        (IncidentType.RECEIVING, Cause.LOST),
        (IncidentType.SENDING, Cause.AUTH),
        (IncidentType.BOTH, Cause.CERTIFICATE),
    ),
    ((IncidentType.SENDING, Cause.CONNECT), (IncidentType.BOTH, Cause.DNS)),
    ((IncidentType.RECEIVING, Cause.REJECTED),),
)
#: How long, in minutes.
_LENGTHS: Final = (9, 14, 26, 41, 68, 95, 140, 205)
_STATES: Final = {
    IncidentType.BOTH: MinuteState.NO_MAIL,
    IncidentType.SENDING: MinuteState.NO_SENDING,
    IncidentType.RECEIVING: MinuteState.NO_RECEIVING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PastOutage:
    """Mail that failed and works again."""

    #: Its code.
    agency: str
    type: IncidentType
    cause: Cause
    #: The first message that failed.
    began_at: datetime
    #: When it was clear that it failed.
    noticed_at: datetime
    #: Who took it on, and when.
    taken_by: str
    taken_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What happened."""

    #: By when they began.
    outages: Sequence[PastOutage]
    #: By agency and day.
    sheets: dict[tuple[str, date], DayTimeline]


def past_until(now: datetime) -> Past:
    """Return the past as it is told at *now*; of today the minutes before."""
    today = day_of(now)
    outages = sorted(
        (
            each
            for place, agency in enumerate(AGENCIES)
            for each in _outages(agency, _APART[place], _TROUBLES[place], today)
        ),
        key=lambda each: (each.began_at, each.agency),
    )
    days = [today - timedelta(days=number) for number in range(DAYS)]
    absent = _absences(days)
    sheets = {(agency.code, on): _day(agency, on, absent) for agency in AGENCIES for on in days}
    for outage in outages:
        mark = TimelineSpan(state=_STATES[outage.type], starts_at=outage.began_at, until=outage.ended_at)
        for on, state, begin, end in split_by_day([mark]):
            sheets[outage.agency, on].mark(state, begin, end)
    for agency in AGENCIES:
        sheets[agency.code, today] = _until(sheets[agency.code, today], minute_of(now))
    return Past(outages=outages, sheets=sheets)


def _outages(
    agency: FictionalAgency, apart: int, troubles: Sequence[tuple[IncidentType, Cause]], today: date
) -> Iterator[PastOutage]:
    lot = Random(f"{_SEED} outages of {agency.code}")
    middles = range(apart // 2, DAYS - _EITHER_WAY, apart)
    lengths = lot.sample(_LENGTHS, len(middles))
    for middle, length, (matter, cause) in zip(middles, lengths, troubles, strict=True):
        number = middle + lot.randint(-_EITHER_WAY, _EITHER_WAY)
        # When people are at work, and something is changed.
        local = datetime.combine(today - timedelta(days=number), time(), MALAYSIA)
        began_at = local + timedelta(minutes=lot.randint(8 * 60, 18 * 60), seconds=lot.randint(0, 59))
        noticed_at = began_at + _NOTICED_AFTER
        yield PastOutage(
            agency=agency.code,
            type=matter,
            cause=cause,
            began_at=began_at,
            noticed_at=noticed_at,
            taken_by=lot.choice((agency.duty, agency.duty, agency.deputy)).name,
            # Some answer the SMS, others the call that follows.
            taken_at=noticed_at + timedelta(seconds=lot.randint(8, 75)),
            ended_at=noticed_at + timedelta(minutes=length),
        )


def _absences(days: Sequence[date]) -> dict[date, tuple[int, int]]:
    """Return the minutes in which nobody watched: the service was brought up to date, or its machine was."""
    lot = Random(f"{_SEED} absences")
    found: dict[date, tuple[int, int]] = {}
    for on in days[1:]:
        # Drawn for each day whether it is needed or not: another number of absences moves no other.
        at, length = lot.randint(9 * 60, 22 * 60), lot.randint(4, 25)
        if lot.random() < 0.04:
            found[on] = at, at + length
    return found


def _day(agency: FictionalAgency, on: date, absent: dict[date, tuple[int, int]]) -> DayTimeline:
    lot = Random(f"{_SEED} {agency.code} {on}")
    sheet = DayTimeline()
    is_serviced = on.weekday() == 5 and on.day <= 7
    gaps = [absent[on]] if on in absent else []
    if is_serviced:
        sheet.mark(MinuteState.MAINTENANCE, 60, 180)
        gaps.insert(0, (60, 180))
    begin = 0
    # In between, and not over them: what is well outweighs what nobody watched.
    for first, last in gaps:
        sheet.mark(MinuteState.UP, begin, first)
        begin = last
    sheet.mark(MinuteState.UP, begin, MINUTES)
    if lot.random() < 0.12:
        at = lot.randint(8 * 60, 17 * 60)
        sheet.mark(MinuteState.DEGRADED, at, at + lot.randint(2, 9))
    return sheet


def _until(sheet: DayTimeline, minute: int) -> DayTimeline:
    """Return a sheet as far as its day has come."""
    sofar = DayTimeline()
    for state, begin, end in sheet.runs():
        sofar.mark(state, begin, min(end, max(begin, minute)))
    return sofar
