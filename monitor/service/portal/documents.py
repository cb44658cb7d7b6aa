"""Writer of agencies' documents into the database: compares what an edit source submits with what is stored, checks it as a whole, and stores it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from alerts.persistence.clock import Clock
from monitor.access.encryption import Ciphertext, SecretPlace, SecretPurpose
from monitor.config.files.problem import Problem
from monitor.config.files.secret import StoredSecret
from monitor.config.loading import AgencySource, Configuration, LoadCache, Loaded, load, stored_source
from monitor.model.document import (
    DocumentDifference,
    DocumentEdit,
    DocumentVersion,
    EditSource,
    WrittenDocument,
    document_difference,
    edited,
)
from monitor.model.lazy_text import said
from monitor.service.access.secret_store import SecretStore
from monitor.service.errors import OperationRejectedError
from monitor.store.admin.documents import Documents, VersionConflictError
from monitor.store.admin.keyring import SecretLockedError

#: Number of attempts when others write meanwhile.
_TRIES = 5
#: The usual notation; any other is read by the document parser.
_CODE = re.compile(r"^agency:[ \t]+([A-Z0-9]+)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedDocuments:
    """Submission of an edit source, unchecked."""

    #: The edit without the documents themselves.
    edit: DocumentEdit
    sources: Sequence[AgencySource]
    #: The credentials typed for the documents, by the names that they use.
    typed: Mapping[str, StoredSecret] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsResult:
    """Result of a submission."""

    #: Problems found. Nothing is written if one of them is an error.
    problems: tuple[Problem, ...] = ()
    difference: DocumentDifference = field(default_factory=DocumentDifference)
    #: By agency, the digest of the version that the edit source has seen from now on; "": there is none.
    seen: Mapping[str, str] | None = None
    #: By agency, for each conflict, the common ancestor, where it is known.
    common: Mapping[str, str] | None = None
    #: The configuration that a dry run would produce.
    would_be: Configuration | None = None

    @property
    def is_refused(self) -> bool:
        """Whether nothing was written, though something was to be."""
        return self.seen is None


class DocumentWriter:
    """Writer that processes one edit at a time.

    It reads the settings from their file; the agencies are those of the database.
    """

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        documents: Documents,
        clock: Clock,
        *,
        safe: SecretStore | None = None,
        memory: LoadCache | None = None,
    ) -> None:
        """*path*: the settings file. *safe*: encrypts typed credentials; without it none can be stored.

        *memory*: cache of the documents of the database, as the service parsed them.
        """
        self._path = path
        self._environ = environ
        self._documents = documents
        self._clock = clock
        self._safe = safe
        self._memory = memory or LoadCache()
        self._writing = asyncio.Lock()

    async def latest(self) -> Mapping[str, DocumentVersion]:
        """Return the latest version of each document, by agency."""
        return await self._documents.latest()

    async def write(
        self, brought: SubmittedDocuments, *, edit_source: EditSource, by: str, address: str = "", dry: bool = False
    ) -> DocumentsResult:
        """Write the new documents among *brought*, in one transaction; with *dry*, only check. *address*: the client address.

        Raise `StoreUnavailable`, `VersionConflictError` when others write repeatedly meanwhile, or
        `OperationRejectedError` for a typed credential that cannot be stored.
        """
        async with self._writing:
            secrets, present = self._encrypted(brought.typed), await self._documents.latest()
            # The sender names the files, and the service does not read those again.
            memory = LoadCache() if edit_source is EditSource.FILES else self._memory
            checked_with = partial(load, self._path, self._environ, memory=memory, typed=brought.typed)
            beside = [] if brought.edit.prune else await asyncio.to_thread(_beside, present, brought)
            # The submission comes last: a conflict of two documents is reported at the new one.
            loaded = await asyncio.to_thread(checked_with, documents=[*beside, *brought.sources])
            problems, checked = loaded.problems, _documents_of(loaded)
            if checked is None:
                return DocumentsResult(problems=problems)
            if secrets and loaded.configuration is not None and loaded.configuration.has_lost_key:
                raise OperationRejectedError.said("no_secrets_key")
            names = {each.name for each in beside}
            documents = {agency: each for agency, each in checked.items() if each.name not in names}
            edit = replace(brought.edit, documents=documents)
            for _ in range(_TRIES):
                difference = document_difference(present, edit)
                if difference.clashes:
                    return DocumentsResult(difference=difference, common=await self._common(difference, edit))
                wanted = edited(present, difference)
                if difference and wanted != checked:
                    loaded = await asyncio.to_thread(checked_with, documents=_sources(wanted, brought.sources))
                    problems, checked = loaded.problems, _documents_of(loaded)
                    if checked is None:
                        return DocumentsResult(problems=problems, difference=difference)
                if dry:
                    would_be = loaded.configuration
                    return DocumentsResult(problems=problems, difference=difference, seen={}, would_be=would_be)
                try:
                    if difference:
                        await self._documents.write(
                            present,
                            (*difference.added, *(ours for _, ours in difference.changed)),
                            [each.agency for each in difference.removed],
                            edit_source=edit_source,
                            by=by,
                            now=self._clock.now(),
                            secrets=secrets,
                            address=address,
                        )
                except VersionConflictError:
                    present = await self._documents.latest()
                    continue
                return DocumentsResult(problems=problems, difference=difference, seen=_seen(edit, difference))
            raise VersionConflictError(said("others have written {times} times meanwhile; repeat it", times=_TRIES))

    def _encrypted(self, typed: Mapping[str, StoredSecret]) -> Mapping[str, Ciphertext]:
        try:
            return {name: self._locked(name, secret) for name, secret in typed.items()}
        except SecretLockedError:
            raise OperationRejectedError.said("no_secrets_key") from None

    def _locked(self, name: str, secret: StoredSecret) -> Ciphertext:
        if self._safe is None:
            raise SecretLockedError
        return self._safe.encrypt(SecretPlace(purpose=SecretPurpose.MAILBOX, owner=name), secret.written())

    async def _common(self, difference: DocumentDifference, edit: DocumentEdit) -> Mapping[str, str]:
        found = {}
        for clash in difference.clashes:
            agency = clash.theirs.agency
            seen = edit.started_from.get(agency)
            if seen and (text := await self._documents.text(agency, seen)) is not None:
                found[agency] = text
        return found


def _documents_of(loaded: Loaded) -> Mapping[str, WrittenDocument] | None:
    """Return the parsed documents, by agency; `None` when they are unusable."""
    if loaded.configuration is None:
        return None
    return {each.agency: each for each in loaded.configuration.documents}


def _beside(present: Mapping[str, DocumentVersion], brought: SubmittedDocuments) -> Sequence[AgencySource]:
    """Return the stored documents that the submission does not replace: it may refer to their content."""
    codes = {*brought.edit.gone, *(_code_of(each) for each in brought.sources)}
    names = {each.name for each in brought.sources}
    there = [each.document for agency, each in present.items() if agency not in codes and each.name not in names]
    return [stored_source(each) for each in there if each is not None]


def _code_of(source: AgencySource) -> str:
    """Return the code of the document's agency; "" if it is unreadable."""
    if (line := _CODE.search(source.text)) is not None:
        return line[1]
    return str(source.read().data.get("agency", ""))


def _sources(wanted: Mapping[str, WrittenDocument], brought: Sequence[AgencySource]) -> Sequence[AgencySource]:
    """Return the documents to be read; submitted ones keep the names of the edit source."""
    called = {(each.name, each.text): each for each in brought}
    return [
        called.get((each.name, each.text)) or stored_source(each)
        for each in sorted(wanted.values(), key=lambda each: each.agency)
    ]


def _seen(edit: DocumentEdit, difference: DocumentDifference) -> Mapping[str, str]:
    left = {theirs.agency for theirs in difference.newer}
    return {agency: ours.digest for agency, ours in edit.documents.items() if agency not in left} | {
        gone.agency: "" for gone in difference.removed
    }
