"""Two engines on one store: shared work, no duplicate notification, and takeover of a dead engine."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.engine.dispatcher import Dispatcher
from alerts.engine.gateway_pool import GatewayPool
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.delivery import AttemptState, Notification, NotificationState
from alerts.model.event import Acknowledge, Event, Release, Resolve
from alerts.model.gateway import CallbackEvent, DeliveryReport, ErrorClass, SubmissionState
from alerts.model.incident import Incident
from alerts.model.policy_snapshot import PolicySnapshot, Step
from alerts.persistence.store import StoreUnavailable
from monitor.service.facade import ServiceFacade
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore, SqlUnitOfWork
from tests.inline_database import open_inline_database
from tests.integration.alerts.dispatcher_env import (
    HANG,
    LOST_ANSWER,
    NOT_REACHED,
    BreakableStore,
    Clock,
    DispatcherEnv,
    FakeComposer,
    RecordingObserver,
    ScriptedGateway,
)
from tests.integration.alerts.test_dispatcher import with_own_contact
from tests.integration.alerts.test_interleaving import all_notices, check_paper
from tests.integration.alerts.test_shared_phone_story import NAMES, PEOPLE, snapshot
from tests.real.postgres import Postgres
from tests.unit.alerts.people import (
    FAX,
    LETTER,
    MINUTE,
    RAVI,
    SECOND,
    SITI,
    SMS_RAVI,
    SMS_SITI,
    SNAPSHOT,
    T0,
    VOICE_RAVI,
    VOICE_SITI,
    trigger,
)


def current_policy(incident: Incident) -> PolicySnapshot:
    """Return the present policy, which nobody has edited."""
    return replace(SNAPSHOT, agency=incident.policy.agency) if incident.policy.has_nobody_to_notify else incident.policy


@dataclass
class Engine:
    """A dispatcher of several. The gateways are those of the environment: all engines share the providers."""

    name: str
    env: DispatcherEnv
    store: SqlStore | BreakableStore
    #: Whether this engine notifies nobody.
    is_monitor_only: bool = False
    pool: GatewayPool = field(init=False)
    dispatcher: Dispatcher = field(init=False)
    watcher: RecordingObserver = field(init=False, default_factory=RecordingObserver)

    def __post_init__(self) -> None:
        self.pool = GatewayPool(self.env.lines())
        self.dispatcher = Dispatcher(
            store=self.store,
            pool=self.pool,
            composer=FakeComposer(),
            clock=self.env.clock,
            observer=self.watcher,
            owner=self.name,
            is_monitor_only=lambda: self.is_monitor_only,
            policy_for=current_policy,
        )

    async def settle(self) -> None:
        """Run its cycle until nothing more is due."""
        for _ in range(100):
            async with asyncio.TaskGroup() as calls:
                advance = await self.dispatcher.run_cycle(calls)
            if not advance.calls and (advance.next_due_at is None or advance.next_due_at > self.env.clock.now()):
                return
        raise AssertionError("the cycle does not come to rest")

    async def kill_during_call(self, gateway: ScriptedGateway) -> None:
        """Run its cycle, and end in the middle of a call, as if killed."""
        gateway.happens.appendleft(HANG)
        gateway.called.clear()
        running = asyncio.create_task(self.settle())
        await gateway.called.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@dataclass
class Pair:
    """Two engines with the same store, clock and providers."""

    env: DispatcherEnv
    first: Engine
    second: Engine
    is_shared: bool

    @property
    def clock(self) -> Clock:
        return self.env.clock

    async def submit(self, event: Event) -> None:
        """Submit an event to both at the same time, as two probers with the same outage do."""
        await asyncio.gather(*(engine.dispatcher.submit(event) for engine in (self.first, self.second)))

    async def settle(self) -> None:
        await asyncio.gather(self.first.settle(), self.second.settle())

    async def pass_time(self, by: timedelta, step: timedelta = 5 * SECOND) -> None:
        """Let both run while time passes."""
        until = self.clock.moment + by
        while self.clock.moment < until:
            self.clock.moment = min(until, self.clock.moment + step)
            await self.settle()

    async def notifications(self) -> Sequence[Notification]:
        return await self.env.notifications()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    if request.param == "sqlite":
        # Never so in production. The guarantees of claims do not depend on the database.
        async with open_inline_database(tmp_path) as database:
            yield pair_on(database, database)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    server = postgres.store()
    async with Database.open(tmp_path, server) as one, Database.open(tmp_path, server, name="kedua") as other:
        yield pair_on(one, other)


def pair_on(one: Database, other: Database) -> Pair:
    env = DispatcherEnv(one)
    first, second = (
        Engine(name=name, env=env, store=SqlStore(database)) for name, database in (("utama", one), ("kedua", other))
    )
    return Pair(env=env, first=first, second=second, is_shared=one.is_shared)


def paper(notices: Sequence[Notification]) -> list[Notification]:
    return [notice for notice in notices if notice.addresses[0].channel in ON_PAPER]


async def test_monitor_only_engine_does_not_claim_from_notifying_engine(pair: Pair) -> None:
    """It has opened the incident, and processes it first."""
    pair.first.is_monitor_only = True
    event = trigger()
    await pair.first.dispatcher.submit(replace(event, policy=event.policy.without_people()))
    await pair.first.settle()
    assert pair.env.calls == []
    await pair.pass_time(MINUTE)
    assert pair.env.calls, "the other tells people of it"
    assert not (await pair.env.incident()).policy.has_nobody_to_notify


async def test_two_engines_with_same_outage_notify_once(pair: Pair) -> None:
    await pair.submit(trigger())
    await pair.settle()
    await pair.pass_time(5 * MINUTE)
    await pair.submit(Release(incident_id=1, at=pair.clock.now(), by="Siti Contoh"))
    await pair.submit(Acknowledge(incident_id=1, at=pair.clock.now(), by="Siti Contoh"))
    await pair.settle()
    for gateway in pair.env.gateways:
        gateway.taken = dict.fromkeys(gateway.taken, SubmissionState.DELIVERED)
    await pair.pass_time(3 * MINUTE)
    await pair.submit(Resolve(dedup_key="JCM", at=pair.clock.now(), ended_at=pair.clock.now()))
    await pair.settle()
    # Whichever got it first: the owner of the incident processes it within five seconds.
    await pair.pass_time(5 * SECOND)

    assert await pair.env.active() == [1], "the outage is one"
    recoveries = [f"recovery to {address.number}" for address in (SMS_SITI, SMS_RAVI)]
    assert sorted(pair.env.sms.sent) == [
        f"outage to {SMS_SITI.number}",
        *recoveries,
        f"taken to {SMS_RAVI.number}",
    ]
    assert sorted(pair.env.voice.sent) == [f"outage to {a.number}" for a in (VOICE_SITI, VOICE_RAVI)]
    assert [call.split()[0] for call in pair.env.calls].count("find") == 0
    assert len(pair.env.fax.orders) == 2, "the outage and the recovery"
    assert len(pair.env.tray.orders) == 2


async def test_note_added_twice_in_two_processes_is_stored_once(pair: Pair) -> None:
    await pair.submit(trigger())
    fronts = [
        cast(Any, ServiceFacade)(
            **dict.fromkeys(
                (
                    "status_reader",
                    "callback_handlers",
                    "pool",
                    "composer",
                    "metrics",
                    "runtime",
                    "reload",
                    "operation_check",
                )
            ),
            store=engine.store,
            dispatcher=engine.dispatcher,
            clock=pair.clock,
        )
        for engine in (pair.first, pair.second)
    ]

    async def remarks() -> list[str]:
        async with pair.first.store.reading() as uow:
            return [
                each.actor for each in await cast(SqlUnitOfWork, uow).listing.incident_history(1, {"remark"}, most=9)
            ]

    await asyncio.gather(*(facade.add_note("JCM-01", "Siti Contoh", "cakera diganti") for facade in fronts * 3))
    assert await remarks() == ["Siti Contoh"]
    await fronts[1].add_note("JCM-01", "Ravi Contoh", "cakera diganti")
    await fronts[0].add_note("JCM-01", "Siti Contoh", "mel diuji")
    pair.clock.moment += MINUTE
    # A later note is intended.
    await fronts[1].add_note("JCM-01", "Siti Contoh", "cakera diganti")
    assert await remarks() == ["Siti Contoh", "Siti Contoh", "Ravi Contoh", "Siti Contoh"]


async def test_two_engines_share_many_outages_and_notify_once(pair: Pair) -> None:
    for wave in range(5):
        numbers = range(wave * 40, wave * 40 + 40)
        events = [trigger(snapshot=with_own_contact(f"A{number:03}", number)) for number in numbers]
        await asyncio.gather(*(pair.submit(event) for event in events))
        await pair.settle()

        so_far = numbers.stop
        assert sorted(order.address for order in pair.env.sms.orders) == [f"+6010001{n:04}" for n in range(so_far)]
        told = [notice for number in range(1, so_far + 1) for notice in await pair.env.notifications(number)]
        assert [len(d.attempts) for notice in told for d in notice.deliveries] == [1] * so_far
        counted = [telling.incident for engine in (pair.first, pair.second) for telling in engine.watcher.latencies]
        assert len(counted) == len(set(counted)) == so_far, "how long it took is counted once, too"
        # On a busy machine one of them may be done before the other starts.
        if not pair.is_shared or (pair.first.watcher.entered and pair.second.watcher.entered):
            return
    raise AssertionError("one of them does everything")


@pytest.mark.blind
async def test_engine_that_lost_incidents_notifies_of_new_one_at_once(pair: Pair) -> None:
    """Defect: An engine that stood still keeps lost incidents at the head of its queues and notifies nobody.

    Pantau: An incident leaves the queues before it is read, and its owner is checked.
    """
    slots = [line.slots for line in pair.env.lines() if line.name == "sms"]
    for _ in range(*slots):  # Calls that hang.
        assert pair.first.pool.take_slot("sms", incident_id=0, call_key="hangs", priority=(-1, pair.clock.now(), 0))
    for number in range(16):
        await pair.first.dispatcher.submit(trigger(snapshot=with_own_contact(f"A{number:02}", number)))
    await pair.first.settle()
    assert pair.env.sms.orders == []

    pair.clock.moment += MINUTE  # The first does not run.
    await pair.second.settle()
    assert len(pair.env.sms.orders) == 16
    for _ in range(*slots):
        pair.first.pool.release_slot("sms")
    await pair.first.dispatcher.submit(trigger(at=pair.clock.now(), snapshot=with_own_contact("A16", 16)))
    async with asyncio.TaskGroup() as calls:
        await pair.first.dispatcher.run_cycle(calls)

    assert pair.env.sms.orders[-1].address == "+60100010016"
    assert len(pair.env.sms.orders) == 17


async def outage_until(pair: Pair, channel: str) -> None:
    """Bring an outage to where the first engine is about to use a channel. The second has not run yet."""
    await pair.first.dispatcher.submit(trigger())
    if channel == "voice":
        await pair.first.settle()
        pair.clock.moment += 5 * MINUTE
    elif channel in ("fax", "tray"):
        await pair.first.settle()
        released = Release(incident_id=1, at=pair.clock.now(), by="Siti Contoh")
        await pair.first.dispatcher.submit(released)


@pytest.mark.parametrize(("channel", "left_alone"), [("sms", 30), ("voice", 30), ("fax", 100), ("tray", 100)])
async def test_interrupted_send_of_killed_engine_is_looked_up_by_another(
    pair: Pair, channel: str, left_alone: int
) -> None:
    await outage_until(pair, channel)
    gateway: ScriptedGateway = getattr(pair.env, channel)
    await pair.first.kill_during_call(gateway)
    submitted = len(gateway.orders)

    pair.clock.moment += timedelta(seconds=left_alone - 1)
    await pair.second.settle()
    assert [call for call in gateway.calls if call.startswith("find")] == []
    for _ in range(4):
        pair.clock.moment += 10 * SECOND
        await pair.second.settle()

    assert gateway.calls[submitted].startswith("find")
    assert len(gateway.orders) == submitted, "it was found, and not sent again"
    states = {a.state for n in await pair.notifications() for d in n.deliveries for a in d.attempts}
    assert AttemptState.CALLING not in states


async def test_fax_not_found_after_takeover_becomes_unknown(pair: Pair) -> None:
    await outage_until(pair, "fax")
    await pair.first.kill_during_call(pair.env.fax)
    pair.env.fax.taken.clear()
    for _ in range(60):
        pair.clock.moment += 10 * SECOND
        await pair.second.settle()

    assert len(pair.env.fax.orders) == 1
    (fax,) = (n for n in paper(await pair.notifications()) if n.channel == "fax")
    assert fax.state is NotificationState.UNKNOWN


async def test_incident_claimed_by_dead_engine_is_notified_within_lease(pair: Pair) -> None:
    await pair.first.dispatcher.submit(trigger())
    async with pair.first.store.transaction() as uow:
        assert await uow.claim_incident(1, "utama", pair.clock.now(), Dispatcher.LEASE_DURATION)
    # The engine dies here.
    await pair.second.settle()
    assert pair.env.calls == []

    pair.clock.moment += Dispatcher.LEASE_DURATION
    await pair.second.settle()
    assert pair.env.sms.sent == [f"outage to {SMS_SITI.number}"]


@pytest.mark.blind
async def test_take_over_continues_claims_of_dead_process_at_once(pair: Pair) -> None:
    """Defect: The incidents of a dead process wait 30 s for their lease, although its death is known after 4.

    Pantau: Whoever finds it dead ends its leases.
    """
    await pair.first.dispatcher.submit(trigger())
    async with pair.first.store.transaction() as uow:
        assert await uow.claim_incident(1, "mati_1/77", pair.clock.now(), Dispatcher.LEASE_DURATION)
    # A name is no pattern and no prefix of another; whoever takes over keeps its own claims.
    for alive in ({"matia1"}, {"mati"}, {"mati_"}, {"kedua"}):
        await pair.second.dispatcher.take_over(alive)
        await pair.second.settle()
        assert pair.env.calls == []

    await pair.second.dispatcher.take_over({"mati_1", "kedua"})
    await pair.second.settle()
    assert pair.env.sms.sent == [f"outage to {SMS_SITI.number}"]
    await pair.second.dispatcher.take_over({"mati_1", "kedua"})
    await pair.first.settle()
    assert len(pair.env.calls) == 1, "it is the second's now"


async def test_take_over_keeps_own_claims_and_ends_those_of_earlier_instance(pair: Pair) -> None:
    engine = Engine(name="satu/now", env=pair.env, store=pair.first.store)
    await engine.dispatcher.submit(trigger())
    await engine.settle()
    await engine.dispatcher.take_over({"satu"})
    async with pair.first.store.transaction() as uow:
        assert not await uow.claim_incident(1, "kedua", pair.clock.now(), Dispatcher.LEASE_DURATION)
    again = Engine(name="satu/later", env=pair.env, store=pair.first.store)
    await again.dispatcher.take_over({"satu"})
    async with pair.first.store.transaction() as uow:
        assert await uow.claim_incident(1, "satu/later", pair.clock.now(), Dispatcher.LEASE_DURATION)


async def test_live_engine_keeps_its_incidents(pair: Pair) -> None:
    await pair.first.dispatcher.submit(trigger())
    await pair.first.settle()
    await pair.pass_time(4 * MINUTE, 10 * SECOND)
    pair.clock.moment += MINUTE
    # The step is due, and only the other runs.
    async with pair.first.store.transaction() as uow:
        await uow.renew_leases("utama", pair.clock.now(), Dispatcher.LEASE_DURATION)
    await pair.second.settle()
    assert pair.env.voice.orders == []

    await pair.first.settle()
    assert len(pair.env.voice.orders) == 2


async def test_announcement_waits_for_sms_claimed_by_dead_process(pair: Pair) -> None:
    steps = tuple(
        Step(after=n * MINUTE, contacts=(who,), channels=(Channel.SMS,)) for n, who in enumerate((SITI, RAVI))
    )
    policy = replace(SNAPSHOT.escalation, steps=steps, rounds=1)
    await pair.first.dispatcher.submit(trigger(snapshot=replace(SNAPSHOT, escalation=policy)))
    await pair.first.kill_during_call(pair.env.sms)
    pair.env.sms.taken.clear()
    await pair.second.dispatcher.submit(Release(incident_id=1, at=pair.clock.now(), by="Siti Contoh"))

    told: list[str] = []
    while len(told) < 4:
        pair.clock.moment += 5 * SECOND
        await pair.second.settle()
        sent = [text for gateway in pair.env.gateways for text in gateway.sent[gateway is pair.env.sms :]]
        told += [text for text in sent if text not in told]
        assert pair.clock.moment < T0 + 10 * MINUTE
    # Hers again by the other gateway, and then the release of the meantime.
    assert told == [f"outage to {each}" for each in (SMS_SITI.number, FAX.number, LETTER.number, SMS_RAVI.number)]


@pytest.mark.parametrize("hears", ["first", "second"])
async def test_phone_in_use_delays_call_of_another_process(pair: Pair, hears: str) -> None:
    pair.env.voice.ends = False
    for engine, agency, contact in zip((pair.first, pair.second), NAMES, PEOPLE, strict=False):
        await engine.dispatcher.submit(trigger(snapshot=snapshot(agency, contact)))
    await pair.settle()
    voice = pair.env.voice
    assert len(voice.sent) == 1
    await pair.pass_time(MINUTE)
    assert len(voice.sent) == 1

    report = DeliveryReport(progress=SubmissionState.FAILED, error=ErrorClass.PERMANENT, provider_id="1")
    heard = CallbackEvent(reference=voice.orders[0].reference, event_id="1", report=report)
    await getattr(pair, hears).dispatcher.record_callback("voice", heard)
    await pair.settle()  # The engine with the callback wakes its own cycle, and notifies the other.
    await pair.pass_time(Dispatcher.LEASE_RENEWAL_INTERVAL)
    assert voice.sent == [f"outage to {VOICE_SITI.number}"] * 2


async def test_acknowledgement_by_other_engine_stops_escalation(pair: Pair) -> None:
    await pair.first.dispatcher.submit(trigger())
    await pair.first.settle()
    await pair.second.dispatcher.submit(Acknowledge(incident_id=1, at=pair.clock.now(), by="Siti Contoh"))
    # Until the release of the announcement is offered.
    await pair.pass_time(29 * MINUTE, MINUTE)

    assert pair.env.voice.orders == []


async def test_release_by_other_engine_is_processed_within_seconds(pair: Pair) -> None:
    await pair.first.dispatcher.submit(trigger())
    await pair.first.settle()
    await pair.second.dispatcher.submit(Release(incident_id=1, at=pair.clock.now(), by="Siti Contoh"))
    await pair.second.settle()
    assert paper(await pair.notifications()) == [], "it is the first's"
    pair.clock.moment += Dispatcher.LEASE_RENEWAL_INTERVAL
    await pair.first.settle()
    assert len(paper(await pair.notifications())) == 2


async def test_stopping_engine_hands_work_to_other_at_once(pair: Pair) -> None:
    await pair.first.dispatcher.submit(trigger())
    pair.env.sms.happens.append(HANG)
    running = asyncio.create_task(pair.first.dispatcher.run())
    await pair.env.sms.called.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await pair.second.settle()

    assert [call.split()[0] for call in pair.env.sms.calls] == ["send", "find"]


async def test_paused_engine_does_not_send_after_takeover(pair: Pair) -> None:
    await pair.first.dispatcher.submit(trigger())
    # The attempt is stored; before the call begins, the machine stops for a minute.
    calls = asyncio.TaskGroup()
    async with calls:
        await pair.first.dispatcher.run_cycle(calls)
        pair.clock.moment += MINUTE
    assert pair.env.sms.orders == []

    await pair.second.settle()
    pair.clock.moment += MINUTE
    await pair.pass_time(MINUTE)
    outage = [order for gateway in (pair.env.sms, pair.env.modem) for order in gateway.orders]
    assert len(outage) == 1, "the one that took over asked, and then sent it"


class Interrupted(StoreUnavailable):
    pass


async def test_unstored_send_result_is_kept_until_stored(pair: Pair) -> None:
    engine = pair.first
    engine.dispatcher._calls.RETRY_INTERVAL = timedelta(0)
    refusals = 3
    inner = engine.store.transaction

    @asynccontextmanager
    async def breaking() -> AsyncIterator[object]:
        nonlocal refusals
        async with inner() as uow:
            yield uow
            if pair.env.sms.orders and refusals:
                refusals -= 1
                raise Interrupted("disk full")

    engine.store.transaction = breaking  # type: ignore[method-assign,assignment]
    await engine.dispatcher.submit(trigger())
    await engine.settle()

    assert refusals == 0
    (notice,) = await pair.notifications()
    assert notice.state is NotificationState.SENT
    assert [call.split()[0] for call in pair.env.sms.calls] == ["send"]


ACTIONS = st.one_of(
    st.sampled_from(["trigger", "release", "acknowledge", "resolve", "both", "first", "second"]),
    st.sampled_from([1, 10, 29, 35, 70, 110, 310, 1000]),
    st.tuples(st.just("kill"), st.integers(0, 1), st.integers(0, 4), st.integers(0, 100)),
    st.tuples(st.integers(0, 4), st.sampled_from([*SubmissionState, *ErrorClass, LOST_ANSWER, NOT_REACHED])),
)


async def act(pair: Pair, action: object) -> None:
    now = pair.clock.now()
    match action:
        case "trigger":
            await pair.submit(trigger(at=now))
        case "resolve":
            await pair.submit(Resolve(dedup_key="JCM", at=now, ended_at=now))
        case "release" | "acknowledge":
            order = Release if action == "release" else Acknowledge
            for incident_id in await pair.env.active():
                await pair.submit(order(incident_id=incident_id, at=now, by="Siti Contoh"))
        case "both":
            await pair.settle()
        case "first" | "second":
            await (pair.first if action == "first" else pair.second).settle()
        case int(seconds):
            pair.clock.moment += timedelta(seconds=seconds)
        case ("kill", int(which), int(gateway), int(turns)):
            await kill(pair, which, pair.env.gateways[gateway], turns)
        case (int(which), SubmissionState() | ErrorClass() | str() as happening):
            pair.env.gateways[which].happens.append(happening)


async def kill(pair: Pair, which: int, gateway: ScriptedGateway, turns: int) -> None:
    """Kill an engine after so many turns of the event loop, and start one with another name.

    It may be in a transaction or a call by then.
    """
    gateway.happens.appendleft(HANG)
    engine = (pair.first, pair.second)[which]
    running = asyncio.create_task(engine.settle())
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    gateway.happens = type(gateway.happens)(h for h in gateway.happens if h != HANG)
    reborn = Engine(name=f"{engine.name}+", env=pair.env, store=engine.store)
    if which == 0:
        pair.first = reborn
    else:
        pair.second = reborn


async def run_actions(actions: Sequence[object]) -> None:
    with tempfile.TemporaryDirectory() as place:
        async with open_inline_database(Path(place)) as database:
            pair = pair_on(database, database)
            for action in actions:
                await act(pair, action)
                await check(pair)
            for gateway in pair.env.gateways:
                gateway.happens.clear()
            await act(pair, "resolve")
            for minutes in (1, 2, 5, 60, 24 * 60, 20 * 24 * 60, 60, 24 * 60, 1):
                tray = pair.env.tray
                tray.taken |= {
                    r: SubmissionState.SENT for r, state in tray.taken.items() if state is SubmissionState.ACCEPTED
                }
                pair.clock.moment += minutes * MINUTE
                await pair.settle()
                await check(pair)
            assert await pair.env.active() == []


async def check(pair: Pair) -> None:
    check_paper(await all_notices(pair.env))
    for gateway in pair.env.gateways:
        references = [order.reference for order in gateway.orders]
        assert len(set(references)) == len(references), "an attempt was sent twice"


@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(st.lists(ACTIONS, min_size=3, max_size=15).map(lambda actions: ["trigger", "both", "release", *actions]))
def test_random_engine_deaths_never_duplicate_paper(actions: list[object]) -> None:
    asyncio.run(run_actions(actions))
