"""Commands for agencies' documents: store them from files, and remove them."""

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
    """File of a directory."""

    #: Its path from the client's point of view, with its directory.
    called: str = Field(max_length=4096)
    name: str = Field(pattern=FILE_NAME, max_length=255)
    text: str = Field(repr=False)


class ApplyRequest(CommandRequest):
    """Desired state of the documents; see `monitor.model.document.DocumentEdit`."""

    files: Sequence[FileView]
    started_from: Mapping[str, str] = {}
    expect_version: Mapping[str, int] = {}
    prune: bool = False
    #: Only report what would change.
    dry_run: bool = False
    #: Store the documents; they are used from the next reload on.
    no_reload: bool = False


class ChangedView(BaseModel):
    """A version and the text that replaces it."""

    before: DocumentVersion
    text: str


class ClashView(BaseModel):
    """Concurrent edit by another edit source."""

    theirs: DocumentVersion
    #: The text that would replace it; `None`: it would be removed.
    ours: str | None
    #: The common base version, if it is known.
    common: str | None


class AppliedView(BaseModel):
    """Result of an `ApplyRequest`."""

    refused: bool
    problems: Sequence[str]
    added: Sequence[str]
    changed: Sequence[ChangedView]
    removed: Sequence[str]
    newer: Sequence[DocumentVersion]
    missing: Sequence[str]
    clashes: Sequence[ClashView]
    seen: Mapping[str, str]
    #: Whether the service uses it; `None`: no reload was requested, or the service is not running.
    taken: bool | None = None


def documents(writer: DocumentWriter, reload: Callable[[str], Awaitable[Sequence[Problem]]]) -> APIRouter:
    """Build the control router of documents; *reload* applies them."""
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
    """Execute the part that needs no running service. Raise `OperationRejectedError` or `StoreUnavailable`."""
    sources = [AgencySource(called=each.called, name=each.name, text=each.text) for each in order.files]
    edit = DocumentEdit(started_from=order.started_from, over=order.expect_version, prune=order.prune)
    brought = SubmittedDocuments(edit=edit, sources=sources)
    try:
        answer = await writer.write(brought, edit_source=EditSource.FILES, by=order.by, dry=order.dry_run)
    except VersionConflictError as moved:
        raise OperationRejectedError(str(moved)) from None
    # For thousands of agencies the result may have tens of thousands of lines, and whole documents.
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
