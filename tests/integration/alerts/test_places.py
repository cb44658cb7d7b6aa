"""Whatever befalls an engine, nothing that cannot go holds a gateway's slot, or a place before what can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from alerts.decide.bundle import BUNDLE_INTERVAL
from alerts.engine.dispatcher import Dispatcher
from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.event import Trigger
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.store import StoreUnavailable
from monitor.store.backend.database import Database
from tests.integration.alerts.station import LOST_ANSWER, Clock, Meddler, Station, station_at
from tests.integration.alerts.test_dispatcher import with_a_contact_of_its_own
from tests.integration.alerts.test_quiet import brief as of_siti
from tests.integration.alerts.test_two_engines import Engine
from tests.unit.alerts.people import MINUTE, POLICY, T0, trigger


class Ticking(Clock):
    """Every look at it shows a later time, as at any real one."""

    def now(self) -> datetime:
        self.moment += timedelta(microseconds=1)
        return self.moment


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[Station]:
    """Open a station with one gateway that makes one call at a time."""
    async with station_at(tmp_path) as opened:
        with_slots(opened, 1)
        yield opened


def with_slots(station: Station, slots: int) -> None:
    station.restart([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=station.sms, slots=slots)])


def outage(number: int) -> Trigger:
    """Return the outage of an agency whose one contact nobody else has."""
    return trigger(brief=with_a_contact_of_its_own(f"A{number:02}", number))


def occupy(station: Station) -> None:
    """Let a call hang that is none of the story's."""
    assert station.pool.take_slot("sms", incident_id=0, what="hangs", priority=(-1, T0, 0))


async def one_cycle(station: Station) -> None:
    async with asyncio.TaskGroup() as calls:
        await station.dispatcher.run_cycle(calls)


def told(station: Station) -> list[str]:
    return [order.address for order in station.sms.orders]


TROUBLES = {"store away": StoreUnavailable("the server restarts"), "bug": RuntimeError("a bug")}


def once_a_slot_is_taken(at: str, trouble: Exception) -> Meddler:
    """Return what breaks the first transaction in which a slot was taken, at this call of the ledger."""
    has_taken, broken = False, False

    def meddle(called: str, args: tuple[object, ...]) -> None:
        nonlocal has_taken, broken
        has_taken |= called == "lock_notification"  # The first thing that is asked for with a slot in hand.
        if has_taken and called == at and not broken:
            broken = True
            raise trouble

    return meddle


@pytest.mark.blind
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("at", ["lock_notification", "add_attempt", "add_audit_entry", "commit"])
async def test_a_slot_is_free_again_wherever_the_transaction_that_took_it_broke(
    station: Station, at: str, trouble: str
) -> None:
    """Defect: A slot is lost when a transaction breaks between slot and attempt.

    After four, the gateway is never called again.

    Pantau: The slot is recorded from the moment it is taken.
    """
    await station.dispatcher.submit(outage(0))
    station.store.meddler = once_a_slot_is_taken(at, TROUBLES[trouble])
    await one_cycle(station)
    assert told(station) == []
    assert station.pool.free_slots("sms") == 1

    station.clock.moment += Dispatcher.RETRY_INTERVAL
    await station.settle()
    assert len(told(station)) == 1


@pytest.mark.blind
async def test_a_slot_is_free_again_when_what_a_question_is_about_cannot_be_read(station: Station) -> None:
    """Defect: A slot is lost when a bundle cannot be read whole for a question about it.

    Pantau: The bundle is read whole once its slot is taken, and the slot is returned.
    """
    with_slots(station, 2)
    for agency in ("A", "B", "C"):
        await station.submit(trigger(brief=of_siti(agency)))
    station.sms.happens.append(LOST_ANSWER)
    station.sms.reachable = False
    await station.advance(BUNDLE_INTERVAL)
    assert len(told(station)) == 2
    was_broken = False

    def meddle(called: str, args: tuple[object, ...]) -> None:
        nonlocal was_broken
        if called == "notification" and not was_broken:
            was_broken = True
            raise StoreUnavailable("the server restarts")

    station.store.meddler = meddle
    station.clock.moment += MINUTE
    await one_cycle(station)
    assert was_broken
    assert station.pool.free_slots("sms") == 2


@pytest.mark.blind
async def test_one_poisoned_incident_does_not_silence_the_others(station: Station) -> None:
    """Defect: One poisoned incident silences the others.

    Pantau: It fails alone.
    """
    ids = [incident.id for n in range(20) if (incident := await station.dispatcher.submit(outage(n)))]

    def poison(called: str, args: tuple[object, ...]) -> None:
        if called == "notifications" and args == (ids[7],):
            raise RuntimeError("a bug")

    station.store.meddler = poison
    await station.settle()
    assert sorted(told(station)) == [f"+6010001{n:04}" for n in range(20) if n != 7]

    station.store.meddler = None
    station.clock.moment += Dispatcher.RETRY_INTERVAL
    await station.settle()
    assert len(told(station)) == 20


def two_contacts(agency: str) -> PolicySnapshot:
    brief = with_a_contact_of_its_own(agency, 0)
    contacts = tuple(with_a_contact_of_its_own(agency, n).escalation.steps[0].contacts[0] for n in (90, 91))
    return replace(brief, escalation=replace(brief.escalation, steps=(replace(POLICY.steps[0], contacts=contacts),)))


async def test_a_poisoned_incident_keeps_no_place_before_the_others(station: Station) -> None:
    """It queues with its first notice, and breaks at its second: at each look anew."""
    poisoned = await station.dispatcher.submit(trigger(brief=two_contacts("RACUN")))
    assert poisoned is not None

    def poison(called: str, args: tuple[object, ...]) -> None:
        if called == "add_delivery" and isinstance(args[1], Address) and args[1].number.endswith("0091"):
            raise RuntimeError("a bug")

    station.store.meddler = poison
    occupy(station)
    await one_cycle(station)
    for number in range(3):
        await station.dispatcher.submit(outage(number))
    await one_cycle(station)
    station.pool.release_slot("sms")
    await station.settle()

    assert sorted(told(station)) == [f"+6010001{n:04}" for n in range(3)]


@pytest.mark.blind
@pytest.mark.parametrize("deed", ["check", "find"])
async def test_questions_that_wait_for_a_slot_get_it_one_after_the_other(station: Station, deed: str) -> None:
    """Defect: Receipts that wait for a slot go behind all others at each look, so none is ever asked for.

    Pantau: A place in the queue stays while it waits, and time passes.
    """
    station.clock = ticking = Ticking()
    with_slots(station, 1)
    if deed == "find":
        station.sms.happens.extend([LOST_ANSWER] * 5)
        station.sms.reachable = False
    for number in range(5):
        await station.dispatcher.submit(outage(number))
    while len(told(station)) < 5:
        await one_cycle(station)
    station.sms.calls.clear()
    station.sms.reachable = True
    ticking.moment += MINUTE
    occupy(station)
    await one_cycle(station)
    station.pool.release_slot("sms")
    for _ in range(5):
        await one_cycle(station)

    assert sorted(station.sms.calls) == sorted(f"{deed} {order.reference}" for order in station.sms.orders)


async def test_a_store_that_is_away_at_the_start_and_at_the_end_stops_neither(tmp_path: Path) -> None:
    async with Database.open(tmp_path) as database:
        station = Station(database)
        engine = Engine(name="utama", station=station, store=station.store)
        engine.dispatcher.RETRY_INTERVAL = timedelta(milliseconds=1)
        station.store.is_gone = True
        running = asyncio.create_task(engine.dispatcher.run())
        for _ in range(2):
            await station.store.refusal.wait()
            station.store.refusal.clear()
        station.store.is_gone = False
        await engine.watcher.cycled.wait()

        station.store.is_gone = True
        running.cancel()
        with pytest.raises(asyncio.CancelledError):  # And no other error.
            await running


@pytest.mark.blind
async def test_what_one_cycle_does_not_come_to_is_looked_at_in_the_next_at_once(station: Station) -> None:
    """Defect: What one cycle did not process waits up to 30 s.

    Pantau: The next cycle begins at once.
    """
    with_slots(station, 40)
    station.dispatcher.INCIDENTS_PER_CYCLE = 16
    for _ in range(40):
        assert station.pool.take_slot("sms", incident_id=0, what="hangs", priority=(-1, T0, 0))
    for number in range(40):
        await station.dispatcher.submit(outage(number))
    async with asyncio.TaskGroup() as calls:
        for _ in range(3):
            await station.dispatcher.run_cycle(calls)
        for _ in range(40):
            station.pool.release_slot("sms")
        # They wait for their turn, which has come, and for nothing else.
        assert (await station.dispatcher.run_cycle(calls)).wake == station.clock.now()


@pytest.mark.blind
async def test_a_notice_goes_as_soon_as_a_drill_gives_its_slot_back(station: Station) -> None:
    """Defect: A slot that a drill returns is noticed up to 30 s later.

    Pantau: It is used at once.
    """
    assert station.pool.take_spare_slot("sms")
    running = asyncio.create_task(station.dispatcher.run())
    await station.watcher.cycled.wait()
    await station.dispatcher.submit(outage(0))
    station.watcher.cycled.clear()
    await station.watcher.cycled.wait()
    assert told(station) == []

    station.pool.release_slot("sms")
    async with asyncio.timeout(Dispatcher.MAX_IDLE.total_seconds() / 2):
        await station.sms.called.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(told(station)) == 1


@pytest.mark.blind
async def test_while_the_store_is_away_the_cycle_rests_whatever_it_has_heard(station: Station) -> None:
    """Defect: While the store is unavailable the cycle spins after an event.

    Pantau: It waits five seconds.
    """
    await station.submit(outage(0))
    station.watcher.cycled.clear()
    running = asyncio.create_task(station.dispatcher.run())
    await station.watcher.cycled.wait()
    station.store.is_gone = True
    station.clock.moment += MINUTE
    station.dispatcher.enqueue(1)
    for _ in range(100):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert station.store.refused == 1
