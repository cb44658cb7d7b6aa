"""Whatever happens in whatever order: nobody is told twice on paper, nobody after an acknowledgement, and it ends."""

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
from tests.integration.alerts.station import HANG, LOST_ANSWER, NOT_REACHED, Happening, Station, station_at
from tests.unit.alerts.people import T0, trigger

DEFINITE = {AttemptState.FAILED, AttemptState.NEVER_SENT}

HAPPENINGS: list[Happening] = [*SubmissionState, *ErrorClass, LOST_ANSWER, NOT_REACHED, RuntimeError("a bug")]
EVENTS = ["trigger", "slow", "resolve", "acknowledge", "release", "correct", "restart", "unreachable", "reachable"]

ACTIONS = st.one_of(
    st.sampled_from(EVENTS),
    st.sampled_from([1, 10, 70, 310, 1000, -3600]),
    st.tuples(st.integers(0, 4), st.sampled_from(HAPPENINGS)),
    st.tuples(st.just("callback"), st.integers(0, 30), st.sampled_from(SubmissionState), st.booleans()),
)


async def act(station: Station, action: object) -> None:
    now = station.clock.now()
    match action:
        case "trigger" | "slow":
            await station.submit(trigger(IncidentType.BOTH if action == "trigger" else IncidentType.DEGRADED, now))
        case "resolve":
            await station.resolve()
        case "acknowledge" | "release" | "correct":
            for incident_id in await station.active():
                await order(station, str(action), incident_id)
        case "restart":
            for gateway in station.gateways:
                gateway.happens.appendleft(HANG)
            await station.crash_and_restart()
            for gateway in station.gateways:
                gateway.happens = type(gateway.happens)(h for h in gateway.happens if h != HANG)
        case "unreachable" | "reachable":
            for gateway in station.gateways:
                gateway.reachable = action == "reachable"
        case int(seconds):
            station.clock.moment += timedelta(seconds=seconds)
        case (int(which), SubmissionState() | ErrorClass() | Exception() | str() as happening):
            station.gateways[which].happens.append(happening)
        case ("callback", int(which), SubmissionState() as progress, bool(acknowledged)):
            await call_back(station, which, progress, acknowledged=acknowledged)
    await station.settle()


async def order(station: Station, what: str, incident_id: int) -> None:
    match what:
        case "acknowledge":
            await station.acknowledge(incident_id)
        case "release":
            await station.release(incident_id)
        case "correct":
            at = station.clock.now()
            await station.submit(
                MarkFalseAlarm(incident_id=incident_id, at=at, by="Siti Contoh", reason="rujukan silap")
            )


async def call_back(station: Station, which: int, progress: SubmissionState, *, acknowledged: bool) -> None:
    taken = [(gateway, reference) for gateway in station.gateways for reference in gateway.taken]
    if not taken:
        return
    gateway, reference = taken[which % len(taken)]
    if (gateway is station.fax or gateway is station.tray) and gateway.taken[reference] is SubmissionState.FAILED:
        return  # Paper that a provider has called lost for good is sent again: that it came after all is beyond us.
    gateway.taken[reference] = progress
    error = ErrorClass.TRANSIENT if progress is SubmissionState.FAILED else None
    report = DeliveryReport(progress=progress, error=error)
    heard = CallbackEvent(
        reference=reference, event_id=f"{reference}/{progress}", report=report, acknowledged=acknowledged
    )
    name = next(line.name for line in station.lines() if line.gateway is gateway)
    await station.dispatcher.record_callback(name, heard)


async def all_notices(station: Station) -> Sequence[Notification]:
    async with station.store.transaction() as uow:
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


async def live_through(actions: Sequence[object]) -> None:
    with tempfile.TemporaryDirectory() as place:
        async with station_at(Path(place)) as station:
            for action in actions:
                await step_through(station, action)
            await come_to_an_end(station)


async def step_through(station: Station, action: object) -> None:
    active = await station.active()
    before = {i: await station.incident(i) for i in active}
    notices = await all_notices(station)
    await act(station, action)
    afterwards = await all_notices(station)
    check_paper(afterwards)
    for incident_id, was in before.items():
        now = await station.incident(incident_id)
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


async def come_to_an_end(station: Station) -> None:
    """Everything works again, it is over, clerks post what lies in the tray, and days go by."""
    for gateway in station.gateways:
        gateway.happens.clear()
        gateway.reachable = True
    await station.resolve()
    for days in (0.001, 0.01, 0.1, 1, 8, 8):
        for reference, progress in station.tray.taken.items():
            if progress is SubmissionState.ACCEPTED:
                station.tray.taken[reference] = SubmissionState.SENT
        station.clock.moment += timedelta(days=days)
        await station.settle()
    notices = await all_notices(station)
    check_paper(notices)
    assert all(n.state in SETTLED or n.state is NotificationState.SENT for n in notices), [
        (n.key, n.state) for n in notices
    ]
    assert await station.active() == []
    assert all(is_free(station, line) for line in station.lines() for _ in range(line.slots))


def is_free(station: Station, line: ConfiguredGateway) -> bool:
    """Take a slot that must be left, ahead of whoever might wait for it."""
    return station.pool.take_slot(line.name, incident_id=0, what="test", priority=(-1, T0, 0))


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(st.lists(ACTIONS, min_size=3, max_size=15).map(lambda actions: ["trigger", "release", *actions]))
def test_whatever_happens_the_promises_are_kept(actions: list[object]) -> None:
    asyncio.run(live_through(actions))
