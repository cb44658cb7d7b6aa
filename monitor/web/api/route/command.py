"""Building blocks of API commands: limit of their size, author, and idempotency.

A command that a client repeats with the same header `Idempotency-Key` runs only once. The principal of a request is the
authenticated user or API token.
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

#: Maximum size of a command in octets. A command contains only names and reasons. The limit protects against clients
#: that are not authenticated yet.
MAX_COMMAND_SIZE: Final = 16 * 1024

#: Error statuses of commands, for the OpenAPI schema.
_ERROR_STATUSES: Final = (
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
    """Return a router that limits the size of commands and rejects unknown query parameters."""
    return APIRouter(
        prefix="/api/v1",
        tags=["commands"],
        route_class=_BoundedRoute,
        dependencies=[Depends(BEARER), Depends(reject_unknown_parameters)],
        responses=problems(*_ERROR_STATUSES),
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
    """Route whose requests have the size limit."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        call_route = super().get_route_handler()

        async def handle_bounded(request: Request) -> Response:
            return await call_route(_BoundedRequest(request.scope, request.receive))

        return handle_bounded


# -- body and author -------------------------------------------------------------------------------------------------


class ApiRequest(BaseModel):
    """Command with its author; subclasses add the parameters."""

    model_config = ConfigDict(extra="forbid")

    by: Annotated[
        Name | None,
        Field(description="The person on whose behalf a program acts. Leave it out when signed in as a user."),
    ] = None


class ApiNote(ApiRequest):
    """Note on an incident."""

    text: Reason


class ApiTakeOver(ApiRequest):
    """Takeover of an incident from its present assignee, as named in `acknowledged_by`."""

    from_user: Assignee


class ApiReasonRequest(ApiRequest):
    """Command with a reason."""

    reason: Reason


class ApiDespite(ApiRequest):
    """Command that may contradict what the newest probe runs detect; then it is rejected unless it has `despite`."""

    despite: Annotated[
        Contradiction | None,
        Field(description="The contradiction that a rejection of this command named, to run it anyway."),
    ] = None


class ApiCorrection(ApiDespite, ApiReasonRequest):
    """Statement that an incident is a false alarm; the reason states the evidence."""


class ApiClose(ApiCorrection):
    """Manual closure of an incident. `recovered`: whether mail works again; default: only a declared outage is over."""

    recovered: bool | None = None


def author_of(principal: Principal, stated_name: str | None) -> str:
    """Return the author of a command, for the audit log.

    A program may state the name of the person for whom it acts. Raise `RequestValidationError` if a signed-in user
    states a name.
    """
    if principal.token is not None:
        return f"{stated_name} ({principal.by})" if stated_name else principal.by
    if stated_name is not None:
        raise invalid_member("by", f"must be omitted: {principal.by} is signed in")
    return principal.by


def invalid_member(name: str, reason: str) -> RequestValidationError:
    """Return the error for an invalid member of the JSON body."""
    return RequestValidationError([{"type": "member", "loc": ("body", name), "msg": reason}])


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
        description="Identifies a command. Within a day, it runs once, and each repetition gets the same response.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Author of a command, and owner of its idempotency key."""

    #: Author, as the audit log records it.
    by: str
    #: User or program that has chosen the idempotency key. Equal keys of different owners do not collide.
    key_owner: str


class IdempotencyGuard:
    """Guard that runs a command once per idempotency key. A repetition gets the first response.

    *key*: value of the header `Idempotency-Key`. Without a key, or without a *store* (the stored responses), every
    command runs.
    """

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
        """Run *operation* and return its result, serialized by *adapter*. For a repetition, return the first response.

        *status*: HTTP status of the response. The caller must check the permission first. Raise
        `RequestValidationError` if the key was used for another command.
        """

        async def run_operation() -> RecordedResponse:
            recorded = RecordedResponse(status=status, body=adapter.dump_json(await operation()))
            if self._store is not None:
                command = f"{self._request.method} {self._request.url.path}"
                await self._store.record_execution(requester.by, command, client_address(self._request))
            return recorded

        if self._key is None or self._store is None:
            recorded = await run_operation()
        else:
            try:
                recorded = await self._store.execute(
                    IdempotencyKey(principal=requester.key_owner, key=self._key), await self._digest(), run_operation
                )
            except IdempotencyKeyReusedError:
                reason = "was sent with another command within a day; use a new key for each command"
                raise invalid_header(_KEY_HEADER, reason) from None
        return Response(recorded.body, status_code=recorded.status, media_type="application/json")

    async def _digest(self) -> str:
        """Return a digest of method, path and body, which tells whether two commands are equal."""
        request_line = f"{self._request.method} {self._request.url.path}\n"
        return sha256(request_line.encode() + await self._request.body()).hexdigest()


async def idempotency_guard(request: Request, key: _KeyHeader = None) -> IdempotencyGuard:
    """Return the idempotency guard of a request; a route dependency."""
    return IdempotencyGuard(request.app.state.idempotency, request, key)


#: Type of the route parameter for the guard.
Idempotency = Annotated[IdempotencyGuard, Depends(idempotency_guard)]


def requester_of(principal: Principal) -> Requester:
    """Return the requester for the principal of a command."""
    if principal.token is not None:
        return Requester(by=principal.by, key_owner=f"token {principal.token.id}")
    return Requester(by=principal.by, key_owner=f"user {principal.user.id}" if principal.user else "nobody")
