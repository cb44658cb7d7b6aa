"""Guided setup of a new mailbox: address, discovered servers, sign-in method, result.

Works without scripts: while a device code awaits its entry at Microsoft, the page reloads itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import TypeAdapter, ValidationError

from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.config.agency.mailbox import ServerSettings
from monitor.config.fields.circular import domain_of
from monitor.config.files.document import document_of
from monitor.config.files.edit import NotEditableError
from monitor.config.files.section import MailAddress, Slug
from monitor.config.service.consent import CONSENT_PATH
from monitor.model.document import DocumentVersion
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.portal.agency_editor import AgencyDraft, AgencyEditor
from monitor.service.portal.delegation import APPLICATION_SECRETS, Application, BadApplicationError
from monitor.service.portal.mailbox_setup import (
    ChosenServers,
    MailboxSetup,
    MailboxSetups,
    SeenServer,
    ServerChoice,
    SetupRejectedError,
    typed_mailbox,
)
from monitor.service.portal.typed_mailbox import mailbox_draft
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import ItsEditor, RequirePermission, permit
from monitor.web.access.sign_in import from_where
from monitor.web.agency.form_parsing import mapping
from monitor.web.agency.mailbox_setup_page import BY_HAND, NONE, MailboxSetupPage, offered
from monitor.web.form import Pages, form_of
from probes.model.mail_platform import MailPlatform
from probes.preauth.session import Protocol

#: For any agency: the pending setup names the agency.
_Returning = Annotated[Principal, Depends(RequirePermission(Permission.EDIT_AGENCY))]
#: Characters of a name or a password.
_LONGEST: Final = 500


class _InvalidChoiceError(Exception):
    """Invalid or missing input for a server. The message is a key of the page's texts."""


def mailbox_setup_pages(setups: MailboxSetups, editor: AgencyEditor, pages: Pages) -> APIRouter:
    """Build the router of the setup pages."""
    router, sheet = APIRouter(include_in_schema=False), MailboxSetupPage(setups, editor, pages)

    @router.get("/agencies/{code}/mailboxes/new")
    async def start(request: Request, code: str, _visitor: ItsEditor) -> Response:
        version, address = await editor.latest(code.upper()), request.query_params.get("address", "")
        return sheet.start(request, version, address=address[:_LONGEST])

    @router.post("/agencies/{code}/mailboxes/new")
    async def search(request: Request, code: str, principal: ItsEditor) -> Response:
        version, written = await editor.latest(code.upper()), (await form_of(request)).get("address", "").strip()
        try:
            address, key = await asyncio.to_thread(_address, version, written)
            setup = await setups.begin(
                version.agency, address, by=principal.by, seen_from=from_where(request), takes_over=key
            )
        except (_InvalidChoiceError, SetupRejectedError) as wrong:
            return sheet.start(request, version, address=written[:_LONGEST], problem=str(wrong))
        return RedirectResponse(f"/agencies/{version.agency}/mailboxes/new/{setup.key}", status_code=303)

    async def gone(request: Request, code: str, address: str = "") -> Response:
        """Return the start page for a request whose setup has expired."""
        version = await editor.latest(code.upper())
        return sheet.start(request, version, address=address[:_LONGEST], problem="gone", status=404)

    @router.get("/agencies/{code}/mailboxes/new/{key}")
    async def look(request: Request, code: str, key: str, principal: ItsEditor) -> Response:
        problem = ""
        try:
            setup = setups.find(code.upper(), key, by=principal.by)
            await setups.look_for_consent(setup)
        except SetupRejectedError as refused:
            problem = str(refused)
        except NotFoundError:
            return await gone(request, code)
        return sheet.page(request, setup, problem=problem)

    @router.post("/agencies/{code}/mailboxes/new/{key}")
    async def go_on(request: Request, code: str, key: str, principal: ItsEditor) -> Response:
        fields = dict(await form_of(request))
        # From here on no value that a page is rendered from contains the secrets.
        secrets = {name: fields.pop(name, "") for name in ("password", *APPLICATION_SECRETS)}
        try:
            setup = setups.find(code.upper(), key, by=principal.by)
        except NotFoundError:
            return await gone(request, code, fields.get("address", ""))
        try:
            await _sign_in(setups, setup, fields, secrets, from_where(request))
        except (_InvalidChoiceError, BadApplicationError, SetupRejectedError) as wrong:
            return sheet.page(request, setup, problem=str(wrong), typed=fields, status=422)
        return RedirectResponse(f"/agencies/{setup.agency}/mailboxes/new/{setup.key}", status_code=303)

    @router.post("/agencies/{code}/mailboxes/new/{key}/save")
    async def keep(request: Request, code: str, key: str, principal: ItsEditor) -> Response:
        fields = await form_of(request)
        try:
            setup = setups.find(code.upper(), key, by=principal.by)
        except NotFoundError:
            return await gone(request, code, fields.get("address", ""))
        name = setup.takes_over or fields.get("name", "").strip().lower()
        try:
            draft = await _draft(setup, name, editor)
            answer = await editor.save(
                draft, by=principal.by, may_place=principal.may(Permission.CONFIGURE_SECRETS, setup.agency)
            )
        except (_InvalidChoiceError, SetupRejectedError) as wrong:
            return sheet.page(request, setup, problem=str(wrong), typed=fields, status=422)
        except (OperationRejectedError, NotEditableError, VersionConflictError) as wrong:
            return sheet.page(request, setup, why=wrong, typed=fields, status=422)
        if answer.theirs is not None:
            return sheet.page(request, setup, problem="changed_meanwhile", typed=fields, status=409)
        if answer.written is None:
            return sheet.page(request, setup, answer=answer, typed=fields, status=422)
        setups.forget(setup)
        return RedirectResponse(f"/agencies/{setup.agency}/mailboxes?saved={answer.written.number}", status_code=303)

    @router.get(CONSENT_PATH)
    async def come_back(request: Request, principal: _Returning) -> Response:
        told = request.query_params
        setup = await setups.come_back(
            told.get("state", ""), by=principal.by, code=told.get("code", ""), error=told.get("error", "")[:100]
        )
        permit(principal, Permission.EDIT_AGENCY, setup.agency)
        return RedirectResponse(f"/agencies/{setup.agency}/mailboxes/new/{setup.key}", status_code=303)

    return router


async def _sign_in(
    setups: MailboxSetups, setup: MailboxSetup, fields: Mapping[str, str], secrets: Mapping[str, str], place: str
) -> None:
    """Sign in by the selected method. Raise `_InvalidChoiceError`, `BadApplicationError` or `SetupRejectedError`."""
    username, chosen = fields.get("username", "").strip()[:_LONGEST] or setup.address, _chosen(setup, fields)
    match fields.get("way", ""):
        case "consent":
            await setups.ask_consent(setup, chosen, username, seen_from=place)
        case MailPlatform.GOOGLE | MailPlatform.MICROSOFT as way:
            typed, domain = {**fields, **secrets}, domain_of(setup.address)
            application = await asyncio.to_thread(Application.read, MailPlatform(way), typed, domain)
            await setups.try_application(setup, chosen, username, application, seen_from=place)
        case _:
            await setups.try_password(setup, chosen, username, _password(secrets["password"]), seen_from=place)


async def _draft(setup: MailboxSetup, name: str, editor: AgencyEditor) -> AgencyDraft:
    """Return the document with the tested mailbox.

    Raise `_InvalidChoiceError`, `SetupRejectedError` or `NotEditableError`.
    """
    latest = await editor.latest(setup.agency)
    text = latest.text or ""
    try:
        TypeAdapter(Slug).validate_python(name)
    except ValidationError:
        raise _InvalidChoiceError("bad_name") from None

    def drafted() -> AgencyDraft:
        if not setup.takes_over and name in mapping(document_of(text, setup.agency).data.get("mailboxes")):
            raise _InvalidChoiceError("name_taken")
        return mailbox_draft(setup.agency, text, latest.digest, typed_mailbox(setup, name))

    return await asyncio.to_thread(drafted)


def _address(version: DocumentVersion, written: str) -> tuple[str, str]:
    """Return the address, spelled as in the document if a mailbox has it, and the mailbox's key; "" without one.

    Raise `_InvalidChoiceError`.
    """
    try:
        address = str(TypeAdapter(MailAddress).validate_python(written))
    except ValidationError:
        raise _InvalidChoiceError("no_address") from None
    there = mapping(document_of(version.text or "", version.agency).data.get("mailboxes")).items()
    known = {str(mapping(each).get("address", "")): key for key, each in there}
    return next(((each, key) for each, key in known.items() if each.lower() == address.lower()), (address, ""))


# -- input ------------------------------------------------------------------------------------------------------------


def _password(text: str) -> str:
    """Return a password unchanged.

    Raise `_InvalidChoiceError` for an impossible one, before it costs a sign-in attempt.
    """
    if not text.strip():
        raise _InvalidChoiceError("no_password")
    if text != text.strip() or not text.isprintable() or len(text) > _LONGEST:
        raise _InvalidChoiceError("bad_password")
    return text


def _chosen(setup: MailboxSetup, fields: Mapping[str, str]) -> ChosenServers:
    before = {"smtp": setup.chosen.smtp, "reading": setup.chosen.reading} if setup.chosen else {}
    for name in ("smtp", "reading"):
        host, tried = fields.get(f"{name}_host", "").strip().lower(), before.get(name)
        # The password would be sent to another server than the one entered. The form still shows the server tried
        # before.
        if host and fields.get(name) != BY_HAND and (tried is None or tried.host != host):
            raise _InvalidChoiceError("typed_not_marked")
    smtp = _one(fields, "smtp", offered(setup, Protocol.SMTP), Protocol.SMTP)
    protocol = Protocol.POP3 if fields.get("reading_protocol") == Protocol.POP3 else Protocol.IMAP
    reading = _one(fields, "reading", offered(setup, Protocol.IMAP, Protocol.POP3), protocol)
    if smtp is None and reading is None:
        raise _InvalidChoiceError("no_server")
    return ChosenServers(smtp=smtp, reading=reading)


def _one(
    fields: Mapping[str, str], name: str, servers: Sequence[SeenServer], protocol: Protocol
) -> ServerChoice | None:
    wanted = fields.get(name, "")
    if wanted == NONE:
        return None
    if wanted == BY_HAND:
        return _by_hand(fields, name, protocol)
    if not wanted.isdecimal() or len(wanted) > 2 or int(wanted) >= len(servers):
        raise _InvalidChoiceError("not_chosen")
    found = servers[int(wanted)].candidate
    return ServerChoice(protocol=found.protocol, host=found.host, port=found.port, security=found.security)


def _by_hand(fields: Mapping[str, str], name: str, protocol: Protocol) -> ServerChoice:
    written = {key: fields.get(f"{name}_{key}", "").strip() for key in ("host", "port", "security")}
    try:
        # Validate with the same checks as the value in a document.
        server = ServerSettings.model_validate(
            {key: value for key, value in written.items() if value and not (key == "port" and value.isdecimal())}
            | ({"port": int(written["port"])} if written["port"].isdecimal() and len(written["port"]) < 6 else {})
        )
    except ValidationError:
        raise _InvalidChoiceError("bad_server") from None
    host, port = server.host.lower(), server.port_of(protocol)
    return ServerChoice(protocol=protocol, host=host, port=port, security=server.security)
