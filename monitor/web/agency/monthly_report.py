"""Monthly report of an agency for its head: a page with charts, and downloads (PDF/A and CSV tables).

The command `pantau monthly-report` writes the same files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from alerts.documents.monthly_report import MinuteKind, MonthlyReport
from alerts.model.delivery import Notification
from alerts.model.incident import Incident
from alerts.model.notification import Language
from alerts.wording import moment as time_wording
from monitor.access.role import Permission
from monitor.model.translatable import translatable
from monitor.service.days.monthly_reports import MonthlyReports
from monitor.web.access.access_control import AgencyReader, agency_in_path, require
from monitor.web.form import Pages
from monitor.web.page import notification_language
from monitor.web.page_query import read_query, store_language
from monitor.web.uptime_bars import format_percent

#: Height of a day in the SVG chart: four units per hour.
_CHART_HEIGHT: Final = 96
#: Maximum number of notifications on the page; the downloaded tables are complete.
_MAX_NOTIFICATIONS: Final = 60
_MEDIA_TYPES: Final[Mapping[str, str]] = {"pdf": "application/pdf", "csv": "text/csv; charset=utf-8"}
#: Order of the parts of a day's column from the bottom up. The worst is at the bottom, where it is most visible.
_STACK_ORDER: Final = (
    MinuteKind.OUTAGE,
    MinuteKind.DEGRADED,
    MinuteKind.NO_DATA,
    MinuteKind.MAINTENANCE,
    MinuteKind.UP,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartedDay:
    """Day of the chart: a column whose parts show how many minutes mail was in which state."""

    day: date
    #: Each part of the column: its kind, the y coordinate of its top, and its height.
    parts: Sequence[tuple[MinuteKind, float, float]]
    #: Number of minutes of each kind.
    minutes: Mapping[MinuteKind, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedIncident:
    """Incident of the month, as the page shows it."""

    incident: Incident
    #: Cause in words.
    cause: str
    #: Duration in words, as in the printed report. It begins with the problem that notifications state
    #: (`reported_type`), and ends with the incident; for an open incident, it ends with the data of the report.
    duration_text: str
    #: Duration as a percentage of the duration of the longest incident: the length of its bar on the page.
    percent_of_longest: float


def monthly_report_pages(monthly_reports: MonthlyReports, pages: Pages) -> APIRouter:
    """Build the router of the monthly report pages."""
    router = APIRouter(include_in_schema=False)
    # Typeset one report at a time: this occupies a processor core for a second, and the probes need the core as well.
    typesetting = asyncio.Lock()

    @router.get("/agencies/{code}/report", dependencies=require(Permission.READ, agency_in_path))
    async def latest(request: Request, code: str) -> Response:
        month = monthly_reports.default_month()
        response = RedirectResponse(f"/agencies/{code.upper()}/report/{month:%Y-%m}", status_code=303)
        return store_language(request, response)

    @router.get("/agencies/{code}/report/{month}")
    async def page(request: Request, code: str, month: str, _principal: AgencyReader) -> Response:
        report = (await monthly_reports.read(code, month)).report
        context = {
            "report": report,
            "months": monthly_reports.months(),
            # Direction, share of the minutes in which mail could be sent or received, and this share as text.
            "availabilities": [
                (direction, share, None if share is None else format_percent(share))
                for direction, share in _availabilities(report)
            ],
            "charted_days": _charted_days(report),
            "chart_height": _CHART_HEIGHT,
            "kinds": _STACK_ORDER,
            "minutes": report.minutes,
            "incidents": _incidents(report, monthly_reports, notification_language(read_query(request).language)),
            "notifications": _notifications(report)[:_MAX_NOTIFICATIONS],
            "hidden_count": max(0, len(_notifications(report)) - _MAX_NOTIFICATIONS),
            "files": [f"penyata-{report.agency}-{report.month:%Y-%m}{suffix}" for suffix in _FILE_SUFFIXES],
        }
        # `headers=None`: the page has no forms, for which the default headers are.
        return pages.show(request, "monthly_report.html", context, headers=None)

    @router.get("/agencies/{code}/report/{month}/{file}")
    async def download(code: str, month: str, file: str, principal: AgencyReader) -> Response:
        if not file.endswith(_FILE_SUFFIXES):
            raise HTTPException(404, translatable("there is no file '{file}' of this report", file=file[:80]))
        async with typesetting:
            files = await monthly_reports.render(code, month, principal.by)
        if file not in files:
            raise HTTPException(404, translatable("there is no file '{file}' of this report", file=file[:80]))
        media_type = _MEDIA_TYPES[file.rpartition(".")[2]]
        return Response(
            files[file], media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{file}"'}
        )

    return router


#: Endings of the names of the report's files. A full name is "penyata-JCM-2026-11-days.csv" ("penyata" is Malay for
#: "statement").
_FILE_SUFFIXES: Final = (".pdf", "-days.csv", "-incidents.csv", "-notifications.csv", "-drills.csv")


def _availabilities(report: MonthlyReport) -> Sequence[tuple[str, float | None]]:
    return [("sending", report.sending), ("receiving", report.receiving)]


def _charted_days(report: MonthlyReport) -> Sequence[ChartedDay]:
    """Return the days of the chart in order. The column of the current day contains only its minutes so far."""
    charted_days = []
    for day in report.days:
        parts, top = list[tuple[MinuteKind, float, float]](), float(_CHART_HEIGHT)
        for kind in _STACK_ORDER:
            height = _CHART_HEIGHT * day.minutes.get(kind, 0) / (24 * 60)
            if height:
                # An outage of one minute must be visible, too.
                height = max(height, 2) if kind is MinuteKind.OUTAGE else height
                top -= height
                parts.append((kind, round(max(top, 0), 2), round(height, 2)))
        charted_days.append(ChartedDay(day=day.on, parts=parts, minutes=day.minutes))
    return charted_days


def _incidents(
    report: MonthlyReport, monthly_reports: MonthlyReports, language: Language
) -> Sequence[ReportedIncident]:
    durations = {
        each.id: max(timedelta(), (each.ended_at or report.until) - each.reported_type_began_at)
        for each, _ in report.incidents
    }
    # Avoid division by zero if all durations are zero.
    longest = max(durations.values(), default=timedelta()) or timedelta.resolution
    return [
        ReportedIncident(
            incident=each,
            cause=monthly_reports.cause(each, language),
            duration_text=time_wording.duration_text(
                each.reported_type_began_at, each.ended_at or report.until, language
            ),
            percent_of_longest=round(100 * (durations[each.id] / longest), 1),
        )
        for each, _ in report.incidents
    ]


def _notifications(report: MonthlyReport) -> Sequence[tuple[str, Notification, str]]:
    """Return tuples of incident number, notification and recipient for the month, the oldest notification first."""
    rows = [
        (incident.number, each, incident.reader_name(each))
        for incident, notifications in report.incidents
        for each in notifications
    ]
    return sorted(rows, key=lambda row: (row[1].created_at, row[1].id))
