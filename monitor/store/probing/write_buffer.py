"""Buffer in memory of writes during an outage of the database.

Probing does not wait for the database: a run that ends during an outage is written afterwards. The buffer is bounded;
the oldest write is dropped first. Of a level, which replaces its earlier value, only the latest is kept.
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

#: Ten thousand routes with an interval of five minutes cause as many writes in twelve minutes.
AT_MOST = 50_000
#: Number of writes per commit when the database is back.
_TOGETHER = 500
#: In seconds, between two attempts: a little longer than writes are refused without an attempt
#: (`monitor.store.backend.availability`).
_PAUSE = 1.1

#: In seconds. A commit takes milliseconds; a suspended server is given up after ten seconds, and the driver waits twice
#: as long. No run waits for that.
_PATIENCE = 2.0


class WriteBuffer:
    """Writes now if possible, otherwise later."""

    def __init__(
        self,
        together: GroupCommit[Sequence[Statement]],
        presence: StoreAvailability,
        *,
        first: Executable,
        at_most: int = AT_MOST,
    ) -> None:
        """*first*: the statement that precedes all others when many are written in one commit."""
        self._together = together
        self._presence = presence
        self._first = first
        self._waiting: deque[Sequence[Statement]] = deque(maxlen=at_most)
        #: By subject: levels that are not stored yet.
        self._levels: dict[str, Statement] = {}
        self._lost = 0
        self._has_some = asyncio.Event()
        self._catching_up = asyncio.Lock()
        self._under_way = 0

    def __len__(self) -> int:
        """Return the number of writes that are not stored yet."""
        return len(self._waiting) + self._under_way

    async def write(self, *statements: Statement, levels: Mapping[str, Statement] | None = None) -> None:
        """Return when everything is stored, or at once if the database is unavailable: then *statements* and the latest *levels* are buffered.

        They are also buffered after a while if the database does not respond. *levels*: by subject, each a statement
        that replaces the stored row completely. Raise any other database error: it is a bug of ours, and nothing is
        buffered.
        """
        levels = levels or {}
        # Before the write: a level set meanwhile replaces one that cannot be written.
        self._levels |= levels
        # If others are buffered, it is buffered after them: an earlier level must not overwrite a later one.
        if self._presence.away_since is None and not len(self):
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._together.write((*statements, *levels.values()))
            # The commit may continue, and nobody awaits its failure. A statement that is executed twice stores its row
            # once.
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
                log.error("database unavailable for too long; the oldest probe results are lost")
            self._lost += 1
        self._waiting.append(statements)
        self._has_some.set()

    async def keep_writing(self) -> NoReturn:
        """Write the buffer whenever the database is available, until cancelled."""
        while True:
            await self._has_some.wait()
            self._has_some.clear()
            while len(self):
                await self.catch_up()
                if len(self):
                    await asyncio.sleep(_PAUSE)

    async def drain(self, within: timedelta) -> None:
        """Write the buffer before the process ends; log the number of writes that are lost if that takes longer than *within*."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within.total_seconds()
        await self.catch_up()
        while len(self) and loop.time() + _PAUSE <= until:
            await asyncio.sleep(_PAUSE)
            await self.catch_up()
        if len(self):
            log.error("database was unavailable until the stop; probe results are lost", runs_and_tokens=len(self))

    async def catch_up(self) -> None:
        """Write as much of the buffer as possible."""
        async with self._catching_up:
            written = 0
            try:
                while self._waiting:
                    some = [self._waiting.popleft() for _ in range(min(_TOGETHER, len(self._waiting)))]
                    self._under_way = len(some)
                    written += len(some)
                    # With the first part: other sites and processes wait for the present levels.
                    levels, self._levels = self._levels, {}
                    some.append(stand := [*levels.values()])
                    await self._store(some)
            # A service that stops while the database does not respond is cancelled here, and writes once more at its
            # end.
            except (StoreUnavailable, asyncio.CancelledError) as failure:
                self._levels = levels | self._levels
                self._put_back([each for each in some if each is not stand])
                if isinstance(failure, asyncio.CancelledError):
                    raise
                return
            finally:
                self._under_way = 0
        if written:
            log.info("buffered results written", runs_and_tokens=written, lost=self._lost)
            self._lost = 0

    async def _store(self, some: list[Sequence[Statement]]) -> None:
        """Write *some*; raise `StoreUnavailable` with the unwritten ones left in it."""
        try:
            await self._together.write(self._in_order(some))
        except StoreUnavailable:
            raise
        # A write that fails because of a bug must not block the others for ever.
        except Exception:  # noqa: BLE001 - it is met again below
            while some:
                try:
                    await self._together.write(some[0])
                except StoreUnavailable:
                    raise
                except Exception:
                    log.exception("buffered result could not be written")
                some.pop(0)

    def _put_back(self, some: Sequence[Sequence[Statement]]) -> None:
        for statements in reversed(some):
            # The buffer filled up in the meantime: later writes stay.
            if len(self._waiting) == self._waiting.maxlen:
                self._lost += 1
            else:
                self._waiting.appendleft(statements)

    def _in_order(self, some: Iterable[Sequence[Statement]]) -> Sequence[Statement]:
        """Return all statements in the order of their writes, but *first* before the others.

        A commit executes equal statements together, in the order of their first occurrence: a sent token must precede
        its arrival, whichever write came first.
        """
        every = [statement for statements in some for statement in statements]
        return sorted(every, key=lambda statement: statement[0] is not self._first)
