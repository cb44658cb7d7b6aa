"""Publishes this site's runs to a hub: in parts, apart from the runs, so that its heartbeat waits for at most one part."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from alerts.persistence.clock import Clock
from monitor.service.sites.heartbeat import monotonic
from monitor.store.probing.site_runs import AT_ONCE, TOLD_MEMORY, SiteRunWriter

#: Each transaction that writes a run has ended by then: it takes ten seconds at most.
_SETTLED = timedelta(seconds=30)

#: How far before the first request a site begins with its failed runs, and with its hours; and how far back it looks
#: for changed hours, since runs that were buffered during an outage of the database are counted afterwards.
_FAILED_BEFORE, _HOURS_BEFORE, _COUNTED_LATE = timedelta(days=1), TOLD_MEMORY - timedelta(days=1), timedelta(hours=26)

#: An hour is published this long after its end: its last runs have ended.
_HOUR_ENDS = timedelta(minutes=15)

_HOUR = timedelta(hours=1)

#: Number of rows of a part that is followed by a pause.
_LARGE = 500


class SiteRunReporter:
    """Publishes runs that did not deliver, and hourly counts of all, to a subscribed hub."""

    def __init__(
        self,
        teller: SiteRunWriter,
        clock: Clock,
        *,
        monotonic: Callable[[], timedelta] = monotonic,
        pause: timedelta = timedelta(seconds=1),
    ) -> None:
        """*pause*: between two parts, for the heartbeat."""
        self._teller = teller
        self._clock = clock
        self._monotonic = monotonic
        self._pause = pause
        #: Times of checks, and the newest run at each.
        self._seen: deque[tuple[timedelta, int]] = deque()
        #: All failed runs up to this are published; `None`: publishing has just begun.
        self._told: int | None = None
        #: The last hour that is published completely.
        self._hour: datetime | None = None
        #: A hub has joined this site, by the last check.
        self.has_hub = False
        #: The hub reads the published rows.
        self.is_heard = False

    async def tell(self) -> None:
        """Publish what is new. Raise `StoreUnavailable`."""
        has_hub = await self._teller.has_hub()
        # Both at once: between the two a page would show that the hub does not read this site.
        self.is_heard = has_hub and await self._teller.is_heard()
        self.has_hub = has_hub
        if not self.has_hub:
            self._seen.clear()
            self._told = self._hour = None
            return
        if (settled := await self._look()) is None:
            return
        now = self._clock.now()
        if self._told is None:
            self._told = await self._teller.before(now - _FAILED_BEFORE)
        if await self._tell_failed(self._told, self._seen[-1][1], now):
            self._told = max(self._told, settled)
        await self._tell_hours(now)

    async def _tell_failed(self, beyond: int, newest: int, now: datetime) -> bool:
        """Publish part after part; return whether all is published."""
        while beyond < newest:
            upto = min(beyond + AT_ONCE, newest)
            if (told := await self._teller.tell_failed(beyond, upto, now)) is None:
                return False
            beyond = upto
            await self._let_through(told)
        return True

    async def _look(self) -> int | None:
        """Return the number up to which all runs are complete; `None`: it is not known yet."""
        now = self._monotonic()
        self._seen.append((now, await self._teller.newest()))
        while len(self._seen) > 1 and self._seen[1][0] <= now - _SETTLED:
            self._seen.popleft()
        at, newest = self._seen[0]
        return newest if at <= now - _SETTLED else None

    async def _tell_hours(self, now: datetime) -> None:
        last = (now - _HOUR - _HOUR_ENDS).replace(minute=0, second=0, microsecond=0)
        if self._hour is not None and last < self._hour:
            # The clock was set back: the hours since are not published.
            self._hour = None
        if last == self._hour:
            return
        begins = last - (_HOURS_BEFORE if self._hour is None else _COUNTED_LATE)
        # A new site has a week without counts.
        while (counted := await self._teller.first_hour(begins, last)) is not None:
            if (told := await self._teller.tell_hour(counted, now)) is None:
                return
            await self._let_through(told)
            begins = counted if told >= AT_ONCE else counted + _HOUR
        self._hour = last

    async def _let_through(self, told: int) -> None:
        """Wait after a large part, for the heartbeat."""
        if told >= _LARGE:
            await asyncio.sleep(self._pause.total_seconds())
