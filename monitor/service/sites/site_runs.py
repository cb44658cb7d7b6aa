"""Publication of this site's probe runs to a hub, the installation that combines the results of several sites.

Publishing means writing rows that PostgreSQL replicates to the hub. The rows are written in parts, and not in the
transaction that stores a run. Replication keeps the order of rows, so the site's heartbeat, by which the hub sees that
the site is alive, waits for at most one part.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from alerts.persistence.clock import Clock
from monitor.service.sites.heartbeat import monotonic
from monitor.store.probing.site_runs import MAX_BATCH_ROWS, PUBLISHED_RETENTION, SiteRunWriter

#: After this time, each transaction that writes a run has ended: it takes ten seconds at most.
_MAX_TRANSACTION_TIME = timedelta(seconds=30)

#: A new hub gets the failed runs of this period.
_FAILED_RUNS_PERIOD = timedelta(days=1)

#: A new hub gets the hourly counts of this period, a day less than published rows are retained.
_HOURS_PERIOD = PUBLISHED_RETENTION - timedelta(days=1)

#: Period in which hours with changed counts are published again: runs that were buffered during a database outage are
#: counted late.
_RECOUNT_PERIOD = timedelta(hours=26)

#: An hour is published this long after its end, when its last runs have ended.
_HOUR_DELAY = timedelta(minutes=15)

_HOUR = timedelta(hours=1)

#: Number of rows of a part that is followed by a pause.
_LARGE_PART = 500


class SiteRunReporter:
    """Publisher of failed runs and of hourly counts of all runs, while a hub has joined this site."""

    def __init__(
        self,
        writer: SiteRunWriter,
        clock: Clock,
        *,
        monotonic: Callable[[], timedelta] = monotonic,
        pause: timedelta = timedelta(seconds=1),
    ) -> None:
        """Take *pause*, the pause after a large part, in which the heartbeat is replicated."""
        self._writer = writer
        self._clock = clock
        self._monotonic = monotonic
        self._pause = pause
        #: Monotonic times of checks, and the number of the newest run at each time; the oldest first.
        self._newest_runs: deque[tuple[timedelta, int]] = deque()
        #: Number up to which all failed runs are published; `None`: publishing has not begun.
        self._published_run: int | None = None
        #: The last hour that is published completely.
        self._published_hour: datetime | None = None
        #: Whether a hub has joined this site, by the last check.
        self.has_hub = False
        #: Whether the hub reads the published rows, by the last check.
        self.is_read = False

    async def publish(self) -> None:
        """Publish new failed runs and hours. Raise `StoreUnavailable`."""
        has_hub = await self._writer.has_hub()
        # Set both values together, after the queries. Otherwise a page could show, between the assignments, that the
        # hub does not read this site.
        self.is_read = has_hub and await self._writer.is_read_by_hub()
        self.has_hub = has_hub
        if not self.has_hub:
            self._newest_runs.clear()
            self._published_run = self._published_hour = None
            return
        if (last_committed := await self._last_committed_run()) is None:
            return
        now = self._clock.now()
        if self._published_run is None:
            self._published_run = await self._writer.run_id_before(now - _FAILED_RUNS_PERIOD)
        if await self._publish_failed(self._published_run, self._newest_runs[-1][1], now):
            self._published_run = max(self._published_run, last_committed)
        await self._publish_hours(now)

    async def _publish_failed(self, after: int, newest: int, now: datetime) -> bool:
        """Publish in parts the failed runs whose numbers are above *after* and up to *newest*.

        Return whether all are published; `False`: another process publishes at the same time.
        """
        while after < newest:
            upto = min(after + MAX_BATCH_ROWS, newest)
            if (rows := await self._writer.publish_failed(after, upto, now)) is None:
                return False
            after = upto
            await self._pause_after(rows)
        return True

    async def _last_committed_run(self) -> int | None:
        """Return the number up to which all runs are committed; `None`: it is not known yet.

        Transactions commit out of order, so a run may appear after a run with a higher number. All runs up to a number
        that was the newest `_MAX_TRANSACTION_TIME` ago are committed.
        """
        now = self._monotonic()
        self._newest_runs.append((now, await self._writer.latest_run_id()))
        while len(self._newest_runs) > 1 and self._newest_runs[1][0] <= now - _MAX_TRANSACTION_TIME:
            self._newest_runs.popleft()
        at, newest = self._newest_runs[0]
        return newest if at <= now - _MAX_TRANSACTION_TIME else None

    async def _publish_hours(self, now: datetime) -> None:
        last_hour = (now - _HOUR - _HOUR_DELAY).replace(minute=0, second=0, microsecond=0)
        if self._published_hour is not None and last_hour < self._published_hour:
            # The clock was set back: the counts of the present hours are not published yet.
            self._published_hour = None
        if last_hour == self._published_hour:
            return
        starts_at = last_hour - (_HOURS_PERIOD if self._published_hour is None else _RECOUNT_PERIOD)
        # `first_hour` skips hours without counts, of which a new site has a week.
        while (hour := await self._writer.first_hour(starts_at, last_hour)) is not None:
            if (rows := await self._writer.publish_hour(hour, now)) is None:
                return
            await self._pause_after(rows)
            # After a full part, more rows of the same hour may remain.
            starts_at = hour if rows >= MAX_BATCH_ROWS else hour + _HOUR
        self._published_hour = last_hour

    async def _pause_after(self, rows: int) -> None:
        """After a part with many *rows*, pause, so that the heartbeat is replicated before the next part."""
        if rows >= _LARGE_PART:
            await asyncio.sleep(self._pause.total_seconds())
