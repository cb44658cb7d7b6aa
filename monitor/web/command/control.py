"""HTTP application for the command line, on a Unix socket of mode 0600, so that only its owner has access.

To release an incident is to approve its announcement to offices outside. To declare an outage is to open an incident by
hand.
"""

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
from monitor.runtime.control_socket import MODE_HEADER, MONITOR_ONLY
from monitor.service.declarations import DeclarationService, DeclaredOutage
from monitor.service.errors import OperationRejectedError
from monitor.service.facade import ServiceFacade
from monitor.service.silences import Silencer
from monitor.views.overview import IncidentView, NotificationView, view_incident
from monitor.web.problem import answer_with_problems, reload_response
from monitor.web.request import Assignee, CommandRequest, Id, Reason


class TakeOverRequest(CommandRequest):
    """Takeover of an incident."""

    #: The present assignee.
    from_user: Assignee


class NoteRequest(CommandRequest):
    """Note on an incident."""

    text: Reason


class ReasonRequest(CommandRequest):
    """Command with a reason."""

    reason: Reason


class DespiteRequest(CommandRequest):
    """Command that may contradict what probes detect."""

    #: The contradiction for which the service rejected this command before. The command then runs in spite of it.
    despite: Contradiction | None = None


class FalseAlarmRequest(DespiteRequest, ReasonRequest):
    """Statement that an incident is a false alarm; the reason states the evidence."""


class CloseRequest(DespiteRequest, ReasonRequest):
    """Manual closure of an incident.

    `recovered`: whether mail works again. By default, only the declared outage ends, and an outage that probes detect
    keeps the incident open.
    """

    recovered: bool | None = None


class SetStatusRequest(ReasonRequest):
    """Delivery status of a notification, set by a person."""

    status: ManualStatus


class DeclareRequest(ReasonRequest):
    """Declaration of an outage: agency, what fails, since when; the reason states the source of the information."""

    agency: str = Field(min_length=1, max_length=64)
    type: Literal[IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH]
    #: Time in the zone of the settings, such as "01:30" or "2026-12-01 22:00"; "": now.
    since: str = Field(default="", max_length=40)


class SilenceRequest(ReasonRequest):
    """New silence, which suppresses notifications about its target."""

    #: Code of an agency, or name of a route.
    target: str = Field(min_length=1, max_length=200)
    #: Duration, such as "2h".
    duration: str = Field(min_length=1, max_length=20)


class DeclaredView(BaseModel):
    """Outage that a user has declared."""

    incident: IncidentView
    #: ID and end of the silence that suppresses its notifications; `None`: Pantau notifies staff now.
    silence: int | None
    silent_until: datetime | None


def control(facade: ServiceFacade, *routers: APIRouter) -> FastAPI:
    """Build the control application, with the *routers* of other modules."""

    # The command line warns its user if Pantau notifies nobody.
    def add_mode_header(response: Response) -> None:
        if facade.is_monitor_only():
            response.headers[MODE_HEADER] = MONITOR_ONLY

    mode_header = [Depends(add_mode_header)]
    app = FastAPI(title="Pantau control", docs_url=None, redoc_url=None, openapi_url=None, dependencies=mode_header)
    answer_with_problems(app)

    @app.get("/incidents")
    async def incidents() -> list[IncidentView]:
        return list(await facade.status_reader.incidents())

    # Incidents whose announcement waits for a release.
    @app.get("/releases")
    async def releases() -> list[IncidentView]:
        return list(await facade.releases())

    @app.get("/notifications")
    async def notifications() -> list[NotificationView]:
        return list(await facade.status_reader.latest_notifications())

    @app.post("/incidents/{number}/acknowledge")
    async def acknowledge(number: str, command: CommandRequest) -> IncidentView:
        return view_incident(await facade.acknowledge(number, command.by))

    @app.post("/incidents/{number}/take-over")
    async def take_over(number: str, command: TakeOverRequest) -> IncidentView:
        return view_incident(await facade.take_over(number, command.by, command.from_user))

    @app.post("/incidents/{number}/notes")
    async def add_note(number: str, command: NoteRequest) -> IncidentView:
        return view_incident(await facade.add_note(number, command.by, command.text))

    @app.post("/incidents/{number}/escalate")
    async def escalate(number: str, command: CommandRequest) -> IncidentView:
        return view_incident(await facade.escalate(number, command.by))

    @app.post("/incidents/{number}/release")
    async def release(number: str, command: DespiteRequest) -> IncidentView:
        return view_incident(await facade.release(number, command.by, despite=command.despite))

    @app.post("/incidents/{number}/false-alarm")
    async def mark_false_alarm(number: str, command: FalseAlarmRequest) -> IncidentView:
        return view_incident(await facade.mark_false_alarm(number, command.by, command.reason, despite=command.despite))

    @app.post("/notifications/{notification_id}/set-status")
    async def set_status(notification_id: Id, command: SetStatusRequest) -> None:
        await facade.set_notification_status(notification_id, command.status, command.by, command.reason)

    @app.post("/reload")
    async def reload(command: CommandRequest | None = None) -> Response:
        return reload_response(await facade.reload(command.by if command else "control socket"))

    for router in routers:
        app.include_router(router)
    return app


def declaration_commands(declarations: DeclarationService) -> APIRouter:
    """Build the router of declared outages on the control socket, which the command line uses."""
    router = APIRouter()

    @router.post("/declarations")
    async def declare(command: DeclareRequest) -> DeclaredView:
        declared = await declarations.declare(
            command.agency, command.type, since=command.since, reason=command.reason, by=command.by
        )
        return view_declared(declared)

    @router.post("/incidents/{number}/close")
    async def close(number: str, command: CloseRequest) -> IncidentView:
        incident = declarations.close(
            number, reason=command.reason, by=command.by, recovered=command.recovered, despite=command.despite
        )
        return view_incident(await incident)

    return router


def view_declared(declared: DeclaredOutage) -> DeclaredView:
    """Return the view of a declared outage."""
    silence = declared.silence
    return DeclaredView(
        incident=view_incident(declared.incident),
        silence=None if silence is None else silence.id,
        silent_until=None if silence is None else silence.ends_at,
    )


def silence_commands(silencer: Silencer) -> APIRouter:
    """Build the router of silences (create, list, end) on the control socket, which the command line uses."""
    router = APIRouter()

    @router.get("/silences")
    async def current() -> list[Silence]:
        return list(await silencer.current())

    @router.post("/silences")
    async def add(command: SilenceRequest) -> Silence:
        try:
            duration = parse_duration(command.duration)
        except InvalidDurationError as error:
            raise OperationRejectedError(f"{command.duration}: {error}; write --for 2h, or 30m") from None
        return await silencer.add(command.target, duration, command.reason, command.by)

    # *number*: the silence's ID. An error message shows this name to the user of the command line.
    @router.post("/silences/{number}/remove")
    async def remove(number: Id, command: CommandRequest) -> Silence:
        return await silencer.remove(number, command.by)

    return router
