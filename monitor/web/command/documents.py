"""Commands that store agencies' documents from files, and remove them.

A document is the YAML configuration of an agency, which the database stores with all its versions.
"""

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
    """File that contains a document."""

    #: Path of the file on the client, for messages.
    called: str = Field(max_length=4096)
    #: Name of the file without directories.
    name: str = Field(pattern=FILE_NAME, max_length=255)
    text: str = Field(repr=False)


class ApplyRequest(CommandRequest):
    """Desired state of the documents."""

    files: Sequence[FileView]
    #: By agency code: digest of the stored text on which the edit is based. It is a conflict if another text is stored.
    started_from: Mapping[str, str] = {}
    #: By agency code: number of the conflicting version that the edit may replace.
    expect_version: Mapping[str, int] = {}
    #: Remove the agencies that have no file.
    prune: bool = False
    #: Only report what would change.
    dry_run: bool = False
    #: Do not reload the configuration: the service uses the documents from the next reload on.
    no_reload: bool = False


class ChangedView(BaseModel):
    """A stored version, and the text that replaces it."""

    before: DocumentVersion
    text: str


class ClashView(BaseModel):
    """Edit conflict: another edit source, such as the portal, has changed a document since the client exported it."""

    #: The stored version, which the other source has written.
    theirs: DocumentVersion
    #: The submitted text; `None`: the document would be removed.
    ours: str | None
    #: Text of the version on which both edits are based, if it is known.
    common: str | None


class AppliedView(BaseModel):
    """Result of an `ApplyRequest`. With `dry_run`, it states what would change."""

    #: Whether nothing was stored, because of an error or a conflict.
    refused: bool
    #: Errors and warnings.
    problems: Sequence[str]
    #: Codes of the added agencies.
    added: Sequence[str]
    changed: Sequence[ChangedView]
    #: Codes of the removed agencies.
    removed: Sequence[str]
    #: Stored versions that are newer than the file, which was not changed; the edit keeps them.
    newer: Sequence[DocumentVersion]
    #: Agencies without a file, which `prune` would remove.
    missing: Sequence[str]
    clashes: Sequence[ClashView]
    #: By agency code: digest of the stored text after the edit, for `started_from` of the next request.
    seen: Mapping[str, str]
    #: Whether the service uses the documents; `None`: no reload was requested, or the service is not running.
    taken: bool | None = None


def document_commands(writer: DocumentWriter, reload: Callable[[str], Awaitable[Sequence[Problem]]]) -> APIRouter:
    """Build the router of documents on the control socket, which the command line uses.

    *reload* reloads the configuration; its argument is the author.
    """
    router = APIRouter()

    @router.get("/documents")
    async def export() -> list[DocumentVersion]:
        return list((await writer.latest()).values())

    @router.post("/documents")
    async def apply(request: ApplyRequest) -> AppliedView:
        result = await apply_documents(writer, request)
        has_changes = result.added or result.changed or result.removed
        if result.refused or request.dry_run or request.no_reload or not has_changes:
            return result
        problems = await reload(request.by)
        is_active = all(problem.severity is not Severity.ERROR for problem in problems)
        texts = await asyncio.to_thread(_problem_texts, problems)
        return result.model_copy(
            update={"taken": is_active, "problems": list(dict.fromkeys([*result.problems, *texts]))}
        )

    return router


async def apply_documents(writer: DocumentWriter, request: ApplyRequest) -> AppliedView:
    """Store the documents. The command line also calls this function while the service is not running.

    Raise `OperationRejectedError` or `StoreUnavailable`.
    """
    sources = [AgencySource(label=each.called, name=each.name, text=each.text) for each in request.files]
    edit = DocumentEdit(started_from=request.started_from, overwrites=request.expect_version, prune=request.prune)
    submission = SubmittedDocuments(edit=edit, sources=sources)
    try:
        result = await writer.write(submission, edit_source=EditSource.FILES, by=request.by, dry=request.dry_run)
    except VersionConflictError as error:
        raise OperationRejectedError(str(error)) from None
    # For thousands of agencies the result has tens of thousands of lines, so use a thread.
    return await asyncio.to_thread(_applied_view, result)


def _problem_texts(problems: Sequence[Problem]) -> Sequence[str]:
    return [str(problem) for problem in problems]


def _applied_view(result: DocumentsResult) -> AppliedView:
    difference, common = result.difference, result.common_ancestors or {}
    return AppliedView(
        refused=result.is_refused,
        problems=_problem_texts(result.problems),
        added=[each.agency for each in difference.added],
        changed=[ChangedView(before=before, text=after.text) for before, after in difference.changed],
        removed=[each.agency for each in difference.removed],
        newer=difference.newer,
        missing=[each.agency for each in difference.missing],
        clashes=[
            ClashView(
                theirs=clash.stored,
                ours=None if clash.submitted is None else clash.submitted.text,
                common=common.get(clash.stored.agency),
            )
            for clash in difference.conflicts
        ],
        seen=result.seen_digests or {},
    )
