"""A dead-man's switch: listens for heartbeats, and can be told to misbehave. Calls nobody."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pantau_lab.provider_fault import SubmissionFault, befall


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """One heartbeat that came."""

    method: str
    #: Decoded.
    path: str
    #: What it proved itself with.
    authorization: str


@dataclass(slots=True, kw_only=True)
class DeadMansSwitch:
    """Keeps what it heard."""

    beats: list[Beat] = field(default_factory=list)
    #: One for each of the next beats.
    faults: deque[SubmissionFault] = field(default_factory=deque)

    def app(self) -> Starlette:
        """Return its HTTP face: it takes a beat at any path."""
        return Starlette(routes=[Route("/{path:path}", self._hear, methods=["GET", "POST"])])

    async def _hear(self, request: Request) -> Response:
        async def take() -> Response:
            authorization = request.headers.get("authorization", "")
            self.beats.append(Beat(method=request.method, path=request.scope["path"], authorization=authorization))
            return Response("OK", media_type="text/plain")

        if self.faults:
            return await befall(
                self.faults.popleft(), request, take=take, error=lambda status: Response(status_code=status)
            )
        return await take()
