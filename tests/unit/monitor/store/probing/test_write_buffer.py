"""What cannot be written while the store is away is written when it is back."""

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
from monitor.store.probing import write_buffer as backlog_module
from monitor.store.probing.history import History
from monitor.store.probing.write_buffer import WriteBuffer
from monitor.store.schema.tables import counter, token
from probes.model.result import Outcome, ProbeResult
from tests.hanging import HANGS
from tests.unit.monitor.trial import MINUTE, SECOND, T0

_MADE = insert(counter)
_COUNTED = update(counter).where(counter.c.name == "a")


@dataclass
class Shelf:
    """A store that can be away, and how often it was asked."""

    database: Database
    away: bool = False
    asked: int = 0
    presence: StoreAvailability = field(init=False)

    def __post_init__(self) -> None:
        self.presence = self.database.presence
        self.together = GroupCommit(self.database._store)
        self._write = self.together.write
        self.together.write = self.write  # type: ignore[method-assign]

    async def write(self, work: Sequence[Statement]) -> None:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("disk full")
        await self._write(work)

    async def counters(self) -> dict[str, int]:
        async with self.database.read() as connection:
            return {row.name: row.next for row in await connection.execute(select(counter))}


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    async with Database.open(tmp_path) as database:
        yield Shelf(database)


def backlog(shelf: Shelf, at_most: int = 100) -> WriteBuffer:
    return WriteBuffer(shelf.together, shelf.presence, first=_MADE, at_most=at_most)


def made(name: str, number: int = 0) -> Statement:
    return _MADE, {"name": name, "next": number}


async def test_what_can_be_written_is_written_at_once(shelf: Shelf) -> None:
    writes = backlog(shelf)
    await writes.write(made("a"))
    assert (await shelf.counters(), len(writes)) == ({"a": 0}, 0)


async def test_nobody_waits_for_a_store_that_is_away_and_nothing_is_lost(shelf: Shelf) -> None:
    writes = backlog(shelf)
    shelf.away = True
    for number in range(10):
        await writes.write(made(str(number)))
    assert shelf.asked == 1, "what comes after the first waits behind it"
    await writes.catch_up()
    assert (len(writes), await shelf.counters()) == (10, {})

    shelf.away = False
    await writes.catch_up()
    assert (len(writes), sorted(await shelf.counters())) == (0, [str(n) for n in range(10)])


async def test_of_a_level_only_the_latest_waits(shelf: Shelf) -> None:
    writes = backlog(shelf, at_most=3)
    await writes.write(made("a"))
    shelf.away = True
    for number in range(10):
        await writes.write(made(f"b{number}"), levels={"a": (_COUNTED, {"next": number})})
    await writes.catch_up()
    assert await shelf.counters() == {"a": 0}
    shelf.away = False
    seen: list[Statement] = []

    async def see(work: Sequence[Statement]) -> None:
        seen.extend(work)
        await shelf.write(work)

    shelf.together.write = see  # type: ignore[method-assign]
    await writes.catch_up()
    assert await shelf.counters() == {"a": 9, "b7": 0, "b8": 0, "b9": 0}
    assert [values for statement, values in seen if statement is _COUNTED] == [{"next": 9}]
    seen.clear()
    await writes.write(made("c"))
    assert len(seen) == 1, "it is stored, and waits no more"


async def test_a_level_that_is_said_while_an_older_one_fails_is_not_written_over_by_it(shelf: Shelf) -> None:
    writes = backlog(shelf)
    await writes.write(made("a"))
    failing = asyncio.Event()

    async def fail_late(_: Sequence[Statement]) -> None:
        await failing.wait()
        raise StoreUnavailable("disk full")

    shelf.together.write = fail_late  # type: ignore[method-assign,assignment]
    older = asyncio.create_task(writes.write(made("b"), levels={"a": (_COUNTED, {"next": 1})}))
    await asyncio.sleep(0)
    shelf.together.write = shelf.write  # type: ignore[method-assign]
    await writes.write(made("c"), levels={"a": (_COUNTED, {"next": 2})})
    failing.set()
    await older
    await writes.catch_up()
    assert await shelf.counters() == {"a": 2, "b": 0, "c": 0}


async def test_a_level_that_cannot_be_written_does_not_wait(shelf: Shelf) -> None:
    writes = backlog(shelf)
    await writes.write(made("a"))
    with pytest.raises(IntegrityError):
        await writes.write(made("a"), levels={"a": (_COUNTED, {"next": 1})})
    shelf.away = True
    await writes.write(made("b"))
    shelf.away = False
    await writes.catch_up()
    assert await shelf.counters() == {"a": 0, "b": 0}


async def test_what_comes_first_is_written_first_whatever_was_met_first(shelf: Shelf) -> None:
    writes = backlog(shelf)
    await writes.write(made("b"))
    shelf.away = True
    await writes.write((_COUNTED, {"next": 1}))
    await writes.write(made("a"))
    for number in (2, 3):
        await writes.write((_COUNTED, {"next": number}))
    shelf.away = False
    await writes.catch_up()

    assert await shelf.counters() == {"a": 3, "b": 0}


async def test_one_that_cannot_be_written_does_not_keep_the_others_waiting(shelf: Shelf) -> None:
    writes = backlog(shelf)
    await writes.write(made("a"))
    shelf.away = True
    for name in ("b", "a", "c"):
        await writes.write(made(name))
    shelf.away = False
    await writes.catch_up()

    assert (len(writes), sorted(await shelf.counters())) == (0, ["a", "b", "c"])


async def test_a_bug_is_told_to_whoever_writes(shelf: Shelf) -> None:
    writes = backlog(shelf)
    await writes.write(made("a"))
    with pytest.raises(IntegrityError):
        await writes.write(made("a"))


async def test_when_too_much_waits_the_oldest_goes(shelf: Shelf) -> None:
    writes = backlog(shelf, at_most=3)
    shelf.away = True
    for name in "abcde":
        await writes.write(made(name))
    shelf.away = False
    await writes.catch_up()

    assert sorted(await shelf.counters()) == ["c", "d", "e"]


async def test_what_came_while_it_was_tried_in_vain_is_newer_and_stays(shelf: Shelf) -> None:
    writes = backlog(shelf, at_most=3)
    shelf.away = True
    for name in "abc":
        await writes.write(made(name))

    async def fail_late(_: Sequence[Statement]) -> None:
        for name in "de":
            await writes.write(made(name))
        raise StoreUnavailable("disk full")

    shelf.together.write = fail_late  # type: ignore[method-assign,assignment]
    await writes.catch_up()
    assert len(writes) == 3
    shelf.together.write = shelf._write  # type: ignore[method-assign]
    await writes.catch_up()

    assert sorted(await shelf.counters()) == ["c", "d", "e"]


async def test_it_is_written_by_itself_when_the_store_is_back(shelf: Shelf) -> None:
    writes = backlog(shelf)
    writing = asyncio.create_task(writes.keep_writing())
    shelf.away = True
    await writes.write(made("a"))
    while shelf.asked < 2:  # noqa: ASYNC110 - nobody tells when it is tried again
        await asyncio.sleep(0.01)
    shelf.away = False
    while len(writes):  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.01)
    assert await shelf.counters() == {"a": 0}
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep the file from being written: whoever tries waits."""
    other = sqlite3.connect(directory / "pantau.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.rollback()
        other.close()


@pytest.mark.blind
async def test_backlog_cancelled_while_store_hangs_keeps_every_write(shelf: Shelf, tmp_path: Path) -> None:
    """Defect: A service that stops while its store hangs loses all waiting results.

    Pantau: They are written for 15 s at the end of the stop; the number lost is logged.
    """
    writes = backlog(shelf, at_most=1000)
    await writes.write(made("before"))
    shelf.away = True
    for number in range(300):
        await writes.write(made(f"waited {number}"))
    shelf.away = False
    with locked(tmp_path):
        stopped: list[asyncio.Task[None]] = [asyncio.create_task(writes.keep_writing())]
        await asyncio.sleep(0)
        stopped += [asyncio.create_task(writes.write(made(f"late {number}"))) for number in range(10)]
        await asyncio.sleep(0.05)
        for task in stopped:
            task.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)
        assert len(writes) == 310
    await writes.drain(10 * SECOND)
    assert (len(writes), len(await shelf.counters())) == (0, 311)


@pytest.mark.blind
async def test_backlog_write_returns_while_store_hangs_and_is_stored_once(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defect: A PostgreSQL that hangs delays every run by 20 s.

    Pantau: A run waits 2 s, then its result waits in the buffer.
    """
    monkeypatch.setattr(backlog_module, "_PATIENCE", 0.01)
    answers = asyncio.Event()

    async def hang(works: Sequence[Sequence[Statement]]) -> Sequence[None]:
        await answers.wait()
        return await shelf.database._store(works)

    writes, once = backlog(shelf), shelf.database.upsert(counter).on_conflict_do_nothing()
    await writes.write(made("a"))
    writes._together = GroupCommit(hang)
    async with asyncio.timeout(HANGS):
        for number, name in enumerate("bc", 1):
            level = {"a": (_COUNTED, {"next": number})}
            await writes.write((once, {"name": name, "next": number}), levels=level)
            assert len(writes) == number, "no run waits for it"
    answers.set()
    await writes.drain(10 * SECOND)
    assert (len(writes), await shelf.counters()) == (0, {"a": 2, "b": 1, "c": 2})


@pytest.mark.blind
async def test_backlog_write_cancelled_before_commit_fails_is_kept(shelf: Shelf) -> None:
    """Defect: A cancelled write loses its result.

    Pantau: It stays in the buffer.
    """
    writes = backlog(shelf)
    failing = asyncio.Event()

    async def fail_late(_: Sequence[Sequence[Statement]]) -> Sequence[None]:
        await failing.wait()
        raise StoreUnavailable("it does not answer in time")

    shelf.together.write = GroupCommit(fail_late).write  # type: ignore[method-assign]
    run = asyncio.create_task(writes.write(made("a"), levels={"b": made("b")}))
    await asyncio.sleep(0)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    failing.set()
    shelf.together.write = shelf.write  # type: ignore[method-assign]
    await writes.catch_up()
    assert sorted(await shelf.counters()) == ["a", "b"]


async def test_backlog_drain_returns_at_deadline_while_store_stays_away(shelf: Shelf) -> None:
    writes = backlog(shelf)
    shelf.away = True
    await writes.write(made("a"))
    await writes.drain(timedelta(0))
    assert (len(writes), shelf.asked) == (1, 2)


async def test_a_run_that_began_and_ended_while_the_store_was_away_is_known_as_any_other(shelf: Shelf) -> None:
    history = History(shelf.database)
    history._buffer._together = shelf.together
    shelf.away = True
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
    shelf.away = False
    assert await history.catch_up() == 0

    assert [sent.has_arrived for sent in (await history.tokens(T0 + 10 * MINUTE)).values()] == [True, True]
    assert (await history.latest())["JCM/internal"].outcome is Outcome.LOST


async def test_a_token_that_was_written_by_a_commit_of_which_nothing_was_heard_is_written_once(shelf: Shelf) -> None:
    history = History(shelf.database)
    for _ in range(2):
        await history.record_sent_token("1", "JCM/internal", T0, T0 + MINUTE)
    async with shelf.database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(token))).scalar_one() == 1


def test_the_servers_clock_goes_on_by_itself_and_is_not_set_for_nothing() -> None:
    clock = ServerClock()
    clock.tell(T0)
    assert timedelta(0) <= clock.now() - T0 < SECOND

    before = clock.now()
    clock.tell(before - timedelta(milliseconds=50))
    assert clock.now() >= before, "the network was slow; nothing is set back"
    clock.tell(T0 + MINUTE)
    assert timedelta(0) <= clock.now() - T0 - MINUTE < SECOND
