"""Error pages for browsers: the error in the user's language, and a link to the status page.

Programs receive problem details (RFC 9457) instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from monitor.access.principal import Principal
from monitor.model.translatable import translatable
from monitor.service.errors import OperationRejectedError
from monitor.web.form import MAY_SEND_FORMS, Pages, local_path, read_rejected_form
from monitor.web.problem import ProblemResponse

_Handler = Callable[[Request, Exception], Awaitable[Response]]
#: Statuses for which texts/error_page.yaml has a text: all that a user can encounter.
_STATUSES_WITH_TEXT = frozenset({400, 401, 403, 404, 405, 409, 413, 422, 500, 503})

#: Statuses after which the user may send the same form again: after sign-in, or when the database is available again.
_TEMPORARY_STATUSES = frozenset({401, 503})


def show_error_pages(app: FastAPI, pages: Pages) -> None:
    """Replace the problem responses of *app* by error pages, if a browser sent the request.

    Call this after `answer_with_problems`, because it wraps the exception handlers of *app*.
    """
    for exception_type, handler in list(app.exception_handlers.items()):
        app.add_exception_handler(exception_type, _page_handler(cast(_Handler, handler), pages))


def _page_handler(handler: _Handler, pages: Pages) -> Callable[..., Any]:
    async def handle(request: Request, error: Exception) -> Response:
        response = await handler(request, error)
        if (
            not isinstance(response, ProblemResponse)
            or not _is_browser(request)
            or response.status_code not in _STATUSES_WITH_TEXT
        ):
            return response
        context = {
            # Key of a text, such as "s404".
            "status": f"s{response.status_code}",
            "detail": _detail(error, response),
            # Links to the other language lead to the same page, except after a form. An attacker may have chosen the
            # path, so `local_path` accepts only paths of the portal.
            "path": local_path(request.url.path) if request.method == "GET" else "/",
            # An error page has no navigation links.
            "principal": Principal(),
        }
        headers = {name: value for name, value in response.headers.items() if name in {"retry-after", "allow"}}
        rejected_form = await read_rejected_form(request) if response.status_code in _TEMPORARY_STATUSES else None
        if rejected_form is None:
            return pages.show(
                request, "error_page.html", {**context, "rejected_form": None}, response.status_code, headers=headers
            )
        # `is_shown_once` omits the links to the other language: no other response contains this form.
        context |= {"rejected_form": rejected_form, "is_shown_once": True}
        # Use a thread, because the form may contain a large text, which takes long to render.
        return await asyncio.to_thread(
            pages.show, request, "error_page.html", context, response.status_code, headers={**headers, **MAY_SEND_FORMS}
        )

    return handle


def _detail(error: Exception, response: ProblemResponse) -> object:
    if isinstance(error, RequestValidationError):
        # FastAPI's message addresses programmers, but a user may have mistyped the URL.
        names = dict.fromkeys(str(each["loc"][-1]) for each in error.errors())
        return translatable("the URL has an invalid value of {names}", names=", ".join(names))
    # The page shows the error's own Malay or English text (`OperationRejectedError.malay`, `page_text`).
    return error if isinstance(error, OperationRejectedError) else response.detail


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")
