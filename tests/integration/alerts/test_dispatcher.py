"""The dispatcher on a real store: outages, failing gateways, and restarts."""

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
from tests.integration.alerts.dispatcher_env import (
    HANG,
    LOST_ANSWER,
    NOT_REACHED,
    DispatcherEnv,
    ScriptedGateway,
    open_dispatcher_env,
)
from tests.timeouts import HANG_TIMEOUT
from tests.unit.alerts.people import (
    FAX,
    LETTER,
    MINUTE,
    POLICY,
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

OUTAGE_BY_SMS = f"outage to {SMS_SITI.number}"
CALLS = [f"outage to {VOICE_SITI.number}", f"outage to {VOICE_RAVI.number}"]
RECOVERY_BY_SMS = f"recovery to {SMS_SITI.number}"

ONLY_SITI = replace(SNAPSHOT, escalation=replace(POLICY, steps=POLICY.steps[:1], rounds=1))
#: Without recipients outside.
STAFF_ONLY = replace(ONLY_SITI, announcement=AnnouncementPlan())


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[DispatcherEnv]:
    async with open_dispatcher_env(tmp_path) as opened:
        yield opened


@dataclass
class Slow(ScriptedGateway):
    """A gateway that answers a status check only when the test permits it."""

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:
        report = await super().check(order, provider_id)
        await self.may_answer.wait()
        return report


def with_own_contact(agency: str, number: int) -> PolicySnapshot:
    """Return the policy snapshot of an agency whose only contact belongs to no other agency."""
    address = Address(channel=Channel.SMS, number=f"+6010001{number:04}")
    contact = replace(SITI, key=f"officer-{number}", addresses=(address,))
    return replace(ONLY_SITI, agency=agency, escalation=replace(POLICY, steps=(only(contact),), rounds=1))


def only(contact: Contact) -> Step:
    return replace(POLICY.steps[0], contacts=(contact,))


async def states(env: DispatcherEnv, incident_id: int = 1) -> list[str]:
    return [f"{n.purpose} {n.channel} {n.state}" for n in await env.notifications(incident_id)]


# -- people ----------------------------------------------------------------------------------------------------------


async def test_acknowledgement_before_first_step_retries_failed_reminder(
    env: DispatcherEnv,
) -> None:
    later = replace(STAFF_ONLY.escalation, steps=(replace(POLICY.steps[0], after=10 * MINUTE),))
    await env.submit(trigger(snapshot=replace(STAFF_ONLY, escalation=later)))
    await env.submit(Acknowledge(incident_id=1, at=env.clock.now(), by=SITI.name))
    env.sms.happens.append(ErrorClass.TRANSIENT)
    env.clock.moment += later.acknowledgement_timeout - later.remind_before
    await env.settle()
    await env.advance(20 * SECOND)
    assert env.sms.sent == 2 * [f"reminder to {SMS_SITI.number}"]
    assert await states(env) == ["reminder sms sent"]


async def test_unanswered_sms_becomes_call_after_wait(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    assert env.sms.sent == [OUTAGE_BY_SMS]

    await env.advance(5 * MINUTE - SECOND)
    assert env.voice.sent == []

    await env.advance(SECOND)
    assert env.voice.sent == CALLS
    assert env.sms.sent == [OUTAGE_BY_SMS]


async def test_call_key_press_ends_escalation_once(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    await env.advance(5 * MINUTE)
    pressed = CallbackEvent(
        reference=env.voice.orders[1].reference,
        event_id="CA1/key/1",
        report=DeliveryReport(progress=SubmissionState.DELIVERED),
        acknowledged=True,
    )

    assert await env.dispatcher.record_callback("voice", pressed) is AckResult.TAKEN
    # A provider that got no answer sends the same key again, and the caller is told that it counts.
    assert await env.dispatcher.record_callback("voice", pressed) is AckResult.AGAIN
    sitis = replace(pressed, reference=env.voice.orders[0].reference, event_id="CA2/key/1")
    assert await env.dispatcher.record_callback("voice", sitis) is AckResult.ALREADY
    assert (await env.incident()).acknowledged_by == "Ravi Contoh"
    await env.advance(timedelta(minutes=24))
    told_who = f"taken to {SMS_SITI.number}"
    assert (env.sms.sent, env.voice.sent) == ([OUTAGE_BY_SMS, told_who], CALLS)
    await env.advance(MINUTE)
    # The assignee is called once more, because the announcement may be released.
    assert env.voice.sent == [*CALLS, f"release to {VOICE_RAVI.number}"]

    await env.resolve()
    assert await env.dispatcher.record_callback("voice", pressed) is AckResult.OVER
    assert env.sms.sent == [OUTAGE_BY_SMS, told_who, RECOVERY_BY_SMS, f"recovery to {SMS_RAVI.number}"]


async def test_callback_for_another_gateways_attempt_is_ignored(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    delivered = DeliveryReport(progress=SubmissionState.DELIVERED)
    forged = CallbackEvent(reference=env.sms.orders[0].reference, event_id="1", report=delivered, acknowledged=True)

    assert await env.dispatcher.record_callback("fax", forged) is AckResult.OVER

    assert (await env.incident()).state is IncidentState.TRIGGERED
    assert [n.state for n in await env.notifications()] == [NotificationState.SENT]


async def test_recipient_key_press_does_not_end_escalation(env: DispatcherEnv) -> None:
    by_call = replace(SNAPSHOT.announcement.recipients[0], addresses=(VOICE_RAVI,))
    snapshot = replace(SNAPSHOT, announcement=replace(SNAPSHOT.announcement, recipients=(by_call,)))
    await env.submit(trigger(snapshot=snapshot))
    await env.release()
    (order,) = env.voice.orders

    heard = CallbackEvent(reference=order.reference, event_id="1", acknowledged=True)
    assert await env.dispatcher.record_callback("voice", heard) is AckResult.TAKEN

    assert (await env.incident()).state is IncidentState.TRIGGERED
    await env.advance(5 * MINUTE)
    assert env.voice.sent[1:] == CALLS


async def test_key_press_for_slowness_does_not_acknowledge_later_outage(env: DispatcherEnv) -> None:
    await env.submit(trigger(IncidentType.DEGRADED))
    await env.advance(5 * MINUTE)
    await env.submit(trigger(IncidentType.BOTH, env.clock.now()))

    heard = CallbackEvent(reference=env.voice.orders[0].reference, event_id="1", acknowledged=True)
    assert await env.dispatcher.record_callback("voice", heard) is AckResult.WORSE

    assert (await env.incident()).state is IncidentState.TRIGGERED
    assert env.sms.sent == [OUTAGE_BY_SMS] * 2


async def test_repeated_late_or_unknown_callbacks_have_no_effect(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    reference = env.sms.orders[0].reference

    async def hear(progress: SubmissionState, event_id: str) -> AckResult:
        error = ErrorClass.TRANSIENT if progress is SubmissionState.FAILED else None
        report = DeliveryReport(progress=progress, error=error)
        return await env.dispatcher.record_callback(
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
        await env.settle()
    unknown = CallbackEvent(
        reference="p99-1-0", event_id="x", report=DeliveryReport(progress=SubmissionState.FAILED), acknowledged=True
    )
    assert await env.dispatcher.record_callback("sms", unknown) is AckResult.OVER

    await env.advance(MINUTE)
    assert await states(env) == ["outage sms delivered"]
    assert (await env.incident()).state is IncidentState.TRIGGERED
    assert env.sms.sent == [OUTAGE_BY_SMS]


async def test_late_delivery_report_stops_retries(env: DispatcherEnv) -> None:
    env.sms.happens.extend([NOT_REACHED])
    env.modem.happens.extend([ErrorClass.TRANSIENT] * 9)
    await env.submit(trigger(snapshot=STAFF_ONLY))
    await env.advance(6 * SECOND)
    assert (len(env.sms.orders), len(env.modem.orders)) == (1, 1)

    late = CallbackEvent(
        reference=env.sms.orders[0].reference,
        event_id="1",
        report=DeliveryReport(progress=SubmissionState.DELIVERED),
    )
    await env.dispatcher.record_callback("sms", late)

    await env.advance(timedelta(hours=1))
    assert (len(env.sms.orders), len(env.modem.orders)) == (1, 1)
    assert await states(env) == ["outage sms delivered"]


async def test_repeated_event_changes_nothing(env: DispatcherEnv) -> None:
    for _ in range(3):
        await env.submit(trigger())
    assert await env.active() == [1]
    assert env.sms.sent == [OUTAGE_BY_SMS]

    first = await env.resolve()
    assert first is not None
    assert await env.resolve() is None
    assert env.sms.sent == [OUTAGE_BY_SMS, RECOVERY_BY_SMS]


async def test_cause_is_reported_as_of_each_worsening(env: DispatcherEnv) -> None:
    seen = [(IncidentType.DEGRADED, None), (IncidentType.SENDING, Cause.CONNECT), (IncidentType.BOTH, Cause.TIMEOUT)]
    for matter, cause in seen:
        await env.dispatcher.submit(trigger(matter, snapshot=replace(ONLY_SITI, cause=cause)))
        assert (await env.incident()).policy.cause is cause
        await env.advance(timedelta(minutes=6))

    told = [(n.facts.type, n.facts.cause) for n in await env.notifications()]
    assert (IncidentType.DEGRADED, None) in told
    assert (IncidentType.SENDING, Cause.CONNECT) in told


async def test_events_for_unknown_incidents_have_no_effect(env: DispatcherEnv) -> None:
    assert await env.resolve() is None
    assert await env.acknowledge(7) is None
    assert await env.release(7) is None
    assert env.calls == []


# -- recovery --------------------------------------------------------------------------------------------------------


async def test_outage_over_before_cycle_is_not_notified(env: DispatcherEnv) -> None:
    await env.dispatcher.submit(trigger())
    await env.resolve()

    assert env.calls == []
    assert await env.active() == []


async def test_unsent_outage_is_withdrawn_at_recovery_and_reported_as_past(env: DispatcherEnv) -> None:
    for gateway in (env.sms, env.modem):
        gateway.happens.append(ErrorClass.TRANSIENT)
    await env.submit(trigger(snapshot=ONLY_SITI))
    await env.resolve()
    await env.advance(2 * MINUTE)

    assert await states(env) == ["outage sms withdrawn", "recovery sms sent"]
    assert (await env.notifications())[-1].facts.is_belated


async def test_recovery_during_send_waits_for_its_result(env: DispatcherEnv) -> None:
    env.sms.happens.append(HANG)
    await env.dispatcher.submit(trigger(snapshot=ONLY_SITI))
    calls = asyncio.create_task(env._run_one_cycle())
    await env.sms.called.wait()
    now = env.clock.now()
    await env.dispatcher.submit(Resolve(dedup_key="JCM", at=now, ended_at=now))
    await env.settle()
    assert await states(env) == ["outage sms pending"]

    reference = env.sms.orders[0].reference
    sent = CallbackEvent(reference=reference, event_id="1", report=DeliveryReport(progress=SubmissionState.SENT))
    await env.dispatcher.record_callback("sms", sent)
    await env.settle()

    assert env.sms.sent == [OUTAGE_BY_SMS, RECOVERY_BY_SMS]
    calls.cancel()
    await asyncio.gather(calls, return_exceptions=True)


async def test_incident_inactive_once_everything_is_delivered(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    await env.resolve()
    env.sms.taken = dict.fromkeys(env.sms.taken, SubmissionState.DELIVERED)
    await env.advance(timedelta(hours=3))

    assert await states(env) == ["outage sms delivered", "recovery sms delivered"]
    assert await env.active() == []


async def test_sms_of_unknown_status_is_not_resent_after_acknowledgement(env: DispatcherEnv) -> None:
    env.sms.happens.append(NOT_REACHED)
    await env.submit(trigger())
    await env.acknowledge()
    await env.advance(29 * MINUTE)

    assert env.sms.sent + env.modem.sent == [OUTAGE_BY_SMS]
    assert await states(env) == ["outage sms unknown"]


async def test_sms_of_unknown_status_is_followed_by_recovery_only(env: DispatcherEnv) -> None:
    env.sms.happens.append(NOT_REACHED)
    await env.submit(trigger())
    await env.resolve()
    await env.advance(3 * MINUTE)
    env.clock.moment += timedelta(hours=3)
    await env.settle()

    assert env.sms.sent + env.modem.sent == [OUTAGE_BY_SMS, RECOVERY_BY_SMS]
    assert await env.active() == []


# -- announcement ----------------------------------------------------------------------------------------------------


async def test_second_release_sends_nothing_and_keeps_first_author(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    assert env.fax.sent == []
    await env.release()
    again = await env.release(by="Ravi Contoh")

    assert again is not None
    assert again.released_by == "Siti Contoh"
    assert (env.fax.sent, env.tray.sent) == ([f"outage to {FAX.number}"], [f"outage to {LETTER.number}"])


async def test_automatic_release_occurs_on_time_despite_acknowledgement(env: DispatcherEnv) -> None:
    snapshot = replace(SNAPSHOT, announcement=replace(SNAPSHOT.announcement, automatic=True))
    await env.submit(trigger(snapshot=snapshot))
    await env.acknowledge()
    await env.advance(30 * MINUTE - SECOND)
    assert env.fax.sent == []

    await env.advance(SECOND)
    assert (len(env.fax.sent), len(env.tray.sent)) == (1, 1)
    assert (await env.incident()).released_by == "automatic"


async def test_announcement_leaves_after_a_gateway_has_answered_about_staff(env: DispatcherEnv) -> None:
    env.sms.happens.append(NOT_REACHED)
    await env.submit(trigger(snapshot=ONLY_SITI))
    await env.release()
    # The SMS may not have been sent: the gateway is queried, and the other gateway sends it.
    while not env.modem.sent:
        assert env.fax.sent == env.tray.sent == []
        await env.advance(5 * SECOND)
    assert (len(env.fax.sent), len(env.tray.sent)) == (1, 1)


@pytest.mark.parametrize("happens", [ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.CONFIGURATION])
async def test_announcement_leaves_when_staff_notification_was_refused(env: DispatcherEnv, happens: ErrorClass) -> None:
    env.sms.happens.append(happens)
    await env.submit(trigger(snapshot=ONLY_SITI))
    await env.release()
    assert (len(env.fax.sent), len(env.tray.sent)) == (1, 1)


async def test_announcement_leaves_when_staff_notification_has_expired(env: DispatcherEnv) -> None:
    for line in env.lines():
        for _ in range(line.slots if line.channel is Channel.SMS else 0):
            assert env.pool.take_slot(line.name, incident_id=0, call_key="busy", priority=(-1, T0, 0))
    await env.submit(trigger(snapshot=ONLY_SITI))
    await env.release()
    await env.advance(STAFF_EXPIRY - SECOND)
    assert env.fax.sent == env.tray.sent == []
    await env.advance(SECOND)
    assert (len(env.fax.sent), len(env.tray.sent)) == (1, 1)


async def test_announcement_leaves_without_gateway_for_staff(env: DispatcherEnv) -> None:
    env.pool.replace([line for line in env.lines() if line.channel in ON_PAPER])
    await env.submit(trigger(snapshot=ONLY_SITI))
    await env.release()
    assert (len(env.fax.sent), len(env.tray.sent)) == (1, 1)


class _SlowAtFirst(ScriptedGateway):
    async def send(self, order: SendRequest) -> DeliveryReport:
        for _ in range(50 if order.reference.startswith("p1-") else 0):
            await asyncio.sleep(0)
        return await super().send(order)


async def test_sms_to_one_number_are_sent_in_order(env: DispatcherEnv) -> None:
    env.sms = _SlowAtFirst()
    env.restart()
    for agency, language in (("JCM", Language.MALAY), ("MDC", Language.ENGLISH)):
        step = only(replace(SITI, language=language))
        snapshot = replace(ONLY_SITI, agency=agency, escalation=replace(POLICY, steps=(step,), rounds=1))
        await env.dispatcher.submit(trigger(snapshot=snapshot))
    await env.settle()
    assert [order.reference.split("-")[0] for order in env.sms.orders] == ["p1", "p2"]


async def test_letter_in_tray_at_recovery_is_withdrawn(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    await env.release()
    await env.resolve()
    for _ in range(3):
        env.clock.moment += timedelta(days=1)
        await env.settle()

    assert env.tray.sent == [f"outage to {LETTER.number}"]
    assert env.tray.taken == {}
    assert "outage letter withdrawn" in await states(env)
    assert env.fax.sent == [f"outage to {FAX.number}", f"recovery to {FAX.number}"]
    assert await env.active() == []


async def test_posted_letter_is_followed_by_recovery_letter(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    await env.release()
    reference = env.tray.orders[0].reference
    env.tray.taken[reference] = SubmissionState.SENT
    assert await env.dispatcher.record_letter_step(reference, LetterStep.POSTED, "Kerani Contoh") is None
    await env.resolve()

    assert env.tray.sent == [f"outage to {LETTER.number}", f"recovery to {LETTER.number}"]
    assert await env.dispatcher.record_letter_step("no such letter", LetterStep.POSTED, "Kerani Contoh") is None


async def test_posted_letters_do_not_keep_incident_active(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    await env.release()
    env.tray.taken[env.tray.orders[0].reference] = SubmissionState.SENT
    await env.resolve()
    env.tray.taken = dict.fromkeys(env.tray.taken, SubmissionState.SENT)
    for _ in range(3):
        env.clock.moment += timedelta(days=8)
        await env.settle()
    assert await env.settle() is None

    assert await env.active() == []


async def test_letter_in_tray_is_checked_until_posted(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    await env.release()
    for _ in range(3):
        env.clock.moment += timedelta(days=30)
        before = len(env.tray.calls)
        await env.settle()
        assert len(env.tray.calls) == before + 1


async def test_letter_check_without_change_reads_and_writes_nothing(
    env: DispatcherEnv,
) -> None:
    """In a mass outage the tray has hundreds of letters, each checked every minute."""
    await env.submit(trigger(snapshot=replace(SNAPSHOT, escalation=ONLY_SITI.escalation)))
    await env.release()
    for gateway in (env.sms, env.fax):
        gateway.taken = dict.fromkeys(gateway.taken, SubmissionState.DELIVERED)
    await env.advance(3 * MINUTE)
    asked: list[str] = []
    env.store.call_hook = lambda name, _: asked.append(name)
    await env.advance(MINUTE)

    assert env.tray.calls[-2:] == 2 * [f"check {env.tray.orders[0].reference}"]
    # The only write is the one before the check.
    assert asked.count("save_attempt") == asked.count("incident") == 1
    env.store.call_hook = None
    env.tray.taken = dict.fromkeys(env.tray.taken, SubmissionState.SENT)
    await env.advance(MINUTE)
    assert "outage letter sent" in await states(env)


async def test_letter_being_checked_at_recovery_is_withdrawn_right_after(env: DispatcherEnv) -> None:
    env.tray = tray = Slow(certain=True)
    env.restart()
    await env.submit(trigger())
    await env.release()
    env.clock.moment += MINUTE
    tray.called.clear()
    looking = asyncio.create_task(env._run_one_cycle())
    await tray.called.wait()
    await env.resolve()
    assert tray.calls[-1].startswith("check")

    tray.may_answer.set()
    await looking
    await env.settle()
    assert tray.calls[-1].startswith("withdraw")
    assert tray.taken == {}


async def test_slow_status_check_is_not_repeated_at_once(
    env: DispatcherEnv,
) -> None:
    env.sms = slow = Slow()
    env.restart()
    await env.submit(trigger(snapshot=STAFF_ONLY))
    env.clock.moment += 30 * SECOND
    slow.called.clear()
    looking = asyncio.create_task(env._run_one_cycle())
    await slow.called.wait()
    env.clock.moment += 40 * SECOND
    slow.may_answer.set()
    await looking
    await env.settle()
    assert [call.split()[0] for call in slow.calls] == ["send", "check"]
    await env.advance(30 * SECOND)
    assert [call.split()[0] for call in slow.calls] == ["send", "check", "check"]


async def test_unreachable_tray_at_recovery_is_retried_each_minute(
    env: DispatcherEnv,
) -> None:
    await env.submit(trigger())
    await env.release()
    env.tray.reachable = False
    await env.resolve()
    await env.advance(10 * MINUTE)
    tries = [call for call in env.tray.calls if call.startswith("withdraw")]
    assert 5 <= len(tries) <= 11

    env.tray.reachable = True
    await env.advance(2 * MINUTE)
    assert env.tray.taken == {}
    assert "outage letter withdrawn" in await states(env)


# -- gateways --------------------------------------------------------------------------------------------------------


async def test_letter_in_renamed_tray_becomes_unknown_and_recovery_follows(
    env: DispatcherEnv,
) -> None:
    """Nobody can withdraw it, and a clerk may post it."""
    await env.submit(trigger())
    await env.release()
    tray = ConfiguredGateway(name="dulang-baharu", channel=Channel.LETTER, gateway=ScriptedGateway())
    env.pool.replace([*(line for line in env.lines() if line.name != "tray"), tray])

    await env.resolve()
    await env.advance(timedelta(hours=1))

    letters = [(n.purpose, n.state) for n in await env.notifications() if n.channel is Channel.LETTER]
    assert letters == [(Purpose.OUTAGE, NotificationState.UNKNOWN), (Purpose.RECOVERY, NotificationState.SENT)]


async def test_failed_gateway_falls_back_to_next_gateway_then_channel(
    env: DispatcherEnv,
) -> None:
    step = replace(POLICY.steps[0], channels=(Channel.SMS, Channel.VOICE))
    snapshot = replace(SNAPSHOT, escalation=replace(POLICY, steps=(step,)))
    env.sms.happens.append(ErrorClass.CONFIGURATION)
    env.modem.happens.append(ErrorClass.CONFIGURATION)
    await env.submit(trigger(snapshot=snapshot))

    assert (len(env.sms.sent), len(env.modem.sent), env.voice.sent) == (1, 1, CALLS[:1])
    assert await states(env) == ["outage voice sent"]


async def test_unreachable_step_starts_next_step_at_once(env: DispatcherEnv) -> None:
    env.sms.happens.append(ErrorClass.PERMANENT)
    await env.submit(trigger())

    assert env.voice.sent == CALLS


async def test_gateway_bug_counts_as_unknown_and_is_checked(env: DispatcherEnv) -> None:
    env.sms.happens.append(RuntimeError("a bug"))
    await env.submit(trigger(snapshot=ONLY_SITI))
    (attempt,) = (await env.notifications())[0].deliveries[0].attempts
    assert attempt.state is AttemptState.UNKNOWN

    await env.advance(MINUTE)
    assert [c.split()[0] for c in env.sms.calls] == ["send", "find", "find"]
    assert env.modem.sent == [OUTAGE_BY_SMS]


async def test_gateway_that_never_received_letter_is_not_retried_forever(
    env: DispatcherEnv,
) -> None:
    env.tray.happens.extend([RuntimeError("a bug")] * 99)
    env.fax.happens.append(SubmissionState.DELIVERED)
    await env.submit(trigger())
    await env.acknowledge()
    await env.release()
    for _ in range(12):
        env.clock.moment += 30 * MINUTE
        await env.settle()

    assert len(env.tray.sent) == 4 + 5, "hourly after the first attempts"
    env.clock.moment += EXPIRY[Channel.LETTER]
    await env.settle()
    assert len(env.tray.sent) == 4 + 5
    assert "outage letter failed" in await states(env)


async def test_gateway_removed_while_status_unknown_is_not_awaited(env: DispatcherEnv) -> None:
    env.fax.happens.append(LOST_ANSWER)
    env.sms.reachable = env.fax.reachable = False
    await env.submit(trigger(snapshot=ONLY_SITI))
    await env.release()
    env.sms.happens.append(NOT_REACHED)
    await env.submit(trigger(snapshot=with_own_contact("MDC", 1)))
    env.pool.replace([line for line in env.lines() if line.name not in {"sms", "fax"}])
    await env.advance(MINUTE)

    assert env.modem.sent == ["outage to +60100010001"]
    assert len(env.fax.sent) == 1
    assert "outage fax unknown" in await states(env)


async def test_gateway_removed_between_retries_does_not_stop_incident(env: DispatcherEnv) -> None:
    env.sms.happens.append(ErrorClass.TRANSIENT)
    await env.submit(trigger())
    env.pool.replace([line for line in env.lines() if line.name != "sms"])
    await env.advance(5 * MINUTE)

    assert env.modem.sent == [OUTAGE_BY_SMS]
    assert env.voice.sent == CALLS


async def test_gateway_removed_as_call_begins_does_not_stop_dispatcher(env: DispatcherEnv) -> None:
    await env.dispatcher.submit(trigger(snapshot=ONLY_SITI))
    async with asyncio.TaskGroup() as calls:
        await env.dispatcher.run_cycle(calls)
        env.pool.replace([line for line in env.lines() if line.name != "sms"])
    await env.advance(MINUTE)

    assert env.sms.sent == []
    assert env.modem.sent == [OUTAGE_BY_SMS]


async def test_concurrent_cycles_send_once(env: DispatcherEnv) -> None:
    await env.dispatcher.submit(trigger())
    async with asyncio.TaskGroup() as calls:
        await asyncio.gather(*(env.dispatcher.run_cycle(calls) for _ in range(4)))
    await env.settle()

    assert env.sms.sent == [OUTAGE_BY_SMS]
    assert len(await env.notifications()) == 1


@pytest.mark.blind
async def test_page_is_rendered_for_sending_only_and_not_for_checks(env: DispatcherEnv) -> None:
    """Defect: Each question about a fax or a letter renders its page again (50 ms), once a minute for each letter.

    Pantau: A request has content only when it is sent.
    """
    await env.submit(trigger())
    for gateway in (env.fax, env.tray):
        gateway.happens.append(HANG)
    now = env.clock.now()
    await env.dispatcher.submit(Release(incident_id=1, at=now, by="Siti Contoh"))
    await env.crash_and_restart()
    await env.settle()
    await env.advance(timedelta(hours=2))
    await env.resolve()

    asked = [call.split()[0] for gateway in (env.fax, env.tray) for call in gateway.calls]
    assert {"send", "find", "check", "withdraw"} <= set(asked)
    assert len(asked) > 60
    assert env.words.composed[Channel.FAX] == len(env.fax.orders) == 2
    assert env.words.composed[Channel.LETTER] == len(env.tray.orders) == 1


async def test_concurrent_cycles_withdraw_letter_once(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    await env.release()
    now = env.clock.now()
    await env.dispatcher.submit(Resolve(dedup_key="JCM", at=now, ended_at=now))
    async with asyncio.TaskGroup() as calls:
        await asyncio.gather(*(env.dispatcher.run_cycle(calls) for _ in range(4)))
    await env.settle()

    assert "outage letter withdrawn" in await states(env)
    assert len(env.tray.sent) == 1


async def test_unreadable_store_is_retried_five_seconds_later(env: DispatcherEnv) -> None:
    one_slot = ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=env.sms, slots=1)
    env.restart([one_slot])
    await env.dispatcher.submit(trigger(snapshot=ONLY_SITI))
    env.store.away = True
    for _ in range(3):
        async with asyncio.TaskGroup() as calls:
            advance = await env.dispatcher.run_cycle(calls)
        assert advance.next_due_at == env.clock.now() + 5 * SECOND
    assert env.sms.sent == []

    env.store.away = False
    await env.settle()
    assert env.sms.sent == [OUTAGE_BY_SMS]


async def test_gateway_with_one_slot_sends_one_after_another(env: DispatcherEnv) -> None:
    env.restart([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=env.sms, slots=1)])
    for number in range(5):
        await env.dispatcher.submit(trigger(snapshot=with_own_contact(f"A{number}", number)))
    await env.settle()

    assert len(env.sms.sent) == 5


# -- as a running service --------------------------------------------------------------------------------------------


async def until_called(gateway: ScriptedGateway, times: int = 1) -> None:
    async with asyncio.timeout(HANG_TIMEOUT):
        while len(gateway.calls) < times:
            gateway.called.clear()
            await gateway.called.wait()


async def test_hanging_gateway_delays_no_other_and_times_out(tmp_path: Path) -> None:
    policy = DeliveryPolicy(deadline=timedelta(milliseconds=50))
    desk = Contact(key="meja", name="Meja", language=Language.MALAY, addresses=(VOICE_RAVI,))
    step = replace(POLICY.steps[0], contacts=(SITI, desk), channels=(Channel.SMS, Channel.VOICE))
    async with open_dispatcher_env(tmp_path, policy) as env:
        env.sms.happens.extend([HANG] * 4)
        running = asyncio.create_task(env.dispatcher.run())
        await env.dispatcher.submit(trigger(snapshot=replace(SNAPSHOT, escalation=replace(POLICY, steps=(step,)))))

        await until_called(env.voice)
        assert env.dispatcher.is_running
        # The gateway is queried and has the message, so nothing is sent twice.
        await until_called(env.sms, times=2)
        assert [c.split()[0] for c in env.sms.calls] == ["send", "find"]
        assert env.modem.sent == []
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_dispatcher_survives_unavailable_database(env: DispatcherEnv) -> None:
    await env.dispatcher.submit(trigger())
    env.dispatcher.RETRY_INTERVAL = timedelta(0)
    running = asyncio.create_task(env.dispatcher.run())
    async with asyncio.timeout(HANG_TIMEOUT):
        await env.watcher.cycled.wait()
        env.store.away = True
        env.clock.moment += 5 * MINUTE
        for _ in range(3):
            env.dispatcher.wake()
            await asyncio.sleep(0)
        assert not running.done()
        env.store.away = False
        env.dispatcher.wake()
        await until_called(env.voice, times=2)

    assert sorted(env.voice.sent) == sorted(CALLS)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# -- restarts --------------------------------------------------------------------------------------------------------


async def test_interrupted_send_is_looked_up_before_resend(env: DispatcherEnv) -> None:
    env.sms.happens.append(HANG)
    await env.dispatcher.submit(trigger(snapshot=ONLY_SITI))
    await env.crash_and_restart()
    await env.settle()

    assert [c.split()[0] for c in env.sms.calls] == ["send", "find"]
    assert await states(env) == ["outage sms sent"]


async def test_interrupted_letter_certainly_not_received_is_resent(env: DispatcherEnv) -> None:
    env.tray.happens.append(HANG)
    await env.submit(trigger())
    await env.dispatcher.submit(Release(incident_id=1, at=env.clock.now(), by="Siti Contoh"))
    await env.crash_and_restart()
    env.tray.taken.clear()
    await env.settle()

    assert [c.split()[0] for c in env.tray.calls] == ["send", "find", "send"]


async def test_interrupted_sms_not_found_is_resent_once_by_another_gateway(env: DispatcherEnv) -> None:
    env.sms.happens.append(HANG)
    await env.dispatcher.submit(trigger(snapshot=ONLY_SITI))
    await env.crash_and_restart()
    env.sms.taken.clear()
    env.modem.happens.append(NOT_REACHED)
    await env.advance(timedelta(hours=1))

    assert (len(env.sms.sent), len(env.modem.sent)) == (1, 1)


async def test_interrupted_fax_not_found_becomes_unknown(env: DispatcherEnv) -> None:
    env.fax.happens.append(HANG)
    await env.submit(trigger())
    await env.dispatcher.submit(Release(incident_id=1, at=env.clock.now(), by="Siti Contoh"))
    await env.crash_and_restart()
    env.fax.taken.clear()
    await env.advance(3 * MINUTE)

    assert len(env.fax.sent) == 1
    assert "outage fax unknown" in await states(env)


async def test_sms_of_unknown_status_after_long_stop_is_not_resent(env: DispatcherEnv) -> None:
    env.sms.happens.append(HANG)
    await env.dispatcher.submit(trigger(snapshot=STAFF_ONLY))
    await env.crash_and_restart()
    env.sms.taken.clear()
    env.clock.moment += timedelta(hours=3)
    await env.advance(timedelta(hours=1))

    assert len(env.sms.sent + env.modem.sent) == 1
    assert await states(env) == ["outage sms failed"]


async def test_restart_after_every_cycle_notifies_everybody_once(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    for _ in range(12):
        await env.crash_and_restart()
        await env.advance(30 * SECOND)

    assert env.sms.sent == [OUTAGE_BY_SMS]
    assert env.voice.sent == CALLS


# -- many ------------------------------------------------------------------------------------------------------------


async def test_two_hundred_agencies_at_once_are_all_notified(env: DispatcherEnv) -> None:
    for number in range(200):
        await env.dispatcher.submit(trigger(snapshot=with_own_contact(f"A{number}", number)))
    await env.settle()

    assert len(env.sms.sent) == 200
    assert {n.state for i in (1, 100, 200) for n in await env.notifications(i)} == {NotificationState.SENT}
    assert env.watcher.entered.count((Purpose.OUTAGE, NotificationState.SENT)) == 200


# -- a clock that is set back -----------------------------------------------------------------------------------------


async def test_clock_set_back_delays_neither_next_step_nor_retry(env: DispatcherEnv) -> None:
    env.sms.happens.append(ErrorClass.TRANSIENT)
    await env.submit(trigger())
    assert env.sms.sent == [OUTAGE_BY_SMS]

    env.clock.moment -= timedelta(hours=1)
    await env.settle()
    assert env.sms.sent == [OUTAGE_BY_SMS] * 2, "tried again"
    assert env.voice.sent == []
    await env.advance(5 * MINUTE)
    assert env.voice.sent == CALLS


async def test_clock_set_back_keeps_status_check_interval(env: DispatcherEnv) -> None:
    await env.submit(trigger())
    env.clock.moment -= timedelta(hours=1)
    await env.advance(4 * MINUTE)
    checks = [call for call in env.sms.calls if call.startswith("check")]
    assert 1 <= len(checks) <= 1 + 4 * MINUTE / DeliveryPolicy().check_interval[Channel.SMS], "as often as ever"
