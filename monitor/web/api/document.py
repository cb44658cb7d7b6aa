"""Agencies' documents over HTTP: read, write over a known version, remove.

A document names files of this machine and the servers that receive passwords. Only an administrator changes these
fields, as in the portal's forms; and only an administrator adds or removes a document.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.config.files.document import LARGEST, text_of
from monitor.config.files.problem import Problem
from monitor.config.loading import called_in_store
from monitor.model.document import DocumentVersion, EditSource, digest_of
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.portal.agency_editor import AgencyDraft, AgencyEditor, DraftResult
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import ItsEditor, RequirePermission, agency_in_path, permit, require
from monitor.web.api.route.command import BEARER, wrong_header
from monitor.web.api.route.query import knows, only_known
from monitor.web.form import read_body
from monitor.web.problem import WrongPart, problem, problems

_KIND: Final = "application/yaml"
#: "contacts.siti.sms", "escalation.steps[0].channels".
_STEP: Final = re.compile(r"[^.\[\]]+")
_DIGEST: Final = re.compile(r'"([0-9a-f]{64})"')

_Administrator = Annotated[Principal, Depends(RequirePermission(Permission.CONFIGURE_SECRETS, agency_in_path))]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="ETag of the version that you edited; no other version is overwritten."),
]
_NoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="`*` instead of `If-Match`: creates a new agency.")
]

_REFUSALS: Final = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
OF_WRITING: Final = (
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.PRECONDITION_REQUIRED,
)
_TEXT: Final = {"required": True, "content": {_KIND: {"schema": {"type": "string"}}}}


class DocumentWritten(BaseModel):
    """A document that was written or removed, and whether the service uses it."""

    agency: str
    #: SHA-256 of the text, as in the ETag; "" if the document was removed.
    digest: str
    taken: bool
    #: Warnings, and why the document is not in use.
    problems: list[str]


def agency_documents(editor: AgencyEditor) -> APIRouter:
    """Build the router of the documents."""
    router = APIRouter(
        prefix="/api/v1/agencies/{code}/document",
        tags=["documents"],
        dependencies=[Depends(BEARER), Depends(only_known)],
        responses=problems(*_REFUSALS),
    )

    @router.get(
        "",
        summary="Get an agency's document",
        dependencies=require(Permission.EDIT_AGENCY, agency_in_path),
        response_class=Response,
        responses={
            200: {"description": "YAML.", "content": {_KIND: {"schema": {"type": "string"}}}},
            304: {"description": "Not modified: `If-None-Match` has the current ETag."},
        },
    )
    async def read(code: str, request: Request) -> Response:
        see_that_it_counts()
        version = await there(code.upper())
        headers = {"ETag": f'"{version.digest}"'}
        if knows(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(version.text, media_type=_KIND, headers=headers)

    @router.put(
        "",
        summary="Replace an agency's document and apply it",
        response_model=DocumentWritten,
        openapi_extra={"requestBody": _TEXT},
        responses=problems(*OF_WRITING),
    )
    async def write(
        code: str,
        request: Request,
        principal: ItsEditor,
        if_match: IfMatch = None,
        if_none_match: _NoneMatch = None,
    ) -> Response:
        see_that_it_counts()
        agency, text = code.upper(), await _text(request)
        present = await editor.last(agency)
        theirs = present.digest if present else ""
        seen = "" if if_match is None and if_none_match == "*" else seen_version(if_match)
        if seen != theirs:
            return moved_on(agency, theirs, seen)
        if present is None or present.text is None:
            permit(principal, Permission.CONFIGURE_SECRETS, agency)
        draft, sees_all = (
            AgencyDraft(agency=agency, text=text, started_from=seen),
            principal.may(Permission.CONFIGURE_SECRETS, agency),
        )
        doing = editor.save(draft, by=principal.by, may_place=sees_all, edit_source=EditSource.API)
        return await done(agency, seen, text, doing, sees_all=sees_all)

    @router.delete(
        "",
        summary="Remove an agency; its monitoring ends",
        response_model=DocumentWritten,
        responses=problems(*OF_WRITING),
    )
    async def take_out(code: str, principal: _Administrator, if_match: IfMatch = None) -> Response:
        see_that_it_counts()
        agency, seen = code.upper(), seen_version(if_match)
        present = await there(agency)
        if seen != present.digest:
            return moved_on(agency, present.digest, seen)
        return await done(
            agency,
            seen,
            None,
            editor.take_out(agency, seen, edit_source=EditSource.API, by=principal.by),
            sees_all=True,
        )

    async def there(agency: str) -> DocumentVersion:
        version = await editor.last(agency)
        if version is None or version.text is None:
            raise NotFoundError(f"there is no agency {agency[:64]} in the store")
        return version

    async def done(
        agency: str, seen: str, text: str | None, doing: Awaitable[DraftResult], *, sees_all: bool
    ) -> Response:
        try:
            answer = await doing
        except VersionConflictError as moved:
            raise OperationRejectedError(str(moved)) from None
        if answer.theirs is not None:
            return moved_on(agency, answer.theirs.digest, seen)
        if answer.is_refused:
            return unusable(answer, called_in_store(agency), sees_all=sees_all)
        found = (*answer.problems, *(answer.others if sees_all else ()))
        written = DocumentWritten(
            agency=agency,
            digest="" if text is None else digest_of(text),
            taken=answer.written is None or answer.taken,
            problems=list(dict.fromkeys(map(str, found))),
        )
        headers = {} if text is None else {"ETag": f'"{written.digest}"'}
        return Response(written.model_dump_json(), media_type="application/json", headers=headers)

    def see_that_it_counts() -> None:
        if not editor.is_in_store:
            raise OperationRejectedError(
                "agencies are files here; `agencies: database` in the settings lets them be written over HTTP"
            )

    return router


async def _text(request: Request) -> str:
    if (body := await read_body(request, LARGEST)) is None:
        raise HTTPException(413, f"a document has at most {LARGEST} octets")
    try:
        # Parse it like a file, so that an exported document is unchanged when it is submitted again.
        return text_of(body)
    except UnicodeDecodeError:
        raise RequestValidationError([{"type": "text", "loc": ("body",), "msg": "is no UTF-8"}]) from None


def seen_version(if_match: str | None) -> str:
    """Return the digest of the version that the client has seen. Raise `HTTPException`."""
    if if_match is None:
        why = "say in If-Match which version you have seen, by its ETag; of a new agency If-None-Match: *"
        raise HTTPException(HTTPStatus.PRECONDITION_REQUIRED, why)
    if (found := _DIGEST.fullmatch(if_match.strip())) is None:
        raise wrong_header("If-Match", 'is no ETag of a document; it is its SHA-256 in quotes: "3f5a..."')
    return found[1]


def moved_on(agency: str, theirs: str, seen: str) -> Response:
    """Return the response for an edit conflict, with the digests of both versions."""
    present = f"it has the digest {theirs} now" if theirs else "there is none now"
    started = f"the version {seen}" if seen else "there was none"
    why = f"{agency} is not what you have seen: you started from {started}, and {present}; read it, and put yours to theirs"
    more = {"seen": seen or None, "present": theirs or None}
    return problem(HTTPStatus.PRECONDITION_FAILED, why, more=more, headers={"ETag": f'"{theirs}"'} if theirs else None)


def unusable(answer: DraftResult, called: str, *, sees_all: bool) -> Response:
    """Return the response for an invalid document, with all problems and locations.

    *sees_all*: include those of other agencies.
    """
    parts = [_part(each, called) for each in answer.errors]
    said = [*map(str, answer.errors)]
    if sees_all:
        parts += [WrongPart(detail=str(each)) for each in answer.others]
        said += map(str, answer.others)
    elif answer.others:
        said.append(f"{answer.elsewhere} errors are about what is not this agency's; an administrator sees them")
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(said), errors=parts)


def _part(found: Problem, called: str) -> WrongPart:
    detail = f"{found.message}; write instead: {found.instead}" if found.instead else found.message
    if found.file != called:
        return WrongPart(detail=str(found))
    pointer = "/".join(("#", *(step.replace("~", "~0").replace("/", "~1") for step in _STEP.findall(found.key))))
    return WrongPart(detail=detail, pointer=pointer, line=found.line or None)
