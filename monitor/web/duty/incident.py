"""Incident pages: facts, notifications, assignee, and forms for the actions that the principal may perform.

Each form has its own URL. A repeated submission changes nothing, and the page shows the present state.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import RedirectResponse

from alerts.decide.escalation import is_left_to_nobody
from alerts.engine.manual_status import ManualStatus
from alerts.model.delivery import NotificationState
from alerts.model.incident import Incident
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.service.declarations import DeclarationService
from monitor.service.errors import OperationRejectedError, no_notice
from monitor.service.facade import ServiceFacade
from monitor.service.portal.worklist import MOST, Worklist
from monitor.store.engine.listing import NotificationFilter
from monitor.views.incident_action import PERMISSION_FOR, IncidentAction, possible
from monitor.views.overview import view_incident
from monitor.web.access.access_control import RequirePermission, incident_in_path, notification_in_path, permit
from monitor.web.duty.form_result import (
    FINE,
    InvalidForm,
    read_despite,
    read_why,
    refused,
    said,
    then_say,
    to_be_said,
    unreadable,
)
from monitor.web.form import Pages, fields_of, form_of
from monitor.web.request import Id

#: Values for `DeclarationService.close` by answer to "does mail work again?".
_RECOVERED: Final[Mapping[str, bool | None]] = {"yes": True, "no": False, "declared": None}
#: Limit of notifications on an incident's page; the newest are shown.
_NOTICES = 100

_Place = Annotated[int, Path(ge=1, lt=1000)]


def incident_pages(facade: ServiceFacade, worklist: Worklist, declarer: DeclarationService, pages: Pages) -> APIRouter:
    """Build the router of the incident pages."""
    router, sheets = APIRouter(include_in_schema=False), IncidentRoutes(facade, worklist, pages)
    reader = Depends(RequirePermission(Permission.READ, incident_in_path(facade)))

    @router.get("/incidents/{number}")
    async def incident(request: Request, number: str, principal: Principal = reader) -> Response:
        return await sheets.shown(request, number, principal)

    _offer_taking_on(router, facade, sheets)
    _offer_releasing(router, facade, worklist, sheets)
    _offer_ruling(router, facade, declarer, sheets)
    return router


class IncidentRoutes:
    """Views of an incident, and of the announcement that a release would send."""

    def __init__(self, facade: ServiceFacade, worklist: Worklist, pages: Pages) -> None:
        self._front = facade
        self._worklist = worklist
        self._pages = pages

    async def shown(self, request: Request, number: str, principal: Principal, amiss: InvalidForm = FINE) -> Response:
        """Return the page of an incident."""
        sheet = await self._worklist.sheet(number)
        found, agency = sheet.incident, sheet.incident.policy.agency
        notices = await self._front.board.notice_page(NotificationFilter(incident_id=found.id), most=_NOTICES)
        can = possible(found, principal.names, self._front.now())
        facts = {
            "path": _at(found),
            "saying": (saying := "" if amiss.problem else to_be_said(request)),
            "amiss": amiss,
            "sheet": sheet,
            "incident": found,
            "view": view_incident(found),
            "notices": notices.rows,
            "has_more": notices.after is not None,
            "sites": await self._front.board.site_evidence(found),
            "may": {str(each) for each in can if principal.may(PERMISSION_FOR[each], agency)},
            "may_settle": principal.may(Permission.MANAGE_INCIDENTS, agency),
            "until": self._front.now() + found.policy.escalation.acknowledgement_timeout,
        }
        answer = self._pages.show(request, "incident.html", facts, amiss.status)
        return said(answer, _at(found)) if saying else answer

    async def looked_at(self, request: Request, number: str, amiss: InvalidForm = FINE) -> Response:
        """Return the preview of an announcement before its release."""
        look = await self._worklist.look(number)
        facts = {
            "path": f"{_at(look.incident)}/release",
            "saying": "",
            "amiss": amiss,
            "look": look,
            "incident": look.incident,
            "view": view_incident(look.incident),
        }
        return self._pages.show(request, "release.html", facts, amiss.status)


def _offer_taking_on(router: APIRouter, facade: ServiceFacade, sheets: IncidentRoutes) -> None:
    officer = Depends(RequirePermission(Permission.ACKNOWLEDGE, incident_in_path(facade)))
    anybody = Depends(RequirePermission(Permission.ACKNOWLEDGE))

    @router.post("/incidents/{number}/acknowledge")
    async def acknowledge(request: Request, number: str, principal: Principal = officer) -> Response:
        await form_of(request)
        before = await facade.numbered(number)
        had_by = before.acknowledged_by if before.is_assigned_to(principal.names) else None
        # An incident acknowledged by telephone keeps that name. Another name would be a takeover, about which all are
        # notified.
        after = await facade.acknowledge(number, had_by or principal.by)
        is_theirs = after.is_assigned_to(principal.names)
        return then_say(request, _at(after), _unless_over(after, "acknowledged" if is_theirs else "has_another"))

    @router.post("/tasks/acknowledge")
    async def acknowledge_listed(request: Request, principal: Principal = anybody) -> Response:
        # Only incidents listed on the page: the user has not seen those opened since.
        listed = dict.fromkeys((await fields_of(request, most=2 * MOST)).get("incident", ()))
        for number in listed:
            permit(principal, Permission.ACKNOWLEDGE, (await facade.numbered(number)).policy.agency)
        for number in listed:
            await facade.acknowledge(number, principal.by)
        return then_say(request, "/tasks", "acknowledged_listed") if listed else RedirectResponse("/tasks", 303)

    @router.post("/incidents/{number}/take-over")
    async def take_over(request: Request, number: str, principal: Principal = officer) -> Response:
        # Take over from the assignee shown on the page: another user may have been faster.
        of = (await form_of(request)).get("of", "")
        after = await facade.take_over(number, principal.by, of)
        is_theirs = after.acknowledged_by == principal.by
        return then_say(request, _at(after), _unless_over(after, "taken_over" if is_theirs else "has_a_third"))

    @router.post("/incidents/{number}/notes")
    async def remark(request: Request, number: str, principal: Principal = officer) -> Response:
        form = await form_of(request)
        text = read_why(form, "text")
        if text is None:
            return await sheets.shown(request, number, principal, unreadable(IncidentAction.REMARK, "no_text", form))
        after = await facade.remark(number, principal.by, text)
        return then_say(request, _at(after), "remarked")

    @router.post("/incidents/{number}/escalate")
    async def hand_on(request: Request, number: str, principal: Principal = officer) -> Response:
        await form_of(request)
        after = await facade.hand_on(number, principal.by)
        saying = "handed_on_to_nobody" if is_left_to_nobody(after) else "handed_on"
        return then_say(request, _at(after), _unless_over(after, saying))


def _offer_releasing(router: APIRouter, facade: ServiceFacade, worklist: Worklist, sheets: IncidentRoutes) -> None:
    releaser = Depends(RequirePermission(Permission.RELEASE, incident_in_path(facade)))

    @router.get("/incidents/{number}/release", dependencies=[releaser])
    async def look(request: Request, number: str) -> Response:
        return await sheets.looked_at(request, number)

    @router.get("/incidents/{number}/release/{place}/page.pdf", dependencies=[releaser])
    async def page(number: str, place: _Place) -> Response:
        return Response((await worklist.page(number, place)).pdf, media_type="application/pdf")

    @router.post("/incidents/{number}/release")
    async def release(request: Request, number: str, principal: Principal = releaser) -> Response:
        form = await form_of(request)
        before = await worklist.look(number)
        if before.incident.released_at is not None or not before.incident.is_open:
            is_out = before.incident.released_at is not None
            return then_say(request, _at(before.incident), "released_before" if is_out else "over")
        if not before.goes or form.get("looked_at") != before.mark:
            amiss = InvalidForm(status=HTTPStatus.CONFLICT, problem="changed")
            return await sheets.looked_at(request, number, amiss)
        try:
            after = await facade.release(number, principal.by, despite=read_despite(form))
        except OperationRejectedError as wrong:
            amiss = InvalidForm(status=HTTPStatus.CONFLICT, problem="not_done", reason=wrong)
            return await sheets.looked_at(request, number, amiss)
        is_theirs = after.released_by == principal.by
        return then_say(request, _at(after), _unless_over(after, "released" if is_theirs else "released_before"))


def _offer_ruling(
    router: APIRouter, facade: ServiceFacade, declarer: DeclarationService, sheets: IncidentRoutes
) -> None:
    ruler = Depends(RequirePermission(Permission.MANAGE_INCIDENTS, incident_in_path(facade)))
    settler = Depends(RequirePermission(Permission.MANAGE_INCIDENTS, notification_in_path(facade)))

    @router.post("/incidents/{number}/close")
    async def close(request: Request, number: str, principal: Principal = ruler) -> Response:
        form = await form_of(request)
        before, why = await facade.numbered(number), read_why(form)
        if not before.is_open:
            return then_say(request, _at(before), "over")
        if why is None or form.get("recovered") not in _RECOVERED:
            problem = "no_text" if why is None else "no_choice"
            return await sheets.shown(request, number, principal, unreadable(IncidentAction.CLOSE, problem, form))
        try:
            recovered, despite = _RECOVERED[form["recovered"]], read_despite(form)
            after = await declarer.close(number, why=why, by=principal.by, recovered=recovered, despite=despite)
        except OperationRejectedError as wrong:
            return await sheets.shown(request, number, principal, refused(IncidentAction.CLOSE, wrong, form))
        return then_say(request, _at(after), "goes_on" if after.is_open else "closed")

    @router.post("/incidents/{number}/false-alarm")
    async def correct(request: Request, number: str, principal: Principal = ruler) -> Response:
        form = await form_of(request)
        before, why = await facade.numbered(number), read_why(form)
        if before.false_alarm_at is not None:
            return then_say(request, _at(before), "corrected_before")
        if why is None:
            return await sheets.shown(request, number, principal, unreadable(IncidentAction.CORRECT, "no_text", form))
        try:
            after = await facade.correct(number, principal.by, why, despite=read_despite(form))
        except OperationRejectedError as wrong:
            return await sheets.shown(request, number, principal, refused(IncidentAction.CORRECT, wrong, form))
        return then_say(request, _at(after), "corrected")

    @router.post("/notifications/{notification_id}/set-status")
    async def settle(request: Request, notification_id: Id, principal: Principal = settler) -> Response:
        form = await form_of(request)
        notice = await facade.board.notice(notification_id)
        if not notice.incidents:
            raise no_notice(notification_id)
        number, why, ruling = notice.incidents[0], read_why(form), form.get("ruling", "")
        # A pending notification may be paused paper, whose status a user may set, too.
        if notice.notification.state not in {NotificationState.UNKNOWN, NotificationState.PENDING}:
            return then_say(request, f"/incidents/{number}", "settled_before")
        if why is None or ruling not in set(ManualStatus):
            problem = "no_text" if why is None else "no_choice"
            return await sheets.shown(request, number, principal, unreadable(str(notification_id), problem, form))
        try:
            await facade.settle(notification_id, ManualStatus(ruling), principal.by, why)
        except OperationRejectedError as wrong:
            return await sheets.shown(request, number, principal, refused(str(notification_id), wrong, form))
        return then_say(request, f"/incidents/{number}", "settled")


def _at(incident: Incident) -> str:
    return f"/incidents/{incident.number}"


def _unless_over(incident: Incident, saying: str) -> str:
    return saying if incident.is_open else "over"
