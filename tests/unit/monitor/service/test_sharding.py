"""The shard of a process while other processes and the database come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from alerts.persistence.store import StoreUnavailable
from monitor.metrics import Metrics
from monitor.planning.ownership import Shard, TakeoverPolicy
from monitor.service.sharding import ShardManager
from monitor.store.probing.history import MAX_SINGLE_AGENCIES
from monitor.store.probing.processes import Process
from probes.mail.token import Origin, TokenSigner
from tests.timeouts import HANG_TIMEOUT
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.world import SECOND, T0

KEY = b"kunci-untuk-ujian-sahaja"
CODES = [f"AG{number}" for number in range(40)]


async def take_over_nothing(processes: Collection[str]) -> None:
    """Report that the dead processes have no claimed notifications."""


@dataclass
class ShardingFixture:
    """A database with the rows of processes, and the reloader of one process."""

    now: datetime = T0
    rows: dict[str, Process] = field(default_factory=dict)
    is_unavailable: bool = False
    hangs: bool = False
    #: Duration of the heartbeat write, after the other rows are read.
    write_delay: timedelta = timedelta(0)
    shares: list[Shard] = field(default_factory=list)
    #: Number of refused changes of the shard.
    refusals: int = 0
    #: Times at which the own statuses were written again.
    rewritten_at: list[datetime] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.metrics = Metrics(version="1", now=lambda: self.now)
        self.signer = TokenSigner(KEY, "satu")
        registry = SimpleNamespace(agencies=dict.fromkeys(CODES))
        pipeline = SimpleNamespace(rewrite_statuses=lambda: self.rewritten_at.append(self.now))
        self.runtime = SimpleNamespace(
            configuration=SimpleNamespace(registry=registry), owned=frozenset(CODES), pipeline=pipeline
        )
        self.sharing = ShardManager(
            name="satu",
            processes=cast(Any, self),
            history=cast(Any, None),
            reloader=cast(Any, self),
            context=cast(Any, SimpleNamespace(metrics=self.metrics, signer=self.signer, store=None)),
            clock=cast(Any, SimpleNamespace(now=lambda: self.now)),
            policy=TakeoverPolicy(),
            take_over_notifications=take_over_nothing,
        )

    # Process rows

    async def others(self) -> Sequence[Process]:
        return [*self.rows.values()]

    async def record_agencies(self, agencies: Collection[str]) -> bool:
        assert list(agencies) == CODES
        return True

    async def agencies_by_digest(self, names: Collection[str]) -> Mapping[str, frozenset[str]]:
        raise AssertionError(f"{names} have said nothing of it")

    async def refresh_heartbeat(self, now: datetime) -> Sequence[Process]:
        assert now == self.now
        if self.is_unavailable:
            raise StoreUnavailable("gone")
        if self.hangs:
            await asyncio.Event().wait()
        others = await self.others()
        self.now += self.write_delay
        return others

    def write_heartbeat(self, name: str = "dua", *, left: bool = False) -> None:
        stopped_at = self.now if left else None
        self.rows[name] = Process(name=name, started_at=T0, heartbeat_at=self.now, stopped_at=stopped_at)

    # Reloader

    async def change_shard(self, share: Shard) -> frozenset[str]:
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailable("results still wait to be written")
        self.shares.append(share)
        before: frozenset[str] = self.runtime.owned
        owned = self.runtime.owned = share.owned(CODES)
        self.metrics.set_agency_ownership(owned=len(owned))
        return owned - before

    async def advance_one_second(self) -> None:
        self.now += SECOND
        await self.sharing._send_heartbeat()

    async def apply_shard(self) -> None:
        async with asyncio.timeout(HANG_TIMEOUT):
            await self.sharing._apply_shard()

    def value(self, name: str) -> float | None:
        return Scrape(self.metrics).value(name)


async def test_shard_manager_beside_others_begins_with_its_shard() -> None:
    process = ShardingFixture()
    process.write_heartbeat()

    share = await process.sharing.begin()
    await process.advance_one_second()

    assert share.alive == {"satu", "dua"}
    assert not process.sharing._shard_changed.is_set()


async def test_shard_manager_has_one_leader_and_next_after_it_dies() -> None:
    process = ShardingFixture()
    was_leader = [process.sharing.is_leader]
    process.write_heartbeat("dua")
    await process.advance_one_second()
    was_leader.append(process.sharing.is_leader)

    for _ in range(6):
        await process.advance_one_second()
    was_leader.append(process.sharing.is_leader)

    assert was_leader == [True, False, True], "alone, beside another, and when that one has died"


async def test_shard_manager_takes_over_agencies_of_dead_process_and_returns_them() -> None:
    process = ShardingFixture()
    process.write_heartbeat()
    process.runtime.owned = (await process.sharing.begin()).owned(CODES)
    mine = len(process.runtime.owned)
    assert 0 < mine < len(CODES)
    theirs = TokenSigner(KEY, "dua").issue("JCM/internal", T0)
    assert process.signer.origin(theirs) is Origin.OTHER_PROBER

    with capture_logs() as logged:
        for _ in range(5):
            await process.advance_one_second()
        await process.apply_shard()
    assert [(line["event"], line.get("left")) for line in logged] == [
        ("cluster membership changed", ["dua"]),
        ("agencies taken over", None),
    ]
    assert process.shares[-1].alive == {"satu"}
    assert process.value("agencies_owned") == len(CODES)
    assert process.value("takeovers_total") == len(CODES) - mine
    assert process.signer.origin(theirs) is Origin.INHERITED

    process.write_heartbeat()
    await process.advance_one_second()
    await process.apply_shard()
    assert process.value("agencies_owned") == mine
    assert process.value("takeovers_total") == len(CODES) - mine
    assert process.signer.origin(theirs) is Origin.OTHER_PROBER


async def test_shard_manager_replaces_stopped_process_at_once() -> None:
    process = ShardingFixture()
    process.write_heartbeat()
    await process.sharing.begin()
    process.write_heartbeat(left=True)

    await process.advance_one_second()
    await process.apply_shard()

    assert process.shares[-1].alive == {"satu"}


@pytest.mark.parametrize(("how", "seconds"), [("away", 60), ("away", 2), ("hanging", 2)])
async def test_shard_manager_database_unavailable_keeps_shard_and_allows_heartbeat_after(
    how: str, seconds: int
) -> None:
    process = ShardingFixture()
    process.write_heartbeat()
    await process.sharing.begin()
    process.is_unavailable, process.hangs = how == "away", how == "hanging"
    process.sharing._policy = TakeoverPolicy(timeout=SECOND / 10)
    for _ in range(seconds):
        with pytest.raises(StoreUnavailable):
            await process.advance_one_second()
    process.is_unavailable = process.hangs = False

    for _ in range(5):
        await process.advance_one_second()
    assert process.sharing._shard.alive == {"satu", "dua"}
    assert not process.sharing._shard_changed.is_set()

    await process.advance_one_second()
    assert process.sharing._shard.alive == {"satu"}, "it has not come back with the store"


async def test_shard_manager_pending_takeover_is_exported_and_retried() -> None:
    process = ShardingFixture(refusals=1)
    process.write_heartbeat()
    process.runtime.owned = (await process.sharing.begin()).owned(CODES)
    mine = len(process.runtime.owned)
    process.write_heartbeat(left=True)
    await process.advance_one_second()

    with pytest.raises(StoreUnavailable):
        await process.apply_shard()
    assert (process.value("agencies_owned"), process.value("agencies_takeover_pending")) == (mine, len(CODES) - mine)

    await process.apply_shard()
    assert (process.value("agencies_owned"), process.value("agencies_takeover_pending")) == (len(CODES), 0)


async def test_shard_manager_mass_outage_of_others_limits_reads_per_agency(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process, asked = ShardingFixture(), list[Sequence[str]]()

    async def healths(_: object) -> dict[str, object]:
        return {}

    async def look_up(agencies: Sequence[str]) -> None:
        asked.append(agencies)

    monkeypatch.setattr("monitor.service.sharding._PEER_INTERVAL", 0)
    monkeypatch.setattr("monitor.service.sharding._INTERVAL_PER_ROUTE", 0)
    routes = {f"A{number:03}": SimpleNamespace(agency=f"A{number:03}") for number in range(200)}
    elsewhere = SimpleNamespace(
        routes=routes, restore=lambda _: None, mail=lambda agency: SimpleNamespace(unhealthy_routes=lambda: [agency])
    )
    process.runtime.peer_evaluator = elsewhere
    process.sharing._history = cast(Any, SimpleNamespace(healths=healths, refresh_latest=look_up))
    await process.sharing._read_peer_results()
    assert [len(each) for each in asked] == [MAX_SINGLE_AGENCIES]


async def test_shard_manager_long_silence_rewrites_statuses_now_and_after_timeout() -> None:
    process = ShardingFixture()
    await process.sharing.begin()
    for _ in range(5):
        await process.advance_one_second()
    assert process.rewritten_at == []
    process.now += 3 * SECOND
    await process.advance_one_second()
    back = process.now
    for _ in range(30):
        await process.advance_one_second()
    assert process.rewritten_at == [back, back + TakeoverPolicy().timeout]


async def test_shard_manager_slow_own_heartbeat_does_not_age_other_processes() -> None:
    process = ShardingFixture(write_delay=1.2 * SECOND)
    process.write_heartbeat()
    await process.sharing.begin()
    for _ in range(3):
        await process.advance_one_second()
        process.write_heartbeat()
    await process.advance_one_second()
    await process.advance_one_second()
    assert process.sharing._shard.alive == {"satu", "dua"}, "3.2 s old when it was read"


async def test_shard_manager_late_own_heartbeats_rewrite_statuses() -> None:
    """Other processes see a heartbeat after it is written, and its time is the start of the write."""
    process = ShardingFixture()
    await process.sharing.begin()
    await process.advance_one_second()
    process.write_delay = 2 * SECOND
    await process.advance_one_second()
    assert process.rewritten_at == []
    await process.advance_one_second()
    assert process.rewritten_at == [process.now]


async def test_shard_manager_stopped_process_triggers_cleanup() -> None:
    process = ShardingFixture()
    process.write_heartbeat()
    await process.sharing.begin()
    process.sharing._processes_left.clear()
    await process.advance_one_second()
    assert not process.sharing._processes_left.is_set()
    process.write_heartbeat(left=True)
    await process.advance_one_second()
    assert process.sharing._processes_left.is_set()


class Rollout:
    """Three processes with one database, each with its own files."""

    def __init__(self, *agencies: str) -> None:
        self.now = T0
        self.rows: dict[str, Process] = {}
        self.said: dict[str, frozenset[str]] = {}
        self.asked: list[str] = []
        self.members = {name: ClusterMember(self, name, agencies) for name in ("satu", "dua", "tiga")}

    async def advance(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += SECOND
            for each in self.members.values():
                await each.advance_one_second()

    def owners(self) -> dict[str, list[str]]:
        every = sorted({code for each in self.members.values() for code in each.registry.agencies})
        return {code: [name for name, each in self.members.items() if code in each.runtime.owned] for code in every}


class ClusterMember:
    """One process of a rollout: its reloader and the writer of its row."""

    def __init__(self, rollout: Rollout, name: str, agencies: Sequence[str]) -> None:
        self.rollout, self.name, self.share = rollout, name, Shard(name=name, alive=frozenset({name}))
        self.metrics = Metrics(version="1", now=lambda: rollout.now)
        self.runtime = SimpleNamespace(owned=frozenset(agencies))
        self.set_files(*agencies)
        self.sharing = ShardManager(
            name=name,
            processes=cast(Any, self),
            history=cast(Any, None),
            reloader=cast(Any, self),
            context=cast(Any, SimpleNamespace(metrics=self.metrics, signer=TokenSigner(KEY, name), store=None)),
            clock=cast(Any, SimpleNamespace(now=lambda: rollout.now)),
            policy=TakeoverPolicy(),
            take_over_notifications=take_over_nothing,
        )

    def set_files(self, *agencies: str) -> None:
        """Reload with these agencies."""
        self.registry = SimpleNamespace(agencies=dict.fromkeys(agencies))
        self.runtime.configuration = SimpleNamespace(registry=self.registry)
        self.runtime.owned = self.share.owned(agencies)

    async def advance_one_second(self) -> None:
        await self.sharing._send_heartbeat()
        if self.sharing._shard_changed.is_set():
            await self.sharing._apply_shard()

    async def change_shard(self, share: Shard) -> frozenset[str]:
        self.share = share
        before, self.runtime.owned = self.runtime.owned, share.owned(self.registry.agencies)
        return frozenset(self.runtime.owned - before)

    async def refresh_heartbeat(self, now: datetime) -> Sequence[Process]:
        row = self.rollout.rows.get(self.name) or Process(name=self.name, started_at=now, heartbeat_at=now)
        self.rollout.rows[self.name] = replace(row, heartbeat_at=now)
        return [each for name, each in self.rollout.rows.items() if name != self.name]

    async def record_agencies(self, agencies: Collection[str]) -> bool:
        if self.name not in self.rollout.rows:
            return False
        digest = ",".join(agencies)
        self.rollout.said[digest] = frozenset(agencies)
        self.rollout.rows[self.name] = replace(self.rollout.rows[self.name], agencies_digest=digest)
        return True

    async def agencies_by_digest(self, names: Collection[str]) -> Mapping[str, frozenset[str]]:
        self.rollout.asked += names
        found = [self.rollout.rows[name].agencies_digest for name in names]
        return {digest: self.rollout.said[digest] for digest in found if digest is not None}


async def test_shard_manager_rollout_of_files_keeps_one_owner_with_file_per_agency() -> None:
    rollout = Rollout(*CODES[:20])
    await rollout.advance(3)
    assert {len(owners_now) for owners_now in rollout.owners().values()} == {1}
    # One agency is added, and one is removed.
    for number, member in enumerate(rollout.members.values(), 1):
        member.set_files(*CODES[1:21])
        await rollout.advance(2)
        owners_now = rollout.owners()
        assert {len(each) for each in owners_now.values()} == {1}, f"two seconds after {number} of three have reloaded"
        assert owners_now[CODES[20]][0] in list(rollout.members)[:number]
        lacking = [Scrape(each.metrics).value("agencies_config_missing") for each in rollout.members.values()]
        assert lacking == [1 if number < 3 else 0] * 3
    rollout.asked.clear()
    await rollout.advance(5)
    assert rollout.asked == [], "what has not changed is read once"


async def test_shard_manager_missing_documents_are_logged_once() -> None:
    rollout = Rollout(*CODES[:3])
    await rollout.advance(2)
    with capture_logs() as logged:
        rollout.members["satu"].set_files(*CODES[:4])
        await rollout.advance(5)
    assert [(line["agencies"], line["examples"]) for line in logged if "documents" in line["event"]] == [
        (1, [CODES[3]])
    ] * 2


async def test_shard_manager_deletes_statuses_of_dead_process_until_database_accepts() -> None:
    process, taken = ShardingFixture(), list[str]()
    process.write_heartbeat()
    await process.sharing.begin()

    async def delete_statuses(has_left: Callable[[str], bool]) -> None:
        if process.is_unavailable:
            raise StoreUnavailable("gone")
        said = ("JCM", "ours/network@satu", "ours/network@dua", "ours/network@tiga", "ours/credentials/JCM/utama")
        # An older version wrote no process name.
        taken.extend(filter(has_left, (*said, "ours/network")))
        raise RuntimeError("that is all")

    process.sharing._history = cast(Any, SimpleNamespace(delete_statuses=delete_statuses))
    process.is_unavailable = True
    with pytest.raises(StoreUnavailable):
        await process.sharing._take_over_from_dead()
    process.is_unavailable = False
    async with asyncio.timeout(HANG_TIMEOUT):
        with pytest.raises(RuntimeError):
            await process.sharing._take_over_from_dead()
    assert taken == ["ours/network@tiga", "ours/network"]
