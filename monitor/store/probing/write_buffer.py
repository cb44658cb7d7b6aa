"""What could not be written while the store was away, kept in memory until it is back.

Probing does not wait for the store: a run that ends while it is away is written when it is back. What is kept is
bounded; the oldest goes first. Of a level, which takes the place of what was said before it, only the latest is kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NoReturn

import structlog
from sqlalchemy import Executable

from alerts.engine.group_commit import GroupCommit
from alerts.persistence.store import StoreUnavailable
from monitor.store.backend.availability import StoreAvailability
from monitor.store.backend.repository import Statement

log = structlog.get_logger()

#: So many writes are kept: ten thousand routes that are probed every five minutes write as many in twelve.
AT_MOST = 50_000
#: Written in one commit when the store is back.
_TOGETHER = 500
#: In seconds, between two looks whether it is back: a little longer than it is refused without being tried
#: (`monitor.store.backend.availability`).
_PAUSE = 1.1

#: In seconds. A commit takes milliseconds; a server that stands still is given up after ten seconds, and the driver waits for
#: twice as long. No run waits for that.
_PATIENCE = 2.0


class WriteBuffer:
    """Writes now if it can be, and later if it cannot."""

    def __init__(
        self,
        together: GroupCommit[Sequence[Statement]],
        presence: StoreAvailability,
        *,
        first: Executable,
        at_most: int = AT_MOST,
    ) -> None:
        """*first*: the statement that comes before all others when many are written in one commit."""
        self._together = together
        self._presence = presence
        self._first = first
        self._waiting: deque[Sequence[Statement]] = deque(maxlen=at_most)
        #: By what they are about: levels that are not stored yet.
        self._levels: dict[str, Statement] = {}
        self._lost = 0
        self._has_some = asyncio.Event()
        self._catching_up = asyncio.Lock()
        self._under_way = 0

    def __len__(self) -> int:
        """Return how many writes are not stored yet."""
        return len(self._waiting) + self._under_way

    async def write(self, *statements: Statement, levels: Mapping[str, Statement] | None = None) -> None:
        """Return when all is stored, or at once when the store is away: then *statements* wait, and the latest *levels*.

        So they do after a while when the store stands still. *levels*: by what they are about, each a statement that leaves
        nothing of what was stored of it before. Raise what the database raises otherwise: a bug of ours, and nothing of it
        waits.
        """
        levels = levels or {}
        # Before they are written: one that is said meanwhile takes the place of one that cannot be.
        self._levels |= levels
        # Where others wait, it waits behind them: a later judgement must not be overwritten by an earlier one.
        if self._presence.away_since is None and not len(self):
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._together.write((*statements, *levels.values()))
            # The commit may go on, and reports its failure to nobody. What is written twice is stored once.
            except (StoreUnavailable, TimeoutError):
                pass
            except asyncio.CancelledError:
                self._keep(statements)
                raise
            except BaseException:
                self._let_go(levels)
                raise
            else:
                self._let_go(levels)
                return
        self._keep(statements)

    def _let_go(self, levels: Mapping[str, Statement]) -> None:
        for about, level in levels.items():
            if self._levels.get(about) is level:
                del self._levels[about]

    def _keep(self, statements: Sequence[Statement]) -> None:
        if len(self._waiting) == self._waiting.maxlen:
            if not self._lost:
                log.error("the store has been away for too long; the oldest results of probes are lost")
            self._lost += 1
        self._waiting.append(statements)
        self._has_some.set()

    async def keep_writing(self) -> NoReturn:
        """Write what waits as soon as the store takes it, until cancelled."""
        while True:
            await self._has_some.wait()
            self._has_some.clear()
            while len(self):
                await self.catch_up()
                if len(self):
                    await asyncio.sleep(_PAUSE)

    async def drain(self, within: timedelta) -> None:
        """Write what waits before the process ends; log how many writes are lost when the store has not taken them *within*."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within.total_seconds()
        await self.catch_up()
        while len(self) and loop.time() + _PAUSE <= until:
            await asyncio.sleep(_PAUSE)
            await self.catch_up()
        if len(self):
            log.error("the store stayed away until the end; results of probes are lost", runs_and_tokens=len(self))

    async def catch_up(self) -> None:
        """Write what waits, as far as the store takes it."""
        async with self._catching_up:
            written = 0
            try:
                while self._waiting:
                    some = [self._waiting.popleft() for _ in range(min(_TOGETHER, len(self._waiting)))]
                    self._under_way = len(some)
                    written += len(some)
                    # With the first of what waits: how things stand now is what others wait for.
                    levels, self._levels = self._levels, {}
                    some.append(stand := [*levels.values()])
                    await self._store(some)
            # A service that stops while the store hangs is cancelled here, and writes once more at its end.
            except (StoreUnavailable, asyncio.CancelledError) as failure:
                self._levels = levels | self._levels
                self._put_back([each for each in some if each is not stand])
                if isinstance(failure, asyncio.CancelledError):
                    raise
                return
            finally:
                self._under_way = 0
        if written:
            log.info("wrote down what had waited for the store", runs_and_tokens=written, lost=self._lost)
            self._lost = 0

    async def _store(self, some: list[Sequence[Statement]]) -> None:
        """Write *some*; raise `StoreUnavailable` with those left in it that are not written."""
        try:
            await self._together.write(self._in_order(some))
        except StoreUnavailable:
            raise
        # One that cannot be written (our bug) must not keep the others waiting for ever.
        except Exception:  # noqa: BLE001 - it is met again below
            while some:
                try:
                    await self._together.write(some[0])
                except StoreUnavailable:
                    raise
                except Exception:
                    log.exception("a result that had waited for the store could not be written")
                some.pop(0)

    def _put_back(self, some: Sequence[Sequence[Statement]]) -> None:
        for statements in reversed(some):
            # Full in the meantime: what came later stays.
            if len(self._waiting) == self._waiting.maxlen:
                self._lost += 1
            else:
                self._waiting.appendleft(statements)

    def _in_order(self, some: Iterable[Sequence[Statement]]) -> Sequence[Statement]:
        """Return all statements in the order of their writes, but *first* before the others.

        A commit runs equal statements together, in the order in which each is first met: the token that is sent must
        come before what is told of its arrival, whichever write was met first.
        """
        every = [statement for statements in some for statement in statements]
        return sorted(every, key=lambda statement: statement[0] is not self._first)
