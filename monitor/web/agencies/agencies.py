"""Paginated list of agencies, and the forms that add an agency."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse

from alerts.persistence.store import StoreUnavailable
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.config.files.document import document_of
from monitor.config.files.edit import NotEditableError
from monitor.config.files.problem import Problem, Severity
from monitor.service.errors import OperationRejectedError
from monitor.service.portal.agency_directory import AgencyDirectory, PreviousAgency
from monitor.service.portal.agency_editor import AgencyDraft, AgencyEditor, DraftResult
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import RequirePermission, require
from monitor.web.access.sign_in import from_where
from monitor.web.agencies.new_agency import is_code, new_agency_document, new_agency_field
from monitor.web.form import LARGEST_TEXT_FORM, Pages, as_text, form_of

_Administrator = Annotated[Principal, Depends(RequirePermission(Permission.CONFIGURE_SECRETS))]

_SHORT, _TEXT = "short", "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgencyForm:
    """Form input for a new agency, with its messages."""

    form: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    #: By field: keys of the page's texts.
    said: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: A previous agency with this code or domain, which the user must confirm.
    past: PreviousAgency | None = None
    reason: object = ""
    answer: DraftResult | None = None
    #: Whether the database was unavailable, so that the existing agencies are unknown.
    is_away: bool = False

    def value(self, name: str) -> str:
        """Return the value shown in a field."""
        return self.fields.get(name, "")


def agency_list_pages(editor: AgencyEditor, roll: AgencyDirectory, pages: Pages) -> APIRouter:
    """Build the router of the agency list."""
    router = APIRouter(include_in_schema=False, dependencies=require(Permission.CONFIGURE_SECRETS))

    @router.get("/agencies")
    async def agencies(
        request: Request,
        q: Annotated[str, Query(max_length=100)] = "",
        after: Annotated[str, Query(max_length=64)] = "",
    ) -> Response:
        return await shown(request, NewAgencyForm(), q=" ".join(q.split()), after=after)

    @router.post("/agencies")
    async def add(request: Request, principal: _Administrator) -> Response:
        fields = await form_of(request, largest=LARGEST_TEXT_FORM)
        if fields.get("form") not in {_SHORT, _TEXT}:
            raise HTTPException(404, "there is no such form")
        typed = NewAgencyForm(form=fields["form"], fields={**fields, "text": as_text(fields.get("text", ""))})
        try:
            return await tried(request, principal, typed)
        except (NotEditableError, OperationRejectedError, VersionConflictError) as wrong:
            return await shown(request, replace(typed, reason=wrong), status=422)
        except StoreUnavailable:
            # Keep the input: it may contain an hour of work.
            return render(request, replace(typed, is_away=True), {"entries": None}, 503)

    async def tried(request: Request, principal: Principal, typed: NewAgencyForm) -> Response:
        if not editor.is_in_store:
            raise OperationRejectedError.said("agencies_are_files", file=editor.configuration().settings.agencies)
        code, text = await asyncio.to_thread(written, typed)
        typed = replace(typed, code=code)
        if not is_code(code):
            # A text without a code may be unreadable.
            found = await asyncio.to_thread(document_of, text, "")
            at = "text" if typed.form == _TEXT else "code"
            # The document of the other form is generated, and does not exist yet.
            answer = DraftResult(problems=found.problems) if typed.form == _TEXT else None
            return await shown(request, replace(typed, said={at: ["code_odd"]}, answer=answer), status=422)
        past = await roll.past(code)
        if past is not None and typed.fields.get("known") != code:
            return await shown(request, replace(typed, past=past), status=409)
        draft = AgencyDraft(agency=code, text=text, started_from="")
        answer = await editor.save(draft, by=principal.by, may_place=True, address=from_where(request))
        if answer.theirs is not None or (answer.written is None and not answer.is_refused):
            # A document identical to the existing one does not create an agency.
            at = "text" if typed.form == _TEXT else "code"
            return await shown(request, replace(typed, said={at: ["code_taken"]}), status=409)
        told = replace(typed, answer=answer, past=past)
        if answer.is_refused:
            return await shown(request, told, status=422)
        if not answer.taken or any(each.key != "mailboxes" for each in answer.problems):
            return await shown(request, told, added=code)
        return RedirectResponse(f"/agencies?added={code}", status_code=303)

    def written(typed: NewAgencyForm) -> tuple[str, str]:
        """Return the code and the document. Raise `NotEditableError`."""
        if typed.form == _TEXT:
            text = typed.fields["text"]
            return str(document_of(text, "").data.get("agency", ""))[:40], text
        code = typed.value("code").strip().upper()
        if not is_code(code):
            return code, ""
        fields = {name: value.strip() for name, value in typed.fields.items()}
        return code, new_agency_document(code, fields, list(editor.configuration().settings.gateways))

    async def shown(
        request: Request,
        typed: NewAgencyForm,
        *,
        status: int = 200,
        q: str = "",
        after: str = "",
        added: str = "",
    ) -> Response:
        entries, is_more = await roll.page(q, after=after)
        query = request.query_params
        facts = {
            "entries": entries,
            "q": q,
            "more": f"/agencies?{urlencode({'q': q, 'after': entries[-1].mark.agency})}" if is_more else "",
            "added": await standing(added or query.get("added", ""), is_there=True),
            "gone": await standing(query.get("gone", ""), is_there=False),
        }
        return await asyncio.to_thread(render, request, typed, facts, status)

    def render(request: Request, typed: NewAgencyForm, facts: Mapping[str, object], status: int) -> Response:
        settings = editor.configuration().settings
        typed, errors, faults = _sorted(typed)
        common = {
            "path": "/agencies",
            "q": "",
            "more": "",
            "place": None if editor.is_in_store else settings.agencies,
            "typed": typed,
            "errors": errors,
            "faults": faults,
            "rotas": list(settings.rotas),
            "tells": settings.notifies,
            "added": "",
            "gone": "",
        }
        return pages.show(request, "agencies.html", {**common, **facts}, status)

    async def standing(code: str, *, is_there: bool) -> str:
        """Return the code in the URL if it is true; the URL may contain anything."""
        if not is_code(code) or (last := await editor.last(code)) is None:
            return ""
        return code if (last.text is not None) is is_there else ""

    return router


def _sorted(typed: NewAgencyForm) -> tuple[NewAgencyForm, Mapping[str, Sequence[Problem]], Sequence[Problem]]:
    """Return the input to show again and the errors: those of each field, and the others."""
    errors: dict[str, list[Problem]] = {}
    faults: list[Problem] = []
    if (answer := typed.answer) is None:
        return typed, errors, faults
    for each in (*answer.problems, *answer.others):
        found = new_agency_field(each.key, each.message) if typed.form == _SHORT else None
        if each.key == "mailboxes" and typed.form == _SHORT:
            # The form itself shows this error.
            continue
        if found is None or each.severity is not Severity.ERROR:
            faults.append(each)
        elif word := _own_word(typed, found, each.key):
            typed = replace(typed, said={**typed.said, found: [word]})
        elif all(other.message != each.message for other in errors.get(found, ())):
            # A number is written in two places.
            errors.setdefault(found, []).append(each)
    if answer.written is not None:
        # After success the forms are empty for the next agency.
        typed = replace(typed, form="")
    return typed, errors, faults


def _own_word(typed: NewAgencyForm, found: str, key: str) -> str:
    """Return the form's own text if an error's message refers to a document; "": the message is suitable."""
    if key == "escalation":
        return "nobody"
    if found == "number" and not typed.value("number").strip():
        return "no_number"
    return "no_contact_name" if found == "contact" and not typed.value("contact").strip() else ""
