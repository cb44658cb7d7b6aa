"""Editor of one agency's document (YAML settings), for the forms of the portal and for API clients.

It writes a draft as a new version into the database, and makes the running service apply it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from monitor.config.agency.mailbox import read_secret_recipients
from monitor.config.files.document import MAX_OCTETS, document_from_text
from monitor.config.files.problem import Problem, Severity, limit_problems
from monitor.config.files.secret import StoredSecret
from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import AgencySource, Configuration, stored_document_label, stored_source
from monitor.config.validation.restricted_fields import (
    check_domains,
    check_egress,
    check_foreign_numbers,
    check_list_lengths,
    check_restricted_fields,
)
from monitor.model.document import DocumentEdit, DocumentVersion, EditSource, WrittenDocument, secret_names_in
from monitor.model.translatable import translatable
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.portal.documents import DocumentsResult, DocumentWriter, SubmittedDocuments
from monitor.store.admin.documents import Documents
from probes.model.egress import EgressPolicy

#: Largest draft of an author who may not edit restricted fields. Usual documents have a few KiB; parsing ten times this
#: limit takes half a minute.
MAX_DRAFT_OCTETS: Final = 128 * 1024
#: Number of versions of an agency that are listed at once.
PAGE_SIZE: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyDraft:
    """Draft of an agency's document, the YAML text of its settings."""

    agency: str
    text: str
    #: Digest of the version from which the draft started; "": the draft started without a version.
    started_from: str
    #: Credentials typed with the draft, by the names by which the text refers to them (`typed_mailbox`).
    typed: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftResult:
    """Result of saving or previewing a draft."""

    #: Problems of the draft. Nothing is written if one of them is an error.
    problems: tuple[Problem, ...] = ()
    #: Errors in other agencies' documents or in the settings; some authors may not see them.
    errors_elsewhere: tuple[Problem, ...] = ()
    #: Version that another author has written since the draft started: nothing is written.
    conflicting_version: DocumentVersion | None = None
    #: Text from which both the draft and the conflicting version started; `None`: unknown.
    common_ancestor: str | None = None
    #: The version that was written; `None`: no version was written, perhaps because nothing has changed.
    written: DocumentVersion | None = None
    #: Whether the service has applied the written version.
    is_in_effect: bool = False
    #: The configuration that a previewed draft would produce; `None`: it is unusable.
    new_configuration: Configuration | None = None

    @property
    def error_count_elsewhere(self) -> int:
        """Number of errors outside this agency."""
        return len(self.errors_elsewhere)

    @property
    def is_refused(self) -> bool:
        """Whether the draft was not written because of errors or a conflict."""
        return self.conflicting_version is not None or (
            self.written is None and bool(self.errors or self.errors_elsewhere)
        )

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
        """Take the current configuration from *configuration*.

        *reload* makes the service read the configuration again, in the name of a principal (a user or a program), and
        returns the problems of the configuration.
        """
        self._writer = writer
        self._documents = documents
        self.configuration = configuration
        self._reload = reload
        #: By agency, while in use: a lock, so that many drafts for one agency do not delay other agencies.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def uses_database(self) -> bool:
        """Whether the service uses the documents in the database, and not files."""
        return self.configuration().settings.agencies == IN_DATABASE

    def configured_file(self, version: DocumentVersion) -> str | None:
        """Return the file that an operator edits; `None`: the service uses the documents in the database."""
        directory = self.configuration().settings.agencies
        return None if directory == IN_DATABASE else str(directory / version.name)

    async def latest(self, agency: str) -> DocumentVersion:
        """Return the latest version of an agency's document. Raise `NotFoundError` if the agency was removed."""
        found = await self.last_version(agency)
        if found is None or found.text is None:
            raise _not_found(agency)
        return found

    async def last_version(self, agency: str) -> DocumentVersion | None:
        """Return the latest version, which may be a removal; `None`: there never was a document."""
        return next(iter(await self._documents.versions(agency)), None)

    async def _require_last_version(self, agency: str) -> DocumentVersion:
        if (found := await self.last_version(agency)) is None:
            raise _not_found(agency)
        return found

    async def versions(self, agency: str, *, below: int | None = None) -> Sequence[DocumentVersion]:
        """Return at most `PAGE_SIZE` versions, the latest first. *below*: return only versions with smaller numbers."""
        return await self._documents.versions(agency, before_number=below, at_most=PAGE_SIZE)

    async def find_version(self, agency: str, number: int) -> DocumentVersion | None:
        """Return the version with this number, if there is one."""
        found = next(iter(await self._documents.versions(agency, before_number=number + 1)), None)
        return found if found is not None and found.number == number else None

    async def base_text(self, agency: str, digest: str) -> str:
        """Return the text on which a draft is based: that of the version with *digest*.

        Raise `OperationRejectedError` if there never was a version with this digest.
        """
        latest = await self._require_last_version(agency)
        text = latest.text if latest.digest == digest else await self._documents.text(agency, digest)
        if text is None:
            raise OperationRejectedError.from_text("form_unknown")
        return text

    async def save(
        self,
        draft: AgencyDraft,
        *,
        by: str,
        may_edit_restricted: bool,
        edit_source: EditSource = EditSource.PORTAL,
        address: str = "",
    ) -> DraftResult:
        """Write a draft and apply it, if the draft has no errors and nobody has written a version since it started.

        *may_edit_restricted*: whether the author may create an agency, and change restricted fields: where secrets are,
        which servers receive the secrets, the agency's domains, foreign telephone numbers. *address*: the client
        address, for the audit log. Raise `OperationRejectedError` if the service uses files or the typed credentials
        cannot be stored, `VersionConflictError` if others write repeatedly at the same time.
        """
        async with self._locks.setdefault(draft.agency, asyncio.Lock()):
            outcome = await self._submit(
                draft, by=by, may_edit_restricted=may_edit_restricted, edit_source=edit_source, address=address
            )
        return outcome if isinstance(outcome, DraftResult) else await self._apply(draft.agency, outcome, by)

    async def remove_agency(
        self, agency: str, started_from: str, *, edit_source: EditSource, by: str, address: str = ""
    ) -> DraftResult:
        """Write the removal of an agency's document, and apply it. Raise as `save` does."""
        edit = DocumentEdit(started_from={agency: started_from}, removed=frozenset({agency}))
        removal = SubmittedDocuments(edit=edit, sources=[])
        outcome = await self._write(agency, removal, edit_source=edit_source, by=by, address=address)
        return outcome if isinstance(outcome, DraftResult) else await self._apply(agency, outcome, by)

    async def preview(self, draft: AgencyDraft, *, by: str, may_edit_restricted: bool) -> DraftResult:
        """Return the result that a draft would have, and write nothing. Raise as `save` does."""
        async with self._locks.setdefault(draft.agency, asyncio.Lock()):
            outcome = await self._submit(draft, by=by, may_edit_restricted=may_edit_restricted, dry=True)
        if isinstance(outcome, DraftResult):
            return outcome
        problems, errors_elsewhere = _split_by_agency(draft.agency, outcome.problems)
        return DraftResult(
            problems=problems, errors_elsewhere=errors_elsewhere, new_configuration=outcome.new_configuration
        )

    async def _submit(
        self,
        draft: AgencyDraft,
        *,
        by: str,
        may_edit_restricted: bool,
        edit_source: EditSource = EditSource.PORTAL,
        address: str = "",
        dry: bool = False,
    ) -> DocumentsResult | DraftResult:
        """Pass a draft to the writer, and return the writer's result.

        Return a `DraftResult` instead if the draft is rejected, or conflicts with another author's version.
        """
        latest = await self.last_version(draft.agency)
        if latest is None and not may_edit_restricted:
            raise _not_found(draft.agency)
        if latest is not None and (file := self.configured_file(latest)) is not None:
            raise OperationRejectedError.from_text("agencies_are_files", file=file)
        # Somebody has removed the agency since the draft started.
        if latest is not None and latest.text is None and draft.started_from:
            return DraftResult(
                conflicting_version=latest, common_ancestor=await self._documents.text(draft.agency, draft.started_from)
            )
        name = latest.name if latest else f"{draft.agency.lower()}.yaml"
        source = stored_source(WrittenDocument(agency=draft.agency, name=name, text=draft.text))
        text_before = (latest and latest.text) or ""
        # Check in a thread: parsing half a MiB of brackets takes a while, and must not delay the probes.
        egress = self.configuration().settings.egress
        if rejections := await asyncio.to_thread(
            partial(_rejections, source, text_before, draft, egress, may_edit_restricted=may_edit_restricted)
        ):
            return DraftResult(problems=limit_problems(rejections))
        submission = SubmittedDocuments(
            edit=DocumentEdit(started_from={draft.agency: draft.started_from}),
            sources=[source],
            typed=await asyncio.to_thread(_typed_secrets, draft),
        )
        return await self._write(draft.agency, submission, edit_source=edit_source, by=by, address=address, dry=dry)

    async def _write(
        self,
        agency: str,
        submission: SubmittedDocuments,
        *,
        edit_source: EditSource,
        by: str,
        address: str = "",
        dry: bool = False,
    ) -> DocumentsResult | DraftResult:
        """Write one document, and return the result; a conflicting version is returned as a `DraftResult`."""
        result = await self._writer.write(submission, edit_source=edit_source, by=by, address=address, dry=dry)
        if result.difference.conflicts:
            (conflict,) = result.difference.conflicts
            return DraftResult(
                conflicting_version=conflict.stored, common_ancestor=(result.common_ancestors or {}).get(agency)
            )
        return result

    async def _apply(self, agency: str, result: DocumentsResult, by: str) -> DraftResult:
        """Reload the configuration if a version was written; return the result of writing and reloading."""
        problems, errors_elsewhere = _split_by_agency(agency, result.problems)
        if result.is_refused or not result.difference:
            return DraftResult(problems=problems, errors_elsewhere=errors_elsewhere)
        reload_problems = await self._reload(by)
        is_in_effect = all(each.severity is not Severity.ERROR for each in reload_problems)
        # `dict.fromkeys` removes duplicates: the reload reads all documents again, and may report the same problems.
        own, other_reload_errors = _split_by_agency(agency, reload_problems)
        return DraftResult(
            problems=tuple(dict.fromkeys((*problems, *own))),
            errors_elsewhere=tuple(dict.fromkeys((*errors_elsewhere, *other_reload_errors))),
            written=await self._require_last_version(agency),
            is_in_effect=is_in_effect,
        )


def _not_found(agency: str) -> NotFoundError:
    return NotFoundError.from_text("no_agency", agency=agency[:40])


def _rejections(
    source: AgencySource, text_before: str, draft: AgencyDraft, egress: EgressPolicy, *, may_edit_restricted: bool
) -> tuple[Problem, ...]:
    """Return why a draft is rejected before the full check: size, another agency, or a change of restricted fields."""
    max_octets = MAX_OCTETS if may_edit_restricted else max(MAX_DRAFT_OCTETS, len(text_before.encode()))
    if len(draft.text.encode()) > max_octets:
        return (Problem(file=source.label, message=translatable("has more than {size} KiB", size=max_octets // 1024)),)
    document = document_from_text(draft.text, source.label)
    code = document.data.get("agency")
    if document.readable and code is not None and code != draft.agency:
        message = "this document is about one agency; `pantau rename` changes its code"
        return (document.problem(("agency",), message, draft.agency),)
    data_before = document_from_text(text_before, source.label).data
    egress_problems = check_egress(data_before, document, egress)
    if may_edit_restricted:
        return egress_problems
    restricted_problems = check_restricted_fields(data_before, document, draft.typed)
    agency_problems = (
        *check_domains(data_before, document),
        *check_foreign_numbers(data_before, document),
        *check_list_lengths(data_before, document),
    )
    return (*restricted_problems, *agency_problems, *egress_problems)


def _typed_secrets(draft: AgencyDraft) -> Mapping[str, StoredSecret]:
    """Return the credentials typed with a draft, each with the servers that may receive it by the text of the draft."""
    mailboxes = document_from_text(draft.text, draft.agency).data.get("mailboxes")
    recipients = {
        name: read_secret_recipients(mailbox)
        for mailbox in (mailboxes.values() if isinstance(mailboxes, Mapping) else ())
        if isinstance(mailbox, Mapping)
        for name in secret_names_in(str(mailbox.get("login")))
    }
    return {
        name: StoredSecret(secret, allowed_recipients=recipients.get(name, ()))
        for name, secret in draft.typed.items()
        if name in recipients
    }


def _split_by_agency(agency: str, problems: Sequence[Problem]) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Return the problems of an agency's document, and the errors in everything else."""
    label = stored_document_label(agency)
    own: list[Problem] = []
    errors_elsewhere: list[Problem] = []
    for each in problems:
        # If two documents clash, the problem is reported at one, and its message names the other.
        if each.file == label or label in each.message:
            own.append(each)
        elif each.severity is Severity.ERROR:
            errors_elsewhere.append(each)
    return tuple(own), tuple(errors_elsewhere)
