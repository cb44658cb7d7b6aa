"""A page for a person where a program is answered with a problem: what is wrong, in their language, and the way back."""

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
#: Of those that a person can meet; each has its words in words/refusal.yaml.
_KNOWN = frozenset({400, 401, 403, 404, 405, 409, 413, 422, 500, 503})

#: What was sent may be taken later as it is: after signing in, or when the store is back.
_FOR_NOW = frozenset({401, 503})


def answer_in_pages(app: FastAPI, pages: Pages) -> None:
    """Let every problem of *app*, which knows how to tell of them by now, be a page for who reads pages."""
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
            # What was sent cannot be asked for again in another language; and the path may be a stranger's.
            "path": own_path(request.url.path) if request.method == "GET" else "/",
            # The places that they might go to are no part of a refusal.
            "principal": Principal(),
        }
        headers = {name: value for name, value in told.headers.items() if name in {"retry-after", "allow"}}
        kept = await kept_form(request) if told.status_code in _FOR_NOW else None
        if kept is None:
            return pages.show(request, "error_page.html", {**facts, "kept": None}, told.status_code, headers=headers)
        # A large text takes long to be written.
        facts, headers = {**facts, "kept": kept, "is_shown_once": True}, {**headers, **MAY_SEND_FORMS}
        return await asyncio.to_thread(pages.show, request, "error_page.html", facts, told.status_code, headers=headers)

    return answer


def _why(error: Exception, told: ProblemAnswer) -> object:
    if isinstance(error, RequestValidationError):
        # No form leads to such an address; what the library says of it is for who writes a program.
        names = dict.fromkeys(str(each["loc"][-1]) for each in error.errors())
        return said("what the address says of {names} cannot be understood", names=", ".join(names))
    return error if isinstance(error, OperationRejectedError) else told.detail


def _reads_pages(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")
