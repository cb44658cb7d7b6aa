"""Takes edits of one agency's document, from the portal's forms and from programs, and has the running service take them up."""

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
from monitor.config.files.section import IN_THE_STORE
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

#: Of what an officer writes, in octets: a document has a few KiB, and ten times this keeps a processor busy for half a minute.
LARGEST_DRAFT: Final = 128 * 1024
#: Of the versions of an agency so many are listed at once.
LISTED: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyDraft:
    """What somebody wants an agency's document to be."""

    agency: str
    text: str
    #: The digest of the version that was looked at; "": there was none.
    started_from: str
    #: What was typed with it to sign in with, by the names that the text has of it (`typed_mailbox`).
    typed: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftResult:
    """What became of a draft."""

    #: What is wrong with it. With an error in it nothing is written.
    problems: tuple[Problem, ...] = ()
    #: Errors that are about what is not this agency's, and for others to see.
    others: tuple[Problem, ...] = ()
    #: Written by another pen meanwhile, and not looked at yet: nothing is written.
    theirs: DocumentVersion | None = None
    #: What both have started from, where that is known.
    common: str | None = None
    #: The version that was written; `None`: none was, or nothing is different.
    written: DocumentVersion | None = None
    #: Whether the service has taken it up.
    taken: bool = False
    #: Of a draft that was only looked at: the configuration that there would be; `None`: it cannot be used.
    would_be: Configuration | None = None

    @property
    def elsewhere(self) -> int:
        """How many errors are about what is not this agency's."""
        return len(self.others)

    @property
    def is_refused(self) -> bool:
        """Whether it was to be written, and was not."""
        return self.theirs is not None or (self.written is None and bool(self.errors or self.others))

    @property
    def errors(self) -> Sequence[Problem]:
        """What keeps it from being written, or taken up."""
        return [each for each in self.problems if each.severity is Severity.ERROR]


class AgencyEditor:
    """Edits documents in the store. Raises `StoreUnavailable`, and `NotFoundError` of an agency that is not watched."""

    def __init__(
        self,
        writer: DocumentWriter,
        documents: Documents,
        configuration: Callable[[], Configuration],
        reload: Callable[[str], Awaitable[Sequence[Problem]]],
    ) -> None:
        """Let *configuration* return the one in force, and *reload* read it again, by whose word."""
        self._writer = writer
        self._documents = documents
        self.configuration = configuration
        self._reload = reload
        #: By agency, for as long as somebody wants it: whoever sends many drafts waits for themselves, and not all of us for them.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def is_in_store(self) -> bool:
        """Whether the documents of the store are what counts."""
        return self.configuration().settings.agencies == IN_THE_STORE

    def file_of(self, version: DocumentVersion) -> str | None:
        """Return the file that an operator edits, where files are what counts; `None`: the store's documents are."""
        place = self.configuration().settings.agencies
        return None if place == IN_THE_STORE else str(place / version.name)

    async def latest(self, agency: str) -> DocumentVersion:
        """Return the latest version of a document, by which the agency is watched."""
        found = await self.last(agency)
        if found is None or found.text is None:
            raise _unknown(agency)
        return found

    async def last(self, agency: str) -> DocumentVersion | None:
        """Return the latest version, if there is any; by that the agency may be watched no more."""
        return next(iter(await self._documents.versions(agency)), None)

    async def _last(self, agency: str) -> DocumentVersion:
        if (found := await self.last(agency)) is None:
            raise _unknown(agency)
        return found

    async def versions(self, agency: str, *, below: int | None = None) -> Sequence[DocumentVersion]:
        """Return versions, the latest first; *below* a number, if one is given."""
        return await self._documents.versions(agency, below=below, at_most=LISTED)

    async def numbered(self, agency: str, number: int) -> DocumentVersion | None:
        """Return one version, if there is one of that number."""
        found = next(iter(await self._documents.versions(agency, below=number + 1)), None)
        return found if found is not None and found.number == number else None

    async def started_from(self, agency: str, digest: str) -> str:
        """Return the text that somebody has looked at. Raise `OperationRejectedError` when there never was one of that digest."""
        latest = await self._last(agency)
        text = latest.text if latest.digest == digest else await self._documents.text(agency, digest)
        if text is None:
            raise OperationRejectedError.said("form_unknown")
        return text

    async def save(
        self, draft: AgencyDraft, *, by: str, may_place: bool, pen: EditSource = EditSource.PORTAL, address: str = ""
    ) -> DraftResult:
        """Write a draft and take it up, if nothing is wrong with it and nobody has written meanwhile.

        *address*: where it comes from, for the journal.

        *may_place*: whether who writes may say where secrets are, which servers are given them, which domains are the agency's
        and which numbers abroad are rung; and so make an agency.
        Raise `OperationRejectedError` where files are what counts or what was typed cannot be kept, `VersionConflictError` when others
        write again and again meanwhile.
        """
        async with self._turns.setdefault(draft.agency, asyncio.Lock()):
            brought = await self._brought(draft, by=by, may_place=may_place, pen=pen, address=address)
        return brought if isinstance(brought, DraftResult) else await self._taken_up(draft.agency, brought, by)

    async def take_out(
        self, agency: str, started_from: str, *, pen: EditSource, by: str, address: str = ""
    ) -> DraftResult:
        """Let an agency be watched no more, as `save` writes."""
        edit = DocumentEdit(started_from={agency: started_from}, gone=frozenset({agency}))
        gone = SubmittedDocuments(edit=edit, sources=[])
        written = await self._written(agency, gone, pen=pen, by=by, address=address)
        return written if isinstance(written, DraftResult) else await self._taken_up(agency, written, by)

    async def look(self, draft: AgencyDraft, *, by: str, may_place: bool) -> DraftResult:
        """Return what would become of a draft, and write nothing. Raise as `save` does."""
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
        pen: EditSource = EditSource.PORTAL,
        address: str = "",
        dry: bool = False,
    ) -> DocumentsResult | DraftResult:
        """Bring a draft to the writer; return what there is to say where that was not reached, or others wrote meanwhile."""
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
        # Half a MiB of brackets is read for a while, and the probes do not wait.
        bounds = self.configuration().settings.bounds
        if refused := await asyncio.to_thread(partial(_refused, source, before, draft, bounds, may_place=may_place)):
            return DraftResult(problems=listed(refused))
        brought = SubmittedDocuments(
            edit=DocumentEdit(started_from={draft.agency: draft.started_from}),
            sources=[source],
            typed=await asyncio.to_thread(_typed, draft),
        )
        return await self._written(draft.agency, brought, pen=pen, by=by, address=address, dry=dry)

    async def _written(
        self,
        agency: str,
        brought: SubmittedDocuments,
        *,
        pen: EditSource,
        by: str,
        address: str = "",
        dry: bool = False,
    ) -> DocumentsResult | DraftResult:
        """Write one document beside all others as they are; return what others wrote meanwhile, if they did."""
        answer = await self._writer.write(brought, pen=pen, by=by, address=address, dry=dry)
        if answer.difference.clashes:
            (clash,) = answer.difference.clashes
            return DraftResult(theirs=clash.theirs, common=(answer.common or {}).get(agency))
        return answer

    async def _taken_up(self, agency: str, written: DocumentsResult, by: str) -> DraftResult:
        """Let the service go by what was written, if anything was."""
        problems, others = _about(agency, written.problems)
        if written.is_refused or not written.difference:
            return DraftResult(problems=problems, others=others)
        found = await self._reload(by)
        taken = all(each.severity is not Severity.ERROR for each in found)
        # First what is about this agency: of all others there are thousands of warnings, the same twice.
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
    """Return why a draft is refused whatever it says besides: it is another agency's, or moves what it may not."""
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
    """Return what was typed with a draft, each for those whom the text names beside it."""
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
    """Return what is about an agency's document, and what errors there are besides it: those are others' to see."""
    called = called_in_store(agency)
    own: list[Problem] = []
    others: list[Problem] = []
    for each in problems:
        if each.file == called or called in each.message:
            own.append(each)
        elif each.severity is Severity.ERROR:
            others.append(each)
    return tuple(own), tuple(others)
