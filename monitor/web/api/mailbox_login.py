"""API of mailbox credentials: a password, or an application (an OAuth client). Programs can set but not read them."""

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
from monitor.config.files.document import document_from_text
from monitor.config.files.edit import NotEditableError
from monitor.config.loading import stored_document_label
from monitor.model.document import EditSource
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.portal.agency_editor import AgencyDraft, AgencyEditor
from monitor.service.portal.delegation import Application, BadApplicationError
from monitor.service.portal.typed_mailbox import PROTOCOLS, login_draft
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import AgencyOfficer
from monitor.web.api.document import (
    WRITE_STATUSES,
    DocumentWritten,
    IfMatch,
    digest_from_if_match,
    edit_conflict,
    invalid_document,
)
from monitor.web.api.route.command import command_router
from monitor.web.problem import problems
from probes.model.domain import is_within
from probes.model.mail_platform import PLATFORM_SERVERS, MailPlatform

#: Key of a mailbox in the document.
_Key = Annotated[str, Path(max_length=64)]
#: Function that returns the new credentials (password or application) of a mailbox, from the mailbox's settings.
_CredentialsFactory = Callable[[Mapping[str, Any]], str | Application]

#: Error messages for invalid application credentials, by the text key that `BadApplicationError` states.
_ERROR_TEXTS: Final = {
    "no_account": "service_account is missing: the JSON file of the service account's key",
    "bad_account": "service_account is not a complete JSON file of a service account's key",
    "bad_tenant": "tenant is neither a domain nor an ID",
    "bad_client_id": "client_id is missing or is not an ID",
    "no_client_secret": "client_secret is missing",
    "bad_client_secret": "client_secret begins or ends with a blank, or contains an unprintable character",
}


def _valid_secret(secret: SecretStr) -> SecretStr:
    """Return *secret*. Raise `PydanticCustomError` for a text that cannot be a password."""
    text = secret.get_secret_value()
    if not text.strip() or text != text.strip() or not text.isprintable():
        raise PydanticCustomError(
            "unprintable", "is empty, begins or ends with a blank, or contains an unprintable character"
        )
    return secret


class MailboxPassword(BaseModel):
    """New password of a mailbox, for the servers in its document."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    password: Annotated[SecretStr, Field(min_length=1, max_length=500), AfterValidator(_valid_secret)]


class MailboxApplication(BaseModel):
    """New credentials of a mailbox: those of an application (OAuth) that the mailbox's administrator has authorized.

    With them Pantau signs in without a user.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    platform: MailPlatform
    service_account: Annotated[SecretStr, Field(max_length=8192)] = SecretStr("")
    """For Google: the content of the JSON file with the service account's key."""
    tenant: Annotated[str, Field(max_length=200)] = ""
    """For Microsoft: domain or ID of the tenant; default: the domain of the mailbox."""
    client_id: Annotated[str, Field(max_length=200)] = ""
    """For Microsoft."""
    client_secret: Annotated[SecretStr, Field(max_length=200)] = SecretStr("")
    """For Microsoft."""

    def read(self, mailbox: Mapping[str, Any]) -> Application:
        """Return the application credentials for the mailbox with the settings *mailbox*.

        Raise `OperationRejectedError` for invalid credentials, or if the mailbox has servers of another platform.
        """
        fields = {
            "service_account": self.service_account.get_secret_value(),
            "tenant": self.tenant,
            "client_id": self.client_id,
            "client_secret": self.client_secret.get_secret_value(),
        }
        try:
            application = Application.read(self.platform, fields, domain_of(str(mailbox.get("address", ""))))
        except BadApplicationError as error:
            raise OperationRejectedError(_ERROR_TEXTS[str(error)]) from None
        platform_domains = PLATFORM_SERVERS[self.platform]
        servers = [mailbox[each] for each in PROTOCOLS if each in mailbox]
        # Pantau must not send the access tokens of this platform to servers of others.
        if not all(
            isinstance(each, Mapping) and is_within(str(each.get("host", "")), platform_domains) for each in servers
        ):
            raise OperationRejectedError(
                f"its tokens may go only to servers below {', '.join(platform_domains)}, and the document has others"
            )
        return application


def mailbox_logins(editor: AgencyEditor) -> APIRouter:
    """Build the router of the credentials."""
    router = command_router()

    @router.put(
        "/agencies/{code}/mailboxes/{key}/password",
        summary="Set a mailbox's password; it is stored encrypted and cannot be read back",
        response_model=DocumentWritten,
        responses=problems(*WRITE_STATUSES),
        tags=["documents"],
    )
    async def put_password(
        code: str, key: _Key, command: MailboxPassword, principal: AgencyOfficer, if_match: IfMatch = None
    ) -> Response:
        password = command.password.get_secret_value()
        return await _replace_credentials(
            editor, (code.upper(), key), lambda _: password, principal, digest_from_if_match(if_match)
        )

    @router.put(
        "/agencies/{code}/mailboxes/{key}/application",
        summary="Set a mailbox's OAuth client; its secret is stored encrypted and cannot be read back",
        response_model=DocumentWritten,
        responses=problems(*WRITE_STATUSES),
        tags=["documents"],
    )
    async def put_application(
        code: str, key: _Key, command: MailboxApplication, principal: AgencyOfficer, if_match: IfMatch = None
    ) -> Response:
        return await _replace_credentials(
            editor, (code.upper(), key), command.read, principal, digest_from_if_match(if_match)
        )

    return router


async def _replace_credentials(
    editor: AgencyEditor,
    mailbox_key: tuple[str, str],
    factory: _CredentialsFactory,
    principal: Principal,
    seen_digest: str,
) -> Response:
    """Replace the credentials of a mailbox.

    *mailbox_key*: the agency, and the key of the mailbox in the agency's document (its YAML configuration).
    *seen_digest*: digest of the version of the document that the client has read.
    """
    agency, key = mailbox_key
    latest = await editor.latest(agency)
    if latest.digest != seen_digest:
        # The document determines which servers receive the credentials, so the client must have read this version.
        return edit_conflict(agency, latest.digest, seen_digest)
    # Administrators may change restricted fields, and see errors in other documents.
    is_administrator = principal.may(Permission.CONFIGURE_SECRETS, agency)
    try:
        draft = await asyncio.to_thread(partial(_build_draft, mailbox_key, latest.text or "", factory, seen_digest))
        result = await editor.save(
            draft, by=principal.by, may_edit_restricted=is_administrator, edit_source=EditSource.API
        )
    except KeyError:
        raise NotFoundError(f"{agency} has no mailbox '{key[:40]}'") from None
    except (NotEditableError, VersionConflictError) as error:
        raise OperationRejectedError(str(error)) from None
    if result.conflicting_version is not None:
        return edit_conflict(agency, result.conflicting_version.digest, seen_digest)
    if result.is_refused or result.written is None:
        return invalid_document(result, stored_document_label(agency), sees_errors_elsewhere=is_administrator)
    written = DocumentWritten(
        agency=agency,
        digest=result.written.digest,
        taken=result.is_in_effect,
        problems=[str(each) for each in result.problems],
    )
    headers = {"ETag": f'"{written.digest}"'}
    return Response(written.model_dump_json(), media_type="application/json", headers=headers)


def _build_draft(
    mailbox_key: tuple[str, str], text: str, factory: _CredentialsFactory, seen_digest: str
) -> AgencyDraft:
    """Return the draft of the document *text* with the new credentials.

    Raise `KeyError` if the mailbox does not exist. `factory` raises `OperationRejectedError`, and `login_draft`
    raises `NotEditableError`.
    """
    agency, key = mailbox_key
    mailboxes = document_from_text(text, agency).data.get("mailboxes")
    mailbox = mailboxes[key] if isinstance(mailboxes, Mapping) else None
    if not isinstance(mailbox, Mapping):
        raise KeyError(key)
    return login_draft(agency, text, seen_digest, key, factory(mailbox))
