"""Buffer in memory for writes while the database is unavailable.

Probing does not wait for the database: a run that ends during an outage is written afterwards. The buffer is bounded;
when it is full, the oldest write is dropped. A *level* is a write that replaces an earlier value completely, such as
the status of an agency, so only the latest level of each subject is buffered.
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

#: Maximum number of buffered writes. 10,000 routes, each with two writes in five minutes, fill it in 12 minutes.
MAX_BUFFERED_WRITES = 50_000
#: Number of writes per commit when the database is available again.
_BATCH_SIZE = 500
#: Interval between two attempts. After a failure, `monitor.store.backend.availability` refuses writes for a slightly
#: shorter time.
_RETRY_INTERVAL_SECONDS = 1.1
#: Maximum time that a run waits for a commit, which usually takes milliseconds. A suspended server is noticed only
#: after ten seconds.
_WRITE_TIMEOUT_SECONDS = 2.0


class WriteBuffer:
    """Writer that writes at once if the database is available, and otherwise later."""

    def __init__(
        self,
        group_commit: GroupCommit[Sequence[Statement]],
        availability: StoreAvailability,
        *,
        first: Executable,
        at_most: int = MAX_BUFFERED_WRITES,
    ) -> None:
        """*group_commit* executes the statements. *first*: statement that a commit executes first (`_in_order`)."""
        self._group_commit = group_commit
        self._availability = availability
        self._first = first
        self._pending: deque[Sequence[Statement]] = deque(maxlen=at_most)
        #: Levels that are not stored yet, by subject.
        self._levels: dict[str, Statement] = {}
        #: Number of writes that were dropped since the buffer was last empty.
        self._lost = 0
        self._has_writes = asyncio.Event()
        self._write_lock = asyncio.Lock()
        #: Number of writes that are taken from the buffer and not stored yet.
        self._being_written = 0

    def __len__(self) -> int:
        """Return the number of writes that are not stored yet."""
        return len(self._pending) + self._being_written

    async def write(self, *statements: Statement, levels: Mapping[str, Statement] | None = None) -> None:
        """Store *statements* and *levels*; buffer them if the database is unavailable or does not respond in time.

        *levels*: statements that replace a stored row completely, by subject. Raise any other database error, because
        it is a bug of Pantau; then nothing is buffered.
        """
        levels = levels or {}
        # Record the levels before the write, so that a later level replaces them even if this write fails.
        self._levels |= levels
        # If other writes are buffered, buffer this write after them, so that an old level does not overwrite a new one.
        if self._availability.unavailable_since is None and not len(self):
            try:
                async with asyncio.timeout(_WRITE_TIMEOUT_SECONDS):
                    await self._group_commit.write((*statements, *levels.values()))
            # After a timeout the commit may still succeed. That does no harm: a repeated statement changes nothing.
            except (StoreUnavailable, TimeoutError):
                pass
            except asyncio.CancelledError:
                self._buffer(statements)
                raise
            except BaseException:
                self._remove_levels(levels)
                raise
            else:
                self._remove_levels(levels)
                return
        self._buffer(statements)

    def _remove_levels(self, levels: Mapping[str, Statement]) -> None:
        for subject, level in levels.items():
            if self._levels.get(subject) is level:
                del self._levels[subject]

    def _buffer(self, statements: Sequence[Statement]) -> None:
        if len(self._pending) == self._pending.maxlen:
            if not self._lost:
                log.error("database unavailable for too long; the oldest probe results are lost")
            self._lost += 1
        self._pending.append(statements)
        self._has_writes.set()

    async def keep_writing(self) -> NoReturn:
        """Write buffered data whenever the database is available, until cancelled."""
        while True:
            await self._has_writes.wait()
            self._has_writes.clear()
            while len(self):
                await self.catch_up()
                if len(self):
                    await asyncio.sleep(_RETRY_INTERVAL_SECONDS)

    async def drain(self, within: timedelta) -> None:
        """Write the buffer before the process ends. If it takes longer than *within*, log how many writes are lost."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within.total_seconds()
        await self.catch_up()
        while len(self) and loop.time() + _RETRY_INTERVAL_SECONDS <= deadline:
            await asyncio.sleep(_RETRY_INTERVAL_SECONDS)
            await self.catch_up()
        if len(self):
            log.error("database was unavailable until the stop; probe results are lost", runs_and_tokens=len(self))

    async def catch_up(self) -> None:
        """Write as much of the buffer as possible."""
        async with self._write_lock:
            count = 0
            try:
                while self._pending:
                    batch = [self._pending.popleft() for _ in range(min(_BATCH_SIZE, len(self._pending)))]
                    self._being_written = len(batch)
                    count += len(batch)
                    # Write all levels with the first batch, because the hub and other processes wait for them.
                    levels, self._levels = self._levels, {}
                    batch.append(level_statements := [*levels.values()])
                    await self._store(batch)
            # If the service stops while the database does not respond, this task is cancelled. `drain` tries again.
            except (StoreUnavailable, asyncio.CancelledError) as failure:
                self._levels = levels | self._levels
                self._requeue([each for each in batch if each is not level_statements])
                if isinstance(failure, asyncio.CancelledError):
                    raise
                return
            finally:
                self._being_written = 0
        if count:
            log.info("buffered results written", runs_and_tokens=count, lost=self._lost)
            self._lost = 0

    async def _store(self, batch: list[Sequence[Statement]]) -> None:
        """Write *batch*. Raise `StoreUnavailable`; then *batch* contains only the writes that are not stored."""
        try:
            await self._group_commit.write(self._in_order(batch))
        except StoreUnavailable:
            raise
        # One of the writes fails because of a bug. Execute each write alone, so that it does not block the others.
        except Exception:  # noqa: BLE001 - the failing write is logged below
            while batch:
                try:
                    await self._group_commit.write(batch[0])
                except StoreUnavailable:
                    raise
                except Exception:
                    log.exception("buffered result could not be written")
                batch.pop(0)

    def _requeue(self, batch: Sequence[Sequence[Statement]]) -> None:
        """Put unwritten writes back at the front of the buffer."""
        for statements in reversed(batch):
            # The buffer has filled up meanwhile: drop the older write.
            if len(self._pending) == self._pending.maxlen:
                self._lost += 1
            else:
                self._pending.appendleft(statements)

    def _in_order(self, batch: Iterable[Sequence[Statement]]) -> Sequence[Statement]:
        """Return all statements in the order of their writes, with the statement *first* moved to the front.

        A commit executes equal statements together, at the position of the first of them. Without the move, the arrival
        of a token could be recorded before the token itself is stored.
        """
        all_statements = [statement for statements in batch for statement in statements]
        return sorted(all_statements, key=lambda statement: statement[0] is not self._first)
