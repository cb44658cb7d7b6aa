"""Notification latency, counted once despite restarts and repeated reports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from alerts.decide.gateway.latency import Milestone
from alerts.decide.paper import LetterStep
from alerts.engine.manual_status import ManualStatus, ManualStatusRequest
from alerts.model.delivery import NotificationState
from alerts.model.event import Acknowledge
from alerts.model.gateway import AckResult, CallbackEvent, DeliveryReport, SubmissionState
from tests.integration.alerts.dispatcher_env import LOST_ANSWER, DispatcherEnv, open_dispatcher_env
from tests.unit.alerts.people import MINUTE, SECOND, trigger

LatencyRow = tuple[str, str, str, float]


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[DispatcherEnv]:
    async with open_dispatcher_env(tmp_path) as opened:
        yield opened


def recorded(env: DispatcherEnv) -> list[LatencyRow]:
    """Return the latencies since the last restart: incident, gateway, milestone, seconds."""
    return [(t.incident, t.gateway, t.milestone.value, t.duration.total_seconds()) for t in env.watcher.latencies]


def delivered(reference: str, event: str, *, acknowledged: bool = False) -> CallbackEvent:
    report = DeliveryReport(progress=SubmissionState.DELIVERED)
    return CallbackEvent(reference=reference, event_id=event, report=report, acknowledged=acknowledged)


async def test_milestones_are_measured_from_opening(env: DispatcherEnv) -> None:
    await env.dispatcher.submit(trigger())
    env.clock.moment += 7 * SECOND  # The engine is busy.
    await env.settle()
    assert recorded(env) == [("JCM-01", "sms", "accepted", 7)]

    reference = env.sms.orders[0].reference
    env.clock.moment += 13 * SECOND
    for _ in range(2):
        await env.dispatcher.record_callback("sms", delivered(reference, "1"))
    await env.dispatcher.record_callback("sms", delivered(reference, "2"))
    env.clock.moment += 20 * SECOND
    pressed = delivered(reference, "3", acknowledged=True)
    assert await env.dispatcher.record_callback("sms", pressed) is AckResult.TAKEN
    assert await env.dispatcher.record_callback("sms", pressed) is AckResult.AGAIN
    assert recorded(env)[1:] == [("JCM-01", "sms", "delivered", 20), ("JCM-01", "sms", "acknowledged", 40)]


async def test_next_step_is_measured_from_its_due_time(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    await env.advance(5 * MINUTE)
    counted = recorded(env)
    assert len(counted) > 1, "the calls of the second step"
    assert all(each[3] == 0 for each in counted)


async def test_receipt_before_answer_counts_both_milestones_once(
    env: DispatcherEnv,
) -> None:
    env.sms.happens.append(LOST_ANSWER)
    env.sms.reachable = False
    await env.submit(trigger())
    assert not recorded(env)
    env.clock.moment += SECOND
    reference = env.sms.orders[0].reference
    await env.dispatcher.record_callback("sms", delivered(reference, "1"))
    env.sms.reachable = True
    await env.advance(2 * MINUTE)
    assert recorded(env) == [("JCM-01", "sms", "accepted", 1), ("JCM-01", "sms", "delivered", 1)]


@pytest.mark.parametrize("times", [1, 3])
async def test_crash_during_send_never_counts_twice(env: DispatcherEnv, times: int) -> None:
    await env.dispatcher.submit(trigger())
    watchers = [env.watcher]
    for _ in range(times):
        await env.crash_and_restart()
        watchers.append(env.watcher)
    await env.settle()
    counted = [(t.gateway, t.milestone) for watcher in watchers for t in watcher.latencies]
    # A process that dies between commit and counting loses its counters.
    assert counted in ([], [("sms", Milestone.ACCEPTED)])
    assert len(env.sms.orders) == 1


async def test_restart_does_not_count_again(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    reference = env.sms.orders[0].reference
    await env.dispatcher.record_callback("sms", delivered(reference, "1"))
    assert len(recorded(env)) == 2
    env.restart()
    await env.settle()
    # The provider repeats the report with another id.
    await env.dispatcher.record_callback("sms", delivered(reference, "2"))
    assert not recorded(env)


async def test_unstored_milestone_is_counted_once_stored(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    reference = env.sms.orders[0].reference
    before = recorded(env)
    env.store.away = True
    with pytest.raises(OSError, match="disk full"):
        await env.dispatcher.record_callback("sms", delivered(reference, "1"))
    assert recorded(env) == before
    env.store.away = False
    await env.dispatcher.record_callback("sms", delivered(reference, "1"))
    assert [each[2] for each in recorded(env)[len(before) :]] == ["delivered"]


async def test_letter_is_accepted_by_tray_and_delivered_when_posted(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    await env.release()
    reference = env.tray.orders[0].reference
    env.clock.moment += 90 * MINUTE
    for step in (LetterStep.PRINTED, LetterStep.POSTED, LetterStep.POSTED):
        await env.dispatcher.record_letter_step(reference, step, "Kerani Contoh")
    await env.settle()
    by_tray = [each for each in recorded(env) if each[1] == "tray"]
    assert by_tray == [("JCM-01", "tray", "accepted", 0), ("JCM-01", "tray", "delivered", 90 * 60)]


async def test_portal_acknowledgement_counts_once_for_notifying_gateway(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    env.clock.moment += 2 * MINUTE
    for _ in range(2):
        await env.acknowledge()
    assert recorded(env)[1:] == [("JCM-01", "sms", "acknowledged", 2 * 60)]


async def test_acknowledgement_before_any_notification_counts_for_no_gateway(env: DispatcherEnv) -> None:
    env.sms.reachable = False
    opened = await env.dispatcher.submit(trigger())
    assert opened is not None
    now = env.clock.now()
    await env.dispatcher.submit(Acknowledge(incident_id=opened.id, at=now, by="Siti Contoh"))
    assert not recorded(env)


async def test_manual_status_delivered_counts_as_delivered(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    env.fax.happens.append(LOST_ANSWER)
    env.fax.reachable = False
    await env.release()
    env.pool.replace([line for line in env.lines() if line.name != "fax"])
    await env.advance(5 * MINUTE)
    [unknown] = [n for n in await env.notifications() if n.state is NotificationState.UNKNOWN]
    now = env.clock.now()
    word = ManualStatusRequest(
        notification_id=unknown.id, status=ManualStatus.DELIVERED, by="Kerani Contoh", reason="saya bertanya", at=now
    )
    assert await env.dispatcher.set_notification_status(word) is None
    assert await env.dispatcher.set_notification_status(word) is not None, "said before"
    assert [each[2] for each in recorded(env) if each[1] == "fax"] == ["accepted", "delivered"]
