"""How an order is taken: no larger than any can be, in whose name, and once, however often it comes with its `Idempotency-Key`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from alerts.model.contradiction import Contradiction
from monitor.access.principal import Principal
from monitor.service.portal.idempotency import IdempotencyKeyReusedError, IdempotencyStore, RecordedResponse
from monitor.store.admin.idempotency import IdempotencyKey
from monitor.web.access.sign_in import from_where
from monitor.web.api.route.query import only_known
from monitor.web.problem import problems
from monitor.web.request import Holder, Name, Why

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
        tags=["commands"],
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


# -- what it says, and in whose name ---------------------------------------------------------------------------------


class ApiRequest(BaseModel):
    """An order that says nothing more."""

    model_config = ConfigDict(extra="forbid")

    by: Annotated[
        Name | None,
        Field(description="The person on whose behalf a program acts. Leave it out when signed in as a user."),
    ] = None


class ApiNote(ApiRequest):
    """What is being done about an incident."""

    text: Why


class ApiTakeOver(ApiRequest):
    """Whom an incident is taken over from, as `acknowledged_by` names them."""

    of: Holder


class ApiReasonRequest(ApiRequest):
    """An order and its reason."""

    why: Why


class ApiDespite(ApiRequest):
    """An order that may contradict what is measured."""

    despite: Annotated[
        Contradiction | None,
        Field(description="The contradiction that a rejection of this command named, to run it anyway."),
    ] = None


class ApiCorrection(ApiDespite, ApiReasonRequest):
    """That nothing was wrong, and how that is known."""


class ApiClose(ApiCorrection):
    """And whether mail works again; not said: as far as it was declared."""

    recovered: bool | None = None


def name_of(principal: Principal, said: str | None) -> str:
    """Return the name in which an order is carried out: a program may say which person told it to, nobody else may."""
    if principal.token is not None:
        return f"{said} ({principal.by})" if said else principal.by
    if said is not None:
        raise wrong_in_body("by", f"is known: {principal.by} has signed in; leave it out")
    return principal.by


def wrong_in_body(name: str, why: str) -> RequestValidationError:
    """Return that a member of the body is wrong, and why."""
    return RequestValidationError([{"type": "order", "loc": ("body", name), "msg": why}])


def wrong_header(name: str, why: str) -> RequestValidationError:
    """Return that a header is wrong, and why."""
    return RequestValidationError([{"type": "header", "loc": ("header", name), "msg": why}])


# -- once -----------------------------------------------------------------------------------------------------------

_HEADER = "Idempotency-Key"

_Key = Annotated[
    str | None,
    Header(
        alias=_HEADER,
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="Identifies a repeated command: within a day it runs once and every repetition gets the same response.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Who orders something."""

    #: As the journal reads it.
    by: str
    #: Whose keys theirs are.
    key_holder: str


class IdempotencyGuard:
    """Answers an order, and the same order again with the same."""

    def __init__(self, once: IdempotencyStore | None, request: Request, key: str | None) -> None:
        self._once = once
        self._request = request
        self._key = key

    async def answer(
        self, orderer: Requester, shape: TypeAdapter[Any], act: Callable[[], Awaitable[object]], status: int = 200
    ) -> Response:
        """Return what *act* comes to, written as *shape* says. Ask before whether who orders it may."""

        async def written() -> RecordedResponse:
            answered = RecordedResponse(status=status, body=shape.dump_json(await act()))
            if self._once is not None:
                order = f"{self._request.method} {self._request.url.path}"
                await self._once.taken(orderer.by, order, from_where(self._request))
            return answered

        if self._key is None or self._once is None:
            answered = await written()
        else:
            try:
                answered = await self._once.do(
                    IdempotencyKey(visitor=orderer.key_holder, key=self._key), await self._digest(), written
                )
            except IdempotencyKeyReusedError:
                why = "was sent with another order within a day; each order has a key of its own"
                raise wrong_header(_HEADER, why) from None
        return Response(answered.body, status_code=answered.status, media_type="application/json")

    async def _digest(self) -> str:
        address = f"{self._request.method} {self._request.url.path}\n"
        return sha256(address.encode() + await self._request.body()).hexdigest()


async def once_over(request: Request, key: _Key = None) -> IdempotencyGuard:
    """As a dependency of a route: by what it carries its order out once."""
    return IdempotencyGuard(request.app.state.once, request, key)


Once = Annotated[IdempotencyGuard, Depends(once_over)]


def orderer_of(principal: Principal) -> Requester:
    """Return who a visitor is who orders something."""
    if principal.token is not None:
        return Requester(by=principal.by, key_holder=f"token {principal.token.id}")
    return Requester(by=principal.by, key_holder=f"user {principal.user.id}" if principal.user else "nobody")
