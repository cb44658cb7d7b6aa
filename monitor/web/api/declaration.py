"""Outages that people know of and no probe sees, declared over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import Field, TypeAdapter

from alerts.model.notice import Matter
from monitor.access.role import Permission
from monitor.access.visitor import Visitor
from monitor.service.declarer import Declarer
from monitor.web.access.gate import Needs, permit
from monitor.web.api.route.order import ApiReason, Once, given_orders, name_of, orderer_of
from monitor.web.api.route.question import Moment
from monitor.web.command.control import DeclaredView, view_declared

_DECLARED = TypeAdapter(DeclaredView)
_Ruler = Annotated[Visitor, Depends(Needs(Permission.RULE))]


class ApiDeclaration(ApiReason):
    """What does not work where, since when, and who knows it from what."""

    agency: Annotated[str, Field(min_length=1, max_length=64)]
    matter: Literal[Matter.SENDING, Matter.RECEIVING, Matter.BOTH]
    since: Annotated[Moment | None, Field(description="Now, if it is not said; at most seven days ago.")] = None


def declaration_orders(declarer: Declarer) -> APIRouter:
    """Build the route."""
    router = given_orders()

    @router.post(
        "/declarations",
        summary="Declare an outage that no probe sees: it is told of as a measured one is",
        response_model=DeclaredView,
        status_code=HTTPStatus.CREATED,
    )
    async def declare(said: ApiDeclaration, visitor: _Ruler, carry_out: Once) -> Response:
        permit(visitor, Permission.RULE, said.agency.strip().upper())
        name = name_of(visitor, said.by)

        async def act() -> DeclaredView:
            since = said.since.isoformat() if said.since else ""
            done = await declarer.declare(said.agency, said.matter, since=since, why=said.why, by=name)
            return view_declared(done)

        return await carry_out.answer(orderer_of(visitor), _DECLARED, act, HTTPStatus.CREATED)

    return router
