"""Random events: a sendable notification takes a free slot in the next cycle."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alerts.decide.silence import active_silence
from alerts.engine.dispatcher import Dispatcher
from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.model.channel import Channel
from alerts.model.delivery import SETTLED, Notification
from alerts.model.event import Acknowledge, Resolve
from alerts.model.gateway import ErrorClass, SubmissionState
from alerts.persistence.store import StoreUnavailable
from tests.inline_database import open_inline_database
from tests.integration.alerts.dispatcher_env import LOST_ANSWER, NOT_REACHED, DispatcherEnv
from tests.integration.alerts.test_dispatcher import with_own_contact
from tests.integration.alerts.test_two_engines import Engine
from tests.unit.alerts.people import T0, trigger

LINES = ("both", "one slot", "only the second", "none", "the other way round")

ACTIONS = st.one_of(
    st.sampled_from(["outages", "hang", "come back", "drill", "stall", "poison", "heal"]),
    st.tuples(st.sampled_from(["over", "acknowledged", "silent"]), st.integers(0, 8)),
    st.sampled_from([1, 6, 35, 70, 310, -3600]),
    st.tuples(st.just("lines"), st.sampled_from(LINES)),
    st.tuples(st.integers(0, 1), st.sampled_from([*ErrorClass, SubmissionState.FAILED, LOST_ANSWER, NOT_REACHED])),
    # New outages, and a transaction that fails at this call of the unit of work.
    st.tuples(st.just("break"), st.integers(1, 50), st.booleans()),
)


@dataclass
class World:
    """An engine, another on the same store, and calls that hang."""

    env: DispatcherEnv
    engine: Engine
    other: Engine
    #: Holders of slots that no call of the engine holds.
    held: list[str] = field(default_factory=list)
    poisoned: frozenset[int] = frozenset()
    agencies: int = 0
    #: Calls of a unit of work until one fails, and its error.
    fuse: int = 0
    trouble: Exception | None = None

    def run_hook(self, called: str, args: tuple[object, ...]) -> None:
        if called == "notifications" and args[0] in self.poisoned:
            raise RuntimeError("a bug")
        self.fuse -= 1
        if self.fuse == 0 and self.trouble is not None:
            raise self.trouble

    def lines(self, which: str) -> list[ConfiguredGateway]:
        sms = ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=self.env.sms, slots=2)
        modem = ConfiguredGateway(name="modem", channel=Channel.SMS, gateway=self.env.modem, slots=1)
        return {
            "both": [sms, modem],
            "one slot": [replace(sms, slots=1), modem],
            "only the second": [modem],
            "none": [],
            "the other way round": [modem, sms],
        }[which]

    async def look(self) -> dict[str, int]:
        """Run one cycle of the engine; return the free slots after its decisions."""
        async with asyncio.TaskGroup() as calls:
            await self.engine.dispatcher.run_cycle(calls)
            return {line.name: self.engine.pool.free_slots(line.name) for line in self.engine.pool}

    async def act(self, action: object) -> None:
        """Apply an action, and run one cycle."""
        self.apply_fault(action)
        await self.order(action)
        self.env.store.call_hook = self.run_hook
        await self.look()
        self.env.store.call_hook, self.trouble = None, None

    async def order(self, action: object) -> None:
        """Change the store only."""
        now = self.env.clock.now()
        match action:
            case "outages" | ("break", _, _):
                await self.outages()
            case "stall":
                self.env.clock.moment += 2 * Dispatcher.LEASE_DURATION
                await self.other.settle()
            case ("over", int(n)):
                await self.engine.dispatcher.submit(Resolve(dedup_key=f"A{n}", at=now, ended_at=now))
            case ("acknowledged", int(n)):
                await self.engine.dispatcher.submit(Acknowledge(incident_id=n + 1, at=now, by="Siti Contoh"))
            case ("silent", int(n)):
                async with self.env.store.transaction() as uow:
                    await uow.add_silence(f"A{n}", now, now + timedelta(minutes=2), "kerja", "Siti Contoh")

    def apply_fault(self, action: object) -> None:
        """Change the memory, the gateways, or the time."""
        pool = self.engine.pool
        match action:
            case "hang":
                while names := [line.name for line in pool if pool.free_slots(line.name)]:
                    assert pool.take_slot(names[0], incident_id=0, call_key="hangs", priority=(-1, T0, 0))
                    self.held.append(names[0])
            case "drill":
                self.held += [line.name for line in pool if pool.take_spare_slot(line.name)]
            case "come back":
                while self.held:
                    pool.release_slot(self.held.pop())
            case "poison" | "heal":
                self.poisoned = frozenset({1, 3, 6}) if action == "poison" else frozenset()
            case int(seconds):
                self.env.clock.moment += timedelta(seconds=seconds)
            case ("lines", str(which)):
                pool.replace(self.lines(which))
                self.engine.dispatcher.wake()
            case ("break", int(fuse), bool(away)):
                self.fuse, self.trouble = (
                    fuse,
                    StoreUnavailable("the server restarts") if away else RuntimeError("a bug"),
                )
            case (int(which), ErrorClass() | SubmissionState() | str() as happening):
                self.env.gateways[which].happens.append(happening)

    async def outages(self) -> None:
        for n in range(self.agencies, self.agencies + 3):
            event = trigger(at=self.env.clock.now(), snapshot=with_own_contact(f"A{n}", n))
            await self.engine.dispatcher.submit(event)
        self.agencies += 3

    async def ready(self) -> dict[int, str]:
        """Return the incidents with a notification that was never tried and may be sent, each with its gateway."""
        now = self.env.clock.now()
        ready: dict[int, str] = {}
        first_choice = next(iter(self.engine.pool.preference(now).get(Channel.SMS, ())), None)
        if first_choice is None:
            return ready
        async with self.other.store.transaction() as uow:
            silences = await uow.silences(now)
            for incident_id in await uow.claimable_incidents(self.engine.name, now):
                incident = await uow.incident(incident_id)
                assert incident is not None
                if not incident.is_open or incident.acknowledged_at or active_silence(incident, silences, now):
                    continue
                notices = await uow.notifications(incident_id)
                if not notices or any(is_sendable(notice, now) for notice in notices):
                    ready[incident_id] = first_choice
        return ready

    async def check(self) -> None:
        """Remove all faults: each sendable notification with a free slot is sent at once."""
        self.poisoned = frozenset()
        for gateway in self.env.gateways:
            gateway.happens.clear()
        # Until faults are retried, and an engine reads its incidents.
        self.env.clock.moment += Dispatcher.MAX_IDLE
        await self.outages()
        before = await self.ready()
        free = await self.look()
        left = {i: gateway for i, gateway in (await self.ready()).items() if i in before and free.get(gateway)}
        assert left == {}, "a slot was free for them"
        for line in self.engine.pool:
            assert self.engine.pool.free_slots(line.name) == max(0, line.slots - self.held.count(line.name))


def is_sendable(notice: Notification, now: datetime) -> bool:
    is_due = notice.state not in SETTLED and (notice.not_before or now) <= now < notice.expires_at
    return is_due and not any(delivery.attempts for delivery in notice.deliveries)


async def run_actions(actions: Sequence[object]) -> None:
    with tempfile.TemporaryDirectory() as place:
        async with open_inline_database(Path(place)) as database:
            env = DispatcherEnv(database)
            engine, other = (Engine(name=name, env=env, store=env.store) for name in ("utama", "kedua"))
            world = World(env=env, engine=engine, other=other)
            engine.pool.replace(world.lines("both"))
            for action in actions:
                await world.act(action)
            await world.check()


@pytest.mark.blind
@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(st.lists(ACTIONS, min_size=4, max_size=12))
@example(["outages", "hang", "outages", "outages", "stall", "come back"])
@example(["hang", "outages", ("lines", "none"), ("lines", "one slot"), "come back"])
def test_random_events_sendable_notification_takes_free_slot(actions: list[object]) -> None:
    """Defect: An engine that lost its incidents sends no notification of a new outage.

    Pantau: After lost leases, reloads, silences, broken stores, hanging calls and clock changes, a free slot is used in
    the next cycle.
    """
    asyncio.run(run_actions(actions))
