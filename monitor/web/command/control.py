"""Listener for the command line: a Unix socket of mode 0600, so that only its owner has access."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Depends, FastAPI, Response
from pydantic import BaseModel, Field

from alerts.decide.silence import Silence
from alerts.engine.manual_status import ManualStatus
from alerts.model.contradiction import Contradiction
from alerts.model.notification import IncidentType
from monitor.config.files.duration import InvalidDurationError, parse_duration
from monitor.runtime.place import MODE_HEADER, MONITOR_ONLY
from monitor.service.declarations import DeclarationService, DeclaredOutage
from monitor.service.errors import OperationRejectedError
from monitor.service.facade import ServiceFacade
from monitor.service.silences import Silencer
from monitor.views.overview import IncidentView, NotificationView, view_incident
from monitor.web.problem import answer_with_problems, reload_answer
from monitor.web.request import CommandRequest, Holder, Id, Why


class TakeOverRequest(CommandRequest):
    """Takeover of an incident: author and present assignee."""

    from_user: Holder


class NoteRequest(CommandRequest):
    """Author and note."""

    text: Why


class ReasonRequest(CommandRequest):
    """Author and reason."""

    reason: Why


class DespiteWord(CommandRequest):
    """Author, and the contradiction that is accepted."""

    despite: Contradiction | None = None


class CorrectOrder(DespiteWord, ReasonRequest):
    """Author, reason, and the contradiction that is accepted."""


class CloseRequest(CorrectOrder):
    """Statement whether mail works again; default: as far as the outage was declared."""

    recovered: bool | None = None


class ManualStatusBody(ReasonRequest):
    """New status of a notification."""

    status: ManualStatus


class DeclareRequest(ReasonRequest):
    """Declaration of an outage: what fails where, since when, and the source of the information."""

    agency: str = Field(min_length=1, max_length=64)
    type: Literal[IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH]
    #: Empty: now.
    since: str = Field(default="", max_length=40)


class SilenceRequest(ReasonRequest):
    """Silence: author, target, duration."""

    target: str = Field(min_length=1, max_length=200)
    duration: str = Field(min_length=1, max_length=20)


class DeclaredView(BaseModel):
    """Declared outage."""

    incident: IncidentView
    #: The silence that suppresses notifications about it, and its end; `None`: staff are notified now.
    silence: int | None
    silent_until: datetime | None


def control(source: ServiceFacade, *parts: APIRouter) -> FastAPI:
    """Build the control application from its own routes and the routers *parts* of other modules."""

    def say_mode(response: Response) -> None:
        if source.is_monitor_only():
            response.headers[MODE_HEADER] = MONITOR_ONLY

    said = [Depends(say_mode)]
    app = FastAPI(title="Pantau control", docs_url=None, redoc_url=None, openapi_url=None, dependencies=said)
    answer_with_problems(app)

    @app.get("/incidents")
    async def incidents() -> list[IncidentView]:
        return list(await source.board.incidents())

    @app.get("/releases")
    async def releases() -> list[IncidentView]:
        return list(await source.releases())

    @app.get("/notifications")
    async def notifications() -> list[NotificationView]:
        return list(await source.board.notices())

    @app.post("/incidents/{number}/acknowledge")
    async def acknowledge(number: str, word: CommandRequest) -> IncidentView:
        return view_incident(await source.acknowledge(number, word.by))

    @app.post("/incidents/{number}/take-over")
    async def take_over(number: str, said: TakeOverRequest) -> IncidentView:
        return view_incident(await source.take_over(number, said.by, said.from_user))

    @app.post("/incidents/{number}/notes")
    async def add_note(number: str, said: NoteRequest) -> IncidentView:
        return view_incident(await source.remark(number, said.by, said.text))

    @app.post("/incidents/{number}/escalate")
    async def escalate(number: str, word: CommandRequest) -> IncidentView:
        return view_incident(await source.hand_on(number, word.by))

    @app.post("/incidents/{number}/release")
    async def release(number: str, word: DespiteWord) -> IncidentView:
        return view_incident(await source.release(number, word.by, despite=word.despite))

    @app.post("/incidents/{number}/false-alarm")
    async def mark_false_alarm(number: str, said: CorrectOrder) -> IncidentView:
        return view_incident(await source.correct(number, said.by, said.reason, despite=said.despite))

    @app.post("/notifications/{notification_id}/set-status")
    async def set_status(notification_id: Id, found: ManualStatusBody) -> None:
        await source.settle(notification_id, found.status, found.by, found.reason)

    @app.post("/reload")
    async def reload(word: CommandRequest | None = None) -> Response:
        return reload_answer(await source.reload(word.by if word else "control socket"))

    for part in parts:
        app.include_router(part)
    return app


def declarations(declarer: DeclarationService) -> APIRouter:
    """Build the control router of declared outages."""
    router = APIRouter()

    @router.post("/declarations")
    async def declare(order: DeclareRequest) -> DeclaredView:
        done = await declarer.declare(order.agency, order.type, since=order.since, why=order.reason, by=order.by)
        return view_declared(done)

    @router.post("/incidents/{number}/close")
    async def close(number: str, said: CloseRequest) -> IncidentView:
        closed = declarer.close(number, why=said.reason, by=said.by, recovered=said.recovered, despite=said.despite)
        return view_incident(await closed)

    return router


def view_declared(done: DeclaredOutage) -> DeclaredView:
    """Return the view of a declared outage."""
    silence = done.silence
    return DeclaredView(
        incident=view_incident(done.incident),
        silence=None if silence is None else silence.id,
        silent_until=None if silence is None else silence.ends_at,
    )


def silences(silencer: Silencer) -> APIRouter:
    """Build the control router of silences: create, list, end."""
    router = APIRouter()

    @router.get("/silences")
    async def current() -> list[Silence]:
        return list(await silencer.current())

    @router.post("/silences")
    async def add(order: SilenceRequest) -> Silence:
        try:
            duration = parse_duration(order.duration)
        except InvalidDurationError as wrong:
            raise OperationRejectedError(f"{order.duration}: {wrong}; write --for 2h, or 30m") from None
        return await silencer.add(order.target, duration, order.reason, order.by)

    @router.post("/silences/{number}/remove")
    async def remove(number: Id, word: CommandRequest) -> Silence:
        return await silencer.remove(number, word.by)

    return router
