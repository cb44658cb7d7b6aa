"""Slots of a gateway and places in its queue after failures."""

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
from tests.integration.alerts.dispatcher_env import LOST_ANSWER, CallHook, Clock, DispatcherEnv, open_dispatcher_env
from tests.integration.alerts.test_dispatcher import with_own_contact
from tests.integration.alerts.test_notification_limits import snapshot as of_siti
from tests.integration.alerts.test_two_engines import Engine
from tests.unit.alerts.people import MINUTE, POLICY, T0, trigger


class TickingClock(Clock):
    """A clock that advances at each reading."""

    def now(self) -> datetime:
        self.moment += timedelta(microseconds=1)
        return self.moment


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[DispatcherEnv]:
    """Open an environment with one gateway that makes one call at a time."""
    async with open_dispatcher_env(tmp_path) as opened:
        with_slots(opened, 1)
        yield opened


def with_slots(env: DispatcherEnv, slots: int) -> None:
    env.restart([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=env.sms, slots=slots)])


def outage(number: int) -> Trigger:
    """Return the outage of an agency with a contact of its own."""
    return trigger(snapshot=with_own_contact(f"A{number:02}", number))


def occupy(env: DispatcherEnv) -> None:
    """Occupy a slot with a call that hangs."""
    assert env.pool.take_slot("sms", incident_id=0, call_key="hangs", priority=(-1, T0, 0))


async def one_cycle(env: DispatcherEnv) -> None:
    async with asyncio.TaskGroup() as calls:
        await env.dispatcher.run_cycle(calls)


def notified_numbers(env: DispatcherEnv) -> list[str]:
    return [order.address for order in env.sms.orders]


FAULTS = {"store away": StoreUnavailable("the server restarts"), "bug": RuntimeError("a bug")}


def once_a_slot_is_taken(at: str, trouble: Exception) -> CallHook:
    """Return a hook that fails the first transaction with a slot, at this call of the unit of work."""
    has_taken, broken = False, False

    def run_hook(called: str, args: tuple[object, ...]) -> None:
        nonlocal has_taken, broken
        has_taken |= called == "lock_notification"  # The first call after a slot is taken.
        if has_taken and called == at and not broken:
            broken = True
            raise trouble

    return run_hook


@pytest.mark.blind
@pytest.mark.parametrize("trouble", FAULTS)
@pytest.mark.parametrize("at", ["lock_notification", "add_attempt", "add_audit_entry", "commit"])
async def test_slot_is_released_when_transaction_fails(env: DispatcherEnv, at: str, trouble: str) -> None:
    """Defect: A slot is lost when a transaction breaks between slot and attempt.

    After four, the gateway is never called again.

    Pantau: The slot is recorded from the moment it is taken.
    """
    await env.dispatcher.submit(outage(0))
    env.store.call_hook = once_a_slot_is_taken(at, FAULTS[trouble])
    await one_cycle(env)
    assert notified_numbers(env) == []
    assert env.pool.free_slots("sms") == 1

    env.clock.moment += Dispatcher.RETRY_INTERVAL
    await env.settle()
    assert len(notified_numbers(env)) == 1


@pytest.mark.blind
async def test_slot_is_released_when_bundle_for_check_is_unreadable(env: DispatcherEnv) -> None:
    """Defect: A slot is lost when a bundle cannot be read whole for a question about it.

    Pantau: The bundle is read whole once its slot is taken, and the slot is returned.
    """
    with_slots(env, 2)
    for agency in ("A", "B", "C"):
        await env.submit(trigger(snapshot=of_siti(agency)))
    env.sms.happens.append(LOST_ANSWER)
    env.sms.reachable = False
    await env.advance(BUNDLE_INTERVAL)
    assert len(notified_numbers(env)) == 2
    was_broken = False

    def run_hook(called: str, args: tuple[object, ...]) -> None:
        nonlocal was_broken
        if called == "notification" and not was_broken:
            was_broken = True
            raise StoreUnavailable("the server restarts")

    env.store.call_hook = run_hook
    env.clock.moment += MINUTE
    await one_cycle(env)
    assert was_broken
    assert env.pool.free_slots("sms") == 2


@pytest.mark.blind
async def test_failing_incident_does_not_stop_others(env: DispatcherEnv) -> None:
    """Defect: One poisoned incident silences the others.

    Pantau: It fails alone.
    """
    ids = [incident.id for n in range(20) if (incident := await env.dispatcher.submit(outage(n)))]

    def fail_one(called: str, args: tuple[object, ...]) -> None:
        if called == "notifications" and args == (ids[7],):
            raise RuntimeError("a bug")

    env.store.call_hook = fail_one
    await env.settle()
    assert sorted(notified_numbers(env)) == [f"+6010001{n:04}" for n in range(20) if n != 7]

    env.store.call_hook = None
    env.clock.moment += Dispatcher.RETRY_INTERVAL
    await env.settle()
    assert len(notified_numbers(env)) == 20


def two_contacts(agency: str) -> PolicySnapshot:
    snapshot = with_own_contact(agency, 0)
    contacts = tuple(with_own_contact(agency, n).escalation.steps[0].contacts[0] for n in (90, 91))
    return replace(
        snapshot, escalation=replace(snapshot.escalation, steps=(replace(POLICY.steps[0], contacts=contacts),))
    )


async def test_failing_incident_keeps_no_place_in_queue(env: DispatcherEnv) -> None:
    """It queues with its first notification and fails at its second, in each cycle."""
    poisoned = await env.dispatcher.submit(trigger(snapshot=two_contacts("RACUN")))
    assert poisoned is not None

    def fail_one(called: str, args: tuple[object, ...]) -> None:
        if called == "add_delivery" and isinstance(args[1], Address) and args[1].number.endswith("0091"):
            raise RuntimeError("a bug")

    env.store.call_hook = fail_one
    occupy(env)
    await one_cycle(env)
    for number in range(3):
        await env.dispatcher.submit(outage(number))
    await one_cycle(env)
    env.pool.release_slot("sms")
    await env.settle()

    assert sorted(notified_numbers(env)) == [f"+6010001{n:04}" for n in range(3)]


@pytest.mark.blind
@pytest.mark.parametrize("deed", ["check", "find"])
async def test_status_checks_waiting_for_slot_run_in_turn(env: DispatcherEnv, deed: str) -> None:
    """Defect: Receipts that wait for a slot go behind all others at each look, so none is ever asked for.

    Pantau: A place in the queue stays while it waits, and time passes.
    """
    env.clock = ticking = TickingClock()
    with_slots(env, 1)
    if deed == "find":
        env.sms.happens.extend([LOST_ANSWER] * 5)
        env.sms.reachable = False
    for number in range(5):
        await env.dispatcher.submit(outage(number))
    while len(notified_numbers(env)) < 5:
        await one_cycle(env)
    env.sms.calls.clear()
    env.sms.reachable = True
    ticking.moment += MINUTE
    occupy(env)
    await one_cycle(env)
    env.pool.release_slot("sms")
    for _ in range(5):
        await one_cycle(env)

    assert sorted(env.sms.calls) == sorted(f"{deed} {order.reference}" for order in env.sms.orders)


async def test_database_unavailable_at_start_and_stop_stops_neither(tmp_path: Path) -> None:
    async with Database.open(tmp_path) as database:
        env = DispatcherEnv(database)
        engine = Engine(name="utama", env=env, store=env.store)
        engine.dispatcher.RETRY_INTERVAL = timedelta(milliseconds=1)
        env.store.is_unavailable = True
        running = asyncio.create_task(engine.dispatcher.run())
        for _ in range(2):
            await env.store.refusal.wait()
            env.store.refusal.clear()
        env.store.is_unavailable = False
        await engine.watcher.cycled.wait()

        env.store.is_unavailable = True
        running.cancel()
        with pytest.raises(asyncio.CancelledError):  # And no other error.
            await running


@pytest.mark.blind
async def test_cycle_leftovers_are_processed_in_next_cycle_at_once(env: DispatcherEnv) -> None:
    """Defect: What one cycle did not process waits up to 30 s.

    Pantau: The next cycle begins at once.
    """
    with_slots(env, 40)
    env.dispatcher.INCIDENTS_PER_CYCLE = 16
    for _ in range(40):
        assert env.pool.take_slot("sms", incident_id=0, call_key="hangs", priority=(-1, T0, 0))
    for number in range(40):
        await env.dispatcher.submit(outage(number))
    async with asyncio.TaskGroup() as calls:
        for _ in range(3):
            await env.dispatcher.run_cycle(calls)
        for _ in range(40):
            env.pool.release_slot("sms")
        # Their turn is due, and they wait for nothing else.
        assert (await env.dispatcher.run_cycle(calls)).next_due_at == env.clock.now()


@pytest.mark.blind
async def test_slot_returned_by_drill_is_used_at_once(env: DispatcherEnv) -> None:
    """Defect: A slot that a drill returns is noticed up to 30 s later.

    Pantau: It is used at once.
    """
    assert env.pool.take_spare_slot("sms")
    running = asyncio.create_task(env.dispatcher.run())
    await env.watcher.cycled.wait()
    await env.dispatcher.submit(outage(0))
    env.watcher.cycled.clear()
    await env.watcher.cycled.wait()
    assert notified_numbers(env) == []

    env.pool.release_slot("sms")
    async with asyncio.timeout(Dispatcher.MAX_IDLE.total_seconds() / 2):
        await env.sms.called.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(notified_numbers(env)) == 1


@pytest.mark.blind
async def test_database_unavailable_cycle_waits_despite_events(env: DispatcherEnv) -> None:
    """Defect: While the store is unavailable the cycle spins after an event.

    Pantau: It waits five seconds.
    """
    await env.submit(outage(0))
    env.watcher.cycled.clear()
    running = asyncio.create_task(env.dispatcher.run())
    await env.watcher.cycled.wait()
    env.store.is_unavailable = True
    env.clock.moment += MINUTE
    env.dispatcher.enqueue(1)
    for _ in range(100):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert env.store.refused == 1
