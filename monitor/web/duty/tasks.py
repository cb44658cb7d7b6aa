"""Task page: what awaits the user, and forms that concern no incident yet: declare an outage, create a silence."""

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
from monitor.web.access.access_control import RequirePermission, permit
from monitor.web.duty.form_result import FINE, InvalidForm, read_why, refused, said, then_say, to_be_said, unreadable
from monitor.web.form import Pages, form_of
from monitor.web.page import PageLanguage, words
from monitor.web.request import Id

_PATH: Final = "/tasks"
_DECLARABLE: Final = frozenset({IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH})

_Officer = Annotated[Principal, Depends(RequirePermission(Permission.ACKNOWLEDGE))]
_Ruler = Annotated[Principal, Depends(RequirePermission(Permission.MANAGE_INCIDENTS))]
_Silencing = Annotated[Principal, Depends(RequirePermission(Permission.SILENCE))]


def task_pages(worklist: Worklist, declarer: DeclarationService, silencer: Silencer, pages: Pages) -> APIRouter:
    """Build the router of the task page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/tasks")
    async def tasks(request: Request, principal: _Officer) -> Response:
        return await shown(request, principal)

    @router.post("/tasks/declare")
    async def declare(request: Request, principal: _Ruler) -> Response:
        form = await form_of(request)
        agency, matter, why = form.get("agency", "").strip().upper(), form.get("matter", ""), read_why(form)
        problem = "" if agency else "no_agency"
        problem = problem or ("" if matter in _DECLARABLE else "no_choice") or ("" if why else "no_text")
        if problem or why is None:
            return await shown(request, principal, unreadable("declare", problem, form))
        permit(principal, Permission.MANAGE_INCIDENTS, agency)
        try:
            done = await declarer.declare(
                agency, IncidentType(matter), since=form.get("since", ""), why=why, by=principal.by
            )
        except OperationRejectedError as wrong:
            return await shown(request, principal, refused("declare", wrong, form))
        saying = "declared" if done.silence is None else "declared_silent"
        return then_say(request, f"/incidents/{done.incident.number}", saying)

    @router.post("/tasks/silences")
    async def silence(request: Request, principal: _Silencing) -> Response:
        form = await form_of(request)
        about, lasts, why = form.get("about", "").strip(), _span(form), read_why(form)
        problem = "" if about else "no_about"
        problem = problem or ("" if lasts else "no_span") or ("" if why else "no_text")
        if problem or lasts is None or why is None:
            return await shown(request, principal, unreadable("silence", problem, form))
        try:
            named = silencer.called(about)
            permit(principal, Permission.SILENCE, silencer.whose(named))
            await silencer.add(named, lasts, why, principal.by)
        except OperationRejectedError as wrong:
            return await shown(request, principal, refused("silence", wrong, form))
        return then_say(request, _PATH, "silenced")

    @router.post("/tasks/silences/{number}/end")
    async def end(request: Request, number: Id, principal: _Silencing) -> Response:
        await form_of(request)
        found = next((each for each in await silencer.current() if each.id == number), None)
        # Only silences in force are listed, so an unknown one counts as ended.
        if found is None:
            return then_say(request, _PATH, "ended_before")
        permit(principal, Permission.SILENCE, silencer.whose(found.target))
        try:
            await silencer.remove(number, principal.by)
        except OperationRejectedError:
            return then_say(request, _PATH, "ended_before")
        return then_say(request, _PATH, "unsilenced")

    async def shown(request: Request, principal: Principal, amiss: InvalidForm = FINE) -> Response:
        waiting = await worklist.waiting(principal)
        scope = principal.scope(Permission.SILENCE)
        rules = principal.scope(Permission.MANAGE_INCIDENTS)
        saying = "" if amiss.problem else to_be_said(request)
        facts = {
            "path": _PATH,
            "waiting": waiting,
            "untaken": [view_incident(each) for each in waiting.untaken],
            "theirs": [view_incident(each) for each in waiting.theirs],
            "releases": [view_incident(each) for each in waiting.releases],
            "silences": [each for each in await silencer.current() if silencer.whose(each.target) in scope],
            "spans": list(words("duty_spans", PageLanguage.MALAY)),
            "may_rule": principal.may(Permission.MANAGE_INCIDENTS),
            "may_silence": principal.may(Permission.SILENCE),
            # A principal with permission for one agency need not enter it.
            "their_agency": next(iter(rules.agencies)) if len(rules.agencies) == 1 else "",
            "saying": saying,
            "amiss": amiss,
        }
        answer = pages.show(request, "tasks.html", facts, amiss.status)
        return said(answer, _PATH) if saying else answer

    return router


def _span(form: Mapping[str, str]) -> timedelta | None:
    try:
        return parse_duration(form.get("lasts", ""))
    except InvalidDurationError:
        return None
