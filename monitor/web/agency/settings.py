"""Settings pages of an agency for its mail officers: forms for frequent changes, the whole text, its versions."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from alerts.persistence.clock import Clock
from monitor.access.role import Permission
from monitor.config.files.document import document_of
from monitor.config.files.edit import NotEditableError, edit_text
from monitor.model.document import DocumentVersion, digest_of
from monitor.model.lazy_text import said
from monitor.service.errors import OperationRejectedError
from monitor.service.portal.agency_editor import LISTED, AgencyDraft, AgencyEditor, DraftResult
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import ItsEditor, agency_in_path, require
from monitor.web.agency.calendar_file import LARGEST_CALENDAR, InvalidCalendarError
from monitor.web.agency.difference import differing_lines
from monitor.web.agency.form_parsing import InvalidFieldError
from monitor.web.agency.settings_edits import FORMS, LOOKED_AT, edits_of, is_about_telling
from monitor.web.agency.settings_page import SettingsPage, TypedForm
from monitor.web.form import LARGEST_TEXT_FORM, Pages, as_text, file_of, form_of

#: Twenty steps with all their recipients.
_MOST_FIELDS: Final = 600
#: Number of digits that fits into an integer of both databases.
_DIGITS: Final = 9


def settings_pages(editor: AgencyEditor, clock: Clock, pages: Pages) -> APIRouter:
    """Build the router of the settings pages."""
    router = APIRouter(include_in_schema=False, dependencies=require(Permission.EDIT_AGENCY, agency_in_path))
    sheet = SettingsPage(editor, clock, pages)

    async def saved(request: Request, code: str, page: str) -> Response:
        number, latest = request.query_params.get("saved", ""), await editor.latest(code.upper())
        return await sheet.show(request, page, latest, saved=_digits(number), is_same=number == "same")

    @router.get("/agencies/{code}/settings")
    async def settings(request: Request, code: str) -> Response:
        return await saved(request, code, "settings.html")

    @router.get("/agencies/{code}/notifications")
    async def telling(request: Request, code: str) -> Response:
        return await saved(request, code, "notification_settings.html")

    @router.post("/agencies/{code}/settings")
    async def save(request: Request, code: str, principal: ItsEditor) -> Response:
        code = code.upper()
        fields = await form_of(request, largest=LARGEST_TEXT_FORM, most=_MOST_FIELDS)
        typed = TypedForm(name=fields.get("form", ""), fields=fields)
        page = "notification_settings.html" if is_about_telling(typed.name) else "settings.html"
        if typed.name != "text" and typed.name not in FORMS:
            raise HTTPException(404, "there is no such form")
        if typed.name in LOOKED_AT and "again" in fields:
            # The user has seen the gaps and continues with the input.
            return await sheet.show(request, page, await editor.latest(code), typed=typed)
        try:
            draft = await _draft(code, typed, editor, sheet)
            may_place = principal.may(Permission.CONFIGURE_SECRETS, code)
            if typed.name in LOOKED_AT and "seen" not in fields:
                look = await editor.look(draft, by=principal.by, may_place=may_place)
                if look.would_be is None:
                    return await told(request, typed, draft, look)
                facts = await asyncio.to_thread(sheet.rota_look, await editor.latest(code), typed, draft, look)
                return sheet.render(request, "rota_preview.html", facts)
            if typed.name == "calendar" and ("again" in fields or fields.get("shown") != digest_of(draft.text)):
                before = await editor.started_from(code, draft.started_from)
                facts = await asyncio.to_thread(sheet.calendar_again, typed, before, draft)
                return sheet.render(request, "settings_calendar.html", facts)
            answer = await editor.save(draft, by=principal.by, may_place=may_place)
        except (InvalidFieldError, NotEditableError, OperationRejectedError, VersionConflictError) as wrong:
            at = {wrong.field: ((str(wrong), ""),)} if isinstance(wrong, InvalidFieldError) else {}
            latest = await editor.latest(code)
            return await sheet.show(request, page, latest, 422, typed=typed, why=wrong, at_fields=at)
        return await told(request, typed, draft, answer)

    async def told(request: Request, typed: TypedForm, draft: AgencyDraft, answer: DraftResult) -> Response:
        page = "notification_settings.html" if is_about_telling(typed.name) else "settings.html"
        if answer.theirs is not None:
            facts = await asyncio.to_thread(sheet.clash, draft, typed, answer.theirs, answer.common)
            return sheet.render(request, "edit_conflict.html", facts, 409)
        if answer.is_refused:
            latest = await editor.latest(draft.agency)
            return await sheet.show(request, page, latest, 422, typed=typed, draft=draft, answer=answer)
        if answer.written is not None and (answer.problems or not answer.taken):
            return await sheet.show(request, page, answer.written, answer=answer)
        number = answer.written.number if answer.written else "same"
        return RedirectResponse(f"{sheet.address(draft.agency, page)}?saved={number}", status_code=303)

    _offer_calendar(router, editor, sheet)
    _offer_versions(router, editor, sheet)
    return router


def _offer_calendar(router: APIRouter, editor: AgencyEditor, sheet: SettingsPage) -> None:
    #: Parse one calendar file at a time: an arbitrary file may take seconds, and the thread pool is shared.
    reading = asyncio.Lock()

    @router.post("/agencies/{code}/settings/calendar")
    async def calendar(request: Request, code: str) -> Response:
        code = code.upper()
        fields, octets = await file_of(request, largest=LARGEST_CALENDAR)
        latest = await editor.latest(code)
        try:
            async with reading:
                facts = await asyncio.to_thread(sheet.calendar, latest, octets)
        except InvalidCalendarError as wrong:
            typed = TypedForm(name="calendar", fields=fields)
            return await sheet.show(request, "settings.html", latest, 422, typed=typed, wrong=wrong.key)
        return sheet.render(request, "settings_calendar.html", facts)


def _offer_versions(router: APIRouter, editor: AgencyEditor, sheet: SettingsPage) -> None:
    @router.get("/agencies/{code}/versions")
    async def versions(request: Request, code: str) -> Response:
        code, query = code.upper(), request.query_params
        listed = await editor.versions(code, below=_digits(query.get("below", "")))
        if not listed:
            raise _no_such_version(code)
        before, after = [await numbered(code, query.get(name, "")) for name in ("from", "to")]
        facts = {
            "code": code,
            "versions": listed,
            "older": listed[-1].number if len(listed) == LISTED and listed[-1].number > 1 else None,
            "before": before,
            "after": after,
            "changes": await asyncio.to_thread(differing_lines, before.text or "", after.text or "")
            if before and after
            else None,
        }
        return sheet.render(request, "versions.html", facts)

    async def numbered(code: str, written: str) -> DocumentVersion | None:
        if not written:
            return None
        number = _digits(written)
        found = None if number is None else await editor.numbered(code, number)
        if found is None:
            raise _no_such_version(code)
        return found


def _no_such_version(code: str) -> HTTPException:
    return HTTPException(404, said("there is no such version of '{agency}'", agency=code[:40]))


async def _draft(code: str, typed: TypedForm, editor: AgencyEditor, sheet: SettingsPage) -> AgencyDraft:
    """Return the document after a form. Raise `InvalidFieldError`, `NotEditableError` or `OperationRejectedError`."""
    started_from = typed.fields.get("started_from", "")
    if typed.name == "text":
        return AgencyDraft(agency=code, text=as_text(typed.fields.get("text", "")), started_from=started_from)
    before = await editor.started_from(code, started_from)
    fields = {name: value.strip() for name, value in typed.fields.items()}

    def after() -> str:
        data = document_of(before, code).data
        return edit_text(before, edits_of(typed.name, fields, data, sheet.usual_routes(code, data)))

    return AgencyDraft(agency=code, text=await asyncio.to_thread(after), started_from=started_from)


def _digits(written: str) -> int | None:
    return int(written) if written.isdecimal() and len(written) <= _DIGITS else None
