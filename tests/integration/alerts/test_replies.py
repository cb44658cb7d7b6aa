"""Replies on a real store: SMS with a code, PIN in a call, and false alarms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from structlog.testing import capture_logs

from alerts.decide.gateway.latency import Milestone
from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.inbound.callback_handler import CallbackHandlers, GatewayCallbackHandler
from alerts.inbound.inbound_sms import MAX_UNRECOGNISED_REPLIES
from alerts.inbound.phone_release import LOCKOUT_PERIOD, MAX_WRONG_PINS
from alerts.inbound.pin import PinStore, hash_pin
from alerts.inbound.poller import Poller
from alerts.model.channel import Channel
from alerts.model.delivery import Attempt, NotificationState
from alerts.model.event import Acknowledge, MarkFalseAlarm
from alerts.model.gateway import (
    NO_KEY,
    AckResult,
    CallbackEvent,
    CallbackHandler,
    DeliveryError,
    DeliveryReport,
    ErrorClass,
    InboundSms,
    ReleaseStage,
    SubmissionState,
)
from alerts.model.incident import IncidentState
from alerts.model.notification import IncidentType, Purpose
from alerts.model.policy_snapshot import Step
from alerts.persistence.store import PinAttempt, SmsNumber, StoreUnavailable, UnitOfWork
from alerts.wording.texts import load
from tests.integration.alerts.dispatcher_env import DispatcherEnv, ScriptedGateway, open_dispatcher_env
from tests.integration.alerts.test_on_call import DUTY
from tests.timeouts import HANG_TIMEOUT
from tests.unit.alerts.people import (
    FAX,
    LETTER,
    MINUTE,
    POLICY,
    RAVI,
    SITI,
    SMS_RAVI,
    SMS_SITI,
    SNAPSHOT,
    VOICE_RAVI,
    VOICE_SITI,
    trigger,
)
from tests.unit.alerts.probe_runs import FakeProbeRuns

WORDING = load()
PIN = "280146"
UNKNOWN_NUMBER = "+60100000199"
#: Both are notified by SMS at once.
BY_SMS = replace(
    SNAPSHOT,
    escalation=replace(POLICY, steps=(replace(POLICY.steps[0], contacts=(SITI, RAVI)), POLICY.steps[1]), rounds=1),
)


@dataclass
class Answerable(ScriptedGateway):
    """A gateway with replies, which are polled."""

    receives_replies: bool = True
    box: list[InboundSms] = field(default_factory=list)
    asked_since: list[datetime] = field(default_factory=list)

    async def collect(self, since: datetime, desk: CallbackHandler) -> None:
        self.asked_since.append(since)
        for said in self.box:
            await desk.receive(said)


class RepliesEnv(DispatcherEnv):
    """An environment whose SMS can be answered."""

    pins = PinStore()

    def restart(self, lines: Sequence[ConfiguredGateway] | None = None) -> None:  # type: ignore[override]
        if not isinstance(self.sms, Answerable):
            self.sms = Answerable()
        super().restart(lines)
        self.heard = 0
        self.measured = FakeProbeRuns()
        self.desks = CallbackHandlers(
            dispatcher=self.dispatcher,
            store=self.store,
            wording=WORDING,
            pins=lambda: self.pins,
            clock=self.clock,
            measuring=self.measured,
        )

    @property
    def desk(self) -> GatewayCallbackHandler:
        return self.desks.for_gateway("sms")

    async def says(self, number: str, text: str, event_id: str = "") -> str | None:
        """Send an SMS from a number; return the answer."""
        self.heard += 1
        answer = await self.desk.receive(
            InboundSms(sender=number, text=text, event_id=event_id or f"SM{self.heard}/received")
        )
        await self.settle()
        return answer.text if answer else None

    async def codes(self, number: str) -> list[str]:
        """Return the codes sent to a phone, oldest first."""
        incident_id, codes = 1, []
        async with self.store.transaction() as uow:
            while await uow.incident(incident_id):
                codes += [
                    a.response
                    for n in await uow.notifications(incident_id)
                    for d in n.deliveries
                    for a in d.attempts
                    if d.address.number == number and d.address.channel is Channel.SMS and a.response
                ]
                incident_id += 1
        return codes


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[RepliesEnv]:
    async with open_dispatcher_env(tmp_path) as plain:
        env = RepliesEnv.__new__(RepliesEnv)
        env.__dict__ |= plain.__dict__
        env.restart()
        yield env


async def attempts(env: RepliesEnv, channel: Channel, incident_id: int = 1) -> list[Attempt]:
    notices = await env.notifications(incident_id)
    return [a for n in notices for d in n.deliveries if d.address.channel is channel for a in d.attempts]


# -- codes -----------------------------------------------------------------------------------------------------------


async def test_sms_code_acknowledges_and_is_confirmed(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    assert await env.codes(SMS_SITI.number) == ["1A"]

    assert await env.says(SMS_SITI.number, "1a") == "RM0 JCM: JCM-01 telah disahkan oleh Siti Contoh. Terima kasih."

    assert (await env.incident()).acknowledged_by == "Siti Contoh"
    await env.advance(20 * MINUTE)
    assert env.voice.sent == []


async def test_sms_acknowledgement_latency_is_counted_once(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    env.clock.moment += 3 * MINUTE
    for _ in range(2):
        await env.says(SMS_SITI.number, "1A")
    counted = [t for t in env.watcher.latencies if t.milestone is Milestone.ACKNOWLEDGED]
    assert [(t.channel, t.gateway, t.duration, t.incident) for t in counted] == [
        (Channel.SMS, "sms", 3 * MINUTE, "JCM-01"),
    ]


async def test_second_reply_names_first_assignee(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    await env.says(SMS_SITI.number, "terima")

    answered = await env.says(SMS_RAVI.number, "JCM-01")

    assert answered == "RM0 JCM: JCM-01 telah disahkan lebih awal oleh Siti Contoh. Terima kasih."
    assert (await env.incident()).acknowledged_by == "Siti Contoh"


@pytest.mark.parametrize("quoted", ["JBA10-01", "JBA1001-01", "jba 1001 01", "terima jba1001-1"])
async def test_incident_number_with_digits_in_agency_code_accepted_in_variants(env: RepliesEnv, quoted: str) -> None:
    office = replace(BY_SMS.office, short="JBA1001")
    await env.submit(trigger(snapshot=replace(BY_SMS, agency="JBA1001", office=office)))

    answered = await env.says(SMS_SITI.number, quoted)

    assert answered == "RM0 JBA1001: JBA10-01 telah disahkan oleh Siti Contoh. Terima kasih."


async def test_number_without_hyphen_matching_two_incidents_acknowledges_none(env: RepliesEnv) -> None:
    for agency in ("JC", "JC0"):
        await env.submit(trigger(snapshot=replace(BY_SMS, agency=agency, office=replace(BY_SMS.office, short=agency))))
        await env.advance(3 * MINUTE)
    assert len(await env.codes(SMS_SITI.number)) == 2

    assert "JC" in (await env.says(SMS_SITI.number, "JC01") or "")
    assert [(await env.incident(n)).acknowledged_by for n in (1, 2)] == [None, None]

    await env.says(SMS_SITI.number, "JC0-1")
    assert [(await env.incident(n)).acknowledged_by for n in (1, 2)] == [None, "Siti Contoh"]


async def test_key_press_after_own_sms_acknowledgement_names_no_other_officer(env: RepliesEnv) -> None:
    both = replace(POLICY.steps[0], channels=(Channel.SMS, Channel.VOICE))
    snapshot = replace(SNAPSHOT, escalation=replace(POLICY, steps=(both, replace(POLICY.steps[1], after=MINUTE))))
    await env.submit(trigger(snapshot=snapshot))
    await env.advance(MINUTE)
    call_about_release = env.voice.orders[0]
    assert call_about_release.address == VOICE_SITI.number
    await env.says(SMS_SITI.number, "1A")

    heard = CallbackEvent(reference=call_about_release.reference, event_id="CA1/key/1", acknowledged=True)

    assert await env.desks.for_gateway("voice").record(heard) is AckResult.AGAIN
    assert "lebih awal oleh Siti Contoh" in (await env.says(SMS_SITI.number, "1A") or "")


async def test_reply_after_recovery_reports_resolved(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    await env.resolve()

    for said in ("1A", "serah 1A"):
        assert "telah selesai" in (await env.says(SMS_SITI.number, said) or "")
    assert (await env.incident()).acknowledged_by is None


async def test_reply_to_false_alarm_reports_withdrawn(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    await env.submit(MarkFalseAlarm(incident_id=1, at=env.clock.now(), by="Siti Contoh", reason="rujukan silap"))

    assert "telah dibatalkan" in (await env.says(SMS_SITI.number, "1A") or "")


async def test_duplicate_inbound_sms_acts_once(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))

    assert await env.says(SMS_SITI.number, "1A", "SM1") is not None
    assert await env.says(SMS_SITI.number, "1A", "SM1") is None


async def test_each_incident_gets_smallest_free_code_per_phone(env: RepliesEnv) -> None:
    for agency in ("JCM", "MDC", "UCM"):
        await env.submit(replace(trigger(snapshot=BY_SMS), dedup_key=agency))
        await env.advance(3 * MINUTE)  # Apart, so that they are not bundled.
    assert await env.codes(SMS_SITI.number) == ["1A", "2A", "3A"]

    answered = await env.says(SMS_SITI.number, "2A")

    assert "JCM-02" in (answered or "")
    states = [(await env.incident(i)).state for i in (1, 2, 3)]
    assert states == [IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED, IncidentState.TRIGGERED]


async def test_code_is_not_reused_for_another_incident_within_a_day(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    await env.resolve()
    env.sms.taken = dict.fromkeys(env.sms.taken, SubmissionState.DELIVERED)
    await env.advance(timedelta(hours=3))
    await env.submit(trigger(at=env.clock.now(), snapshot=BY_SMS))
    assert (await env.codes(SMS_SITI.number))[-1] == "2A"
    assert "JCM-01 telah selesai" in (await env.says(SMS_SITI.number, "1A") or "")
    await env.resolve()

    env.sms.taken = dict.fromkeys(env.sms.taken, SubmissionState.DELIVERED)
    await env.advance(timedelta(hours=25))
    await env.submit(trigger(at=env.clock.now(), snapshot=BY_SMS))
    assert (await env.codes(SMS_SITI.number))[-1] == "1A"
    assert "JCM-03 telah disahkan" in (await env.says(SMS_SITI.number, "1A") or "")


async def test_same_incident_keeps_its_code_on_a_phone(env: RepliesEnv) -> None:
    snapshot = replace(BY_SMS, escalation=replace(BY_SMS.escalation, steps=BY_SMS.escalation.steps[:1], rounds=3))
    await env.submit(trigger(snapshot=snapshot))
    await env.advance(timedelta(minutes=40))

    assert await env.codes(SMS_SITI.number) == ["1A", "1A", "1A"]


async def test_code_for_slowness_does_not_acknowledge_later_outage(env: RepliesEnv) -> None:
    await env.submit(trigger(IncidentType.DEGRADED, snapshot=BY_SMS))
    await env.advance(3 * MINUTE)
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), snapshot=BY_SMS))
    assert await env.codes(SMS_SITI.number) == ["1A", "2A"]

    assert "kini lebih teruk" in (await env.says(SMS_SITI.number, "1A") or "")
    assert (await env.incident()).state is IncidentState.TRIGGERED

    assert "telah disahkan oleh Siti" in (await env.says(SMS_SITI.number, "2A") or "")


async def test_reply_without_code_means_outage_not_earlier_slowness(env: RepliesEnv) -> None:
    await env.submit(trigger(IncidentType.DEGRADED, snapshot=BY_SMS))
    await env.advance(3 * MINUTE)
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), snapshot=BY_SMS))

    assert "telah disahkan oleh Siti" in (await env.says(SMS_SITI.number, "terima") or "")
    assert (await env.incident()).state is IncidentState.ACKNOWLEDGED


async def test_reply_without_code_means_outage_for_officer_on_duty_since_slowness(env: RepliesEnv) -> None:
    step = Step(after=timedelta(0), rotas=(DUTY.name,), channels=(Channel.SMS,))
    snapshot = replace(SNAPSHOT, escalation=replace(POLICY, steps=(step,), rounds=1, rotas=(DUTY,)))
    await env.submit(trigger(IncidentType.DEGRADED, snapshot=snapshot))
    await env.says(SMS_SITI.number, "1A")
    await env.advance(timedelta(hours=18))
    assert env.sms.sent[-1] == f"update to {SMS_RAVI.number}"
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), snapshot=snapshot))
    assert await env.codes(SMS_RAVI.number) == ["1A", "2A"]

    assert "telah disahkan oleh Ravi" in (await env.says(SMS_RAVI.number, "terima") or "")


async def test_code_is_valid_only_on_phone_that_received_it(env: RepliesEnv) -> None:
    only_siti = replace(BY_SMS, escalation=replace(BY_SMS.escalation, steps=POLICY.steps[:1], rounds=1))
    await env.submit(trigger(snapshot=BY_SMS))
    await env.submit(replace(trigger(snapshot=only_siti), dedup_key="MDC"))
    await env.advance(3 * MINUTE)

    await env.says(SMS_RAVI.number, "JCM-02")

    assert (await env.incident(2)).state is IncidentState.TRIGGERED


async def test_code_absent_without_inbound_sms_and_for_outside_recipients(env: RepliesEnv) -> None:
    assert isinstance(env.sms, Answerable)
    env.sms.receives_replies = False
    outside = replace(SNAPSHOT.announcement.recipients[0], addresses=(SMS_RAVI,))
    await env.submit(
        trigger(snapshot=replace(SNAPSHOT, announcement=replace(SNAPSHOT.announcement, recipients=(outside,))))
    )
    await env.release()

    assert {a.response for a in await attempts(env, Channel.SMS)} == {""}


async def open_bundle(env: RepliesEnv, matter: IncidentType = IncidentType.BOTH) -> None:
    """Notify Siti of JCM-01 to JCM-04: of the first at once, of the others in a bundle with the code 2A."""
    for agency in ("JCM", "MDC", "UCM", "PCM"):
        await env.submit(replace(trigger(matter, snapshot=BY_SMS), dedup_key=agency))
    await env.advance(3 * MINUTE)
    assert (await env.codes(SMS_SITI.number))[:2] == ["1A", "2A"]


async def test_bundle_code_acknowledges_all_and_incident_number_only_one(env: RepliesEnv) -> None:
    await open_bundle(env)

    assert await env.says(SMS_SITI.number, "JCM-03") == (
        "RM0 JCM: JCM-03 telah disahkan oleh Siti Contoh. Terima kasih."
    )
    assert [(await env.incident(i)).acknowledged_by for i in (2, 3, 4)] == [None, "Siti Contoh", None]

    assert "JCM-02 (+2)" in (await env.says(SMS_SITI.number, "2A") or "")
    assert [(await env.incident(i)).acknowledged_by for i in (1, 2, 3, 4)] == [None, *["Siti Contoh"] * 3]


async def test_bundle_reply_lists_own_incidents_only(env: RepliesEnv) -> None:
    await open_bundle(env)
    await env.submit(Acknowledge(incident_id=2, at=env.clock.now(), by="Ravi Contoh"))
    await env.resolve("UCM")

    answered = await env.says(SMS_SITI.number, "2A")

    assert answered == "RM0 JCM: JCM-04 telah disahkan oleh Siti Contoh. Terima kasih."
    await env.resolve("PCM")
    assert "JCM-02 telah disahkan lebih awal oleh Ravi Contoh" in (await env.says(SMS_SITI.number, "2A") or "")


async def test_bundle_reply_names_worsened_incident_when_rest_resolved(env: RepliesEnv) -> None:
    await open_bundle(env, IncidentType.DEGRADED)
    await env.resolve("PCM")
    for agency in ("MDC", "UCM"):
        await env.submit(replace(trigger(IncidentType.BOTH, env.clock.now(), snapshot=BY_SMS), dedup_key=agency))
    await env.resolve("UCM")

    assert "JCM-02 kini lebih teruk" in (await env.says(SMS_SITI.number, "2A") or "")


async def test_bundle_reply_acknowledges_under_each_agencys_contact(env: RepliesEnv) -> None:
    siti_elsewhere, another = replace(SITI, key="pegawai"), replace(RAVI, key="siti")
    policy = replace(POLICY, rounds=1)
    theirs = replace(
        BY_SMS,
        office=replace(BY_SMS.office, short="MDC"),
        escalation=replace(
            policy,
            steps=(
                replace(policy.steps[0], contacts=(siti_elsewhere,)),
                replace(policy.steps[1], contacts=(another,), after=timedelta(minutes=30)),
            ),
        ),
    )
    ours = replace(BY_SMS, escalation=replace(policy, steps=policy.steps[:1]))
    for agency, snapshot in (("NOC", ours), ("JCM", ours), ("MDC", theirs)):
        await env.submit(replace(trigger(snapshot=snapshot), dedup_key=agency))
    await env.advance(3 * MINUTE)
    assert env.sms.sent == [f"outage to {SMS_SITI.number}"] * 2, "one, and a bundle of two"

    answered = await env.says(SMS_SITI.number, "2A")
    assert answered == "RM0 JCM: JCM-02 (+1) telah disahkan oleh Siti Contoh. Terima kasih.", "the first of them"
    for agency in ("NOC", "JCM", "MDC"):
        await env.resolve(agency)
    await env.advance(3 * MINUTE)

    assert [(await env.incident(i)).acknowledged_by for i in (2, 3)] == ["Siti Contoh"] * 2
    assert {n for n in env.sms.sent if n.startswith("recovery")} == {f"recovery to {SMS_SITI.number}"}
    assert [n.person for n in await env.notifications(3)] == ["pegawai"] * 2


# -- what is not understood ------------------------------------------------------------------------------------------


async def test_unknown_sender_gets_no_answer_and_changes_nothing(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))

    assert [await env.says(UNKNOWN_NUMBER, text) for text in ("1A", "JCM-01", "hello", "STOP")] == [None] * 4
    assert (await env.incident()).state is IncidentState.TRIGGERED
    async with env.store.transaction() as uow:
        assert await uow.responses.sms_number(UNKNOWN_NUMBER) == SmsNumber(), "nothing is kept of them"


@pytest.mark.parametrize("name", ["\0bank", "\ud800", "Bank\n"])
async def test_unstorable_sender_does_not_block_next_sms(env: RepliesEnv, name: str) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    assert isinstance(env.sms, Answerable)
    senders = enumerate((name, SMS_SITI.number))
    env.sms.box += [InboundSms(sender=sender, text="1A", event_id=f"SM{n}") for n, sender in senders]

    await Poller(store=env.store, pool=env.pool, callback_handlers=env.desks, clock=env.clock).poll()

    assert (await env.incident()).acknowledged_by == "Siti Contoh"


async def test_unrecognised_reply_explained_a_few_times_until_recognised(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    answers = [await env.says(SMS_SITI.number, "siapa ini?") for _ in range(MAX_UNRECOGNISED_REPLIES + 2)]
    assert (
        answers
        == ["RM0 JCM: Jawapan tidak difahami. Balas 1A untuk sahkan JCM-01."] * MAX_UNRECOGNISED_REPLIES + [None] * 2
    )

    assert "telah disahkan" in (await env.says(SMS_SITI.number, "1A") or "")
    answered = await env.says(SMS_SITI.number, "??")
    assert answered == "RM0 JCM: Jawapan tidak difahami. Tiada amaran yang menunggu jawapan sekarang."


@pytest.mark.parametrize("said", ["1A", "serah 1A", "MULA"])
async def test_recognised_reply_resets_unrecognised_count(env: RepliesEnv, said: str) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    for text in ("siapa ini?", said):
        await env.says(SMS_SITI.number, text)

    answers = [await env.says(SMS_SITI.number, "??") for _ in range(MAX_UNRECOGNISED_REPLIES + 1)]
    assert [answer is not None for answer in answers] == [True] * MAX_UNRECOGNISED_REPLIES + [False]


async def test_unrecognised_reply_without_open_alert_uses_newest_alerts_agency(
    env: RepliesEnv,
) -> None:
    for agency in ("JCM", "MDC"):
        office = replace(BY_SMS.office, short=agency)
        await env.submit(trigger(snapshot=replace(BY_SMS, agency=agency, office=office)))
        await env.advance(3 * MINUTE)
    for code in ("1A", "2A"):
        await env.says(SMS_SITI.number, code)

    answered = await env.says(SMS_SITI.number, "??")
    assert answered == "RM0 MDC: Jawapan tidak difahami. Tiada amaran yang menunggu jawapan sekarang."


async def test_reply_limit_from_days_ago_does_not_silence_next_alert(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    await env.resolve()
    for _ in range(MAX_UNRECOGNISED_REPLIES + 1):
        await env.says(SMS_SITI.number, "ok terima kasih")
    env.sms.taken = dict.fromkeys(env.sms.taken, SubmissionState.DELIVERED)
    await env.advance(timedelta(days=2))

    await env.submit(trigger(at=env.clock.now(), snapshot=BY_SMS))
    await env.submit(Acknowledge(incident_id=2, at=env.clock.now(), by="Ravi Contoh"))

    assert "lebih awal oleh Ravi Contoh" in (await env.says(SMS_SITI.number, "1A") or "")


@pytest.mark.parametrize("text", ["Salam, 1A", "1A siti", "Balas 1A untuk sahkan. Ruj JCM-01"])
async def test_sms_with_the_right_code_among_other_words_acknowledges(env: RepliesEnv, text: str) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    assert "telah disahkan oleh Siti Contoh" in (await env.says(SMS_SITI.number, text) or "")


@pytest.mark.parametrize("text", ["Salam, 9A", "Salam, 9A. Ruj JCM-01", "Salam, bukan 1A", "Salam, 1A untuk apa"])
async def test_sms_with_wrong_code_or_denial_acknowledges_nothing(env: RepliesEnv, text: str) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    assert "tidak difahami. Balas 1A" in (await env.says(SMS_SITI.number, text) or "")
    assert (await env.incident()).acknowledged_by is None


async def test_sms_with_code_and_another_alerts_number_asks_which(env: RepliesEnv) -> None:
    for agency in ("JCM", "MDC"):
        office = replace(BY_SMS.office, short=agency)
        await env.submit(trigger(snapshot=replace(BY_SMS, agency=agency, office=office), at=env.clock.now()))
        await env.advance(3 * MINUTE)
    assert "Ada beberapa amaran" in (await env.says(SMS_SITI.number, "Salam, 1A. Ruj MDC-01") or "")
    assert {(await env.incident(i)).acknowledged_by for i in (1, 2)} == {None}
    assert "JCM-01 telah disahkan" in (await env.says(SMS_SITI.number, "Salam, 1A. Ruj COVID-19") or "")


async def test_repeated_notification_resets_unrecognised_reply_limit(env: RepliesEnv) -> None:
    hourly = replace(
        BY_SMS, escalation=replace(BY_SMS.escalation, steps=BY_SMS.escalation.steps[:1], repeat_interval=60 * MINUTE)
    )
    await env.submit(trigger(snapshot=hourly))
    for _ in range(2):
        answers = [await env.says(SMS_SITI.number, "siapa ini?") for _ in range(MAX_UNRECOGNISED_REPLIES + 1)]
        assert [answer is not None for answer in answers] == [True] * MAX_UNRECOGNISED_REPLIES + [False]
        await env.advance(60 * MINUTE)


async def test_automatic_ok_replies_are_answered_a_few_times(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    await env.resolve()

    answers = [await env.says(SMS_SITI.number, "OK") for _ in range(MAX_UNRECOGNISED_REPLIES + 2)]

    assert ["telah selesai" in (answer or "") for answer in answers] == [True] * MAX_UNRECOGNISED_REPLIES + [False] * 2


async def test_reply_without_code_is_ambiguous_with_several_open_alerts(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    await env.advance(3 * MINUTE)
    await env.submit(replace(trigger(snapshot=BY_SMS), dedup_key="MDC"))
    await env.advance(3 * MINUTE)

    answer = await env.says(SMS_SITI.number, "terima") or ""
    assert "Ada beberapa amaran" in answer
    assert (await env.incident(2)).number in answer, "the newest is the one that is shown how"
    assert {(await env.incident(i)).state for i in (1, 2)} == {IncidentState.TRIGGERED}
    assert (await env.incident(2)).number in (await env.says(SMS_SITI.number, "siapa ini?") or "")
    # A resolved incident does not count.
    await env.resolve("MDC")
    assert "JCM-01 telah disahkan" in (await env.says(SMS_SITI.number, "terima") or "")


async def test_escalation_without_code_means_own_incident(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    await env.advance(3 * MINUTE)
    await env.submit(replace(trigger(at=env.clock.now(), snapshot=BY_SMS), dedup_key="MDC"))
    await env.says(SMS_SITI.number, "1A")
    await env.says(SMS_RAVI.number, "2A")

    assert "JCM-01 telah diserahkan" in (await env.says(SMS_SITI.number, "serah") or "")
    assert [(await env.incident(i)).acknowledged_by for i in (1, 2)] == [None, "Ravi Contoh"]


async def test_escalation_calls_next_person_at_once(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    for said in ("1A", "serah 1A"):
        assert env.voice.sent == []
        await env.says(SMS_SITI.number, said)

    assert env.voice.sent == [f"outage to {VOICE_RAVI.number}"]


async def test_stop_is_stored_and_person_is_called_instead(env: RepliesEnv) -> None:
    snapshot = replace(
        BY_SMS,
        escalation=replace(POLICY, steps=(replace(POLICY.steps[0], channels=(Channel.SMS, Channel.VOICE)),), rounds=1),
    )
    await env.submit(trigger(snapshot=snapshot))
    with capture_logs() as lines:
        assert "dihubungi melalui panggilan" in str(await env.says(SMS_SITI.number, "STOP"))
    assert [line["person"] for line in lines if line["event"] == "no more SMS wanted"] == ["Siti Contoh"]
    await env.resolve()
    await env.advance(3 * MINUTE)
    sent = len(env.sms.sent)

    await env.submit(trigger(at=env.clock.now(), snapshot=snapshot))
    assert (len(env.sms.sent), env.voice.sent[-1]) == (sent, f"outage to {VOICE_SITI.number}")

    await env.says(SMS_SITI.number, "MULA")
    await env.resolve()
    await env.advance(3 * MINUTE)
    await env.submit(trigger(at=env.clock.now(), snapshot=snapshot))
    assert env.sms.sent[-1] == f"outage to {SMS_SITI.number}"


async def test_stop_from_person_notified_without_code_is_stored(env: RepliesEnv) -> None:
    outside = replace(SNAPSHOT.announcement.recipients[0], addresses=(SMS_RAVI,))
    await env.submit(
        trigger(snapshot=replace(SNAPSHOT, announcement=replace(SNAPSHOT.announcement, recipients=(outside,))))
    )
    await env.release()

    with capture_logs() as lines:
        assert await env.says(SMS_RAVI.number, "STOP") is None
        assert await env.says(SMS_RAVI.number, "siapa ini?") is None, "there is nothing to answer"

    assert [line["person"] for line in lines if line["event"] == "no more SMS wanted"] == ["somebody"]
    async with env.store.transaction() as uow:
        assert (await uow.responses.sms_number(SMS_RAVI.number)).stopped_at == env.clock.now()


async def test_logs_contain_no_phone_number_and_no_sms_text(env: RepliesEnv, caplog: pytest.LogCaptureFixture) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    for text in ("STOP", "mula", "rahsia saya 1A 2A", "1A"):
        await env.says(SMS_SITI.number, text)
    said = repr(InboundSms(sender=SMS_SITI.number, text="rahsia saya", event_id="SM1"))

    assert SMS_SITI.number[-7:] not in caplog.text + said
    assert "rahsia" not in caplog.text + said


# -- asking ----------------------------------------------------------------------------------------------------------


async def test_poller_polls_during_incident_and_one_hour_after(env: RepliesEnv) -> None:
    assert isinstance(env.sms, Answerable)
    poller = Poller(store=env.store, pool=env.pool, callback_handlers=env.desks, clock=env.clock)
    await poller.poll()
    assert env.sms.asked_since == []

    opened = await env.submit(trigger(snapshot=BY_SMS))
    assert opened is not None
    env.sms.box.append(InboundSms(sender=SMS_SITI.number, text="1A", event_id="SM1"))
    await poller.poll()
    assert (await env.incident()).acknowledged_by == "Siti Contoh"

    await env.resolve()
    env.sms.taken = dict.fromkeys(env.sms.taken, SubmissionState.DELIVERED)
    await env.advance(2 * MINUTE)
    assert await env.active() == []
    env.clock.moment = opened.opened_at + timedelta(minutes=60)
    await poller.poll()
    env.clock.moment += MINUTE
    await poller.poll()
    assert env.sms.asked_since == [opened.opened_at] * 2


@pytest.mark.blind
async def test_poller_clock_set_back_fetches_answers_given_since(env: RepliesEnv) -> None:
    """Defect: After a clock is set back, fetched SMS answers are ignored for 539 minutes.

    Pantau: Answers are fetched from now on at the latest.
    """
    assert isinstance(env.sms, Answerable)
    poller = Poller(store=env.store, pool=env.pool, callback_handlers=env.desks, clock=env.clock)
    await env.submit(trigger(snapshot=BY_SMS, at=env.clock.now()))
    await env.advance(MINUTE)
    back = timedelta(hours=8)
    env.clock.moment -= back
    # Before anything in the store was moved back, and after.
    await poller.poll()
    await env.settle()
    env.clock.moment += MINUTE
    await poller.poll()
    now = env.clock.now()
    assert env.sms.asked_since == [now - MINUTE, now - 2 * MINUTE]
    await env.resolve()
    env.sms.taken = dict.fromkeys(env.sms.taken, SubmissionState.DELIVERED)
    await env.advance(2 * MINUTE)
    env.clock.moment -= back
    for minutes in (0, 60, 1):
        env.clock.moment += minutes * MINUTE
        await poller.poll()
    assert len(env.sms.asked_since) == 4, "for an hour after it is over, and as long after the clock was set back"


@pytest.mark.blind
async def test_pin_lock_clock_set_back_is_over(env: RepliesEnv) -> None:
    """Defect: After a clock is set back, three wrong PINs lock a person out for eight hours more.

    Pantau: A failure that lies ahead does not count.
    """
    reference = await call_about_release(env)
    for wrong in ("111111", "222222", "333333"):
        await env.desk.verify_pin(reference, wrong)
    env.clock.moment -= timedelta(hours=8)
    await env.settle()
    assert (await env.desk.begin_release(reference)).stage is ReleaseStage.PIN


async def test_sms_opt_in_without_open_incident_is_polled(env: RepliesEnv) -> None:
    assert isinstance(env.sms, Answerable)
    poller = Poller(store=env.store, pool=env.pool, callback_handlers=env.desks, clock=env.clock)
    await env.submit(trigger(snapshot=BY_SMS))
    await env.says(SMS_SITI.number, "STOP")
    await env.resolve()
    env.sms.taken = dict.fromkeys(env.sms.taken, SubmissionState.DELIVERED)
    await env.advance(timedelta(hours=6))
    await poller.poll()

    env.sms.box.append(InboundSms(sender=SMS_SITI.number, text="MULA", event_id="SM-mula"))
    env.clock.moment += 9 * MINUTE
    await poller.poll()
    assert env.sms.asked_since == []
    env.clock.moment += MINUTE
    for _ in range(2):
        await poller.poll()

    assert env.sms.asked_since == [env.clock.now() - 20 * MINUTE], "once"
    async with env.store.transaction() as uow:
        assert (await uow.responses.sms_number(SMS_SITI.number)).stopped_at is None


async def test_gateway_poll_failure_does_not_delay_others(env: RepliesEnv) -> None:
    class UnreachableOnPoll(Answerable):
        async def collect(self, since: datetime, desk: CallbackHandler) -> None:
            self.asked_since.append(since)
            if len(self.asked_since) < 4:
                raise DeliveryError(ErrorClass.TRANSIENT, "not reached")

    class Broken(Answerable):
        async def collect(self, since: datetime, desk: CallbackHandler) -> None:
            raise RuntimeError("a bug")

    heard = Answerable(box=[InboundSms(sender=SMS_SITI.number, text="1A", event_id="SM1")])
    gateways = {"dumb": UnreachableOnPoll(), "broken": Broken(), "sms": heard}
    env.restart(
        [ConfiguredGateway(name=name, channel=Channel.SMS, gateway=gateway) for name, gateway in gateways.items()]
    )
    await env.submit(trigger(snapshot=BY_SMS))

    poller = Poller(store=env.store, pool=env.pool, callback_handlers=env.desks, clock=env.clock)
    with capture_logs() as logged:
        for _ in range(5):
            await poller.poll()

    assert (await env.incident()).acknowledged_by == "Siti Contoh"
    told = [(line["gateway"], line["event"]) for line in logged if line["log_level"] != "info"]
    assert sorted(told) == [
        ("broken", "inbound SMS could not be processed"),
        ("dumb", "inbound SMS poll failed"),
    ], "once each, however often it is asked"
    again = [line["gateway"] for line in logged if line["event"] == "inbound SMS poll succeeded again"]
    assert again == ["dumb"], "once, and of none that could be asked all the time"


@pytest.mark.blind
async def test_gateway_poll_hang_does_not_stop_others(env: RepliesEnv) -> None:
    """Defect: A gateway that hangs when polled for answers ends the polling of all gateways.

    Pantau: It is abandoned after 90 s.
    """

    class Hanging(Answerable):
        async def collect(self, since: datetime, desk: CallbackHandler) -> None:
            await asyncio.Event().wait()

    heard = Answerable(box=[InboundSms(sender=SMS_SITI.number, text="1A", event_id="SM1")])
    gateways = {"hanging": Hanging(), "sms": heard}
    env.restart(
        [ConfiguredGateway(name=name, channel=Channel.SMS, gateway=gateway) for name, gateway in gateways.items()]
    )
    await env.submit(trigger(snapshot=BY_SMS))
    poller = Poller(store=env.store, pool=env.pool, callback_handlers=env.desks, clock=env.clock)
    poller.DEADLINE = timedelta(milliseconds=500)
    async with asyncio.timeout(HANG_TIMEOUT):
        for _ in range(2):
            await poller.poll()

    assert len(heard.asked_since) == 2
    assert (await env.incident()).acknowledged_by == "Siti Contoh"


async def test_poller_runs_repeatedly(env: RepliesEnv) -> None:
    assert isinstance(env.sms, Answerable)
    await env.submit(trigger(snapshot=BY_SMS))
    poller = Poller(store=env.store, pool=env.pool, callback_handlers=env.desks, clock=env.clock)
    poller.ACTIVE_INTERVAL = timedelta(0)
    asking = asyncio.create_task(poller.run())
    async with asyncio.timeout(HANG_TIMEOUT):
        while not asking.done() and len(env.sms.asked_since) < 3:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    assert not asking.done()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.blind
async def test_poller_polls_at_once_after_clock_set_back(env: RepliesEnv) -> None:
    """Defect: After a clock is set back, answers are not polled at quiet times until it catches up.

    Pantau: They are polled at once.
    """
    assert isinstance(env.sms, Answerable)
    poller = Poller(store=env.store, pool=env.pool, callback_handlers=env.desks, clock=env.clock)
    await poller.poll()
    env.clock.moment -= timedelta(days=1)
    await poller.poll()

    assert env.sms.asked_since == [env.clock.now() - poller.IDLE_INTERVAL]


async def test_poller_continues_after_store_bug(env: RepliesEnv) -> None:
    def break_at(called: str, args: tuple[object, ...]) -> None:
        raise RuntimeError("a bug")

    poller = Poller(store=env.store, pool=env.pool, callback_handlers=env.desks, clock=env.clock)
    opened = await env.submit(trigger(snapshot=BY_SMS))
    assert opened is not None
    await env.advance(3 * MINUTE)
    await env.submit(replace(trigger(at=env.clock.now(), snapshot=BY_SMS), dedup_key="MDC"))
    env.store.call_hook = break_at
    await poller.poll()
    env.store.call_hook = None
    await poller.poll()

    assert isinstance(env.sms, Answerable)
    assert env.sms.asked_since == [opened.opened_at], "once, and as far back as anybody may be answering"


async def test_poller_database_unavailable_continues_without_logging(env: RepliesEnv) -> None:
    class UnavailableStore:
        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[UnitOfWork]:
            ledgers: list[UnitOfWork] = []
            for uow in ledgers:
                yield uow
            raise StoreUnavailable("disk full")

        def reading(self) -> NoReturn:
            raise StoreUnavailable("disk full")

    class DrainingGateway(Answerable):
        async def collect(self, since: datetime, desk: CallbackHandler) -> None:
            raise StoreUnavailable("disk full")

    env.restart([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=DrainingGateway())])
    await env.submit(trigger(snapshot=BY_SMS))

    with capture_logs() as logged:
        for store in (UnavailableStore(), env.store) * 2:
            await Poller(store=store, pool=env.pool, callback_handlers=env.desks, clock=env.clock).poll()

    assert logged == []


# -- release in a call -----------------------------------------------------------------------------------------------


async def call_about_release(env: RepliesEnv) -> str:
    """Let an outage last until its release is offered, and call Siti about it; return the call's reference."""
    env.pins = PinStore({("JCM", "siti"): hash_pin(PIN)})
    snapshot = replace(SNAPSHOT, escalation=replace(POLICY, steps=POLICY.steps[1:], rounds=3))
    await env.submit(trigger(snapshot=snapshot))
    await env.advance(timedelta(minutes=40))
    return next(o.reference for o in reversed(env.voice.orders) if o.address == VOICE_SITI.number)


async def test_pin_and_key_one_release_announcement(env: RepliesEnv) -> None:
    reference = await call_about_release(env)
    asked = await env.desk.begin_release(reference)
    assert (asked.stage, asked.texts["ms-MY"]) == (
        ReleaseStage.PIN,
        "Sila masukkan PIN tuan atau puan, diikuti tanda pagar.",
    )

    told = await env.desk.verify_pin(reference, PIN)
    assert told.stage is ReleaseStage.CONFIRM
    assert (await env.journal())[-1] == "PIN proven"
    for asks in (asked, told):
        assert "tidak dikeluarkan" in asks.fallback_texts["ms-MY"]
    assert "kepada satu penerima, iaitu melalui satu faks dan satu surat. Tekan satu" in told.texts["ms-MY"]
    assert "Jabatan Contoh Malaysia" in told.texts["en-GB"]
    assert env.fax.sent == [], "nothing leaves before key 1"

    done = await env.desk.release(reference)
    await env.settle()
    assert done.stage is ReleaseStage.END
    assert (await env.incident()).released_by == "Siti Contoh"
    assert (env.fax.sent, env.tray.sent) == ([f"outage to {FAX.number}"], [f"outage to {LETTER.number}"])
    assert "telah dikeluarkan" in (await env.desk.release(reference)).texts["ms-MY"], "and once only"


async def test_key_one_skips_recovered_agency_and_says_so(env: RepliesEnv) -> None:
    escalation = replace(POLICY, steps=POLICY.steps[1:], rounds=3)
    await env.submit(trigger(snapshot=replace(SNAPSHOT, agency="MDC", escalation=escalation)))
    reference = await call_about_release(env)
    env.pins = PinStore(dict.fromkeys([("JCM", "siti"), ("MDC", "siti")], hash_pin(PIN)))
    await env.desk.begin_release(reference)
    assert sorted(env.measured.begun) == ["JCM", "MDC"], "measured while the PIN is typed"
    await env.desk.verify_pin(reference, PIN)
    env.measured.delivered["MDC"] = {IncidentType.RECEIVING: env.clock.now()}
    said = (await env.desk.release(reference)).texts["ms-MY"]
    assert "sedang dihantar kepada satu penerima" in said
    assert "tidak dikeluarkan, kerana ujian terkini mendapati e-mel berfungsi semula: Jabatan Contoh" in said
    await env.settle()
    released = {each.policy.agency: each.released_by for each in [await env.incident(n) for n in (1, 2)]}
    assert released == {"MDC": None, "JCM": "Siti Contoh"}


async def test_key_one_releases_nothing_when_all_recovered(env: RepliesEnv) -> None:
    reference = await call_about_release(env)
    await env.desk.verify_pin(reference, PIN)
    env.measured.delivered["JCM"] = {IncidentType.SENDING: env.clock.now()}
    said = (await env.desk.release(reference)).texts["en-GB"]
    assert said.startswith("The following outage notices are not released")
    assert (await env.incident(1)).released_at is None


async def test_key_one_without_pin_releases_nothing(env: RepliesEnv) -> None:
    reference = await call_about_release(env)
    for typed in (None, "999999"):
        if typed:
            assert (await env.desk.verify_pin(reference, typed)).stage is ReleaseStage.PIN
        assert "tidak dikeluarkan" in (await env.desk.release(reference)).texts["ms-MY"]

    assert (await env.incident()).released_at is None


async def test_pin_is_valid_for_its_call_and_a_short_time(env: RepliesEnv) -> None:
    reference = await call_about_release(env)
    earlier = next(o.reference for o in env.voice.orders if o.address == VOICE_SITI.number)
    assert earlier != reference
    await env.desk.verify_pin(reference, PIN)
    assert "tidak dikeluarkan" in (await env.desk.release(earlier)).texts["ms-MY"]

    env.clock.moment += timedelta(minutes=4)
    assert "tidak dikeluarkan" in (await env.desk.release(reference)).texts["ms-MY"]


async def test_correct_pin_resets_wrong_pin_count(env: RepliesEnv) -> None:
    reference = await call_about_release(env)
    typed = ("111111", "222222", PIN) * 2
    stages = [(await env.desk.verify_pin(reference, pin)).stage for pin in typed]
    assert stages == [ReleaseStage.PIN, ReleaseStage.PIN, ReleaseStage.CONFIRM] * 2
    stages = [(await env.desk.verify_pin(reference, wrong)).stage for wrong in typed[:2] + typed[:1]]
    assert stages == [ReleaseStage.PIN, ReleaseStage.PIN, ReleaseStage.END], "and no more than three"


async def test_three_wrong_pins_lock_person_in_all_calls_and_are_audited(env: RepliesEnv) -> None:
    reference = await call_about_release(env)
    stages = [(await env.desk.verify_pin(reference, wrong)).stage for wrong in ("111111", "222222", "333333")]
    assert stages == [ReleaseStage.PIN, ReleaseStage.PIN, ReleaseStage.END]
    locked_at = env.clock.now()
    env.clock.moment += MINUTE
    for _ in range(MAX_WRONG_PINS):
        assert "terlalu banyak kali" in (await env.desk.verify_pin(reference, PIN)).texts["ms-MY"]
    assert "tidak dikeluarkan" in (await env.desk.release(reference)).texts["ms-MY"]
    env.restart()
    assert (await env.desk.begin_release(reference)).stage is ReleaseStage.END
    assert [event for event in await env.journal() if "PIN" in event] == ["wrong PIN"] * MAX_WRONG_PINS

    # Further attempts do not extend the lock.
    env.clock.moment = locked_at + LOCKOUT_PERIOD
    assert (await env.desk.begin_release(reference)).stage is ReleaseStage.PIN


async def test_shared_contact_has_three_wrong_pins_in_total(env: RepliesEnv) -> None:
    reference, kept = await call_about_release(env), hash_pin(PIN)
    env.pins = PinStore({("MDC", "siti"): kept, ("JCM", "siti"): kept, ("UCM", "siti"): hash_pin(PIN)})
    for agency, wrong in (("MDC", 2), ("UCM", 2)):
        for _ in range(wrong):
            async with env.store.transaction() as uow:
                typed = PinAttempt(reference="p9-1-0", agency=agency, person="siti", at=env.clock.now(), accepted=False)
                await uow.responses.add_pin_attempt(typed)
    assert (await env.desk.begin_release(reference)).stage is ReleaseStage.PIN, "UCM's is somebody else"

    assert (await env.desk.verify_pin(reference, "111111")).stage is ReleaseStage.END
    assert (await env.desk.verify_pin(reference, PIN)).stage is ReleaseStage.END


@pytest.mark.parametrize("person", ["nobody's", "another's"])
async def test_contact_without_pin_cannot_release(env: RepliesEnv, person: str) -> None:
    reference = await call_about_release(env)
    env.pins = PinStore({("JCM", "ravi"): hash_pin(PIN)} if person == "another's" else {})

    assert "Tiada PIN" in (await env.desk.begin_release(reference)).texts["ms-MY"]
    assert (await env.desk.verify_pin(reference, PIN)).stage is not ReleaseStage.CONFIRM


async def test_incident_over_released_or_not_offered_cannot_be_released(env: RepliesEnv) -> None:
    reference = await call_about_release(env)
    await env.desk.verify_pin(reference, PIN)
    await env.resolve()
    assert "Tiada notis yang menunggu" in (await env.desk.release(reference)).texts["ms-MY"]

    await env.submit(replace(trigger(at=env.clock.now()), dedup_key="MDC"))
    await env.advance(5 * MINUTE)
    fresh = env.voice.orders[-1].reference
    assert "Tiada notis yang menunggu" in (await env.desk.begin_release(fresh)).texts["ms-MY"]
    for said in (await env.desk.begin_release("p99-1-0"), await env.desk.verify_pin("p99-1-0", PIN)):
        assert "Tiada notis yang menunggu" in said.texts["ms-MY"]
    assert await env.desk.content("p99-1-0") is None


async def test_one_pin_releases_only_announcements_read_out_to_officer(
    env: RepliesEnv,
) -> None:
    kept = hash_pin(PIN)
    escalation = replace(POLICY, steps=POLICY.steps[1:], rounds=3)
    offered = timedelta(minutes=30)
    for agency in ("UCM", "PCM"):
        await env.submit(trigger(snapshot=replace(SNAPSHOT, agency=agency, escalation=escalation)))
    reference = await call_about_release(env)
    # UCM has another PIN for her, and NEW has just begun.
    env.pins = PinStore(
        {**dict.fromkeys([("JCM", "siti"), ("MDC", "siti"), ("NEW", "siti")], kept), ("UCM", "siti"): hash_pin(PIN)}
    )
    now, half_a_minute = env.clock.now(), timedelta(seconds=30)
    for agency, ago in (("MDC", offered + half_a_minute), ("NEW", offered - half_a_minute)):
        snapshot = replace(SNAPSHOT, agency=agency, escalation=escalation)
        new = await env.dispatcher.submit(trigger(at=now - ago, snapshot=snapshot))
    # She entered it before in this call, when MDC could not be released yet.
    async with env.store.transaction() as uow:
        before = PinAttempt(reference=reference, agency="JCM", person="siti", at=now - MINUTE, accepted=True)
        await uow.responses.add_pin_attempt(before)
    assert new is not None

    told = (await env.desk.verify_pin(reference, PIN)).texts["ms-MY"]
    assert "dua agensi akan dihantar kepada dua penerima, iaitu melalui dua faks dan dua surat" in told
    env.clock.moment += MINUTE
    assert "kepada dua penerima" in (await env.desk.release(reference)).texts["ms-MY"]

    by = {}
    for incident_id in range(1, new.id + 1):
        incident = await env.incident(incident_id)
        by[incident.policy.agency] = incident.released_by
    assert by == {"MDC": "Siti Contoh", "UCM": None, "PCM": None, "JCM": "Siti Contoh", "NEW": None}


async def test_assignee_called_when_release_is_due_and_not_after_release(env: RepliesEnv) -> None:
    env.pins = PinStore({("JCM", "siti"): hash_pin(PIN)})
    await env.submit(trigger(snapshot=BY_SMS))
    await env.says(SMS_SITI.number, "1A")
    await env.advance(timedelta(minutes=29))
    assert env.voice.sent == []

    await env.advance(MINUTE)
    assert env.voice.sent == [f"release to {VOICE_SITI.number}"]
    reference = env.voice.orders[0].reference
    pressed = CallbackEvent(
        reference=reference, event_id="1", report=DeliveryReport(progress=SubmissionState.DELIVERED), acknowledged=True
    )
    assert await env.dispatcher.record_callback("voice", pressed) is AckResult.TAKEN
    await env.desk.verify_pin(reference, PIN)
    await env.desk.release(reference)
    await env.advance(timedelta(hours=2))

    assert (await env.incident()).released_by == "Siti Contoh"
    assert env.voice.sent == [f"release to {VOICE_SITI.number}"], "once, and answered"


async def test_key_one_about_past_release_reports_over(env: RepliesEnv) -> None:
    env.pins = PinStore({("JCM", "siti"): hash_pin(PIN)})
    await env.submit(trigger(snapshot=BY_SMS))
    await env.says(SMS_SITI.number, "1A")
    await env.advance(timedelta(minutes=30))
    reference = env.voice.orders[0].reference
    await env.resolve()
    await env.advance(MINUTE)

    pressed = CallbackEvent(
        reference=reference, event_id="1", report=DeliveryReport(progress=SubmissionState.DELIVERED), acknowledged=True
    )
    assert await env.dispatcher.record_callback("voice", pressed) is AckResult.OVER


async def test_unsent_release_call_is_withdrawn_on_release(env: RepliesEnv) -> None:
    env.voice.happens.extend([ErrorClass.TRANSIENT] * 2)
    await env.submit(trigger(snapshot=BY_SMS))
    await env.acknowledge()
    await env.advance(timedelta(minutes=30))
    assert env.voice.sent == [f"release to {VOICE_SITI.number}"]

    await env.release()
    await env.advance(timedelta(hours=2))

    assert env.voice.sent == [f"release to {VOICE_SITI.number}"]
    states = [n.state for n in await env.notifications() if n.purpose is Purpose.RELEASE]
    assert states == [NotificationState.WITHDRAWN]


# -- false alarms ----------------------------------------------------------------------------------------------------


async def test_false_alarm_corrects_all_notified_and_sends_no_recovery(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    await env.release()
    reference = env.tray.orders[0].reference
    env.tray.taken[reference] = SubmissionState.SENT
    await env.advance(MINUTE)

    await env.submit(MarkFalseAlarm(incident_id=1, at=env.clock.now(), by="Siti Contoh", reason="rujukan silap"))
    await env.resolve()

    told = env.sms.sent + env.fax.sent + env.tray.sent
    assert [n for n in told if n.startswith("recovery")] == []
    assert sorted(n for n in told if n.startswith("correction")) == sorted(
        f"correction to {a.number}" for a in (SMS_SITI, SMS_RAVI, FAX, LETTER)
    )
    assert (await env.incident()).state is IncidentState.RESOLVED


async def test_unsent_letter_is_withdrawn_without_correction(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    await env.release()

    await env.submit(MarkFalseAlarm(incident_id=1, at=env.clock.now(), by="Siti Contoh", reason="rujukan silap"))

    letters = [n for n in await env.notifications() if n.channel is Channel.LETTER]
    assert [(n.purpose, n.state) for n in letters] == [(Purpose.OUTAGE, NotificationState.WITHDRAWN)]
    assert env.tray.taken == {}


async def test_inactive_incident_reactivates_for_correction(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    await env.resolve()
    env.sms.taken = dict.fromkeys(env.sms.taken, SubmissionState.DELIVERED)
    await env.advance(timedelta(hours=5))
    assert await env.active() == []

    await env.dispatcher.submit(
        MarkFalseAlarm(incident_id=1, at=env.clock.now(), by="Siti Contoh", reason="rujukan silap")
    )
    env.restart()
    await env.advance(MINUTE)

    assert env.sms.sent[-2:] == [f"correction to {SMS_SITI.number}", f"correction to {SMS_RAVI.number}"]


async def test_false_alarm_reopens_only_for_newer_trouble(
    env: RepliesEnv,
) -> None:
    first = trigger(snapshot=BY_SMS)
    await env.submit(first)
    await env.submit(MarkFalseAlarm(incident_id=1, at=env.clock.now(), by="Siti Contoh", reason="rujukan silap"))

    env.restart()
    again = await env.submit(replace(first, at=env.clock.now()))
    assert again is not None
    assert again.id == 1

    await env.advance(MINUTE)
    later = env.clock.now()
    anew = await env.submit(replace(first, at=later, began_at=later))
    assert anew is not None
    assert anew.number == "JCM-02"


async def test_voicemail_call_is_repeated_and_counts_as_not_reached(env: RepliesEnv) -> None:
    by_call = replace(
        SNAPSHOT, escalation=replace(POLICY, steps=(replace(POLICY.steps[1], contacts=(SITI,)),), rounds=1)
    )
    env.voice.ends = False
    await env.submit(trigger(snapshot=by_call))
    await env.advance(5 * MINUTE)
    no_key = DeliveryReport(progress=SubmissionState.FAILED, error=ErrorClass.TRANSIENT, code=NO_KEY)
    for calls in (1, 2, 3):
        assert env.voice.sent == [f"outage to {VOICE_SITI.number}"] * calls
        heard = CallbackEvent(reference=env.voice.orders[-1].reference, event_id=f"CA{calls}", report=no_key)
        assert await env.dispatcher.record_callback("voice", heard) is AckResult.NONE
        await env.advance(2 * MINUTE)

    notices = await env.notifications()
    assert [n.state for n in notices] == [NotificationState.FAILED]
    assert (await env.incident()).state is IncidentState.TRIGGERED
    await env.resolve()
    assert env.sms.sent == [f"recovery to {SMS_SITI.number}"], "somebody may have listened"


async def test_false_alarm_corrects_voicemail_recipient(env: RepliesEnv) -> None:
    by_call = replace(SNAPSHOT.announcement.recipients[0], addresses=(VOICE_SITI,))
    snapshot = replace(SNAPSHOT, announcement=replace(SNAPSHOT.announcement, recipients=(by_call,)))
    await env.submit(trigger(snapshot=snapshot))
    await env.release()
    no_key = DeliveryReport(progress=SubmissionState.FAILED, error=ErrorClass.TRANSIENT, code=NO_KEY)
    heard = CallbackEvent(reference=env.voice.orders[0].reference, event_id="1", report=no_key)
    await env.dispatcher.record_callback("voice", heard)

    await env.submit(MarkFalseAlarm(incident_id=1, at=env.clock.now(), by="Siti Contoh", reason="rujukan silap"))

    assert env.voice.sent[-1] == f"correction to {VOICE_SITI.number}"


async def test_unsent_recovery_is_dropped_for_correction(env: RepliesEnv) -> None:
    await env.submit(trigger(snapshot=BY_SMS))
    env.sms.happens.extend([ErrorClass.TRANSIENT] * 2)
    await env.resolve()
    tried = [f"recovery to {SMS_SITI.number}", f"recovery to {SMS_RAVI.number}"]
    assert env.sms.sent[2:] == tried, "and refused for now"

    await env.submit(MarkFalseAlarm(incident_id=1, at=env.clock.now(), by="Siti Contoh", reason="rujukan silap"))
    await env.advance(5 * MINUTE)

    assert env.sms.sent[2:] == tried
    # By the other gateway, since the first has just failed.
    assert env.modem.sent == [f"correction to {SMS_SITI.number}", f"correction to {SMS_RAVI.number}"]
