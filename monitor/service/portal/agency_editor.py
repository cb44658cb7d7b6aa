"""Editor of one agency's document, for the portal's forms and for programs, that has the running service apply the edits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from monitor.config.agency.mailbox import hearers_as_written
from monitor.config.files.document import LARGEST, document_of
from monitor.config.files.problem import Problem, Severity, listed
from monitor.config.files.secret import StoredSecret
from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import AgencySource, Configuration, called_in_store, stored_source
from monitor.config.validation.restricted_fields import (
    check_bounds,
    check_custody,
    check_domains,
    check_foreign_numbers,
    check_list_lengths,
)
from monitor.model.document import DocumentEdit, DocumentVersion, EditSource, WrittenDocument, secrets_named
from monitor.model.lazy_text import said
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.portal.documents import DocumentsResult, DocumentWriter, SubmittedDocuments
from monitor.store.admin.documents import Documents
from probes.model.egress import EgressPolicy

#: Largest draft of an officer, in octets: a document has a few KiB, and ten times this limit occupies a processor for
#: half a minute.
LARGEST_DRAFT: Final = 128 * 1024
#: Number of versions of an agency that are listed at once.
LISTED: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyDraft:
    """Draft of an agency's document."""

    agency: str
    text: str
    #: The digest of the version that the draft started from; "": there was none.
    started_from: str
    #: The credentials typed with the draft, by the names that the text uses for them (`typed_mailbox`).
    typed: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftResult:
    """Result of a draft."""

    #: Problems of the draft. Nothing is written if one of them is an error.
    problems: tuple[Problem, ...] = ()
    #: Errors outside this agency, for others to see.
    others: tuple[Problem, ...] = ()
    #: The version written meanwhile by another edit source, and not reviewed yet: nothing is written.
    theirs: DocumentVersion | None = None
    #: The common ancestor of both, where it is known.
    common: str | None = None
    #: The version that was written; `None`: none was, or nothing changed.
    written: DocumentVersion | None = None
    #: Whether the service has applied it.
    taken: bool = False
    #: The configuration that a previewed draft would produce; `None`: it is unusable.
    would_be: Configuration | None = None

    @property
    def elsewhere(self) -> int:
        """Number of errors outside this agency."""
        return len(self.others)

    @property
    def is_refused(self) -> bool:
        """Whether the draft was to be written, and was not."""
        return self.theirs is not None or (self.written is None and bool(self.errors or self.others))

    @property
    def errors(self) -> Sequence[Problem]:
        """Errors that prevent writing or applying the draft."""
        return [each for each in self.problems if each.severity is Severity.ERROR]


class AgencyEditor:
    """Editor of documents in the database.

    Raises `StoreUnavailable`, and `NotFoundError` for an agency that is not monitored.
    """

    def __init__(
        self,
        writer: DocumentWriter,
        documents: Documents,
        configuration: Callable[[], Configuration],
        reload: Callable[[str], Awaitable[Sequence[Problem]]],
    ) -> None:
        """Read the current configuration with *configuration*; *reload* reads it again, in the name of a principal."""
        self._writer = writer
        self._documents = documents
        self.configuration = configuration
        self._reload = reload
        #: One lock per agency while it is in use: a sender of many drafts delays only their own.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def is_in_store(self) -> bool:
        """Whether the documents in the database are in force."""
        return self.configuration().settings.agencies == IN_DATABASE

    def file_of(self, version: DocumentVersion) -> str | None:
        """Return the file that an operator edits, where files are in force; `None`: the database's documents are."""
        place = self.configuration().settings.agencies
        return None if place == IN_DATABASE else str(place / version.name)

    async def latest(self, agency: str) -> DocumentVersion:
        """Return the latest version of a document, by which the agency is monitored."""
        found = await self.last(agency)
        if found is None or found.text is None:
            raise _unknown(agency)
        return found

    async def last(self, agency: str) -> DocumentVersion | None:
        """Return the latest version, if there is any; the agency may no longer be monitored by it."""
        return next(iter(await self._documents.versions(agency)), None)

    async def _last(self, agency: str) -> DocumentVersion:
        if (found := await self.last(agency)) is None:
            raise _unknown(agency)
        return found

    async def versions(self, agency: str, *, below: int | None = None) -> Sequence[DocumentVersion]:
        """Return versions, the latest first; *below* a number, if one is given."""
        return await self._documents.versions(agency, below=below, at_most=LISTED)

    async def numbered(self, agency: str, number: int) -> DocumentVersion | None:
        """Return the version with this number, if there is one."""
        found = next(iter(await self._documents.versions(agency, below=number + 1)), None)
        return found if found is not None and found.number == number else None

    async def started_from(self, agency: str, digest: str) -> str:
        """Return the text that a draft started from.

        Raise `OperationRejectedError` if there never was one of that digest.
        """
        latest = await self._last(agency)
        text = latest.text if latest.digest == digest else await self._documents.text(agency, digest)
        if text is None:
            raise OperationRejectedError.said("form_unknown")
        return text

    async def save(
        self,
        draft: AgencyDraft,
        *,
        by: str,
        may_place: bool,
        edit_source: EditSource = EditSource.PORTAL,
        address: str = "",
    ) -> DraftResult:
        """Write a draft and apply it, if it has no errors and no one has written meanwhile.

        *address*: the client address, for the audit log.

        *may_place*: whether the author may set where secrets are, which servers receive them, which domains are the
        agency's and which foreign numbers are called; and so create an agency. Raise `OperationRejectedError` where
        files are in force or the typed credentials cannot be stored, `VersionConflictError` when others write
        repeatedly meanwhile.
        """
        async with self._turns.setdefault(draft.agency, asyncio.Lock()):
            brought = await self._brought(draft, by=by, may_place=may_place, edit_source=edit_source, address=address)
        return brought if isinstance(brought, DraftResult) else await self._taken_up(draft.agency, brought, by)

    async def take_out(
        self, agency: str, started_from: str, *, edit_source: EditSource, by: str, address: str = ""
    ) -> DraftResult:
        """Stop monitoring an agency; write as `save` does."""
        edit = DocumentEdit(started_from={agency: started_from}, gone=frozenset({agency}))
        gone = SubmittedDocuments(edit=edit, sources=[])
        written = await self._written(agency, gone, edit_source=edit_source, by=by, address=address)
        return written if isinstance(written, DraftResult) else await self._taken_up(agency, written, by)

    async def look(self, draft: AgencyDraft, *, by: str, may_place: bool) -> DraftResult:
        """Return the result that a draft would have, and write nothing. Raise as `save` does."""
        async with self._turns.setdefault(draft.agency, asyncio.Lock()):
            brought = await self._brought(draft, by=by, may_place=may_place, dry=True)
        if isinstance(brought, DraftResult):
            return brought
        problems, others = _about(draft.agency, brought.problems)
        return DraftResult(problems=problems, others=others, would_be=brought.would_be)

    async def _brought(
        self,
        draft: AgencyDraft,
        *,
        by: str,
        may_place: bool,
        edit_source: EditSource = EditSource.PORTAL,
        address: str = "",
        dry: bool = False,
    ) -> DocumentsResult | DraftResult:
        """Pass a draft to the writer; return the result where the writer was not reached, or others wrote meanwhile."""
        latest = await self.last(draft.agency)
        if latest is None and not may_place:
            raise _unknown(draft.agency)
        if latest is not None and (file := self.file_of(latest)) is not None:
            raise OperationRejectedError.said("agencies_are_files", file=file)
        if latest is not None and latest.text is None and draft.started_from:
            return DraftResult(theirs=latest, common=await self._documents.text(draft.agency, draft.started_from))
        name = latest.name if latest else f"{draft.agency.lower()}.yaml"
        source = stored_source(WrittenDocument(agency=draft.agency, name=name, text=draft.text))
        before = (latest and latest.text) or ""
        # Parsing half a MiB of brackets takes a while, and must not delay the probes.
        bounds = self.configuration().settings.bounds
        if refused := await asyncio.to_thread(partial(_refused, source, before, draft, bounds, may_place=may_place)):
            return DraftResult(problems=listed(refused))
        brought = SubmittedDocuments(
            edit=DocumentEdit(started_from={draft.agency: draft.started_from}),
            sources=[source],
            typed=await asyncio.to_thread(_typed, draft),
        )
        return await self._written(draft.agency, brought, edit_source=edit_source, by=by, address=address, dry=dry)

    async def _written(
        self,
        agency: str,
        brought: SubmittedDocuments,
        *,
        edit_source: EditSource,
        by: str,
        address: str = "",
        dry: bool = False,
    ) -> DocumentsResult | DraftResult:
        """Write one document and leave all others as they are; return what others wrote meanwhile, if they did."""
        answer = await self._writer.write(brought, edit_source=edit_source, by=by, address=address, dry=dry)
        if answer.difference.clashes:
            (clash,) = answer.difference.clashes
            return DraftResult(theirs=clash.theirs, common=(answer.common or {}).get(agency))
        return answer

    async def _taken_up(self, agency: str, written: DocumentsResult, by: str) -> DraftResult:
        """Have the service apply what was written, if anything was."""
        problems, others = _about(agency, written.problems)
        if written.is_refused or not written.difference:
            return DraftResult(problems=problems, others=others)
        found = await self._reload(by)
        taken = all(each.severity is not Severity.ERROR for each in found)
        # Problems of this agency come first: the other agencies have thousands of warnings, the same twice.
        own, besides = _about(agency, found)
        return DraftResult(
            problems=tuple(dict.fromkeys((*problems, *own))),
            others=tuple(dict.fromkeys((*others, *besides))),
            written=await self._last(agency),
            taken=taken,
        )


def _unknown(agency: str) -> NotFoundError:
    return NotFoundError.said("no_agency", agency=agency[:40])


def _refused(
    source: AgencySource, text_before: str, draft: AgencyDraft, bounds: EgressPolicy, *, may_place: bool
) -> tuple[Problem, ...]:
    """Return why a draft is refused regardless of its other content: it is another agency's, or moves what it may not."""
    largest = LARGEST if may_place else max(LARGEST_DRAFT, len(text_before.encode()))
    if len(draft.text.encode()) > largest:
        return (Problem(file=source.called, message=said("has more than {size} KiB", size=largest // 1024)),)
    document = document_of(draft.text, source.called)
    code = document.data.get("agency")
    if document.readable and code is not None and code != draft.agency:
        message = "another code is another agency, and this is about one; a code is changed by `pantau rename`"
        return (document.problem(("agency",), message, draft.agency),)
    before = document_of(text_before, source.called).data
    bounded = check_bounds(before, document, bounds)
    if may_place:
        return bounded
    moved = check_custody(before, document, draft.typed)
    ours = (
        *check_domains(before, document),
        *check_foreign_numbers(before, document),
        *check_list_lengths(before, document),
    )
    return (*moved, *ours, *bounded)


def _typed(draft: AgencyDraft) -> Mapping[str, StoredSecret]:
    """Return the credentials typed with a draft, each with the users that the text names beside it."""
    mailboxes = document_of(draft.text, draft.agency).data.get("mailboxes")
    heard = {
        name: hearers_as_written(mailbox)
        for mailbox in (mailboxes.values() if isinstance(mailboxes, Mapping) else ())
        if isinstance(mailbox, Mapping)
        for name in secrets_named(str(mailbox.get("login")))
    }
    return {
        name: StoredSecret(secret, allowed_hosts=heard.get(name, ()))
        for name, secret in draft.typed.items()
        if name in heard
    }


def _about(agency: str, problems: Sequence[Problem]) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Return the problems of an agency's document, and the errors outside it: those are for others to see."""
    called = called_in_store(agency)
    own: list[Problem] = []
    others: list[Problem] = []
    for each in problems:
        if each.file == called or called in each.message:
            own.append(each)
        elif each.severity is Severity.ERROR:
            others.append(each)
    return tuple(own), tuple(others)
