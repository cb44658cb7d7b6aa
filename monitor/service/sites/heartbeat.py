"""That this site lives, said each second behind all that it has judged before."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from secrets import token_hex

from alerts.persistence.clock import Clock
from monitor.evaluation.joint.freshness import FRESH_FOR, SiteHeartbeat
from monitor.store.probing.standings import SiteStatuses

#: Clocks that go so far apart within a second were set, or the machine stood still: nothing is known of the time between.
_APART = timedelta(seconds=1)


def steady() -> timedelta:
    """Return the time by a clock that is never set."""
    return timedelta(seconds=time.monotonic())


class SiteHeartbeatWriter:
    """Writes each second that the site lives, behind all that it has judged before."""

    def __init__(
        self,
        standings: SiteStatuses,
        clock: Clock,
        *,
        owes: Callable[[], bool],
        look: Callable[[], Awaitable[None]],
        fresh_for: timedelta = FRESH_FOR,
        is_ours: Callable[[], bool] = lambda: True,
        steady: Callable[[], timedelta] = steady,
    ) -> None:
        """*owes*: whether something judged is not written yet; then the site does not beat.

        *look*: marks what was judged before this process stood still (`SiteContinuity.look`), ahead of the beat that follows.
        *fresh_for*: after a silence that is longer another life begins, in which a hub learns anew that nothing waits here.

        *is_ours*: whether it is this process of the site that beats.
        """
        self._standings = standings
        self._clock = clock
        self._owes = owes
        self._look = look
        self._is_ours = is_ours
        self._steady = steady
        self._life = token_hex(8)
        #: The wall clock when the steady one read zero, as it was at the last beat.
        self._origin: datetime | None = None
        self._fresh_for = fresh_for
        #: When it last beat, by the steady clock.
        self._beaten: timedelta | None = None

    async def beat(self) -> None:
        """Beat once. Raise `StoreUnavailable`."""
        await self._look()
        now, steady = self._clock.now(), self._steady()
        was_silent = self._beaten is not None and steady - self._beaten > self._fresh_for
        if was_silent or (self._origin is not None and abs(now - steady - self._origin) > _APART):
            self._life = token_hex(8)
        self._origin = now - steady
        if self._is_ours() and not self._owes():
            await self._standings.beat(SiteHeartbeat(at=now, steady=steady, life=self._life))
            self._beaten = steady
