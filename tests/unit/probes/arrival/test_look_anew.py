"""What the watch does beside a look by a new sign-in, over a reader that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from probes.arrival import watcher as module
from probes.arrival.reader import CaughtUp, SearchResult
from probes.arrival.undeleted_messages import UndeletedMessages
from probes.arrival.watcher import MailboxWatcher
from probes.model.mailbox import MailboxQuota
from probes.model.polling import PollingPolicy
from probes.model.probe import ProbeFailedError, Timeouts, Trace
from probes.model.reply import Reason, failed
from probes.model.result import Outcome, Party, Phase
from tests.hanging import HANGS
from tests.unit.probes.arrival.test_pop import box
from tests.unit.probes.standin import until
from tests.unit.probes.watch import PACE, PATIENCE, SIGNER, Counted

#: Of which half is for the look. Nothing of it is waited for.
WITHIN = timedelta(seconds=HANGS)


class Reader:
    """A mailbox without mail, whose connection is closed when `closed` is set."""

    in_use: ProbeFailedError | None = None
    quota: MailboxQuota | None = None
    has_more = False
    cost = 0

    def __init__(self, look: Callable[[Reader, CaughtUp], Awaitable[SearchResult]]) -> None:
        self.patience: Timeouts = PATIENCE
        self.tidy = asyncio.Event()
        self.remainder = UndeletedMessages("penerima")
        self.opened = self.looks = 0
        self.closed = self.is_stuck = False
        self._look = look

    async def open(self, trace: Trace) -> None:
        self.opened, self.closed = self.opened + 1, False

    async def look(self, *, junk_every: timedelta, sweep: timedelta) -> None:
        if self.closed:
            raise failed(Outcome.CONNECT, Reason.CONNECTION_CLOSED, Phase.RETRIEVE, Party.RECIPIENT, "")
        self.looks += 1

    async def listen(self, stirred: asyncio.Event, at_most: timedelta) -> None:
        await (asyncio.Event() if self.is_stuck else stirred).wait()

    def unwatched(self, pace: PollingPolicy) -> timedelta:
        return timedelta(hours=1)

    async def look_anew(self, trace: Trace, within: timedelta, caught_up: CaughtUp) -> SearchResult:
        return await self._look(self, caught_up)

    def close(self) -> None:
        pass


@asynccontextmanager
async def watching(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[MailboxWatcher, asyncio.Task[None]]]:
    monkeypatch.setattr(module, "_reader_of", lambda *_: reader)
    watcher = MailboxWatcher(box(1), SIGNER, on_arrival=Counted(), patience=PATIENCE, pace=PACE)
    task = asyncio.create_task(watcher.run())
    try:
        async with asyncio.timeout(2 * HANGS):
            await until(lambda: reader.looks > 0)
            yield watcher, task
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.blind
async def test_watcher_asked_whether_it_has_looked_looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect: A watcher polls too late to show whether its session is blind.

    Pantau: Asked, it looks at once.
    """

    async def look(reader: Reader, caught_up: CaughtUp) -> SearchResult:
        before = reader.looks
        return SearchResult(folders=1 if await caught_up(timedelta(seconds=HANGS / 3)) else 0, of=reader.looks - before)

    async with watching(Reader(look), monkeypatch) as (watcher, _):
        assert await watcher.look_anew(WITHIN) == SearchResult(folders=1, of=1)


@pytest.mark.blind
async def test_watcher_asked_whether_it_has_looked_denies_it_while_it_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect: A stuck connection counts as having looked.

    Pantau: It says that it has not.
    """

    async def look(reader: Reader, caught_up: CaughtUp) -> SearchResult:
        return SearchResult(folders=1 if await caught_up(timedelta(0)) else 0, of=1)

    (reader := Reader(look)).is_stuck = True
    async with watching(reader, monkeypatch) as (watcher, _):
        assert await watcher.look_anew(WITHIN) == SearchResult(folders=0, of=1)


@pytest.mark.parametrize("renewed", [False, True])
async def test_watcher_blind_connection_is_replaced_unless_it_was_already(
    monkeypatch: pytest.MonkeyPatch, *, renewed: bool
) -> None:
    async def look(reader: Reader, caught_up: CaughtUp) -> SearchResult:
        if renewed:
            reader.closed, opened = True, reader.opened
            await caught_up(timedelta(0))
            await until(lambda: reader.opened > opened)
        return SearchResult(folders=1, of=1, blind=True)

    with capture_logs() as lines:
        async with watching(reader := Reader(look), monkeypatch) as (watcher, _):
            assert await watcher.look_anew(WITHIN) == SearchResult(folders=1, of=1, blind=True)
            assert any("did not report new mail" in line["event"] for line in lines) is not renewed
            await until(lambda: reader.opened == 2)


async def test_watcher_bug_in_a_look_is_our_own_fault_and_the_watch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    async def look(reader: Reader, caught_up: CaughtUp) -> SearchResult:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("sengaja")
        return SearchResult(folders=1, of=1)

    async with watching(Reader(look), monkeypatch) as (watcher, task):
        first = watcher.look_anew(timedelta(0))
        await until(lambda: first.done() or task.done())
        assert not task.done()
        failure = await first
        assert isinstance(failure, ProbeFailedError)
        assert (failure.failure.reason, failure.failure.detail) == (Reason.OUR_OWN, "RuntimeError: sengaja")
        assert await watcher.look_anew(timedelta(0)) == SearchResult(folders=1, of=1)
