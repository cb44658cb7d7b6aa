"""What people say in an order: who they are, and why; and what is answered where that cannot be read or done."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError

from monitor.service.order import Unknown


async def store_away(_request: Request, error: Exception) -> Response:
    """Say so, and that it may be asked again; nobody needs a trace in the log for each question."""
    why = f"the store is away ({error}): nothing can be read or written now; /metrics tells how mail stands"
    return JSONResponse({"detail": why}, status_code=503, headers={"Retry-After": "5"})


async def say_nothing(_request: Request, _error: Exception) -> Response:
    """Answer a stranger: to come again, and not why."""
    return Response(status_code=503, headers={"Retry-After": "5"})


def _legible(text: str) -> str:
    """Return *text* on one line; refuse what other people's terminals would obey, or not every database keeps."""
    line = " ".join(text.split())
    if not line.isprintable():
        raise PydanticCustomError("legible", "holds a character that cannot be printed")
    return line


_STRIPPED = StringConstraints(strip_whitespace=True, min_length=1)

#: Whoever gives an order, as the journal keeps it.
Name = Annotated[str, _STRIPPED, StringConstraints(max_length=100), AfterValidator(_legible)]

#: A reason, for the journal and whoever wonders.
Why = Annotated[str, _STRIPPED, StringConstraints(max_length=500), AfterValidator(_legible)]

#: The number of a record in the store; as large as either database counts.
Id = Annotated[int, Path(ge=1, lt=2**31)]


class Word(BaseModel):
    """Who says so. Every order has it."""

    model_config = ConfigDict(extra="forbid")

    by: Name


async def unreadable(_request: Request, error: Exception) -> Response:
    """Say what is wrong with an order, without what was sent: it may be nothing that can be written into an answer."""
    problems = error.errors() if isinstance(error, RequestValidationError) else ()
    told = [{"loc": problem["loc"], "msg": problem["msg"], "type": problem["type"]} for problem in problems]
    return Response(json.dumps({"detail": told}), status_code=422, media_type="application/json")


async def not_done(_request: Request, error: Exception) -> Response:
    """Say why an order cannot be carried out."""
    return JSONResponse({"detail": str(error)}, status_code=404 if isinstance(error, Unknown) else 409)
