"""Application of the agency documents (YAML) that the hub wants this site to use.

The hub is the installation that combines the results of several sites. It writes the documents into this site's
database as desired documents. The site rejects a document that is invalid here, and applies the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import structlog

from alerts.persistence.clock import Clock
from monitor.config.files.problem import Problem, Severity
from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import AgencySource, Configuration, stored_document_label
from monitor.model.desired_document import DesiredDocument
from monitor.model.document import DocumentEdit, DocumentVersion, EditSource
from monitor.service.portal.documents import DocumentsResult, DocumentWriter, SubmittedDocuments
from monitor.store.admin.desired_documents import DesiredDocuments
from monitor.store.admin.documents import VersionConflictError

log = structlog.get_logger()

#: Suffix of the keys that name a secret of the database. A missing secret is only a warning, but prevents probing.
_STORED_SUFFIX = "_stored"
#: Maximum of characters of a reason that is reported to the hub.
_MAX_REASON_LENGTH = 500


class DocumentApplier:
    """Writer of desired documents into this site's configuration, in the name of the hub."""

    def __init__(
        self,
        records: DesiredDocuments,
        writer: DocumentWriter,
        clock: Clock,
        *,
        configuration: Callable[[], Configuration],
        reload: Callable[[str], Awaitable[Sequence[Problem]]],
        is_leader: Callable[[], bool],
    ) -> None:
        """Take *reload*, which activates the stored documents and returns their problems.

        *is_leader* returns whether this process does the work that exactly one process of the site does.
        """
        self._records = records
        self._writer = writer
        self._clock = clock
        self._configuration = configuration
        self._reload = reload
        self._is_leader = is_leader

    async def apply(self) -> None:
        """Process the desired documents once.

        Raise `StoreUnavailable`, or `VersionConflictError` if another writer changes a document meanwhile.
        """
        settings = self._configuration().settings
        # Documents from a hub have no contacts, so a site that notifies people itself cannot use them.
        if settings.agencies != IN_DATABASE or settings.notifies or not self._is_leader():
            return
        documents = await self._records.due(self._clock.now())
        if not documents:
            return
        reasons = await self._write_valid(documents, await self._writer.latest())
        for each in documents:
            # `refusal`: the reason that was recorded at the last attempt. Log each reason once.
            if (reason := reasons.get(each.agency)) is not None and reason != each.refusal:
                log.error("document from the hub rejected; the old one stays active", agency=each.agency, reason=reason)
        await self._records.record_results(documents, reasons, self._clock.now())

    async def _write_valid(
        self, documents: Sequence[DesiredDocument], stored_versions: Mapping[str, DocumentVersion]
    ) -> Mapping[str, str]:
        """Write and activate all valid documents; return the reasons for rejecting the others, by agency."""
        by, pending, reasons = documents[0].by, {each.agency: each for each in documents}, dict[str, str]()
        while pending:
            submission = _submission(pending.values(), stored_versions)
            # Check in a dry run first: the writer would accept a mailbox whose password is missing here, although it
            # could not be probed.
            result = await self._writer.write(submission, edit_source=EditSource.HUB, by=by, dry=True)
            if result.difference.conflicts:
                raise VersionConflictError
            # Reject the invalid documents, and check the others again without them.
            if invalid := _problems_by_agency(result, pending):
                reasons |= invalid
                pending = {agency: each for agency, each in pending.items() if agency not in invalid}
                continue
            if (
                result.difference
                and (await self._writer.write(submission, edit_source=EditSource.HUB, by=by)).is_refused
            ):
                raise VersionConflictError
            if reason := await self._activate(pending, by):
                reasons |= dict.fromkeys(pending, reason)
            break
        return reasons

    async def _activate(self, documents: Mapping[str, DesiredDocument], by: str) -> str:
        """Reload the configuration unless *documents* are active already; return the errors, or ""."""
        active_texts = {each.agency: each.text for each in self._configuration().documents}
        if all(active_texts.get(agency) == each.text for agency, each in documents.items()):
            return ""
        problems = await self._reload(by)
        return "\n".join(str(each) for each in problems if each.severity is Severity.ERROR)[:_MAX_REASON_LENGTH]


def _submission(
    documents: Collection[DesiredDocument], stored_versions: Mapping[str, DocumentVersion]
) -> SubmittedDocuments:
    """Return the submission that writes *documents*; a document without text removes its agency."""
    existing = [each for each in documents if each.agency in stored_versions]
    removed = frozenset(e.agency for e in existing if e.text is None and stored_versions[e.agency].text is not None)
    return SubmittedDocuments(
        # Overwrite local edits, because the hub owns these documents. The edits stay in the history.
        edit=DocumentEdit(
            overwrites={each.agency: stored_versions[each.agency].number for each in existing}, removed=removed
        ),
        sources=[
            AgencySource(label=stored_document_label(each.agency), name=each.name, text=each.text)
            for each in documents
            if each.text is not None
        ],
    )


def _problems_by_agency(result: DocumentsResult, agency_codes: Collection[str]) -> Mapping[str, str]:
    """Return the first problem of each agency that has one.

    If the documents are rejected only for errors outside of them, return these errors for every agency.
    """
    agencies = {stored_document_label(agency): agency for agency in agency_codes}
    by_agency = dict[str, str]()
    for problem in result.problems:
        if problem.file in agencies and (
            problem.severity is not Severity.WARNING or problem.key.endswith(_STORED_SUFFIX)
        ):
            by_agency.setdefault(agencies[problem.file], str(problem)[:_MAX_REASON_LENGTH])
    if not by_agency and result.is_refused:
        errors = [str(problem) for problem in result.problems if problem.severity is Severity.ERROR]
        return dict.fromkeys(agency_codes, "\n".join(errors)[:_MAX_REASON_LENGTH])
    return by_agency
