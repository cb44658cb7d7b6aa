"""Whether this site has evaluated health without interruption. Older statuses do not count until runs confirm them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from alerts.persistence.clock import Clock
from monitor.evaluation.joint.freshness import continuous_since
from monitor.probing.lag import LagMeter, LagSample
from monitor.service.probing_runtime import ProbingRuntime
from monitor.store.probing.processes import Processes
from monitor.store.probing.standings import SiteStatuses

log = structlog.get_logger()


class SiteContinuity:
    """Marks statuses from before a start, or a suspension of this process, as stale.

    An interruption is a silence of the whole site for longer than *stale_after*: after a shorter one, or while another
    process of the site continues, no status is too old.
    """

    def __init__(
        self,
        processes: Processes,
        standings: SiteStatuses,
        clock: Clock,
        *,
        site: str,
        stale_after: timedelta,
        lag: LagMeter,
        runtime: Callable[[], ProbingRuntime],
    ) -> None:
        self._processes = processes
        self._standings = standings
        self._clock = clock
        self._site = site
        self._stale_after = stale_after
        self._lag = lag
        self._runtime = runtime
        self._mark: LagSample | None = None
        #: Rows of the site must be marked as soon as the database is available.
        self._owes = False

    async def begin(self) -> None:
        """Determine, before any evaluation, whether the site was silent before this start. Raise `StoreUnavailable`."""
        since = await self._continuous_since(self._clock.now())
        self._processes.continuous_since = since

    async def look(self) -> None:
        """Mark statuses as stale if this process was suspended since the last call. Raise `StoreUnavailable`."""
        before, self._mark = self._mark, self._lag.mark()
        if before is not None and self._lag.since(before).longest > self._stale_after:
            await self._stood_still()
        if self._owes:
            await self._continuous_since(self._clock.now())

    async def _stood_still(self) -> None:
        now, runtime = self._clock.now(), self._runtime()
        log.warning("process was stalled; health is stale until new runs confirm it")
        self._owes, self._processes.continuous_since = True, now
        runtime.evaluator.mark_stale([name for name, route in runtime.routes.items() if route.agency], now)
        runtime.prober.confirm()
        # Confirmed statuses are written again, over rows that are marked meanwhile.
        runtime.pipeline.say_again()
        runtime.pipeline.look_again()
        await runtime.pipeline.speak()

    async def _continuous_since(self, now: datetime) -> datetime | None:
        last_beat, known = await self._processes.continuity()
        # Only the process that sends the site's heartbeat writes that row, after `look`; every process writes its own
        # heartbeat at any time.
        beat = (await self._standings.beats()).get(self._site)
        since = continuous_since(now, last_beat if beat is None else beat.at, known, self._stale_after)
        if since == now:
            # Before the next heartbeat, which makes others trust these rows.
            await self._standings.mark_stale()
        self._owes = False
        return since
