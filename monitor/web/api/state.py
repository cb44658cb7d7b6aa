"""API of the current state: agencies, reference mailboxes, gateways, letters, and Pantau's own components.

A reference mailbox is a mailbox of Pantau, outside of the agencies, with which probes exchange messages. A site is a
place from which Pantau probes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import TypeAdapter

from alerts.model.channel import Channel
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.model.route import Direction
from monitor.runtime.cooperative import yielding
from monitor.service.facade import ServiceFacade
from monitor.service.paper.letters import Letters, LetterView
from monitor.views.agency_filter import status_in_directions
from monitor.views.agency_status import AgencyStatus
from monitor.views.days import AgencyDays, Availability
from monitor.views.overview import AgencyView, CheckView
from monitor.views.self_health import ComponentView, GatewayStatus, ReferenceView
from monitor.views.site_report import SiteSumsView, view_sums
from monitor.web.access.access_control import Reader, RequirePermission, agency_in_path, pantau_as_agency, require
from monitor.web.api.route.query import (
    MAX_LIMIT,
    NOT_FOUND,
    Agencies,
    Cursor,
    agency_code,
    etag_of,
    json_array,
    list_response,
    next_page,
    query_router,
    read_cursor,
)

_AGENCY = TypeAdapter(AgencyView)
_LETTER = TypeAdapter(LetterView)
_AVAILABILITY = TypeAdapter(Sequence[Availability])
#: End of the JSON of an agency without its availability. `_build_body` replaces it.
_EMPTY_AVAILABILITY = b'"availability":[]}'

_Directions = Annotated[
    list[Literal["internal", "outbound", "inbound"]] | None,
    Query(description="Only agencies probed in one of these directions; `state` then applies to these directions."),
]
_States = Annotated[list[AgencyStatus] | None, Query(description="Only agencies in one of these states.")]
_Channels = Annotated[list[Channel] | None, Query(description="Only gateways of these channels.")]
#: Rows per page of a list of configured items. Such a list does not grow over time, so it has one page by default.
_OptionalLimit = Annotated[int | None, Query(ge=1, le=MAX_LIMIT, description="Rows per page; all by default.")]
#: Principal who may post letters of some agency.
_Clerk = Annotated[Principal, Depends(RequirePermission(Permission.POST_LETTERS))]
_Days = Annotated[
    int, Query(ge=1, le=400, description="Number of days, up to today. `availability` always covers 30 and 90 days.")
]


def state_queries(facade: ServiceFacade, letter_service: Letters | None) -> APIRouter:
    """Build the router of the current state. Without a *letter_service*, the router has no route for letters."""
    router = query_router()
    agency_list = AgencyList()

    requires_pantau_reader = require(Permission.READ, pantau_as_agency)
    requires_agency_reader = require(Permission.READ, agency_in_path)

    @router.get(
        "/self-health",
        summary="Get the health of Pantau itself and its problems",
        dependencies=require(Permission.READ),
    )
    async def self_health() -> list[ComponentView]:
        return list(facade.status_reader.own())

    @router.get("/agencies", summary="List all agencies and the health of their mail", response_model=list[AgencyView])
    async def agencies(
        request: Request,
        principal: Reader,
        *,
        agency: Agencies = None,
        state: _States = None,
        direction: _Directions = None,
        limit: _OptionalLimit = None,
        cursor: Cursor = None,
    ) -> Response:
        # Agencies are sorted by code; the page begins after this code.
        after = read_cursor("agencies", cursor) or ""
        codes = None if agency is None else {agency_code(facade.status_reader, each) for each in agency}
        scope = principal.scope(Permission.READ)
        # Do not use FastAPI's serialization: for ten thousand routes, it would block the event loop for a third of a
        # second.
        serialized = await agency_list.serialize(await facade.status_reader.agencies())
        availabilities = await facade.status_reader.availabilities()
        matching = [
            (view.agency, text)
            for view, text in serialized
            if view.agency > after
            and view.agency in scope
            and (codes is None or view.agency in codes)
            and _matches(view, state, direction)
        ]
        page = matching[:limit]
        last = page[-1][0] if len(page) < len(matching) else None
        # The body may have some megabytes, so use a thread.
        body, etag = await asyncio.to_thread(_build_body, page, availabilities)
        headers = {"ETag": etag, **next_page(request, "agencies", last)}
        return Response(body, media_type="application/json", headers=headers)

    @router.get(
        "/agencies/{code}",
        summary="Get one agency",
        response_model=AgencyView,
        responses=NOT_FOUND,
        dependencies=requires_agency_reader,
    )
    async def agency(code: str) -> Response:
        view = await facade.status_reader.agency(code)
        # The number of days does not matter: the availability always covers 30 and 90 days.
        view = replace(view, availability=(await facade.status_reader.days(view.agency, 1)).availability)
        return Response(_AGENCY.dump_json(view), media_type="application/json")

    @router.get(
        "/references",
        summary="List the reference mailboxes and their health",
        dependencies=requires_pantau_reader,
    )
    async def references() -> list[ReferenceView]:
        return list(facade.status_reader.references())

    @router.get(
        "/gateways",
        summary="List the gateways in the order in which they are tried, and their health",
        dependencies=requires_pantau_reader,
    )
    async def gateways(channel: _Channels = None) -> list[GatewayStatus]:
        return [each for each in facade.status_reader.gateways() if channel is None or each.channel in channel]

    @router.get(
        "/agencies/{code}/days",
        summary="Get the daily history of one agency",
        responses=NOT_FOUND,
        dependencies=requires_agency_reader,
    )
    async def days(code: str, days: _Days = 90) -> AgencyDays:
        return await facade.status_reader.days(code, days)

    @router.get(
        "/agencies/{code}/sites",
        summary="List the run totals of one agency per site, this site first; empty with a single site",
        responses=NOT_FOUND,
        dependencies=requires_agency_reader,
    )
    async def sites(code: str, days: _Days = 30) -> list[SiteSumsView]:
        return [view_sums(each) for each in await facade.status_reader.site_sums(code, days)]

    @router.get(
        "/self-checks", summary="List the check results of the reference mailboxes", dependencies=requires_pantau_reader
    )
    async def self_checks() -> list[CheckView]:
        return list(facade.status_reader.own_checks())

    if letter_service is not None:

        @router.get(
            "/letters",
            summary="List the letters in the trays and those posted recently",
            response_model=list[LetterView],
        )
        async def letters(principal: _Clerk) -> Response:
            scope = principal.scope(Permission.POST_LETTERS)
            visible = [each for each in await letter_service.letters() if each.agency in scope]
            return await list_response(_LETTER, visible)

    return router


def _matches(view: AgencyView, states: Sequence[AgencyStatus] | None, directions: Sequence[str] | None) -> bool:
    """Whether an agency is probed in one of *directions*, and its state in them is one of *states*; `None`: any."""
    state = view.state if directions is None else status_in_directions(view, [Direction(each) for each in directions])
    # `status_in_directions` returns `None` if the agency is probed in none of the directions.
    return state is not None and (states is None or state in states)


class AgencyList:
    """Cache of the JSON of all agencies. An agency is serialized again only when it has changed."""

    def __init__(self) -> None:
        self._cache: dict[str, tuple[AgencyView, bytes]] = {}

    async def serialize(self, views: Sequence[AgencyView]) -> Sequence[tuple[AgencyView, bytes]]:
        """Return each of *views* with its JSON. *views* must contain all agencies: the cache drops every other agency.

        The view of an agency stays the same object until the agency changes.
        """
        previous, current = self._cache, dict[str, tuple[AgencyView, bytes]]()
        async for view in yielding(views):
            cached = previous.get(view.agency)
            if cached is None or cached[0] is not view:
                cached = view, _AGENCY.dump_json(view)
            current[view.agency] = cached
        self._cache = current
        return list(current.values())


def _build_body(
    page: Iterable[tuple[str, bytes]], availabilities: Mapping[str, Sequence[Availability]]
) -> tuple[bytes, str]:
    """Return a JSON array of agencies with their availability, and the ETag of the array.

    *page*: agency codes and cached JSON. The JSON lacks the availability, which changes every minute.
    """
    body = json_array(
        text.removesuffix(_EMPTY_AVAILABILITY)
        + b'"availability":'
        + _AVAILABILITY.dump_json(availabilities.get(code, ()))
        + b"}"
        for code, text in page
    )
    return body, etag_of(body)
