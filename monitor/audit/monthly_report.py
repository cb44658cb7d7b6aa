"""Monthly report about an agency: its content and its files.

A *timeline* has the state of mail in each minute of a day. A *drill* is a test notification of staff. *Checks* examine
servers and domains without sending mail.
"""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

from alerts.documents.monthly_report import MinuteKind, MonthlyReport, ReportDay, ResultLine
from alerts.documents.phrase import CHANNELS
from alerts.documents.render import monthly_report as render
from alerts.persistence.audit import format_time
from alerts.wording.source import sections
from alerts.wording.texts import Wording
from monitor.audit.incident_record import format_csv
from monitor.model.day import MINUTES, DayTimeline, MinuteState, day_of, minute_of, time_of
from monitor.model.translatable import translatable
from monitor.store.engine.drills import DrillNotificationRecord
from monitor.views.days import observed_minutes
from monitor.views.overview import CheckView

# Malay texts by drill state, kind of check, and verdict of a check.
_TEXTS = sections(Path(__file__).with_suffix(".yaml"))
DRILL_RESULTS: Mapping[str, str] = _TEXTS["drill_results"]
CHECKS: Mapping[str, str] = _TEXTS["checks"]
VERDICTS: Mapping[str, str] = _TEXTS["verdicts"]

#: How the report shows each state of a minute.
_KINDS: Mapping[MinuteState, MinuteKind] = {
    MinuteState.NO_DATA: MinuteKind.NO_DATA,
    # During a false alarm, the state of mail is unknown.
    MinuteState.FALSE_ALARM: MinuteKind.NO_DATA,
    # The report has one kind for maintenance and for the hours without probing.
    MinuteState.OFF_HOURS: MinuteKind.MAINTENANCE,
    MinuteState.MAINTENANCE: MinuteKind.MAINTENANCE,
    MinuteState.UP: MinuteKind.UP,
    MinuteState.DEGRADED: MinuteKind.DEGRADED,
    MinuteState.NO_SENDING: MinuteKind.OUTAGE,
    MinuteState.NO_RECEIVING: MinuteKind.OUTAGE,
    MinuteState.NO_MAIL: MinuteKind.OUTAGE,
}
_NOT_SENDING = (MinuteState.NO_SENDING, MinuteState.NO_MAIL)
_NOT_RECEIVING = (MinuteState.NO_RECEIVING, MinuteState.NO_MAIL)


class InvalidMonthError(Exception):
    """The text is not a month for which a report exists. The message says what to write instead."""


def parse_month(text: str, now: datetime) -> date:
    """Return the first day of a month in the notation "2026-11". Raise `InvalidMonthError`."""
    match = re.fullmatch(r"(\d{4})-(\d{2})", text.strip())
    if match is None or not 1 <= int(match[2]) <= 12 or int(match[1]) < 1:
        raise InvalidMonthError(
            translatable(
                "'{text}' is no month; write the year and the month: {now}", text=text, now=f"{day_of(now):%Y-%m}"
            )
        )
    month = date(int(match[1]), int(match[2]), 1)
    if month > day_of(now):
        raise InvalidMonthError(
            translatable("{text} has not begun; the present month is {now}", text=text, now=f"{day_of(now):%Y-%m}")
        )
    return month


def month_end(month: date, now: datetime) -> datetime:
    """Return the end of a month, or *now* if the month has not ended."""
    return min(time_of(month, 0) + timedelta(days=calendar.monthrange(month.year, month.month)[1]), now)


def has_ended(month: date, now: datetime) -> bool:
    """Whether the month is over."""
    return day_of(now) > month.replace(day=calendar.monthrange(month.year, month.month)[1])


def month_days(
    month: date, timelines: Mapping[date, DayTimeline], now: datetime
) -> tuple[Sequence[tuple[date, Mapping[MinuteState, int]]], float | None, float | None]:
    """Return the minutes per state of each day, and the availability (0 to 1) of sending and of receiving.

    Minutes after *now* do not count. An availability is the share of the observed minutes in which the direction was
    not down, rounded down to six digits; `None`: no minute was observed.
    """
    days = []
    totals = dict.fromkeys(MinuteState, 0)
    for offset in range(calendar.monthrange(month.year, month.month)[1]):
        on = month + timedelta(days=offset)
        if on > day_of(now):
            break
        counts = timelines.get(on, DayTimeline()).counts(minute_of(now) if on == day_of(now) else MINUTES)
        days.append((on, counts))
        for state, minutes in counts.items():
            totals[state] += minutes
    return days, _availability(totals, _NOT_SENDING), _availability(totals, _NOT_RECEIVING)


def _availability(totals: Mapping[MinuteState, int], down_states: Iterable[MinuteState]) -> float | None:
    observed = observed_minutes(totals)
    if not observed:
        return None
    available = observed - sum(totals[state] for state in down_states)
    return math.floor(available * 1_000_000 / observed) / 1_000_000


def report_days(days: Sequence[tuple[date, Mapping[MinuteState, int]]]) -> Sequence[ReportDay]:
    """Return the days in the form of the report."""
    return [ReportDay(on=on, minutes=_by_kind(counts)) for on, counts in days]


def _by_kind(counts: Mapping[MinuteState, int]) -> Mapping[MinuteKind, int]:
    kinds = dict.fromkeys(MinuteKind, 0)
    for state, minutes in counts.items():
        kinds[_KINDS[state]] += minutes
    return kinds


def drill_lines(records: Iterable[DrillNotificationRecord]) -> Sequence[ResultLine]:
    """Return the results of drills, the oldest first. Telephone numbers are omitted."""
    return [
        ResultLine(at=each.started_at, what=each.name, how=CHANNELS[each.channel], result=DRILL_RESULTS[each.state])
        for each in sorted(records, key=lambda each: each.started_at)
    ]


def failed_check_lines(check_views: Iterable[CheckView]) -> tuple[Sequence[ResultLine], bool]:
    """Return the findings of the checks, except passed ones, and whether any check has run."""
    check_views = [each for each in check_views if each.last_run_at is not None]
    lines = [
        ResultLine(
            at=view.last_run_at,
            what=finding.subject,
            how=_check_name(view.kind, finding.aspect),
            result=VERDICTS[finding.verdict],
        )
        for view in check_views
        for finding in view.findings
        if view.last_run_at is not None
    ]
    return lines, bool(check_views)


def _check_name(kind: str, aspect: str) -> str:
    return ": ".join(filter(None, (CHECKS.get(kind, kind), aspect)))


def monthly_report_files(
    report: MonthlyReport, days: Sequence[tuple[date, Mapping[MinuteState, int]]], wording: Wording
) -> Mapping[str, bytes]:
    """Return the files by name, the PDF first. Typesetting may take some seconds, so call it in a thread."""
    name = f"penyata-{report.agency}-{report.month:%Y-%m}"
    states = list(MinuteState)
    by_day = format_csv(
        ("day", *states), [(on.isoformat(), *(counts[state] for state in states)) for on, counts in days]
    )
    incidents = format_csv(
        ("number", "type", "cause", "began_at", "ended_at", "acknowledged_by", "false_alarm_by"),
        [
            (
                each.number,
                each.type,
                each.policy.cause or "",
                format_time(each.reported_type_began_at),
                format_time(each.ended_at) if each.ended_at else "",
                each.acknowledged_by or "",
                each.false_alarm_by or "",
            )
            for each, _ in report.incidents
        ],
    )
    notifications = format_csv(
        ("incident", "purpose", "to", "channel", "state", "written_at"),
        [
            (
                incident.number,
                each.purpose,
                incident.reader_name(each),
                each.channel,
                each.state,
                format_time(each.created_at),
            )
            for incident, incident_notifications in report.incidents
            for each in incident_notifications
        ],
    )
    drills = format_csv(
        ("started_at", "name", "channel", "result"),
        [(format_time(each.at), each.what, each.how, each.result) for each in report.drills],
    )
    return {
        f"{name}.pdf": render(report, wording).pdf,
        f"{name}-days.csv": by_day.encode(),
        f"{name}-incidents.csv": incidents.encode(),
        f"{name}-notifications.csv": notifications.encode(),
        f"{name}-drills.csv": drills.encode(),
    }
