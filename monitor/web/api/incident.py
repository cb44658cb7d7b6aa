"""API of incidents and notifications: paginated lists, and single items by number or ID."""

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
from monitor.web.access.access_control import Reader, check_permission, incident_in_path, notification_in_path, require
from monitor.web.api.route.query import (
    DEFAULT_LIMIT,
    NOT_FOUND,
    Agencies,
    Cursor,
    Limit,
    Moment,
    invalid_parameter,
    list_response,
    next_page,
    query_router,
    read_id,
)
from monitor.web.request import Id

_INCIDENT = TypeAdapter(IncidentView)
#: Prefix of the ID in a cursor, if the incident with this ID, the last of its page, is open. The list has the open
#: incidents first.
_OPEN_PREFIX = "open-"
_NOTIFICATION = TypeAdapter(NotificationView)

#: Values of the filter `state`, and the incident states that each value includes.
_STATES = {
    "open": (IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED),
    "triggered": (IncidentState.TRIGGERED,),
    "acknowledged": (IncidentState.ACKNOWLEDGED,),
    "resolved": (IncidentState.RESOLVED,),
}
_IncidentStates = Annotated[
    list[Literal["open", "triggered", "acknowledged", "resolved"]] | None,
    Query(description="Only incidents in one of these states; `open` is triggered or acknowledged."),
]
_NotificationStates = Annotated[
    list[NotificationState] | None, Query(description="Only notifications in one of these states.")
]
_Number = Annotated[str | None, Query(description="Only notifications about the incident with this number.")]
_Since = Annotated[Moment | None, Query(description="Only items opened (or created) at this time or later.")]
_Until = Annotated[Moment | None, Query(description="Only items opened (or created) before this time.")]


def incident_queries(facade: ServiceFacade) -> APIRouter:
    """Build the router of incidents and notifications."""
    router = query_router()
    status_reader = facade.status_reader

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
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        listing_filter = IncidentFilter(
            agencies=await agency_codes(agency or (), principal),
            states={each for name in state or () for each in _STATES[name]},
            since=since,
            until=_checked_until(until, since),
        )
        page = await status_reader.incident_page(
            listing_filter, limit=limit, after=read_id("incidents", cursor, negative_prefix=_OPEN_PREFIX)
        )
        # `page.after`: ID of the last incident of the page, negative for an open one; `None`: there is no next page.
        after = f"{_OPEN_PREFIX}{-page.after}" if page.after is not None and page.after < 0 else page.after
        return await list_response(_INCIDENT, page.rows, next_page(request, "incidents", after))

    @router.get(
        "/incidents/{number}",
        summary="Get one incident by its number",
        responses=NOT_FOUND,
        dependencies=require(Permission.READ, incident_in_path(facade)),
    )
    async def incident(number: str) -> IncidentView:
        return view_incident(await facade.find_incident(number))

    @router.get(
        "/incidents/{number}/sites",
        summary="List each site's findings about an incident; empty with a single site",
        responses=NOT_FOUND,
        dependencies=require(Permission.READ, incident_in_path(facade)),
    )
    async def sites(number: str) -> list[SiteIncidentSummary]:
        return list(await status_reader.site_evidence(await facade.find_incident(number)))

    @router.get("/notifications", summary="List notifications, newest first", response_model=list[NotificationView])
    async def notifications(
        request: Request,
        principal: Reader,
        *,
        agency: Agencies = None,
        incident: _Number = None,
        state: _NotificationStates = None,
        since: _Since = None,
        until: _Until = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        listing_filter = NotificationFilter(
            agencies=await agency_codes(agency or (), principal),
            incident_id=None if incident is None else await incident_id(incident),
            states=set(state or ()),
            since=since,
            until=_checked_until(until, since),
        )
        page = await status_reader.notification_page(
            listing_filter, limit=limit, after=read_id("notifications", cursor)
        )
        return await list_response(_NOTIFICATION, page.rows, next_page(request, "notifications", page.after))

    @router.get(
        "/notifications/{notification_id}",
        summary="Get one notification with its delivery attempts",
        responses=NOT_FOUND,
        dependencies=require(Permission.READ, notification_in_path(facade)),
    )
    async def notification(notification_id: Id) -> NotificationDetail:
        return await status_reader.notification(notification_id)

    async def agency_codes(texts: Sequence[str], principal: Principal) -> set[str]:
        """Return the agency codes in the filter *texts*; for an empty filter, the codes that the principal may see.

        An empty result stands for all agencies. Raise `HTTPException` if the principal may not see one of the agencies.
        """
        scope = principal.scope(Permission.READ)
        codes = {await find_code(each) for each in texts}
        for code in codes:
            check_permission(principal, Permission.READ, code)
        return codes or (set() if scope.is_unrestricted else set(scope.agencies))

    async def find_code(text: str) -> str:
        """Return the code of a configured agency, or of a removed one that has incidents."""
        try:
            return status_reader.find_agency_code(text)
        except NotFoundError as error:
            removed_code = text.strip().upper()
            if not (await status_reader.incident_page(IncidentFilter(agencies={removed_code}), limit=1)).rows:
                raise invalid_parameter("agency", str(error)) from None
            return removed_code

    async def incident_id(text: str) -> int:
        try:
            return (await facade.find_incident(text)).id
        except NotFoundError as error:
            raise invalid_parameter("incident", str(error)) from None

    return router


def _checked_until(until: datetime | None, since: datetime | None) -> datetime | None:
    if until is not None and since is not None and until <= since:
        raise invalid_parameter("until", "is not later than since")
    return until
