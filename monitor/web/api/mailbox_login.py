"""Credentials of mailboxes over HTTP: write-only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.config.fields.circular import domain_of
from monitor.config.files.document import document_of
from monitor.config.files.edit import NotEditableError
from monitor.config.loading import called_in_store
from monitor.model.document import EditSource
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.portal.agency_editor import AgencyDraft, AgencyEditor
from monitor.service.portal.delegation import Application, BadApplicationError
from monitor.service.portal.typed_mailbox import PROTOCOLS, login_draft
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import ItsEditor
from monitor.web.api.document import OF_WRITING, DocumentWritten, IfMatch, moved_on, seen_version, unusable
from monitor.web.api.route.command import given_orders
from monitor.web.problem import problems
from probes.model.domain import is_within
from probes.model.mail_platform import PLATFORM_SERVERS, MailPlatform

_Key = Annotated[str, Path(max_length=64)]
#: Returns the credentials for a mailbox, based on its settings.
_Way = Callable[[Mapping[str, Any]], str | Application]

#: Texts for an invalid application, by the key of the portal's texts.
_WRONG: Final = {
    "no_account": "service_account is missing: the JSON file of the service account's key",
    "bad_account": "service_account is not a complete JSON file of a service account's key",
    "bad_tenant": "tenant is no domain and no id",
    "bad_client_id": "client_id is missing, or no id",
    "no_client_secret": "client_secret is missing",
    "bad_client_secret": "client_secret begins or ends with a blank, or holds what cannot be seen",
}


def _sayable(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.strip() or text != text.strip() or not text.isprintable():
        raise PydanticCustomError("sayable", "is empty, begins or ends with a blank, or holds what cannot be seen")
    return secret


class MailboxPassword(BaseModel):
    """New password of a mailbox, for the servers in its document."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    password: Annotated[SecretStr, Field(min_length=1, max_length=500), AfterValidator(_sayable)]


class MailboxApplication(BaseModel):
    """New application credentials of a mailbox, which its administrator has authorized.

    They work without a signed-in user.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    platform: MailPlatform
    service_account: Annotated[SecretStr, Field(max_length=8192)] = SecretStr("")
    """Google's: the JSON file of the service account's key, as text."""
    tenant: Annotated[str, Field(max_length=200)] = ""
    """Microsoft's; default: the domain of the mailbox."""
    client_id: Annotated[str, Field(max_length=200)] = ""
    """Microsoft's."""
    client_secret: Annotated[SecretStr, Field(max_length=200)] = SecretStr("")
    """Microsoft's."""

    def read(self, mailbox: Mapping[str, Any]) -> Application:
        """Return the application for a mailbox with these settings. Raise `OperationRejectedError`."""
        typed = {
            "service_account": self.service_account.get_secret_value(),
            "tenant": self.tenant,
            "client_id": self.client_id,
            "client_secret": self.client_secret.get_secret_value(),
        }
        try:
            application = Application.read(self.platform, typed, domain_of(str(mailbox.get("address", ""))))
        except BadApplicationError as bad:
            raise OperationRejectedError(_WRONG[str(bad)]) from None
        own, servers = PLATFORM_SERVERS[self.platform], [mailbox[each] for each in PROTOCOLS if each in mailbox]
        if not all(isinstance(each, Mapping) and is_within(str(each.get("host", "")), own) for each in servers):
            raise OperationRejectedError(
                f"its tokens are shown to servers below {', '.join(own)} only, and the document names others"
            )
        return application


def mailbox_logins(editor: AgencyEditor) -> APIRouter:
    """Build the router of the credentials."""
    router = given_orders()

    @router.put(
        "/agencies/{code}/mailboxes/{key}/password",
        summary="Set a mailbox's password; it is stored encrypted and cannot be read back",
        response_model=DocumentWritten,
        responses=problems(*OF_WRITING),
        tags=["documents"],
    )
    async def put_password(
        code: str, key: _Key, said: MailboxPassword, principal: ItsEditor, if_match: IfMatch = None
    ) -> Response:
        password = said.password.get_secret_value()
        return await _put(editor, (code.upper(), key), lambda _: password, principal, seen_version(if_match))

    @router.put(
        "/agencies/{code}/mailboxes/{key}/application",
        summary="Set a mailbox's OAuth client; its secret is stored encrypted and cannot be read back",
        response_model=DocumentWritten,
        responses=problems(*OF_WRITING),
        tags=["documents"],
    )
    async def put_application(
        code: str, key: _Key, said: MailboxApplication, principal: ItsEditor, if_match: IfMatch = None
    ) -> Response:
        return await _put(editor, (code.upper(), key), said.read, principal, seen_version(if_match))

    return router


async def _put(editor: AgencyEditor, place: tuple[str, str], way: _Way, principal: Principal, seen: str) -> Response:
    """Replace the credentials of a mailbox. *seen*: the digest of the version that the client has seen."""
    agency, key = place
    latest = await editor.latest(agency)
    if latest.digest != seen:
        # The client must have seen the servers that receive the credentials.
        return moved_on(agency, latest.digest, seen)
    may_place = principal.may(Permission.CONFIGURE_SECRETS, agency)
    try:
        draft = await asyncio.to_thread(partial(_drafted, place, latest.text or "", way, seen))
        answer = await editor.save(draft, by=principal.by, may_place=may_place, edit_source=EditSource.API)
    except KeyError:
        raise NotFoundError(f"{agency} has no mailbox '{key[:40]}'") from None
    except (NotEditableError, VersionConflictError) as why:
        raise OperationRejectedError(str(why)) from None
    if answer.theirs is not None:
        return moved_on(agency, answer.theirs.digest, seen)
    if answer.is_refused or answer.written is None:
        return unusable(answer, called_in_store(agency), sees_all=may_place)
    written = DocumentWritten(
        agency=agency, digest=answer.written.digest, taken=answer.taken, problems=[str(e) for e in answer.problems]
    )
    headers = {"ETag": f'"{written.digest}"'}
    return Response(written.model_dump_json(), media_type="application/json", headers=headers)


def _drafted(place: tuple[str, str], text: str, way: _Way, seen: str) -> AgencyDraft:
    """Return the draft.

    Raise `NotEditableError`, `OperationRejectedError`, or `KeyError` if the mailbox does not exist.
    """
    agency, key = place
    mailboxes = document_of(text, agency).data.get("mailboxes")
    mailbox = mailboxes[key] if isinstance(mailboxes, Mapping) else None
    if not isinstance(mailbox, Mapping):
        raise KeyError(key)
    return login_draft(agency, text, seen, key, way(mailbox))
