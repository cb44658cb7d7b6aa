"""What a process takes for its share of the agencies while others come and go, and the store with them."""

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
from monitor.store.probing.history import APART
from monitor.store.probing.processes import Process
from probes.mail.token import Origin, TokenSigner
from tests.hanging import HANGS
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.trial import SECOND, T0

KEY = b"kunci-untuk-ujian-sahaja"
CODES = [f"AG{number}" for number in range(40)]


async def nothing_claimed(processes: Collection[str]) -> None:
    """Find that the dead have claimed nothing."""


@dataclass
class SourceLocation:
    """A store with the rows of processes, and what reloads in the one that is looked at."""

    now: datetime = T0
    rows: dict[str, Process] = field(default_factory=dict)
    is_away: bool = False
    hangs: bool = False
    #: So long a sign of life takes to be written, after the others' were read.
    stalls: timedelta = timedelta(0)
    shares: list[Shard] = field(default_factory=list)
    #: So often a share cannot be had yet.
    refusals: int = 0
    #: When what is our own was said again.
    said_again: list[datetime] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.metrics = Metrics(version="1", now=lambda: self.now)
        self.signer = TokenSigner(KEY, "satu")
        registry = SimpleNamespace(agencies=dict.fromkeys(CODES))
        pipeline = SimpleNamespace(rewrite_statuses=lambda: self.said_again.append(self.now))
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
            take_over_notifications=nothing_claimed,
        )

    # The rows

    async def others(self) -> Sequence[Process]:
        return [*self.rows.values()]

    async def record_agencies(self, agencies: Collection[str]) -> bool:
        assert list(agencies) == CODES
        return True

    async def known(self, names: Collection[str]) -> Mapping[str, frozenset[str]]:
        raise AssertionError(f"{names} have said nothing of it")

    async def refresh_heartbeat(self, now: datetime) -> Sequence[Process]:
        assert now == self.now
        if self.is_away:
            raise StoreUnavailable("gone")
        if self.hangs:
            await asyncio.Event().wait()
        others = await self.others()
        self.now += self.stalls
        return others

    def beats(self, name: str = "dua", *, left: bool = False) -> None:
        stopped_at = self.now if left else None
        self.rows[name] = Process(name=name, started_at=T0, heartbeat_at=self.now, stopped_at=stopped_at)

    # The reloader

    async def change_shard(self, share: Shard) -> frozenset[str]:
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailable("results still wait to be written")
        self.shares.append(share)
        before: frozenset[str] = self.runtime.owned
        owned = self.runtime.owned = share.owned(CODES)
        self.metrics.set_agency_ownership(owned=len(owned))
        return owned - before

    async def second(self) -> None:
        self.now += SECOND
        await self.sharing._send_heartbeat()

    async def takes_up(self) -> None:
        async with asyncio.timeout(HANGS):
            await self.sharing._apply_shard()

    def value(self, name: str) -> float | None:
        return Scrape(self.metrics).value(name)


async def test_who_begins_beside_others_begins_with_its_share_and_says_nothing_of_it() -> None:
    place = SourceLocation()
    place.beats()

    share = await place.sharing.begin()
    await place.second()

    assert share.alive == {"satu", "dua"}
    assert not place.sharing._shard_changed.is_set()


async def test_one_of_those_that_are_alive_speaks_for_all_and_another_when_it_has_died() -> None:
    place = SourceLocation()
    spoke = [place.sharing.is_leader]
    place.beats("dua")
    await place.second()
    spoke.append(place.sharing.is_leader)

    for _ in range(6):
        await place.second()
    spoke.append(place.sharing.is_leader)

    assert spoke == [True, False, True], "alone, beside another, and when that one has died"


async def test_an_agency_of_one_that_dies_is_taken_over_and_given_back_when_it_lives_again() -> None:
    place = SourceLocation()
    place.beats()
    place.runtime.owned = (await place.sharing.begin()).owned(CODES)
    mine = len(place.runtime.owned)
    assert 0 < mine < len(CODES)
    theirs = TokenSigner(KEY, "dua").issue("JCM/internal", T0)
    assert place.signer.origin(theirs) is Origin.ANOTHER

    with capture_logs() as logged:
        for _ in range(5):
            await place.second()
        await place.takes_up()
    assert [(line["event"], line.get("left")) for line in logged] == [
        ("cluster membership changed", ["dua"]),
        ("agencies taken over", None),
    ]
    assert place.shares[-1].alive == {"satu"}
    assert place.value("agencies_owned") == len(CODES)
    assert place.value("takeovers_total") == len(CODES) - mine
    assert place.signer.origin(theirs) is Origin.INHERITED

    place.beats()
    await place.second()
    await place.takes_up()
    assert place.value("agencies_owned") == mine
    assert place.value("takeovers_total") == len(CODES) - mine
    assert place.signer.origin(theirs) is Origin.ANOTHER


async def test_who_says_that_it_ends_is_replaced_at_once() -> None:
    place = SourceLocation()
    place.beats()
    await place.sharing.begin()
    place.beats(left=True)

    await place.second()
    await place.takes_up()

    assert place.shares[-1].alive == {"satu"}


@pytest.mark.parametrize(("how", "seconds"), [("away", 60), ("away", 2), ("hanging", 2)])
async def test_while_the_store_is_away_everybody_keeps_what_they_have_and_afterwards_has_time_to_beat(
    how: str, seconds: int
) -> None:
    place = SourceLocation()
    place.beats()
    await place.sharing.begin()
    place.is_away, place.hangs = how == "away", how == "hanging"
    place.sharing._policy = TakeoverPolicy(within=SECOND / 10)
    for _ in range(seconds):
        with pytest.raises(StoreUnavailable):
            await place.second()
    place.is_away = place.hangs = False

    for _ in range(5):
        await place.second()
    assert place.sharing._shard.alive == {"satu", "dua"}
    assert not place.sharing._shard_changed.is_set()

    await place.second()
    assert place.sharing._shard.alive == {"satu"}, "it has not come back with the store"


async def test_a_takeover_that_the_store_keeps_waiting_is_shown_and_tried_again() -> None:
    place = SourceLocation(refusals=1)
    place.beats()
    place.runtime.owned = (await place.sharing.begin()).owned(CODES)
    mine = len(place.runtime.owned)
    place.beats(left=True)
    await place.second()

    with pytest.raises(StoreUnavailable):
        await place.takes_up()
    assert (place.value("agencies_owned"), place.value("agencies_takeover_pending")) == (mine, len(CODES) - mine)

    await place.takes_up()
    assert (place.value("agencies_owned"), place.value("agencies_takeover_pending")) == (len(CODES), 0)


async def test_in_a_mass_outage_of_others_no_more_is_read_than_is_asked_for_agency_by_agency(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, asked = SourceLocation(), list[Sequence[str]]()

    async def healths(_: object) -> dict[str, object]:
        return {}

    async def look_up(agencies: Sequence[str]) -> None:
        asked.append(agencies)

    monkeypatch.setattr("monitor.service.sharding._PEER_INTERVAL", 0)
    monkeypatch.setattr("monitor.service.sharding._PER_ROUTE", 0)
    routes = {f"A{number:03}": SimpleNamespace(agency=f"A{number:03}") for number in range(200)}
    elsewhere = SimpleNamespace(
        routes=routes, restore=lambda _: None, mail=lambda agency: SimpleNamespace(unhealthy_routes=lambda: [agency])
    )
    place.runtime.peer_evaluator = elsewhere
    place.sharing._history = cast(Any, SimpleNamespace(healths=healths, refresh_latest=look_up))
    await place.sharing._read_peer_results()
    assert [len(each) for each in asked] == [APART]


async def test_who_was_silent_for_so_long_that_others_held_it_for_dead_says_all_again_and_once_more_when_they_have_gone_back() -> (
    None
):
    place = SourceLocation()
    await place.sharing.begin()
    for _ in range(5):
        await place.second()
    assert place.said_again == []
    place.now += 3 * SECOND
    await place.second()
    back = place.now
    for _ in range(30):
        await place.second()
    assert place.said_again == [back, back + TakeoverPolicy().within]


async def test_how_long_our_own_sign_of_life_takes_makes_nobody_else_older() -> None:
    place = SourceLocation(stalls=1.2 * SECOND)
    place.beats()
    await place.sharing.begin()
    for _ in range(3):
        await place.second()
        place.beats()
    await place.second()
    await place.second()
    assert place.sharing._shard.alive == {"satu", "dua"}, "3.2 s old when it was read"


async def test_whose_signs_of_life_come_late_says_again_what_is_its_own_as_others_may_have_held_it_for_dead() -> None:
    """Others see each sign once it is written, and what it says is when that was begun."""
    place = SourceLocation()
    await place.sharing.begin()
    await place.second()
    place.stalls = 2 * SECOND
    await place.second()
    assert place.said_again == []
    await place.second()
    assert place.said_again == [place.now]


async def test_whoever_is_gone_may_have_left_something_behind() -> None:
    place = SourceLocation()
    place.beats()
    await place.sharing.begin()
    place.sharing._processes_left.clear()
    await place.second()
    assert not place.sharing._processes_left.is_set()
    place.beats(left=True)
    await place.second()
    assert place.sharing._processes_left.is_set()


class Rollout:
    """Three processes on one store, each with files of its own."""

    def __init__(self, *agencies: str) -> None:
        self.now = T0
        self.rows: dict[str, Process] = {}
        self.said: dict[str, frozenset[str]] = {}
        self.asked: list[str] = []
        self.members = {name: ClusterMember(self, name, agencies) for name in ("satu", "dua", "tiga")}

    async def live(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += SECOND
            for each in self.members.values():
                await each.second()

    def who_probes(self) -> dict[str, list[str]]:
        every = sorted({code for each in self.members.values() for code in each.registry.agencies})
        return {code: [name for name, each in self.members.items() if code in each.runtime.owned] for code in every}


class ClusterMember:
    """One of them: its reloader, and its rows' writer."""

    def __init__(self, rollout: Rollout, name: str, agencies: Sequence[str]) -> None:
        self.rollout, self.name, self.share = rollout, name, Shard(name=name, alive=frozenset({name}))
        self.metrics = Metrics(version="1", now=lambda: rollout.now)
        self.runtime = SimpleNamespace(owned=frozenset(agencies))
        self.lays_out(*agencies)
        self.sharing = ShardManager(
            name=name,
            processes=cast(Any, self),
            history=cast(Any, None),
            reloader=cast(Any, self),
            context=cast(Any, SimpleNamespace(metrics=self.metrics, signer=TokenSigner(KEY, name), store=None)),
            clock=cast(Any, SimpleNamespace(now=lambda: rollout.now)),
            policy=TakeoverPolicy(),
            take_over_notifications=nothing_claimed,
        )

    def lays_out(self, *agencies: str) -> None:
        """Reload with these files."""
        self.registry = SimpleNamespace(agencies=dict.fromkeys(agencies))
        self.runtime.configuration = SimpleNamespace(registry=self.registry)
        self.runtime.owned = self.share.owned(agencies)

    async def second(self) -> None:
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

    async def known(self, names: Collection[str]) -> Mapping[str, frozenset[str]]:
        self.rollout.asked += names
        found = [self.rollout.rows[name].agencies_digest for name in names]
        return {digest: self.rollout.said[digest] for digest in found if digest is not None}


async def test_while_files_are_rolled_out_each_agency_is_probed_by_one_process_that_has_its_file() -> None:
    rollout = Rollout(*CODES[:20])
    await rollout.live(3)
    assert {len(whose) for whose in rollout.who_probes().values()} == {1}
    # One agency is new, and one has gone.
    for number, member in enumerate(rollout.members.values(), 1):
        member.lays_out(*CODES[1:21])
        await rollout.live(2)
        whose = rollout.who_probes()
        assert {len(each) for each in whose.values()} == {1}, f"two seconds after {number} of three have reloaded"
        assert whose[CODES[20]][0] in list(rollout.members)[:number]
        lacking = [Scrape(each.metrics).value("agencies_config_missing") for each in rollout.members.values()]
        assert lacking == [1 if number < 3 else 0] * 3
    rollout.asked.clear()
    await rollout.live(5)
    assert rollout.asked == [], "what has not changed is read once"


async def test_who_lacks_documents_says_so_once() -> None:
    rollout = Rollout(*CODES[:3])
    await rollout.live(2)
    with capture_logs() as logged:
        rollout.members["satu"].lays_out(*CODES[:4])
        await rollout.live(5)
    assert [(line["agencies"], line["examples"]) for line in logged if "documents" in line["event"]] == [
        (1, [CODES[3]])
    ] * 2


async def test_what_a_process_has_left_behind_is_taken_back_again_and_again_until_the_store_takes_it() -> None:
    place, taken = SourceLocation(), list[str]()
    place.beats()
    await place.sharing.begin()

    async def delete_statuses(has_left: Callable[[str], bool]) -> None:
        if place.is_away:
            raise StoreUnavailable("gone")
        said = ("JCM", "ours/network@satu", "ours/network@dua", "ours/network@tiga", "ours/credentials/JCM/utama")
        # An older version named nobody.
        taken.extend(filter(has_left, (*said, "ours/network")))
        raise RuntimeError("that is all")

    place.sharing._history = cast(Any, SimpleNamespace(delete_statuses=delete_statuses))
    place.is_away = True
    with pytest.raises(StoreUnavailable):
        await place.sharing._take_over_from_dead()
    place.is_away = False
    async with asyncio.timeout(HANGS):
        with pytest.raises(RuntimeError):
            await place.sharing._take_over_from_dead()
    assert taken == ["ours/network@tiga", "ours/network"]
