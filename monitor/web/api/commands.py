"""API commands for incidents, including the declaration of outages.

A signed-in user or an API token needs the permission for each command. A user who declares an outage states that mail
fails although no probe detects it. The announcement of an outage informs external recipients after a user has released
it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import Field, TypeAdapter

from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.service.declarations import DeclarationService
from monitor.service.facade import ServiceFacade
from monitor.views.overview import IncidentView, view_incident
from monitor.web.access.access_control import RequirePermission, check_permission, incident_in_path
from monitor.web.api.route.command import (
    ApiClose,
    ApiCorrection,
    ApiDespite,
    ApiNote,
    ApiReasonRequest,
    ApiRequest,
    ApiTakeOver,
    Idempotency,
    IdempotencyGuard,
    author_of,
    command_router,
    requester_of,
)
from monitor.web.api.route.query import Moment
from monitor.web.command.control import DeclaredView, view_declared

_INCIDENT = TypeAdapter(IncidentView)
_DECLARED = TypeAdapter(DeclaredView)
_Manager = Annotated[Principal, Depends(RequirePermission(Permission.MANAGE_INCIDENTS))]


class ApiDeclare(ApiReasonRequest):
    """Declaration of an outage: agency, what fails, since when; the reason states the source of the information."""

    agency: Annotated[str, Field(min_length=1, max_length=64)]
    type: Literal[IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH]
    since: Annotated[Moment | None, Field(description="Default: now. At most seven days ago.")] = None


def incident_commands(facade: ServiceFacade, declarations: DeclarationService) -> APIRouter:
    """Build the router of commands for signed-in users and API tokens."""
    router = command_router()
    agency_of_incident = incident_in_path(facade)
    duty_officer = Depends(RequirePermission(Permission.ACKNOWLEDGE, agency_of_incident))
    releaser = Depends(RequirePermission(Permission.RELEASE, agency_of_incident))
    manager = Depends(RequirePermission(Permission.MANAGE_INCIDENTS, agency_of_incident))

    @router.post(
        "/incidents/{number}/acknowledge",
        summary="Acknowledge an incident",
        response_model=IncidentView,
    )
    async def acknowledge(
        number: str, idempotency: Idempotency, command: ApiRequest | None = None, principal: Principal = duty_officer
    ) -> Response:
        return await run(idempotency, principal, command, lambda author: facade.acknowledge(number, author))

    @router.post(
        "/incidents/{number}/notes",
        summary="Add a note; it extends the acknowledgement",
        response_model=IncidentView,
    )
    async def add_note(
        number: str, command: ApiNote, idempotency: Idempotency, principal: Principal = duty_officer
    ) -> Response:
        return await run(idempotency, principal, command, lambda author: facade.add_note(number, author, command.text))

    @router.post(
        "/incidents/{number}/take-over",
        summary="Take an incident over from its assignee; if that changed, nothing happens",
        response_model=IncidentView,
    )
    async def take_over(
        number: str, command: ApiTakeOver, idempotency: Idempotency, principal: Principal = duty_officer
    ) -> Response:
        return await run(
            idempotency, principal, command, lambda author: facade.take_over(number, author, command.from_user)
        )

    @router.post(
        "/incidents/{number}/escalate",
        summary="Escalate to the next step at once",
        response_model=IncidentView,
    )
    async def escalate(
        number: str, idempotency: Idempotency, command: ApiRequest | None = None, principal: Principal = duty_officer
    ) -> Response:
        return await run(idempotency, principal, command, lambda author: facade.escalate(number, author))

    @router.post(
        "/incidents/{number}/release",
        summary="Release the announcement to external recipients",
        response_model=IncidentView,
    )
    async def release(
        number: str, idempotency: Idempotency, command: ApiDespite | None = None, principal: Principal = releaser
    ) -> Response:
        despite = command.despite if command else None
        return await run(
            idempotency, principal, command, lambda author: facade.release(number, author, despite=despite)
        )

    @router.post(
        "/incidents/{number}/close",
        summary="Close an incident manually",
        response_model=IncidentView,
    )
    async def close(
        number: str, command: ApiClose, idempotency: Idempotency, principal: Principal = manager
    ) -> Response:
        return await run(
            idempotency,
            principal,
            command,
            lambda author: declarations.close(
                number, reason=command.reason, by=author, recovered=command.recovered, despite=command.despite
            ),
        )

    @router.post(
        "/incidents/{number}/false-alarm",
        summary="Mark as false alarm; everybody notified gets a correction",
        response_model=IncidentView,
    )
    async def mark_false_alarm(
        number: str, command: ApiCorrection, idempotency: Idempotency, principal: Principal = manager
    ) -> Response:
        return await run(
            idempotency,
            principal,
            command,
            lambda author: facade.mark_false_alarm(number, author, command.reason, despite=command.despite),
        )

    @router.post(
        "/declarations",
        summary="Declare an outage that no probe detects; people are notified as of a detected one",
        response_model=DeclaredView,
        status_code=HTTPStatus.CREATED,
    )
    async def declare(command: ApiDeclare, principal: _Manager, idempotency: Idempotency) -> Response:
        check_permission(principal, Permission.MANAGE_INCIDENTS, command.agency.strip().upper())
        name = author_of(principal, command.by)

        async def operation() -> DeclaredView:
            since = command.since.isoformat() if command.since else ""
            declared = await declarations.declare(
                command.agency, command.type, since=since, reason=command.reason, by=name
            )
            return view_declared(declared)

        return await idempotency.run(requester_of(principal), _DECLARED, operation, HTTPStatus.CREATED)

    async def run(
        idempotency: IdempotencyGuard,
        principal: Principal,
        command: ApiRequest | None,
        operation: Callable[[str], Awaitable[Incident]],
    ) -> Response:
        """Run *operation* with the author of the command, and return its incident. A repeated command runs once."""
        author = author_of(principal, command.by if command else None)

        async def run_and_view() -> IncidentView:
            return view_incident(await operation(author))

        return await idempotency.run(requester_of(principal), _INCIDENT, run_and_view)

    return router
