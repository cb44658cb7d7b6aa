"""Orders over HTTP: programs with a token acknowledge. Nothing else can be ordered here (see docs/adr)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from monitor.service.front import Front
from monitor.views.overview import IncidentView, view_incident
from monitor.web.access.gate import OpenToAll
from monitor.web.problem import problems
from monitor.web.word import Word

_Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]

#: A name, and what JSON makes of it. It is read before it is known whose it is.
LARGEST_ORDER = 16 * 1024

_REFUSALS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


def orders(source: Front) -> APIRouter:
    """Build the routes. A page of a stranger's cannot send the header, so no browser orders anything unasked."""
    router = APIRouter(prefix="/api/v1", tags=["orders"], route_class=_BoundedRoute)

    def program_of(bearer: HTTPAuthorizationCredentials | None) -> str:
        program = None if bearer is None else source.program(bearer.credentials)
        if program is None:
            raise HTTPException(401, "no token that is known", headers={"WWW-Authenticate": "Bearer"})
        return program

    async def known(bearer: _Bearer) -> None:
        """Ask for the token first: what is wrong with an order is told to nobody without one."""
        program_of(bearer)

    @router.post(
        "/incidents/{number}/acknowledge",
        summary="Take an incident on; needs a token of `api`",
        dependencies=[Depends(OpenToAll("has a token of its own")), Depends(known)],
        responses=problems(*_REFUSALS),
    )
    async def acknowledge(number: str, word: Word, bearer: _Bearer) -> IncidentView:
        program = program_of(bearer)
        # Both are written down: the person, by the word of the program.
        return view_incident(await source.acknowledge(number, f"{word.by} ({program})"))

    return router


class _BoundedRequest(Request):
    """Is refused as soon as it is larger than any order."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if size > LARGEST_ORDER:
                raise HTTPException(413, f"an order has at most {LARGEST_ORDER} octets")
            yield chunk


class _BoundedRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handle(_BoundedRequest(request.scope, request.receive))

        return bounded
