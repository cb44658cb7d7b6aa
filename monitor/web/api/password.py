"""The password of a mailbox over HTTP: it can be set, and never be read."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

from monitor.access.role import Permission
from monitor.access.visitor import Visitor
from monitor.config.files.edit import NotEditable
from monitor.config.loading import called_in_store
from monitor.model.document import Pen
from monitor.service.order import NotDone, Unknown
from monitor.service.portal.agency_editor import AgencyEditor
from monitor.service.portal.typed_mailbox import password_draft
from monitor.store.upkeep.documents import DocumentsMovedOnError
from monitor.web.access.gate import Needs, agency_in_path
from monitor.web.api.bounded import given_orders
from monitor.web.api.document import OF_WRITING, DocumentWritten, IfMatch, moved_on, seen_version, unusable
from monitor.web.problem import problems

_Editor = Annotated[Visitor, Depends(Needs(Permission.EDIT_AGENCY, agency_in_path))]


def _sayable(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.strip() or text != text.strip() or not text.isprintable():
        raise PydanticCustomError("sayable", "is empty, begins or ends with a blank, or holds what cannot be seen")
    return secret


class MailboxPassword(BaseModel):
    """What a mailbox is signed in to with from now on, at the servers that its document names."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    password: Annotated[SecretStr, Field(min_length=1, max_length=500), AfterValidator(_sayable)]


def mailbox_passwords(editor: AgencyEditor) -> APIRouter:
    """Build the route."""
    router = given_orders()

    @router.put(
        "/agencies/{code}/mailboxes/{key}/password",
        summary="Give a mailbox another password, which is kept encrypted and can be read by nobody",
        response_model=DocumentWritten,
        responses=problems(*OF_WRITING),
        tags=["documents"],
    )
    async def put(
        code: str,
        key: Annotated[str, Path(max_length=64)],
        said: MailboxPassword,
        visitor: _Editor,
        if_match: IfMatch = None,
    ) -> Response:
        agency, seen = code.upper(), seen_version(if_match)
        latest = await editor.latest(agency)
        if latest.digest != seen:
            # Whoever sets it has seen which servers are told it.
            return moved_on(agency, latest.digest, seen)
        password = said.password.get_secret_value()
        may_place = visitor.may(Permission.PLACE_SECRETS, agency)
        try:
            draft = await asyncio.to_thread(partial(password_draft, agency, latest.text or "", seen, key, password))
            answer = await editor.save(draft, by=visitor.by, may_place=may_place, pen=Pen.API)
        except KeyError:
            raise Unknown(f"{agency} has no mailbox '{key[:40]}'") from None
        except (NotEditable, DocumentsMovedOnError) as why:
            raise NotDone(str(why)) from None
        if answer.theirs is not None:
            return moved_on(agency, answer.theirs.digest, seen)
        if answer.is_refused or answer.written is None:
            return unusable(answer, called_in_store(agency), sees_all=may_place)
        written = DocumentWritten(
            agency=agency, digest=answer.written.digest, taken=answer.taken, problems=[str(e) for e in answer.problems]
        )
        headers = {"ETag": f'"{written.digest}"'}
        return Response(written.model_dump_json(), media_type="application/json", headers=headers)

    return router
