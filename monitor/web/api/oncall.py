"""API of on-call data: for each rota (on-call schedule) the current and the next person and gaps; overrides.

An override puts another person on call for a time. Its number in a URL is its `id`. Responses contain names, but no
telephone numbers. `owner_of` returns the agency of a rota; `PANTAU_ITSELF` for a shared rota.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field, TypeAdapter

from alerts.model.oncall import Gap
from monitor.access.principal import Principal
from monitor.access.role import PANTAU_ITSELF, Permission
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.oncall import OnCall, owner_of
from monitor.service.status_reader import StatusReader
from monitor.web.access.access_control import PeopleReader, RequirePermission, check_permission
from monitor.web.api.route.command import ApiRequest, Idempotency, author_of, command_router, requester_of
from monitor.web.api.route.query import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    Moment,
    agency_code,
    invalid_parameter,
    list_response,
    next_page,
    query_router,
    read_cursor,
)
from monitor.web.command.oncall import ChangedOverrideResponse, OverrideResponse, view_changed_override, view_override
from monitor.web.request import Id
from monitor.web.routers import combine_routers

_Agency = Annotated[str | None, Query(description="Only the rotas that this agency's escalation names.")]
_At = Annotated[Moment | None, Query(description="At this moment; default: now.")]


class OnCallPerson(BaseModel):
    """Person who is or will be on call."""

    #: Key of the contact in the configuration.
    key: str
    name: str


class OnCallView(BaseModel):
    """A rota at one moment."""

    #: Name of the rota: "JCM/bertugas" for one of an agency, "bertugas" for a shared one.
    rota: str
    #: Person on call; `None`: nobody is on call.
    person: OnCallPerson | None
    #: Author of the override that puts this person on call; "" without an override.
    overridden_by: str
    #: When the person on call changes; `None`: not within three months.
    until: datetime | None
    #: Person on call after `until`; `None`: nobody.
    next: OnCallPerson | None
    #: Times without anybody on call, in the seven days from the moment that the response shows.
    gaps: list[Gap]


class ApiOverride(ApiRequest):
    """New override: rota, person, start, end and author."""

    rota: Annotated[str, Field(min_length=1, max_length=130, description="Name as in /api/v1/on-call.")]
    person: Annotated[str, Field(min_length=1, max_length=64, description="A contact's key.")]
    starts_at: Annotated[Moment | None, Field(description="Default: now.")] = None
    ends_at: Moment


_ROTA = TypeAdapter(OnCallView)
_OVERRIDE = TypeAdapter(OverrideResponse)
_CHANGE = TypeAdapter(ChangedOverrideResponse)
_Overrider = Annotated[Principal, Depends(RequirePermission(Permission.OVERRIDE))]


def on_call_queries(on_call_service: OnCall, status_reader: StatusReader) -> APIRouter:
    """Build the router of on-call data."""
    router = query_router()

    @router.get(
        "/on-call", summary="List who is on call, who is next, and gaps in the rota", response_model=list[OnCallView]
    )
    async def rotas(
        request: Request,
        principal: PeopleReader,
        *,
        agency: _Agency = None,
        at: _At = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        # Rotas are sorted by name; the page begins after this name.
        after = read_cursor("on-call", cursor) or ""
        code = "" if agency is None else agency_code(status_reader, agency)
        # Without the parameter *agency*, the response has the rotas of all agencies, for which the principal needs the
        # permission for Pantau itself.
        check_permission(principal, Permission.READ_PEOPLE, code or PANTAU_ITSELF)
        names = sorted(name for name in on_call_service.rotas(code) if name > after)
        page = names[:limit]
        try:
            views = await on_call_service.show(code, "" if at is None else at.isoformat(), only=page)
        except OperationRejectedError as error:
            raise invalid_parameter("at", str(error)) from None
        rows = [
            OnCallView.model_validate(each, from_attributes=True) for each in sorted(views, key=lambda view: view.rota)
        ]
        headers = next_page(request, "on-call", page[-1] if len(page) < len(names) else None)
        return await list_response(_ROTA, rows, headers)

    return router


def override_routes(on_call_service: OnCall) -> APIRouter:
    """Build the router of overrides."""
    commands, queries = command_router(), query_router()

    @queries.get("/overrides", summary="List current and future overrides", response_model=list[OverrideResponse])
    async def list_overrides(principal: PeopleReader) -> Response:
        scope = principal.scope(Permission.READ_PEOPLE)
        rows = [view_override(each) for each in await on_call_service.overrides() if owner_of(each.rota) in scope]
        return await list_response(_OVERRIDE, rows)

    @commands.post(
        "/overrides",
        summary="Create an override; Pantau does not notify the people concerned",
        response_model=ChangedOverrideResponse,
        status_code=HTTPStatus.CREATED,
    )
    async def add(command: ApiOverride, principal: _Overrider, idempotency: Idempotency) -> Response:
        check_permission(principal, Permission.OVERRIDE, owner_of(command.rota.strip()).upper())
        name = author_of(principal, command.by)

        async def operation() -> ChangedOverrideResponse:
            starts_at = command.starts_at.isoformat() if command.starts_at else ""
            created = await on_call_service.add(
                rota=command.rota, person=command.person, begins=starts_at, ends=command.ends_at.isoformat(), by=name
            )
            return view_changed_override(created, await on_call_service.contacts_affected_by(created))

        return await idempotency.run(requester_of(principal), _CHANGE, operation, HTTPStatus.CREATED)

    @commands.delete("/overrides/{number}", summary="Remove an override", response_model=ChangedOverrideResponse)
    async def remove(number: Id, principal: _Overrider) -> ChangedOverrideResponse:
        override = next((each for each in await on_call_service.overrides() if each.id == number), None)
        if override is None:
            raise NotFoundError(f"there is no override {number} in force; /api/v1/overrides lists them")
        check_permission(principal, Permission.OVERRIDE, owner_of(override.rota))
        removed = await on_call_service.remove(number, principal.by)
        return view_changed_override(removed, await on_call_service.contacts_affected_by(removed))

    return combine_routers(queries, commands)
