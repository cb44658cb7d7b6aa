"""Incident pages: state, notifications, assignee, and forms for the actions that the principal may perform.

The principal is the signed-in user. The announcement of an incident informs external recipients. A user with the
permission releases it after a preview. Each form has its own URL. If somebody else has performed the action already, a
form changes nothing, and the page shows the present state.

Form fields have their names from incident.html ("of": the assignee, "ruling": a delivery status). Flash messages are
keys of the section `duty_messages` in texts/duty.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import RedirectResponse

from alerts.decide.escalation import has_no_next_person
from alerts.engine.manual_status import ManualStatus
from alerts.model.delivery import NotificationState
from alerts.model.incident import Incident
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.service.declarations import DeclarationService
from monitor.service.errors import OperationRejectedError, notification_not_found
from monitor.service.facade import ServiceFacade
from monitor.service.portal.worklist import MAX_LISTED, Worklist
from monitor.store.engine.listing import NotificationFilter
from monitor.views.incident_action import PERMISSION_FOR, IncidentAction, possible_actions
from monitor.views.overview import view_incident
from monitor.web.access.access_control import (
    RequirePermission,
    check_permission,
    incident_in_path,
    notification_in_path,
)
from monitor.web.duty.form_result import (
    NO_ERROR,
    FormError,
    delete_flash_message,
    incomplete_form,
    read_despite,
    read_flash_message,
    read_reason,
    redirect_with_message,
    rejected_form,
)
from monitor.web.form import Pages, read_fields, read_form
from monitor.web.request import Id

#: Argument *recovered* of `DeclarationService.close`, by the user's answer to "Does mail work again?". `None`: only a
#: declared outage ends.
_RECOVERED: Final[Mapping[str, bool | None]] = {"yes": True, "no": False, "declared": None}
#: Maximum number of notifications on an incident's page, the newest ones.
_MAX_NOTIFICATIONS = 100

#: Position of a letter or fax in the preview of the announcement, from 1.
_Position = Annotated[int, Path(ge=1, lt=1000)]


def incident_pages(
    facade: ServiceFacade, worklist: Worklist, declarations: DeclarationService, pages: Pages
) -> APIRouter:
    """Build the router of the incident pages."""
    router, renderer = APIRouter(include_in_schema=False), IncidentRenderer(facade, worklist, pages)
    reader = Depends(RequirePermission(Permission.READ, incident_in_path(facade)))

    @router.get("/incidents/{number}")
    async def incident(request: Request, number: str, principal: Principal = reader) -> Response:
        return await renderer.render_incident(request, number, principal)

    _add_officer_actions(router, facade, renderer)
    _add_release_routes(router, facade, worklist, renderer)
    _add_manager_actions(router, facade, declarations, renderer)
    return router


class IncidentRenderer:
    """Renderer of an incident's page, and of the page with the preview of its announcement."""

    def __init__(self, facade: ServiceFacade, worklist: Worklist, pages: Pages) -> None:
        self._facade = facade
        self._worklist = worklist
        self._pages = pages

    async def render_incident(
        self, request: Request, number: str, principal: Principal, form_error: FormError = NO_ERROR
    ) -> Response:
        """Return the page of an incident."""
        details = await self._worklist.incident_page(number)
        incident, agency = details.incident, details.incident.policy.agency
        page = await self._facade.status_reader.notification_page(
            NotificationFilter(incident_id=incident.id), limit=_MAX_NOTIFICATIONS
        )
        actions = possible_actions(incident, principal.names, self._facade.now())
        context = {
            "path": _path_of(incident),
            "flash_message": (message := "" if form_error.problem else read_flash_message(request)),
            "form_error": form_error,
            "details": details,
            "incident": incident,
            "view": view_incident(incident),
            "notifications": page.rows,
            # Whether there are older notifications.
            "has_more": page.after is not None,
            "sites": await self._facade.status_reader.site_evidence(incident),
            "permitted_actions": {str(each) for each in actions if principal.may(PERMISSION_FOR[each], agency)},
            "may_set_status": principal.may(Permission.MANAGE_INCIDENTS, agency),
            # When an acknowledgement of this moment would expire.
            "acknowledged_until": self._facade.now() + incident.policy.escalation.acknowledgement_timeout,
        }
        response = self._pages.show(request, "incident.html", context, form_error.status)
        return delete_flash_message(response, _path_of(incident)) if message else response

    async def render_release(self, request: Request, number: str, form_error: FormError = NO_ERROR) -> Response:
        """Return the page that shows the announcement before its release."""
        preview = await self._worklist.preview_release(number)
        context = {
            "path": f"{_path_of(preview.incident)}/release",
            "flash_message": "",
            "form_error": form_error,
            "preview": preview,
            "incident": preview.incident,
            "view": view_incident(preview.incident),
        }
        return self._pages.show(request, "release.html", context, form_error.status)


def _add_officer_actions(router: APIRouter, facade: ServiceFacade, renderer: IncidentRenderer) -> None:
    officer = Depends(RequirePermission(Permission.ACKNOWLEDGE, incident_in_path(facade)))
    any_officer = Depends(RequirePermission(Permission.ACKNOWLEDGE))

    @router.post("/incidents/{number}/acknowledge")
    async def acknowledge(request: Request, number: str, principal: Principal = officer) -> Response:
        await read_form(request)
        before = await facade.find_incident(number)
        previous_name = before.acknowledged_by if before.is_assigned_to(principal.names) else None
        # If the user has acknowledged already under another name, for instance by telephone, keep that name. With a new
        # name, the acknowledgement would be a takeover, of which everybody is notified.
        after = await facade.acknowledge(number, previous_name or principal.by)
        is_own = after.is_assigned_to(principal.names)
        return redirect_with_message(
            request, _path_of(after), _unless_over(after, "acknowledged" if is_own else "has_another")
        )

    @router.post("/tasks/acknowledge")
    async def acknowledge_listed(request: Request, principal: Principal = any_officer) -> Response:
        # Acknowledge only the incidents that the page listed. The user has not seen incidents that opened later.
        # The form has at most `MAX_LISTED` incidents, and few other fields.
        listed_numbers = dict.fromkeys((await read_fields(request, max_fields=2 * MAX_LISTED)).get("incident", ()))
        for number in listed_numbers:
            check_permission(principal, Permission.ACKNOWLEDGE, (await facade.find_incident(number)).policy.agency)
        for number in listed_numbers:
            await facade.acknowledge(number, principal.by)
        return (
            redirect_with_message(request, "/tasks", "acknowledged_listed")
            if listed_numbers
            else RedirectResponse("/tasks", 303)
        )

    @router.post("/incidents/{number}/take-over")
    async def take_over(request: Request, number: str, principal: Principal = officer) -> Response:
        # Take over only from the assignee whom the page showed, because another user may have been faster.
        shown_assignee = (await read_form(request)).get("of", "")
        after = await facade.take_over(number, principal.by, shown_assignee)
        is_own = after.acknowledged_by == principal.by
        # "has_a_third": meanwhile another user has taken the incident over.
        return redirect_with_message(
            request, _path_of(after), _unless_over(after, "taken_over" if is_own else "has_a_third")
        )

    @router.post("/incidents/{number}/notes")
    async def add_note(request: Request, number: str, principal: Principal = officer) -> Response:
        form = await read_form(request)
        text = read_reason(form, "text")
        if text is None:
            return await renderer.render_incident(
                request, number, principal, incomplete_form(IncidentAction.ADD_NOTE, "no_text", form)
            )
        after = await facade.add_note(number, principal.by, text)
        return redirect_with_message(request, _path_of(after), "remarked")

    @router.post("/incidents/{number}/escalate")
    async def escalate(request: Request, number: str, principal: Principal = officer) -> Response:
        await read_form(request)
        after = await facade.escalate(number, principal.by)
        message = "escalated_to_nobody" if has_no_next_person(after) else "escalated"
        return redirect_with_message(request, _path_of(after), _unless_over(after, message))


def _add_release_routes(
    router: APIRouter, facade: ServiceFacade, worklist: Worklist, renderer: IncidentRenderer
) -> None:
    releaser = Depends(RequirePermission(Permission.RELEASE, incident_in_path(facade)))

    @router.get("/incidents/{number}/release", dependencies=[releaser])
    async def preview(request: Request, number: str) -> Response:
        return await renderer.render_release(request, number)

    @router.get("/incidents/{number}/release/{position}/page.pdf", dependencies=[releaser])
    async def page(number: str, position: _Position) -> Response:
        return Response((await worklist.preview_page(number, position)).pdf, media_type="application/pdf")

    @router.post("/incidents/{number}/release")
    async def release(request: Request, number: str, principal: Principal = releaser) -> Response:
        form = await read_form(request)
        preview = await worklist.preview_release(number)
        if preview.incident.released_at is not None or not preview.incident.is_open:
            is_released = preview.incident.released_at is not None
            return redirect_with_message(
                request, _path_of(preview.incident), "released_before" if is_released else "over"
            )
        # Release only the announcement that the user has seen.
        if not preview.notifications or form.get("looked_at") != preview.digest:
            form_error = FormError(status=HTTPStatus.CONFLICT, problem="changed")
            return await renderer.render_release(request, number, form_error)
        try:
            after = await facade.release(number, principal.by, despite=read_despite(form))
        except OperationRejectedError as error:
            form_error = FormError(status=HTTPStatus.CONFLICT, problem="not_done", reason=error)
            return await renderer.render_release(request, number, form_error)
        is_own = after.released_by == principal.by
        return redirect_with_message(
            request, _path_of(after), _unless_over(after, "released" if is_own else "released_before")
        )


def _add_manager_actions(
    router: APIRouter, facade: ServiceFacade, declarations: DeclarationService, renderer: IncidentRenderer
) -> None:
    manager = Depends(RequirePermission(Permission.MANAGE_INCIDENTS, incident_in_path(facade)))
    notification_manager = Depends(RequirePermission(Permission.MANAGE_INCIDENTS, notification_in_path(facade)))

    @router.post("/incidents/{number}/close")
    async def close(request: Request, number: str, principal: Principal = manager) -> Response:
        form = await read_form(request)
        before, reason = await facade.find_incident(number), read_reason(form)
        if not before.is_open:
            return redirect_with_message(request, _path_of(before), "over")
        if reason is None or form.get("recovered") not in _RECOVERED:
            problem = "no_text" if reason is None else "no_choice"
            return await renderer.render_incident(
                request, number, principal, incomplete_form(IncidentAction.CLOSE, problem, form)
            )
        try:
            recovered, despite = _RECOVERED[form["recovered"]], read_despite(form)
            after = await declarations.close(
                number, reason=reason, by=principal.by, recovered=recovered, despite=despite
            )
        except OperationRejectedError as error:
            return await renderer.render_incident(
                request, number, principal, rejected_form(IncidentAction.CLOSE, error, form)
            )
        # "goes_on": the declared outage has ended, but probes still detect an outage.
        return redirect_with_message(request, _path_of(after), "goes_on" if after.is_open else "closed")

    @router.post("/incidents/{number}/false-alarm")
    async def mark_false_alarm(request: Request, number: str, principal: Principal = manager) -> Response:
        form = await read_form(request)
        before, reason = await facade.find_incident(number), read_reason(form)
        if before.false_alarm_at is not None:
            return redirect_with_message(request, _path_of(before), "marked_false_before")
        if reason is None:
            return await renderer.render_incident(
                request, number, principal, incomplete_form(IncidentAction.MARK_FALSE_ALARM, "no_text", form)
            )
        try:
            after = await facade.mark_false_alarm(number, principal.by, reason, despite=read_despite(form))
        except OperationRejectedError as error:
            return await renderer.render_incident(
                request, number, principal, rejected_form(IncidentAction.MARK_FALSE_ALARM, error, form)
            )
        return redirect_with_message(request, _path_of(after), "marked_false")

    @router.post("/notifications/{notification_id}/set-status")
    async def set_status(
        request: Request, notification_id: Id, principal: Principal = notification_manager
    ) -> Response:
        form = await read_form(request)
        details = await facade.status_reader.notification(notification_id)
        if not details.incidents:
            raise notification_not_found(notification_id)
        number, reason, status_value = details.incidents[0], read_reason(form), form.get("ruling", "")
        # Accept a pending notification, too. It may be a paused letter or fax, whose status a user may set.
        if details.notification.state not in {NotificationState.UNKNOWN, NotificationState.PENDING}:
            return redirect_with_message(request, f"/incidents/{number}", "settled_before")
        if reason is None or status_value not in set(ManualStatus):
            problem = "no_text" if reason is None else "no_choice"
            return await renderer.render_incident(
                request, number, principal, incomplete_form(str(notification_id), problem, form)
            )
        try:
            await facade.set_notification_status(notification_id, ManualStatus(status_value), principal.by, reason)
        except OperationRejectedError as error:
            return await renderer.render_incident(
                request, number, principal, rejected_form(str(notification_id), error, form)
            )
        return redirect_with_message(request, f"/incidents/{number}", "settled")


def _path_of(incident: Incident) -> str:
    return f"/incidents/{incident.number}"


def _unless_over(incident: Incident, message: str) -> str:
    """Return *message*, the key of a flash message; if the incident is closed, return the key "over" instead."""
    return message if incident.is_open else "over"
