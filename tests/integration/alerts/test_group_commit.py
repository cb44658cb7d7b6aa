"""Concurrent writes that share a commit, and failures that stay separate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from alerts.engine.composer import WordingComposer
from alerts.engine.dispatcher import Dispatcher
from alerts.engine.event_handler import handle_event
from alerts.engine.gateway_pool import GatewayPool
from alerts.engine.group_commit import GroupCommit, UnitOfWorkTask, unit_of_work_commits
from alerts.model.alert import AlertEffect
from alerts.model.event import Trigger
from alerts.model.incident import Incident
from alerts.persistence.store import StoreUnavailable, UnitOfWork
from alerts.wording.texts import load
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from tests.integration.alerts.dispatcher_env import Clock, RecordingObserver
from tests.unit.alerts.model.test_alert import FIRES
from tests.unit.alerts.people import SNAPSHOT, trigger


class CountingStore:
    """A store that counts its transactions."""

    def __init__(self, inner: SqlStore) -> None:
        self._inner = inner
        self.begun = 0
        self.is_away = False
        #: While this is not set, each transaction waits after its begin.
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.waits = asyncio.Event()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        self.begun += 1
        if self.is_away:
            await asyncio.sleep(0)
            raise StoreUnavailable("its disk is full")
        if not self.goes_on.is_set():
            self.waits.set()
        await self.goes_on.wait()
        async with self._inner.transaction() as uow:
            yield uow

    def reading(self) -> AbstractAsyncContextManager[UnitOfWork]:
        return self._inner.reading()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[CountingStore]:
    async with Database.open(tmp_path) as database:
        yield CountingStore(SqlStore(database))


def of(agency: str) -> Trigger:
    return trigger(snapshot=replace(SNAPSHOT, agency=agency))


def engine(store: CountingStore, watcher: RecordingObserver | None = None) -> Dispatcher:
    words, observer = WordingComposer(load()), watcher or RecordingObserver()
    return Dispatcher(store=store, pool=GatewayPool([]), composer=words, clock=Clock(), observer=observer)


async def submit(together: GroupCommit[UnitOfWorkTask], event: Trigger) -> Incident | None:
    incident: Incident | None = await together.write(lambda uow: handle_event(uow, event))
    return incident


#: No store accepts it: it has no key.
BROKEN = replace(of("B"), dedup_key=None)  # type: ignore[arg-type]


async def test_concurrent_webhooks_are_stored_in_parts(store: CountingStore) -> None:
    """Forty Alertmanagers with hundreds of alerts each: a key press must not wait for all of them."""
    dispatcher = engine(store)
    webhooks = [[replace(FIRES, fingerprint=f"{of:08x}{n:08x}") for n in range(30)] for of in range(40)]
    bringing = asyncio.gather(
        *(dispatcher.handle_alerts(each, lambda _: replace(SNAPSHOT, agency="")) for each in webhooks)
    )
    assert [news for each in await bringing for news in each] == [AlertEffect.FIRES] * 1200
    assert store.begun == 40
    # The same alerts again: nobody waits for a writer, and nothing is written.
    store.goes_on.clear()
    assert await dispatcher.handle_alerts(webhooks[0], lambda _: SNAPSHOT) == [AlertEffect.GOES_ON] * 30
    assert store.begun == 40


async def test_hundred_concurrent_events_share_few_commits(store: CountingStore) -> None:
    together = unit_of_work_commits(store)
    opened = await asyncio.gather(*(submit(together, of(f"A{n}")) for n in range(100)))

    assert [incident.dedup_key for incident in opened if incident] == [f"A{n}" for n in range(100)]
    assert 100 / 16 <= store.begun <= 10, "so many share one that nobody else waits for long"
    async with store.transaction() as uow:
        assert len(await uow.active_incidents()) == 100


async def test_unstorable_event_fails_alone(store: CountingStore) -> None:
    together = unit_of_work_commits(store)
    events = [of("A"), BROKEN, of("C")]
    results = await asyncio.gather(*(submit(together, event) for event in events), return_exceptions=True)

    assert isinstance(results[1], Exception)
    async with store.transaction() as uow:
        assert len(await uow.active_incidents()) == 2


async def test_cancelled_waiter_blocks_no_other(store: CountingStore) -> None:
    together = unit_of_work_commits(store)
    tasks = [asyncio.create_task(submit(together, of(f"A{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[3].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False, False, True, False]
    last = await submit(together, of("A9"))
    assert last is not None


async def test_unavailable_database_is_tried_once_for_all_waiting(store: CountingStore) -> None:
    together = unit_of_work_commits(store)
    store.is_away = True
    results = await asyncio.gather(*(submit(together, of(f"A{n}")) for n in range(10)), return_exceptions=True)

    assert [type(result) for result in results] == [StoreUnavailable] * 10
    assert store.begun == 1
    store.is_away = False
    assert await submit(together, of("A9")) is not None


async def test_stopping_engine_waits_for_running_write(store: CountingStore) -> None:
    watcher = RecordingObserver()
    dispatcher = engine(store, watcher)
    life = asyncio.create_task(dispatcher.run())
    await watcher.cycled.wait()
    store.goes_on.clear()
    submitting = asyncio.create_task(dispatcher.submit(of("A")))
    await store.waits.wait()
    submitting.cancel()
    life.cancel()
    await asyncio.sleep(0)
    assert not life.done()

    store.goes_on.set()
    await asyncio.gather(submitting, life, return_exceptions=True)
    async with store.transaction() as uow:
        assert len(await uow.active_incidents()) == 1
