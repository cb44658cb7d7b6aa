"""History page of one agency: days and availability, delivery times, and all incidents with their causes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from alerts.wording import moment as in_words
from monitor.access.role import Permission
from monitor.model.day import day_of, moment_of
from monitor.service.facade import ServiceFacade
from monitor.store.engine.listing import IncidentFilter
from monitor.store.probing.history import HourlyTransit
from monitor.views.site_report import view_sums
from monitor.web.access.access_control import agency_in_path, require
from monitor.web.form import Pages
from monitor.web.page import language_of
from monitor.web.page_query import asked
from monitor.web.uptime_bars import strip_of

_AT_A_TIME: Final = 25
#: Days in the chart of delivery times.
_DAYS: Final = 30
_TALL: Final = 60

#: Returns the hourly delivery times of an agency from a moment on.
Transits = Callable[[str, datetime], Awaitable[Sequence[HourlyTransit]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitDay:
    """Delivery times of a day, in seconds; `None` if no delivery time is known."""

    on: date
    mean: float | None
    slowest: float | None
    #: Heights in the chart.
    height: float = 0
    reach: float = 0


def history_pages(facade: ServiceFacade, transits: Transits, pages: Pages) -> APIRouter:
    """Build the router of the history page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/agencies/{code}/history", dependencies=require(Permission.READ, agency_in_path))
    async def history(
        request: Request, code: str, after: Annotated[int | None, Query(ge=1, lt=2**31)] = None
    ) -> Response:
        agency, today = code.upper(), day_of(facade.now())
        days = (await facade.board.histories([agency])).get(agency)
        found = await facade.board.incident_page(
            IncidentFilter(agencies=frozenset({agency})), most=_AT_A_TIME, after=after
        )
        first = today - timedelta(days=_DAYS - 1)
        took = transit_days(await transits(agency, moment_of(first, 0)), first, today)
        language, now = asked(request).language, facade.now()
        facts = {
            "agency": agency,
            "strip_drawn": days and strip_of(days, language),
            "transits": took,
            "tall": _TALL,
            "sites": [view_sums(each) for each in await facade.board.site_sums(agency, _DAYS)],
            "longest": max((each.slowest for each in took if each.slowest is not None), default=None),
            "incidents": [
                (each, in_words.lasted(each.began_at, each.resolved_at or now, language_of(language)))
                for each in found.rows
            ],
            "after": found.after,
        }
        return pages.show(request, "history.html", facts, headers=None)

    return router


def transit_days(hours: Sequence[HourlyTransit], first: date, last: date) -> Sequence[TransitDay]:
    """Return each day from the first to the last, with heights relative to the slowest day."""
    by_day: dict[date, list[HourlyTransit]] = {}
    for each in hours:
        by_day.setdefault(day_of(each.starts_at), []).append(each)
    highest = max((each.slowest for each in hours), default=0) or 1
    found = []
    for number in range((last - first).days + 1):
        on = first + timedelta(days=number)
        if not (theirs := by_day.get(on)):
            found.append(TransitDay(on=on, mean=None, slowest=None))
            continue
        mean = sum(each.together for each in theirs) / sum(each.runs for each in theirs)
        slowest = max(each.slowest for each in theirs)
        found.append(
            TransitDay(
                on=on,
                mean=mean,
                slowest=slowest,
                height=round(_TALL * mean / highest, 2),
                reach=round(_TALL * slowest / highest, 2),
            )
        )
    return found
