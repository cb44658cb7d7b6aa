"""The dispatcher on a real store: stories of outages, of gateways that fail, and of restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from alerts.decide.announcement import EXPIRY
from alerts.decide.escalation import EXPIRY as STAFF_EXPIRY
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.decide.paper import LetterStep
from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address, Contact
from alerts.model.delivery import AttemptState, NotificationState
from alerts.model.event import Acknowledge, Release, Resolve
from alerts.model.gateway import AckResult, CallbackEvent, DeliveryReport, ErrorClass, SendRequest, SubmissionState
from alerts.model.incident import IncidentState
from alerts.model.notification import Cause, IncidentType, Language, Purpose
from alerts.model.policy_snapshot import AnnouncementPlan, PolicySnapshot, Step
from tests.hanging import HANGS
from tests.integration.alerts.station import HANG, LOST_ANSWER, NOT_REACHED, Scripted, Station, station_at
from tests.unit.alerts.people import (
    BRIEF,
    FAX,
    LETTER,
    MINUTE,
    POLICY,
    SECOND,
    SITI,
    SMS_RAVI,
    SMS_SITI,
    T0,
    VOICE_RAVI,
    VOICE_SITI,
    trigger,
)

OUTAGE_BY_SMS = f"outage to {SMS_SITI.number}"
CALLS = [f"outage to {VOICE_SITI.number}", f"outage to {VOICE_RAVI.number}"]
RECOVERY_BY_SMS = f"recovery to {SMS_SITI.number}"

ONLY_SITI = replace(BRIEF, escalation=replace(POLICY, steps=POLICY.steps[:1], rounds=1))
#: And nobody outside.
STAFF_ONLY = replace(ONLY_SITI, announcement=AnnouncementPlan())


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[Station]:
    async with station_at(tmp_path) as opened:
        yield opened


@dataclass
class Slow(Scripted):
    """Does not answer what became of something until it is let."""

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:
        report = await super().check(order, provider_id)
        await self.may_answer.wait()
        return report


def with_a_contact_of_its_own(agency: str, number: int) -> PolicySnapshot:
    """Return the brief of an agency whose one contact nobody else has."""
    address = Address(channel=Channel.SMS, number=f"+6010001{number:04}")
    contact = replace(SITI, key=f"officer-{number}", addresses=(address,))
    return replace(ONLY_SITI, agency=agency, escalation=replace(POLICY, steps=(only(contact),), rounds=1))


def only(contact: Contact) -> Step:
    return replace(POLICY.steps[0], contacts=(contact,))


async def states(station: Station, incident_id: int = 1) -> list[str]:
    return [f"{n.purpose} {n.channel} {n.state}" for n in await station.notifications(incident_id)]


# -- people ----------------------------------------------------------------------------------------------------------


async def test_who_takes_it_on_before_its_first_step_is_reminded_again_where_the_gateway_fails(
    station: Station,
) -> None:
    later = replace(STAFF_ONLY.escalation, steps=(replace(POLICY.steps[0], after=10 * MINUTE),))
    await station.submit(trigger(brief=replace(STAFF_ONLY, escalation=later)))
    await station.submit(Acknowledge(incident_id=1, at=station.clock.now(), by=SITI.name))
    station.sms.happens.append(ErrorClass.TRANSIENT)
    station.clock.moment += later.acknowledgement_timeout - later.remind_before
    await station.settle()
    await station.advance(20 * SECOND)
    assert station.sms.sent == 2 * [f"reminder to {SMS_SITI.number}"]
    assert await states(station) == ["reminder sms sent"]


async def test_an_unanswered_sms_becomes_a_call_after_its_wait(station: Station) -> None:
    await station.submit(trigger())
    assert station.sms.sent == [OUTAGE_BY_SMS]

    await station.advance(5 * MINUTE - SECOND)
    assert station.voice.sent == []

    await station.advance(SECOND)
    assert station.voice.sent == CALLS
    assert station.sms.sent == [OUTAGE_BY_SMS]


async def test_a_key_on_the_telephone_ends_the_escalation_and_is_taken_once(station: Station) -> None:
    await station.submit(trigger())
    await station.advance(5 * MINUTE)
    pressed = CallbackEvent(
        reference=station.voice.orders[1].reference,
        event_id="CA1/key/1",
        report=DeliveryReport(progress=SubmissionState.DELIVERED),
        acknowledged=True,
    )

    assert await station.dispatcher.record_callback("voice", pressed) is AckResult.TAKEN
    # A provider that got no answer brings the same key again, and the person hears that it is theirs.
    assert await station.dispatcher.record_callback("voice", pressed) is AckResult.AGAIN
    sitis = replace(pressed, reference=station.voice.orders[0].reference, event_id="CA2/key/1")
    assert await station.dispatcher.record_callback("voice", sitis) is AckResult.ALREADY
    assert (await station.incident()).acknowledged_by == "Ravi Contoh"
    await station.advance(timedelta(minutes=24))
    told_who = f"taken to {SMS_SITI.number}"
    assert (station.sms.sent, station.voice.sent) == ([OUTAGE_BY_SMS, told_who], CALLS)
    await station.advance(MINUTE)
    # Whoever has taken it on is called once more: the announcement may be released.
    assert station.voice.sent == [*CALLS, f"release to {VOICE_RAVI.number}"]

    await station.resolve()
    assert await station.dispatcher.record_callback("voice", pressed) is AckResult.OVER
    assert station.sms.sent == [OUTAGE_BY_SMS, told_who, RECOVERY_BY_SMS, f"recovery to {SMS_RAVI.number}"]


async def test_one_provider_may_say_nothing_of_what_another_was_given(station: Station) -> None:
    await station.submit(trigger())
    delivered = DeliveryReport(progress=SubmissionState.DELIVERED)
    forged = CallbackEvent(reference=station.sms.orders[0].reference, event_id="1", report=delivered, acknowledged=True)

    assert await station.dispatcher.record_callback("fax", forged) is AckResult.OVER

    assert (await station.incident()).state is IncidentState.TRIGGERED
    assert [n.state for n in await station.notifications()] == [NotificationState.SENT]


async def test_a_recipient_who_confirms_what_they_heard_does_not_end_the_escalation(station: Station) -> None:
    by_call = replace(BRIEF.announcement.recipients[0], addresses=(VOICE_RAVI,))
    brief = replace(BRIEF, announcement=replace(BRIEF.announcement, recipients=(by_call,)))
    await station.submit(trigger(brief=brief))
    await station.release()
    (order,) = station.voice.orders

    heard = CallbackEvent(reference=order.reference, event_id="1", acknowledged=True)
    assert await station.dispatcher.record_callback("voice", heard) is AckResult.TAKEN

    assert (await station.incident()).state is IncidentState.TRIGGERED
    await station.advance(5 * MINUTE)
    assert station.voice.sent[1:] == CALLS


async def test_a_key_pressed_about_slowness_does_not_acknowledge_the_outage_it_has_become(station: Station) -> None:
    await station.submit(trigger(IncidentType.DEGRADED))
    await station.advance(5 * MINUTE)
    await station.submit(trigger(IncidentType.BOTH, station.clock.now()))

    heard = CallbackEvent(reference=station.voice.orders[0].reference, event_id="1", acknowledged=True)
    assert await station.dispatcher.record_callback("voice", heard) is AckResult.WORSE

    assert (await station.incident()).state is IncidentState.TRIGGERED
    assert station.sms.sent == [OUTAGE_BY_SMS] * 2


async def test_callbacks_that_are_repeated_late_or_about_nothing_are_harmless(station: Station) -> None:
    await station.submit(trigger())
    reference = station.sms.orders[0].reference

    async def hear(progress: SubmissionState, event_id: str) -> AckResult:
        error = ErrorClass.TRANSIENT if progress is SubmissionState.FAILED else None
        report = DeliveryReport(progress=progress, error=error)
        return await station.dispatcher.record_callback(
            "sms", CallbackEvent(reference=reference, event_id=event_id, report=report)
        )

    for progress, event_id in (
        (SubmissionState.DELIVERED, "2"),
        (SubmissionState.SENT, "1"),
        (SubmissionState.DELIVERED, "2"),
        (SubmissionState.FAILED, "3"),
        (SubmissionState.ACCEPTED, "0"),
    ):
        assert await hear(progress, event_id) is AckResult.NONE
        await station.settle()
    unknown = CallbackEvent(
        reference="p99-1-0", event_id="x", report=DeliveryReport(progress=SubmissionState.FAILED), acknowledged=True
    )
    assert await station.dispatcher.record_callback("sms", unknown) is AckResult.OVER

    await station.advance(MINUTE)
    assert await states(station) == ["outage sms delivered"]
    assert (await station.incident()).state is IncidentState.TRIGGERED
    assert station.sms.sent == [OUTAGE_BY_SMS]


async def test_a_first_try_that_is_reported_delivered_later_is_not_repeated_any_more(station: Station) -> None:
    station.sms.happens.extend([NOT_REACHED])
    station.modem.happens.extend([ErrorClass.TRANSIENT] * 9)
    await station.submit(trigger(brief=STAFF_ONLY))
    await station.advance(6 * SECOND)
    assert (len(station.sms.orders), len(station.modem.orders)) == (1, 1)

    late = CallbackEvent(
        reference=station.sms.orders[0].reference,
        event_id="1",
        report=DeliveryReport(progress=SubmissionState.DELIVERED),
    )
    await station.dispatcher.record_callback("sms", late)

    await station.advance(timedelta(hours=1))
    assert (len(station.sms.orders), len(station.modem.orders)) == (1, 1)
    assert await states(station) == ["outage sms delivered"]


async def test_an_event_that_is_repeated_changes_nothing(station: Station) -> None:
    for _ in range(3):
        await station.submit(trigger())
    assert await station.active() == [1]
    assert station.sms.sent == [OUTAGE_BY_SMS]

    first = await station.resolve()
    assert first is not None
    assert await station.resolve() is None
    assert station.sms.sent == [OUTAGE_BY_SMS, RECOVERY_BY_SMS]


async def test_why_mail_fails_is_told_as_it_was_seen_when_it_got_worse(station: Station) -> None:
    seen = [(IncidentType.DEGRADED, None), (IncidentType.SENDING, Cause.CONNECT), (IncidentType.BOTH, Cause.TIMEOUT)]
    for matter, cause in seen:
        await station.dispatcher.submit(trigger(matter, brief=replace(ONLY_SITI, cause=cause)))
        assert (await station.incident()).policy.cause is cause
        await station.advance(timedelta(minutes=6))

    told = [(n.facts.type, n.facts.cause) for n in await station.notifications()]
    assert (IncidentType.DEGRADED, None) in told
    assert (IncidentType.SENDING, Cause.CONNECT) in told


async def test_events_about_nothing_are_no_trouble(station: Station) -> None:
    assert await station.resolve() is None
    assert await station.acknowledge(7) is None
    assert await station.release(7) is None
    assert station.calls == []


# -- recovery --------------------------------------------------------------------------------------------------------


async def test_an_outage_that_is_over_before_the_cycle_looks_is_told_to_nobody(station: Station) -> None:
    await station.dispatcher.submit(trigger())
    await station.resolve()

    assert station.calls == []
    assert await station.active() == []


async def test_what_has_not_left_at_recovery_is_withdrawn_and_told_as_something_that_was(station: Station) -> None:
    for gateway in (station.sms, station.modem):
        gateway.happens.append(ErrorClass.TRANSIENT)
    await station.submit(trigger(brief=ONLY_SITI))
    await station.resolve()
    await station.advance(2 * MINUTE)

    assert await states(station) == ["outage sms withdrawn", "recovery sms sent"]
    assert (await station.notifications())[-1].facts.is_belated


async def test_a_recovery_while_a_call_is_under_way_waits_for_what_becomes_of_it(station: Station) -> None:
    station.sms.happens.append(HANG)
    await station.dispatcher.submit(trigger(brief=ONLY_SITI))
    calls = asyncio.create_task(station._one_cycle())
    await station.sms.called.wait()
    now = station.clock.now()
    await station.dispatcher.submit(Resolve(dedup_key="JCM", at=now, ended_at=now))
    await station.settle()
    assert await states(station) == ["outage sms pending"]

    reference = station.sms.orders[0].reference
    sent = CallbackEvent(reference=reference, event_id="1", report=DeliveryReport(progress=SubmissionState.SENT))
    await station.dispatcher.record_callback("sms", sent)
    await station.settle()

    assert station.sms.sent == [OUTAGE_BY_SMS, RECOVERY_BY_SMS]
    calls.cancel()
    await asyncio.gather(calls, return_exceptions=True)


async def test_when_it_was_told_everywhere_an_incident_comes_to_rest(station: Station) -> None:
    await station.submit(trigger())
    await station.resolve()
    station.sms.taken = dict.fromkeys(station.sms.taken, SubmissionState.DELIVERED)
    await station.advance(timedelta(hours=3))

    assert await states(station) == ["outage sms delivered", "recovery sms delivered"]
    assert await station.active() == []


async def test_an_sms_without_a_trace_is_not_repeated_after_an_acknowledgement(station: Station) -> None:
    station.sms.happens.append(NOT_REACHED)
    await station.submit(trigger())
    await station.acknowledge()
    await station.advance(29 * MINUTE)

    assert station.sms.sent + station.modem.sent == [OUTAGE_BY_SMS]
    assert await states(station) == ["outage sms unknown"]


async def test_an_sms_without_a_trace_is_followed_by_a_recovery_and_not_by_the_outage(station: Station) -> None:
    station.sms.happens.append(NOT_REACHED)
    await station.submit(trigger())
    await station.resolve()
    await station.advance(3 * MINUTE)
    station.clock.moment += timedelta(hours=3)
    await station.settle()

    assert station.sms.sent + station.modem.sent == [OUTAGE_BY_SMS, RECOVERY_BY_SMS]
    assert await station.active() == []


# -- announcement ----------------------------------------------------------------------------------------------------


async def test_released_twice_it_is_announced_once_and_in_the_name_of_the_first(station: Station) -> None:
    await station.submit(trigger())
    assert station.fax.sent == []
    await station.release()
    again = await station.release(by="Ravi Contoh")

    assert again is not None
    assert again.released_by == "Siti Contoh"
    assert (station.fax.sent, station.tray.sent) == ([f"outage to {FAX.number}"], [f"outage to {LETTER.number}"])


async def test_who_opted_in_is_released_when_its_time_comes_though_somebody_acknowledged(station: Station) -> None:
    brief = replace(BRIEF, announcement=replace(BRIEF.announcement, automatic=True))
    await station.submit(trigger(brief=brief))
    await station.acknowledge()
    await station.advance(30 * MINUTE - SECOND)
    assert station.fax.sent == []

    await station.advance(SECOND)
    assert (len(station.fax.sent), len(station.tray.sent)) == (1, 1)
    assert (await station.incident()).released_by == "automatic"


async def test_announcement_leaves_after_a_gateway_has_answered_about_staff(station: Station) -> None:
    station.sms.happens.append(NOT_REACHED)
    await station.submit(trigger(brief=ONLY_SITI))
    await station.release()
    # The SMS may not have left: it is asked about, and sent by the other gateway.
    while not station.modem.sent:
        assert station.fax.sent == station.tray.sent == []
        await station.advance(5 * SECOND)
    assert (len(station.fax.sent), len(station.tray.sent)) == (1, 1)


@pytest.mark.parametrize("happens", [ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.CONFIGURATION])
async def test_announcement_leaves_when_a_notice_to_staff_was_refused(station: Station, happens: ErrorClass) -> None:
    station.sms.happens.append(happens)
    await station.submit(trigger(brief=ONLY_SITI))
    await station.release()
    assert (len(station.fax.sent), len(station.tray.sent)) == (1, 1)


async def test_announcement_leaves_when_a_notice_to_staff_has_expired(station: Station) -> None:
    for line in station.lines():
        for _ in range(line.slots if line.channel is Channel.SMS else 0):
            assert station.pool.take_slot(line.name, incident_id=0, what="busy", priority=(-1, T0, 0))
    await station.submit(trigger(brief=ONLY_SITI))
    await station.release()
    await station.advance(STAFF_EXPIRY - SECOND)
    assert station.fax.sent == station.tray.sent == []
    await station.advance(SECOND)
    assert (len(station.fax.sent), len(station.tray.sent)) == (1, 1)


async def test_announcement_leaves_where_no_gateway_carries_notices_to_staff(station: Station) -> None:
    station.pool.replace([line for line in station.lines() if line.channel in ON_PAPER])
    await station.submit(trigger(brief=ONLY_SITI))
    await station.release()
    assert (len(station.fax.sent), len(station.tray.sent)) == (1, 1)


class _SlowAtFirst(Scripted):
    async def send(self, order: SendRequest) -> DeliveryReport:
        for _ in range(50 if order.reference.startswith("p1-") else 0):
            await asyncio.sleep(0)
        return await super().send(order)


async def test_sms_to_one_number_are_handed_over_in_their_order(station: Station) -> None:
    station.sms = _SlowAtFirst()
    station.restart()
    for agency, language in (("JCM", Language.MALAY), ("MDC", Language.ENGLISH)):
        step = only(replace(SITI, language=language))
        brief = replace(ONLY_SITI, agency=agency, escalation=replace(POLICY, steps=(step,), rounds=1))
        await station.dispatcher.submit(trigger(brief=brief))
    await station.settle()
    assert [order.reference.split("-")[0] for order in station.sms.orders] == ["p1", "p2"]


async def test_a_letter_still_in_the_tray_at_recovery_is_taken_back(station: Station) -> None:
    await station.submit(trigger())
    await station.release()
    await station.resolve()
    for _ in range(3):
        station.clock.moment += timedelta(days=1)
        await station.settle()

    assert station.tray.sent == [f"outage to {LETTER.number}"]
    assert station.tray.taken == {}
    assert "outage letter withdrawn" in await states(station)
    assert station.fax.sent == [f"outage to {FAX.number}", f"recovery to {FAX.number}"]
    assert await station.active() == []


async def test_a_letter_that_a_clerk_has_posted_is_followed_by_another(station: Station) -> None:
    await station.submit(trigger())
    await station.release()
    reference = station.tray.orders[0].reference
    station.tray.taken[reference] = SubmissionState.SENT
    assert await station.dispatcher.record_letter_step(reference, LetterStep.POSTED, "Kerani Contoh") is None
    await station.resolve()

    assert station.tray.sent == [f"outage to {LETTER.number}", f"recovery to {LETTER.number}"]
    assert await station.dispatcher.record_letter_step("no such letter", LetterStep.POSTED, "Kerani Contoh") is None


async def test_posted_letters_do_not_keep_an_incident_busy_for_ever(station: Station) -> None:
    await station.submit(trigger())
    await station.release()
    station.tray.taken[station.tray.orders[0].reference] = SubmissionState.SENT
    await station.resolve()
    station.tray.taken = dict.fromkeys(station.tray.taken, SubmissionState.SENT)
    for _ in range(3):
        station.clock.moment += timedelta(days=8)
        await station.settle()
    assert await station.settle() is None

    assert await station.active() == []


async def test_a_letter_in_the_tray_is_asked_about_until_a_clerk_has_posted_it(station: Station) -> None:
    await station.submit(trigger())
    await station.release()
    for _ in range(3):
        station.clock.moment += timedelta(days=30)
        before = len(station.tray.calls)
        await station.settle()
        assert len(station.tray.calls) == before + 1


async def test_that_a_letter_still_lies_in_its_tray_is_not_written_and_nothing_is_looked_at_for_it(
    station: Station,
) -> None:
    """In a mass outage hundreds lie there, and each is looked for every minute."""
    await station.submit(trigger(brief=replace(BRIEF, escalation=ONLY_SITI.escalation)))
    await station.release()
    for gateway in (station.sms, station.fax):
        gateway.taken = dict.fromkeys(gateway.taken, SubmissionState.DELIVERED)
    await station.advance(3 * MINUTE)
    asked: list[str] = []
    station.store.meddler = lambda name, _: asked.append(name)
    await station.advance(MINUTE)

    assert station.tray.calls[-2:] == 2 * [f"check {station.tray.orders[0].reference}"]
    # That it was asked about, before it was.
    assert asked.count("save_attempt") == asked.count("incident") == 1
    station.store.meddler = None
    station.tray.taken = dict.fromkeys(station.tray.taken, SubmissionState.SENT)
    await station.advance(MINUTE)
    assert "outage letter sent" in await states(station)


async def test_a_letter_that_is_looked_for_at_recovery_is_taken_back_as_soon_as_that_is_done(station: Station) -> None:
    station.tray = tray = Slow(certain=True)
    station.restart()
    await station.submit(trigger())
    await station.release()
    station.clock.moment += MINUTE
    tray.called.clear()
    looking = asyncio.create_task(station._one_cycle())
    await tray.called.wait()
    await station.resolve()
    assert tray.calls[-1].startswith("check")

    tray.may_answer.set()
    await looking
    await station.settle()
    assert tray.calls[-1].startswith("withdraw")
    assert tray.taken == {}


async def test_a_provider_that_takes_longer_than_its_turn_to_answer_is_not_asked_again_at_once(
    station: Station,
) -> None:
    station.sms = slow = Slow()
    station.restart()
    await station.submit(trigger(brief=STAFF_ONLY))
    station.clock.moment += 30 * SECOND
    slow.called.clear()
    looking = asyncio.create_task(station._one_cycle())
    await slow.called.wait()
    station.clock.moment += 40 * SECOND
    slow.may_answer.set()
    await looking
    await station.settle()
    assert [call.split()[0] for call in slow.calls] == ["send", "check"]
    await station.advance(30 * SECOND)
    assert [call.split()[0] for call in slow.calls] == ["send", "check", "check"]


async def test_a_tray_that_cannot_be_reached_at_recovery_is_tried_again_each_minute_and_not_in_a_loop(
    station: Station,
) -> None:
    await station.submit(trigger())
    await station.release()
    station.tray.reachable = False
    await station.resolve()
    await station.advance(10 * MINUTE)
    tries = [call for call in station.tray.calls if call.startswith("withdraw")]
    assert 5 <= len(tries) <= 11

    station.tray.reachable = True
    await station.advance(2 * MINUTE)
    assert station.tray.taken == {}
    assert "outage letter withdrawn" in await states(station)


# -- gateways --------------------------------------------------------------------------------------------------------


async def test_a_letter_in_a_tray_that_was_renamed_is_laid_before_a_person_and_followed_by_another(
    station: Station,
) -> None:
    """Nobody can take it back, and a clerk may post it."""
    await station.submit(trigger())
    await station.release()
    tray = ConfiguredGateway(name="dulang-baharu", channel=Channel.LETTER, gateway=Scripted())
    station.pool.replace([*(line for line in station.lines() if line.name != "tray"), tray])

    await station.resolve()
    await station.advance(timedelta(hours=1))

    letters = [(n.purpose, n.state) for n in await station.notifications() if n.channel is Channel.LETTER]
    assert letters == [(Purpose.OUTAGE, NotificationState.UNKNOWN), (Purpose.RECOVERY, NotificationState.SENT)]


async def test_a_gateway_that_fails_makes_way_for_the_next_of_its_channel_and_then_for_the_next_channel(
    station: Station,
) -> None:
    step = replace(POLICY.steps[0], channels=(Channel.SMS, Channel.VOICE))
    brief = replace(BRIEF, escalation=replace(POLICY, steps=(step,)))
    station.sms.happens.append(ErrorClass.CONFIGURATION)
    station.modem.happens.append(ErrorClass.CONFIGURATION)
    await station.submit(trigger(brief=brief))

    assert (len(station.sms.sent), len(station.modem.sent), station.voice.sent) == (1, 1, CALLS[:1])
    assert await states(station) == ["outage voice sent"]


async def test_when_nobody_of_a_step_can_be_reached_the_next_step_starts_at_once(station: Station) -> None:
    station.sms.happens.append(ErrorClass.PERMANENT)
    await station.submit(trigger())

    assert station.voice.sent == CALLS


async def test_a_bug_in_a_gateway_counts_as_perhaps_sent_and_is_asked_about(station: Station) -> None:
    station.sms.happens.append(RuntimeError("a bug"))
    await station.submit(trigger(brief=ONLY_SITI))
    (attempt,) = (await station.notifications())[0].deliveries[0].attempts
    assert attempt.state is AttemptState.UNKNOWN

    await station.advance(MINUTE)
    assert [c.split()[0] for c in station.sms.calls] == ["send", "find", "find"]
    assert station.modem.sent == [OUTAGE_BY_SMS]


async def test_a_gateway_that_says_for_certain_that_it_never_got_anything_is_not_tried_without_end(
    station: Station,
) -> None:
    station.tray.happens.extend([RuntimeError("a bug")] * 99)
    station.fax.happens.append(SubmissionState.DELIVERED)
    await station.submit(trigger())
    await station.acknowledge()
    await station.release()
    for _ in range(12):
        station.clock.moment += 30 * MINUTE
        await station.settle()

    assert len(station.tray.sent) == 4 + 5, "hourly after the first attempts"
    station.clock.moment += EXPIRY[Channel.LETTER]
    await station.settle()
    assert len(station.tray.sent) == 4 + 5
    assert "outage letter failed" in await states(station)


async def test_a_gateway_that_is_taken_out_while_something_is_unknown_is_not_waited_for(station: Station) -> None:
    station.fax.happens.append(LOST_ANSWER)
    station.sms.reachable = station.fax.reachable = False
    await station.submit(trigger(brief=ONLY_SITI))
    await station.release()
    station.sms.happens.append(NOT_REACHED)
    await station.submit(trigger(brief=with_a_contact_of_its_own("MDC", 1)))
    station.pool.replace([line for line in station.lines() if line.name not in {"sms", "fax"}])
    await station.advance(MINUTE)

    assert station.modem.sent == ["outage to +60100010001"]
    assert len(station.fax.sent) == 1
    assert "outage fax unknown" in await states(station)


async def test_a_gateway_that_is_taken_out_between_two_tries_does_not_stop_the_incident(station: Station) -> None:
    station.sms.happens.append(ErrorClass.TRANSIENT)
    await station.submit(trigger())
    station.pool.replace([line for line in station.lines() if line.name != "sms"])
    await station.advance(5 * MINUTE)

    assert station.modem.sent == [OUTAGE_BY_SMS]
    assert station.voice.sent == CALLS


async def test_a_gateway_that_is_taken_out_as_its_call_begins_does_not_end_the_dispatcher(station: Station) -> None:
    await station.dispatcher.submit(trigger(brief=ONLY_SITI))
    async with asyncio.TaskGroup() as calls:
        await station.dispatcher.run_cycle(calls)
        station.pool.replace([line for line in station.lines() if line.name != "sms"])
    await station.advance(MINUTE)

    assert station.sms.sent == []
    assert station.modem.sent == [OUTAGE_BY_SMS]


async def test_two_cycles_at_once_send_once(station: Station) -> None:
    await station.dispatcher.submit(trigger())
    async with asyncio.TaskGroup() as calls:
        await asyncio.gather(*(station.dispatcher.run_cycle(calls) for _ in range(4)))
    await station.settle()

    assert station.sms.sent == [OUTAGE_BY_SMS]
    assert len(await station.notifications()) == 1


@pytest.mark.blind
async def test_a_page_is_set_when_it_is_sent_and_never_to_ask_about_it(station: Station) -> None:
    """Defect: Each question about a fax or a letter renders its page again (50 ms), once a minute for each letter.

    Pantau: A request has content only when it is sent.
    """
    await station.submit(trigger())
    for gateway in (station.fax, station.tray):
        gateway.happens.append(HANG)
    now = station.clock.now()
    await station.dispatcher.submit(Release(incident_id=1, at=now, by="Siti Contoh"))
    await station.crash_and_restart()
    await station.settle()
    await station.advance(timedelta(hours=2))
    await station.resolve()

    asked = [call.split()[0] for gateway in (station.fax, station.tray) for call in gateway.calls]
    assert {"send", "find", "check", "withdraw"} <= set(asked)
    assert len(asked) > 60
    assert station.words.composed[Channel.FAX] == len(station.fax.orders) == 2
    assert station.words.composed[Channel.LETTER] == len(station.tray.orders) == 1


async def test_two_cycles_at_once_take_a_letter_back_once(station: Station) -> None:
    await station.submit(trigger())
    await station.release()
    now = station.clock.now()
    await station.dispatcher.submit(Resolve(dedup_key="JCM", at=now, ended_at=now))
    async with asyncio.TaskGroup() as calls:
        await asyncio.gather(*(station.dispatcher.run_cycle(calls) for _ in range(4)))
    await station.settle()

    assert "outage letter withdrawn" in await states(station)
    assert len(station.tray.sent) == 1


async def test_a_store_that_cannot_be_read_is_tried_again_a_little_later(station: Station) -> None:
    one_slot = ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=station.sms, slots=1)
    station.restart([one_slot])
    await station.dispatcher.submit(trigger(brief=ONLY_SITI))
    station.store.away = True
    for _ in range(3):
        async with asyncio.TaskGroup() as calls:
            advance = await station.dispatcher.run_cycle(calls)
        assert advance.wake == station.clock.now() + 5 * SECOND
    assert station.sms.sent == []

    station.store.away = False
    await station.settle()
    assert station.sms.sent == [OUTAGE_BY_SMS]


async def test_more_than_a_gateway_takes_at_a_time_is_sent_one_after_the_other(station: Station) -> None:
    station.restart([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=station.sms, slots=1)])
    for number in range(5):
        await station.dispatcher.submit(trigger(brief=with_a_contact_of_its_own(f"A{number}", number)))
    await station.settle()

    assert len(station.sms.sent) == 5


# -- as a running service --------------------------------------------------------------------------------------------


async def until_called(gateway: Scripted, times: int = 1) -> None:
    async with asyncio.timeout(HANGS):
        while len(gateway.calls) < times:
            gateway.called.clear()
            await gateway.called.wait()


async def test_a_gateway_that_hangs_holds_back_no_other_and_is_left_in_the_end(tmp_path: Path) -> None:
    policy = DeliveryPolicy(deadline=timedelta(milliseconds=50))
    desk = Contact(key="meja", name="Meja", language=Language.MALAY, addresses=(VOICE_RAVI,))
    step = replace(POLICY.steps[0], contacts=(SITI, desk), channels=(Channel.SMS, Channel.VOICE))
    async with station_at(tmp_path, policy) as station:
        station.sms.happens.extend([HANG] * 4)
        running = asyncio.create_task(station.dispatcher.run())
        await station.dispatcher.submit(trigger(brief=replace(BRIEF, escalation=replace(POLICY, steps=(step,)))))

        await until_called(station.voice)
        assert station.dispatcher.is_running
        # Then it is asked, and it has got the message: nothing is sent twice.
        await until_called(station.sms, times=2)
        assert [c.split()[0] for c in station.sms.calls] == ["send", "find"]
        assert station.modem.sent == []
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_the_service_outlives_a_store_that_is_away(station: Station) -> None:
    await station.dispatcher.submit(trigger())
    station.dispatcher.RETRY_INTERVAL = timedelta(0)
    running = asyncio.create_task(station.dispatcher.run())
    async with asyncio.timeout(HANGS):
        await station.watcher.cycled.wait()
        station.store.away = True
        station.clock.moment += 5 * MINUTE
        for _ in range(3):
            station.dispatcher.wake()
            await asyncio.sleep(0)
        assert not running.done()
        station.store.away = False
        station.dispatcher.wake()
        await until_called(station.voice, times=2)

    assert sorted(station.voice.sent) == sorted(CALLS)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# -- restarts --------------------------------------------------------------------------------------------------------


async def test_a_call_that_was_cut_off_is_asked_about_before_anything_is_sent(station: Station) -> None:
    station.sms.happens.append(HANG)
    await station.dispatcher.submit(trigger(brief=ONLY_SITI))
    await station.crash_and_restart()
    await station.settle()

    assert [c.split()[0] for c in station.sms.calls] == ["send", "find"]
    assert await states(station) == ["outage sms sent"]


async def test_what_a_cut_off_gateway_certainly_never_got_is_sent_once_more(station: Station) -> None:
    station.tray.happens.append(HANG)
    await station.submit(trigger())
    await station.dispatcher.submit(Release(incident_id=1, at=station.clock.now(), by="Siti Contoh"))
    await station.crash_and_restart()
    station.tray.taken.clear()
    await station.settle()

    assert [c.split()[0] for c in station.tray.calls] == ["send", "find", "send"]


async def test_a_cut_off_sms_without_a_trace_is_repeated_once_by_another_way(station: Station) -> None:
    station.sms.happens.append(HANG)
    await station.dispatcher.submit(trigger(brief=ONLY_SITI))
    await station.crash_and_restart()
    station.sms.taken.clear()
    station.modem.happens.append(NOT_REACHED)
    await station.advance(timedelta(hours=1))

    assert (len(station.sms.sent), len(station.modem.sent)) == (1, 1)


async def test_a_cut_off_fax_without_a_trace_is_laid_before_a_person(station: Station) -> None:
    station.fax.happens.append(HANG)
    await station.submit(trigger())
    await station.dispatcher.submit(Release(incident_id=1, at=station.clock.now(), by="Siti Contoh"))
    await station.crash_and_restart()
    station.fax.taken.clear()
    await station.advance(3 * MINUTE)

    assert len(station.fax.sent) == 1
    assert "outage fax unknown" in await states(station)


async def test_after_a_long_stop_an_sms_of_unknown_fate_is_not_sent_any_more(station: Station) -> None:
    station.sms.happens.append(HANG)
    await station.dispatcher.submit(trigger(brief=STAFF_ONLY))
    await station.crash_and_restart()
    station.sms.taken.clear()
    station.clock.moment += timedelta(hours=3)
    await station.advance(timedelta(hours=1))

    assert len(station.sms.sent + station.modem.sent) == 1
    assert await states(station) == ["outage sms failed"]


async def test_restarted_after_every_cycle_it_tells_everybody_once(station: Station) -> None:
    await station.submit(trigger())
    for _ in range(12):
        await station.crash_and_restart()
        await station.advance(30 * SECOND)

    assert station.sms.sent == [OUTAGE_BY_SMS]
    assert station.voice.sent == CALLS


# -- many ------------------------------------------------------------------------------------------------------------


async def test_two_hundred_agencies_at_once_are_all_told(station: Station) -> None:
    for number in range(200):
        await station.dispatcher.submit(trigger(brief=with_a_contact_of_its_own(f"A{number}", number)))
    await station.settle()

    assert len(station.sms.sent) == 200
    assert {n.state for i in (1, 100, 200) for n in await station.notifications(i)} == {NotificationState.SENT}
    assert station.watcher.entered.count((Purpose.OUTAGE, NotificationState.SENT)) == 200


# -- a clock that is set back -----------------------------------------------------------------------------------------


async def test_a_clock_that_is_set_back_puts_off_neither_the_next_step_nor_another_try(station: Station) -> None:
    station.sms.happens.append(ErrorClass.TRANSIENT)
    await station.submit(trigger())
    assert station.sms.sent == [OUTAGE_BY_SMS]

    station.clock.moment -= timedelta(hours=1)
    await station.settle()
    assert station.sms.sent == [OUTAGE_BY_SMS] * 2, "tried again"
    assert station.voice.sent == []
    await station.advance(5 * MINUTE)
    assert station.voice.sent == CALLS


async def test_what_was_taken_is_not_asked_for_without_end_when_the_clock_was_set_back(station: Station) -> None:
    await station.submit(trigger())
    station.clock.moment -= timedelta(hours=1)
    await station.advance(4 * MINUTE)
    checks = [call for call in station.sms.calls if call.startswith("check")]
    assert 1 <= len(checks) <= 1 + 4 * MINUTE / DeliveryPolicy().check_interval[Channel.SMS], "as often as ever"
