"""Distribution of this hub's agency documents (YAML) to its sites.

A hub combines the results of several sites. It writes the documents into each site's database as desired documents;
`DocumentApplier` applies them there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import structlog

from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import Configuration
from monitor.config.model.site_document import site_document
from monitor.metrics import Metrics
from monitor.model.desired_document import SiteDocumentChanges
from monitor.model.document import WrittenDocument
from monitor.runtime.cooperative import yielding
from monitor.service.sites.heartbeat import monotonic
from monitor.service.sites.site_queries import query_sites
from monitor.store.sites.desired_documents import write_desired_documents
from monitor.store.sites.link import SiteConnection, SiteRefusedError

log = structlog.get_logger()

#: Interval of distributions while the configuration is unchanged. A changed configuration is distributed at once.
_INTERVAL = timedelta(minutes=1)


class DocumentDistributor:
    """Writer of the current documents to each site, without the parts that are only for the hub, such as contacts.

    Exports the results as metrics.
    """

    def __init__(
        self,
        connections: Sequence[SiteConnection],
        metrics: Metrics,
        *,
        configuration: Callable[[], Configuration],
        is_leader: Callable[[], bool],
        write_documents: Callable[
            [SiteConnection, Mapping[str, WrittenDocument]], SiteDocumentChanges | None
        ] = write_desired_documents,
        monotonic: Callable[[], timedelta] = monotonic,
    ) -> None:
        """Take *is_leader*, which returns whether this process does the work that exactly one process of the hub does.

        *write_documents* writes desired documents to a site. It returns the difference from the documents there; `None`:
        the site does not use documents from a hub.
        """
        self._connections = connections
        self._metrics = metrics
        self._configuration = configuration
        self._is_leader = is_leader
        self._write_documents = write_documents
        self._monotonic = monotonic
        #: The documents of the last distribution; `None`: there was none, or this process is not the leader.
        self._distributed: Sequence[WrittenDocument] | None = None
        #: Time of the last distribution, by the monotonic clock.
        self._distributed_at = timedelta(0)
        #: By agency: the hub's document, and its variant for sites.
        self._converted: dict[str, tuple[WrittenDocument, WrittenDocument]] = {}
        #: By site and agency: the reason that was logged last for a rejected document.
        self._logged_rejections: dict[str, Mapping[str, str]] = {}

    async def distribute(self) -> None:
        """Distribute the documents if they have changed or the interval has passed.

        An unreachable site does not delay the others.
        """
        configuration = self._configuration()
        if configuration.settings.agencies != IN_DATABASE or not self._is_leader():
            # Remove this process's metrics: only the leader exports them.
            self._distributed = None
            for connection in self._connections:
                self._metrics.watchdog.set_outdated_site_documents(connection.site, None)
            return
        documents, now = configuration.documents, self._monotonic()
        if documents is self._distributed and now - self._distributed_at < _INTERVAL:
            return
        self._distributed, self._distributed_at = documents, now
        site_documents = await self._site_documents(documents)
        await query_sites(
            self._connections, lambda each: self._write_documents(each, site_documents), self._record_result
        )

    async def _site_documents(self, documents: Sequence[WrittenDocument]) -> Mapping[str, WrittenDocument]:
        """Return the documents for sites, by agency. Convert only changed documents: there may be thousands of others."""
        converted = dict[str, tuple[WrittenDocument, WrittenDocument]]()
        async for each in yielding(documents):
            previous = self._converted.get(each.agency)
            if previous is None or previous[0] != each:
                previous = each, site_document(each)
            converted[each.agency] = previous
        self._converted = converted
        return {agency: for_sites for agency, (_, for_sites) in converted.items()}

    def _record_result(self, connection: SiteConnection, result: SiteDocumentChanges | SiteRefusedError | None) -> None:
        if isinstance(result, SiteRefusedError):
            # Other checks report a broken connection. The next distribution tries again.
            log.debug("documents could not be sent to a site", site=connection.site, reason=str(result))
            self._metrics.watchdog.set_outdated_site_documents(connection.site, None)
            return
        self._metrics.watchdog.set_outdated_site_documents(connection.site, None if result is None else result.outdated)
        if result is None:
            return
        if result.updated or result.removed:
            agencies = [*(each.agency for each in result.updated), *result.removed]
            log.info(
                "documents sent to a site", site=connection.site, agencies=len(agencies), examples=sorted(agencies)[:10]
            )
        logged = self._logged_rejections.get(connection.site, {})
        for agency, reason in result.rejected.items():
            if logged.get(agency) != reason:
                log.error(
                    "site rejected a document; its old one stays active",
                    site=connection.site,
                    agency=agency,
                    reason=reason,
                )
        self._logged_rejections[connection.site] = result.rejected
