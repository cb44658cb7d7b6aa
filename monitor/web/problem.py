"""Error responses as problem details (RFC 9457), with the invalid parts of the request."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from alerts.persistence.store import StoreUnavailable
from monitor.config.files.problem import MOST_LISTED, Problem, Severity
from monitor.model.lazy_text import said
from monitor.service.errors import NotFoundError, OperationRejectedError

MEDIA_TYPE = "application/problem+json"

#: Characters of an invalid value that an error message repeats.
_ECHOED = 100
_SCHEMAS = "#/components/schemas"


class ProblemAnswer(Response):
    """Response with a problem. A page shows its `detail` in the user's language."""

    def __init__(self, status: int, body: str, *, detail: str, headers: Mapping[str, str] | None) -> None:
        """*body*: the problem as JSON."""
        super().__init__(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)
        self.detail = detail


class WrongPart(BaseModel):
    """An invalid part of a request."""

    detail: str
    #: Name of a query or path parameter.
    parameter: str | None = None
    #: Location in the body (RFC 6901).
    pointer: str | None = None
    #: Line of a text, from 1.
    line: int | None = None


class ProblemDetails(BaseModel):
    """Problem details of a rejected request (RFC 9457)."""

    #: No information beyond the status code.
    type: str = "about:blank"
    title: str
    status: int
    #: Explanation for people, with the remedy.
    detail: str
    #: For 422: all invalid parts.
    errors: Sequence[WrongPart] = ()
    #: For a command that contradicts detected facts: the value of `despite` with which it is executed anyway.
    despite: str | None = None


def answer_with_problems(app: FastAPI) -> None:
    """Return all errors of *app* as problem details."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(OperationRejectedError, _not_done)
    app.add_exception_handler(StoreUnavailable, _store_away)
    app.add_exception_handler(Exception, _broken)


def describe_problems(app: FastAPI) -> None:
    """Describe problem details in the schema of *app*."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = ProblemDetails.model_json_schema(ref_template=f"{_SCHEMAS}/{{model}}")
            parts = described.pop("$defs")
            schemas = FastAPI.openapi(app)["components"]["schemas"]
            schemas |= {ProblemDetails.__name__: described, **parts}
        return FastAPI.openapi(app)

    app.openapi = described  # type: ignore[method-assign]  # as FastAPI would have it


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return the schema's responses for these error statuses."""
    schema = {"$ref": f"{_SCHEMAS}/{ProblemDetails.__name__}"}
    return {
        int(status): {"description": status.phrase, "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses
    }


def problem(
    status: int,
    detail: str,
    *,
    errors: Sequence[WrongPart] = (),
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemAnswer:
    """Return a problem response. *more*: extension members (RFC 9457, 3.2)."""
    told: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        told["errors"] = [each.model_dump(exclude_none=True) for each in errors]
    told |= more or {}
    # As ASCII: the input may contain text that cannot be encoded otherwise.
    return ProblemAnswer(status, json.dumps(told), detail=detail, headers=headers)


def reload_answer(found: Sequence[Problem]) -> Response:
    """Return the response to a reload, with all problems *found*; 400 if the configuration was rejected."""
    taken = not any(each.severity is Severity.ERROR for each in found)
    told = {"taken": taken, "problems": [str(each) for each in found]}
    if taken:
        return JSONResponse(told)
    return problem(HTTPStatus.BAD_REQUEST, "refused: the old configuration stays in force; see `problems`", more=told)


async def _refused(request: Request, error: Exception) -> Response:
    """Return the response for an unknown path or a disallowed method."""
    if not isinstance(error, HTTPException):
        raise TypeError(error)
    detail, headers = str(error.detail), dict(error.headers or {})
    is_bare = detail == HTTPStatus(error.status_code).phrase
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and "GET" in headers.get("Allow", ""):
        headers["Allow"] += ", HEAD"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and is_bare:
        allowed = headers.get("Allow") or said("something else")
        detail = said("{method} is not possible here, only {allowed}", method=request.method, allowed=allowed)
    elif error.status_code == HTTPStatus.NOT_FOUND and is_bare:
        detail = said("there is nothing at {path}", path=request.url.path[:_ECHOED])
    return problem(error.status_code, detail, headers=headers)


async def _unreadable(_request: Request, error: Exception) -> Response:
    """Return the response for an invalid query or command, without the submitted values."""
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    wrong = [_wrong_part(each) for each in found[:MOST_LISTED]]
    if (more := len(found) - len(wrong)) > 0:
        wrong[-1] = WrongPart(detail=f"{more + 1} more are not listed; mend these first", pointer="#")
    named = (f"{each.parameter or (each.pointer or '')[2:] or 'body'}: {each.detail}" for each in wrong)
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(named), errors=wrong)


def _wrong_part(error: Mapping[str, Any]) -> WrongPart:
    place, *path = error["loc"]
    if place != "body":
        return WrongPart(detail=error["msg"], parameter=str(path[0])[:_ECHOED])
    if error["type"] == "json_invalid":
        return WrongPart(detail="is no JSON", pointer="#")
    steps = (str(each)[:_ECHOED].replace("~", "~0").replace("/", "~1") for each in path)
    return WrongPart(detail=error["msg"], pointer="/".join(("#", *steps)))


async def _not_done(_request: Request, error: Exception) -> Response:
    """Return the response for a rejected command."""
    despite = error.despite if isinstance(error, OperationRejectedError) else ""
    status = HTTPStatus.NOT_FOUND if isinstance(error, NotFoundError) else HTTPStatus.CONFLICT
    return problem(status, str(error), more={"despite": despite} if despite else None)


async def _store_away(_request: Request, error: Exception) -> Response:
    """Return the response for an unavailable database; the client may retry.

    No traceback is logged for each request.
    """
    why = said(
        "the store is away ({error}): nothing can be read or written now; /metrics tells how mail stands",
        error=str(error),
    )
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, why, headers={"Retry-After": "5"})


async def _broken(_request: Request, _error: Exception) -> Response:
    """Return the response for an internal error, which is logged."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Pantau failed to answer; its log says why")
