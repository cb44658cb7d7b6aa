"""Check whether this site has evaluated health without interruption.

A site reports statuses of agencies to a hub. A status from before an interruption is stale: the hub ignores it until a
new probe run at this site confirms it.
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
    """Detector of interruptions, by a start or a suspension of this process, that marks statuses as stale.

    An interruption is a time longer than *stale_after* in which no process of the site wrote a heartbeat.
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
        """*lag* measures the lag of this process's event loop."""
        self._processes = processes
        self._statuses = statuses
        self._clock = clock
        self._site = site
        self._stale_after = stale_after
        self._lag = lag
        self._runtime = runtime
        self._last_lag_sample: LagSample | None = None
        #: Whether the site's statuses must be marked as stale as soon as the database is available.
        self._must_mark_stale = False

    async def begin(self) -> None:
        """Determine whether the site was interrupted before this start. Call it before any evaluation.

        Raise `StoreUnavailable`.
        """
        since = await self._continuous_since(self._clock.now())
        self._processes.continuous_since = since

    async def check(self) -> None:
        """Mark statuses as stale if this process was suspended since the last call. Raise `StoreUnavailable`."""
        previous, self._last_lag_sample = self._last_lag_sample, self._lag.take_sample()
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
        # Write each status again once a run confirms it, even if it is unchanged, because its row is marked as stale.
        runtime.pipeline.rewrite_statuses()
        runtime.pipeline.apply_routes()
        await runtime.pipeline.report_pending()

    async def _continuous_since(self, now: datetime) -> datetime | None:
        """Return since when the site has evaluated without interruption.

        If that is *now*, mark the site's statuses as stale.
        """
        process_heartbeat, stored_since = await self._processes.continuity()
        # Prefer the site's heartbeat: `SiteHeartbeatWriter` always calls `check` before it writes one. The heartbeat of
        # a process does not prove that the statuses were checked.
        site_heartbeat = (await self._statuses.heartbeats()).get(self._site)
        last_heartbeat = process_heartbeat if site_heartbeat is None else site_heartbeat.at
        since = continuous_since(now, last_heartbeat, stored_since, self._stale_after)
        if since == now:
            # Mark the statuses before the next heartbeat: hubs trust the statuses of a site with a heartbeat.
            await self._statuses.reset_to_unknown()
        self._must_mark_stale = False
        return since
