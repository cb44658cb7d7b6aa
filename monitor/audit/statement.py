"""Content of a monthly report, from the minutes, incidents, drills and checks of an agency, and its files."""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

from alerts.documents.monthly_report import DayKind, MonthlyReport, StatedLine, StatementDay
from alerts.documents.phrase import CHANNELS
from alerts.documents.render import statement as render
from alerts.persistence.audit import moment
from alerts.wording.source import sections
from alerts.wording.texts import Wording
from monitor.audit.dossier import csv_of
from monitor.model.day import MINUTES, DayTimeline, MinuteState, day_of, minute_of, moment_of
from monitor.model.lazy_text import said
from monitor.store.engine.drills import Record
from monitor.views.days import watched
from monitor.views.overview import CheckView

_WORDS = sections(Path(__file__).with_suffix(".yaml"))
EXERCISES: Mapping[str, str] = _WORDS["exercises"]
CHECKS: Mapping[str, str] = _WORDS["checks"]
VERDICTS: Mapping[str, str] = _WORDS["verdicts"]

_KINDS: Mapping[MinuteState, DayKind] = {
    MinuteState.NO_DATA: DayKind.NO_DATA,
    # A false alarm says nothing about the mail.
    MinuteState.FALSE_ALARM: DayKind.NO_DATA,
    MinuteState.OFF_HOURS: DayKind.MAINTENANCE,
    MinuteState.MAINTENANCE: DayKind.MAINTENANCE,
    MinuteState.UP: DayKind.UP,
    MinuteState.DEGRADED: DayKind.DEGRADED,
    MinuteState.NO_SENDING: DayKind.OUTAGE,
    MinuteState.NO_RECEIVING: DayKind.OUTAGE,
    MinuteState.NO_MAIL: DayKind.OUTAGE,
}
_NOT_SENDING = (MinuteState.NO_SENDING, MinuteState.NO_MAIL)
_NOT_RECEIVING = (MinuteState.NO_RECEIVING, MinuteState.NO_MAIL)


class InvalidMonthError(Exception):
    """Not a month that a report can be about. The message says what to write."""


def month_called(text: str, now: datetime) -> date:
    """Return the first day of a month in the notation "2026-11". Raise `InvalidMonthError`."""
    found = re.fullmatch(r"(\d{4})-(\d{2})", text.strip())
    if found is None or not 1 <= int(found[2]) <= 12 or int(found[1]) < 1:
        raise InvalidMonthError(
            said("'{text}' is no month; write the year and the month: {now}", text=text, now=f"{day_of(now):%Y-%m}")
        )
    month = date(int(found[1]), int(found[2]), 1)
    if month > day_of(now):
        raise InvalidMonthError(
            said("{text} has not begun; the present month is {now}", text=text, now=f"{day_of(now):%Y-%m}")
        )
    return month


def end_of(month: date, now: datetime) -> datetime:
    """Return the end of a month, or the present moment within it."""
    return min(moment_of(month, 0) + timedelta(days=calendar.monthrange(month.year, month.month)[1]), now)


def is_over(month: date, now: datetime) -> bool:
    """Whether the month is over."""
    return day_of(now) > month.replace(day=calendar.monthrange(month.year, month.month)[1])


def month_days(
    month: date, sheets: Mapping[date, DayTimeline], now: datetime
) -> tuple[Sequence[tuple[date, Mapping[MinuteState, int]]], float | None, float | None]:
    """Return the minutes of each day in each state, and the shares in which mail could be sent, and received.

    Of today only the past minutes count. A share is of the monitored minutes; `None`: there are none.
    """
    days, counted = [], dict.fromkeys(MinuteState, 0)
    for number in range(calendar.monthrange(month.year, month.month)[1]):
        on = month + timedelta(days=number)
        if on > day_of(now):
            break
        counts = sheets.get(on, DayTimeline()).counts(minute_of(now) if on == day_of(now) else MINUTES)
        days.append((on, counts))
        for state, minutes in counts.items():
            counted[state] += minutes
    return days, _share(counted, _NOT_SENDING), _share(counted, _NOT_RECEIVING)


def _share(counted: Mapping[MinuteState, int], down: Iterable[MinuteState]) -> float | None:
    known = watched(counted)
    return (
        math.floor((known - sum(counted[state] for state in down)) * 1_000_000 / known) / 1_000_000 if known else None
    )


def drawn(days: Sequence[tuple[date, Mapping[MinuteState, int]]]) -> Sequence[StatementDay]:
    """Return the days in the form in which they are drawn."""
    return [StatementDay(on=on, minutes=_by_kind(counts)) for on, counts in days]


def _by_kind(counts: Mapping[MinuteState, int]) -> Mapping[DayKind, int]:
    kinds = dict.fromkeys(DayKind, 0)
    for state, minutes in counts.items():
        kinds[_KINDS[state]] += minutes
    return kinds


def exercised(records: Iterable[Record]) -> Sequence[StatedLine]:
    """Return the results of drills, the oldest first, without numbers."""
    return [
        StatedLine(at=each.started_at, what=each.name, how=CHANNELS[each.channel], result=EXERCISES[each.state])
        for each in sorted(records, key=lambda each: each.started_at)
    ]


def checked(views: Iterable[CheckView]) -> tuple[Sequence[StatedLine], bool]:
    """Return the failed findings of the checks, and whether any check has run."""
    views = [each for each in views if each.last_run_at is not None]
    told = [
        StatedLine(
            at=view.last_run_at,
            what=finding.subject,
            how=_check(view.kind, finding.aspect),
            result=VERDICTS[finding.verdict],
        )
        for view in views
        for finding in view.findings
        if view.last_run_at is not None
    ]
    return told, bool(views)


def _check(kind: str, aspect: str) -> str:
    return ": ".join(filter(None, (CHECKS.get(kind, kind), aspect)))


def statement_files(
    statement: MonthlyReport, days: Sequence[tuple[date, Mapping[MinuteState, int]]], wording: Wording
) -> Mapping[str, bytes]:
    """Return the files by name, the PDF first. Typesetting takes a moment: call it in a thread."""
    name = f"penyata-{statement.agency}-{statement.month:%Y-%m}"
    states = list(MinuteState)
    by_day = csv_of(("day", *states), [(on.isoformat(), *(counts[state] for state in states)) for on, counts in days])
    incidents = csv_of(
        ("number", "type", "cause", "began_at", "ended_at", "acknowledged_by", "false_alarm_by"),
        [
            (
                *(each.number, each.type, each.policy.cause or "", moment(each.reported_type_began_at)),
                *(
                    moment(each.ended_at) if each.ended_at else "",
                    each.acknowledged_by or "",
                    each.false_alarm_by or "",
                ),
            )
            for each, _ in statement.incidents
        ],
    )
    notices = csv_of(
        ("incident", "purpose", "to", "channel", "state", "written_at"),
        [
            (incident.number, each.purpose, incident.reader(each), each.channel, each.state, moment(each.created_at))
            for incident, told in statement.incidents
            for each in told
        ],
    )
    exercises = csv_of(
        ("started_at", "name", "channel", "result"),
        [(moment(each.at), each.what, each.how, each.result) for each in statement.exercises],
    )
    return {
        f"{name}.pdf": render(statement, wording).pdf,
        f"{name}-days.csv": by_day.encode(),
        f"{name}-incidents.csv": incidents.encode(),
        f"{name}-notifications.csv": notices.encode(),
        f"{name}-drills.csv": exercises.encode(),
    }
