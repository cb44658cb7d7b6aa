"""History page of an agency: daily availability, delivery (transit) times, and all incidents with their causes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from alerts.wording import moment as time_wording
from monitor.access.role import Permission
from monitor.model.day import day_of, time_of
from monitor.service.facade import ServiceFacade
from monitor.store.engine.listing import IncidentFilter
from monitor.store.probing.history import HourlyTransit
from monitor.views.site_report import view_sums
from monitor.web.access.access_control import agency_in_path, require
from monitor.web.form import Pages
from monitor.web.page import notification_language
from monitor.web.page_query import read_query
from monitor.web.uptime_bars import build_uptime_bars

_INCIDENTS_PER_PAGE: Final = 25
#: Days in the chart of delivery times.
_CHART_DAYS: Final = 30
#: Height of the longest bar, in the units of the SVG chart.
_CHART_HEIGHT: Final = 60

#: Function that returns the hourly delivery times of an agency since a time. Arguments: agency code, time.
Transits = Callable[[str, datetime], Awaitable[Sequence[HourlyTransit]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitDay:
    """Delivery times of a day."""

    day: date
    #: Mean and longest delivery time in seconds; `None` if no mail was delivered.
    mean_seconds: float | None
    max_seconds: float | None
    #: Heights of their bars in the chart, at most `_CHART_HEIGHT`.
    mean_height: float = 0
    max_height: float = 0


def history_pages(facade: ServiceFacade, transits: Transits, pages: Pages) -> APIRouter:
    """Build the router of the history page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/agencies/{code}/history", dependencies=require(Permission.READ, agency_in_path))
    async def history(
        request: Request, code: str, after: Annotated[int | None, Query(ge=1, lt=2**31)] = None
    ) -> Response:
        # *after*: ID of the last incident of the previous page.
        agency, today = code.upper(), day_of(facade.now())
        days = (await facade.status_reader.histories([agency])).get(agency)
        incident_page = await facade.status_reader.incident_page(
            IncidentFilter(agencies=frozenset({agency})), limit=_INCIDENTS_PER_PAGE, after=after
        )
        first = today - timedelta(days=_CHART_DAYS - 1)
        chart = transit_days(await transits(agency, time_of(first, 0)), first, today)
        language, now = read_query(request).language, facade.now()
        context = {
            "agency": agency,
            "uptime_bars": days and build_uptime_bars(days, language),
            "transit_days": chart,
            "chart_height": _CHART_HEIGHT,
            "sites": [view_sums(each) for each in await facade.status_reader.site_sums(agency, _CHART_DAYS)],
            # Longest delivery time in seconds; `None` if no mail was delivered.
            "longest": max((each.max_seconds for each in chart if each.max_seconds is not None), default=None),
            "incidents": [
                (
                    each,
                    time_wording.duration_text(each.began_at, each.resolved_at or now, notification_language(language)),
                )
                for each in incident_page.rows
            ],
            "after": incident_page.after,
        }
        # `headers=None`: the page has no forms, for which the default headers are.
        return pages.show(request, "history.html", context, headers=None)

    return router


def transit_days(hours: Sequence[HourlyTransit], first: date, last: date) -> Sequence[TransitDay]:
    """Return each day from *first* to *last*, with heights relative to the longest delivery time of all days."""
    hours_by_day: dict[date, list[HourlyTransit]] = {}
    for each in hours:
        hours_by_day.setdefault(day_of(each.starts_at), []).append(each)
    # Avoid division by zero if all delivery times are 0.
    longest = max((each.max_seconds for each in hours), default=0) or 1
    chart_days = []
    for days_after_first in range((last - first).days + 1):
        day = first + timedelta(days=days_after_first)
        if not (hours_of_day := hours_by_day.get(day)):
            chart_days.append(TransitDay(day=day, mean_seconds=None, max_seconds=None))
            continue
        mean = sum(each.total_seconds for each in hours_of_day) / sum(each.runs for each in hours_of_day)
        slowest = max(each.max_seconds for each in hours_of_day)
        chart_days.append(
            TransitDay(
                day=day,
                mean_seconds=mean,
                max_seconds=slowest,
                mean_height=round(_CHART_HEIGHT * mean / longest, 2),
                max_height=round(_CHART_HEIGHT * slowest / longest, 2),
            )
        )
    return chart_days
