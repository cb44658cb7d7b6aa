"""An older copy of the store is noticed, paper waits, numbers that may be on paper are not given twice."""

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
from monitor.store.engine.ledger import SqlStore
from monitor.store.engine.paper.restorations import SqlRestorations
from tests.real.postgres import Postgres
from tests.unit.alerts.people import T0, incident, trigger

GO = ResumePaper(by="Siti Contoh", reason="looked at all letters")


class Clock:
    def __init__(self) -> None:
        self.time = T0

    def now(self) -> datetime:
        return self.time


@dataclass
class House:
    """A state directory, a tray on another disk, and the store."""

    root: Path
    server: PostgresServer | None
    clock: Clock
    let_go: int = 0

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def marks(self) -> list[Path]:
        return [self.state / FILE, self.root / "tray" / FILE]

    @asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[SqlStore, RestoreGuard]]:
        """Run one that has just been started, as far as this is concerned."""
        async with Database.open(self.state, self.server) as database:
            store = SqlStore(database)
            yield store, self.restorer(store)

    def restorer(self, store: SqlStore) -> RestoreGuard:
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
        self.let_go += 1


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    server = None
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        server = postgres.store()
    (tmp_path / "state").mkdir()
    (tmp_path / "tray").mkdir()
    return House(tmp_path, server, Clock())


@pytest.fixture
def alone(tmp_path: Path) -> House:
    """One whose store is a file that can be copied."""
    (tmp_path / "state").mkdir()
    (tmp_path / "tray").mkdir()
    return House(tmp_path, None, Clock())


async def write(store: SqlStore, clock: Clock, times: int = 1) -> None:
    async with store.transaction() as uow:
        for _ in range(times):
            await uow.add_audit_entry(AuditEntry(at=clock.now(), actor="x", event="x"))


async def opened(store: SqlStore, times: int = 1) -> list[str]:
    """Open incidents, one after the other, and return their numbers."""
    found = []
    for _ in range(times):
        async with store.transaction() as uow:
            [added] = await uow.add_incidents([trigger()])
            await uow.save_incident(replace(added, state=IncidentState.RESOLVED, resolved_at=T0))
            found.append(added.number)
    return found


async def is_held(store: SqlStore) -> bool:
    async with store.reading() as uow:
        return await uow.is_paper_paused()


def put_back(copy: Path, house: House) -> None:
    """Do what somebody does at three in the morning."""
    for leftover in house.state.glob("pantau.sqlite*"):
        leftover.unlink()
    shutil.copy(copy, house.state / "pantau.sqlite")


async def a_copy_between_two_outages(house: House) -> Path:
    async with house.service() as (store, restorer):
        await restorer.check()
        await write(store, house.clock)
        assert await opened(store, 2) == ["JCM-01", "JCM-02"]
        await restorer.check()
    copy = house.root / "copy.sqlite"
    shutil.copy(house.state / "pantau.sqlite", copy)
    async with house.service() as (store, restorer):
        assert await opened(store, 3) == ["JCM-03", "JCM-04", "JCM-05"]
        await write(store, house.clock)
        await restorer.check()
    return copy


async def test_a_store_that_goes_on_where_it_was_holds_nothing(house: House) -> None:
    for _ in range(3):
        async with house.service() as (store, restorer):
            await write(store, house.clock)
            await restorer.check()
            await restorer.check()
            assert not await is_held(store)
            house.clock.time += timedelta(minutes=50)
    async with house.service() as (_, restorer):
        assert (await restorer.view()).restorations == []


async def test_a_copy_that_was_put_back_by_hand_is_noticed_by_the_mark_beside_it(alone: House) -> None:
    put_back(await a_copy_between_two_outages(alone), alone)

    async with alone.service() as (store, restorer):
        await restorer.check()

        assert await is_held(store)
        (detected,) = (await restorer.view()).restorations
        assert (detected.how, detected.skipped) == (DetectionMethod.OLDER, {"JCM": (3, 5)})
        assert await opened(store) == ["JCM-06"]
        # It is said once, however often it is looked at.
        before = await entries(store)
        for _ in range(3):
            await restorer.check()
        assert await entries(store) == before
        assert len((await restorer.view()).restorations) == 1


async def entries(store: SqlStore) -> int:
    async with store.reading() as uow:
        return await uow.last_audit_number()


@pytest.mark.parametrize("survives", [0, 1])
async def test_either_mark_is_enough(alone: House, survives: int) -> None:
    copy = await a_copy_between_two_outages(alone)
    put_back(copy, alone)
    alone.marks[1 - survives].unlink()

    async with alone.service() as (store, restorer):
        await restorer.check()

        assert await is_held(store)
        assert await opened(store) == ["JCM-06"]


async def test_an_empty_store_beside_a_mark_goes_on_behind_its_numbers(alone: House) -> None:
    await a_copy_between_two_outages(alone)
    for leftover in alone.state.glob("pantau.sqlite*"):
        leftover.unlink()

    async with alone.service() as (store, restorer):
        await restorer.check()
        assert (await restorer.view()).restorations[0].how is DetectionMethod.EMPTY
        assert await is_held(store)
        assert await opened(store) == ["JCM-06"]
        await restorer.resume(GO)
    async with alone.service() as (store, restorer):
        await restorer.check()
        assert not await is_held(store)


async def test_a_mark_that_nobody_can_read_says_nothing(alone: House) -> None:
    async with alone.service() as (store, restorer):
        await write(store, alone.clock)
        for mark, said in zip(alone.marks, (b"\xff\x00", b'{"chain": 1}'), strict=True):
            mark.write_bytes(said)
        await restorer.check()
        assert not await is_held(store)
        assert json.loads(alone.marks[0].read_text())["number"] == 1


async def test_another_service_that_lays_its_letters_in_the_same_tray_is_no_witness(alone: House) -> None:
    other = House(alone.root, None, alone.clock)
    async with alone.service() as (store, restorer):
        await write(store, alone.clock)
        foreign = {"chain": "of another", "number": 900, "hash": "x", "numbers": {"JCM": 50}, "pages": {}}
        other.marks[1].write_text(json.dumps(foreign))
        await restorer.check()
        assert not await is_held(store)


async def test_who_was_silent_for_an_hour_may_be_a_snapshot_and_a_hundred_numbers_are_left_out(house: House) -> None:
    async with house.service() as (store, restorer):
        await restorer.check()
        await write(store, house.clock)
        await opened(store)
        await restorer.check()
    house.clock.time += timedelta(hours=2)

    async with house.service() as (store, restorer):
        await restorer.check()

        (detected,) = (await restorer.view()).restorations
        assert detected.how is DetectionMethod.SILENT
        assert detected.since is not None
        assert await opened(store) == ["JCM-102"]


async def test_the_machine_was_only_off_says_somebody_and_all_numbers_are_given(house: House) -> None:
    await test_who_was_silent_for_an_hour_may_be_a_snapshot_and_a_hundred_numbers_are_left_out(house)
    house.clock.time += timedelta(hours=2)

    async with house.service() as (store, restorer):
        await restorer.check()
        assert len((await restorer.view()).restorations) == 1, "one at a time"
        done = await restorer.resume(replace(GO, nothing_lost=True))
        assert done.skipped == {"JCM": (2, 101)}, "whoever misses them finds them here"
        assert house.let_go == 1
        assert not await is_held(store)
        assert await opened(store) == ["JCM-103"], "a number behind them was given"
        async with store.transaction() as uow:
            [first] = await uow.add_incidents([replace(trigger(), dedup_key="KPC", policy=brief_of("KPC"))])
        assert first.number == "KPC-01"


def brief_of(agency: str) -> PolicySnapshot:
    return replace(trigger().policy, agency=agency)


async def test_while_it_runs_a_silence_is_none_but_a_clock_that_leapt_alone_is(house: House) -> None:
    async with house.service() as (store, restorer):
        await write(store, house.clock)
        await restorer.check()
        house.clock.time += timedelta(hours=3)  # And the machine has been up for a moment only.

        await restorer.check()

        assert await is_held(store)
        assert (await restorer.view()).restorations[0].how is DetectionMethod.SILENT


async def test_a_server_that_falls_back_while_we_run_is_noticed(house: House) -> None:
    async with house.service() as (store, restorer):
        await write(store, house.clock)
        await opened(store, 2)
        await restorer.check()
        said = json.loads(house.marks[0].read_text())
        further = said | {"number": said["number"] + 5, "hash": "ff", "numbers": {"JCM": 9}}
        house.marks[0].write_text(json.dumps(further))

        await restorer.check()

        assert await is_held(store)
        assert await opened(store) == ["JCM-10"]


async def test_a_person_says_after_which_number_and_it_goes_on_behind_it(alone: House) -> None:
    put_back(await a_copy_between_two_outages(alone), alone)
    async with alone.service() as (store, restorer):
        await restorer.check()
        with pytest.raises(OperationRejectedError, match="write the last number that is on paper"):
            await restorer.resume(replace(GO, after=["23"]))
        with pytest.raises(OperationRejectedError, match="something was lost: the store is older"):
            await restorer.resume(replace(GO, nothing_lost=True))
        assert await is_held(store)

        done = await restorer.resume(replace(GO, after=["JCM-23"]))

        assert (done.confirmed_by, done.skipped) == ("Siti Contoh", {"JCM": (3, 23)})
        assert await opened(store) == ["JCM-24"]
        with pytest.raises(OperationRejectedError, match="letters and faxes are not paused"):
            await restorer.resume(GO)
        async with store.reading() as uow:
            assert not await uow.is_paper_paused()


async def test_a_number_that_no_agency_has_is_no_answer(alone: House) -> None:
    put_back(await a_copy_between_two_outages(alone), alone)
    async with alone.service() as (store, restorer):
        await restorer.check()

        with pytest.raises(OperationRejectedError, match="no agency has numbers with JCN: write JCM, and repeat this"):
            await restorer.resume(replace(GO, after=["JCN-23"]))

        assert await is_held(store)
        await restorer.resume(replace(GO, after=["KPC-2"]))
        assert await opened(store) == ["JCM-06"]


async def test_a_mark_that_is_seen_late_shows_that_more_was_lost_than_time(alone: House) -> None:
    put_back(await a_copy_between_two_outages(alone), alone)
    away = [(mark, mark.read_text()) for mark in alone.marks]
    for mark, _ in away:
        mark.unlink()
    alone.clock.time += timedelta(hours=2)
    async with alone.service() as (store, restorer):
        await restorer.check()
        assert (await restorer.view()).restorations[0].how is DetectionMethod.SILENT
        mark, said = away[1]
        mark.write_text(said)  # The share is there.

        await restorer.check()

        with pytest.raises(OperationRejectedError, match="something was lost: the store is older"):
            await restorer.resume(replace(GO, nothing_lost=True))
        assert await is_held(store)


@pytest.mark.parametrize(("words", "number"), [({}, "JCM-204"), ({"JCM": 250}, "JCM-251")])
async def test_a_copy_that_was_made_while_paper_waited_leaves_out_what_was_given_since(
    house: House, words: dict[str, int], number: str
) -> None:
    await test_who_was_silent_for_an_hour_may_be_a_snapshot_and_a_hundred_numbers_are_left_out(house)
    async with house.service() as (store, restorer):
        assert await opened(store) == ["JCM-103"]
        async with store.transaction() as uow:  # As `pantau restore` does: twice, as somebody forgot a number.
            for numbers in (words, {}):
                await uow.restorations.begin_reported(T0, T0, by="Siti Contoh", numbers=numbers, pages={})

        await restorer.check()

        before, waiting = (await restorer.view()).restorations
        assert (before.how, before.confirmed_by) == (DetectionMethod.SILENT, "Siti Contoh")
        assert (waiting.how, waiting.since) == (DetectionMethod.RESTORED, before.since)
        assert await opened(store) == [number]
        assert await is_held(store)


async def test_a_tray_that_takes_no_mark_holds_nobody_up_and_is_not_taken_in_twice(alone: House) -> None:
    put_back(await a_copy_between_two_outages(alone), alone)
    alone.marks[0].unlink()
    unwritable = alone.marks[1].read_text()
    async with alone.service() as (store, restorer):
        await restorer.check()
        await restorer.resume(GO)
        alone.marks[1].write_text(unwritable)  # As if it had never been written anew.

        await restorer.check()

        assert not await is_held(store)


async def test_what_a_page_bears_is_noted_outside_before_it_leaves(house: House) -> None:
    async with house.service() as (store, restorer):
        await write(store, house.clock)
        await restorer.check()

        await restorer.record_page([page("JCM-07", 3)])
        await restorer.record_page([page("JCM-07", 2), page("KPC-11", 1)])

        for mark in house.marks:
            said = json.loads(mark.read_text())
            assert said["numbers"] == {"JCM": 7, "KPC": 11}
            assert said["pages"] == {"JCM-07": 3, "KPC-11": 1}


async def test_a_page_that_leaves_before_the_next_look_is_known_to_be_newer_than_a_copy_made_just_now(
    alone: House,
) -> None:
    async with alone.service() as (store, restorer):
        await restorer.check()
        await write(store, alone.clock)
        await restorer.check()
    copy = alone.root / "copy.sqlite"
    shutil.copy(alone.state / "pantau.sqlite", copy)
    async with alone.service() as (store, restorer):
        await restorer.check()
        assert await opened(store) == ["JCM-01"]
        await write(store, alone.clock)
        await restorer.record_page([page("JCM-01", 1)])
    put_back(copy, alone)

    async with alone.service() as (store, restorer):
        await restorer.check()

        assert await is_held(store)
        assert await opened(store) == ["JCM-02"]


async def test_a_look_that_is_under_way_takes_back_nothing_that_a_page_has_noted(
    alone: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_read, goes_on, standing = asyncio.Event(), asyncio.Event(), SqlRestorations.position

    async def slowly(of: SqlRestorations, heads: Collection[int]) -> StorePosition:
        found = await standing(of, heads)
        if not has_read.is_set():
            has_read.set()
            await goes_on.wait()
        return found

    async with alone.service() as (store, restorer):
        await write(store, alone.clock)
        await restorer.check()
        monkeypatch.setattr(SqlRestorations, "position", slowly)
        look = asyncio.create_task(restorer.check())
        await has_read.wait()
        await write(store, alone.clock, 5)
        noted = asyncio.create_task(restorer.record_page([page("JCM-01", 1)]))
        await asyncio.wait([noted], timeout=0.1)
        goes_on.set()
        await asyncio.gather(look, noted)

        newest = await entries(store)
        assert [json.loads(mark.read_text())["number"] for mark in alone.marks] == [newest, newest]


def page(number: str, enclosure: int) -> Facts:
    told = build_facts(incident(), Plan.ANNOUNCEMENT, Purpose.OUTAGE, T0)
    return replace(told, number=number, enclosure=enclosure)


async def test_letters_in_the_tray_that_the_store_does_not_know_are_named_and_older_ones_are_not(alone: House) -> None:
    put_back(await a_copy_between_two_outages(alone), alone)
    lost = f"{T0:%Y-%m-%d}_p42-1-1764_gangguan.pdf"
    lay(alone.root / "tray", "posted", "2019-01-01_p1-1-1546_gangguan.pdf")
    lay(alone.root / "tray", "posted", lost)
    async with alone.service() as (_, restorer):
        await restorer.check()
        assert (await restorer.view()).unknown == [f"posted/{lost}"]
        await restorer.resume(GO)
        assert (await restorer.view()).unknown == []


def lay(tray: Path, place: str, name: str) -> None:
    (tray / place).mkdir(exist_ok=True)
    (tray / place / name).write_bytes(b"%PDF")
