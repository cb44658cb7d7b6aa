"""Paginated list of agencies, and the forms that add an agency: a short form, and a form for the whole document.

A document is the YAML configuration of an agency. If the documents are files and not in the database, the page is
read-only.
"""

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
from monitor.config.files.document import document_from_text
from monitor.config.files.edit import NotEditableError
from monitor.config.files.problem import Problem, Severity
from monitor.service.errors import OperationRejectedError
from monitor.service.portal.agency_directory import AgencyDirectory, PreviousAgency
from monitor.service.portal.agency_editor import AgencyDraft, AgencyEditor, DraftResult
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import RequirePermission, require
from monitor.web.access.sign_in import client_address
from monitor.web.agencies.new_agency import is_code, new_agency_document, new_agency_field
from monitor.web.form import MAX_TEXT_FORM_SIZE, Pages, normalize_pasted, read_form

#: Principal with the permission of administrators, who alone may add agencies.
_AgencyAdministrator = Annotated[Principal, Depends(RequirePermission(Permission.CONFIGURE_SECRETS))]

#: Names of the two forms.
_SHORT_FORM, _TEXT_FORM = "short", "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgencyForm:
    """Input for a new agency, which the page shows again with messages if it was not saved."""

    #: `_SHORT_FORM` or `_TEXT_FORM`; "" if the page shows empty forms.
    form: str = ""
    #: Input by field name.
    fields: Mapping[str, str] = field(default_factory=dict)
    #: Entered agency code.
    code: str = ""
    #: Messages by field: keys of the page's texts.
    messages: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: A removed agency that had the same code. The user must confirm that the new agency shall have this code.
    previous_agency: PreviousAgency | None = None
    #: Error with which the service rejected the input; "": none.
    reason: object = ""
    #: Problems of the document, and whether it was saved.
    result: DraftResult | None = None
    #: Whether the database is unavailable, so that the page cannot show the list of agencies.
    is_store_unavailable: bool = False

    def value(self, name: str) -> str:
        """Return the input of a field."""
        return self.fields.get(name, "")


def agency_list_pages(editor: AgencyEditor, agency_directory: AgencyDirectory, pages: Pages) -> APIRouter:
    """Build the router of the agency list."""
    router = APIRouter(include_in_schema=False, dependencies=require(Permission.CONFIGURE_SECRETS))

    @router.get("/agencies")
    async def agencies(
        request: Request,
        q: Annotated[str, Query(max_length=100)] = "",
        after: Annotated[str, Query(max_length=64)] = "",
    ) -> Response:
        # *q*: search text. *after*: code of the agency after which the page begins.
        return await render_list(request, NewAgencyForm(), q=" ".join(q.split()), after=after)

    @router.post("/agencies")
    async def add(request: Request, principal: _AgencyAdministrator) -> Response:
        fields = await read_form(request, max_octets=MAX_TEXT_FORM_SIZE)
        if fields.get("form") not in {_SHORT_FORM, _TEXT_FORM}:
            raise HTTPException(404, "there is no such form")
        new_form = NewAgencyForm(
            form=fields["form"], fields={**fields, "text": normalize_pasted(fields.get("text", ""))}
        )
        try:
            return await save(request, principal, new_form)
        except (NotEditableError, OperationRejectedError, VersionConflictError) as error:
            return await render_list(request, replace(new_form, reason=error), status=422)
        except StoreUnavailable:
            # Show the input again: the user may have worked on it for an hour.
            return render(request, replace(new_form, is_store_unavailable=True), {"entries": None}, 503)

    async def save(request: Request, principal: Principal, new_form: NewAgencyForm) -> Response:
        if not editor.uses_database:
            raise OperationRejectedError.from_text("agencies_are_files", file=editor.configuration().settings.agencies)
        code, text = await asyncio.to_thread(read_document, new_form)
        new_form = replace(new_form, code=code)
        if not is_code(code):
            # If the text has no valid code, the whole text may be invalid, so parse it to show its problems.
            document = await asyncio.to_thread(document_from_text, text, "")
            message_field = "text" if new_form.form == _TEXT_FORM else "code"
            # A short form without a valid code is not converted to a document.
            result = DraftResult(problems=document.problems) if new_form.form == _TEXT_FORM else None
            return await render_list(
                request, replace(new_form, messages={message_field: ["code_odd"]}, result=result), status=422
            )
        previous_agency = await agency_directory.previous_agency(code)
        if previous_agency is not None and new_form.fields.get("known") != code:
            # The user has not ticked the box "known" yet, which confirms that the new agency shall have this code.
            return await render_list(request, replace(new_form, previous_agency=previous_agency), status=409)
        # `started_from=""`: the draft is based on no version, so an existing document is a conflict.
        draft = AgencyDraft(agency=code, text=text, started_from="")
        # `may_edit_restricted` also permits creating an agency. The route has checked that the user may do both.
        result = await editor.save(draft, by=principal.by, may_edit_restricted=True, address=client_address(request))
        if result.conflicting_version is not None or (result.written is None and not result.is_refused):
            # The agency exists already, either with another document (a conflict) or with the same (nothing was
            # written).
            message_field = "text" if new_form.form == _TEXT_FORM else "code"
            return await render_list(request, replace(new_form, messages={message_field: ["code_taken"]}), status=409)
        saved_form = replace(new_form, result=result, previous_agency=previous_agency)
        if result.is_refused:
            return await render_list(request, saved_form, status=422)
        # Redirect only if there is nothing to report: the running service uses the saved document, and its only problem
        # may be that a new agency has no mailboxes yet, which the list of agencies shows.
        if not result.is_in_effect or any(each.key != "mailboxes" for each in result.problems):
            return await render_list(request, saved_form, added=code)
        return RedirectResponse(f"/agencies?added={code}", status_code=303)

    def read_document(new_form: NewAgencyForm) -> tuple[str, str]:
        """Return the agency code and the document in a form; without a valid code, a short form has no document ("").

        `new_agency_document` raises `NotEditableError`.
        """
        if new_form.form == _TEXT_FORM:
            text = new_form.fields["text"]
            return str(document_from_text(text, "").data.get("agency", ""))[:40], text
        code = new_form.value("code").strip().upper()
        if not is_code(code):
            return code, ""
        fields = {name: value.strip() for name, value in new_form.fields.items()}
        return code, new_agency_document(code, fields, list(editor.configuration().settings.gateways))

    async def render_list(
        request: Request,
        new_form: NewAgencyForm,
        *,
        status: int = 200,
        q: str = "",
        after: str = "",
        added: str = "",
    ) -> Response:
        entries, has_more = await agency_directory.page(q, after=after)
        query = request.query_params
        context = {
            "entries": entries,
            "q": q,
            "next_page": f"/agencies?{urlencode({'q': q, 'after': entries[-1].version.agency})}" if has_more else "",
            "added": await confirmed_code(added or query.get("added", ""), is_there=True),
            "removed": await confirmed_code(query.get("gone", ""), is_there=False),
        }
        return await asyncio.to_thread(render, request, new_form, context, status)

    def render(request: Request, new_form: NewAgencyForm, context: Mapping[str, object], status: int) -> Response:
        settings = editor.configuration().settings
        new_form, field_errors, other_problems = _messages_by_field(new_form)
        defaults = {
            "path": "/agencies",
            "q": "",
            "next_page": "",
            "files_directory": None if editor.uses_database else settings.agencies,
            "new_form": new_form,
            "field_errors": field_errors,
            "other_problems": other_problems,
            "rotas": list(settings.rotas),
            "sends_notifications": settings.notifies,
            "added": "",
            "removed": "",
        }
        return pages.show(request, "agencies.html", {**defaults, **context}, status)

    async def confirmed_code(code: str, *, is_there: bool) -> str:
        """Return *code* if the agency exists (*is_there*) or was removed (not *is_there*); otherwise return "".

        The page states that the agency was added or removed. The code may come from a URL that a user has changed.
        """
        if not is_code(code) or (last := await editor.last_version(code)) is None:
            return ""
        return code if (last.text is not None) is is_there else ""

    return router


def _messages_by_field(
    new_form: NewAgencyForm,
) -> tuple[NewAgencyForm, Mapping[str, Sequence[Problem]], Sequence[Problem]]:
    """Return the input to show again (with messages for some errors), the other errors by field, and other problems."""
    field_errors: dict[str, list[Problem]] = {}
    other_problems: list[Problem] = []
    if (result := new_form.result) is None:
        return new_form, field_errors, other_problems
    for each in (*result.problems, *result.errors_elsewhere):
        form_field = new_agency_field(each.key, each.message) if new_form.form == _SHORT_FORM else None
        if each.key == "mailboxes" and new_form.form == _SHORT_FORM:
            # A new agency has no mailboxes; the list of agencies shows this.
            continue
        if form_field is None or each.severity is not Severity.ERROR:
            other_problems.append(each)
        elif message := _form_message_key(new_form, form_field, each.key):
            new_form = replace(new_form, messages={**new_form.messages, form_field: [message]})
        elif all(other.message != each.message for other in field_errors.get(form_field, ())):
            # The document contains the telephone number twice (sms, voice), so its error may occur twice. Show it once.
            field_errors.setdefault(form_field, []).append(each)
    if result.written is not None:
        # The agency was saved, so show empty forms for the next one.
        new_form = replace(new_form, form="")
    return new_form, field_errors, other_problems


def _form_message_key(new_form: NewAgencyForm, form_field: str, key: str) -> str:
    """Return the key of the form's own message for an error at *key* of the document.

    Return "" if the error message of the document suits the form.
    """
    if key == "escalation":
        return "nobody"
    if form_field == "number" and not new_form.value("number").strip():
        return "no_number"
    return "no_contact_name" if form_field == "contact" and not new_form.value("contact").strip() else ""
