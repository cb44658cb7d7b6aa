"""Error responses in the format "problem details" (RFC 9457): the reason, and the invalid parts of the request.

A `translatable` is an English `str` that keeps its pattern and values, so that a page can show it in Malay.
"""

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
from monitor.config.files.problem import MAX_LISTED, Problem, Severity
from monitor.model.translatable import translatable
from monitor.service.errors import NotFoundError, OperationRejectedError

PROBLEM_MEDIA_TYPE = "application/problem+json"

#: Maximum number of characters of the request that an error message repeats.
_MAX_ECHOED = 100
#: JSON pointer to the schemas in the OpenAPI document.
_SCHEMAS = "#/components/schemas"


class ProblemResponse(Response):
    """Error response with problem details. An error page shows *detail* in the user's language."""

    def __init__(self, status: int, body: str, *, detail: str, headers: Mapping[str, str] | None) -> None:
        """Take the problem details as JSON in *body*, and their member "detail" again, possibly as a `translatable`."""
        super().__init__(body, status_code=status, media_type=PROBLEM_MEDIA_TYPE, headers=headers)
        self.detail = detail


class WrongPart(BaseModel):
    """An invalid part of a request."""

    detail: str
    #: Name of a query, path or header parameter; `None` for a part of the body.
    parameter: str | None = None
    #: JSON pointer (RFC 6901) to the part of the body, such as "#/reason"; `None`: no single part of the body.
    pointer: str | None = None
    #: Line number in a YAML document, from 1; `None` for another body.
    line: int | None = None


class ProblemDetails(BaseModel):
    """Problem details of a rejected request (RFC 9457)."""

    #: "about:blank": the status code is the only classification of the problem (RFC 9457, 4.2.1).
    type: str = "about:blank"
    title: str
    status: int
    #: Explanation for people, with the remedy.
    detail: str
    #: For 422: all invalid parts.
    errors: Sequence[WrongPart] = ()
    #: For a command that contradicts what probes detect: the value that the client must send in the field `despite` of
    #: the command to have it executed anyway.
    despite: str | None = None


def answer_with_problems(app: FastAPI) -> None:
    """Add exception handlers to *app* that return problem details."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(OperationRejectedError, _rejected_operation)
    app.add_exception_handler(StoreUnavailable, _store_unavailable)
    app.add_exception_handler(Exception, _internal_error)


def describe_problems(app: FastAPI) -> None:
    """Add the schema of problem details to the OpenAPI schema of *app*."""

    def openapi_with_problems() -> dict[str, Any]:
        if app.openapi_schema is None:
            problem_schema = ProblemDetails.model_json_schema(ref_template=f"{_SCHEMAS}/{{model}}")
            nested_schemas = problem_schema.pop("$defs")
            # FastAPI caches the schema, so later calls return the schema with this change.
            schemas = FastAPI.openapi(app)["components"]["schemas"]
            schemas |= {ProblemDetails.__name__: problem_schema, **nested_schemas}
        return FastAPI.openapi(app)

    app.openapi = openapi_with_problems  # type: ignore[method-assign]  # FastAPI documents this way to extend a schema


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of responses with these error statuses."""
    schema = {"$ref": f"{_SCHEMAS}/{ProblemDetails.__name__}"}
    return {
        int(status): {"description": status.phrase, "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def problem(
    status: int,
    detail: str,
    *,
    errors: Sequence[WrongPart] = (),
    extensions: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    """Return a problem response. *extensions*: further members of the problem details (RFC 9457, 3.2)."""
    members: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        members["errors"] = [each.model_dump(exclude_none=True) for each in errors]
    members |= extensions or {}
    # `json.dumps` writes ASCII: echoed input may contain lone surrogates, which UTF-8 cannot encode.
    return ProblemResponse(status, json.dumps(members), detail=detail, headers=headers)


def reload_response(config_problems: Sequence[Problem]) -> Response:
    """Return the response to a reload of the configuration; status 400 if the configuration has an error."""
    # Whether the new configuration is in force, stated in the field "taken".
    is_accepted = not any(each.severity is Severity.ERROR for each in config_problems)
    body = {"taken": is_accepted, "problems": [str(each) for each in config_problems]}
    if is_accepted:
        return JSONResponse(body)
    return problem(
        HTTPStatus.BAD_REQUEST, "refused: the old configuration stays in force; see `problems`", extensions=body
    )


async def _http_error(request: Request, error: Exception) -> Response:
    """Return the response for an `HTTPException`.

    A route raises it with a detail. For an unknown path or method, Starlette raises it with the status phrase, which
    this function replaces by a detail.
    """
    if not isinstance(error, HTTPException):
        raise TypeError(error)
    detail, headers = str(error.detail), dict(error.headers or {})
    has_default_detail = detail == HTTPStatus(error.status_code).phrase
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and "GET" in headers.get("Allow", ""):
        # The portal answers HEAD wherever it answers GET.
        headers["Allow"] += ", HEAD"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and has_default_detail:
        allowed = headers.get("Allow") or translatable("something else")
        detail = translatable("{method} is not possible here, only {allowed}", method=request.method, allowed=allowed)
    elif error.status_code == HTTPStatus.NOT_FOUND and has_default_detail:
        detail = translatable("there is nothing at {path}", path=request.url.path[:_MAX_ECHOED])
    return problem(error.status_code, detail, headers=headers)


async def _invalid_request(_request: Request, error: Exception) -> Response:
    """Return the response for an invalid query or command. It does not repeat submitted values, which may be secret."""
    validation_errors = error.errors() if isinstance(error, RequestValidationError) else ()
    parts = [_wrong_part(each) for each in validation_errors[:MAX_LISTED]]
    if (unlisted := len(validation_errors) - len(parts)) > 0:
        # The last listed part gives way to the number of parts that are not listed.
        parts[-1] = WrongPart(detail=f"{unlisted + 1} more are not listed; correct these first", pointer="#")
    texts = (f"{each.parameter or (each.pointer or '')[2:] or 'body'}: {each.detail}" for each in parts)
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(texts), errors=parts)


def _wrong_part(error: Mapping[str, Any]) -> WrongPart:
    location, *path = error["loc"]
    if location != "body":
        return WrongPart(detail=error["msg"], parameter=str(path[0])[:_MAX_ECHOED])
    if error["type"] == "json_invalid":
        return WrongPart(detail="is not valid JSON", pointer="#")
    # Escape the characters that are special in a JSON pointer (RFC 6901, 3).
    steps = (str(each)[:_MAX_ECHOED].replace("~", "~0").replace("/", "~1") for each in path)
    return WrongPart(detail=error["msg"], pointer="/".join(("#", *steps)))


async def _rejected_operation(_request: Request, error: Exception) -> Response:
    """Return the response for a rejected command."""
    despite = error.despite if isinstance(error, OperationRejectedError) else ""
    status = HTTPStatus.NOT_FOUND if isinstance(error, NotFoundError) else HTTPStatus.CONFLICT
    return problem(status, str(error), extensions={"despite": despite} if despite else None)


async def _store_unavailable(_request: Request, error: Exception) -> Response:
    """Return the response for an unavailable database. The client may retry."""
    reason = translatable(
        "the database is unavailable ({error}): nothing can be read or written now; /metrics has the state of mail",
        error=str(error),
    )
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, reason, headers={"Retry-After": "5"})


async def _internal_error(_request: Request, _error: Exception) -> Response:
    """Return the response for an internal error. Afterwards Starlette raises the error again, and uvicorn logs it."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Pantau failed to answer; its log says why")
