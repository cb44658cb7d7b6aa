"""The form of an order: no larger than any can be, with no parameter that is not known, and a token in its header."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from monitor.web.api.route.parameter import only_known
from monitor.web.problem import problems

#: So that the schema tells of it; the gate reads it itself.
BEARER: Final = HTTPBearer(auto_error=False)

#: Names and reasons, and what JSON makes of them. It is read before it is known whose it is.
LARGEST_ORDER: Final = 16 * 1024

_REFUSALS: Final = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


def given_orders() -> APIRouter:
    """Return a router for what programs order."""
    return APIRouter(
        prefix="/api/v1",
        tags=["orders"],
        route_class=_BoundedRoute,
        dependencies=[Depends(BEARER), Depends(only_known)],
        responses=problems(*_REFUSALS),
    )


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
