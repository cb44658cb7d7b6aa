"""Settings pages of an agency for its mail officers: forms for frequent changes, the whole document, its versions.

A document is the YAML configuration of an agency. A draft is its edited text before it is saved.

Two kinds of forms have a preview. The preview of a rota (an on-call schedule) sends the field "seen" to save the draft,
or "again" to return to the form. The preview of a calendar file sends "shown", the digest of the draft that it showed,
to save this draft; with "again" it shows the preview for another selection of maintenance windows.
"""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from alerts.persistence.clock import Clock
from monitor.access.role import Permission
from monitor.config.files.document import document_from_text
from monitor.config.files.edit import NotEditableError, edit_text
from monitor.model.document import DocumentVersion, digest_of
from monitor.model.translatable import translatable
from monitor.service.errors import OperationRejectedError
from monitor.service.portal.agency_editor import PAGE_SIZE, AgencyDraft, AgencyEditor, DraftResult
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import AgencyOfficer, agency_in_path, require
from monitor.web.agency.calendar_file import MAX_CALENDAR, InvalidCalendarError
from monitor.web.agency.difference import diff_lines
from monitor.web.agency.form_parsing import InvalidFieldError
from monitor.web.agency.settings_edits import FORMS, PREVIEWED_FORMS, form_edits, is_notification_form
from monitor.web.agency.settings_page import FormInput, SettingsPage
from monitor.web.form import MAX_TEXT_FORM_SIZE, Pages, normalize_pasted, read_file_form, read_form

#: Maximum number of form fields: enough for twenty escalation steps with all their recipients.
_MAX_FIELDS: Final = 600
#: Maximum number of digits of a version number. A longer number may exceed an integer of the database.
_MAX_DIGITS: Final = 9


def settings_pages(editor: AgencyEditor, clock: Clock, pages: Pages) -> APIRouter:
    """Build the router of the settings pages."""
    router = APIRouter(include_in_schema=False, dependencies=require(Permission.EDIT_AGENCY, agency_in_path))
    settings_page = SettingsPage(editor, clock, pages)

    async def render_saved(request: Request, code: str, template: str) -> Response:
        """Return the page of *template*, with the message of a previous save if the URL has one."""
        # Number of the saved version, or "same" if the form changed nothing.
        saved, latest = request.query_params.get("saved", ""), await editor.latest(code.upper())
        return await settings_page.show(request, template, latest, saved=_parse_number(saved), is_same=saved == "same")

    @router.get("/agencies/{code}/settings")
    async def settings(request: Request, code: str) -> Response:
        return await render_saved(request, code, "settings.html")

    @router.get("/agencies/{code}/notifications")
    async def notification_settings(request: Request, code: str) -> Response:
        return await render_saved(request, code, "notification_settings.html")

    @router.post("/agencies/{code}/settings")
    async def save(request: Request, code: str, principal: AgencyOfficer) -> Response:
        code = code.upper()
        fields = await read_form(request, max_octets=MAX_TEXT_FORM_SIZE, max_fields=_MAX_FIELDS)
        form_input = FormInput(name=fields.get("form", ""), fields=fields)
        template = "notification_settings.html" if is_notification_form(form_input.name) else "settings.html"
        if form_input.name != "text" and form_input.name not in FORMS:
            raise HTTPException(404, "there is no such form")
        if form_input.name in PREVIEWED_FORMS and "again" in fields:
            # The user returns from the preview to the form, so show the input again.
            return await settings_page.show(request, template, await editor.latest(code), form_input=form_input)
        try:
            draft = await _draft_from_form(code, form_input, editor, settings_page)
            # Whether the user may, for instance, change which servers receive secrets.
            may_edit_restricted = principal.may(Permission.CONFIGURE_SECRETS, code)
            if form_input.name in PREVIEWED_FORMS and "seen" not in fields:
                # The user has not seen the preview yet.
                preview = await editor.preview(draft, by=principal.by, may_edit_restricted=may_edit_restricted)
                if preview.new_configuration is None:
                    # The draft has errors or is in conflict with another edit, so there is nothing to preview.
                    return await respond(request, form_input, draft, preview)
                context = await asyncio.to_thread(
                    settings_page.rota_preview, await editor.latest(code), form_input, draft, preview
                )
                return settings_page.render(request, "rota_preview.html", context)
            # Save the windows of a calendar file only if the preview showed exactly this draft.
            if form_input.name == "calendar" and ("again" in fields or fields.get("shown") != digest_of(draft.text)):
                before = await editor.base_text(code, draft.started_from)
                context = await asyncio.to_thread(settings_page.updated_calendar_preview, form_input, before, draft)
                return settings_page.render(request, "settings_calendar.html", context)
            result = await editor.save(draft, by=principal.by, may_edit_restricted=may_edit_restricted)
        except (InvalidFieldError, NotEditableError, OperationRejectedError, VersionConflictError) as error:
            field_problems = {error.field: ((str(error), ""),)} if isinstance(error, InvalidFieldError) else {}
            latest = await editor.latest(code)
            return await settings_page.show(
                request, template, latest, 422, form_input=form_input, reason=error, field_problems=field_problems
            )
        return await respond(request, form_input, draft, result)

    async def respond(request: Request, form_input: FormInput, draft: AgencyDraft, result: DraftResult) -> Response:
        """Return the response to a draft that was saved, is unchanged, was rejected, or conflicts with another edit."""
        template = "notification_settings.html" if is_notification_form(form_input.name) else "settings.html"
        if result.conflicting_version is not None:
            context = await asyncio.to_thread(
                settings_page.conflict_context, draft, form_input, result.conflicting_version, result.common_ancestor
            )
            return settings_page.render(request, "edit_conflict.html", context, 409)
        if result.is_refused:
            latest = await editor.latest(draft.agency)
            return await settings_page.show(
                request, template, latest, 422, form_input=form_input, draft=draft, result=result
            )
        # A version may be saved, but not in effect: then the running service still uses the previous one.
        if result.written is not None and (result.problems or not result.is_in_effect):
            return await settings_page.show(request, template, result.written, result=result)
        number = result.written.number if result.written else "same"
        return RedirectResponse(f"{settings_page.address(draft.agency, template)}?saved={number}", status_code=303)

    _add_calendar_route(router, editor, settings_page)
    _add_version_routes(router, editor, settings_page)
    return router


def _add_calendar_route(router: APIRouter, editor: AgencyEditor, settings_page: SettingsPage) -> None:
    # Parse one calendar file at a time. A file may take seconds, and other requests need the threads of the pool, too.
    parse_lock = asyncio.Lock()

    @router.post("/agencies/{code}/settings/calendar")
    async def calendar(request: Request, code: str) -> Response:
        code = code.upper()
        fields, content = await read_file_form(request, max_octets=MAX_CALENDAR)
        latest = await editor.latest(code)
        try:
            async with parse_lock:
                context = await asyncio.to_thread(settings_page.calendar_preview, latest, content)
        except InvalidCalendarError as error:
            form_input = FormInput(name="calendar", fields=fields)
            return await settings_page.show(
                request, "settings.html", latest, 422, form_input=form_input, file_problem=error.key
            )
        return settings_page.render(request, "settings_calendar.html", context)


def _add_version_routes(router: APIRouter, editor: AgencyEditor, settings_page: SettingsPage) -> None:
    @router.get("/agencies/{code}/versions")
    async def versions(request: Request, code: str) -> Response:
        # *below*: the page lists only versions with smaller numbers. *from*, *to*: numbers of two versions to compare.
        code, query = code.upper(), request.query_params
        versions_listed = await editor.versions(code, below=_parse_number(query.get("below", "")))
        if not versions_listed:
            raise _no_such_version(code)
        before, after = await find_version(code, query.get("from", "")), await find_version(code, query.get("to", ""))
        context = {
            "code": code,
            "versions": versions_listed,
            # *below* of the link to the next page; `None` if there is no older version.
            "older": versions_listed[-1].number
            if len(versions_listed) == PAGE_SIZE and versions_listed[-1].number > 1
            else None,
            "before": before,
            "after": after,
            "changes": await asyncio.to_thread(diff_lines, before.text or "", after.text or "")
            if before and after
            else None,
        }
        return settings_page.render(request, "versions.html", context)

    async def find_version(code: str, entered: str) -> DocumentVersion | None:
        """Return the version with the entered number; `None` if no number was entered. Raise `HTTPException`."""
        if not entered:
            return None
        number = _parse_number(entered)
        version = None if number is None else await editor.find_version(code, number)
        if version is None:
            raise _no_such_version(code)
        return version


def _no_such_version(code: str) -> HTTPException:
    return HTTPException(404, translatable("there is no such version of '{agency}'", agency=code[:40]))


async def _draft_from_form(
    code: str, form_input: FormInput, editor: AgencyEditor, settings_page: SettingsPage
) -> AgencyDraft:
    """Return the draft with a form's edits, based on the version of the document that the form's page showed.

    `form_edits` raises `InvalidFieldError`, `edit_text` raises `NotEditableError`, and `base_text` raises
    `OperationRejectedError` if there never was such a version.
    """
    started_from = form_input.fields.get("started_from", "")
    if form_input.name == "text":
        return AgencyDraft(
            agency=code, text=normalize_pasted(form_input.fields.get("text", "")), started_from=started_from
        )
    before = await editor.base_text(code, started_from)
    fields = {name: value.strip() for name, value in form_input.fields.items()}

    def build_text() -> str:
        data = document_from_text(before, code).data
        return edit_text(before, form_edits(form_input.name, fields, data, settings_page.default_routes_of(code, data)))

    return AgencyDraft(agency=code, text=await asyncio.to_thread(build_text), started_from=started_from)


def _parse_number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= _MAX_DIGITS else None
