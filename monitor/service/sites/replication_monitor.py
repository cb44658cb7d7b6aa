"""Monitoring of the replication from the sites' stores to this hub's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from monitor.evaluation.joint.replication import Replication
from monitor.metrics import Metrics
from monitor.service.sites.asking import ask_each
from monitor.store.sites import joining
from monitor.store.sites.link import SiteConnection, SiteRefusedError

log = structlog.get_logger()


class ReplicationMonitor:
    """Monitors both ends of each link to this hub, and exports the result. It repairs nothing."""

    def __init__(
        self,
        members: Sequence[SiteConnection],
        metrics: Metrics,
        *,
        notifies: bool = True,
        look: Callable[[SiteConnection], Replication] = joining.look,
    ) -> None:
        """*tells*: this hub sends notifications. If another hub that does reads a site, people are notified twice."""
        self._members = members
        self._metrics = metrics
        self._notifies = notifies
        self._look = look
        self._seen: dict[str, Replication] = {}

    async def look(self) -> None:
        """Check all links once, concurrently. Raise `StoreUnavailable`."""
        await ask_each(self._members, self._look, self._show)

    def _show(self, member: SiteConnection, seen: Replication | SiteRefusedError) -> None:
        if isinstance(seen, SiteRefusedError):
            # The hub's own database is unavailable, which other checks report; earlier results are outdated.
            self._metrics.watchdog.site_replicates(member.site, None)
            return
        before = self._seen.get(member.site)
        if self._notifies and seen.other_hubs and (before is None or before.other_hubs != seen.other_hubs):
            log.warning(
                "another hub reads this site; if both have `mode: notify`, people are notified twice",
                site=member.site,
                slots=seen.other_hubs,
            )
        self._metrics.watchdog.site_replicates(
            member.site, seen.state(before), behind=seen.behind, errors=seen.errors - (before or seen).errors
        )
        self._seen[member.site] = seen
