"""What is answered while the store is away."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response


async def store_away(_request: Request, error: Exception) -> Response:
    """Say so, and that it may be asked again; nobody needs a trace in the log for each question."""
    why = f"the store is away ({error}): nothing can be read or written now; /metrics tells how mail stands"
    return JSONResponse({"detail": why}, status_code=503, headers={"Retry-After": "5"})


async def say_nothing(_request: Request, _error: Exception) -> Response:
    """Answer a stranger: to come again, and not why."""
    return Response(status_code=503, headers={"Retry-After": "5"})
