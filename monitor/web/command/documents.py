"""Agencies' documents for the command line: written from files into the store, and taken out of it again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from fastapi import APIRouter
from pydantic import BaseModel, Field

from monitor.config.files.problem import Problem, Severity
from monitor.config.loading import AgencySource
from monitor.model.document import FILE_NAME, DocumentEdit, DocumentVersion, EditSource
from monitor.service.errors import OperationRejectedError
from monitor.service.portal.documents import DocumentsResult, DocumentWriter, SubmittedDocuments
from monitor.store.admin.documents import VersionConflictError
from monitor.web.request import CommandRequest


class FileView(BaseModel):
    """A file of a directory."""

    #: As whoever reads the answer knows it: with its directory.
    called: str = Field(max_length=4096)
    name: str = Field(pattern=FILE_NAME, max_length=255)
    text: str = Field(repr=False)


class ApplyRequest(CommandRequest):
    """What the documents are to be; see `monitor.model.document.DocumentEdit`."""

    files: Sequence[FileView]
    started_from: Mapping[str, str] = {}
    expect_version: Mapping[str, int] = {}
    prune: bool = False
    #: Only look what would be done.
    dry_run: bool = False
    #: Write, and take it up with the next reload.
    no_reload: bool = False


class ChangedView(BaseModel):
    """A version and the text that replaces it."""

    before: DocumentVersion
    text: str


class ClashView(BaseModel):
    """What another pen has written meanwhile."""

    theirs: DocumentVersion
    #: What would be written over it; `None`: it would be taken out.
    ours: str | None
    #: What both have started from, where that is known.
    common: str | None


class AppliedView(BaseModel):
    """What became of an `ApplyRequest`."""

    refused: bool
    problems: Sequence[str]
    added: Sequence[str]
    changed: Sequence[ChangedView]
    removed: Sequence[str]
    newer: Sequence[DocumentVersion]
    missing: Sequence[str]
    clashes: Sequence[ClashView]
    seen: Mapping[str, str]
    #: Whether the service has taken it up; `None`: it was not asked to, or is not running.
    taken: bool | None = None


def documents(writer: DocumentWriter, reload: Callable[[str], Awaitable[Sequence[Problem]]]) -> APIRouter:
    """Build the part of the control application that keeps documents; *reload* takes them up."""
    router = APIRouter()

    @router.get("/documents")
    async def export() -> list[DocumentVersion]:
        return list((await writer.latest()).values())

    @router.post("/documents")
    async def apply(order: ApplyRequest) -> AppliedView:
        answer = await write(writer, order)
        if answer.refused or order.dry_run or order.no_reload or not (answer.added or answer.changed or answer.removed):
            return answer
        problems = await reload(order.by)
        taken = all(problem.severity is not Severity.ERROR for problem in problems)
        said = await asyncio.to_thread(_lines, problems)
        return answer.model_copy(update={"taken": taken, "problems": list(dict.fromkeys([*answer.problems, *said]))})

    return router


async def write(writer: DocumentWriter, order: ApplyRequest) -> AppliedView:
    """Carry out what does not need a running service. Raise `OperationRejectedError` or `StoreUnavailable`."""
    sources = [AgencySource(called=each.called, name=each.name, text=each.text) for each in order.files]
    edit = DocumentEdit(started_from=order.started_from, over=order.expect_version, prune=order.prune)
    brought = SubmittedDocuments(edit=edit, sources=sources)
    try:
        answer = await writer.write(brought, pen=EditSource.FILES, by=order.by, dry=order.dry_run)
    except VersionConflictError as moved:
        raise OperationRejectedError(str(moved)) from None
    # Of thousands of agencies there may be tens of thousands of lines to say, and whole documents.
    return await asyncio.to_thread(_view, answer)


def _lines(problems: Sequence[Problem]) -> Sequence[str]:
    return [str(problem) for problem in problems]


def _view(answer: DocumentsResult) -> AppliedView:
    difference, common = answer.difference, answer.common or {}
    return AppliedView(
        refused=answer.is_refused,
        problems=_lines(answer.problems),
        added=[each.agency for each in difference.added],
        changed=[ChangedView(before=was, text=ours.text) for was, ours in difference.changed],
        removed=[each.agency for each in difference.removed],
        newer=difference.newer,
        missing=[each.agency for each in difference.missing],
        clashes=[
            ClashView(
                theirs=clash.theirs,
                ours=None if clash.ours is None else clash.ours.text,
                common=common.get(clash.theirs.agency),
            )
            for clash in difference.clashes
        ],
        seen=answer.seen or {},
    )
