"""How everything stands, for programs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from fastapi import APIRouter, Response
from pydantic import TypeAdapter

from monitor.runtime.slices import Slices
from monitor.service.front import Front
from monitor.views.overview import AgencyView, CheckView, IncidentView, NoticeView
from monitor.views.own_health import PartView

_AGENCY = TypeAdapter(AgencyView)


def states(source: Front) -> APIRouter:
    """Build the routes by which programs ask."""
    router = APIRouter(prefix="/api/v1", tags=["state"])
    listed = AgencyList()

    @router.get("/own-health", summary="How Pantau itself stands, and what is wrong with it")
    async def own_health() -> list[PartView]:
        return list(source.board.own())

    @router.get("/agencies", summary="All agencies and how their mail is judged", response_model=list[AgencyView])
    async def agencies() -> Response:
        # Written by us: checked and written as one, ten thousand routes would hold the loop for a third of a second.
        return Response(await listed.json(await source.board.agencies()), media_type="application/json")

    @router.get("/own-checks", summary="What the checks found at our own reference mailboxes")
    async def own_checks() -> list[CheckView]:
        return list(source.board.own_checks())

    @router.get("/incidents", summary="The newest incidents, newest first")
    async def incidents() -> list[IncidentView]:
        return list(await source.board.incidents())

    @router.get("/notices", summary="The newest notices, newest first")
    async def notices() -> list[NoticeView]:
        return list(await source.board.notices())

    return router


class AgencyList:
    """All agencies as JSON; each is written anew only when it changed."""

    def __init__(self) -> None:
        self._written: dict[str, tuple[AgencyView, bytes]] = {}

    async def json(self, views: Sequence[AgencyView]) -> bytes:
        """Return a list of *views*."""
        written, slices = self._written, Slices()
        self._written = {}
        for view in views:
            known = written.get(view.agency)
            if known is None or known[0] is not view:
                known = view, _AGENCY.dump_json(view)
            self._written[view.agency] = known
            await slices.pause()
        # Joined to some megabytes: not here.
        return await asyncio.to_thread(_listed, [text for _, text in self._written.values()])


def _listed(texts: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(texts) + b"]"
