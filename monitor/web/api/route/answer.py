"""How a question is taken and answered: with nothing in it that is not known, and a mark that tells whether it has changed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from hashlib import blake2b
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from monitor.runtime.slices import Slices
from monitor.service.noticeboard import Noticeboard
from monitor.service.order import Unknown
from monitor.web.api.route.parameter import only_known, wrong
from monitor.web.problem import problems

#: What every question may be answered with instead.
_INSTEAD = {
    304: {"description": "It is as `If-None-Match` has it."},
    **problems(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
}
#: And one about a single thing.
NOT_FOUND = problems(HTTPStatus.NOT_FOUND)


def questions() -> APIRouter:
    """Return a router for what programs ask: it takes no parameter that is not known, and marks its answers."""
    return APIRouter(
        prefix="/api/v1",
        tags=["state"],
        route_class=MarkedRoute,
        dependencies=[Depends(only_known)],
        responses=_INSTEAD,
    )


async def listed(shape: TypeAdapter[Any], rows: Iterable[object]) -> bytes:
    """Return rows as JSON, written a few milliseconds at a time: a thousand incidents may be open."""
    texts, slices = list[bytes](), Slices()
    for row in rows:
        texts.append(shape.dump_json(row))
        await slices.pause()
    return joined(texts)


def joined(texts: Iterable[bytes]) -> bytes:
    """Return a list of what is JSON already."""
    return b"[" + b",".join(texts) + b"]"


def called(board: Noticeboard, quoted: str) -> str:
    """Return the code of an agency that a filter names: of one that is none an empty list would look as if all were well."""
    try:
        return board.called(quoted)
    except Unknown as unknown:
        raise wrong("agency", str(unknown)) from None


class MarkedRoute(APIRoute):
    """A route whose answers have an ETag; a program that has the same already is sent 304 (RFC 9110, 13.1.2)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers."""
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
    """Return the mark of an answer. A megabyte takes a millisecond."""
    return f'"{blake2b(body, digest_size=12).hexdigest()}"'


def knows(request: Request, etag: str) -> bool:
    """Whether whoever asks has this already."""
    return etag in request.headers.get("if-none-match", "")
