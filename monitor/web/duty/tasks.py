"""Task page: the user's pending tasks, and forms to declare an outage and to create a silence.

A declared outage is one that users report, even if no probe detects it. A silence suppresses notifications about an
agency or a route. The names of form fields ("matter", "about", "lasts") are those in tasks.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from alerts.model.notification import IncidentType
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.config.files.duration import InvalidDurationError, parse_duration
from monitor.service.declarations import DeclarationService
from monitor.service.errors import OperationRejectedError
from monitor.service.portal.worklist import Worklist
from monitor.service.silences import Silencer
from monitor.views.overview import view_incident
from monitor.web.access.access_control import RequirePermission, check_permission
from monitor.web.duty.form_result import (
    NO_ERROR,
    FormError,
    delete_flash_message,
    incomplete_form,
    read_flash_message,
    read_reason,
    redirect_with_message,
    rejected_form,
)
from monitor.web.form import Pages, read_form
from monitor.web.page import PageLanguage, texts_of
from monitor.web.request import Id

_PATH: Final = "/tasks"
#: Types of outages that a user may declare.
_DECLARABLE: Final = frozenset({IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH})

_Officer = Annotated[Principal, Depends(RequirePermission(Permission.ACKNOWLEDGE))]
_Manager = Annotated[Principal, Depends(RequirePermission(Permission.MANAGE_INCIDENTS))]
_SilenceManager = Annotated[Principal, Depends(RequirePermission(Permission.SILENCE))]


def task_pages(worklist: Worklist, declarations: DeclarationService, silencer: Silencer, pages: Pages) -> APIRouter:
    """Build the router of the task page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/tasks")
    async def tasks(request: Request, principal: _Officer) -> Response:
        return await render_page(request, principal)

    @router.post("/tasks/declare")
    async def declare(request: Request, principal: _Manager) -> Response:
        form = await read_form(request)
        agency, incident_type = form.get("agency", "").strip().upper(), form.get("matter", "")
        reason = read_reason(form)
        # *problem*: key of the error text for the first missing or invalid field.
        problem = "" if agency else "no_agency"
        problem = problem or ("" if incident_type in _DECLARABLE else "no_choice") or ("" if reason else "no_text")
        if problem or reason is None:
            return await render_page(request, principal, incomplete_form("declare", problem, form))
        check_permission(principal, Permission.MANAGE_INCIDENTS, agency)
        try:
            declared = await declarations.declare(
                agency, IncidentType(incident_type), since=form.get("since", ""), reason=reason, by=principal.by
            )
        except OperationRejectedError as error:
            return await render_page(request, principal, rejected_form("declare", error, form))
        message = "declared" if declared.silence is None else "declared_silent"
        return redirect_with_message(request, f"/incidents/{declared.incident.number}", message)

    @router.post("/tasks/silences")
    async def silence(request: Request, principal: _SilenceManager) -> Response:
        form = await read_form(request)
        target, duration, reason = form.get("about", "").strip(), _read_duration(form), read_reason(form)
        problem = "" if target else "no_about"
        problem = problem or ("" if duration else "no_span") or ("" if reason else "no_text")
        if problem or duration is None or reason is None:
            return await render_page(request, principal, incomplete_form("silence", problem, form))
        try:
            target_name = silencer.find_target(target)
            check_permission(principal, Permission.SILENCE, silencer.agency_of(target_name))
            await silencer.add(target_name, duration, reason, principal.by)
        except OperationRejectedError as error:
            return await render_page(request, principal, rejected_form("silence", error, form))
        return redirect_with_message(request, _PATH, "silenced")

    @router.post("/tasks/silences/{number}/end")
    async def end(request: Request, number: Id, principal: _SilenceManager) -> Response:
        await read_form(request)
        silence = next((each for each in await silencer.current() if each.id == number), None)
        # The service lists only silences in force, so a missing silence has already ended.
        if silence is None:
            return redirect_with_message(request, _PATH, "ended_before")
        check_permission(principal, Permission.SILENCE, silencer.agency_of(silence.target))
        try:
            await silencer.remove(number, principal.by)
        except OperationRejectedError:
            return redirect_with_message(request, _PATH, "ended_before")
        return redirect_with_message(request, _PATH, "unsilenced")

    async def render_page(request: Request, principal: Principal, form_error: FormError = NO_ERROR) -> Response:
        pending_tasks = await worklist.pending_tasks(principal)
        silence_scope = principal.scope(Permission.SILENCE)
        managed_scope = principal.scope(Permission.MANAGE_INCIDENTS)
        message = "" if form_error.problem else read_flash_message(request)
        context = {
            "path": _PATH,
            "pending_tasks": pending_tasks,
            "unassigned": [view_incident(each) for each in pending_tasks.unassigned],
            "own_incidents": [view_incident(each) for each in pending_tasks.own],
            "releasable": [view_incident(each) for each in pending_tasks.releases],
            "silences": [each for each in await silencer.current() if silencer.agency_of(each.target) in silence_scope],
            # The keys of these texts are durations, such as "2h".
            "durations": list(texts_of("duty_durations", PageLanguage.MALAY)),
            "may_manage": principal.may(Permission.MANAGE_INCIDENTS),
            "may_silence": principal.may(Permission.SILENCE),
            # Prefill the agency if the principal manages incidents of only one.
            "default_agency": next(iter(managed_scope.agencies)) if len(managed_scope.agencies) == 1 else "",
            "flash_message": message,
            "form_error": form_error,
        }
        response = pages.show(request, "tasks.html", context, form_error.status)
        return delete_flash_message(response, _PATH) if message else response

    return router


def _read_duration(form: Mapping[str, str]) -> timedelta | None:
    """Return the selected duration of a silence; `None` if it is missing or invalid."""
    try:
        return parse_duration(form.get("lasts", ""))
    except InvalidDurationError:
        return None
