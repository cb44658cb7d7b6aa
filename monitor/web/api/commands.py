"""Commands for incidents over HTTP, including declared outages.

They require a token or a page of ours, and the permission. For compatibility a program with a token of the settings
(`api`) may acknowledge.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import Field, TypeAdapter

from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.service.declarations import DeclarationService
from monitor.service.facade import ServiceFacade
from monitor.views.overview import IncidentView, view_incident
from monitor.web.access.access_control import (
    PublicRoute,
    RequirePermission,
    access_control_of,
    incident_in_path,
    permit,
)
from monitor.web.api.route.command import (
    BEARER,
    ApiClose,
    ApiCorrection,
    ApiDespite,
    ApiNote,
    ApiReasonRequest,
    ApiRequest,
    ApiTakeOver,
    IdempotencyGuard,
    Once,
    Requester,
    given_orders,
    name_of,
    orderer_of,
    wrong_in_body,
)
from monitor.web.api.route.query import Moment
from monitor.web.command.control import DeclaredView, view_declared

_INCIDENT = TypeAdapter(IncidentView)
_DECLARED = TypeAdapter(DeclaredView)
_Ruler = Annotated[Principal, Depends(RequirePermission(Permission.MANAGE_INCIDENTS))]
_Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]


class ApiDeclare(ApiReasonRequest):
    """Declaration of an outage: what fails where, since when, and the source of the information."""

    agency: Annotated[str, Field(min_length=1, max_length=64)]
    type: Literal[IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH]
    since: Annotated[Moment | None, Field(description="Default: now. At most seven days ago.")] = None


def orders(source: ServiceFacade) -> APIRouter:
    """Build the router that always exists.

    A page of another site cannot send the header, so browsers send no forged commands.
    """
    router = given_orders()
    asked_of_people = RequirePermission(Permission.ACKNOWLEDGE, incident_in_path(source))

    async def orderer(request: Request, bearer: _Bearer) -> str | Principal:
        """Return the program with a token of the settings, or the principal.

        Errors in a command are reported only to these.
        """
        program = None if bearer is None else source.program(bearer.credentials)
        if program is not None:
            return program
        if access_control_of(request).authenticator is None:
            raise HTTPException(401, "no token that is known", headers={"WWW-Authenticate": "Bearer"})
        return await asked_of_people(request)

    known = Depends(orderer)

    @router.post(
        "/incidents/{number}/acknowledge",
        summary="Acknowledge an incident",
        dependencies=[
            Depends(PublicRoute("takes tokens of the settings, and asks for the permission where there is none"))
        ],
        response_model=IncidentView,
    )
    async def acknowledge(
        number: str, carry_out: Once, word: ApiRequest | None = None, by_whom: str | Principal = known
    ) -> Response:
        said = None if word is None else word.by
        if isinstance(by_whom, str):
            if said is None:
                raise wrong_in_body("by", "who takes it on? Write a name")
            # Both names are recorded: the person, as stated by the program, and the program.
            name = f"{said} ({by_whom})"
            giver = Requester(by=name, key_holder=f"api {by_whom}"[:100])
        else:
            giver, name = orderer_of(by_whom), name_of(by_whom, said)

        async def act() -> IncidentView:
            return view_incident(await source.acknowledge(number, name))

        return await carry_out.answer(giver, _INCIDENT, act)

    return router


def incident_commands(source: ServiceFacade, declarer: DeclarationService) -> APIRouter:
    """Build the router of commands for signed-in users and API tokens."""
    router = given_orders()
    its_agency = incident_in_path(source)
    duty_officer = Depends(RequirePermission(Permission.ACKNOWLEDGE, its_agency))
    releaser = Depends(RequirePermission(Permission.RELEASE, its_agency))
    ruler = Depends(RequirePermission(Permission.MANAGE_INCIDENTS, its_agency))

    @router.post(
        "/incidents/{number}/notes",
        summary="Add a note; it extends the acknowledgement",
        response_model=IncidentView,
    )
    async def add_note(number: str, said: ApiNote, carry_out: Once, principal: Principal = duty_officer) -> Response:
        name = name_of(principal, said.by)
        return await done(carry_out, principal, lambda: source.remark(number, name, said.text))

    @router.post(
        "/incidents/{number}/take-over",
        summary="Take an incident over from its assignee; if that changed, nothing happens",
        response_model=IncidentView,
    )
    async def take_over(
        number: str, said: ApiTakeOver, carry_out: Once, principal: Principal = duty_officer
    ) -> Response:
        name = name_of(principal, said.by)
        return await done(carry_out, principal, lambda: source.take_over(number, name, said.from_user))

    @router.post(
        "/incidents/{number}/escalate",
        summary="Escalate to the next step at once",
        response_model=IncidentView,
    )
    async def escalate(
        number: str, carry_out: Once, word: ApiRequest | None = None, principal: Principal = duty_officer
    ) -> Response:
        name = name_of(principal, word.by if word else None)
        return await done(carry_out, principal, lambda: source.hand_on(number, name))

    @router.post(
        "/incidents/{number}/release",
        summary="Release the announcement to external recipients",
        response_model=IncidentView,
    )
    async def release(
        number: str, carry_out: Once, word: ApiDespite | None = None, principal: Principal = releaser
    ) -> Response:
        name = name_of(principal, word.by if word else None)
        despite = word.despite if word else None
        return await done(carry_out, principal, lambda: source.release(number, name, despite=despite))

    @router.post(
        "/incidents/{number}/close",
        summary="Close an incident manually",
        response_model=IncidentView,
    )
    async def close(number: str, said: ApiClose, carry_out: Once, principal: Principal = ruler) -> Response:
        name = name_of(principal, said.by)
        return await done(
            carry_out,
            principal,
            lambda: declarer.close(number, why=said.reason, by=name, recovered=said.recovered, despite=said.despite),
        )

    @router.post(
        "/incidents/{number}/false-alarm",
        summary="Mark as false alarm; everybody notified gets a correction",
        response_model=IncidentView,
    )
    async def mark_false_alarm(
        number: str, said: ApiCorrection, carry_out: Once, principal: Principal = ruler
    ) -> Response:
        name = name_of(principal, said.by)
        return await done(carry_out, principal, lambda: source.correct(number, name, said.reason, despite=said.despite))

    @router.post(
        "/declarations",
        summary="Declare an outage that no probe detects; people are notified as of a detected one",
        response_model=DeclaredView,
        status_code=HTTPStatus.CREATED,
    )
    async def declare(said: ApiDeclare, principal: _Ruler, carry_out: Once) -> Response:
        permit(principal, Permission.MANAGE_INCIDENTS, said.agency.strip().upper())
        name = name_of(principal, said.by)

        async def act() -> DeclaredView:
            since = said.since.isoformat() if said.since else ""
            done = await declarer.declare(said.agency, said.type, since=since, why=said.reason, by=name)
            return view_declared(done)

        return await carry_out.answer(orderer_of(principal), _DECLARED, act, HTTPStatus.CREATED)

    async def done(
        carry_out: IdempotencyGuard, principal: Principal, order: Callable[[], Awaitable[Incident]]
    ) -> Response:
        async def act() -> IncidentView:
            return view_incident(await order())

        return await carry_out.answer(orderer_of(principal), _INCIDENT, act)

    return router
