"""What becomes of what sites say to this hub, between its store and theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from monitor.judging.joint.replication import Replication
from monitor.metrics import Metrics
from monitor.store.sites import joining
from monitor.store.sites.joining import MemberSite
from monitor.store.sites.link import SiteRefusedError


class Wires:
    """Looks at both ends of what sites say to this hub, and shows what becomes of it. It mends nothing: that is a person's."""

    def __init__(
        self,
        members: Sequence[MemberSite],
        metrics: Metrics,
        *,
        look: Callable[[MemberSite], Replication] = joining.look,
    ) -> None:
        self._members = members
        self._metrics = metrics
        self._look = look
        self._seen: dict[str, Replication] = {}

    async def look(self) -> None:
        """Look once, at all of them at a time: one that does not answer holds up no other. Raise `StoreAway`."""
        # Apart from those that make pages: a site that does not answer keeps one for seconds.
        threads = ThreadPoolExecutor(max(1, len(self._members)), thread_name_prefix="wires")
        try:
            async with asyncio.TaskGroup() as tasks:
                for member in self._members:
                    tasks.create_task(self._look_at(member, threads))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    async def _look_at(self, member: MemberSite, threads: Executor) -> None:
        try:
            # psycopg's own connections: these are other servers than the store's engine knows.
            seen = await asyncio.get_running_loop().run_in_executor(threads, self._look, member)
        except SiteRefusedError:
            # The hub's own store is away; others tell of that, and what was seen before is not so any more.
            self._metrics.watchdog.site_replicates(member.site, None)
            return
        before = self._seen.get(member.site)
        self._metrics.watchdog.site_replicates(
            member.site, seen.state(before), behind=seen.behind, errors=seen.errors - (before or seen).errors
        )
        self._seen[member.site] = seen
