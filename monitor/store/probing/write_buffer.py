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
    """Writer that writes at once if possible, and otherwise later."""

    def __init__(
        self,
        group: GroupCommit[Sequence[Statement]],
        presence: StoreAvailability,
        *,
        first: Executable,
        at_most: int = AT_MOST,
    ) -> None:
        """*group* executes the statements. *first*: the statement that precedes all others in a commit of many writes."""
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
        """Return when everything is stored, or at once if the database is unavailable: then *statements* and the latest *levels* are buffered.

        They are also buffered after a while if the database does not respond. *levels*: by subject, each a statement
        that replaces the stored row completely. Raise any other database error: it is a bug of ours, and nothing is
        buffered.
        """
        levels = levels or {}
        # Before the write: a level set meanwhile replaces one that cannot be written.
        self._levels |= levels
        # If other writes are buffered, this one is buffered after them: an earlier level must not overwrite a later one.
        if self._presence.away_since is None and not len(self):
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._together.write((*statements, *levels.values()))
            # After the timeout the commit may still succeed. A statement that is executed twice stores its row once.
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
            count = 0
            try:
                while self._waiting:
                    batch = [self._waiting.popleft() for _ in range(min(_TOGETHER, len(self._waiting)))]
                    self._under_way = len(batch)
                    count += len(batch)
                    # The levels are written with the first batch: other sites and processes wait for them.
                    levels, self._levels = self._levels, {}
                    batch.append(stand := [*levels.values()])
                    await self._store(batch)
            # A service that stops while the database does not respond is cancelled here, and writes once more at its
            # end.
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
        """Write *batch*; raise `StoreUnavailable` with the unwritten ones left in it."""
        try:
            await self._together.write(self._in_order(batch))
        except StoreUnavailable:
            raise
        # One write fails because of a bug. Each is then written alone, so that it does not block the others.
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
            # The buffer filled up in the meantime: later writes stay.
            if len(self._waiting) == self._waiting.maxlen:
                self._lost += 1
            else:
                self._waiting.appendleft(statements)

    def _in_order(self, batch: Iterable[Sequence[Statement]]) -> Sequence[Statement]:
        """Return all statements in the order of their writes, but *first* before the others.

        A commit executes equal statements together, in the order of their first occurrence: a sent token must precede
        its arrival, whichever write came first.
        """
        every = [statement for statements in batch for statement in statements]
        return sorted(every, key=lambda statement: statement[0] is not self._first)
