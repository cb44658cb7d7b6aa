"""Monitoring of PostgreSQL's logical replication from the sites' databases to this hub's database.

A hub is the installation that decides by the statuses of several sites (installations that probe), and notifies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from monitor.evaluation.joint.replication import Replication
from monitor.metrics import Metrics
from monitor.service.sites.site_queries import query_sites
from monitor.store.sites import joining
from monitor.store.sites.link import SiteConnection, SiteRefusedError

log = structlog.get_logger()


class ReplicationMonitor:
    """Monitor of each site's replication: publication and slot at the site, subscription at the hub.

    Exports metrics and repairs nothing.
    """

    def __init__(
        self,
        connections: Sequence[SiteConnection],
        metrics: Metrics,
        *,
        notifies: bool = True,
        check_link: Callable[[SiteConnection], Replication] = joining.read_replication,
    ) -> None:
        """Take *notifies*, whether this hub sends notifications: if so, the monitor warns of other hubs at a site.

        *check_link* returns the state of the replication from one site.
        """
        self._connections = connections
        self._metrics = metrics
        self._notifies = notifies
        self._check_link = check_link
        #: By site: the result of the last successful check.
        self._last_results: dict[str, Replication] = {}

    async def check(self) -> None:
        """Check the replication from all sites once, concurrently."""
        await query_sites(self._connections, self._check_link, self._export)

    def _export(self, connection: SiteConnection, result: Replication | SiteRefusedError) -> None:
        if isinstance(result, SiteRefusedError):
            # Remove the outdated metric. Other checks report the failed connection.
            self._metrics.watchdog.set_site_replication(connection.site, None)
            return
        previous = self._last_results.get(connection.site)
        if self._notifies and result.other_hubs and (previous is None or previous.other_hubs != result.other_hubs):
            log.warning(
                "another hub reads this site; if both have `mode: notify`, people are notified twice",
                site=connection.site,
                slots=result.other_hubs,
            )
        self._metrics.watchdog.set_site_replication(
            connection.site,
            result.state(previous),
            lag_bytes=result.lag_bytes,
            # The errors since the last check: the database counts all errors.
            errors=result.errors - (previous or result).errors,
        )
        self._last_results[connection.site] = result
