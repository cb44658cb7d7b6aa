"""The listener for the command line: a Unix socket of mode 0600, so that its user is who may use it."""

from __future__ import annotations

from datetime import datetime, timedelta

from fastapi import APIRouter, FastAPI, HTTPException, Response
from fastapi.exceptions import RequestValidationError

from alerts.engine.settling import Ruling
from alerts.model.incident import CORRECTABLE_FOR, Incident, may_correct
from alerts.record.store import StoreAway
from monitor.service.front import Front
from monitor.views.overview import IncidentView, NoticeView, view_incident
from monitor.web.away import store_away
from monitor.web.portal import reload_response
from monitor.web.word import Id, Why, Word, unreadable


class RemarkWord(Word):
    """Who says what."""

    text: Why


class Reason(Word):
    """Who says so, and why."""

    why: Why


class RulingWord(Reason):
    """And what became of a notice."""

    ruling: Ruling


def control(source: Front, *parts: APIRouter) -> FastAPI:
    """Build the control application of what is here and of *parts* that stand in modules of their own."""
    app = FastAPI(title="Pantau control", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(StoreAway, store_away)
    app.add_exception_handler(RequestValidationError, unreadable)

    @app.get("/incidents")
    async def incidents() -> list[IncidentView]:
        return list(await source.incidents())

    @app.get("/releases")
    async def releases() -> list[IncidentView]:
        return list(await source.releases())

    @app.get("/notices")
    async def notices() -> list[NoticeView]:
        return list(await source.notices())

    @app.post("/incidents/{number}/acknowledge")
    async def acknowledge(number: str, word: Word) -> IncidentView:
        return _shown(await source.acknowledge(number, word.by), number)

    @app.post("/incidents/{number}/remark")
    async def remark(number: str, said: RemarkWord) -> IncidentView:
        return _shown(await source.remark(number, said.by, said.text), number)

    @app.post("/incidents/{number}/hand-on")
    async def hand_on(number: str, word: Word) -> IncidentView:
        return _shown(await source.hand_on(number, word.by), number)

    @app.post("/incidents/{number}/release")
    async def release(number: str, word: Word) -> IncidentView:
        return _shown(await source.release(number, word.by), number)

    @app.post("/incidents/{number}/correct")
    async def correct(number: str, reason: Reason) -> IncidentView:
        before = await source.numbered(number)
        if before is not None and (problem := _not_correctable(before, source.now())):
            raise HTTPException(409, problem)
        return _shown(await source.correct(number, reason.by, reason.why), number)

    @app.post("/notices/{notice_id}/settle")
    async def settle(notice_id: Id, found: RulingWord) -> None:
        problem = await source.settle(notice_id, found.ruling, found.by, found.why)
        if problem is not None:
            raise HTTPException(409, problem)

    @app.post("/reload")
    async def reload(word: Word | None = None) -> Response:
        return await reload_response(source, word.by if word else "control socket")

    for part in parts:
        app.include_router(part)
    return app


def _not_correctable(incident: Incident, now: datetime) -> str | None:
    if incident.corrected_at is not None:
        return f"{incident.number} was declared a false alarm by {incident.corrected_by} before"
    if not may_correct(incident, now):
        hours = CORRECTABLE_FOR // timedelta(hours=1)
        return f"{incident.number} ended more than {hours} hours ago; write to those who were told"
    return None


def _shown(incident: Incident | None, number: str) -> IncidentView:
    if incident is None:
        raise HTTPException(404, f"there is no incident {number}; `pantau incidents` lists them")
    return view_incident(incident)
