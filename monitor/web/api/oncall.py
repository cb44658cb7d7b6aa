"""On-call data for programs: current and next person, gaps, overrides.

An override transfers a duty to another person for a time. Contains names but no telephone numbers.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field, TypeAdapter

from alerts.model.oncall import Gap
from monitor.access.principal import Principal
from monitor.access.role import OURSELVES, Permission
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.oncall import OnCall, owner_of
from monitor.service.status_reader import StatusReader
from monitor.web.access.access_control import Colleague, RequirePermission, permit
from monitor.web.api.route.command import ApiRequest, Once, given_orders, name_of, orderer_of
from monitor.web.api.route.query import (
    USUAL,
    Cursor,
    Limit,
    Moment,
    called,
    listed,
    next_page,
    questions,
    read_cursor,
    wrong,
)
from monitor.web.command.oncall import ChangedOverrideResponse, OverrideResponse, view_change, view_override
from monitor.web.request import Id
from monitor.web.routers import together

_Agency = Annotated[str | None, Query(description="Only the rotas that this agency's escalation names.")]
_At = Annotated[Moment | None, Query(description="At this moment; now, if it is not said.")]


class OnCallPerson(BaseModel):
    """Person who is or will be on call."""

    key: str
    name: str


class OnCallView(BaseModel):
    """A rota at one moment."""

    rota: str
    #: `None`: nobody is on call.
    person: OnCallPerson | None
    #: Author of the override by which this person is on call; empty without one.
    overridden_by: str
    #: When that changes; `None`: not within three months.
    until: datetime | None
    #: Next person; `None`: nobody.
    next: OnCallPerson | None
    #: Gaps in the seven days from that moment.
    gaps: list[Gap]


class ApiOverride(ApiRequest):
    """Override: person, rota, start and end."""

    rota: Annotated[str, Field(min_length=1, max_length=130, description="Name as in /api/v1/on-call.")]
    person: Annotated[str, Field(min_length=1, max_length=64, description="A contact's key.")]
    starts_at: Annotated[Moment | None, Field(description="Default: now.")] = None
    ends_at: Moment


_ROTA = TypeAdapter(OnCallView)
_OVERRIDE = TypeAdapter(OverrideResponse)
_CHANGE = TypeAdapter(ChangedOverrideResponse)
_Giver = Annotated[Principal, Depends(RequirePermission(Permission.OVERRIDE))]


def on_call(duty: OnCall, board: StatusReader) -> APIRouter:
    """Build the router of on-call data."""
    router = questions()

    @router.get(
        "/on-call", summary="List who is on call, who is next, and gaps in the rota", response_model=list[OnCallView]
    )
    async def rotas(
        request: Request,
        principal: Colleague,
        *,
        agency: _Agency = None,
        at: _At = None,
        limit: Limit = USUAL,
        cursor: Cursor = None,
    ) -> Response:
        after = read_cursor("on-call", cursor) or ""
        code = "" if agency is None else called(board, agency)
        # For all agencies, and for Pantau itself.
        permit(principal, Permission.READ_PEOPLE, code or OURSELVES)
        names = sorted(name for name in duty.rotas(code) if name > after)
        page = names[:limit]
        try:
            views = await duty.show(code, "" if at is None else at.isoformat(), only=page)
        except OperationRejectedError as refusal:
            raise wrong("at", str(refusal)) from None
        rows = [
            OnCallView.model_validate(each, from_attributes=True) for each in sorted(views, key=lambda view: view.rota)
        ]
        headers = next_page(request, "on-call", page[-1] if len(page) < len(names) else None)
        return await listed(_ROTA, rows, headers)

    return router


def override_orders(duty: OnCall) -> APIRouter:
    """Build the router of overrides."""
    router, asked = given_orders(), questions()

    @asked.get("/overrides", summary="List current and future overrides", response_model=list[OverrideResponse])
    async def standing(principal: Colleague) -> Response:
        scope = principal.scope(Permission.READ_PEOPLE)
        rows = [view_override(each) for each in await duty.overrides() if owner_of(each.rota) in scope]
        return await listed(_OVERRIDE, rows)

    @router.post(
        "/overrides",
        summary="Create an override; Pantau does not notify the people concerned",
        response_model=ChangedOverrideResponse,
        status_code=HTTPStatus.CREATED,
    )
    async def add(said: ApiOverride, principal: _Giver, carry_out: Once) -> Response:
        permit(principal, Permission.OVERRIDE, owner_of(said.rota.strip()).upper())
        name = name_of(principal, said.by)

        async def act() -> ChangedOverrideResponse:
            begins = said.starts_at.isoformat() if said.starts_at else ""
            made = await duty.add(
                rota=said.rota, person=said.person, begins=begins, ends=said.ends_at.isoformat(), by=name
            )
            return view_change(made, await duty.concerned(made))

        return await carry_out.answer(orderer_of(principal), _CHANGE, act, HTTPStatus.CREATED)

    @router.delete("/overrides/{number}", summary="Remove an override", response_model=ChangedOverrideResponse)
    async def remove(number: Id, principal: _Giver) -> ChangedOverrideResponse:
        found = next((each for each in await duty.overrides() if each.id == number), None)
        if found is None:
            raise NotFoundError(f"no override {number} stands; /api/v1/overrides lists them")
        permit(principal, Permission.OVERRIDE, owner_of(found.rota))
        gone = await duty.remove(number, principal.by)
        return view_change(gone, await duty.concerned(gone))

    return together(asked, router)
