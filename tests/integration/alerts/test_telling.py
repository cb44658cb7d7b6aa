"""How long it took to tell people is counted once, whatever happens to the process and however often a provider says it."""

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
from tests.integration.alerts.station import LOST_ANSWER, Station, station_at
from tests.unit.alerts.people import MINUTE, SECOND, trigger

CodedNotification = tuple[str, str, str, float]


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[Station]:
    async with station_at(tmp_path) as opened:
        yield opened


def told(station: Station) -> list[CodedNotification]:
    """Return what was counted since the last restart: incident, gateway, milestone, seconds."""
    return [(t.incident, t.gateway, t.milestone.value, t.took.total_seconds()) for t in station.watcher.latencies]


def arrived(reference: str, event: str, *, acknowledged: bool = False) -> CallbackEvent:
    report = DeliveryReport(progress=SubmissionState.DELIVERED)
    return CallbackEvent(reference=reference, event_id=event, report=report, acknowledged=acknowledged)


async def test_from_the_opening_until_it_is_taken_has_arrived_and_is_taken_on(station: Station) -> None:
    await station.dispatcher.submit(trigger())
    station.clock.moment += 7 * SECOND  # The engine has much to do.
    await station.settle()
    assert told(station) == [("JCM-01", "sms", "accepted", 7)]

    reference = station.sms.orders[0].reference
    station.clock.moment += 13 * SECOND
    for _ in range(2):
        await station.dispatcher.record_callback("sms", arrived(reference, "1"))
    await station.dispatcher.record_callback("sms", arrived(reference, "2"))
    station.clock.moment += 20 * SECOND
    pressed = arrived(reference, "3", acknowledged=True)
    assert await station.dispatcher.record_callback("sms", pressed) is AckResult.TAKEN
    assert await station.dispatcher.record_callback("sms", pressed) is AckResult.AGAIN
    assert told(station)[1:] == [("JCM-01", "sms", "delivered", 20), ("JCM-01", "sms", "acknowledged", 40)]


async def test_the_next_step_is_counted_from_when_it_was_due(station: Station) -> None:
    await station.submit(trigger())
    await station.advance(5 * MINUTE)
    counted = told(station)
    assert len(counted) > 1, "the calls of the second step"
    assert all(each[3] == 0 for each in counted)


async def test_a_receipt_that_is_quicker_than_the_answer_counts_for_both_and_the_answer_for_nothing(
    station: Station,
) -> None:
    station.sms.happens.append(LOST_ANSWER)
    station.sms.reachable = False
    await station.submit(trigger())
    assert not told(station)
    station.clock.moment += SECOND
    reference = station.sms.orders[0].reference
    await station.dispatcher.record_callback("sms", arrived(reference, "1"))
    station.sms.reachable = True
    await station.advance(2 * MINUTE)
    assert told(station) == [("JCM-01", "sms", "accepted", 1), ("JCM-01", "sms", "delivered", 1)]


@pytest.mark.parametrize("times", [1, 3])
async def test_a_kill_in_the_middle_of_a_call_never_counts_it_twice(station: Station, times: int) -> None:
    await station.dispatcher.submit(trigger())
    watchers = [station.watcher]
    for _ in range(times):
        await station.crash_and_restart()
        watchers.append(station.watcher)
    await station.settle()
    counted = [(t.gateway, t.milestone) for watcher in watchers for t in watcher.latencies]
    # A process that dies between the commit and the counting takes its counters with it.
    assert counted in ([], [("sms", Milestone.ACCEPTED)])
    assert len(station.sms.orders) == 1


async def test_after_a_restart_nothing_that_was_counted_is_counted_again(station: Station) -> None:
    await station.submit(trigger())
    reference = station.sms.orders[0].reference
    await station.dispatcher.record_callback("sms", arrived(reference, "1"))
    assert len(told(station)) == 2
    station.restart()
    await station.settle()
    # The provider says it again, under another name.
    await station.dispatcher.record_callback("sms", arrived(reference, "2"))
    assert not told(station)


async def test_what_could_not_be_written_is_not_counted_and_is_once_it_is(station: Station) -> None:
    await station.submit(trigger())
    reference = station.sms.orders[0].reference
    before = told(station)
    station.store.away = True
    with pytest.raises(OSError, match="disk full"):
        await station.dispatcher.record_callback("sms", arrived(reference, "1"))
    assert told(station) == before
    station.store.away = False
    await station.dispatcher.record_callback("sms", arrived(reference, "1"))
    assert [each[2] for each in told(station)[len(before) :]] == ["delivered"]


async def test_a_letter_is_accepted_by_the_tray_and_delivered_when_the_clerk_has_posted_it(station: Station) -> None:
    await station.submit(trigger())
    await station.release()
    reference = station.tray.orders[0].reference
    station.clock.moment += 90 * MINUTE
    for step in (LetterStep.PRINTED, LetterStep.POSTED, LetterStep.POSTED):
        await station.dispatcher.record_letter_step(reference, step, "Kerani Contoh")
    await station.settle()
    by_tray = [each for each in told(station) if each[1] == "tray"]
    assert by_tray == [("JCM-01", "tray", "accepted", 0), ("JCM-01", "tray", "delivered", 90 * 60)]


async def test_an_acknowledgement_at_a_keyboard_counts_for_the_gateway_that_told_them_once(station: Station) -> None:
    await station.submit(trigger())
    station.clock.moment += 2 * MINUTE
    for _ in range(2):
        await station.acknowledge()
    assert told(station)[1:] == [("JCM-01", "sms", "acknowledged", 2 * 60)]


async def test_who_saw_it_on_the_page_before_anybody_was_told_counts_for_no_gateway(station: Station) -> None:
    station.sms.reachable = False
    opened = await station.dispatcher.submit(trigger())
    assert opened is not None
    now = station.clock.now()
    await station.dispatcher.submit(Acknowledge(incident_id=opened.id, at=now, by="Siti Contoh"))
    assert not told(station)


async def test_what_a_person_says_has_arrived_is_delivered_from_then_on(station: Station) -> None:
    await station.submit(trigger())
    station.fax.happens.append(LOST_ANSWER)
    station.fax.reachable = False
    await station.release()
    station.pool.replace([line for line in station.lines() if line.name != "fax"])
    await station.advance(5 * MINUTE)
    [unknown] = [n for n in await station.notifications() if n.state is NotificationState.UNKNOWN]
    now = station.clock.now()
    word = ManualStatusRequest(
        notification_id=unknown.id, status=ManualStatus.DELIVERED, by="Kerani Contoh", reason="saya bertanya", at=now
    )
    assert await station.dispatcher.set_notification_status(word) is None
    assert await station.dispatcher.set_notification_status(word) is not None, "said before"
    assert [each[2] for each in told(station) if each[1] == "fax"] == ["accepted", "delivered"]
