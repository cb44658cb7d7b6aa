"""Detection of a restored store: paper is paused, and numbers that may be printed are not used again."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from alerts.decide.escalation import build_facts
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.gateways.tray import Tray, TraySettings
from alerts.model.channel import Channel
from alerts.model.gateway import GatewayContext
from alerts.model.incident import IncidentState
from alerts.model.notification import Facts, Plan, Purpose
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.restoration import DetectionMethod, StorePosition
from alerts.persistence.store import AuditEntry
from monitor.metrics import Metrics
from monitor.service.errors import OperationRejectedError
from monitor.service.paper.high_water_mark import FILE
from monitor.service.paper.restore_guard import RestoreGuard, ResumePaper
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.paper.restorations import SqlRestorations
from monitor.store.engine.unit_of_work import SqlStore
from tests.real.postgres import Postgres
from tests.unit.alerts.people import T0, incident, trigger

GO = ResumePaper(by="Siti Contoh", reason="looked at all letters")


class Clock:
    def __init__(self) -> None:
        self.time = T0

    def now(self) -> datetime:
        return self.time


@dataclass
class StoreFixture:
    """A state directory, a tray on another disk, and the database."""

    root: Path
    server: PostgresServer | None
    clock: Clock
    resumed: int = 0

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def mark_files(self) -> list[Path]:
        return [self.state / FILE, self.root / "tray" / FILE]

    @asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[SqlStore, RestoreGuard]]:
        """Open the store and its guard as a new process does."""
        async with Database.open(self.state, self.server) as database:
            store = SqlStore(database)
            yield store, self.guard(store)

    def guard(self, store: SqlStore) -> RestoreGuard:
        around = GatewayContext(callback_base=None, directory=str(self.root))
        tray = Tray(TraySettings(directory=Path("tray")), around)
        return RestoreGuard(
            store=store,
            state=self.state,
            clock=self.clock,
            service="pantau@test",
            pool=GatewayPool([ConfiguredGateway(name="tray", channel=Channel.LETTER, gateway=tray)]),
            prefixes=lambda: {"JCM", "KPC"},
            metrics=Metrics(version="0", now=self.clock.now),
            on_resume=self._note,
        )

    def _note(self) -> None:
        self.resumed += 1


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def fixture(request: pytest.FixtureRequest, tmp_path: Path) -> StoreFixture:
    server = None
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        server = postgres.store()
    (tmp_path / "state").mkdir()
    (tmp_path / "tray").mkdir()
    return StoreFixture(tmp_path, server, Clock())


@pytest.fixture
def sqlite_fixture(tmp_path: Path) -> StoreFixture:
    """Return a fixture with a SQLite file, which can be copied."""
    (tmp_path / "state").mkdir()
    (tmp_path / "tray").mkdir()
    return StoreFixture(tmp_path, None, Clock())


async def write(store: SqlStore, clock: Clock, times: int = 1) -> None:
    async with store.transaction() as uow:
        for _ in range(times):
            await uow.add_audit_entry(AuditEntry(at=clock.now(), actor="x", event="x"))


async def open_incidents(store: SqlStore, times: int = 1) -> list[str]:
    """Open and resolve incidents one by one; return their numbers."""
    found = []
    for _ in range(times):
        async with store.transaction() as uow:
            [added] = await uow.add_incidents([trigger()])
            await uow.save_incident(replace(added, state=IncidentState.RESOLVED, resolved_at=T0))
            found.append(added.number)
    return found


async def is_paused(store: SqlStore) -> bool:
    async with store.reading() as uow:
        return await uow.is_paper_paused()


def restore_copy(copy: Path, fixture: StoreFixture) -> None:
    """Replace the database with *copy*, as an operator does by hand."""
    for leftover in fixture.state.glob("pantau.sqlite*"):
        leftover.unlink()
    shutil.copy(copy, fixture.state / "pantau.sqlite")


async def copy_between_two_outages(fixture: StoreFixture) -> Path:
    async with fixture.service() as (store, guard):
        await guard.check()
        await write(store, fixture.clock)
        assert await open_incidents(store, 2) == ["JCM-01", "JCM-02"]
        await guard.check()
    copy = fixture.root / "copy.sqlite"
    shutil.copy(fixture.state / "pantau.sqlite", copy)
    async with fixture.service() as (store, guard):
        assert await open_incidents(store, 3) == ["JCM-03", "JCM-04", "JCM-05"]
        await write(store, fixture.clock)
        await guard.check()
    return copy


async def test_restore_guard_store_that_continues_does_not_pause_paper(fixture: StoreFixture) -> None:
    for _ in range(3):
        async with fixture.service() as (store, guard):
            await write(store, fixture.clock)
            await guard.check()
            await guard.check()
            assert not await is_paused(store)
            fixture.clock.time += timedelta(minutes=50)
    async with fixture.service() as (_, guard):
        assert (await guard.view()).restorations == []


async def test_restore_guard_copy_restored_by_hand_is_detected_by_high_water_mark(sqlite_fixture: StoreFixture) -> None:
    restore_copy(await copy_between_two_outages(sqlite_fixture), sqlite_fixture)

    async with sqlite_fixture.service() as (store, guard):
        await guard.check()

        assert await is_paused(store)
        (detected,) = (await guard.view()).restorations
        assert (detected.how, detected.skipped) == (DetectionMethod.OLDER, {"JCM": (3, 5)})
        assert await open_incidents(store) == ["JCM-06"]
        # It is reported once, however often the guard checks.
        before = await last_entry_number(store)
        for _ in range(3):
            await guard.check()
        assert await last_entry_number(store) == before
        assert len((await guard.view()).restorations) == 1


async def last_entry_number(store: SqlStore) -> int:
    async with store.reading() as uow:
        return await uow.last_audit_number()


@pytest.mark.parametrize("survives", [0, 1])
async def test_restore_guard_one_remaining_mark_is_enough(sqlite_fixture: StoreFixture, survives: int) -> None:
    copy = await copy_between_two_outages(sqlite_fixture)
    restore_copy(copy, sqlite_fixture)
    sqlite_fixture.mark_files[1 - survives].unlink()

    async with sqlite_fixture.service() as (store, guard):
        await guard.check()

        assert await is_paused(store)
        assert await open_incidents(store) == ["JCM-06"]


async def test_restore_guard_empty_store_continues_after_marked_numbers(sqlite_fixture: StoreFixture) -> None:
    await copy_between_two_outages(sqlite_fixture)
    for leftover in sqlite_fixture.state.glob("pantau.sqlite*"):
        leftover.unlink()

    async with sqlite_fixture.service() as (store, guard):
        await guard.check()
        assert (await guard.view()).restorations[0].how is DetectionMethod.EMPTY
        assert await is_paused(store)
        assert await open_incidents(store) == ["JCM-06"]
        await guard.resume(GO)
    async with sqlite_fixture.service() as (store, guard):
        await guard.check()
        assert not await is_paused(store)


async def test_restore_guard_unreadable_mark_is_ignored(sqlite_fixture: StoreFixture) -> None:
    async with sqlite_fixture.service() as (store, guard):
        await write(store, sqlite_fixture.clock)
        for mark, said in zip(sqlite_fixture.mark_files, (b"\xff\x00", b'{"chain": 1}'), strict=True):
            mark.write_bytes(said)
        await guard.check()
        assert not await is_paused(store)
        assert json.loads(sqlite_fixture.mark_files[0].read_text())["number"] == 1


async def test_restore_guard_mark_of_other_service_in_same_tray_is_ignored(sqlite_fixture: StoreFixture) -> None:
    other = StoreFixture(sqlite_fixture.root, None, sqlite_fixture.clock)
    async with sqlite_fixture.service() as (store, guard):
        await write(store, sqlite_fixture.clock)
        foreign = {"chain": "of another", "number": 900, "hash": "x", "numbers": {"JCM": 50}, "pages": {}}
        other.mark_files[1].write_text(json.dumps(foreign))
        await guard.check()
        assert not await is_paused(store)


async def test_restore_guard_silent_for_an_hour_skips_100_numbers(fixture: StoreFixture) -> None:
    async with fixture.service() as (store, guard):
        await guard.check()
        await write(store, fixture.clock)
        await open_incidents(store)
        await guard.check()
    fixture.clock.time += timedelta(hours=2)

    async with fixture.service() as (store, guard):
        await guard.check()

        (detected,) = (await guard.view()).restorations
        assert detected.how is DetectionMethod.SILENT
        assert detected.since is not None
        assert await open_incidents(store) == ["JCM-102"]


async def test_restore_guard_resume_nothing_lost_uses_later_numbers(fixture: StoreFixture) -> None:
    await test_restore_guard_silent_for_an_hour_skips_100_numbers(fixture)
    fixture.clock.time += timedelta(hours=2)

    async with fixture.service() as (store, guard):
        await guard.check()
        assert len((await guard.view()).restorations) == 1, "one at a time"
        done = await guard.resume(replace(GO, nothing_lost=True))
        assert done.skipped == {"JCM": (2, 101)}, "whoever misses them finds them here"
        assert fixture.resumed == 1
        assert not await is_paused(store)
        assert await open_incidents(store) == ["JCM-103"], "a number behind them was given"
        async with store.transaction() as uow:
            [first] = await uow.add_incidents([replace(trigger(), dedup_key="KPC", policy=policy_of("KPC"))])
        assert first.number == "KPC-01"


def policy_of(agency: str) -> PolicySnapshot:
    return replace(trigger().policy, agency=agency)


async def test_restore_guard_clock_jump_while_running_is_detected(fixture: StoreFixture) -> None:
    async with fixture.service() as (store, guard):
        await write(store, fixture.clock)
        await guard.check()
        fixture.clock.time += timedelta(hours=3)  # The monotonic clock has advanced only a moment.

        await guard.check()

        assert await is_paused(store)
        assert (await guard.view()).restorations[0].how is DetectionMethod.SILENT


async def test_restore_guard_server_rollback_while_running_is_detected(fixture: StoreFixture) -> None:
    async with fixture.service() as (store, guard):
        await write(store, fixture.clock)
        await open_incidents(store, 2)
        await guard.check()
        said = json.loads(fixture.mark_files[0].read_text())
        further = said | {"number": said["number"] + 5, "hash": "ff", "numbers": {"JCM": 9}}
        fixture.mark_files[0].write_text(json.dumps(further))

        await guard.check()

        assert await is_paused(store)
        assert await open_incidents(store) == ["JCM-10"]


async def test_restore_guard_resume_after_given_number_continues_behind_it(sqlite_fixture: StoreFixture) -> None:
    restore_copy(await copy_between_two_outages(sqlite_fixture), sqlite_fixture)
    async with sqlite_fixture.service() as (store, guard):
        await guard.check()
        with pytest.raises(OperationRejectedError, match="write the last number that is on paper"):
            await guard.resume(replace(GO, after=["23"]))
        with pytest.raises(OperationRejectedError, match="something was lost: the database is older"):
            await guard.resume(replace(GO, nothing_lost=True))
        assert await is_paused(store)

        done = await guard.resume(replace(GO, after=["JCM-23"]))

        assert (done.confirmed_by, done.skipped) == ("Siti Contoh", {"JCM": (3, 23)})
        assert await open_incidents(store) == ["JCM-24"]
        with pytest.raises(OperationRejectedError, match="letters and faxes are not paused"):
            await guard.resume(GO)
        async with store.reading() as uow:
            assert not await uow.is_paper_paused()


async def test_restore_guard_resume_unknown_prefix_is_refused(sqlite_fixture: StoreFixture) -> None:
    restore_copy(await copy_between_two_outages(sqlite_fixture), sqlite_fixture)
    async with sqlite_fixture.service() as (store, guard):
        await guard.check()

        with pytest.raises(OperationRejectedError, match="no agency has numbers with JCN: write JCM, and try again"):
            await guard.resume(replace(GO, after=["JCN-23"]))

        assert await is_paused(store)
        await guard.resume(replace(GO, after=["KPC-2"]))
        assert await open_incidents(store) == ["JCM-06"]


async def test_restore_guard_mark_found_later_refuses_nothing_lost(sqlite_fixture: StoreFixture) -> None:
    restore_copy(await copy_between_two_outages(sqlite_fixture), sqlite_fixture)
    away = [(mark, mark.read_text()) for mark in sqlite_fixture.mark_files]
    for mark, _ in away:
        mark.unlink()
    sqlite_fixture.clock.time += timedelta(hours=2)
    async with sqlite_fixture.service() as (store, guard):
        await guard.check()
        assert (await guard.view()).restorations[0].how is DetectionMethod.SILENT
        mark, said = away[1]
        mark.write_text(said)  # The network share is available again.

        await guard.check()

        with pytest.raises(OperationRejectedError, match="something was lost: the database is older"):
            await guard.resume(replace(GO, nothing_lost=True))
        assert await is_paused(store)


@pytest.mark.parametrize(("words", "number"), [({}, "JCM-204"), ({"JCM": 250}, "JCM-251")])
async def test_restore_guard_second_restore_while_paused_skips_numbers_given_since(
    fixture: StoreFixture, words: dict[str, int], number: str
) -> None:
    await test_restore_guard_silent_for_an_hour_skips_100_numbers(fixture)
    async with fixture.service() as (store, guard):
        assert await open_incidents(store) == ["JCM-103"]
        async with store.transaction() as uow:  # `pantau restore` is run twice, because the first run lacked a number.
            for numbers in (words, {}):
                await uow.restorations.begin_reported(T0, T0, by="Siti Contoh", numbers=numbers, pages={})

        await guard.check()

        before, waiting = (await guard.view()).restorations
        assert (before.how, before.confirmed_by) == (DetectionMethod.SILENT, "Siti Contoh")
        assert (waiting.how, waiting.since) == (DetectionMethod.RESTORED, before.since)
        assert await open_incidents(store) == [number]
        assert await is_paused(store)


async def test_restore_guard_stale_unwritable_mark_does_not_pause_again(sqlite_fixture: StoreFixture) -> None:
    restore_copy(await copy_between_two_outages(sqlite_fixture), sqlite_fixture)
    sqlite_fixture.mark_files[0].unlink()
    unwritable = sqlite_fixture.mark_files[1].read_text()
    async with sqlite_fixture.service() as (store, guard):
        await guard.check()
        await guard.resume(GO)
        sqlite_fixture.mark_files[1].write_text(unwritable)  # As if the write had failed.

        await guard.check()

        assert not await is_paused(store)


async def test_restore_guard_record_page_writes_marks_first(fixture: StoreFixture) -> None:
    async with fixture.service() as (store, guard):
        await write(store, fixture.clock)
        await guard.check()

        await guard.record_page([page("JCM-07", 3)])
        await guard.record_page([page("JCM-07", 2), page("KPC-11", 1)])

        for mark in fixture.mark_files:
            said = json.loads(mark.read_text())
            assert said["numbers"] == {"JCM": 7, "KPC": 11}
            assert said["pages"] == {"JCM-07": 3, "KPC-11": 1}


async def test_restore_guard_page_sent_before_next_check_shows_copy_is_older(
    sqlite_fixture: StoreFixture,
) -> None:
    async with sqlite_fixture.service() as (store, guard):
        await guard.check()
        await write(store, sqlite_fixture.clock)
        await guard.check()
    copy = sqlite_fixture.root / "copy.sqlite"
    shutil.copy(sqlite_fixture.state / "pantau.sqlite", copy)
    async with sqlite_fixture.service() as (store, guard):
        await guard.check()
        assert await open_incidents(store) == ["JCM-01"]
        await write(store, sqlite_fixture.clock)
        await guard.record_page([page("JCM-01", 1)])
    restore_copy(copy, sqlite_fixture)

    async with sqlite_fixture.service() as (store, guard):
        await guard.check()

        assert await is_paused(store)
        assert await open_incidents(store) == ["JCM-02"]


async def test_restore_guard_check_does_not_overwrite_mark_of_concurrent_page(
    sqlite_fixture: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_read, goes_on, standing = asyncio.Event(), asyncio.Event(), SqlRestorations.position

    async def slowly(of: SqlRestorations, heads: Collection[int]) -> StorePosition:
        found = await standing(of, heads)
        if not has_read.is_set():
            has_read.set()
            await goes_on.wait()
        return found

    async with sqlite_fixture.service() as (store, guard):
        await write(store, sqlite_fixture.clock)
        await guard.check()
        monkeypatch.setattr(SqlRestorations, "position", slowly)
        look = asyncio.create_task(guard.check())
        await has_read.wait()
        await write(store, sqlite_fixture.clock, 5)
        noted = asyncio.create_task(guard.record_page([page("JCM-01", 1)]))
        await asyncio.wait([noted], timeout=0.1)
        goes_on.set()
        await asyncio.gather(look, noted)

        newest = await last_entry_number(store)
        assert [json.loads(mark.read_text())["number"] for mark in sqlite_fixture.mark_files] == [newest, newest]


def page(number: str, enclosure: int) -> Facts:
    told = build_facts(incident(), Plan.ANNOUNCEMENT, Purpose.OUTAGE, T0)
    return replace(told, number=number, enclosure=enclosure)


async def test_restore_guard_unknown_recent_letters_in_tray_are_listed(sqlite_fixture: StoreFixture) -> None:
    restore_copy(await copy_between_two_outages(sqlite_fixture), sqlite_fixture)
    lost = f"{T0:%Y-%m-%d}_p42-1-1764_gangguan.pdf"
    put_letter(sqlite_fixture.root / "tray", "posted", "2019-01-01_p1-1-1546_gangguan.pdf")
    put_letter(sqlite_fixture.root / "tray", "posted", lost)
    async with sqlite_fixture.service() as (_, guard):
        await guard.check()
        assert (await guard.view()).unknown == [f"posted/{lost}"]
        await guard.resume(GO)
        assert (await guard.view()).unknown == []


def put_letter(tray: Path, place: str, name: str) -> None:
    (tray / place).mkdir(exist_ok=True)
    (tray / place / name).write_bytes(b"%PDF")
