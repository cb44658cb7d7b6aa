"""Monthly report of an agency for its head: a page of charts, with a PDF/A and tables to download.

The downloads equal those of `pantau monthly-report`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from alerts.documents.monthly_report import DayKind, MonthlyReport
from alerts.model.delivery import Notification
from alerts.model.incident import Incident
from alerts.model.notification import Language
from alerts.wording import moment as in_words
from monitor.access.role import Permission
from monitor.model.lazy_text import said
from monitor.service.days.statements import Statements
from monitor.web.access.access_control import ItsReader, agency_in_path, require
from monitor.web.form import Pages
from monitor.web.page import language_of
from monitor.web.page_query import asked, remember
from monitor.web.uptime_bars import percent_of

#: Height of a whole day in the chart: four units per hour.
_TALL: Final = 96
#: Limit on the page; the downloaded tables are complete.
_SHOWN: Final = 60
_MEDIA: Final[Mapping[str, str]] = {"pdf": "application/pdf", "csv": "text/csv; charset=utf-8"}
#: Order in the stack from the bottom up: the worst is at the bottom, where it is most visible.
_STACKED: Final = (DayKind.OUTAGE, DayKind.DEGRADED, DayKind.NO_DATA, DayKind.MAINTENANCE, DayKind.UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartedDay:
    """Day of the chart: its parts with position and height."""

    on: date
    parts: Sequence[tuple[DayKind, float, float]]
    minutes: Mapping[DayKind, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedIncident:
    """Incident of the month."""

    incident: Incident
    cause: str
    #: Duration in words, within the month or so far, as in the printed report.
    lasted: str
    #: Percentage of the longest duration.
    share: float


def monthly_report_pages(statements: Statements, pages: Pages) -> APIRouter:
    """Build the router of the monthly report pages."""
    router = APIRouter(include_in_schema=False)
    # Typesetting occupies a core for a second, and the probes share it, so only one runs at a time.
    setting = asyncio.Lock()

    @router.get("/agencies/{code}/report", dependencies=require(Permission.READ, agency_in_path))
    async def latest(request: Request, code: str) -> Response:
        month = statements.usual_month()
        there = RedirectResponse(f"/agencies/{code.upper()}/report/{month:%Y-%m}", status_code=303)
        return remember(request, there)

    @router.get("/agencies/{code}/report/{month}")
    async def page(request: Request, code: str, month: str, _: ItsReader) -> Response:
        told = (await statements.gathered(code, month)).statement
        facts = {
            "told": told,
            "months": statements.months(),
            "shares": [(name, share, share and percent_of(share)) for name, share in _shares(told)],
            "bars": _bars(told),
            "tall": _TALL,
            "kinds": _STACKED,
            "minutes": told.minutes,
            "incidents": _incidents(told, statements, language_of(asked(request).language)),
            "notices": _notices(told)[:_SHOWN],
            "left_out": max(0, len(_notices(told)) - _SHOWN),
            "files": [f"penyata-{told.agency}-{told.month:%Y-%m}{end}" for end in _ENDS],
        }
        return pages.show(request, "monthly_report.html", facts, headers=None)

    @router.get("/agencies/{code}/report/{month}/{file}")
    async def download(code: str, month: str, file: str, principal: ItsReader) -> Response:
        if not file.endswith(_ENDS):
            raise HTTPException(404, said("there is no file '{file}' of this statement", file=file[:80]))
        async with setting:
            files = await statements.statement(code, month, principal.by)
        if file not in files:
            raise HTTPException(404, said("there is no file '{file}' of this statement", file=file[:80]))
        kind = _MEDIA[file.rpartition(".")[2]]
        return Response(files[file], media_type=kind, headers={"Content-Disposition": f'attachment; filename="{file}"'})

    return router


_ENDS: Final = (".pdf", "-days.csv", "-incidents.csv", "-notifications.csv", "-drills.csv")


def _shares(told: MonthlyReport) -> Sequence[tuple[str, float | None]]:
    return [("sending", told.sending), ("receiving", told.receiving)]


def _bars(told: MonthlyReport) -> Sequence[ChartedDay]:
    """Return the days of the chart in order; for the current day only the elapsed part."""
    found = []
    for day in told.days:
        parts, ground = list[tuple[DayKind, float, float]](), float(_TALL)
        for kind in _STACKED:
            height = _TALL * day.minutes.get(kind, 0) / (24 * 60)
            if height:
                # One minute of outage must be visible.
                height = max(height, 2) if kind is DayKind.OUTAGE else height
                ground -= height
                parts.append((kind, round(max(ground, 0), 2), round(height, 2)))
        found.append(ChartedDay(on=day.on, parts=parts, minutes=day.minutes))
    return found


def _incidents(told: MonthlyReport, statements: Statements, language: Language) -> Sequence[StatedIncident]:
    spans = {
        each.id: max(timedelta(), (each.ended_at or told.until) - each.reported_type_began_at)
        for each, _ in told.incidents
    }
    longest = max(spans.values(), default=timedelta()) or timedelta.resolution
    return [
        StatedIncident(
            incident=each,
            cause=statements.cause(each, language),
            lasted=in_words.lasted(each.reported_type_began_at, each.ended_at or told.until, language),
            share=round(100 * (spans[each.id] / longest), 1),
        )
        for each, _ in told.incidents
    ]


def _notices(told: MonthlyReport) -> Sequence[tuple[str, Notification, str]]:
    """Return the notifications, the oldest first, each with its incident number and recipient."""
    found = [(incident.number, each, incident.reader(each)) for incident, notices in told.incidents for each in notices]
    return sorted(found, key=lambda row: (row[1].created_at, row[1].id))
