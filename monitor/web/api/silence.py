"""API of silences: list, create, end. A silence suppresses notifications about an agency or a route for a time.

A route leads from one mailbox to another. The number of a silence in a URL is its `id`.
"""

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
from monitor.web.access.access_control import Reader, RequirePermission, check_permission
from monitor.web.api.route.command import (
    ApiReasonRequest,
    Idempotency,
    author_of,
    command_router,
    invalid_member,
    requester_of,
)
from monitor.web.api.route.query import list_response, query_router
from monitor.web.request import Id
from monitor.web.routers import combine_routers

_SILENCE = TypeAdapter(Silence)
#: Principal who may silence some agency. The routes check the permission for the agency of the target.
_SilencingPrincipal = Annotated[Principal, Depends(RequirePermission(Permission.SILENCE))]


class ApiSilence(ApiReasonRequest):
    """New silence: target, duration, reason and author."""

    target: Annotated[str, Field(min_length=1, max_length=200, description="An agency's code, or a route's name.")]
    duration: Annotated[str, Field(min_length=1, max_length=20, description="2h, 30m; seven days at most.")]


def silence_routes(silencer: Silencer) -> APIRouter:
    """Build the router of silences."""
    commands, queries = command_router(), query_router()

    @queries.get("/silences", summary="List current silences, oldest first", response_model=list[Silence])
    async def current(principal: Reader) -> Response:
        # `agency_of` returns "" if the target is no monitored agency or route; only an unrestricted scope contains "".
        scope = principal.scope(Permission.READ)
        rows = [each for each in await silencer.current() if silencer.agency_of(each.target) in scope]
        return await list_response(_SILENCE, rows)

    @commands.post(
        "/silences",
        summary="Silence notifications about an agency or a route",
        response_model=Silence,
        status_code=HTTPStatus.CREATED,
    )
    async def add(command: ApiSilence, principal: _SilencingPrincipal, idempotency: Idempotency) -> Response:
        target = silencer.find_target(command.target)
        check_permission(principal, Permission.SILENCE, silencer.agency_of(target))
        name = author_of(principal, command.by)
        try:
            duration = parse_duration(command.duration)
        except InvalidDurationError as error:
            raise invalid_member("duration", f"{error}; write 2h, or 30m") from None

        async def operation() -> Silence:
            return await silencer.add(target, duration, command.reason, name)

        return await idempotency.run(requester_of(principal), _SILENCE, operation, HTTPStatus.CREATED)

    @commands.delete(
        "/silences/{number}",
        summary="End a silence now; people are notified at once of the problems that persist",
        response_model=Silence,
    )
    async def end(number: Id, principal: _SilencingPrincipal) -> Silence:
        silence = next((each for each in await silencer.current() if each.id == number), None)
        if silence is None:
            raise NotFoundError(f"there is no silence {number} in force; /api/v1/silences lists them")
        check_permission(principal, Permission.SILENCE, silencer.agency_of(silence.target))
        return await silencer.remove(number, principal.by)

    return combine_routers(queries, commands)
