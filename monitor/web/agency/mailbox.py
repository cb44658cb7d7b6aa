"""Guided setup of a mailbox: address, discovered servers, sign-in method, result of a test.

If a mailbox of the agency has the address already, the setup replaces this mailbox. A mailbox has two sides, which may
be on different servers: "smtp" sends, "reading" (IMAP or POP3) reads. The page needs no scripts: while the user enters
a device code at Microsoft, the page reloads itself. A document is the YAML configuration of an agency.
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
from monitor.config.files.document import document_from_text
from monitor.config.files.edit import NotEditableError
from monitor.config.files.section import MailAddress, Slug
from monitor.config.service.consent import CONSENT_PATH
from monitor.model.document import DocumentVersion
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.portal.agency_editor import AgencyDraft, AgencyEditor
from monitor.service.portal.delegation import APPLICATION_SECRETS, Application, BadApplicationError
from monitor.service.portal.mailbox_setup import (
    ChosenServers,
    ExaminedServer,
    MailboxSetup,
    MailboxSetups,
    ServerChoice,
    SetupRejectedError,
    typed_mailbox,
)
from monitor.service.portal.typed_mailbox import mailbox_draft
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import AgencyOfficer, RequirePermission, check_permission
from monitor.web.access.sign_in import client_address
from monitor.web.agency.form_parsing import as_mapping
from monitor.web.agency.mailbox_setup_page import BY_HAND, NO_SERVER, MailboxSetupPage, servers_of
from monitor.web.form import Pages, read_form
from probes.model.mail_platform import MailPlatform
from probes.preauth.session import Protocol

#: User who may edit at least one agency. The route then checks the permission for the agency of the pending setup.
_Editor = Annotated[Principal, Depends(RequirePermission(Permission.EDIT_AGENCY))]
#: Maximum number of characters of an address, a user name or a password.
_MAX_LENGTH: Final = 500


class _InvalidInputError(Exception):
    """The input is invalid or missing. The message is a key of the page's texts, as that of `SetupRejectedError` is."""


def mailbox_setup_pages(setups: MailboxSetups, editor: AgencyEditor, pages: Pages) -> APIRouter:
    """Build the router of the setup pages."""
    router, setup_page = APIRouter(include_in_schema=False), MailboxSetupPage(setups, editor, pages)

    @router.get("/agencies/{code}/mailboxes/new")
    async def start(request: Request, code: str, _principal: AgencyOfficer) -> Response:
        version, address = await editor.latest(code.upper()), request.query_params.get("address", "")
        return setup_page.start(request, version, address=address[:_MAX_LENGTH])

    @router.post("/agencies/{code}/mailboxes/new")
    async def begin_setup(request: Request, code: str, principal: AgencyOfficer) -> Response:
        version, entered = await editor.latest(code.upper()), (await read_form(request)).get("address", "").strip()
        try:
            address, key = await asyncio.to_thread(_find_address, version, entered)
            setup = await setups.begin(
                version.agency, address, by=principal.by, client_address=client_address(request), replaced_key=key
            )
        except (_InvalidInputError, SetupRejectedError) as error:
            return setup_page.start(request, version, address=entered[:_MAX_LENGTH], problem=str(error))
        return RedirectResponse(f"/agencies/{version.agency}/mailboxes/new/{setup.key}", status_code=303)

    async def render_expired(request: Request, code: str, address: str = "") -> Response:
        """Return the start page for a request whose setup has expired."""
        version = await editor.latest(code.upper())
        return setup_page.start(request, version, address=address[:_MAX_LENGTH], problem="gone", status=404)

    @router.get("/agencies/{code}/mailboxes/new/{key}")
    async def show(request: Request, code: str, key: str, principal: AgencyOfficer) -> Response:
        problem = ""
        try:
            setup = setups.find(code.upper(), key, by=principal.by)
            await setups.check_consent(setup)
        except SetupRejectedError as error:
            problem = str(error)
        except NotFoundError:
            return await render_expired(request, code)
        return setup_page.page(request, setup, problem=problem)

    @router.post("/agencies/{code}/mailboxes/new/{key}")
    async def sign_in(request: Request, code: str, key: str, principal: AgencyOfficer) -> Response:
        fields = dict(await read_form(request))
        # Remove the secrets from `fields`, because pages show `fields` again.
        secrets = {name: fields.pop(name, "") for name in ("password", *APPLICATION_SECRETS)}
        try:
            setup = setups.find(code.upper(), key, by=principal.by)
        except NotFoundError:
            return await render_expired(request, code, fields.get("address", ""))
        try:
            await _sign_in(setups, setup, fields, secrets, client_address(request))
        except (_InvalidInputError, BadApplicationError, SetupRejectedError) as error:
            return setup_page.page(request, setup, problem=str(error), form=fields, status=422)
        return RedirectResponse(f"/agencies/{setup.agency}/mailboxes/new/{setup.key}", status_code=303)

    @router.post("/agencies/{code}/mailboxes/new/{key}/save")
    async def save(request: Request, code: str, key: str, principal: AgencyOfficer) -> Response:
        fields = await read_form(request)
        try:
            setup = setups.find(code.upper(), key, by=principal.by)
        except NotFoundError:
            return await render_expired(request, code, fields.get("address", ""))
        name = setup.replaced_key or fields.get("name", "").strip().lower()
        try:
            draft = await _draft_with_mailbox(setup, name, editor)
            # `may_edit_restricted`: whether the user may, for instance, change which servers receive secrets.
            result = await editor.save(
                draft, by=principal.by, may_edit_restricted=principal.may(Permission.CONFIGURE_SECRETS, setup.agency)
            )
        except (_InvalidInputError, SetupRejectedError) as error:
            return setup_page.page(request, setup, problem=str(error), form=fields, status=422)
        except (OperationRejectedError, NotEditableError, VersionConflictError) as error:
            return setup_page.page(request, setup, reason=error, form=fields, status=422)
        if result.conflicting_version is not None:
            return setup_page.page(request, setup, problem="changed_meanwhile", form=fields, status=409)
        if result.written is None:
            return setup_page.page(request, setup, result=result, form=fields, status=422)
        setups.discard(setup)
        return RedirectResponse(f"/agencies/{setup.agency}/mailboxes?saved={result.written.number}", status_code=303)

    # The mail provider redirects the browser here after the user has given or refused consent (OAuth).
    @router.get(CONSENT_PATH)
    async def handle_consent(request: Request, principal: _Editor) -> Response:
        parameters = request.query_params
        setup = await setups.handle_consent_callback(
            parameters.get("state", ""),
            by=principal.by,
            code=parameters.get("code", ""),
            error=parameters.get("error", "")[:100],
        )
        check_permission(principal, Permission.EDIT_AGENCY, setup.agency)
        return RedirectResponse(f"/agencies/{setup.agency}/mailboxes/new/{setup.key}", status_code=303)

    return router


async def _sign_in(
    setups: MailboxSetups, setup: MailboxSetup, fields: Mapping[str, str], secrets: Mapping[str, str], user_address: str
) -> None:
    """Sign in to the mailbox by the selected method, or request a consent, after which the setup signs in.

    *user_address*: IP address of the user. Raise `_InvalidInputError`, `BadApplicationError` or `SetupRejectedError`.
    """
    username = fields.get("username", "").strip()[:_MAX_LENGTH] or setup.address
    servers = _selected_servers(setup, fields)
    match fields.get("way", ""):
        case "consent":
            await setups.request_consent(setup, servers, username, client_address=user_address)
        case MailPlatform.GOOGLE | MailPlatform.MICROSOFT as platform:
            # An application signs in with its own credentials (OAuth), without a user.
            credentials, domain = {**fields, **secrets}, domain_of(setup.address)
            application = await asyncio.to_thread(Application.read, MailPlatform(platform), credentials, domain)
            await setups.try_application(setup, servers, username, application, client_address=user_address)
        case _:
            await setups.try_password(
                setup, servers, username, _checked_password(secrets["password"]), client_address=user_address
            )


async def _draft_with_mailbox(setup: MailboxSetup, name: str, editor: AgencyEditor) -> AgencyDraft:
    """Return the draft of the document with the tested mailbox. *name*: key of the mailbox in the document.

    Raise `_InvalidInputError`. `typed_mailbox` raises `SetupRejectedError` for a mailbox whose sign-in has failed, and
    `mailbox_draft` raises `NotEditableError`.
    """
    latest = await editor.latest(setup.agency)
    text = latest.text or ""
    try:
        TypeAdapter(Slug).validate_python(name)
    except ValidationError:
        raise _InvalidInputError("bad_name") from None

    def build_draft() -> AgencyDraft:
        if not setup.replaced_key and name in as_mapping(document_from_text(text, setup.agency).data.get("mailboxes")):
            raise _InvalidInputError("name_taken")
        return mailbox_draft(setup.agency, text, latest.digest, typed_mailbox(setup, name))

    return await asyncio.to_thread(build_draft)


def _find_address(version: DocumentVersion, entered: str) -> tuple[str, str]:
    """Return the entered address, and the key of the mailbox that has it in the document; "" if no mailbox has it.

    If a mailbox has the address, return the spelling of the document. Raise `_InvalidInputError`.
    """
    try:
        address = str(TypeAdapter(MailAddress).validate_python(entered))
    except ValidationError:
        raise _InvalidInputError("no_address") from None
    mailboxes = as_mapping(document_from_text(version.text or "", version.agency).data.get("mailboxes")).items()
    keys_by_address = {str(as_mapping(each).get("address", "")): key for key, each in mailboxes}
    return next(
        ((each, key) for each, key in keys_by_address.items() if each.lower() == address.lower()), (address, "")
    )


# -- input ------------------------------------------------------------------------------------------------------------


def _checked_password(text: str) -> str:
    """Return a password unchanged.

    Raise `_InvalidInputError` for an impossible password, so that it does not use up one of the limited attempts.
    """
    if not text.strip():
        raise _InvalidInputError("no_password")
    if text != text.strip() or not text.isprintable() or len(text) > _MAX_LENGTH:
        raise _InvalidInputError("bad_password")
    return text


def _selected_servers(setup: MailboxSetup, fields: Mapping[str, str]) -> ChosenServers:
    previous_servers = {"smtp": setup.chosen.smtp, "reading": setup.chosen.reading} if setup.chosen else {}
    for side in ("smtp", "reading"):
        host, previous = fields.get(f"{side}_host", "").strip().lower(), previous_servers.get(side)
        # Reject the form if the user has entered a server by hand but selected another one, to which the password would
        # go. The form repeats the server of the previous attempt; that is no entry by the user.
        if host and fields.get(side) != BY_HAND and (previous is None or previous.host != host):
            raise _InvalidInputError("typed_not_marked")
    smtp = _selected_server(fields, "smtp", servers_of(setup, Protocol.SMTP), Protocol.SMTP)
    protocol = Protocol.POP3 if fields.get("reading_protocol") == Protocol.POP3 else Protocol.IMAP
    reading = _selected_server(fields, "reading", servers_of(setup, Protocol.IMAP, Protocol.POP3), protocol)
    if smtp is None and reading is None:
        raise _InvalidInputError("no_server")
    return ChosenServers(smtp=smtp, reading=reading)


def _selected_server(
    fields: Mapping[str, str], side: str, servers: Sequence[ExaminedServer], protocol: Protocol
) -> ServerChoice | None:
    """Return the server of a side, one of *servers* or entered by hand with *protocol*; `None`: the user wants none."""
    selection = fields.get(side, "")
    if selection == NO_SERVER:
        return None
    if selection == BY_HAND:
        return _typed_server(fields, side, protocol)
    if not selection.isdecimal() or len(selection) > 2 or int(selection) >= len(servers):
        raise _InvalidInputError("not_chosen")
    candidate = servers[int(selection)].candidate
    return ServerChoice(
        protocol=candidate.protocol, host=candidate.host, port=candidate.port, security=candidate.security
    )


def _typed_server(fields: Mapping[str, str], side: str, protocol: Protocol) -> ServerChoice:
    entered = {key: fields.get(f"{side}_{key}", "").strip() for key in ("host", "port", "security")}
    try:
        # Validate the input as a server in a document.
        server = ServerSettings.model_validate(
            {key: value for key, value in entered.items() if value and not (key == "port" and value.isdecimal())}
            | ({"port": int(entered["port"])} if entered["port"].isdecimal() and len(entered["port"]) < 6 else {})
        )
    except ValidationError:
        raise _InvalidInputError("bad_server") from None
    host, port = server.host.lower(), server.port_of(protocol)
    return ServerChoice(protocol=protocol, host=host, port=port, security=server.security)
