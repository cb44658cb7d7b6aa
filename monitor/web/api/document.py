"""API of agencies' documents: read, replace, remove.

A document is the YAML configuration of an agency. A client that replaces or removes a document must state, by its ETag,
the version that it has read. Some fields of a document name files of this machine, or the servers that receive
passwords. Only an administrator (`Permission.CONFIGURE_SECRETS`) may change these restricted fields, and add or remove
documents. The portal's forms have the same restrictions.
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
from monitor.config.files.document import MAX_OCTETS, decode_text
from monitor.config.files.problem import Problem
from monitor.config.loading import stored_document_label
from monitor.model.document import DocumentVersion, EditSource, digest_of
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.portal.agency_editor import AgencyDraft, AgencyEditor, DraftResult
from monitor.store.admin.documents import VersionConflictError
from monitor.web.access.access_control import (
    AgencyOfficer,
    RequirePermission,
    agency_in_path,
    check_permission,
    require,
)
from monitor.web.api.route.command import BEARER, invalid_header
from monitor.web.api.route.query import matches_etag, reject_unknown_parameters
from monitor.web.form import read_body
from monitor.web.problem import WrongPart, problem, problems

_MEDIA_TYPE: Final = "application/yaml"
#: One step of the key in a problem, such as "contacts.siti.sms" or "escalation.steps[0].channels".
_PATH_STEP: Final = re.compile(r"[^.\[\]]+")
#: ETag of a document: the SHA-256 digest of its text in quotes.
_DIGEST: Final = re.compile(r'"([0-9a-f]{64})"')

_AgencyAdministrator = Annotated[Principal, Depends(RequirePermission(Permission.CONFIGURE_SECRETS, agency_in_path))]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="ETag of the version that you edited; no other version is overwritten."),
]
_NoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="`*` instead of `If-Match`: creates a new agency.")
]

#: Error statuses of all routes, for the OpenAPI schema.
_ERROR_STATUSES: Final = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
#: Further error statuses of routes that write.
WRITE_STATUSES: Final = (
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.PRECONDITION_REQUIRED,
)
_TEXT_BODY: Final = {"required": True, "content": {_MEDIA_TYPE: {"schema": {"type": "string"}}}}


class DocumentWritten(BaseModel):
    """Result of writing or removing a document."""

    agency: str
    #: SHA-256 of the text, as in the ETag; "" if the document was removed.
    digest: str
    #: Whether the running service uses the new document.
    taken: bool
    #: Warnings; if the running service does not use the document, also the reasons.
    problems: list[str]


def agency_documents(editor: AgencyEditor) -> APIRouter:
    """Build the router of the documents."""
    router = APIRouter(
        prefix="/api/v1/agencies/{code}/document",
        tags=["documents"],
        dependencies=[Depends(BEARER), Depends(reject_unknown_parameters)],
        responses=problems(*_ERROR_STATUSES),
    )

    @router.get(
        "",
        summary="Get an agency's document",
        dependencies=require(Permission.EDIT_AGENCY, agency_in_path),
        response_class=Response,
        responses={
            200: {"description": "YAML.", "content": {_MEDIA_TYPE: {"schema": {"type": "string"}}}},
            304: {"description": "Not modified: `If-None-Match` has the current ETag."},
        },
    )
    async def read(code: str, request: Request) -> Response:
        require_database()
        version = await find_document(code.upper())
        headers = {"ETag": f'"{version.digest}"'}
        if matches_etag(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(version.text, media_type=_MEDIA_TYPE, headers=headers)

    @router.put(
        "",
        summary="Replace an agency's document and apply it",
        response_model=DocumentWritten,
        openapi_extra={"requestBody": _TEXT_BODY},
        responses=problems(*WRITE_STATUSES),
    )
    async def write(
        code: str,
        request: Request,
        principal: AgencyOfficer,
        if_match: IfMatch = None,
        if_none_match: _NoneMatch = None,
    ) -> Response:
        require_database()
        agency, text = code.upper(), await _read_text(request)
        present = await editor.last_version(agency)
        present_digest = present.digest if present else ""
        seen_digest = "" if if_match is None and if_none_match == "*" else digest_from_if_match(if_match)
        if seen_digest != present_digest:
            return edit_conflict(agency, present_digest, seen_digest)
        if present is None or present.text is None:
            # The agency has no document yet, or was removed.
            check_permission(principal, Permission.CONFIGURE_SECRETS, agency)
        draft = AgencyDraft(agency=agency, text=text, started_from=seen_digest)
        is_administrator = principal.may(Permission.CONFIGURE_SECRETS, agency)
        operation = editor.save(
            draft, by=principal.by, may_edit_restricted=is_administrator, edit_source=EditSource.API
        )
        return await run_and_respond(agency, seen_digest, text, operation, sees_errors_elsewhere=is_administrator)

    @router.delete(
        "",
        summary="Remove an agency; its monitoring ends",
        response_model=DocumentWritten,
        responses=problems(*WRITE_STATUSES),
    )
    async def remove(code: str, principal: _AgencyAdministrator, if_match: IfMatch = None) -> Response:
        require_database()
        agency, seen_digest = code.upper(), digest_from_if_match(if_match)
        present = await find_document(agency)
        if seen_digest != present.digest:
            return edit_conflict(agency, present.digest, seen_digest)
        return await run_and_respond(
            agency,
            seen_digest,
            None,
            editor.remove_agency(agency, seen_digest, edit_source=EditSource.API, by=principal.by),
            sees_errors_elsewhere=True,
        )

    async def find_document(agency: str) -> DocumentVersion:
        version = await editor.last_version(agency)
        if version is None or version.text is None:
            raise NotFoundError(f"there is no agency {agency[:64]} in the database")
        return version

    async def run_and_respond(
        agency: str,
        seen_digest: str,
        text: str | None,
        operation: Awaitable[DraftResult],
        *,
        sees_errors_elsewhere: bool,
    ) -> Response:
        """Respond with the result of *operation*, which writes *text*; `None`: it removes the document."""
        try:
            result = await operation
        except VersionConflictError as error:
            raise OperationRejectedError(str(error)) from None
        if result.conflicting_version is not None:
            return edit_conflict(agency, result.conflicting_version.digest, seen_digest)
        if result.is_refused:
            return invalid_document(result, stored_document_label(agency), sees_errors_elsewhere=sees_errors_elsewhere)
        shown_problems = (*result.problems, *(result.errors_elsewhere if sees_errors_elsewhere else ()))
        written = DocumentWritten(
            agency=agency,
            digest="" if text is None else digest_of(text),
            # Nothing is written if the text is that of the latest version.
            taken=result.written is None or result.is_in_effect,
            problems=list(dict.fromkeys(map(str, shown_problems))),
        )
        headers = {} if text is None else {"ETag": f'"{written.digest}"'}
        return Response(written.model_dump_json(), media_type="application/json", headers=headers)

    def require_database() -> None:
        if not editor.uses_database:
            raise OperationRejectedError(
                "agencies are files here; `agencies: database` in the settings lets them be written over HTTP"
            )

    return router


async def _read_text(request: Request) -> str:
    if (body := await read_body(request, MAX_OCTETS)) is None:
        raise HTTPException(413, f"a document has at most {MAX_OCTETS} octets")
    try:
        # Decode the body like a file, so that a document does not change if a client exports it and submits it again.
        return decode_text(body)
    except UnicodeDecodeError:
        raise RequestValidationError([{"type": "text", "loc": ("body",), "msg": "is not UTF-8"}]) from None


def digest_from_if_match(if_match: str | None) -> str:
    """Return the digest of the version that the client has read, from `If-Match`.

    Raise `HTTPException` for a missing header, and `RequestValidationError` for an invalid one.
    """
    if if_match is None:
        reason = "send If-Match with the ETag of the version that you have read, or for a new agency If-None-Match: *"
        raise HTTPException(HTTPStatus.PRECONDITION_REQUIRED, reason)
    if (match := _DIGEST.fullmatch(if_match.strip())) is None:
        raise invalid_header("If-Match", 'is not the ETag of a document, which is its SHA-256 in quotes: "3f5a..."')
    return match[1]


def edit_conflict(agency: str, present_digest: str, seen_digest: str) -> Response:
    """Return the error for a document that has changed since the client read it. A digest is "" for no document."""
    seen = f"you read version {seen_digest}" if seen_digest else "you expected no document"
    present = f"version {present_digest} is stored now" if present_digest else "no document is stored now"
    reason = f"{agency} has changed: {seen}, and {present}; read it again, and apply your change to it"
    extensions = {"seen": seen_digest or None, "present": present_digest or None}
    return problem(
        HTTPStatus.PRECONDITION_FAILED,
        reason,
        extensions=extensions,
        headers={"ETag": f'"{present_digest}"'} if present_digest else None,
    )


def invalid_document(result: DraftResult, document_label: str, *, sees_errors_elsewhere: bool) -> Response:
    """Return the error for an invalid document, with the location of each problem.

    *document_label*: name by which the problems refer to the document. *sees_errors_elsewhere*: whether to include the
    errors in other documents and the settings.
    """
    parts = [_invalid_part(each, document_label) for each in result.errors]
    texts = [*map(str, result.errors)]
    if sees_errors_elsewhere:
        parts += [WrongPart(detail=str(each)) for each in result.errors_elsewhere]
        texts += map(str, result.errors_elsewhere)
    elif result.errors_elsewhere:
        texts.append(f"{result.error_count_elsewhere} errors are outside this agency; an administrator can see them")
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(texts), errors=parts)


def _invalid_part(error: Problem, document_label: str) -> WrongPart:
    detail = f"{error.message}; write instead: {error.instead}" if error.instead else error.message
    if error.file != document_label:
        return WrongPart(detail=str(error))
    pointer = "/".join(("#", *(step.replace("~", "~0").replace("/", "~1") for step in _PATH_STEP.findall(error.key))))
    return WrongPart(detail=detail, pointer=pointer, line=error.line or None)
