"""Error pages for browsers, where programs receive a problem: the error in the user's language, and a link back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from monitor.access.principal import Principal
from monitor.model.lazy_text import said
from monitor.service.errors import OperationRejectedError
from monitor.web.form import MAY_SEND_FORMS, Pages, kept_form, own_path
from monitor.web.problem import ProblemAnswer

_Handler = Callable[[Request, Exception], Awaitable[Response]]
#: Statuses that a user can encounter; each has its text in texts/error_page.yaml.
_KNOWN = frozenset({400, 401, 403, 404, 405, 409, 413, 422, 500, 503})

#: Statuses after which the same request may succeed later: after sign-in, or when the database is available again.
_FOR_NOW = frozenset({401, 503})


def answer_in_pages(app: FastAPI, pages: Pages) -> None:
    """Replace the problem responses of *app* by pages for browsers. Its problem handlers must be installed already."""
    for kind, handler in list(app.exception_handlers.items()):
        app.add_exception_handler(kind, _as_page(cast(_Handler, handler), pages))


def _as_page(handler: _Handler, pages: Pages) -> Callable[..., Any]:
    async def answer(request: Request, error: Exception) -> Response:
        told = await handler(request, error)
        if not isinstance(told, ProblemAnswer) or not _reads_pages(request) or told.status_code not in _KNOWN:
            return told
        facts = {
            "status": f"s{told.status_code}",
            "detail": _why(error, told),
            # A form cannot be requested again in another language, and the path may be chosen by an attacker.
            "path": own_path(request.url.path) if request.method == "GET" else "/",
            # Navigation links are no part of an error page.
            "principal": Principal(),
        }
        headers = {name: value for name, value in told.headers.items() if name in {"retry-after", "allow"}}
        kept = await kept_form(request) if told.status_code in _FOR_NOW else None
        if kept is None:
            return pages.show(request, "error_page.html", {**facts, "kept": None}, told.status_code, headers=headers)
        # Rendering of a large text takes long.
        facts, headers = {**facts, "kept": kept, "is_shown_once": True}, {**headers, **MAY_SEND_FORMS}
        return await asyncio.to_thread(pages.show, request, "error_page.html", facts, told.status_code, headers=headers)

    return answer


def _why(error: Exception, told: ProblemAnswer) -> object:
    if isinstance(error, RequestValidationError):
        # No form leads to such a URL; the library's message addresses programmers.
        names = dict.fromkeys(str(each["loc"][-1]) for each in error.errors())
        return said("what the address says of {names} cannot be understood", names=", ".join(names))
    return error if isinstance(error, OperationRejectedError) else told.detail


def _reads_pages(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")
