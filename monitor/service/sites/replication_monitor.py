"""What becomes of what sites say to this hub, between its store and theirs."""

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
    """Looks at both ends of what sites say to this hub, and shows what becomes of it. It mends nothing: that is a person's."""

    def __init__(
        self,
        members: Sequence[SiteConnection],
        metrics: Metrics,
        *,
        tells: bool = True,
        look: Callable[[SiteConnection], Replication] = joining.look,
    ) -> None:
        """*tells*: this hub tells people. Where another one that does reads a site, they are told twice."""
        self._members = members
        self._metrics = metrics
        self._tells = tells
        self._look = look
        self._seen: dict[str, Replication] = {}

    async def look(self) -> None:
        """Look once, at all of them at a time. Raise `StoreUnavailable`."""
        await ask_each(self._members, self._look, self._show)

    def _show(self, member: SiteConnection, seen: Replication | SiteRefusedError) -> None:
        if isinstance(seen, SiteRefusedError):
            # The hub's own store is away; others tell of that, and what was seen before is not so any more.
            self._metrics.watchdog.site_replicates(member.site, None)
            return
        before = self._seen.get(member.site)
        if self._tells and seen.other_hubs and (before is None or before.other_hubs != seen.other_hubs):
            log.warning(
                "another hub reads this site, too; where both have `mode: tell`, people are told twice",
                site=member.site,
                slots=seen.other_hubs,
            )
        self._metrics.watchdog.site_replicates(
            member.site, seen.state(before), behind=seen.behind, errors=seen.errors - (before or seen).errors
        )
        self._seen[member.site] = seen
