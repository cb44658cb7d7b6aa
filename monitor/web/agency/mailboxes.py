"""Mailbox page of an agency for its mail officers: servers and sign-in, with passwords entered here.

An entered password is never shown again, not even to the user who entered it.
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
from monitor.config.files.document import document_of
from monitor.config.files.edit import NotEditableError, RemoveValue, TextEdit, edit_text
from monitor.config.files.problem import Problem
from monitor.config.model.registry import Registry
from monitor.config.validation.restricted_fields import rests_on_typing
from monitor.model.document import DocumentVersion
from monitor.service.errors import OperationRejectedError
from monitor.service.portal.agency_editor import AgencyDraft, AgencyEditor, DraftResult
from monitor.service.portal.delegation import APPLICATION_SECRETS, Application, BadApplicationError
from monitor.service.portal.typed_mailbox import PROTOCOLS, SERVER_KEYS, EnteredMailbox, mailbox_draft
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import ItsEditor
from monitor.web.agency.form_parsing import InvalidFieldError, mapping, sequence
from monitor.web.agency.settings_page import NOTHING_TYPED, SettingsPage, TypedForm
from monitor.web.form import Pages, form_of
from probes.model.domain import is_within
from probes.model.egress import EgressDeniedError
from probes.model.mail_platform import PLATFORM_SERVERS, MailPlatform
from probes.model.mailbox import Security, UnavailableLogin

_FORMS: Final = frozenset({"mailbox", "add_mailbox", "drop_mailbox"})
#: Characters; no server accepts a longer password.
_LONGEST: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """Problem of a field: a key of the page's texts, or the message and remedy of a check."""

    word: str = ""
    message: str = ""
    instead: str = ""


#: Prefixes of check messages that concern officers, with the keys of their texts.
_WORDS: Final = (
    *((f"is {why};", f"out_{why.name.lower()}") for why in EgressDeniedError),
    ("was typed for ", "other_servers"),
    ("only an administrator changes ", "placed_only"),
)


def mailbox_pages(editor: AgencyEditor, clock: Clock, pages: Pages) -> APIRouter:
    """Build the router of the mailbox page."""
    router, sheet = APIRouter(include_in_schema=False), SettingsPage(editor, clock, pages)

    @router.get("/agencies/{code}/mailboxes")
    async def mailboxes(request: Request, code: str, _visitor: ItsEditor) -> Response:
        saved = request.query_params.get("saved", "")
        return await shown(request, await editor.latest(code.upper()), saved=saved[:9], is_same=saved == "same")

    @router.post("/agencies/{code}/mailboxes")
    async def save(request: Request, code: str, principal: ItsEditor) -> Response:
        code, fields = code.upper(), dict(await form_of(request))
        if fields.get("form") not in _FORMS:
            raise HTTPException(404, "there is no such form")
        # From here on no value that a page is rendered from contains the secret.
        secrets = {name: fields.pop(name, "") for name in ("password", *APPLICATION_SECRETS)}
        typed = TypedForm(name=fields["form"], fields={name: value.strip() for name, value in fields.items()})
        try:
            draft = await _draft(code, typed, secrets, editor)
            answer = await editor.save(
                draft, by=principal.by, may_place=principal.may(Permission.CONFIGURE_SECRETS, code)
            )
        except InvalidFieldError as wrong:
            errors = {wrong.field: [_Fault(word=str(wrong))]}
            return await shown(request, await editor.latest(code), 422, typed=typed, errors=errors)
        except (NotEditableError, OperationRejectedError, VersionConflictError) as wrong:
            return await shown(request, await editor.latest(code), 422, typed=typed, why=wrong)
        if answer.theirs is not None:
            # Keep the input, next to the current state of the mailboxes.
            return await shown(request, answer.theirs, 409, typed=typed, theirs=answer.theirs)
        if answer.is_refused:
            return await shown(request, await editor.latest(code), 422, typed=typed, answer=answer)
        if answer.written is not None and (answer.problems or not answer.taken):
            return await shown(request, answer.written, answer=answer)
        saved = answer.written.number if answer.written else "same"
        return RedirectResponse(f"/agencies/{code}/mailboxes?saved={saved}", status_code=303)

    async def shown(
        request: Request,
        version: DocumentVersion,
        status: int = 200,
        *,
        typed: TypedForm = NOTHING_TYPED,
        answer: DraftResult | None = None,
        **facts: object,
    ) -> Response:
        def rendered() -> Response:
            page = _page(editor, version, typed, answer)
            path = f"/agencies/{version.agency}/mailboxes"
            return sheet.render(request, "mailboxes.html", {"path": path, **page, **facts}, status)

        return await asyncio.to_thread(rendered)

    return router


# -- input ------------------------------------------------------------------------------------------------------


async def _draft(code: str, typed: TypedForm, secrets: Mapping[str, str], editor: AgencyEditor) -> AgencyDraft:
    """Return the document after a form.

    Raise `NotEditableError`, `OperationRejectedError`, or `InvalidFieldError` with a key of the page's texts.
    """
    started_from = typed.fields.get("started_from", "")
    before = await editor.started_from(code, started_from)

    def made() -> AgencyDraft:
        data = document_of(before, code).data
        key = _key(typed, data)
        if typed.name == "drop_mailbox":
            return AgencyDraft(agency=code, text=edit_text(before, _dropped(key, data)), started_from=started_from)
        application = _application(typed.fields, secrets)
        if typed.name == "add_mailbox" and not secrets["password"] and application is None:
            raise InvalidFieldError("password", "password_missing")
        mailbox = _typed(key, typed.fields, _password(secrets["password"]), application)
        return mailbox_draft(code, before, started_from, mailbox)

    return await asyncio.to_thread(made)


def _key(typed: TypedForm, data: Mapping[str, Any]) -> str:
    key, there = typed.fields.get("key", ""), mapping(data.get("mailboxes"))
    if typed.name != "add_mailbox":
        if key not in there:
            raise InvalidFieldError("key", "key_gone")
        if typed.name == "drop_mailbox" and len(there) == 1:
            # An agency may start without a mailbox, but a click must not end its monitoring.
            raise InvalidFieldError("key", "key_last")
        return key
    if not key:
        raise InvalidFieldError("key", "key_missing")
    if key in there:
        raise InvalidFieldError("key", "key_taken")
    return key


def _password(text: str) -> str:
    if text and (not text.isprintable() or text != text.strip() or len(text) > _LONGEST):
        raise InvalidFieldError("password", "password_odd")
    return text


def _application(fields: Mapping[str, str], secrets: Mapping[str, str]) -> Application | None:
    """Return the application credentials with which a mailbox signs in instead of a password."""
    if not (named := fields.get("application", "")):
        return None
    try:
        platform = MailPlatform(named)
        application = Application.read(platform, {**fields, **secrets}, domain_of(fields.get("address", "")))
    except (BadApplicationError, ValueError) as bad:
        raise InvalidFieldError(
            "application", str(bad) if isinstance(bad, BadApplicationError) else "bad_account"
        ) from None
    hosts = [host for each in PROTOCOLS if (host := fields.get(f"{each}.host"))]
    if not all(is_within(host, PLATFORM_SERVERS[platform]) for host in hosts):
        raise InvalidFieldError("application", "not_its_servers")
    return application


def _typed(key: str, fields: Mapping[str, str], password: str, application: Application | None) -> EnteredMailbox:
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
        oauth=application.written if application else {},
        tokens=application.secrets if application else {},
    )


def _dropped(key: str, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return edits that remove a mailbox and the routes that use it."""
    routes = sequence(data.get("routes"))
    using = [number for number, route in enumerate(routes) if mapping(route).get("mailbox") == key]
    gone = [RemoveValue(path=("routes", number)) for number in reversed(using)]
    return [*gone, RemoveValue(path=("mailboxes", key))]


# -- output -----------------------------------------------------------------------------------------------------


def _page(
    editor: AgencyEditor, version: DocumentVersion, typed: TypedForm, answer: DraftResult | None
) -> Mapping[str, object]:
    data = document_of(version.text or "", version.agency).data
    configuration = editor.configuration()
    portal = configuration.settings.portal
    at_fields, others = _sorted(answer.problems if answer else (), typed.fields.get("key", ""))
    return {
        "version": version,
        "code": version.agency,
        "file": editor.file_of(version),
        "boxes": [
            {
                **_box(key, mapping(each), data),
                "is_locked": _is_locked(configuration.registry, f"{version.agency}/{key}"),
            }
            for key, each in mapping(data.get("mailboxes")).items()
        ],
        "protocols": PROTOCOLS,
        "securities": list(Security),
        "platforms": list(MailPlatform),
        "can_keep": portal is not None and portal.secrets_key is not None,
        "is_key_lost": configuration.has_lost_key,
        "typed": typed,
        "answer": answer,
        "others": others,
        "errors": at_fields if typed.name else {},
        "theirs": None,
        "saved": "",
        "is_same": False,
    }


def _is_locked(registry: Registry, name: str) -> bool:
    """Whether a mailbox is not probed, because its stored secret is unavailable."""
    return name in registry.mailboxes and isinstance(registry.mailboxes[name].mailbox.login, UnavailableLogin)


def _box(key: str, mailbox: Mapping[str, Any], data: Mapping[str, Any]) -> Mapping[str, Any]:
    login = mapping(mailbox.get("login"))
    by_tokens = any(each in login for each in ("oauth", "token_file", "token_command"))
    listed = [mapping(each) for each in sequence(data.get("routes"))]
    return {
        "key": key,
        "address": mailbox.get("address") or "",
        "username": login.get("username") or "",
        "way": "tokens" if by_tokens else "typed" if rests_on_typing(mailbox) else "placed",
        "servers": {each: mapping(mailbox.get(each)) for each in PROTOCOLS},
        "routes": [str(each.get("direction")) for each in listed if each.get("mailbox") == key],
    }


def _sorted(problems: Sequence[Problem], key: str) -> tuple[Mapping[str, Sequence[_Fault]], Sequence[Problem]]:
    """Return the problems by field of the mailbox's form, and the problems that belong to no field."""
    at_fields: dict[str, list[_Fault]] = defaultdict(list)
    others: list[Problem] = []
    for each in problems:
        field = _field(each.key, f"mailboxes.{key}")
        if field is None or not key:
            others.append(each)
        else:
            word = next((word for begins, word in _WORDS if each.message.startswith(begins)), "")
            at_fields[field].append(_Fault(word=word, message=each.message, instead=each.instead))
    return at_fields, others


def _field(key: str, above: str) -> str | None:
    if key == above:
        return "key"
    if not key.startswith(f"{above}."):
        return None
    below = key.removeprefix(f"{above}.")
    if below.startswith("login"):
        return "username" if below == "login.username" else "password"
    return f"{below}.host" if below in PROTOCOLS else below
