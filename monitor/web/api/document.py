"""Agencies' documents over HTTP: read one, write it over the version that one has seen, take it out.

A document names files of this machine and whom it gives passwords to. Where these are only an administrator changes, as in the
portal's forms; and only an administrator writes an agency that is not there, or takes one out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from monitor.access.role import Permission
from monitor.access.visitor import Visitor
from monitor.config.files.document import LARGEST, document_of
from monitor.config.files.problem import Problem, Severity
from monitor.config.loading import AgencySource, stored_source
from monitor.config.sense.custody import check_custody
from monitor.model.document import Pen, WrittenDocument, digest_of
from monitor.service.order import NotDone, Unknown
from monitor.service.portal.documents import DocumentsBrought, DocumentWriter
from monitor.store.upkeep.documents import DocumentsMovedOnError
from monitor.web.access.gate import Needs, agency_in_path, needs, permit
from monitor.web.api.answer import knows
from monitor.web.api.bounded import BEARER
from monitor.web.api.parameter import only_known
from monitor.web.api.said import wrong_header
from monitor.web.problem import WrongPart, problem, problems

_KIND: Final = "application/yaml"
#: "contacts.siti.sms", "escalation.steps[0].channels".
_STEP: Final = re.compile(r"[^.\[\]]+")
_DIGEST: Final = re.compile(r'"([0-9a-f]{64})"')

_Editor = Annotated[Visitor, Depends(Needs(Permission.EDIT_AGENCY, agency_in_path))]
_Administrator = Annotated[Visitor, Depends(Needs(Permission.PLACE_SECRETS, agency_in_path))]
_Match = Annotated[
    str | None,
    Header(alias="If-Match", description="The ETag of the version that you have seen; nothing else is written over."),
]
_NoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="`*`, instead of `If-Match`: the agency is a new one.")
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
_OF_WRITING: Final = (
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.PRECONDITION_REQUIRED,
)
_TEXT: Final = {"required": True, "content": {_KIND: {"schema": {"type": "string"}}}}


class DocumentWritten(BaseModel):
    """A document that was written or taken out, and whether the service goes by it now."""

    agency: str
    #: SHA-256 of the text, as in the ETag; "" of one that was taken out.
    digest: str
    taken: bool
    #: Warnings about it, and why it was not taken up.
    problems: list[str]


def agency_documents(
    writer: DocumentWriter, reload: Callable[[str], Awaitable[Sequence[Problem]]], in_store: Callable[[], bool]
) -> APIRouter:
    """Build the routes. *reload* takes up what was written; *in_store*: whether the documents in the store are what counts."""
    pen = _ApiPen(writer, reload)
    router = APIRouter(
        prefix="/api/v1/agencies/{code}/document",
        tags=["documents"],
        dependencies=[Depends(BEARER), Depends(only_known)],
        responses=problems(*_REFUSALS),
    )

    @router.get(
        "",
        summary="An agency's document as it was written last",
        dependencies=needs(Permission.EDIT_AGENCY, agency_in_path),
        response_class=Response,
        responses={
            200: {"description": "YAML.", "content": {_KIND: {"schema": {"type": "string"}}}},
            304: {"description": "It is as `If-None-Match` has it."},
        },
    )
    async def read(code: str, request: Request) -> Response:
        see_that_it_counts()
        version = (await writer.latest()).get(code.upper())
        if version is None or version.text is None:
            raise Unknown(f"there is no agency {code[:64].upper()} in the store")
        headers = {"ETag": f'"{version.digest}"'}
        if knows(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(version.text, media_type=_KIND, headers=headers)

    @router.put(
        "",
        summary="Write an agency's document, and let the service go by it",
        response_model=DocumentWritten,
        openapi_extra={"requestBody": _TEXT},
        responses=problems(*_OF_WRITING),
    )
    async def write(
        code: str,
        request: Request,
        visitor: _Editor,
        if_match: _Match = None,
        if_none_match: _NoneMatch = None,
    ) -> Response:
        see_that_it_counts()
        agency, text = code.upper(), await _text(request)
        present = (await writer.latest()).get(agency)
        theirs = present.digest if present else ""
        seen = "" if if_match is None and if_none_match == "*" else _seen(if_match)
        if seen != theirs:
            return _moved_on(agency, theirs, seen)
        before = present.text if present else None
        if before is None:
            permit(visitor, Permission.PLACE_SECRETS, agency)
        name = present.name if present else f"{agency.lower()}.yaml"
        source = stored_source(WrittenDocument(agency=agency, name=name, text=text))
        if before is not None and not visitor.may(Permission.PLACE_SECRETS, agency):
            # Half a MiB of brackets is read for a while, and the probes do not wait.
            moved = await asyncio.to_thread(_moved, before, source)
            if moved:
                return _unusable(source.called, moved, sees_all=False)
        return await pen.write(agency, visitor, seen, source)

    @router.delete(
        "",
        summary="Take an agency out: it is watched no more",
        response_model=DocumentWritten,
        responses=problems(*_OF_WRITING),
    )
    async def take_out(code: str, visitor: _Administrator, if_match: _Match = None) -> Response:
        see_that_it_counts()
        agency, seen = code.upper(), _seen(if_match)
        present = (await writer.latest()).get(agency)
        if present is None or present.text is None:
            raise Unknown(f"there is no agency {agency[:64]} in the store")
        if seen != present.digest:
            return _moved_on(agency, present.digest, seen)
        return await pen.write(agency, visitor, seen, None)

    def see_that_it_counts() -> None:
        if not in_store():
            raise NotDone(
                "agencies are files here; `agencies: in the store` in the settings lets them be written over HTTP"
            )

    return router


class _ApiPen:
    """Writes an agency's document, and lets the service go by it."""

    def __init__(self, writer: DocumentWriter, reload: Callable[[str], Awaitable[Sequence[Problem]]]) -> None:
        self._writer = writer
        self._reload = reload

    async def write(self, agency: str, visitor: Visitor, seen: str, source: AgencySource | None) -> Response:
        """Write what is new of one agency, beside all others as they are."""
        present = await self._writer.latest()
        others = [each for code, each in present.items() if code != agency]
        beside = [stored_source(each.document) for each in others if each.document is not None]
        brought = DocumentsBrought(
            started_from={**{each.agency: each.digest for each in others}, agency: seen},
            over={},
            prune=source is None,
            sources=[*beside, *([source] if source else [])],
            only=agency,
        )
        try:
            answer = await self._writer.write(brought, pen=Pen.API, by=visitor.by)
        except DocumentsMovedOnError as moved:
            raise NotDone(str(moved)) from None
        for clash in answer.difference.clashes:
            if clash.theirs.agency == agency:
                return _moved_on(agency, clash.theirs.digest, seen)
            raise NotDone(f"{clash.theirs.by} has written {clash.theirs.agency} meanwhile; repeat it")
        called, sees_all = source.called if source else "", visitor.may(Permission.PLACE_SECRETS, agency)
        if answer.is_refused:
            return _unusable(called, answer.problems, sees_all=sees_all)
        told = [*answer.problems, *(await self._reload(visitor.by) if answer.difference else ())]
        written = DocumentWritten(
            agency=agency,
            digest=digest_of(source.text) if source else "",
            taken=all(each.severity is not Severity.ERROR for each in told),
            problems=list(dict.fromkeys(str(each) for each in told if sees_all or _is_about(called, each))),
        )
        headers = {"ETag": f'"{written.digest}"'} if source else {}
        return Response(written.model_dump_json(), media_type="application/json", headers=headers)


async def _text(request: Request) -> str:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise HTTPException(413, f"a document has at most {LARGEST} octets")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise RequestValidationError([{"type": "text", "loc": ("body",), "msg": "is no UTF-8"}]) from None


def _seen(if_match: str | None) -> str:
    """Return the digest of the version that whoever writes has seen. Raise `HTTPException`."""
    if if_match is None:
        why = "say in If-Match which version you have seen, by its ETag; of a new agency If-None-Match: *"
        raise HTTPException(HTTPStatus.PRECONDITION_REQUIRED, why)
    if (found := _DIGEST.fullmatch(if_match.strip())) is None:
        raise wrong_header("If-Match", 'is no ETag of a document; it is its SHA-256 in quotes: "3f5a..."')
    return found[1]


def _moved_on(agency: str, theirs: str, seen: str) -> Response:
    """Say that the document is not what whoever writes has seen, with both versions' digests."""
    present = f"it has the digest {theirs} now" if theirs else "there is none now"
    started = f"the version {seen}" if seen else "there was none"
    why = f"{agency} is not what you have seen: you started from {started}, and {present}; read it, and put yours to theirs"
    more = {"seen": seen or None, "present": theirs or None}
    return problem(HTTPStatus.PRECONDITION_FAILED, why, more=more, headers={"ETag": f'"{theirs}"'} if theirs else None)


def _moved(before: str, source: AgencySource) -> Sequence[Problem]:
    """Return what a document says otherwise than *before* of what only an administrator changes."""
    return check_custody(document_of(before, source.called).data, source.read())


def _is_about(called: str, found: Problem) -> bool:
    """Whether something is wrong with the document that was sent, or with another because of it."""
    return found.file == called or called in found.message


def _unusable(called: str, found: Sequence[Problem], *, sees_all: bool) -> Response:
    """Say what is wrong with a document, each where it stands. *sees_all*: also what is wrong with what is not theirs."""
    wrong = [each for each in found if each.severity is Severity.ERROR]
    shown = [each for each in wrong if sees_all or _is_about(called, each)]
    said = [*map(str, shown)]
    if len(shown) < len(wrong):
        said.append(f"{len(wrong) - len(shown)} errors are about what is not this agency's; an administrator sees them")
    parts = [_part(each, is_theirs=each.file == called) for each in shown]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(said), errors=parts)


def _part(found: Problem, *, is_theirs: bool) -> WrongPart:
    detail = f"{found.message}; write instead: {found.instead}" if found.instead else found.message
    if not is_theirs:
        return WrongPart(detail=str(found))
    pointer = "/".join(("#", *(step.replace("~", "~0").replace("/", "~1") for step in _STEP.findall(found.key))))
    return WrongPart(detail=detail, pointer=pointer, line=found.line or None)
