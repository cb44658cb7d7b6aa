"""Applies the hub's desired documents, as far as they are valid here; an invalid one does not block the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import structlog

from alerts.persistence.clock import Clock
from monitor.config.files.problem import Problem, Severity
from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import AgencySource, Configuration, called_in_store
from monitor.model.desired_document import DesiredDocument
from monitor.model.document import DocumentEdit, DocumentVersion, EditSource
from monitor.service.portal.documents import DocumentsResult, DocumentWriter, SubmittedDocuments
from monitor.store.admin.documents import VersionConflictError
from monitor.store.admin.offers import Offers

log = structlog.get_logger()

#: Such a key names a secret that is unavailable here, which stops probing and is no error.
_STORED = "_stored"
#: Maximum of characters of a refusal that is reported to the hub.
_TOLD = 500


class DocumentApplier:
    """Applies desired documents, with the hub as their edit source."""

    def __init__(
        self,
        offers: Offers,
        writer: DocumentWriter,
        clock: Clock,
        *,
        configuration: Callable[[], Configuration],
        reload: Callable[[str], Awaitable[Sequence[Problem]]],
        is_ours: Callable[[], bool],
    ) -> None:
        """*reload* applies the stored documents; *is_ours*: whether this process does it for all on the store."""
        self._offers = offers
        self._writer = writer
        self._clock = clock
        self._configuration = configuration
        self._reload = reload
        self._is_ours = is_ours

    async def take(self) -> None:
        """Process the desired documents once.

        Raise `StoreUnavailable`, or `VersionConflictError` when others write meanwhile.
        """
        settings = self._configuration().settings
        # A hub leaves out contacts: a site that notifies uses documents of its own.
        if settings.agencies != IN_DATABASE or settings.notifies or not self._is_ours():
            return
        offers = await self._offers.due(self._clock.now())
        if not offers:
            return
        refusals = await self._written(offers, await self._writer.latest())
        for each in offers:
            if (why := refusals.get(each.agency)) is not None and why != each.refusal:
                log.error("document from the hub rejected; the old one stays active", agency=each.agency, reason=why)
        await self._offers.processed(offers, refusals, self._clock.now())

    async def _written(
        self, offers: Sequence[DesiredDocument], present: Mapping[str, DocumentVersion]
    ) -> Mapping[str, str]:
        """Write all valid documents; return the reasons for the others, by agency."""
        by, left, refusals = offers[0].by, {each.agency: each for each in offers}, dict[str, str]()
        while left:
            brought = _brought(left.values(), present)
            # Before the write: a mailbox without its password is no error, and yet probed no more.
            answer = await self._writer.write(brought, edit_source=EditSource.HUB, by=by, dry=True)
            if answer.difference.clashes:
                raise VersionConflictError
            if wrong := _wrong(answer, left):
                refusals |= wrong
                left = {agency: each for agency, each in left.items() if agency not in wrong}
                continue
            if answer.difference and (await self._writer.write(brought, edit_source=EditSource.HUB, by=by)).is_refused:
                raise VersionConflictError
            refusals |= dict.fromkeys(left, why) if (why := await self._not_taken_up(left, by)) else {}
            break
        return refusals

    async def _not_taken_up(self, offers: Mapping[str, DesiredDocument], by: str) -> str:
        """Apply the written documents, unless they are active; return why they are not, or ""."""
        in_force = {each.agency: each.text for each in self._configuration().documents}
        if all(in_force.get(agency) == each.text for agency, each in offers.items()):
            return ""
        problems = await self._reload(by)
        return "\n".join(str(each) for each in problems if each.severity is Severity.ERROR)[:_TOLD]


def _brought(offers: Collection[DesiredDocument], present: Mapping[str, DocumentVersion]) -> SubmittedDocuments:
    known = [each for each in offers if each.agency in present]
    leaving = frozenset(e.agency for e in known if e.text is None and present[e.agency].text is not None)
    return SubmittedDocuments(
        # The hub owns them: local edits are overwritten, and stay in the history.
        edit=DocumentEdit(over={each.agency: present[each.agency].number for each in known}, gone=leaving),
        sources=[
            AgencySource(called=called_in_store(each.agency), name=each.name, text=each.text)
            for each in offers
            if each.text is not None
        ],
    )


def _wrong(answer: DocumentsResult, offers: Collection[str]) -> Mapping[str, str]:
    """Return the problems by agency; a problem without an agency counts for all."""
    called = {called_in_store(agency): agency for agency in offers}
    found = dict[str, str]()
    for problem in answer.problems:
        if problem.file in called and (problem.severity is not Severity.WARNING or problem.key.endswith(_STORED)):
            found.setdefault(called[problem.file], str(problem)[:_TOLD])
    if not found and answer.is_refused:
        errors = [str(problem) for problem in answer.problems if problem.severity is Severity.ERROR]
        return dict.fromkeys(offers, "\n".join(errors)[:_TOLD])
    return found
