"""Agencies' documents over HTTP: read one, write it over the version that one has seen, take it out.

A document names files of this machine and where it connects to. So only who may let the configuration be read again writes one
here, which is the administrators' alone; an agency's officer reads theirs.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from monitor.access.role import Permission
from monitor.access.visitor import Visitor
from monitor.config.files.problem import Problem, Severity
from monitor.config.loading import AgencySource, stored_source
from monitor.model.document import Pen, digest_of
from monitor.service.order import NotDone, Unknown
from monitor.service.portal.documents import DocumentsBrought, DocumentWriter
from monitor.store.upkeep.documents import DocumentsMovedOnError
from monitor.web.access.gate import Needs, about_ourselves, agency_in_path, needs
from monitor.web.api.answer import knows
from monitor.web.api.bounded import BEARER
from monitor.web.api.parameter import only_known
from monitor.web.api.said import wrong_header
from monitor.web.problem import WrongPart, problem, problems

#: In octets. The largest that there are have some thirty thousand.
LARGEST_DOCUMENT: Final = 512 * 1024
_KIND: Final = "application/yaml"
#: "contacts.siti.sms", "escalation.steps[0].channels".
_STEP: Final = re.compile(r"[^.\[\]]+")
_DIGEST: Final = re.compile(r'"([0-9a-f]{64})"')

_Administrator = Annotated[Visitor, Depends(Needs(Permission.RELOAD, about_ourselves))]
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
        visitor: _Administrator,
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
        name = present.name if present else f"{agency.lower()}.yaml"
        source = AgencySource(called=_called(agency), name=name, text=text)
        return await finished(agency, visitor, seen, source)

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
        return await finished(agency, visitor, seen, None)

    def see_that_it_counts() -> None:
        if not in_store():
            raise NotDone(
                "agencies are files here; `agencies: in the store` in the settings lets them be written over HTTP"
            )

    async def finished(agency: str, visitor: Visitor, seen: str, source: AgencySource | None) -> Response:
        """Write what is new of one agency, beside all others as they are."""
        present = await writer.latest()
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
            answer = await writer.write(brought, pen=Pen.API, by=visitor.by)
        except DocumentsMovedOnError as moved:
            raise NotDone(str(moved)) from None
        for clash in answer.difference.clashes:
            if clash.theirs.agency == agency:
                return _moved_on(agency, clash.theirs.digest, seen)
            raise NotDone(f"{clash.theirs.by} has written {clash.theirs.agency} meanwhile; repeat it")
        if answer.is_refused:
            return _unusable(agency, answer.problems)
        told = [*answer.problems, *(await reload(visitor.by) if answer.difference else ())]
        written = DocumentWritten(
            agency=agency,
            digest=digest_of(source.text) if source else "",
            taken=all(each.severity is not Severity.ERROR for each in told),
            problems=list(dict.fromkeys(map(str, told))),
        )
        headers = {"ETag": f'"{written.digest}"'} if source else {}
        return Response(written.model_dump_json(), media_type="application/json", headers=headers)

    return router


async def _text(request: Request) -> str:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_DOCUMENT:
            raise HTTPException(413, f"a document has at most {LARGEST_DOCUMENT} octets")
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


def _unusable(agency: str, found: Sequence[Problem]) -> Response:
    """Say what is wrong with a document, each where it stands."""
    wrong = [each for each in found if each.severity is Severity.ERROR]
    parts = [_part(each, is_theirs=each.file == _called(agency)) for each in wrong]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(map(str, wrong)), errors=parts)


def _part(found: Problem, *, is_theirs: bool) -> WrongPart:
    detail = f"{found.message}; write instead: {found.instead}" if found.instead else found.message
    if not is_theirs:
        return WrongPart(detail=str(found))
    pointer = "/".join(("#", *(step.replace("~", "~0").replace("/", "~1") for step in _STEP.findall(found.key))))
    return WrongPart(detail=detail, pointer=pointer, line=found.line or None)


def _called(agency: str) -> str:
    """Return what problems call the document that was sent."""
    return f"the document of {agency}"
