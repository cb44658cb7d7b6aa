"""Distributes this hub's agency documents to its sites, repeatedly, as desired documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import structlog

from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import Configuration
from monitor.config.model.site_document import site_document
from monitor.metrics import Metrics
from monitor.model.desired_document import OfferDifference
from monitor.model.document import WrittenDocument
from monitor.runtime.cooperative import yielding
from monitor.service.sites.asking import ask_each
from monitor.service.sites.heartbeat import monotonic
from monitor.store.sites.link import SiteConnection, SiteRefusedError
from monitor.store.sites.offering import offer

log = structlog.get_logger()

#: Interval per site; a changed configuration is distributed at once.
_EVERY = timedelta(minutes=1)


class DocumentDistributor:
    """Writes the current documents for each site, without the parts that sites do not receive, and exports the results."""

    def __init__(
        self,
        members: Sequence[SiteConnection],
        metrics: Metrics,
        *,
        configuration: Callable[[], Configuration],
        is_ours: Callable[[], bool],
        offer: Callable[[SiteConnection, Mapping[str, WrittenDocument]], OfferDifference | None] = offer,
        monotonic: Callable[[], timedelta] = monotonic,
    ) -> None:
        """*is_ours*: whether this process does it for all on the hub's store."""
        self._members = members
        self._metrics = metrics
        self._configuration = configuration
        self._is_ours = is_ours
        self._offer = offer
        self._monotonic = monotonic
        #: The documents at the last distribution, and its time.
        self._asked_with: Sequence[WrittenDocument] | None = None
        self._asked_at = timedelta(0)
        #: By agency: a document, and its part for sites.
        self._given: dict[str, tuple[WrittenDocument, WrittenDocument]] = {}
        #: By site and agency: the logged result.
        self._logged: dict[str, Mapping[str, str]] = {}

    async def look(self) -> None:
        """Distribute changes if it is time. An unreachable site does not delay the others."""
        configuration = self._configuration()
        if configuration.settings.agencies != IN_DATABASE or not self._is_ours():
            # Another process exports the metrics.
            self._asked_with = None
            for member in self._members:
                self._metrics.watchdog.site_goes_by(member.site, None)
            return
        documents, now = configuration.documents, self._monotonic()
        if documents is self._asked_with and now - self._asked_at < _EVERY:
            return
        self._asked_with, self._asked_at = documents, now
        wanted = await self._wanted(documents)
        await ask_each(self._members, lambda each: self._offer(each, wanted), self._show)

    async def _wanted(self, documents: Sequence[WrittenDocument]) -> Mapping[str, WrittenDocument]:
        """Return the documents for sites, by agency. Of thousands few have changed, and only those are converted."""
        given = dict[str, tuple[WrittenDocument, WrittenDocument]]()
        async for each in yielding(documents):
            known = self._given.get(each.agency)
            given[each.agency] = known if known is not None and known[0] == each else (each, site_document(each))
        self._given = given
        return {agency: less for agency, (_, less) in given.items()}

    def _show(self, member: SiteConnection, found: OfferDifference | SiteRefusedError | None) -> None:
        if isinstance(found, SiteRefusedError):
            # Other checks report a broken connection. It is tried again in a minute.
            log.debug("documents could not be sent to a site", site=member.site, reason=str(found))
            self._metrics.watchdog.site_goes_by(member.site, None)
            return
        self._metrics.watchdog.site_goes_by(member.site, None if found is None else found.behind)
        if found is None:
            return
        if found.offered or found.leaving:
            agencies = [*(each.agency for each in found.offered), *found.leaving]
            log.info(
                "documents sent to a site", site=member.site, agencies=len(agencies), examples=sorted(agencies)[:10]
            )
        logged = self._logged.get(member.site, {})
        for agency, why in found.refused.items():
            if logged.get(agency) != why:
                log.error(
                    "site rejected a document; its old one stays active", site=member.site, agency=agency, reason=why
                )
        self._logged[member.site] = found.refused
