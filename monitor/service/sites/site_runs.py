"""What this site tells a hub of its runs: in parts, beside them, so that its beat waits for no more than a part."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from alerts.persistence.clock import Clock
from monitor.service.sites.heartbeat import steady
from monitor.store.probing.site_runs import AT_ONCE, TOLD_MEMORY, SiteRunWriter

#: Whoever writes a run has ended by then, one way or the other: a transaction takes ten seconds at most.
_SETTLED = timedelta(seconds=30)

#: So long before it was asked to tell a site begins with its failed runs, and with its hours; and so far back it looks for
#: hours that are others by now, since what waited for a store that was away is counted when it is back.
_FAILED_BEFORE, _HOURS_BEFORE, _COUNTED_LATE = timedelta(days=1), TOLD_MEMORY - timedelta(days=1), timedelta(hours=26)

#: So long after its end an hour is told: its last runs have ended.
_HOUR_ENDS = timedelta(minutes=15)

_HOUR = timedelta(hours=1)

#: Rows of a part that is followed by a pause.
_LARGE = 500


class SiteRunReporter:
    """Tells a hub that listens to this site of runs that did not deliver, and of all by the hour."""

    def __init__(
        self,
        teller: SiteRunWriter,
        clock: Clock,
        *,
        steady: Callable[[], timedelta] = steady,
        pause: timedelta = timedelta(seconds=1),
    ) -> None:
        """*pause*: between two parts, for the beat to come through."""
        self._teller = teller
        self._clock = clock
        self._steady = steady
        self._pause = pause
        #: When it was looked, and the newest run of then.
        self._seen: deque[tuple[timedelta, int]] = deque()
        #: All failed runs up to this are told; `None`: it has just begun to tell.
        self._told: int | None = None
        #: The last hour of which all is told.
        self._hour: datetime | None = None
        #: A hub has let this site join, as was last looked.
        self.has_hub = False
        #: And it reads what is told.
        self.is_heard = False

    async def tell(self) -> None:
        """Tell what there is. Raise `StoreUnavailable`."""
        has_hub = await self._teller.has_hub()
        # Both at once: between the two a page would say that the hub does not hear this site.
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
        """Tell part after part; return whether all is told."""
        while beyond < newest:
            upto = min(beyond + AT_ONCE, newest)
            if (told := await self._teller.tell_failed(beyond, upto, now)) is None:
                return False
            beyond = upto
            await self._let_through(told)
        return True

    async def _look(self) -> int | None:
        """Return up to which run all are there that will ever be; `None`: that is not known yet."""
        now = self._steady()
        self._seen.append((now, await self._teller.newest()))
        while len(self._seen) > 1 and self._seen[1][0] <= now - _SETTLED:
            self._seen.popleft()
        at, newest = self._seen[0]
        return newest if at <= now - _SETTLED else None

    async def _tell_hours(self, now: datetime) -> None:
        last = (now - _HOUR - _HOUR_ENDS).replace(minute=0, second=0, microsecond=0)
        if self._hour is not None and last < self._hour:
            # The clock was set back: of the hours since nothing is told.
            self._hour = None
        if last == self._hour:
            return
        begins = last - (_HOURS_BEFORE if self._hour is None else _COUNTED_LATE)
        # A site that is new has a week of which nothing was counted.
        while (counted := await self._teller.first_hour(begins, last)) is not None:
            if (told := await self._teller.tell_hour(counted, now)) is None:
                return
            await self._let_through(told)
            begins = counted if told >= AT_ONCE else counted + _HOUR
        self._hour = last

    async def _let_through(self, told: int) -> None:
        """Wait after a large part, for the beat to come through."""
        if told >= _LARGE:
            await asyncio.sleep(self._pause.total_seconds())
