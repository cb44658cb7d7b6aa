"""Writer of agencies' documents (YAML settings) into the database.

An edit source (files, portal, API, hub) submits documents. The writer compares them with the stored versions, checks
all documents together, and stores those that have changed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from alerts.persistence.clock import Clock
from monitor.access.encryption import Ciphertext, SecretId, SecretPurpose
from monitor.config.files.problem import Problem
from monitor.config.files.secret import StoredSecret
from monitor.config.loading import AgencySource, Configuration, LoadCache, LoadResult, load, stored_source
from monitor.model.document import (
    DocumentDifference,
    DocumentEdit,
    DocumentVersion,
    EditSource,
    WrittenDocument,
    diff_documents,
    documents_after,
)
from monitor.model.translatable import translatable
from monitor.service.access.secret_store import SecretStore
from monitor.service.errors import OperationRejectedError
from monitor.store.admin.documents import Documents, VersionConflictError
from monitor.store.admin.keyring import SecretLockedError

#: Maximum of attempts to write while other authors write at the same time.
_MAX_ATTEMPTS = 5
#: The usual notation of an agency's code. For other notations the document is parsed, which takes longer.
_CODE_LINE = re.compile(r"^agency:[ \t]+([A-Z0-9]+)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedDocuments:
    """Submission of an edit source, unchecked."""

    #: The edit. Its field `documents` is empty until the writer has parsed *sources*.
    edit: DocumentEdit
    #: The submitted texts.
    sources: Sequence[AgencySource]
    #: Credentials typed for the documents, by the names by which the documents refer to them.
    typed: Mapping[str, StoredSecret] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsResult:
    """Result of a submission."""

    #: Problems found. Nothing is written if one of them is an error.
    problems: tuple[Problem, ...] = ()
    #: The changes of the submission, and the conflicts with the stored versions.
    difference: DocumentDifference = field(default_factory=DocumentDifference)
    #: By agency: digest of the version that the author has seen now, from which the next edit starts; "": no version.
    #: `None`: nothing was written.
    seen_digests: Mapping[str, str] | None = None
    #: By agency with a conflict: the text from which both versions started, if it is known.
    common_ancestors: Mapping[str, str] | None = None
    #: The configuration that a dry run would produce.
    new_configuration: Configuration | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the submission was not written, because of errors or conflicts."""
        return self.seen_digests is None


class DocumentWriter:
    """Writer that processes one submission at a time.

    It reads the settings from their file, and all documents that are not submitted from the database.
    """

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        documents: Documents,
        clock: Clock,
        *,
        secret_store: SecretStore | None = None,
        load_cache: LoadCache | None = None,
    ) -> None:
        """*path*: the settings file. *secret_store*: encrypts typed credentials; without it they cannot be stored.

        *load_cache*: the service's cache of parsed documents.
        """
        self._path = path
        self._environ = environ
        self._documents = documents
        self._clock = clock
        self._secret_store = secret_store
        self._load_cache = load_cache or LoadCache()
        self._writing = asyncio.Lock()

    async def latest(self) -> Mapping[str, DocumentVersion]:
        """Return the latest version of each document, by agency."""
        return await self._documents.latest()

    async def write(
        self, submission: SubmittedDocuments, *, edit_source: EditSource, by: str, address: str = "", dry: bool = False
    ) -> DocumentsResult:
        """Write the documents of *submission* that have changed, in one transaction; with *dry*, only check.

        *address*: the client address, for the audit log.

        Raise `StoreUnavailable`, `VersionConflictError` if others write repeatedly at the same time, or
        `OperationRejectedError` for a typed credential that cannot be stored.
        """
        async with self._writing:
            secrets, stored_versions = self._encrypt_all(submission.typed), await self._documents.latest()
            # Submitted files are labelled with their names on the sender's machine. Keep such files out of the service's
            # cache.
            load_cache = LoadCache() if edit_source is EditSource.FILES else self._load_cache
            load_documents = partial(load, self._path, self._environ, cache=load_cache, new_secrets=submission.typed)
            # With `prune`, the submission has all documents: stored documents that are missing in it are removed.
            others = (
                [] if submission.edit.prune else await asyncio.to_thread(_other_documents, stored_versions, submission)
            )
            # Submitted documents come last, so that a clash of two documents is reported at the submitted one.
            loaded = await asyncio.to_thread(load_documents, documents=[*others, *submission.sources])
            problems, parsed = loaded.problems, _documents_of(loaded)
            if parsed is None:
                return DocumentsResult(problems=problems)
            if secrets and loaded.configuration is not None and loaded.configuration.is_secrets_key_missing:
                raise OperationRejectedError.from_text("no_secrets_key")
            other_names = {each.name for each in others}
            documents = {agency: each for agency, each in parsed.items() if each.name not in other_names}
            edit = replace(submission.edit, documents=documents)
            for _ in range(_MAX_ATTEMPTS):
                difference = diff_documents(stored_versions, edit)
                if difference.conflicts:
                    return DocumentsResult(
                        difference=difference, common_ancestors=await self._common_ancestors(difference, edit)
                    )
                # The documents after the edit differ from *parsed* if newer versions of other edit sources stay: check
                # all documents again.
                documents_after_edit = documents_after(stored_versions, difference)
                if difference and documents_after_edit != parsed:
                    loaded = await asyncio.to_thread(
                        load_documents, documents=_sources_to_load(documents_after_edit, submission.sources)
                    )
                    problems, parsed = loaded.problems, _documents_of(loaded)
                    if parsed is None:
                        return DocumentsResult(problems=problems, difference=difference)
                if dry:
                    new_configuration = loaded.configuration
                    return DocumentsResult(
                        problems=problems, difference=difference, seen_digests={}, new_configuration=new_configuration
                    )
                try:
                    if difference:
                        await self._documents.write(
                            stored_versions,
                            (*difference.added, *(new for _, new in difference.changed)),
                            [each.agency for each in difference.removed],
                            edit_source=edit_source,
                            by=by,
                            now=self._clock.now(),
                            secrets=secrets,
                            address=address,
                        )
                except VersionConflictError:
                    stored_versions = await self._documents.latest()
                    continue
                return DocumentsResult(
                    problems=problems, difference=difference, seen_digests=_seen_digests(edit, difference)
                )
            raise VersionConflictError(
                translatable("others have written {times} times meanwhile; try again", times=_MAX_ATTEMPTS)
            )

    def _encrypt_all(self, typed: Mapping[str, StoredSecret]) -> Mapping[str, Ciphertext]:
        try:
            return {name: self._encrypt(name, secret) for name, secret in typed.items()}
        except SecretLockedError:
            raise OperationRejectedError.from_text("no_secrets_key") from None

    def _encrypt(self, name: str, secret: StoredSecret) -> Ciphertext:
        if self._secret_store is None:
            raise SecretLockedError
        return self._secret_store.encrypt(SecretId(purpose=SecretPurpose.MAILBOX, owner=name), secret.serialize())

    async def _common_ancestors(self, difference: DocumentDifference, edit: DocumentEdit) -> Mapping[str, str]:
        """Return, by agency with a conflict, the text from which the edit started, if the database still has it."""
        ancestors = {}
        for conflict in difference.conflicts:
            agency = conflict.stored.agency
            seen_digest = edit.started_from.get(agency)
            if seen_digest and (text := await self._documents.text(agency, seen_digest)) is not None:
                ancestors[agency] = text
        return ancestors


def _documents_of(loaded: LoadResult) -> Mapping[str, WrittenDocument] | None:
    """Return the parsed documents by agency; `None`: the documents have errors."""
    if loaded.configuration is None:
        return None
    return {each.agency: each for each in loaded.configuration.documents}


def _other_documents(
    stored_versions: Mapping[str, DocumentVersion], submission: SubmittedDocuments
) -> Sequence[AgencySource]:
    """Return the stored documents that the submission does not replace. They are checked together with it."""
    codes = {*submission.edit.removed, *(_agency_code(each) for each in submission.sources)}
    names = {each.name for each in submission.sources}
    kept = [each.document for agency, each in stored_versions.items() if agency not in codes and each.name not in names]
    return [stored_source(each) for each in kept if each is not None]


def _agency_code(source: AgencySource) -> str:
    """Return the code of the document's agency; "" if the text has none."""
    if (match := _CODE_LINE.search(source.text)) is not None:
        return match[1]
    return str(source.read().data.get("agency", ""))


def _sources_to_load(
    documents: Mapping[str, WrittenDocument], submitted: Sequence[AgencySource]
) -> Sequence[AgencySource]:
    """Return the sources of *documents*; for an unchanged submitted document, the submitted source with its label."""
    by_name_and_text = {(each.name, each.text): each for each in submitted}
    return [
        by_name_and_text.get((each.name, each.text)) or stored_source(each)
        for each in sorted(documents.values(), key=lambda each: each.agency)
    ]


def _seen_digests(edit: DocumentEdit, difference: DocumentDifference) -> Mapping[str, str]:
    """Return `DocumentsResult.seen_digests` after a successful write."""
    # Stored versions that the author has not seen, and that stay.
    newer_agencies = {stored.agency for stored in difference.newer}
    return {
        agency: submitted.digest for agency, submitted in edit.documents.items() if agency not in newer_agencies
    } | {removed_version.agency: "" for removed_version in difference.removed}
