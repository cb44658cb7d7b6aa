"""The listener for the command line: a Unix socket of mode 0600, so that its user is who may use it."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field

from alerts.incident import Incident
from monitor.overview import IncidentView, NoticeView, view_incident
from monitor.web.portal import reload_response
from monitor.web.source import Source


class Word(BaseModel):
    """Who says so."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(min_length=1, max_length=100)


def control(source: Source) -> FastAPI:
    """Build the control application."""
    app = FastAPI(title="Pantau control", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/incidents")
    async def incidents() -> list[IncidentView]:
        return list(await source.incidents())

    @app.get("/notices")
    async def notices() -> list[NoticeView]:
        return list(await source.notices())

    @app.post("/incidents/{number}/acknowledge")
    async def acknowledge(number: str, word: Word) -> IncidentView:
        return _shown(await source.acknowledge(number, word.by), number)

    @app.post("/incidents/{number}/release")
    async def release(number: str, word: Word) -> IncidentView:
        return _shown(await source.release(number, word.by), number)

    @app.post("/notices/{notice_id}/dispatched")
    async def dispatched(notice_id: int, word: Word) -> None:
        problem = await source.dispatched(notice_id, word.by)
        if problem is not None:
            raise HTTPException(409, problem)

    @app.post("/reload")
    async def reload() -> Response:
        return await reload_response(source)

    return app


def _shown(incident: Incident | None, number: str) -> IncidentView:
    if incident is None:
        raise HTTPException(404, f"there is no incident {number}; `pantau incidents` lists them")
    return view_incident(incident)
