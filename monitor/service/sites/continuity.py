"""Whether this site has judged without a break. What it judged before one counts for nobody until runs confirm it."""

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
    """Marks what was judged before a start, or while this process stood still, as stale.

    A break is a silence of the whole site for longer than *fresh_for*: of a shorter one, or while another process of the
    site goes on, no judgement is too old.
    """

    def __init__(
        self,
        processes: Processes,
        standings: SiteStatuses,
        clock: Clock,
        *,
        site: str,
        fresh_for: timedelta,
        lag: LagMeter,
        watch: Callable[[], ProbingRuntime],
    ) -> None:
        self._processes = processes
        self._standings = standings
        self._clock = clock
        self._site = site
        self._fresh_for = fresh_for
        self._lag = lag
        self._watch = watch
        self._mark: LagSample | None = None
        #: Rows of the site are to be marked, as soon as the store takes it.
        self._owes = False

    async def begin(self) -> None:
        """Find out, before anything is judged, whether the site was silent before this start. Raise `StoreUnavailable`."""
        since = await self._continuous_since(self._clock.now())
        self._processes.continuous_since = since

    async def look(self) -> None:
        """Mark what was judged here as stale if this process has stood still since the last look. Raise `StoreUnavailable`."""
        before, self._mark = self._mark, self._lag.mark()
        if before is not None and self._lag.since(before).longest > self._fresh_for:
            await self._stood_still()
        if self._owes:
            await self._continuous_since(self._clock.now())

    async def _stood_still(self) -> None:
        now, watch = self._clock.now(), self._watch()
        log.warning("this process stood still; what it judged before is stale until runs confirm it")
        self._owes, self._processes.continuous_since = True, now
        watch.judge.mark_stale([name for name, route in watch.routes.items() if route.agency], now)
        watch.prober.confirm()
        # What is confirmed is written anew, over rows that are marked meanwhile.
        watch.pipeline.say_again()
        watch.pipeline.look_again()
        await watch.pipeline.speak()

    async def _continuous_since(self, now: datetime) -> datetime | None:
        last_beat, known = await self._processes.continuity()
        # Only what beats for the site writes that, and not before `look`; a process writes its own beat at any time.
        beat = (await self._standings.beats()).get(self._site)
        since = continuous_since(now, last_beat if beat is None else beat.at, known, self._fresh_for)
        if since == now:
            # Before the next beat, by which others believe what these rows say.
            await self._standings.mark_stale()
        self._owes = False
        return since
