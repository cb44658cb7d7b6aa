"""Handling of commands: a size limit, the author, and idempotency by `Idempotency-Key`."""

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

#: Declared for the schema only; the access control reads the header itself.
BEARER: Final = HTTPBearer(auto_error=False)

#: Octets: names and reasons in JSON. The body is read before the author is known.
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
    """Return a router for commands."""
    return APIRouter(
        prefix="/api/v1",
        tags=["commands"],
        route_class=_BoundedRoute,
        dependencies=[Depends(BEARER), Depends(only_known)],
        responses=problems(*_REFUSALS),
    )


class _BoundedRequest(Request):
    """Request whose body is rejected as soon as it exceeds the size limit."""

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


# -- body and author -------------------------------------------------------------------------------------------------


class ApiRequest(BaseModel):
    """Command without parameters."""

    model_config = ConfigDict(extra="forbid")

    by: Annotated[
        Name | None,
        Field(description="The person on whose behalf a program acts. Leave it out when signed in as a user."),
    ] = None


class ApiNote(ApiRequest):
    """Note on an incident."""

    text: Why


class ApiTakeOver(ApiRequest):
    """The present assignee, as `acknowledged_by` names them."""

    from_user: Holder


class ApiReasonRequest(ApiRequest):
    """Command with a reason."""

    reason: Why


class ApiDespite(ApiRequest):
    """Command that may contradict what probes detect."""

    despite: Annotated[
        Contradiction | None,
        Field(description="The contradiction that a rejection of this command named, to run it anyway."),
    ] = None


class ApiCorrection(ApiDespite, ApiReasonRequest):
    """Statement that the incident is a false alarm, with the evidence."""


class ApiClose(ApiCorrection):
    """Statement whether mail works again; default: as far as the outage was declared."""

    recovered: bool | None = None


def name_of(principal: Principal, said: str | None) -> str:
    """Return the author of a command. Only a program may name a person on whose behalf it acts."""
    if principal.token is not None:
        return f"{said} ({principal.by})" if said else principal.by
    if said is not None:
        raise wrong_in_body("by", f"is known: {principal.by} has signed in; leave it out")
    return principal.by


def wrong_in_body(name: str, why: str) -> RequestValidationError:
    """Return the error for an invalid member of the body."""
    return RequestValidationError([{"type": "order", "loc": ("body", name), "msg": why}])


def wrong_header(name: str, why: str) -> RequestValidationError:
    """Return the error for an invalid header."""
    return RequestValidationError([{"type": "header", "loc": ("header", name), "msg": why}])


# -- idempotency ----------------------------------------------------------------------------------------------------

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
    """Author of a command."""

    #: As recorded in the audit log.
    by: str
    #: Owner of the idempotency keys.
    key_holder: str


class IdempotencyGuard:
    """Idempotency guard: a repeated command gets the response of the first one."""

    def __init__(self, once: IdempotencyStore | None, request: Request, key: str | None) -> None:
        self._once = once
        self._request = request
        self._key = key

    async def answer(
        self, orderer: Requester, shape: TypeAdapter[Any], act: Callable[[], Awaitable[object]], status: int = 200
    ) -> Response:
        """Return the result of *act*, serialized by *shape*. The caller must check the permission first."""

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
                    IdempotencyKey(principal=orderer.key_holder, key=self._key), await self._digest(), written
                )
            except IdempotencyKeyReusedError:
                why = "was sent with another order within a day; each order has a key of its own"
                raise wrong_header(_HEADER, why) from None
        return Response(answered.body, status_code=answered.status, media_type="application/json")

    async def _digest(self) -> str:
        address = f"{self._request.method} {self._request.url.path}\n"
        return sha256(address.encode() + await self._request.body()).hexdigest()


async def once_over(request: Request, key: _Key = None) -> IdempotencyGuard:
    """Return the guard that executes the command once; a route dependency."""
    return IdempotencyGuard(request.app.state.once, request, key)


Once = Annotated[IdempotencyGuard, Depends(once_over)]


def orderer_of(principal: Principal) -> Requester:
    """Return the requester for a principal who issues a command."""
    if principal.token is not None:
        return Requester(by=principal.by, key_holder=f"token {principal.token.id}")
    return Requester(by=principal.by, key_holder=f"user {principal.user.id}" if principal.user else "nobody")
