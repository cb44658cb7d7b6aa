"""Building blocks of API queries: rejection of unknown parameters, pagination by cursor, and ETags.

A client that sends the ETag of an earlier response gets status 304 if nothing has changed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import datetime
from hashlib import blake2b
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BeforeValidator, TypeAdapter
from pydantic_core import PydanticCustomError

from monitor.config.files.problem import closest_match
from monitor.runtime.cooperative import yielding
from monitor.service.errors import NotFoundError
from monitor.service.status_reader import StatusReader
from monitor.web.problem import problems

#: Responses of all queries besides 200, for the OpenAPI schema.
_COMMON_RESPONSES = {
    304: {"description": "Not modified: `If-None-Match` has the current ETag."},
    **problems(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
}
#: Further responses of queries about a single item, for the OpenAPI schema.
NOT_FOUND = problems(HTTPStatus.NOT_FOUND)


def query_router() -> APIRouter:
    """Return a router for queries. It rejects unknown parameters and adds ETags."""
    return APIRouter(
        prefix="/api/v1",
        tags=["state"],
        route_class=ETagRoute,
        dependencies=[Depends(reject_unknown_parameters)],
        responses=_COMMON_RESPONSES,
    )


async def list_response(
    adapter: TypeAdapter[Any], rows: Iterable[object], headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response with a JSON array of *rows*, each serialized by *adapter*.

    There may be a thousand rows, so let other tasks run in between.
    """
    texts = [adapter.dump_json(row) async for row in yielding(rows)]
    return Response(json_array(texts), media_type="application/json", headers=headers)


def json_array(texts: Iterable[bytes]) -> bytes:
    """Return a JSON array of serialized items."""
    return b"[" + b",".join(texts) + b"]"


def agency_code(status_reader: StatusReader, code: str) -> str:
    """Return the agency code of a filter, as the configuration spells it.

    Raise `RequestValidationError` for an unknown code: an empty list would suggest that there are no problems.
    """
    try:
        return status_reader.find_agency_code(code)
    except NotFoundError as error:
        raise invalid_parameter("agency", str(error)) from None


class ETagRoute(APIRoute):
    """Route whose responses have an ETag. If the ETag matches `If-None-Match`, the status is 304 (RFC 9110, 13.1.2)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of requests."""
        handle = super().get_route_handler()

        async def handle_with_etag(request: Request) -> Response:
            response = await handle(request)
            if response.status_code != 200:
                return response
            etag = response.headers.setdefault("ETag", etag_of(bytes(response.body)))
            if not matches_etag(request, etag):
                return response
            headers = {name: value for name, value in response.headers.items() if name in {"etag", "link"}}
            return Response(status_code=304, headers=headers)

        return handle_with_etag


def etag_of(body: bytes) -> str:
    """Return the ETag of a response body. The hash of a megabyte takes a millisecond."""
    return f'"{blake2b(body, digest_size=12).hexdigest()}"'


def matches_etag(request: Request, etag: str) -> bool:
    """Whether the client has the response with this ETag already, according to `If-None-Match`."""
    return etag in request.headers.get("if-none-match", "")


# -- parameters -----------------------------------------------------------------------------------------------------

#: Rows per page: default and maximum.
DEFAULT_LIMIT, MAX_LIMIT = 200, 1000

Agencies = Annotated[list[str] | None, Query(description="Only these agencies, by code.")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows per page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="Start of the page, from the `Link` header.")]


def _restore_plus(text: object) -> object:
    """Restore the plus sign of a time's UTC offset: in a URL, an unescaped plus stands for a space."""
    return re.sub(r"(?<=\d) (?=\d\d:?\d\d$)", "+", text) if isinstance(text, str) and "T" in text else text


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise PydanticCustomError("zone", "has no zone; write 2026-12-01T22:00:00Z or 2026-12-02T06:00:00+08:00")
    return moment


#: Time with a UTC offset.
Moment = Annotated[datetime, BeforeValidator(_restore_plus), AfterValidator(_aware)]

#: Maximum number of characters of a parameter's name that an error message repeats.
_MAX_ECHOED = 60
_INVALID_CURSOR = "is not a cursor of this list; start again without a cursor"


def invalid_parameter(parameter: str, reason: str) -> RequestValidationError:
    """Return the error for an invalid query parameter."""
    return RequestValidationError([{"type": "parameter", "loc": ("query", parameter[:_MAX_ECHOED]), "msg": reason}])


async def reject_unknown_parameters(request: Request) -> None:
    """Raise `RequestValidationError` for an unknown parameter: a misspelled filter would not narrow the list."""
    valid_names = sorted(_parameter_names(request.scope["route"].dependant))
    for name in request.query_params:
        if name not in valid_names:
            closest = closest_match(name, valid_names)
            if closest:
                hint = f"did you mean {closest}?"
            else:
                hint = f"there are {', '.join(valid_names)}" if valid_names else "there is none"
            raise invalid_parameter(name, f"is not a parameter here; {hint}")


def _parameter_names(dependant: Dependant) -> Iterator[str]:
    """Yield the names of a route's query parameters, with those of its dependencies."""
    yield from (field.alias for field in dependant.query_params)
    for each in dependant.dependencies:
        yield from _parameter_names(each)


def read_cursor(list_name: str, cursor: str | None) -> str | None:
    """Return the key of the row after which the page begins; `None` for the first page.

    A cursor is the URL-safe base64 of the list's name, a colon, and this key. Raise `RequestValidationError` for an
    invalid cursor, or for the cursor of another list.
    """
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        text = ""
    name, colon, row_key = text.partition(":")
    if name != list_name or not colon:
        raise invalid_parameter("cursor", _INVALID_CURSOR)
    return row_key


def read_id(list_name: str, cursor: str | None, negative_prefix: str = "") -> int | None:
    """Return the ID of the row after which the page begins; `None` for the first page.

    If the ID in the cursor has *negative_prefix*, return the negative ID. Raise `RequestValidationError` for an invalid
    cursor.
    """
    row_key = read_cursor(list_name, cursor)
    if row_key is None:
        return None
    if negative_prefix and row_key.startswith(negative_prefix):
        return -_parse_id(row_key.removeprefix(negative_prefix))
    return _parse_id(row_key)


def _parse_id(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:11]) < 2**31):
        raise invalid_parameter("cursor", _INVALID_CURSOR)
    return int(text[:11])


def next_page(request: Request, list_name: str, last_row: str | int | None) -> dict[str, str]:
    """Return the header `Link` (RFC 8288) to the page after *last_row*, with the same parameters; none for `None`."""
    if last_row is None:
        return {}
    cursor = base64.urlsafe_b64encode(f"{list_name}:{last_row}".encode()).decode()
    parameters = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return {"Link": f'<{request.url.path}?{urlencode([*parameters, ("cursor", cursor)])}>; rel="next"'}
