"""Random interleavings: no duplicate paper, no escalation after an acknowledgement, and an end."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.model.channel import ON_PAPER
from alerts.model.delivery import SETTLED, Attempt, AttemptState, Notification, NotificationState
from alerts.model.event import MarkFalseAlarm
from alerts.model.gateway import CallbackEvent, DeliveryReport, ErrorClass, SubmissionState
from alerts.model.incident import IncidentState
from alerts.model.notification import IncidentType, Plan, Purpose
from tests.integration.alerts.dispatcher_env import (
    HANG,
    LOST_ANSWER,
    NOT_REACHED,
    DispatcherEnv,
    SubmissionOutcome,
    open_dispatcher_env,
)
from tests.unit.alerts.people import T0, trigger

DEFINITE = {AttemptState.FAILED, AttemptState.NEVER_SENT}

OUTCOMES: list[SubmissionOutcome] = [*SubmissionState, *ErrorClass, LOST_ANSWER, NOT_REACHED, RuntimeError("a bug")]
EVENTS = ["trigger", "slow", "resolve", "acknowledge", "release", "correct", "restart", "unreachable", "reachable"]

ACTIONS = st.one_of(
    st.sampled_from(EVENTS),
    st.sampled_from([1, 10, 70, 310, 1000, -3600]),
    st.tuples(st.integers(0, 4), st.sampled_from(OUTCOMES)),
    st.tuples(st.just("callback"), st.integers(0, 30), st.sampled_from(SubmissionState), st.booleans()),
)


async def act(env: DispatcherEnv, action: object) -> None:
    now = env.clock.now()
    match action:
        case "trigger" | "slow":
            await env.submit(trigger(IncidentType.BOTH if action == "trigger" else IncidentType.DEGRADED, now))
        case "resolve":
            await env.resolve()
        case "acknowledge" | "release" | "correct":
            for incident_id in await env.active():
                await order(env, str(action), incident_id)
        case "restart":
            for gateway in env.gateways:
                gateway.happens.appendleft(HANG)
            await env.crash_and_restart()
            for gateway in env.gateways:
                gateway.happens = type(gateway.happens)(h for h in gateway.happens if h != HANG)
        case "unreachable" | "reachable":
            for gateway in env.gateways:
                gateway.reachable = action == "reachable"
        case int(seconds):
            env.clock.moment += timedelta(seconds=seconds)
        case (int(which), SubmissionState() | ErrorClass() | Exception() | str() as happening):
            env.gateways[which].happens.append(happening)
        case ("callback", int(which), SubmissionState() as progress, bool(acknowledged)):
            await call_back(env, which, progress, acknowledged=acknowledged)
    await env.settle()


async def order(env: DispatcherEnv, what: str, incident_id: int) -> None:
    match what:
        case "acknowledge":
            await env.acknowledge(incident_id)
        case "release":
            await env.release(incident_id)
        case "correct":
            at = env.clock.now()
            await env.submit(MarkFalseAlarm(incident_id=incident_id, at=at, by="Siti Contoh", reason="rujukan silap"))


async def call_back(env: DispatcherEnv, which: int, progress: SubmissionState, *, acknowledged: bool) -> None:
    taken = [(gateway, reference) for gateway in env.gateways for reference in gateway.taken]
    if not taken:
        return
    gateway, reference = taken[which % len(taken)]
    if (gateway is env.fax or gateway is env.tray) and gateway.taken[reference] is SubmissionState.FAILED:
        return  # A page that a provider reported lost is sent again; that it arrived after all cannot be known.
    gateway.taken[reference] = progress
    error = ErrorClass.TRANSIENT if progress is SubmissionState.FAILED else None
    report = DeliveryReport(progress=progress, error=error)
    heard = CallbackEvent(
        reference=reference, event_id=f"{reference}/{progress}", report=report, acknowledged=acknowledged
    )
    name = next(line.name for line in env.lines() if line.gateway is gateway)
    await env.dispatcher.record_callback(name, heard)


async def all_notices(env: DispatcherEnv) -> Sequence[Notification]:
    async with env.store.transaction() as uow:
        notices: list[Notification] = []
        incident_id = 1
        while await uow.incident(incident_id):
            notices += await uow.notifications(incident_id)
            incident_id += 1
    return notices


def staff_attempts(notices: Sequence[Notification], incident_id: int) -> set[str]:
    return {
        a.reference
        for n in notices
        if (n.incident_id, n.plan, n.purpose) == (incident_id, Plan.ESCALATION, Purpose.OUTAGE)
        for d in n.deliveries
        for a in d.attempts
    }


def attempts(notice: Notification) -> list[Attempt]:
    return [attempt for delivery in notice.deliveries for attempt in delivery.attempts]


def check_paper(notices: Sequence[Notification]) -> None:
    for notice in notices:
        for delivery in notice.deliveries:
            if delivery.address.channel in ON_PAPER:
                assert {a.state for a in delivery.attempts[:-1]} <= DEFINITE, notice


async def run_actions(actions: Sequence[object]) -> None:
    with tempfile.TemporaryDirectory() as place:
        async with open_dispatcher_env(Path(place)) as env:
            for action in actions:
                await run_action(env, action)
            await finish(env)


async def run_action(env: DispatcherEnv, action: object) -> None:
    active = await env.active()
    before = {i: await env.incident(i) for i in active}
    notices = await all_notices(env)
    await act(env, action)
    afterwards = await all_notices(env)
    check_paper(afterwards)
    for incident_id, was in before.items():
        now = await env.incident(incident_id)
        assert (now.position.restarts, now.position.round, now.position.step) >= (
            was.position.restarts,
            was.position.round,
            was.position.step,
        )
        if IncidentState.TRIGGERED not in {was.state, now.state}:
            assert staff_attempts(afterwards, incident_id) == staff_attempts(notices, incident_id)
        if was.false_alarm_at is not None:
            good_news = {a.reference for n in notices if n.purpose is Purpose.RECOVERY for a in attempts(n)}
            assert {
                a.reference
                for n in afterwards
                if n.purpose is Purpose.RECOVERY and n.incident_id == incident_id
                for a in attempts(n)
            } <= good_news, "nothing has recovered where nothing was broken"


async def finish(env: DispatcherEnv) -> None:
    """Repair everything, resolve all incidents, post the letters, and let days pass."""
    for gateway in env.gateways:
        gateway.happens.clear()
        gateway.reachable = True
    await env.resolve()
    for days in (0.001, 0.01, 0.1, 1, 8, 8):
        for reference, progress in env.tray.taken.items():
            if progress is SubmissionState.ACCEPTED:
                env.tray.taken[reference] = SubmissionState.SENT
        env.clock.moment += timedelta(days=days)
        await env.settle()
    notices = await all_notices(env)
    check_paper(notices)
    assert all(n.state in SETTLED or n.state is NotificationState.SENT for n in notices), [
        (n.key, n.state) for n in notices
    ]
    assert await env.active() == []
    assert all(is_free(env, line) for line in env.lines() for _ in range(line.slots))


def is_free(env: DispatcherEnv, line: ConfiguredGateway) -> bool:
    """Take a slot that must be free, before anything that may wait for it."""
    return env.pool.take_slot(line.name, incident_id=0, call_key="test", priority=(-1, T0, 0))


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(st.lists(ACTIONS, min_size=3, max_size=15).map(lambda actions: ["trigger", "release", *actions]))
def test_random_interleaving_keeps_delivery_invariants(actions: list[object]) -> None:
    asyncio.run(run_actions(actions))
