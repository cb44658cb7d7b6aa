"""Overrides over HTTP: somebody takes a duty over for a while. Names, and no numbers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field, TypeAdapter

from monitor.access.role import Permission
from monitor.access.visitor import Visitor
from monitor.service.oncall import Duty, owner_of
from monitor.service.order import Unknown
from monitor.web.access.gate import Colleague, Needs, permit
from monitor.web.api.route.order import ApiWord, Once, given_orders, name_of, orderer_of
from monitor.web.api.route.question import Moment, listed, questions
from monitor.web.command.oncall import ChangedOverrideWord, OverrideWord, view_change, view_override
from monitor.web.joining import together
from monitor.web.word import Id

_OVERRIDE = TypeAdapter(OverrideWord)
_CHANGE = TypeAdapter(ChangedOverrideWord)
_Giver = Annotated[Visitor, Depends(Needs(Permission.OVERRIDE))]


class ApiOverride(ApiWord):
    """Who takes which duty over, from when until when."""

    rota: Annotated[str, Field(min_length=1, max_length=130, description="As /api/v1/on-call names it.")]
    person: Annotated[str, Field(min_length=1, max_length=64, description="A contact's key.")]
    begins: Annotated[Moment | None, Field(description="Now, if it is not said.")] = None
    ends: Moment


def override_orders(duty: Duty) -> APIRouter:
    """Build the routes."""
    router, asked = given_orders(), questions()

    @asked.get("/overrides", summary="The overrides that are not over", response_model=list[OverrideWord])
    async def standing(visitor: Colleague) -> Response:
        scope = visitor.scope(Permission.READ_PEOPLE)
        rows = [view_override(each) for each in await duty.overrides() if owner_of(each.rota) in scope]
        return await listed(_OVERRIDE, rows)

    @router.post(
        "/overrides",
        summary="Put somebody on call instead of whoever is planned; tell them, and who is relieved: Pantau does not",
        response_model=ChangedOverrideWord,
        status_code=HTTPStatus.CREATED,
    )
    async def add(said: ApiOverride, visitor: _Giver, carry_out: Once) -> Response:
        permit(visitor, Permission.OVERRIDE, owner_of(said.rota.strip()).upper())
        name = name_of(visitor, said.by)

        async def act() -> ChangedOverrideWord:
            begins = said.begins.isoformat() if said.begins else ""
            made = await duty.add(
                rota=said.rota, person=said.person, begins=begins, ends=said.ends.isoformat(), by=name
            )
            return view_change(made, await duty.concerned(made))

        return await carry_out.answer(orderer_of(visitor), _CHANGE, act, HTTPStatus.CREATED)

    @router.delete("/overrides/{number}", summary="Take an override back", response_model=ChangedOverrideWord)
    async def remove(number: Id, visitor: _Giver) -> ChangedOverrideWord:
        found = next((each for each in await duty.overrides() if each.id == number), None)
        if found is None:
            raise Unknown(f"no override {number} stands; /api/v1/overrides lists them")
        permit(visitor, Permission.OVERRIDE, owner_of(found.rota))
        gone = await duty.remove(number, visitor.by)
        return view_change(gone, await duty.concerned(gone))

    return together(asked, router)
