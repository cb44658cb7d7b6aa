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
from alerts.documents.render import monthly_report as render
from alerts.persistence.audit import moment
from alerts.wording.source import sections
from alerts.wording.texts import Wording
from monitor.audit.dossier import csv_of
from monitor.model.day import MINUTES, DayTimeline, MinuteState, day_of, minute_of, time_of
from monitor.model.lazy_text import lazy_text
from monitor.store.engine.drills import DrillNotificationRecord
from monitor.views.days import observed_minutes
from monitor.views.overview import CheckView

_TEXTS = sections(Path(__file__).with_suffix(".yaml"))
DRILL_RESULTS: Mapping[str, str] = _TEXTS["exercises"]
CHECKS: Mapping[str, str] = _TEXTS["checks"]
VERDICTS: Mapping[str, str] = _TEXTS["verdicts"]

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


def parse_month(text: str, now: datetime) -> date:
    """Return the first day of a month in the notation "2026-11". Raise `InvalidMonthError`."""
    match = re.fullmatch(r"(\d{4})-(\d{2})", text.strip())
    if match is None or not 1 <= int(match[2]) <= 12 or int(match[1]) < 1:
        raise InvalidMonthError(
            lazy_text(
                "'{text}' is no month; write the year and the month: {now}", text=text, now=f"{day_of(now):%Y-%m}"
            )
        )
    month = date(int(match[1]), int(match[2]), 1)
    if month > day_of(now):
        raise InvalidMonthError(
            lazy_text("{text} has not begun; the present month is {now}", text=text, now=f"{day_of(now):%Y-%m}")
        )
    return month


def month_end(month: date, now: datetime) -> datetime:
    """Return the end of a month, or the present moment within it."""
    return min(time_of(month, 0) + timedelta(days=calendar.monthrange(month.year, month.month)[1]), now)


def has_ended(month: date, now: datetime) -> bool:
    """Whether the month is over."""
    return day_of(now) > month.replace(day=calendar.monthrange(month.year, month.month)[1])


def month_days(
    month: date, timelines: Mapping[date, DayTimeline], now: datetime
) -> tuple[Sequence[tuple[date, Mapping[MinuteState, int]]], float | None, float | None]:
    """Return the minutes of each day in each state, and the shares in which mail could be sent, and received.

    Of today only the past minutes count. A share is of the monitored minutes; `None`: there are none.
    """
    days, totals = [], dict.fromkeys(MinuteState, 0)
    for offset in range(calendar.monthrange(month.year, month.month)[1]):
        on = month + timedelta(days=offset)
        if on > day_of(now):
            break
        counts = timelines.get(on, DayTimeline()).counts(minute_of(now) if on == day_of(now) else MINUTES)
        days.append((on, counts))
        for state, minutes in counts.items():
            totals[state] += minutes
    return days, _share(totals, _NOT_SENDING), _share(totals, _NOT_RECEIVING)


def _share(totals: Mapping[MinuteState, int], down: Iterable[MinuteState]) -> float | None:
    observed = observed_minutes(totals)
    return (
        math.floor((observed - sum(totals[state] for state in down)) * 1_000_000 / observed) / 1_000_000
        if observed
        else None
    )


def report_days(days: Sequence[tuple[date, Mapping[MinuteState, int]]]) -> Sequence[StatementDay]:
    """Return the days in the form in which they are drawn."""
    return [StatementDay(on=on, minutes=_by_kind(counts)) for on, counts in days]


def _by_kind(counts: Mapping[MinuteState, int]) -> Mapping[DayKind, int]:
    kinds = dict.fromkeys(DayKind, 0)
    for state, minutes in counts.items():
        kinds[_KINDS[state]] += minutes
    return kinds


def drill_lines(records: Iterable[DrillNotificationRecord]) -> Sequence[StatedLine]:
    """Return the results of drills, the oldest first, without numbers."""
    return [
        StatedLine(at=each.started_at, what=each.name, how=CHANNELS[each.channel], result=DRILL_RESULTS[each.state])
        for each in sorted(records, key=lambda each: each.started_at)
    ]


def failed_check_lines(check_views: Iterable[CheckView]) -> tuple[Sequence[StatedLine], bool]:
    """Return the failed findings of the checks, and whether any check has run."""
    check_views = [each for each in check_views if each.last_run_at is not None]
    lines = [
        StatedLine(
            at=view.last_run_at,
            what=finding.subject,
            how=_check(view.kind, finding.aspect),
            result=VERDICTS[finding.verdict],
        )
        for view in check_views
        for finding in view.findings
        if view.last_run_at is not None
    ]
    return lines, bool(check_views)


def _check(kind: str, aspect: str) -> str:
    return ": ".join(filter(None, (CHECKS.get(kind, kind), aspect)))


def monthly_report_files(
    report: MonthlyReport, days: Sequence[tuple[date, Mapping[MinuteState, int]]], wording: Wording
) -> Mapping[str, bytes]:
    """Return the files by name, the PDF first. Typesetting takes a moment: call it in a thread."""
    name = f"penyata-{report.agency}-{report.month:%Y-%m}"
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
            for each, _ in report.incidents
        ],
    )
    notifications = csv_of(
        ("incident", "purpose", "to", "channel", "state", "written_at"),
        [
            (
                incident.number,
                each.purpose,
                incident.reader_name(each),
                each.channel,
                each.state,
                moment(each.created_at),
            )
            for incident, incident_notifications in report.incidents
            for each in incident_notifications
        ],
    )
    drills = csv_of(
        ("started_at", "name", "channel", "result"),
        [(moment(each.at), each.what, each.how, each.result) for each in report.exercises],
    )
    return {
        f"{name}.pdf": render(report, wording).pdf,
        f"{name}-days.csv": by_day.encode(),
        f"{name}-incidents.csv": incidents.encode(),
        f"{name}-notifications.csv": notifications.encode(),
        f"{name}-drills.csv": drills.encode(),
    }
