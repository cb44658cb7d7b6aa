"""Current state for programs: agencies, and Pantau's own components."""

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
from monitor.views.agency_filter import state_in
from monitor.views.agency_status import AgencyStatus
from monitor.views.days import AgencyDays, Availability
from monitor.views.overview import AgencyView, CheckView
from monitor.views.self_health import GatewayStatus, PartView, ReferenceView
from monitor.views.site_report import SiteSumsView, view_sums
from monitor.web.access.access_control import Reader, RequirePermission, about_ourselves, agency_in_path, require
from monitor.web.api.route.query import (
    MOST,
    NOT_FOUND,
    Agencies,
    Cursor,
    called,
    etag_of,
    joined,
    listed,
    next_page,
    questions,
    read_cursor,
)

_AGENCY = TypeAdapter(AgencyView)
_LETTER = TypeAdapter(LetterView)
_AVAILABILITY = TypeAdapter(Sequence[Availability])
#: End of an agency's JSON without availability.
_NOT_ASKED = b'"availability":[]}'

_Directions = Annotated[
    list[Literal["internal", "outbound", "inbound"]] | None,
    Query(description="Only agencies probed in one of these directions; `state` then applies to these directions."),
]
_States = Annotated[list[AgencyStatus] | None, Query(description="Only agencies in one of these states.")]
_Channels = Annotated[list[Channel] | None, Query(description="Only gateways of these channels.")]
#: The number of configured items does not grow over time, so the default is all.
_Few = Annotated[int | None, Query(ge=1, le=MOST, description="Rows per page; all by default.")]
_Clerk = Annotated[Principal, Depends(RequirePermission(Permission.POST_LETTERS))]
_Days = Annotated[
    int, Query(ge=1, le=400, description="Number of days, up to today. `availability` always covers 30 and 90 days.")
]


def states(source: ServiceFacade, tray: Letters | None) -> APIRouter:
    """Build the router of the state. *tray*: the letters."""
    router = questions()
    written_agencies = AgencyList()

    ours = require(Permission.READ, about_ourselves)
    of_agency = require(Permission.READ, agency_in_path)

    @router.get(
        "/self-health",
        summary="Get the health of Pantau itself and its problems",
        dependencies=require(Permission.READ),
    )
    async def self_health() -> list[PartView]:
        return list(source.board.own())

    @router.get("/agencies", summary="List all agencies and the health of their mail", response_model=list[AgencyView])
    async def agencies(
        request: Request,
        principal: Reader,
        *,
        agency: Agencies = None,
        state: _States = None,
        direction: _Directions = None,
        limit: _Few = None,
        cursor: Cursor = None,
    ) -> Response:
        after = read_cursor("agencies", cursor) or ""
        codes = None if agency is None else {called(source.board, each) for each in agency}
        scope = principal.scope(Permission.READ)
        # Serialize by hand: with validation, ten thousand routes would block the event loop for a third of a second.
        written = await written_agencies.written(await source.board.agencies())
        available = await source.board.availabilities()
        wanted = [
            (view.agency, text)
            for view, text in written
            if view.agency > after
            and view.agency in scope
            and (codes is None or view.agency in codes)
            and _stands(view, state, direction)
        ]
        page = wanted[:limit]
        last = page[-1][0] if len(page) < len(wanted) else None
        # Some megabytes, so use a thread.
        body, etag = await asyncio.to_thread(_marked, page, available)
        headers = {"ETag": etag, **next_page(request, "agencies", last)}
        return Response(body, media_type="application/json", headers=headers)

    @router.get(
        "/agencies/{code}",
        summary="Get one agency",
        response_model=AgencyView,
        responses=NOT_FOUND,
        dependencies=of_agency,
    )
    async def agency(code: str) -> Response:
        view = await source.board.agency(code)
        view = replace(view, availability=(await source.board.days(view.agency, 1)).availability)
        return Response(_AGENCY.dump_json(view), media_type="application/json")

    @router.get(
        "/references",
        summary="List the reference mailboxes and their health",
        dependencies=ours,
    )
    async def references() -> list[ReferenceView]:
        return list(source.board.references())

    @router.get(
        "/gateways",
        summary="List the gateways in the order in which they are tried, and their health",
        dependencies=ours,
    )
    async def gateways(channel: _Channels = None) -> list[GatewayStatus]:
        return [each for each in source.board.gateways() if channel is None or each.channel in channel]

    @router.get(
        "/agencies/{code}/days",
        summary="Get the daily history of one agency",
        responses=NOT_FOUND,
        dependencies=of_agency,
    )
    async def days(code: str, days: _Days = 90) -> AgencyDays:
        return await source.board.days(code, days)

    @router.get(
        "/agencies/{code}/sites",
        summary="List the run totals of one agency per site, this site first; empty with a single site",
        responses=NOT_FOUND,
        dependencies=of_agency,
    )
    async def sites(code: str, days: _Days = 30) -> list[SiteSumsView]:
        return [view_sums(each) for each in await source.board.site_sums(code, days)]

    @router.get("/self-checks", summary="List the check results of the reference mailboxes", dependencies=ours)
    async def self_checks() -> list[CheckView]:
        return list(source.board.own_checks())

    if tray is not None:

        @router.get(
            "/letters",
            summary="List the letters in the trays and those posted recently",
            response_model=list[LetterView],
        )
        async def letters(principal: _Clerk) -> Response:
            scope = principal.scope(Permission.POST_LETTERS)
            found = [each for each in await tray.letters() if each.agency in scope]
            return await listed(_LETTER, found)

    return router


def _stands(view: AgencyView, states: Sequence[AgencyStatus] | None, directions: Sequence[str] | None) -> bool:
    state = view.state if directions is None else state_in(view, [Direction(each) for each in directions])
    return state is not None and (states is None or state in states)


class AgencyList:
    """Cache of all agencies as JSON. An agency is serialized again only when it changes."""

    def __init__(self) -> None:
        self._written: dict[str, tuple[AgencyView, bytes]] = {}

    async def written(self, views: Sequence[AgencyView]) -> Sequence[tuple[AgencyView, bytes]]:
        """Return each of *views*, which must be complete, with its JSON."""
        before, now = self._written, dict[str, tuple[AgencyView, bytes]]()
        async for view in yielding(views):
            known = before.get(view.agency)
            if known is None or known[0] is not view:
                known = view, _AGENCY.dump_json(view)
            now[view.agency] = known
        self._written = now
        return list(now.values())


def _marked(page: Iterable[tuple[str, bytes]], available: Mapping[str, Sequence[Availability]]) -> tuple[bytes, str]:
    """Return a JSON array of agencies, and its ETag.

    Availability, which changes every minute, is inserted here; the JSON around it is cached until a route has run.
    """
    body = joined(
        text.removesuffix(_NOT_ASKED) + b'"availability":' + _AVAILABILITY.dump_json(available.get(code, ())) + b"}"
        for code, text in page
    )
    return body, etag_of(body)
