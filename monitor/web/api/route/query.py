"""Handling of queries: strict parameters, pagination by cursor, and ETags.

The ETag shows a program whether the response has changed.
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

from monitor.config.files.problem import nearest
from monitor.runtime.cooperative import yielding
from monitor.service.errors import NotFoundError
from monitor.service.status_reader import StatusReader
from monitor.web.problem import problems

#: Alternative responses of all queries.
_INSTEAD = {
    304: {"description": "Not modified: `If-None-Match` has the current ETag."},
    **problems(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
}
#: Alternative responses of queries about a single item.
NOT_FOUND = problems(HTTPStatus.NOT_FOUND)


def questions() -> APIRouter:
    """Return a router for queries. It rejects unknown parameters and adds ETags."""
    return APIRouter(
        prefix="/api/v1",
        tags=["state"],
        route_class=MarkedRoute,
        dependencies=[Depends(only_known)],
        responses=_INSTEAD,
    )


async def listed(shape: TypeAdapter[Any], rows: Iterable[object], headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with rows, serialized in steps of a few milliseconds: a thousand incidents may be open."""
    texts = [shape.dump_json(row) async for row in yielding(rows)]
    return Response(joined(texts), media_type="application/json", headers=headers)


def joined(texts: Iterable[bytes]) -> bytes:
    """Return a JSON array of serialized items."""
    return b"[" + b",".join(texts) + b"]"


def called(board: StatusReader, quoted: str) -> str:
    """Return the agency code of a filter. Reject an unknown code: an empty list would suggest that all is well."""
    try:
        return board.called(quoted)
    except NotFoundError as unknown:
        raise wrong("agency", str(unknown)) from None


class MarkedRoute(APIRoute):
    """Route whose responses have an ETag. If it matches `If-None-Match`, the status is 304 (RFC 9110, 13.1.2)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of requests."""
        handle = super().get_route_handler()

        async def marked(request: Request) -> Response:
            answer = await handle(request)
            if answer.status_code != 200:
                return answer
            etag = answer.headers.setdefault("ETag", etag_of(bytes(answer.body)))
            if not knows(request, etag):
                return answer
            kept = {name: value for name, value in answer.headers.items() if name in {"etag", "link"}}
            return Response(status_code=304, headers=kept)

        return marked


def etag_of(body: bytes) -> str:
    """Return the ETag of a response. A megabyte takes a millisecond."""
    return f'"{blake2b(body, digest_size=12).hexdigest()}"'


def knows(request: Request, etag: str) -> bool:
    """Whether the client already has this version."""
    return etag in request.headers.get("if-none-match", "")


# -- parameters -----------------------------------------------------------------------------------------------------

#: Rows per page: default and maximum.
USUAL, MOST = 200, 1000

Agencies = Annotated[list[str] | None, Query(description="Only these agencies, by code.")]
Limit = Annotated[int, Query(ge=1, le=MOST, description="Rows per page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="Start of the page, from the `Link` header.")]


def _with_plus(text: object) -> object:
    """Return a time with the plus of its offset: in a URL an unescaped plus means a space."""
    return re.sub(r"(?<=\d) (?=\d\d:?\d\d$)", "+", text) if isinstance(text, str) and "T" in text else text


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise PydanticCustomError("zone", "has no zone; write 2026-12-01T22:00:00Z or 2026-12-02T06:00:00+08:00")
    return moment


Moment = Annotated[datetime, BeforeValidator(_with_plus), AfterValidator(_aware)]

#: Characters of an invalid value that an error message repeats.
_ECHOED = 60
_NO_CURSOR = "is no cursor of this list; begin again without it"


def wrong(parameter: str, why: str) -> RequestValidationError:
    """Return the error for an invalid query parameter."""
    return RequestValidationError([{"type": "parameter", "loc": ("query", parameter[:_ECHOED]), "msg": why}])


async def only_known(request: Request) -> None:
    """Reject unknown query parameters: a misspelled filter would silently list too much."""
    known = sorted(_known(request.scope["route"].dependant))
    for name in request.query_params:
        if name not in known:
            meant = nearest(name, known)
            instead = (
                f"did you mean {meant}?" if meant else f"there are {', '.join(known)}" if known else "there is none"
            )
            raise wrong(name, f"is no parameter here; {instead}")


def _known(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for each in dependant.dependencies:
        yield from _known(each)


def read_cursor(listed: str, cursor: str | None) -> str | None:
    """Return the row after which a page of a list begins. Raise `RequestValidationError` for an invalid cursor."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        text = ""
    name, colon, row = text.partition(":")
    if name != listed or not colon:
        raise wrong("cursor", _NO_CURSOR)
    return row


def read_id(listed: str, cursor: str | None, before: str = "") -> int | None:
    """Return the id after which a page of a list begins, negative if the prefix *before* precedes it.

    Raise as `read_cursor` does.
    """
    row = read_cursor(listed, cursor)
    if row is None:
        return None
    if before and row.startswith(before):
        return -_read_id(row.removeprefix(before))
    return _read_id(row)


def _read_id(row: str) -> int:
    if not (row.isascii() and row.isdecimal() and 0 < int(row[:11]) < 2**31):
        raise wrong("cursor", _NO_CURSOR)
    return int(row[:11])


def next_page(request: Request, listed: str, row: str | int | None) -> dict[str, str]:
    """Return the Link header to the page after *row* (RFC 8288), with the same parameters; empty if there is none."""
    if row is None:
        return {}
    cursor = base64.urlsafe_b64encode(f"{listed}:{row}".encode()).decode()
    asked = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return {"Link": f'<{request.url.path}?{urlencode([*asked, ("cursor", cursor)])}>; rel="next"'}
