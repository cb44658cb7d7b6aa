"""Mailbox page of an agency: servers, and passwords or other credentials, which mail officers of the agency enter here.

The page edits the agency's document, its YAML configuration. The database stores the passwords, encrypted. No page ever
shows a password, not even to the user who entered it. A draft is the edited text of a document before it is saved.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from alerts.persistence.clock import Clock
from monitor.access.role import Permission
from monitor.config.fields.circular import domain_of
from monitor.config.files.document import document_from_text
from monitor.config.files.edit import NotEditableError, RemoveValue, TextEdit, edit_text
from monitor.config.files.problem import Problem
from monitor.config.model.registry import Registry
from monitor.config.validation.restricted_fields import uses_only_stored_secrets
from monitor.model.document import DocumentVersion
from monitor.service.errors import OperationRejectedError
from monitor.service.portal.agency_editor import AgencyDraft, AgencyEditor, DraftResult
from monitor.service.portal.delegation import APPLICATION_SECRETS, Application, BadApplicationError
from monitor.service.portal.typed_mailbox import PROTOCOLS, SERVER_KEYS, EnteredMailbox, mailbox_draft
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import AgencyOfficer
from monitor.web.agency.form_parsing import InvalidFieldError, as_mapping, as_sequence
from monitor.web.agency.settings_page import NO_INPUT, FormInput, SettingsPage
from monitor.web.form import Pages, read_form
from probes.model.domain import is_within
from probes.model.egress import EgressDenial
from probes.model.mail_platform import PLATFORM_SERVERS, MailPlatform
from probes.model.mailbox import Security, UnavailableLogin

_FORM_NAMES: Final = frozenset({"mailbox", "add_mailbox", "drop_mailbox"})
#: Maximum number of characters of a password. No server accepts a longer one.
_MAX_PASSWORD_LENGTH: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _FieldProblem:
    """Problem of a form field: a text of the page, or the message of a configuration check."""

    #: Key of the page's text; "": the page shows *message*.
    text_key: str = ""
    message: str = ""
    #: What the user should enter instead; "" if the check states no remedy.
    instead: str = ""


#: The messages of some configuration checks address operators. For them the page has its own text, for officers. Pairs:
#: beginning of the message, and key of the page's text.
_MESSAGE_KEYS: Final = (
    *((f"is {denial};", f"out_{denial.name.lower()}") for denial in EgressDenial),
    ("was entered for ", "other_servers"),
    ("only an administrator may change ", "placed_only"),
)


def mailbox_pages(editor: AgencyEditor, clock: Clock, pages: Pages) -> APIRouter:
    """Build the router of the mailbox page."""
    router, settings_page = APIRouter(include_in_schema=False), SettingsPage(editor, clock, pages)

    @router.get("/agencies/{code}/mailboxes")
    async def mailboxes(request: Request, code: str, _principal: AgencyOfficer) -> Response:
        # Number of the version that was just saved, or "same" if the form changed nothing.
        saved = request.query_params.get("saved", "")
        return await render_page(request, await editor.latest(code.upper()), saved=saved[:9], is_same=saved == "same")

    @router.post("/agencies/{code}/mailboxes")
    async def save(request: Request, code: str, principal: AgencyOfficer) -> Response:
        code, fields = code.upper(), dict(await read_form(request))
        if fields.get("form") not in _FORM_NAMES:
            raise HTTPException(404, "there is no such form")
        # Remove the secrets from `fields`, because pages show `fields` again.
        secrets = {name: fields.pop(name, "") for name in ("password", *APPLICATION_SECRETS)}
        form_input = FormInput(name=fields["form"], fields={name: value.strip() for name, value in fields.items()})
        try:
            draft = await _draft_from_form(code, form_input, secrets, editor)
            result = await editor.save(
                draft, by=principal.by, may_edit_restricted=principal.may(Permission.CONFIGURE_SECRETS, code)
            )
        except InvalidFieldError as error:
            errors = {error.field: [_FieldProblem(text_key=str(error))]}
            return await render_page(
                request, await editor.latest(code), 422, form_input=form_input, field_problems=errors
            )
        except (NotEditableError, OperationRejectedError, VersionConflictError) as error:
            return await render_page(request, await editor.latest(code), 422, form_input=form_input, reason=error)
        if result.conflicting_version is not None:
            # Another user has saved a newer version, so show the input beside the mailboxes of that version.
            return await render_page(
                request,
                result.conflicting_version,
                409,
                form_input=form_input,
                newer_version=result.conflicting_version,
            )
        if result.is_refused:
            return await render_page(request, await editor.latest(code), 422, form_input=form_input, result=result)
        # A document may be saved, but not in effect: then the running service still uses the old one.
        if result.written is not None and (result.problems or not result.is_in_effect):
            return await render_page(request, result.written, result=result)
        saved = result.written.number if result.written else "same"
        return RedirectResponse(f"/agencies/{code}/mailboxes?saved={saved}", status_code=303)

    async def render_page(
        request: Request,
        version: DocumentVersion,
        status: int = 200,
        *,
        form_input: FormInput = NO_INPUT,
        result: DraftResult | None = None,
        **context: object,
    ) -> Response:
        def render_in_thread() -> Response:
            page = _page_context(editor, version, form_input, result)
            path = f"/agencies/{version.agency}/mailboxes"
            return settings_page.render(request, "mailboxes.html", {"path": path, **page, **context}, status)

        return await asyncio.to_thread(render_in_thread)

    return router


# -- input ------------------------------------------------------------------------------------------------------


async def _draft_from_form(
    code: str, form_input: FormInput, secrets: Mapping[str, str], editor: AgencyEditor
) -> AgencyDraft:
    """Return the draft with a form's changes, based on the version of the document that the form's page showed.

    Raise `InvalidFieldError`, whose message is a key of the page's texts. `base_text` raises `OperationRejectedError`
    if there never was such a version; the functions that edit the text raise `NotEditableError`.
    """
    started_from = form_input.fields.get("started_from", "")
    before = await editor.base_text(code, started_from)

    def build_draft() -> AgencyDraft:
        data = document_from_text(before, code).data
        key = _mailbox_key(form_input, data)
        if form_input.name == "drop_mailbox":
            return AgencyDraft(
                agency=code, text=edit_text(before, _removal_edits(key, data)), started_from=started_from
            )
        application = _read_application(form_input.fields, secrets)
        if form_input.name == "add_mailbox" and not secrets["password"] and application is None:
            raise InvalidFieldError("password", "password_missing")
        mailbox = _entered_mailbox(key, form_input.fields, _checked_password(secrets["password"]), application)
        return mailbox_draft(code, before, started_from, mailbox)

    return await asyncio.to_thread(build_draft)


def _mailbox_key(form_input: FormInput, data: Mapping[str, Any]) -> str:
    """Return the key of the mailbox that the form adds, changes or removes. Raise `InvalidFieldError`."""
    key, mailboxes_in_document = form_input.fields.get("key", ""), as_mapping(data.get("mailboxes"))
    if form_input.name != "add_mailbox":
        if key not in mailboxes_in_document:
            raise InvalidFieldError("key", "key_gone")
        if form_input.name == "drop_mailbox" and len(mailboxes_in_document) == 1:
            # Removing the last mailbox would end the monitoring of the agency by a single click. Only a new agency may
            # be without mailboxes.
            raise InvalidFieldError("key", "key_last")
        return key
    if not key:
        raise InvalidFieldError("key", "key_missing")
    if key in mailboxes_in_document:
        raise InvalidFieldError("key", "key_taken")
    return key


def _checked_password(text: str) -> str:
    """Return *text* unchanged; "" keeps the present password. Raise `InvalidFieldError` for an impossible password."""
    if text and (not text.isprintable() or text != text.strip() or len(text) > _MAX_PASSWORD_LENGTH):
        raise InvalidFieldError("password", "password_odd")
    return text


def _read_application(fields: Mapping[str, str], secrets: Mapping[str, str]) -> Application | None:
    """Return the entered OAuth credentials, which replace a password; `None` if none were entered.

    Raise `InvalidFieldError`, also if a server of the mailbox does not belong to the platform of the application.
    """
    if not (application_name := fields.get("application", "")):
        return None
    try:
        platform = MailPlatform(application_name)
        application = Application.read(platform, {**fields, **secrets}, domain_of(fields.get("address", "")))
    except (BadApplicationError, ValueError) as error:
        # The message of `BadApplicationError` is a key of the page's texts. `MailPlatform` raises `ValueError`.
        raise InvalidFieldError(
            "application", str(error) if isinstance(error, BadApplicationError) else "bad_account"
        ) from None
    hosts = [host for each in PROTOCOLS if (host := fields.get(f"{each}.host"))]
    if not all(is_within(host, PLATFORM_SERVERS[platform]) for host in hosts):
        raise InvalidFieldError("application", "not_its_servers")
    return application


def _entered_mailbox(
    key: str, fields: Mapping[str, str], password: str, application: Application | None
) -> EnteredMailbox:
    servers = {
        protocol: {each: fields.get(f"{protocol}.{each}", "") for each in SERVER_KEYS}
        for protocol in PROTOCOLS
        if fields.get(f"{protocol}.host")
    }
    address = fields.get("address", "")
    return EnteredMailbox(
        key=key,
        address=address,
        servers=servers,
        username=fields.get("username") or address,
        password="" if application else password,
        oauth=application.oauth_settings if application else {},
        tokens=application.secrets if application else {},
    )


def _removal_edits(key: str, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return edits that remove a mailbox and the routes (from one mailbox to another) that use it."""
    routes = as_sequence(data.get("routes"))
    route_indexes = [index for index, route in enumerate(routes) if as_mapping(route).get("mailbox") == key]
    route_edits = [RemoveValue(path=("routes", index)) for index in reversed(route_indexes)]
    return [*route_edits, RemoveValue(path=("mailboxes", key))]


# -- output -----------------------------------------------------------------------------------------------------


def _page_context(
    editor: AgencyEditor, version: DocumentVersion, form_input: FormInput, result: DraftResult | None
) -> Mapping[str, object]:
    data = document_from_text(version.text or "", version.agency).data
    configuration = editor.configuration()
    portal = configuration.settings.portal
    field_problems, other_problems = _problems_by_field(
        result.problems if result else (), form_input.fields.get("key", "")
    )
    return {
        "version": version,
        "code": version.agency,
        "file": editor.configured_file(version),
        "mailboxes": [
            {
                **_mailbox_context(key, as_mapping(each), data),
                "is_locked": _is_locked(configuration.registry, f"{version.agency}/{key}"),
            }
            for key, each in as_mapping(data.get("mailboxes")).items()
        ],
        "protocols": PROTOCOLS,
        "securities": list(Security),
        "platforms": list(MailPlatform),
        "can_store_secrets": portal is not None and portal.secrets_key is not None,
        # Whether the key that encrypts the stored secrets is missing.
        "is_key_lost": configuration.is_secrets_key_missing,
        "form_input": form_input,
        "result": result,
        "other_problems": other_problems,
        "field_problems": field_problems if form_input.name else {},
        "newer_version": None,
        "saved": "",
        "is_same": False,
    }


def _is_locked(registry: Registry, name: str) -> bool:
    """Whether a mailbox is not probed because its stored secret is unavailable. *name*: such as "JCM/utama"."""
    return name in registry.mailboxes and isinstance(registry.mailboxes[name].mailbox.login, UnavailableLogin)


def _mailbox_context(key: str, mailbox: Mapping[str, Any], data: Mapping[str, Any]) -> Mapping[str, Any]:
    login = as_mapping(mailbox.get("login"))
    uses_tokens = any(each in login for each in ("oauth", "token_file", "token_command"))
    routes = [as_mapping(each) for each in as_sequence(data.get("routes"))]
    return {
        "key": key,
        "address": mailbox.get("address") or "",
        "username": login.get("username") or "",
        # Key of the page's text about the sign-in: with OAuth tokens, with a password entered in the portal, or with
        # one that Pantau's operators keep elsewhere.
        "way": "tokens" if uses_tokens else "typed" if uses_only_stored_secrets(mailbox) else "placed",
        "servers": {each: as_mapping(mailbox.get(each)) for each in PROTOCOLS},
        "routes": [str(each.get("direction")) for each in routes if each.get("mailbox") == key],
    }


def _problems_by_field(
    problems: Sequence[Problem], key: str
) -> tuple[Mapping[str, Sequence[_FieldProblem]], Sequence[Problem]]:
    """Return the problems that belong to a field of the form, by field, and the other problems.

    *key*: key of the mailbox that the form adds or changes; "": there is no form, so no problem belongs to a field.
    """
    field_problems: dict[str, list[_FieldProblem]] = defaultdict(list)
    other_problems: list[Problem] = []
    for each in problems:
        field = _form_field(each.key, f"mailboxes.{key}")
        if field is None or not key:
            other_problems.append(each)
        else:
            text_key = next((text_key for prefix, text_key in _MESSAGE_KEYS if each.message.startswith(prefix)), "")
            field_problems[field].append(_FieldProblem(text_key=text_key, message=each.message, instead=each.instead))
    return field_problems, other_problems


def _form_field(key: str, mailbox_path: str) -> str | None:
    """Return the form field, such as "smtp.host", for a problem at *key* of the document; `None`: the form has none."""
    if key == mailbox_path:
        return "key"
    if not key.startswith(f"{mailbox_path}."):
        return None
    field_path = key.removeprefix(f"{mailbox_path}.")
    if field_path.startswith("login"):
        return "username" if field_path == "login.username" else "password"
    return f"{field_path}.host" if field_path in PROTOCOLS else field_path
