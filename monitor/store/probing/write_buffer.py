"""Buffer in memory for writes while the database is unavailable.

Probing does not wait for the database: a run that ends during an outage is written afterwards. The buffer is bounded,
and the oldest write is dropped first. A *level* is a write that replaces its earlier value completely, so only the
latest level of each subject is buffered.
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

#: Maximum number of buffered writes. Ten thousand routes, each probed every five minutes, fill the buffer in 12
#: minutes.
AT_MOST = 50_000
#: Number of writes per commit when the database is back.
_TOGETHER = 500
#: In seconds, between two attempts. After a failure, `monitor.store.backend.availability` refuses writes for a slightly
#: shorter time.
_PAUSE = 1.1

#: In seconds: maximum time that a run waits for a commit, which usually takes milliseconds. A suspended server is
#: noticed only after ten seconds.
_PATIENCE = 2.0


class WriteBuffer:
    """Writer that writes at once if possible, and otherwise later."""

    def __init__(
        self,
        group: GroupCommit[Sequence[Statement]],
        presence: StoreAvailability,
        *,
        first: Executable,
        at_most: int = AT_MOST,
    ) -> None:
        """*group* executes the statements. *first*: this statement precedes all others in a commit of many writes."""
        self._together = group
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
        """Store *statements* and *levels*; buffer them if the database is unavailable or does not respond in time.

        *levels*: by subject, each a statement that replaces the stored row completely; only the latest of a subject is
        buffered. Raise any other database error, which is caused by a bug of Pantau; then nothing is buffered.
        """
        levels = levels or {}
        # Record the levels before the write, so that a later level replaces them even if this write fails.
        self._levels |= levels
        # If other writes are buffered, buffer this write after them: an old level must not overwrite a new one.
        if self._presence.away_since is None and not len(self):
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._together.write((*statements, *levels.values()))
            # After a timeout the commit may still succeed. That does no harm: repeating a statement changes nothing.
            except (StoreUnavailable, TimeoutError):
                pass
            except asyncio.CancelledError:
                self._keep(statements)
                raise
            except BaseException:
                self._drop_superseded(levels)
                raise
            else:
                self._drop_superseded(levels)
                return
        self._keep(statements)

    def _drop_superseded(self, levels: Mapping[str, Statement]) -> None:
        for subject, level in levels.items():
            if self._levels.get(subject) is level:
                del self._levels[subject]

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
        """Write the buffer before the process ends; after *within*, log how many writes are lost."""
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
            count = 0
            try:
                while self._waiting:
                    batch = [self._waiting.popleft() for _ in range(min(_TOGETHER, len(self._waiting)))]
                    self._under_way = len(batch)
                    count += len(batch)
                    # Write all levels with the first batch, because the hub and other processes wait for them.
                    levels, self._levels = self._levels, {}
                    batch.append(stand := [*levels.values()])
                    await self._store(batch)
            # If the service stops while the database does not respond, this task is cancelled. `drain` tries again.
            except (StoreUnavailable, asyncio.CancelledError) as failure:
                self._levels = levels | self._levels
                self._requeue([each for each in batch if each is not stand])
                if isinstance(failure, asyncio.CancelledError):
                    raise
                return
            finally:
                self._under_way = 0
        if count:
            log.info("buffered results written", runs_and_tokens=count, lost=self._lost)
            self._lost = 0

    async def _store(self, batch: list[Sequence[Statement]]) -> None:
        """Write *batch*. Raise `StoreUnavailable`; then *batch* contains only the unwritten writes."""
        try:
            await self._together.write(self._in_order(batch))
        except StoreUnavailable:
            raise
        # A bug makes one of the writes fail. Execute each write alone, so that the failing one does not block the
        # others.
        except Exception:  # noqa: BLE001 - it is met again below
            while batch:
                try:
                    await self._together.write(batch[0])
                except StoreUnavailable:
                    raise
                except Exception:
                    log.exception("buffered result could not be written")
                batch.pop(0)

    def _requeue(self, batch: Sequence[Sequence[Statement]]) -> None:
        for statements in reversed(batch):
            # If the buffer has filled up meanwhile, drop this older write.
            if len(self._waiting) == self._waiting.maxlen:
                self._lost += 1
            else:
                self._waiting.appendleft(statements)

    def _in_order(self, batch: Iterable[Sequence[Statement]]) -> Sequence[Statement]:
        """Return all statements in the order of their writes, with the statement *first* moved to the front.

        A commit executes equal statements together, at the place of the first of them. Without the move, the arrival of
        a token could be recorded before the token itself is stored.
        """
        every = [statement for statements in batch for statement in statements]
        return sorted(every, key=lambda statement: statement[0] is not self._first)
