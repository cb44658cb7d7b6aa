"""Mailbox watcher during a final search, with a scripted reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from probes.arrival import watcher as module
from probes.arrival.reader import SearchResult, WaitForPoll
from probes.arrival.undeleted_messages import UndeletedMessages
from probes.arrival.watcher import MailboxWatcher
from probes.model.mailbox import MailboxQuota
from probes.model.polling import PollingPolicy
from probes.model.probe import ProbeFailedError, Timeouts, Trace
from probes.model.reply import Reason, probe_failure
from probes.model.result import Outcome, Party, Phase
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.arrival.test_pop import box
from tests.unit.probes.standin import until
from tests.unit.probes.watchers import POLLING, SIGNER, TIMEOUTS, Counted

#: Half of it is for the poll. The test does not wait for it.
WITHIN = timedelta(seconds=HANG_TIMEOUT)


class Reader:
    """A mailbox without mail, whose connection is closed when `closed` is set."""

    lock_error: ProbeFailedError | None = None
    quota: MailboxQuota | None = None
    has_more = False
    cost = 0

    def __init__(self, look: Callable[[Reader, WaitForPoll], Awaitable[SearchResult]]) -> None:
        self.timeouts: Timeouts = TIMEOUTS
        self.deleted_all = asyncio.Event()
        self.undeleted_messages = UndeletedMessages("penerima")
        self.opened = self.looks = 0
        self.closed = self.is_stuck = False
        self._look = look

    async def open(self, trace: Trace) -> None:
        self.opened, self.closed = self.opened + 1, False

    async def poll(self, *, junk_interval: timedelta, sweep_interval: timedelta) -> None:
        if self.closed:
            raise probe_failure(Outcome.CONNECT, Reason.CONNECTION_CLOSED, Phase.RETRIEVE, Party.RECIPIENT, "")
        self.looks += 1

    async def wait_for_mail(self, wake_event: asyncio.Event, at_most: timedelta) -> None:
        await (asyncio.Event() if self.is_stuck else wake_event).wait()

    def quiet_interval(self, polling: PollingPolicy) -> timedelta:
        return timedelta(hours=1)

    async def final_search(self, trace: Trace, within: timedelta, caught_up: WaitForPoll) -> SearchResult:
        return await self._look(self, caught_up)

    def close(self) -> None:
        pass


@asynccontextmanager
async def watching(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[MailboxWatcher, asyncio.Task[None]]]:
    monkeypatch.setattr(module, "_create_reader", lambda *_: reader)
    watcher = MailboxWatcher(box(1), SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=POLLING)
    task = asyncio.create_task(watcher.run())
    try:
        async with asyncio.timeout(2 * HANG_TIMEOUT):
            await until(lambda: reader.looks > 0)
            yield watcher, task
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.blind
async def test_watcher_final_search_asks_for_poll_polls_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect: A watcher polls too late to show whether its session is blind.

    Pantau: Asked, it looks at once.
    """

    async def look(reader: Reader, caught_up: WaitForPoll) -> SearchResult:
        before = reader.looks
        return SearchResult(
            searched_folders=1 if await caught_up(timedelta(seconds=HANG_TIMEOUT / 3)) else 0,
            total_folders=reader.looks - before,
        )

    async with watching(Reader(look), monkeypatch) as (watcher, _):
        assert await watcher.final_search(WITHIN) == SearchResult(searched_folders=1, total_folders=1)


@pytest.mark.blind
async def test_watcher_final_search_stuck_reports_no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect: A stuck connection counts as having looked.

    Pantau: It says that it has not.
    """

    async def look(reader: Reader, caught_up: WaitForPoll) -> SearchResult:
        return SearchResult(searched_folders=1 if await caught_up(timedelta(0)) else 0, total_folders=1)

    (reader := Reader(look)).is_stuck = True
    async with watching(reader, monkeypatch) as (watcher, _):
        assert await watcher.final_search(WITHIN) == SearchResult(searched_folders=0, total_folders=1)


@pytest.mark.parametrize("renewed", [False, True])
async def test_watcher_blind_connection_is_replaced_unless_it_was_already(
    monkeypatch: pytest.MonkeyPatch, *, renewed: bool
) -> None:
    async def look(reader: Reader, caught_up: WaitForPoll) -> SearchResult:
        if renewed:
            reader.closed, opened = True, reader.opened
            await caught_up(timedelta(0))
            await until(lambda: reader.opened > opened)
        return SearchResult(searched_folders=1, total_folders=1, is_stale=True)

    with capture_logs() as lines:
        async with watching(reader := Reader(look), monkeypatch) as (watcher, _):
            assert await watcher.final_search(WITHIN) == SearchResult(
                searched_folders=1, total_folders=1, is_stale=True
            )
            assert any("did not report new mail" in line["event"] for line in lines) is not renewed
            await until(lambda: reader.opened == 2)


async def test_watcher_bug_in_final_search_is_monitoring_fault_and_watcher_continues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0

    async def look(reader: Reader, caught_up: WaitForPoll) -> SearchResult:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("sengaja")
        return SearchResult(searched_folders=1, total_folders=1)

    async with watching(Reader(look), monkeypatch) as (watcher, task):
        first = watcher.final_search(timedelta(0))
        await until(lambda: first.done() or task.done())
        assert not task.done()
        failure = await first
        assert isinstance(failure, ProbeFailedError)
        assert (failure.failure.reason, failure.failure.detail) == (Reason.MONITORING_FAULT, "RuntimeError: sengaja")
        assert await watcher.final_search(timedelta(0)) == SearchResult(searched_folders=1, total_folders=1)
