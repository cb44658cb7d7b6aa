"""Write buffer: writes during an outage of the database are stored later."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from alerts.engine.group_commit import GroupCommit
from alerts.persistence.store import StoreUnavailable
from monitor.store.backend.availability import StoreAvailability
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import ServerClock
from monitor.store.backend.repository import Statement
from monitor.store.probing import write_buffer as write_buffer_module
from monitor.store.probing.history import History
from monitor.store.probing.write_buffer import WriteBuffer
from monitor.store.schema.tables import counter, token
from probes.model.result import Outcome, ProbeResult
from tests.timeouts import HANG_TIMEOUT
from tests.unit.monitor.world import MINUTE, SECOND, T0

_INSERT = insert(counter)
_UPDATE = update(counter).where(counter.c.name == "a")


@dataclass
class UnreliableStore:
    """Database that can be unavailable, with a count of attempts."""

    database: Database
    is_unavailable: bool = False
    attempts: int = 0
    availability: StoreAvailability = field(init=False)

    def __post_init__(self) -> None:
        self.availability = self.database.availability
        self.group_commit = GroupCommit(self.database._store)
        self._write = self.group_commit.write
        self.group_commit.write = self.write  # type: ignore[method-assign]

    async def write(self, work: Sequence[Statement]) -> None:
        self.attempts += 1
        if self.is_unavailable:
            raise StoreUnavailable("disk full")
        await self._write(work)

    async def counters(self) -> dict[str, int]:
        async with self.database.read() as connection:
            return {row.name: row.next for row in await connection.execute(select(counter))}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[UnreliableStore]:
    async with Database.open(tmp_path) as database:
        yield UnreliableStore(database)


def make_buffer(store: UnreliableStore, at_most: int = 100) -> WriteBuffer:
    return WriteBuffer(store.group_commit, store.availability, first=_INSERT, at_most=at_most)


def inserted(name: str, number: int = 0) -> Statement:
    return _INSERT, {"name": name, "next": number}


async def test_write_available_store_is_immediate(store: UnreliableStore) -> None:
    buffer = make_buffer(store)
    await buffer.write(inserted("a"))
    assert (await store.counters(), len(buffer)) == ({"a": 0}, 0)


async def test_write_unavailable_store_is_buffered_without_waiting(store: UnreliableStore) -> None:
    buffer = make_buffer(store)
    store.is_unavailable = True
    for number in range(10):
        await buffer.write(inserted(str(number)))
    assert store.attempts == 1, "later writes wait behind the first"
    await buffer.catch_up()
    assert (len(buffer), await store.counters()) == (10, {})

    store.is_unavailable = False
    await buffer.catch_up()
    assert (len(buffer), sorted(await store.counters())) == (0, [str(n) for n in range(10)])


async def test_write_level_keeps_latest_only(store: UnreliableStore) -> None:
    buffer = make_buffer(store, at_most=3)
    await buffer.write(inserted("a"))
    store.is_unavailable = True
    for number in range(10):
        await buffer.write(inserted(f"b{number}"), levels={"a": (_UPDATE, {"next": number})})
    await buffer.catch_up()
    assert await store.counters() == {"a": 0}
    store.is_unavailable = False
    seen: list[Statement] = []

    async def see(work: Sequence[Statement]) -> None:
        seen.extend(work)
        await store.write(work)

    store.group_commit.write = see  # type: ignore[method-assign]
    await buffer.catch_up()
    assert await store.counters() == {"a": 9, "b7": 0, "b8": 0, "b9": 0}
    assert [values for statement, values in seen if statement is _UPDATE] == [{"next": 9}]
    seen.clear()
    await buffer.write(inserted("c"))
    assert len(seen) == 1, "it is stored and no longer buffered"


async def test_write_older_level_failing_does_not_replace_newer(store: UnreliableStore) -> None:
    buffer = make_buffer(store)
    await buffer.write(inserted("a"))
    failing = asyncio.Event()

    async def fail_late(_: Sequence[Statement]) -> None:
        await failing.wait()
        raise StoreUnavailable("disk full")

    store.group_commit.write = fail_late  # type: ignore[method-assign,assignment]
    older = asyncio.create_task(buffer.write(inserted("b"), levels={"a": (_UPDATE, {"next": 1})}))
    await asyncio.sleep(0)
    store.group_commit.write = store.write  # type: ignore[method-assign]
    await buffer.write(inserted("c"), levels={"a": (_UPDATE, {"next": 2})})
    failing.set()
    await older
    await buffer.catch_up()
    assert await store.counters() == {"a": 2, "b": 0, "c": 0}


async def test_write_level_of_failed_write_is_dropped(store: UnreliableStore) -> None:
    buffer = make_buffer(store)
    await buffer.write(inserted("a"))
    with pytest.raises(IntegrityError):
        await buffer.write(inserted("a"), levels={"a": (_UPDATE, {"next": 1})})
    store.is_unavailable = True
    await buffer.write(inserted("b"))
    store.is_unavailable = False
    await buffer.catch_up()
    assert await store.counters() == {"a": 0, "b": 0}


async def test_catch_up_writes_first_statement_kind_first(store: UnreliableStore) -> None:
    buffer = make_buffer(store)
    await buffer.write(inserted("b"))
    store.is_unavailable = True
    await buffer.write((_UPDATE, {"next": 1}))
    await buffer.write(inserted("a"))
    for number in (2, 3):
        await buffer.write((_UPDATE, {"next": number}))
    store.is_unavailable = False
    await buffer.catch_up()

    assert await store.counters() == {"a": 3, "b": 0}


async def test_catch_up_failing_write_does_not_block_others(store: UnreliableStore) -> None:
    buffer = make_buffer(store)
    await buffer.write(inserted("a"))
    store.is_unavailable = True
    for name in ("b", "a", "c"):
        await buffer.write(inserted(name))
    store.is_unavailable = False
    await buffer.catch_up()

    assert (len(buffer), sorted(await store.counters())) == (0, ["a", "b", "c"])


async def test_write_integrity_error_is_raised(store: UnreliableStore) -> None:
    buffer = make_buffer(store)
    await buffer.write(inserted("a"))
    with pytest.raises(IntegrityError):
        await buffer.write(inserted("a"))


async def test_write_full_buffer_drops_oldest(store: UnreliableStore) -> None:
    buffer = make_buffer(store, at_most=3)
    store.is_unavailable = True
    for name in "abcde":
        await buffer.write(inserted(name))
    store.is_unavailable = False
    await buffer.catch_up()

    assert sorted(await store.counters()) == ["c", "d", "e"]


async def test_catch_up_failing_keeps_newer_writes(store: UnreliableStore) -> None:
    buffer = make_buffer(store, at_most=3)
    store.is_unavailable = True
    for name in "abc":
        await buffer.write(inserted(name))

    async def fail_late(_: Sequence[Statement]) -> None:
        for name in "de":
            await buffer.write(inserted(name))
        raise StoreUnavailable("disk full")

    store.group_commit.write = fail_late  # type: ignore[method-assign,assignment]
    await buffer.catch_up()
    assert len(buffer) == 3
    store.group_commit.write = store._write  # type: ignore[method-assign]
    await buffer.catch_up()

    assert sorted(await store.counters()) == ["c", "d", "e"]


async def test_keep_writing_writes_when_store_is_available_again(store: UnreliableStore) -> None:
    buffer = make_buffer(store)
    writing = asyncio.create_task(buffer.keep_writing())
    store.is_unavailable = True
    await buffer.write(inserted("a"))
    while store.attempts < 2:  # noqa: ASYNC110 - nobody tells when it is tried again
        await asyncio.sleep(0.01)
    store.is_unavailable = False
    while len(buffer):  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.01)
    assert await store.counters() == {"a": 0}
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock the database file: writers wait."""
    other = sqlite3.connect(directory / "pantau.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.rollback()
        other.close()


@pytest.mark.blind
async def test_write_cancelled_while_store_hangs_is_kept(store: UnreliableStore, tmp_path: Path) -> None:
    """Defect: A service that stops while its store hangs loses all waiting results.

    Pantau: They are written for 15 s at the end of the stop; the number lost is logged.
    """
    buffer = make_buffer(store, at_most=1000)
    await buffer.write(inserted("before"))
    store.is_unavailable = True
    for number in range(300):
        await buffer.write(inserted(f"waited {number}"))
    store.is_unavailable = False
    with locked(tmp_path):
        stopped: list[asyncio.Task[None]] = [asyncio.create_task(buffer.keep_writing())]
        await asyncio.sleep(0)
        stopped += [asyncio.create_task(buffer.write(inserted(f"late {number}"))) for number in range(10)]
        await asyncio.sleep(0.05)
        for task in stopped:
            task.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)
        assert len(buffer) == 310
    await buffer.drain(10 * SECOND)
    assert (len(buffer), len(await store.counters())) == (0, 311)


@pytest.mark.blind
async def test_write_returns_while_store_hangs_and_is_stored_once(
    store: UnreliableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defect: A PostgreSQL that hangs delays every run by 20 s.

    Pantau: A run waits 2 s, then its result waits in the buffer.
    """
    monkeypatch.setattr(write_buffer_module, "_WRITE_TIMEOUT_SECONDS", 0.01)
    answers = asyncio.Event()

    async def hang(works: Sequence[Sequence[Statement]]) -> Sequence[None]:
        await answers.wait()
        return await store.database._store(works)

    buffer, once = make_buffer(store), store.database.upsert(counter).on_conflict_do_nothing()
    await buffer.write(inserted("a"))
    buffer._group_commit = GroupCommit(hang)
    async with asyncio.timeout(HANG_TIMEOUT):
        for number, name in enumerate("bc", 1):
            level = {"a": (_UPDATE, {"next": number})}
            await buffer.write((once, {"name": name, "next": number}), levels=level)
            assert len(buffer) == number, "no run waits for it"
    answers.set()
    await buffer.drain(10 * SECOND)
    assert (len(buffer), await store.counters()) == (0, {"a": 2, "b": 1, "c": 2})


@pytest.mark.blind
async def test_write_cancelled_before_failed_commit_is_kept(store: UnreliableStore) -> None:
    """Defect: A cancelled write loses its result.

    Pantau: It stays in the buffer.
    """
    buffer = make_buffer(store)
    failing = asyncio.Event()

    async def fail_late(_: Sequence[Sequence[Statement]]) -> Sequence[None]:
        await failing.wait()
        raise StoreUnavailable("it does not answer in time")

    store.group_commit.write = GroupCommit(fail_late).write  # type: ignore[method-assign]
    run = asyncio.create_task(buffer.write(inserted("a"), levels={"b": inserted("b")}))
    await asyncio.sleep(0)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    failing.set()
    store.group_commit.write = store.write  # type: ignore[method-assign]
    await buffer.catch_up()
    assert sorted(await store.counters()) == ["a", "b"]


async def test_drain_returns_at_deadline_while_store_is_unavailable(store: UnreliableStore) -> None:
    buffer = make_buffer(store)
    store.is_unavailable = True
    await buffer.write(inserted("a"))
    await buffer.drain(timedelta(0))
    assert (len(buffer), store.attempts) == (1, 2)


async def test_record_run_during_outage_is_complete_after_catch_up(store: UnreliableStore) -> None:
    history = History(store.database)
    history._buffer._group_commit = store.group_commit
    store.is_unavailable = True
    for number, outcome in enumerate((Outcome.DELIVERED, Outcome.LOST)):
        await history.record_sent_token(f"{number}", "JCM/internal", T0 + number * MINUTE, T0 + 2 * MINUTE)
        result = ProbeResult(
            route="JCM/internal",
            token_id=f"{number}",
            started_at=T0 + number * MINUTE,
            duration=SECOND,
            outcome=outcome,
        )
        await history.record_run(result, "JCM", {})
    await history.record_late_arrival("1", T0 + 9 * MINUTE)
    store.is_unavailable = False
    assert await history.catch_up() == 0

    assert [sent.has_arrived for sent in (await history.tokens(T0 + 10 * MINUTE)).values()] == [True, True]
    assert (await history.latest())["JCM/internal"].outcome is Outcome.LOST


async def test_record_sent_token_repeated_is_stored_once(store: UnreliableStore) -> None:
    history = History(store.database)
    for _ in range(2):
        await history.record_sent_token("1", "JCM/internal", T0, T0 + MINUTE)
    async with store.database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(token))).scalar_one() == 1


def test_server_clock_runs_and_ignores_small_corrections() -> None:
    clock = ServerClock()
    clock.set_server_time(T0)
    assert timedelta(0) <= clock.now() - T0 < SECOND

    before = clock.now()
    clock.set_server_time(before - timedelta(milliseconds=50))
    assert clock.now() >= before, "the network was slow; the clock is not set back"
    clock.set_server_time(T0 + MINUTE)
    assert timedelta(0) <= clock.now() - T0 - MINUTE < SECOND
