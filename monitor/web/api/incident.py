"""Incidents and notifications for programs: paginated lists, the newest first, and single items by number."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from alerts.model.delivery import NotificationState
from alerts.model.incident import IncidentState
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.service.errors import NotFoundError
from monitor.service.facade import ServiceFacade
from monitor.store.engine.listing import IncidentFilter, NotificationFilter
from monitor.views.overview import IncidentView, NotificationDetail, NotificationView, view_incident
from monitor.views.site_report import SiteIncidentSummary
from monitor.web.access.access_control import Reader, incident_in_path, notification_in_path, permit, require
from monitor.web.api.route.query import (
    NOT_FOUND,
    USUAL,
    Agencies,
    Cursor,
    Limit,
    Moment,
    listed,
    next_page,
    questions,
    read_id,
    wrong,
)
from monitor.web.request import Id

_INCIDENT = TypeAdapter(IncidentView)
#: Prefix of the id in a cursor if the incident was open.
_OPEN = "open-"
_NOTICE = TypeAdapter(NotificationView)

#: Values of the state filter; "open" is either of the first two states.
_STATES = {
    "open": (IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED),
    "triggered": (IncidentState.TRIGGERED,),
    "acknowledged": (IncidentState.ACKNOWLEDGED,),
    "resolved": (IncidentState.RESOLVED,),
}
_IncidentStates = Annotated[
    list[Literal["open", "triggered", "acknowledged", "resolved"]] | None,
    Query(description="Only those that stand so; `open` is what is triggered or acknowledged."),
]
_NoticeStates = Annotated[list[NotificationState] | None, Query(description="Only those that stand so.")]
_Number = Annotated[str | None, Query(description="Only those that tell of this incident, by its number.")]
_Since = Annotated[Moment | None, Query(description="Only those opened or created at this time or later.")]
_Until = Annotated[Moment | None, Query(description="Only those opened or created before this time.")]


def records(source: ServiceFacade) -> APIRouter:
    """Build the router of incidents and notifications."""
    router = questions()
    board = source.board

    @router.get(
        "/incidents",
        summary="List incidents: open ones first, then resolved ones, each newest first",
        response_model=list[IncidentView],
    )
    async def incidents(
        request: Request,
        principal: Reader,
        *,
        agency: Agencies = None,
        state: _IncidentStates = None,
        since: _Since = None,
        until: _Until = None,
        limit: Limit = USUAL,
        cursor: Cursor = None,
    ) -> Response:
        wanted = IncidentFilter(
            agencies=await known(agency or (), principal),
            states={each for name in state or () for each in _STATES[name]},
            since=since,
            until=_later(until, since),
        )
        page = await board.incident_page(wanted, most=limit, after=read_id("incidents", cursor, before=_OPEN))
        after = f"{_OPEN}{-page.after}" if page.after is not None and page.after < 0 else page.after
        return await listed(_INCIDENT, page.rows, next_page(request, "incidents", after))

    @router.get(
        "/incidents/{number}",
        summary="Get one incident by its number",
        responses=NOT_FOUND,
        dependencies=require(Permission.READ, incident_in_path(source)),
    )
    async def incident(number: str) -> IncidentView:
        return view_incident(await source.numbered(number))

    @router.get(
        "/incidents/{number}/sites",
        summary="List each site's findings about an incident; empty with a single site",
        responses=NOT_FOUND,
        dependencies=require(Permission.READ, incident_in_path(source)),
    )
    async def sites(number: str) -> list[SiteIncidentSummary]:
        return list(await board.site_evidence(await source.numbered(number)))

    @router.get("/notifications", summary="List notifications, newest first", response_model=list[NotificationView])
    async def notifications(
        request: Request,
        principal: Reader,
        *,
        agency: Agencies = None,
        incident: _Number = None,
        state: _NoticeStates = None,
        since: _Since = None,
        until: _Until = None,
        limit: Limit = USUAL,
        cursor: Cursor = None,
    ) -> Response:
        wanted = NotificationFilter(
            agencies=await known(agency or (), principal),
            incident_id=None if incident is None else await numbered(incident),
            states=set(state or ()),
            since=since,
            until=_later(until, since),
        )
        page = await board.notice_page(wanted, most=limit, after=read_id("notifications", cursor))
        return await listed(_NOTICE, page.rows, next_page(request, "notifications", page.after))

    @router.get(
        "/notifications/{notification_id}",
        summary="Get one notification with its delivery attempts",
        responses=NOT_FOUND,
        dependencies=require(Permission.READ, notification_in_path(source)),
    )
    async def notification(notification_id: Id) -> NotificationDetail:
        return await board.notice(notification_id)

    async def known(quoted: Sequence[str], principal: Principal) -> set[str]:
        """Return the agency codes of a filter: configured agencies, and removed ones with records.

        An empty filter means all that the principal may see. An empty result means all agencies.
        """
        scope = principal.scope(Permission.READ)
        wanted = {await code(each) for each in quoted}
        for each in wanted:
            permit(principal, Permission.READ, each)
        return wanted or (set() if scope.everything else set(scope.agencies))

    async def code(quoted: str) -> str:
        try:
            return board.called(quoted)
        except NotFoundError as unknown:
            left = quoted.strip().upper()
            if not (await board.incident_page(IncidentFilter(agencies={left}), most=1)).rows:
                raise wrong("agency", str(unknown)) from None
            return left

    async def numbered(quoted: str) -> int:
        try:
            return (await source.numbered(quoted)).id
        except NotFoundError as unknown:
            raise wrong("incident", str(unknown)) from None

    return router


def _later(until: datetime | None, since: datetime | None) -> datetime | None:
    if until is not None and since is not None and until <= since:
        raise wrong("until", "is not later than since")
    return until
