"""Simulated dead man's switch, which records heartbeats and can have faults. It alerts nobody."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pantau_lab.provider_fault import SubmissionFault, apply_fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """One received heartbeat."""

    method: str
    #: URL path, percent-decoded.
    path: str
    #: Header Authorization; empty if it is missing.
    authorization: str


@dataclass(slots=True, kw_only=True)
class DeadMansSwitch:
    """Receiver of heartbeats."""

    beats: list[Beat] = field(default_factory=list)
    #: Faults of the next heartbeats, one each.
    faults: deque[SubmissionFault] = field(default_factory=deque)

    def app(self) -> Starlette:
        """Return the ASGI app. It accepts a heartbeat at any path."""
        return Starlette(routes=[Route("/{path:path}", self._receive, methods=["GET", "POST"])])

    async def _receive(self, request: Request) -> Response:
        async def take() -> Response:
            authorization = request.headers.get("authorization", "")
            self.beats.append(Beat(method=request.method, path=request.scope["path"], authorization=authorization))
            return Response("OK", media_type="text/plain")

        if self.faults:
            return await apply_fault(
                self.faults.popleft(), request, accept=take, error=lambda status: Response(status_code=status)
            )
        return await take()
