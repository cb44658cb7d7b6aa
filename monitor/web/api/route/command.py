"""Building blocks of API commands: a size limit, the author, and idempotency.

A command repeated with the same header `Idempotency-Key` is not carried out again. The principal of a request is the
authenticated user or token.
"""

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
from monitor.web.access.sign_in import client_address
from monitor.web.api.route.query import reject_unknown_parameters
from monitor.web.problem import problems
from monitor.web.request import Assignee, Name, Reason

#: Bearer token, declared only for the OpenAPI schema; the access control reads the header `Authorization` itself.
BEARER: Final = HTTPBearer(auto_error=False)

#: Maximum size of a command in octets: names and reasons in JSON. The body is read before the author is known.
MAX_COMMAND_SIZE: Final = 16 * 1024

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


def command_router() -> APIRouter:
    """Return a router for commands, which limits their size and rejects unknown query parameters."""
    return APIRouter(
        prefix="/api/v1",
        tags=["commands"],
        route_class=_BoundedRoute,
        dependencies=[Depends(BEARER), Depends(reject_unknown_parameters)],
        responses=problems(*_REFUSALS),
    )


class _BoundedRequest(Request):
    """Request whose body is rejected as soon as it exceeds the size limit."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if size > MAX_COMMAND_SIZE:
                raise HTTPException(413, f"a command has at most {MAX_COMMAND_SIZE} octets")
            yield chunk


class _BoundedRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        call_route = super().get_route_handler()

        async def handle_bounded(request: Request) -> Response:
            return await call_route(_BoundedRequest(request.scope, request.receive))

        return handle_bounded


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

    text: Reason


class ApiTakeOver(ApiRequest):
    """The present assignee, as `acknowledged_by` names them."""

    from_user: Assignee


class ApiReasonRequest(ApiRequest):
    """Command with a reason."""

    reason: Reason


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


def author_of(principal: Principal, stated_name: str | None) -> str:
    """Return the author of a command, for the audit log.

    A program may state the name of the person for whom it acts. Raise `RequestValidationError` if a signed-in user
    states a name.
    """
    if principal.token is not None:
        return f"{stated_name} ({principal.by})" if stated_name else principal.by
    if stated_name is not None:
        raise invalid_member("by", f"is known: {principal.by} has signed in; leave it out")
    return principal.by


def invalid_member(name: str, reason: str) -> RequestValidationError:
    """Return the error for an invalid member of the body."""
    return RequestValidationError([{"type": "order", "loc": ("body", name), "msg": reason}])


def invalid_header(name: str, reason: str) -> RequestValidationError:
    """Return the error for an invalid header."""
    return RequestValidationError([{"type": "header", "loc": ("header", name), "msg": reason}])


# -- idempotency ----------------------------------------------------------------------------------------------------

_KEY_HEADER = "Idempotency-Key"

_KeyHeader = Annotated[
    str | None,
    Header(
        alias=_KEY_HEADER,
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="Identifies a repeated command: within a day it runs once and every repetition gets the same response.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Author of a command, and owner of its idempotency key."""

    #: Author, as recorded in the audit log.
    by: str
    #: User or program to whom the idempotency key belongs. Different owners may use equal keys.
    key_owner: str


class IdempotencyGuard:
    """Idempotency guard: a command repeated with the same key gets the response of the first one."""

    def __init__(self, store: IdempotencyStore | None, request: Request, key: str | None) -> None:
        self._store = store
        self._request = request
        self._key = key

    async def run(
        self,
        requester: Requester,
        adapter: TypeAdapter[Any],
        operation: Callable[[], Awaitable[object]],
        status: int = 200,
    ) -> Response:
        """Run *operation*, unless the command is a repetition. Return its result, serialized by *adapter*.

        The caller must check the permission first.
        """

        async def run_operation() -> RecordedResponse:
            recorded = RecordedResponse(status=status, body=adapter.dump_json(await operation()))
            if self._store is not None:
                command = f"{self._request.method} {self._request.url.path}"
                await self._store.taken(requester.by, command, client_address(self._request))
            return recorded

        if self._key is None or self._store is None:
            recorded = await run_operation()
        else:
            try:
                recorded = await self._store.do(
                    IdempotencyKey(principal=requester.key_owner, key=self._key), await self._digest(), run_operation
                )
            except IdempotencyKeyReusedError:
                reason = "was sent with another command within a day; use a new key for each command"
                raise invalid_header(_KEY_HEADER, reason) from None
        return Response(recorded.body, status_code=recorded.status, media_type="application/json")

    async def _digest(self) -> str:
        request_line = f"{self._request.method} {self._request.url.path}\n"
        return sha256(request_line.encode() + await self._request.body()).hexdigest()


async def idempotency_guard(request: Request, key: _KeyHeader = None) -> IdempotencyGuard:
    """Return the idempotency guard of a request; a route dependency."""
    return IdempotencyGuard(request.app.state.idempotency, request, key)


Idempotency = Annotated[IdempotencyGuard, Depends(idempotency_guard)]


def requester_of(principal: Principal) -> Requester:
    """Return the requester for a principal who issues a command."""
    if principal.token is not None:
        return Requester(by=principal.by, key_owner=f"token {principal.token.id}")
    return Requester(by=principal.by, key_owner=f"user {principal.user.id}" if principal.user else "nobody")
