"""Lets the sites of this hub go by its documents of agencies: what differs there is offered to them, again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import structlog

from monitor.config.files.section import IN_THE_STORE
from monitor.config.loading import Configuration
from monitor.config.model.site_document import site_document
from monitor.metrics import Metrics
from monitor.model.desired_document import OfferDifference
from monitor.model.document import WrittenDocument
from monitor.runtime.cooperative import yielding
from monitor.service.sites.asking import ask_each
from monitor.service.sites.heartbeat import steady
from monitor.store.sites.link import SiteConnection, SiteRefusedError
from monitor.store.sites.offering import offer

log = structlog.get_logger()

#: Each site is asked this often, and at once when something else is in force here.
_EVERY = timedelta(minutes=1)


class DocumentDistributor:
    """Writes the documents that are in force here for each site, less what a site is not given, and shows what became of it."""

    def __init__(
        self,
        members: Sequence[SiteConnection],
        metrics: Metrics,
        *,
        configuration: Callable[[], Configuration],
        is_ours: Callable[[], bool],
        offer: Callable[[SiteConnection, Mapping[str, WrittenDocument]], OfferDifference | None] = offer,
        steady: Callable[[], timedelta] = steady,
    ) -> None:
        """*is_ours*: whether this process does it for all that share the hub's store."""
        self._members = members
        self._metrics = metrics
        self._configuration = configuration
        self._is_ours = is_ours
        self._offer = offer
        self._steady = steady
        #: What was in force when sites were last asked, and when that was.
        self._asked_with: Sequence[WrittenDocument] | None = None
        self._asked_at = timedelta(0)
        #: By agency, a document and what a site is given of it.
        self._given: dict[str, tuple[WrittenDocument, WrittenDocument]] = {}
        #: By site and agency, what was logged.
        self._logged: dict[str, Mapping[str, str]] = {}

    async def look(self) -> None:
        """Offer what differs, where it is time for that. A site that does not answer holds up no other."""
        configuration = self._configuration()
        if configuration.settings.agencies != IN_THE_STORE or not self._is_ours():
            # Another process may show it.
            self._asked_with = None
            for member in self._members:
                self._metrics.watchdog.site_goes_by(member.site, None)
            return
        documents, now = configuration.documents, self._steady()
        if documents is self._asked_with and now - self._asked_at < _EVERY:
            return
        self._asked_with, self._asked_at = documents, now
        wanted = await self._wanted(documents)
        await ask_each(self._members, lambda each: self._offer(each, wanted), self._show)

    async def _wanted(self, documents: Sequence[WrittenDocument]) -> Mapping[str, WrittenDocument]:
        """Return what a site is given, by agency. Of thousands few have changed, and only those are written anew."""
        given = dict[str, tuple[WrittenDocument, WrittenDocument]]()
        async for each in yielding(documents):
            known = self._given.get(each.agency)
            given[each.agency] = known if known is not None and known[0] == each else (each, site_document(each))
        self._given = given
        return {agency: less for agency, (_, less) in given.items()}

    def _show(self, member: SiteConnection, found: OfferDifference | SiteRefusedError | None) -> None:
        if isinstance(found, SiteRefusedError):
            # That a wire is cut others tell. It is asked again in a minute.
            log.debug("a site could not be offered documents", site=member.site, why=str(found))
            self._metrics.watchdog.site_goes_by(member.site, None)
            return
        self._metrics.watchdog.site_goes_by(member.site, None if found is None else found.behind)
        if found is None:
            return
        if found.offered or found.leaving:
            agencies = [*(each.agency for each in found.offered), *found.leaving]
            log.info(
                "documents offered to a site", site=member.site, agencies=len(agencies), some=sorted(agencies)[:10]
            )
        logged = self._logged.get(member.site, {})
        for agency, why in found.refused.items():
            if logged.get(agency) != why:
                log.error(
                    "a site cannot use a document, and goes by the one before", site=member.site, agency=agency, why=why
                )
        self._logged[member.site] = found.refused
