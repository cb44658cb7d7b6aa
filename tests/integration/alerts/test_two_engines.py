"""Two engines on one store: the work is shared, nothing is told twice, and what a dead one leaves is taken over."""

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
from monitor.store.engine.ledger import SqlStore, SqlUnitOfWork
from tests.in_the_loop import opened_in_the_loop
from tests.integration.alerts.station import (
    HANG,
    LOST_ANSWER,
    NOT_REACHED,
    BreakableStore,
    Clock,
    Scripted,
    Station,
    Watcher,
    Words,
)
from tests.integration.alerts.test_dispatcher import with_a_contact_of_its_own
from tests.integration.alerts.test_interleaving import all_notices, check_paper
from tests.integration.alerts.test_one_telephone_story import NAMES, PEOPLE, brief
from tests.real.postgres import Postgres
from tests.unit.alerts.people import (
    BRIEF,
    FAX,
    LETTER,
    MINUTE,
    RAVI,
    SECOND,
    SITI,
    SMS_RAVI,
    SMS_SITI,
    T0,
    VOICE_RAVI,
    VOICE_SITI,
    trigger,
)


def present_brief(incident: Incident) -> PolicySnapshot:
    """Return the brief as the configuration has it now: nobody has edited it."""
    return replace(BRIEF, agency=incident.policy.agency) if incident.policy.has_nobody_to_notify else incident.policy


@dataclass
class Engine:
    """A dispatcher among others. Its gateways are those of the station: providers that all engines share."""

    name: str
    station: Station
    store: SqlStore | BreakableStore
    #: Nobody is told of anything by this one.
    is_monitor_only: bool = False
    pool: GatewayPool = field(init=False)
    dispatcher: Dispatcher = field(init=False)
    watcher: Watcher = field(init=False, default_factory=Watcher)

    def __post_init__(self) -> None:
        self.pool = GatewayPool(self.station.lines())
        self.dispatcher = Dispatcher(
            store=self.store,
            pool=self.pool,
            composer=Words(),
            clock=self.station.clock,
            observer=self.watcher,
            owner=self.name,
            is_monitor_only=lambda: self.is_monitor_only,
            policy_for=present_brief,
        )

    async def settle(self) -> None:
        """Run its cycle until nothing more is due now."""
        for _ in range(100):
            async with asyncio.TaskGroup() as calls:
                advance = await self.dispatcher.run_cycle(calls)
            if not advance.calls and (advance.wake is None or advance.wake > self.station.clock.now()):
                return
        raise AssertionError("the cycle does not come to rest")

    async def die_while_calling(self, gateway: Scripted) -> None:
        """Run its cycle and end in the middle of a call, as if it was killed."""
        gateway.happens.appendleft(HANG)
        gateway.called.clear()
        running = asyncio.create_task(self.settle())
        await gateway.called.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@dataclass
class Pair:
    """Two engines, and the one world that they work in."""

    station: Station
    first: Engine
    second: Engine
    is_shared: bool

    @property
    def clock(self) -> Clock:
        return self.station.clock

    async def submit(self, event: Event) -> None:
        """Let both hear of an event at the same time, as two probers that see the same."""
        await asyncio.gather(*(engine.dispatcher.submit(event) for engine in (self.first, self.second)))

    async def settle(self) -> None:
        await asyncio.gather(self.first.settle(), self.second.settle())

    async def pass_time(self, by: timedelta, step: timedelta = 5 * SECOND) -> None:
        """Let both work while time passes."""
        until = self.clock.moment + by
        while self.clock.moment < until:
            self.clock.moment = min(until, self.clock.moment + step)
            await self.settle()

    async def notifications(self) -> Sequence[Notification]:
        return await self.station.notifications()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    if request.param == "sqlite":
        # Never so in earnest. What claims promise does not depend on the database.
        async with opened_in_the_loop(tmp_path) as database:
            yield pair_on(database, database)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    server = postgres.store()
    async with Database.open(tmp_path, server) as one, Database.open(tmp_path, server, name="kedua") as other:
        yield pair_on(one, other)


def pair_on(one: Database, other: Database) -> Pair:
    station = Station(one)
    first, second = (
        Engine(name=name, station=station, store=SqlStore(database))
        for name, database in (("utama", one), ("kedua", other))
    )
    return Pair(station=station, first=first, second=second, is_shared=one.is_shared)


def paper(notices: Sequence[Notification]) -> list[Notification]:
    return [notice for notice in notices if notice.addresses[0].channel in ON_PAPER]


async def test_one_that_rests_takes_nothing_from_one_that_tells(pair: Pair) -> None:
    """It has opened the incident, and looks at it first."""
    pair.first.is_monitor_only = True
    event = trigger()
    await pair.first.dispatcher.submit(replace(event, policy=event.policy.without_people()))
    await pair.first.settle()
    assert pair.station.calls == []
    await pair.pass_time(MINUTE)
    assert pair.station.calls, "the other tells people of it"
    assert not (await pair.station.incident()).policy.has_nobody_to_notify


async def test_two_engines_that_see_the_same_outage_tell_everybody_once(pair: Pair) -> None:
    await pair.submit(trigger())
    await pair.settle()
    await pair.pass_time(5 * MINUTE)
    await pair.submit(Release(incident_id=1, at=pair.clock.now(), by="Siti Contoh"))
    await pair.submit(Acknowledge(incident_id=1, at=pair.clock.now(), by="Siti Contoh"))
    await pair.settle()
    for gateway in pair.station.gateways:
        gateway.taken = dict.fromkeys(gateway.taken, SubmissionState.DELIVERED)
    await pair.pass_time(3 * MINUTE)
    await pair.submit(Resolve(dedup_key="JCM", at=pair.clock.now(), ended_at=pair.clock.now()))
    await pair.settle()
    # Whichever heard of it first: the one that has the incident knows five seconds later.
    await pair.pass_time(5 * SECOND)

    assert await pair.station.active() == [1], "the outage is one"
    recoveries = [f"recovery to {address.number}" for address in (SMS_SITI, SMS_RAVI)]
    assert sorted(pair.station.sms.sent) == [
        f"outage to {SMS_SITI.number}",
        *recoveries,
        f"taken to {SMS_RAVI.number}",
    ]
    assert sorted(pair.station.voice.sent) == [f"outage to {a.number}" for a in (VOICE_SITI, VOICE_RAVI)]
    assert [call.split()[0] for call in pair.station.calls].count("find") == 0
    assert len(pair.station.fax.orders) == 2, "the outage and the recovery"
    assert len(pair.station.tray.orders) == 2


async def test_a_remark_is_written_down_once_in_whichever_process_a_button_is_pressed_twice(pair: Pair) -> None:
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
                    "order_check",
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
    # Whoever says so later means it.
    await fronts[1].add_note("JCM-01", "Siti Contoh", "cakera diganti")
    assert await remarks() == ["Siti Contoh", "Siti Contoh", "Ravi Contoh", "Siti Contoh"]


async def test_many_outages_at_once_are_shared_and_everybody_is_told_once(pair: Pair) -> None:
    for wave in range(5):
        numbers = range(wave * 40, wave * 40 + 40)
        events = [trigger(brief=with_a_contact_of_its_own(f"A{number:03}", number)) for number in numbers]
        await asyncio.gather(*(pair.submit(event) for event in events))
        await pair.settle()

        so_far = numbers.stop
        assert sorted(order.address for order in pair.station.sms.orders) == [f"+6010001{n:04}" for n in range(so_far)]
        told = [notice for number in range(1, so_far + 1) for notice in await pair.station.notifications(number)]
        assert [len(d.attempts) for notice in told for d in notice.deliveries] == [1] * so_far
        counted = [telling.incident for engine in (pair.first, pair.second) for telling in engine.watcher.latencies]
        assert len(counted) == len(set(counted)) == so_far, "how long it took is counted once, too"
        # Where the machine is busy one of them may be done before the other has looked.
        if not pair.is_shared or (pair.first.watcher.entered and pair.second.watcher.entered):
            return
    raise AssertionError("one of them does everything")


@pytest.mark.blind
async def test_an_engine_that_lost_its_incidents_to_another_tells_of_a_new_one_at_once(pair: Pair) -> None:
    """Defect: An engine that stood still keeps lost incidents at the head of its queues and notifies nobody.

    Pantau: An incident leaves the queues before it is read, and its owner is checked.
    """
    slots = [line.slots for line in pair.station.lines() if line.name == "sms"]
    for _ in range(*slots):  # Calls that hang.
        assert pair.first.pool.take_slot("sms", incident_id=0, what="hangs", priority=(-1, pair.clock.now(), 0))
    for number in range(16):
        await pair.first.dispatcher.submit(trigger(brief=with_a_contact_of_its_own(f"A{number:02}", number)))
    await pair.first.settle()
    assert pair.station.sms.orders == []

    pair.clock.moment += MINUTE  # The first stands still.
    await pair.second.settle()
    assert len(pair.station.sms.orders) == 16
    for _ in range(*slots):
        pair.first.pool.release_slot("sms")
    await pair.first.dispatcher.submit(trigger(at=pair.clock.now(), brief=with_a_contact_of_its_own("A16", 16)))
    async with asyncio.TaskGroup() as calls:
        await pair.first.dispatcher.run_cycle(calls)

    assert pair.station.sms.orders[-1].address == "+60100010016"
    assert len(pair.station.sms.orders) == 17


async def outage_until(pair: Pair, channel: str) -> None:
    """Bring an outage to where the first engine is about to use a channel. The second has not looked yet."""
    await pair.first.dispatcher.submit(trigger())
    if channel == "voice":
        await pair.first.settle()
        pair.clock.moment += 5 * MINUTE
    elif channel in ("fax", "tray"):
        await pair.first.settle()
        released = Release(incident_id=1, at=pair.clock.now(), by="Siti Contoh")
        await pair.first.dispatcher.submit(released)


@pytest.mark.parametrize(("channel", "left_alone"), [("sms", 30), ("voice", 30), ("fax", 100), ("tray", 100)])
async def test_a_call_that_a_killed_engine_was_in_is_asked_about_by_another_and_not_sent_blindly(
    pair: Pair, channel: str, left_alone: int
) -> None:
    await outage_until(pair, channel)
    gateway: Scripted = getattr(pair.station, channel)
    await pair.first.die_while_calling(gateway)
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


async def test_a_fax_that_nobody_can_find_is_laid_before_a_person_by_whoever_took_over(pair: Pair) -> None:
    await outage_until(pair, "fax")
    await pair.first.die_while_calling(pair.station.fax)
    pair.station.fax.taken.clear()
    for _ in range(60):
        pair.clock.moment += 10 * SECOND
        await pair.second.settle()

    assert len(pair.station.fax.orders) == 1
    (fax,) = (n for n in paper(await pair.notifications()) if n.channel == "fax")
    assert fax.state is NotificationState.UNKNOWN


async def test_what_has_not_been_called_yet_is_told_by_the_other_within_the_lease(pair: Pair) -> None:
    await pair.first.dispatcher.submit(trigger())
    async with pair.first.store.transaction() as uow:
        assert await uow.claim_incident(1, "utama", pair.clock.now(), Dispatcher.LEASE_DURATION)
    # It dies here.
    await pair.second.settle()
    assert pair.station.calls == []

    pair.clock.moment += Dispatcher.LEASE_DURATION
    await pair.second.settle()
    assert pair.station.sms.sent == [f"outage to {SMS_SITI.number}"]


@pytest.mark.blind
async def test_take_over_continues_at_once_what_a_dead_process_has_claimed(pair: Pair) -> None:
    """Defect: The incidents of a dead process wait 30 s for their lease, although its death is known after 4.

    Pantau: Whoever finds it dead ends its leases.
    """
    await pair.first.dispatcher.submit(trigger())
    async with pair.first.store.transaction() as uow:
        assert await uow.claim_incident(1, "mati_1/77", pair.clock.now(), Dispatcher.LEASE_DURATION)
    # Its name is no pattern, and no beginning of another's; whoever takes over keeps what is its own.
    for alive in ({"matia1"}, {"mati"}, {"mati_"}, {"kedua"}):
        await pair.second.dispatcher.take_over(alive)
        await pair.second.settle()
        assert pair.station.calls == []

    await pair.second.dispatcher.take_over({"mati_1", "kedua"})
    await pair.second.settle()
    assert pair.station.sms.sent == [f"outage to {SMS_SITI.number}"]
    await pair.second.dispatcher.take_over({"mati_1", "kedua"})
    await pair.first.settle()
    assert len(pair.station.calls) == 1, "it is the second's now"


async def test_take_over_leaves_its_own_claims_and_ends_those_of_its_earlier_lives(pair: Pair) -> None:
    engine = Engine(name="satu/now", station=pair.station, store=pair.first.store)
    await engine.dispatcher.submit(trigger())
    await engine.settle()
    await engine.dispatcher.take_over({"satu"})
    async with pair.first.store.transaction() as uow:
        assert not await uow.claim_incident(1, "kedua", pair.clock.now(), Dispatcher.LEASE_DURATION)
    again = Engine(name="satu/later", station=pair.station, store=pair.first.store)
    await again.dispatcher.take_over({"satu"})
    async with pair.first.store.transaction() as uow:
        assert await uow.claim_incident(1, "satu/later", pair.clock.now(), Dispatcher.LEASE_DURATION)


async def test_while_an_engine_lives_its_incidents_are_left_to_it(pair: Pair) -> None:
    await pair.first.dispatcher.submit(trigger())
    await pair.first.settle()
    await pair.pass_time(4 * MINUTE, 10 * SECOND)
    pair.clock.moment += MINUTE
    # The step is due, and only the other looks.
    async with pair.first.store.transaction() as uow:
        await uow.renew_leases("utama", pair.clock.now(), Dispatcher.LEASE_DURATION)
    await pair.second.settle()
    assert pair.station.voice.orders == []

    await pair.first.settle()
    assert len(pair.station.voice.orders) == 2


async def test_announcement_waits_for_the_sms_that_a_dead_process_has_claimed(pair: Pair) -> None:
    steps = tuple(
        Step(after=n * MINUTE, contacts=(who,), channels=(Channel.SMS,)) for n, who in enumerate((SITI, RAVI))
    )
    policy = replace(BRIEF.escalation, steps=steps, rounds=1)
    await pair.first.dispatcher.submit(trigger(brief=replace(BRIEF, escalation=policy)))
    await pair.first.die_while_calling(pair.station.sms)
    pair.station.sms.taken.clear()
    await pair.second.dispatcher.submit(Release(incident_id=1, at=pair.clock.now(), by="Siti Contoh"))

    told: list[str] = []
    while len(told) < 4:
        pair.clock.moment += 5 * SECOND
        await pair.second.settle()
        sent = [text for gateway in pair.station.gateways for text in gateway.sent[gateway is pair.station.sms :]]
        told += [text for text in sent if text not in told]
        assert pair.clock.moment < T0 + 10 * MINUTE
    # Hers again by the other gateway, and then what was released meanwhile.
    assert told == [f"outage to {each}" for each in (SMS_SITI.number, FAX.number, LETTER.number, SMS_RAVI.number)]


@pytest.mark.parametrize("hears", ["first", "second"])
async def test_telephone_in_use_holds_the_call_of_another_process(pair: Pair, hears: str) -> None:
    pair.station.voice.ends = False
    for engine, agency, contact in zip((pair.first, pair.second), NAMES, PEOPLE, strict=False):
        await engine.dispatcher.submit(trigger(brief=brief(agency, contact)))
    await pair.settle()
    voice = pair.station.voice
    assert len(voice.sent) == 1
    await pair.pass_time(MINUTE)
    assert len(voice.sent) == 1

    report = DeliveryReport(progress=SubmissionState.FAILED, error=ErrorClass.PERMANENT, provider_id="1")
    heard = CallbackEvent(reference=voice.orders[0].reference, event_id="1", report=report)
    await getattr(pair, hears).dispatcher.record_callback("voice", heard)
    await pair.settle()  # The one that hears it pokes its cycle, and nudges the other.
    await pair.pass_time(Dispatcher.LEASE_RENEWAL_INTERVAL)
    assert voice.sent == [f"outage to {VOICE_SITI.number}"] * 2


async def test_an_acknowledgement_that_the_other_engine_hears_stops_the_escalation(pair: Pair) -> None:
    await pair.first.dispatcher.submit(trigger())
    await pair.first.settle()
    await pair.second.dispatcher.submit(Acknowledge(incident_id=1, at=pair.clock.now(), by="Siti Contoh"))
    # Until it is asked whether the announcement is to be released.
    await pair.pass_time(29 * MINUTE, MINUTE)

    assert pair.station.voice.orders == []


async def test_what_the_other_engine_hears_is_acted_upon_within_seconds(pair: Pair) -> None:
    await pair.first.dispatcher.submit(trigger())
    await pair.first.settle()
    await pair.second.dispatcher.submit(Release(incident_id=1, at=pair.clock.now(), by="Siti Contoh"))
    await pair.second.settle()
    assert paper(await pair.notifications()) == [], "it is the first's"
    pair.clock.moment += Dispatcher.LEASE_RENEWAL_INTERVAL
    await pair.first.settle()
    assert len(paper(await pair.notifications())) == 2


async def test_an_engine_that_stops_leaves_its_work_to_the_other_at_once(pair: Pair) -> None:
    await pair.first.dispatcher.submit(trigger())
    pair.station.sms.happens.append(HANG)
    running = asyncio.create_task(pair.first.dispatcher.run())
    await pair.station.sms.called.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await pair.second.settle()

    assert [call.split()[0] for call in pair.station.sms.calls] == ["send", "find"]


async def test_an_engine_that_was_stopped_in_the_middle_does_not_make_a_call_that_was_taken_over(pair: Pair) -> None:
    await pair.first.dispatcher.submit(trigger())
    # Its attempt is written; before the call begins, the machine stands still for a minute.
    calls = asyncio.TaskGroup()
    async with calls:
        await pair.first.dispatcher.run_cycle(calls)
        pair.clock.moment += MINUTE
    assert pair.station.sms.orders == []

    await pair.second.settle()
    pair.clock.moment += MINUTE
    await pair.pass_time(MINUTE)
    outage = [order for gateway in (pair.station.sms, pair.station.modem) for order in gateway.orders]
    assert len(outage) == 1, "the one that took over asked, and then sent it"


class Interrupted(StoreUnavailable):
    pass


async def test_an_answer_that_cannot_be_written_down_is_kept_until_it_can_be(pair: Pair) -> None:
    engine = pair.first
    engine.dispatcher._calls.RETRY_INTERVAL = timedelta(0)
    refusals = 3
    inner = engine.store.transaction

    @asynccontextmanager
    async def breaking() -> AsyncIterator[object]:
        nonlocal refusals
        async with inner() as uow:
            yield uow
            if pair.station.sms.orders and refusals:
                refusals -= 1
                raise Interrupted("disk full")

    engine.store.transaction = breaking  # type: ignore[method-assign,assignment]
    await engine.dispatcher.submit(trigger())
    await engine.settle()

    assert refusals == 0
    (notice,) = await pair.notifications()
    assert notice.state is NotificationState.SENT
    assert [call.split()[0] for call in pair.station.sms.calls] == ["send"]


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
            for incident_id in await pair.station.active():
                await pair.submit(order(incident_id=incident_id, at=now, by="Siti Contoh"))
        case "both":
            await pair.settle()
        case "first" | "second":
            await (pair.first if action == "first" else pair.second).settle()
        case int(seconds):
            pair.clock.moment += timedelta(seconds=seconds)
        case ("kill", int(which), int(gateway), int(turns)):
            await kill(pair, which, pair.station.gateways[gateway], turns)
        case (int(which), SubmissionState() | ErrorClass() | str() as happening):
            pair.station.gateways[which].happens.append(happening)


async def kill(pair: Pair, which: int, gateway: Scripted, turns: int) -> None:
    """Kill an engine after so many turns of the loop, and start one with another name in its place.

    It may have begun a transaction by then, or a call, or be in the middle of whatever it calls.
    """
    gateway.happens.appendleft(HANG)
    engine = (pair.first, pair.second)[which]
    running = asyncio.create_task(engine.settle())
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    gateway.happens = type(gateway.happens)(h for h in gateway.happens if h != HANG)
    reborn = Engine(name=f"{engine.name}+", station=pair.station, store=engine.store)
    if which == 0:
        pair.first = reborn
    else:
        pair.second = reborn


async def live_through(actions: Sequence[object]) -> None:
    with tempfile.TemporaryDirectory() as place:
        async with opened_in_the_loop(Path(place)) as database:
            pair = pair_on(database, database)
            for action in actions:
                await act(pair, action)
                await check(pair)
            for gateway in pair.station.gateways:
                gateway.happens.clear()
            await act(pair, "resolve")
            for minutes in (1, 2, 5, 60, 24 * 60, 20 * 24 * 60, 60, 24 * 60, 1):
                tray = pair.station.tray
                tray.taken |= {
                    r: SubmissionState.SENT for r, state in tray.taken.items() if state is SubmissionState.ACCEPTED
                }
                pair.clock.moment += minutes * MINUTE
                await pair.settle()
                await check(pair)
            assert await pair.station.active() == []


async def check(pair: Pair) -> None:
    check_paper(await all_notices(pair.station))
    for gateway in pair.station.gateways:
        references = [order.reference for order in gateway.orders]
        assert len(set(references)) == len(references), "an attempt was sent twice"


@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(st.lists(ACTIONS, min_size=3, max_size=15).map(lambda actions: ["trigger", "both", "release", *actions]))
def test_whichever_engine_dies_whenever_no_paper_is_doubled_and_it_ends(actions: list[object]) -> None:
    asyncio.run(live_through(actions))
