"""Silences over HTTP: create, list, end."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field, TypeAdapter

from alerts.decide.silence import Silence
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.config.files.duration import InvalidDurationError, parse_duration
from monitor.service.errors import NotFoundError
from monitor.service.silences import Silencer
from monitor.web.access.access_control import Reader, RequirePermission, permit
from monitor.web.api.route.command import ApiReasonRequest, Once, given_orders, name_of, orderer_of, wrong_in_body
from monitor.web.api.route.query import listed, questions
from monitor.web.request import Id
from monitor.web.routers import together

_SILENCE = TypeAdapter(Silence)
_Silencer = Annotated[Principal, Depends(RequirePermission(Permission.SILENCE))]


class ApiSilence(ApiReasonRequest):
    """Target, duration and reason of a silence."""

    target: Annotated[str, Field(min_length=1, max_length=200, description="An agency's code, or a route's name.")]
    duration: Annotated[str, Field(min_length=1, max_length=20, description="2h, 30m; seven days at most.")]


def silence_orders(silencer: Silencer) -> APIRouter:
    """Build the router of silences."""
    router, asked = given_orders(), questions()

    @asked.get("/silences", summary="List current silences, oldest first", response_model=list[Silence])
    async def current(principal: Reader) -> Response:
        scope = principal.scope(Permission.READ)
        rows = [each for each in await silencer.current() if silencer.whose(each.target) in scope]
        return await listed(_SILENCE, rows)

    @router.post(
        "/silences",
        summary="Silence notifications about an agency or a route",
        response_model=Silence,
        status_code=HTTPStatus.CREATED,
    )
    async def add(said: ApiSilence, principal: _Silencer, carry_out: Once) -> Response:
        about = silencer.called(said.target)
        permit(principal, Permission.SILENCE, silencer.whose(about))
        name = name_of(principal, said.by)
        try:
            lasts = parse_duration(said.duration)
        except InvalidDurationError as wrong:
            raise wrong_in_body("duration", f"{wrong}; write 2h, or 30m") from None

        async def act() -> Silence:
            return await silencer.add(about, lasts, said.reason, name)

        return await carry_out.answer(orderer_of(principal), _SILENCE, act, HTTPStatus.CREATED)

    @router.delete(
        "/silences/{number}",
        summary="End a silence now; persisting problems are notified at once",
        response_model=Silence,
    )
    async def end(number: Id, principal: _Silencer) -> Silence:
        found = next((each for each in await silencer.current() if each.id == number), None)
        if found is None:
            raise NotFoundError(f"there is no silence {number} that goes on; /api/v1/silences lists them")
        permit(principal, Permission.SILENCE, silencer.whose(found.target))
        return await silencer.remove(number, principal.by)

    return together(asked, router)
