"""Check whether this site has evaluated health without interruption.

A status from before an interruption is stale: a hub ignores it until a new run at this site confirms it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from alerts.persistence.clock import Clock
from monitor.evaluation.joint.freshness import continuous_since
from monitor.probing.lag import LagMeter, LagSample
from monitor.service.probing_runtime import ProbingRuntime
from monitor.store.probing.processes import Processes
from monitor.store.probing.statuses import SiteStatuses

log = structlog.get_logger()


class SiteContinuity:
    """Marker of stale statuses after a start or a suspension of this process.

    Statuses become stale only if the whole site was silent for longer than *stale_after*. They stay valid after a
    shorter silence, and while another process of the site continues.
    """

    def __init__(
        self,
        processes: Processes,
        statuses: SiteStatuses,
        clock: Clock,
        *,
        site: str,
        stale_after: timedelta,
        lag: LagMeter,
        runtime: Callable[[], ProbingRuntime],
    ) -> None:
        self._processes = processes
        self._statuses = statuses
        self._clock = clock
        self._site = site
        self._stale_after = stale_after
        self._lag = lag
        self._runtime = runtime
        self._last_lag_sample: LagSample | None = None
        #: Whether the site's rows must be marked as soon as the database is available.
        self._must_mark_stale = False

    async def begin(self) -> None:
        """Determine, before any evaluation, whether the site was silent before this start. Raise `StoreUnavailable`."""
        since = await self._continuous_since(self._clock.now())
        self._processes.continuous_since = since

    async def check(self) -> None:
        """Mark statuses as stale if this process was suspended since the last call. Raise `StoreUnavailable`."""
        previous, self._last_lag_sample = self._last_lag_sample, self._lag.mark()
        if previous is not None and self._lag.lag_since(previous).longest > self._stale_after:
            await self._handle_stall()
        if self._must_mark_stale:
            await self._continuous_since(self._clock.now())

    async def _handle_stall(self) -> None:
        now, runtime = self._clock.now(), self._runtime()
        log.warning("process was stalled; health is stale until new runs confirm it")
        self._must_mark_stale, self._processes.continuous_since = True, now
        runtime.evaluator.mark_stale([name for name, route in runtime.routes.items() if route.agency], now)
        runtime.prober.advance_stale_routes()
        # Write each status again once a run confirms it, even if it is unchanged: its row is marked as stale meanwhile.
        runtime.pipeline.rewrite_statuses()
        runtime.pipeline.apply_routes()
        await runtime.pipeline.report_pending()

    async def _continuous_since(self, now: datetime) -> datetime | None:
        process_heartbeat, stored_since = await self._processes.continuity()
        # Prefer the site's heartbeat: its only writer calls `check` first. Every process writes its own heartbeat at
        # any time.
        site_heartbeat = (await self._statuses.heartbeats()).get(self._site)
        last_heartbeat = process_heartbeat if site_heartbeat is None else site_heartbeat.at
        since = continuous_since(now, last_heartbeat, stored_since, self._stale_after)
        if since == now:
            # Before the next heartbeat: hubs trust the rows of a site with a heartbeat.
            await self._statuses.reset_to_unknown()
        self._must_mark_stale = False
        return since
