"""What people answer, on a real store: by SMS with a code, by PIN in a call, and that it was a false alarm."""

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
from tests.hanging import HANGS
from tests.integration.alerts.station import Scripted, Station, station_at
from tests.integration.alerts.test_on_call import DUTY
from tests.unit.alerts.measured import Measured
from tests.unit.alerts.people import (
    BRIEF,
    FAX,
    LETTER,
    MINUTE,
    POLICY,
    RAVI,
    SITI,
    SMS_RAVI,
    SMS_SITI,
    VOICE_RAVI,
    VOICE_SITI,
    trigger,
)

WORDING = load()
PIN = "280146"
STRANGER = "+60100000199"
#: Both are told by SMS at once.
BY_SMS = replace(
    BRIEF,
    escalation=replace(POLICY, steps=(replace(POLICY.steps[0], contacts=(SITI, RAVI)), POLICY.steps[1]), rounds=1),
)


@dataclass
class Answerable(Scripted):
    """A gateway that people can answer, and that is asked for what they have sent."""

    receives_replies: bool = True
    box: list[InboundSms] = field(default_factory=list)
    asked_since: list[datetime] = field(default_factory=list)

    async def collect(self, since: datetime, desk: CallbackHandler) -> None:
        self.asked_since.append(since)
        for said in self.box:
            await desk.receive(said)


class Play(Station):
    """A station whose SMS can be answered."""

    pins = PinStore()

    def restart(self, lines: Sequence[ConfiguredGateway] | None = None) -> None:  # type: ignore[override]
        if not isinstance(self.sms, Answerable):
            self.sms = Answerable()
        super().restart(lines)
        self.heard = 0
        self.measured = Measured()
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
        """Let somebody send an SMS; return what is answered."""
        self.heard += 1
        answer = await self.desk.receive(
            InboundSms(sender=number, text=text, event_id=event_id or f"SM{self.heard}/received")
        )
        await self.settle()
        return answer.text if answer else None

    async def codes(self, number: str) -> list[str]:
        """Return the codes that a phone was sent, oldest first."""
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
async def play(tmp_path: Path) -> AsyncIterator[Play]:
    async with station_at(tmp_path) as plain:
        play = Play.__new__(Play)
        play.__dict__ |= plain.__dict__
        play.restart()
        yield play


async def attempts(play: Play, channel: Channel, incident_id: int = 1) -> list[Attempt]:
    notices = await play.notifications(incident_id)
    return [a for n in notices for d in n.deliveries if d.address.channel is channel for a in d.attempts]


# -- codes -----------------------------------------------------------------------------------------------------------


async def test_an_sms_with_its_code_acknowledges_and_is_thanked(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    assert await play.codes(SMS_SITI.number) == ["1A"]

    assert await play.says(SMS_SITI.number, "1a") == "RM0 JCM: JCM-01 telah disahkan oleh Siti Contoh. Terima kasih."

    assert (await play.incident()).acknowledged_by == "Siti Contoh"
    await play.advance(20 * MINUTE)
    assert play.voice.sent == []


async def test_how_long_it_took_until_an_sms_took_it_on_is_counted_once(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    play.clock.moment += 3 * MINUTE
    for _ in range(2):
        await play.says(SMS_SITI.number, "1A")
    counted = [t for t in play.watcher.latencies if t.milestone is Milestone.ACKNOWLEDGED]
    assert [(t.channel, t.gateway, t.took, t.incident) for t in counted] == [
        (Channel.SMS, "sms", 3 * MINUTE, "JCM-01"),
    ]


async def test_the_second_to_answer_hears_who_was_first(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    await play.says(SMS_SITI.number, "terima")

    answered = await play.says(SMS_RAVI.number, "JCM-01")

    assert answered == "RM0 JCM: JCM-01 telah disahkan lebih awal oleh Siti Contoh. Terima kasih."
    assert (await play.incident()).acknowledged_by == "Siti Contoh"


@pytest.mark.parametrize("quoted", ["JBA10-01", "JBA1001-01", "jba 1001 01", "terima jba1001-1"])
async def test_an_incident_of_a_code_with_digits_is_answered_as_people_write_it(play: Play, quoted: str) -> None:
    office = replace(BY_SMS.office, short="JBA1001")
    await play.submit(trigger(brief=replace(BY_SMS, agency="JBA1001", office=office)))

    answered = await play.says(SMS_SITI.number, quoted)

    assert answered == "RM0 JBA1001: JBA10-01 telah disahkan oleh Siti Contoh. Terima kasih."


async def test_a_number_that_may_be_two_incidents_without_its_hyphen_takes_on_neither(play: Play) -> None:
    for agency in ("JC", "JC0"):
        await play.submit(trigger(brief=replace(BY_SMS, agency=agency, office=replace(BY_SMS.office, short=agency))))
        await play.advance(3 * MINUTE)
    assert len(await play.codes(SMS_SITI.number)) == 2

    assert "JC" in (await play.says(SMS_SITI.number, "JC01") or "")
    assert [(await play.incident(n)).acknowledged_by for n in (1, 2)] == [None, None]

    await play.says(SMS_SITI.number, "JC0-1")
    assert [(await play.incident(n)).acknowledged_by for n in (1, 2)] == [None, "Siti Contoh"]


async def test_who_answered_by_sms_and_then_presses_the_key_does_not_hear_of_another_officer(play: Play) -> None:
    both = replace(POLICY.steps[0], channels=(Channel.SMS, Channel.VOICE))
    brief = replace(BRIEF, escalation=replace(POLICY, steps=(both, replace(POLICY.steps[1], after=MINUTE))))
    await play.submit(trigger(brief=brief))
    await play.advance(MINUTE)
    in_a_call = play.voice.orders[0]
    assert in_a_call.address == VOICE_SITI.number
    await play.says(SMS_SITI.number, "1A")

    heard = CallbackEvent(reference=in_a_call.reference, event_id="CA1/key/1", acknowledged=True)

    assert await play.desks.for_gateway("voice").record(heard) is AckResult.AGAIN
    assert "lebih awal oleh Siti Contoh" in (await play.says(SMS_SITI.number, "1A") or "")


async def test_an_answer_after_the_recovery_is_told_that_it_is_over(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    await play.resolve()

    for said in ("1A", "serah 1A"):
        assert "telah selesai" in (await play.says(SMS_SITI.number, said) or "")
    assert (await play.incident()).acknowledged_by is None


async def test_an_answer_to_a_false_alarm_is_told_that_it_was_withdrawn(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    await play.submit(MarkFalseAlarm(incident_id=1, at=play.clock.now(), by="Siti Contoh", reason="rujukan silap"))

    assert "telah dibatalkan" in (await play.says(SMS_SITI.number, "1A") or "")


async def test_an_sms_that_comes_twice_does_something_once(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))

    assert await play.says(SMS_SITI.number, "1A", "SM1") is not None
    assert await play.says(SMS_SITI.number, "1A", "SM1") is None


async def test_each_incident_has_its_own_code_on_a_phone_and_the_smallest_that_is_free(play: Play) -> None:
    for agency in ("JCM", "MDC", "UCM"):
        await play.submit(replace(trigger(brief=BY_SMS), dedup_key=agency))
        await play.advance(3 * MINUTE)  # Apart, so that they are not gathered into one SMS.
    assert await play.codes(SMS_SITI.number) == ["1A", "2A", "3A"]

    answered = await play.says(SMS_SITI.number, "2A")

    assert "JCM-02" in (answered or "")
    states = [(await play.incident(i)).state for i in (1, 2, 3)]
    assert states == [IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED, IncidentState.TRIGGERED]


async def test_a_code_is_not_given_to_another_incident_before_the_next_day(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    await play.resolve()
    play.sms.taken = dict.fromkeys(play.sms.taken, SubmissionState.DELIVERED)
    await play.advance(timedelta(hours=3))
    await play.submit(trigger(at=play.clock.now(), brief=BY_SMS))
    assert (await play.codes(SMS_SITI.number))[-1] == "2A"
    assert "JCM-01 telah selesai" in (await play.says(SMS_SITI.number, "1A") or "")
    await play.resolve()

    play.sms.taken = dict.fromkeys(play.sms.taken, SubmissionState.DELIVERED)
    await play.advance(timedelta(hours=25))
    await play.submit(trigger(at=play.clock.now(), brief=BY_SMS))
    assert (await play.codes(SMS_SITI.number))[-1] == "1A"
    assert "JCM-03 telah disahkan" in (await play.says(SMS_SITI.number, "1A") or "")


async def test_the_same_trouble_keeps_its_code_on_a_phone(play: Play) -> None:
    brief = replace(BY_SMS, escalation=replace(BY_SMS.escalation, steps=BY_SMS.escalation.steps[:1], rounds=3))
    await play.submit(trigger(brief=brief))
    await play.advance(timedelta(minutes=40))

    assert await play.codes(SMS_SITI.number) == ["1A", "1A", "1A"]


async def test_a_code_for_slowness_does_not_acknowledge_the_outage_it_has_become(play: Play) -> None:
    await play.submit(trigger(IncidentType.DEGRADED, brief=BY_SMS))
    await play.advance(3 * MINUTE)
    await play.submit(trigger(IncidentType.BOTH, play.clock.now(), brief=BY_SMS))
    assert await play.codes(SMS_SITI.number) == ["1A", "2A"]

    assert "kini lebih teruk" in (await play.says(SMS_SITI.number, "1A") or "")
    assert (await play.incident()).state is IncidentState.TRIGGERED

    assert "telah disahkan oleh Siti" in (await play.says(SMS_SITI.number, "2A") or "")


async def test_a_word_without_a_code_means_the_outage_and_not_the_slowness_it_was_before(play: Play) -> None:
    await play.submit(trigger(IncidentType.DEGRADED, brief=BY_SMS))
    await play.advance(3 * MINUTE)
    await play.submit(trigger(IncidentType.BOTH, play.clock.now(), brief=BY_SMS))

    assert "telah disahkan oleh Siti" in (await play.says(SMS_SITI.number, "terima") or "")
    assert (await play.incident()).state is IncidentState.ACKNOWLEDGED


async def test_a_word_without_a_code_means_the_outage_of_whoever_came_on_duty_while_it_was_slow(play: Play) -> None:
    step = Step(after=timedelta(0), rotas=(DUTY.name,), channels=(Channel.SMS,))
    brief = replace(BRIEF, escalation=replace(POLICY, steps=(step,), rounds=1, rotas=(DUTY,)))
    await play.submit(trigger(IncidentType.DEGRADED, brief=brief))
    await play.says(SMS_SITI.number, "1A")
    await play.advance(timedelta(hours=18))
    assert play.sms.sent[-1] == f"update to {SMS_RAVI.number}"
    await play.submit(trigger(IncidentType.BOTH, play.clock.now(), brief=brief))
    assert await play.codes(SMS_RAVI.number) == ["1A", "2A"]

    assert "telah disahkan oleh Ravi" in (await play.says(SMS_RAVI.number, "terima") or "")


async def test_a_code_is_good_only_on_the_phone_that_got_it(play: Play) -> None:
    only_siti = replace(BY_SMS, escalation=replace(BY_SMS.escalation, steps=POLICY.steps[:1], rounds=1))
    await play.submit(trigger(brief=BY_SMS))
    await play.submit(replace(trigger(brief=only_siti), dedup_key="MDC"))
    await play.advance(3 * MINUTE)

    await play.says(SMS_RAVI.number, "JCM-02")

    assert (await play.incident(2)).state is IncidentState.TRIGGERED


async def test_no_code_is_asked_for_where_no_answer_is_heard_and_none_of_people_outside(play: Play) -> None:
    assert isinstance(play.sms, Answerable)
    play.sms.receives_replies = False
    outside = replace(BRIEF.announcement.recipients[0], addresses=(SMS_RAVI,))
    await play.submit(trigger(brief=replace(BRIEF, announcement=replace(BRIEF.announcement, recipients=(outside,)))))
    await play.release()

    assert {a.response for a in await attempts(play, Channel.SMS)} == {""}


async def a_bundle(play: Play, matter: IncidentType = IncidentType.BOTH) -> None:
    """Tell Siti of JCM-01 to JCM-04: of the first at once, of the others in a bundle with the code 2A."""
    for agency in ("JCM", "MDC", "UCM", "PCM"):
        await play.submit(replace(trigger(matter, brief=BY_SMS), dedup_key=agency))
    await play.advance(3 * MINUTE)
    assert (await play.codes(SMS_SITI.number))[:2] == ["1A", "2A"]


async def test_the_code_of_a_bundle_takes_on_all_of_it_and_the_number_of_an_incident_that_one(play: Play) -> None:
    await a_bundle(play)

    assert await play.says(SMS_SITI.number, "JCM-03") == (
        "RM0 JCM: JCM-03 telah disahkan oleh Siti Contoh. Terima kasih."
    )
    assert [(await play.incident(i)).acknowledged_by for i in (2, 3, 4)] == [None, "Siti Contoh", None]

    assert "JCM-02 (+2)" in (await play.says(SMS_SITI.number, "2A") or "")
    assert [(await play.incident(i)).acknowledged_by for i in (1, 2, 3, 4)] == [None, *["Siti Contoh"] * 3]


async def test_who_answers_a_bundle_hears_what_is_theirs_of_it_now(play: Play) -> None:
    await a_bundle(play)
    await play.submit(Acknowledge(incident_id=2, at=play.clock.now(), by="Ravi Contoh"))
    await play.resolve("UCM")

    answered = await play.says(SMS_SITI.number, "2A")

    assert answered == "RM0 JCM: JCM-04 telah disahkan oleh Siti Contoh. Terima kasih."
    await play.resolve("PCM")
    assert "JCM-02 telah disahkan lebih awal oleh Ravi Contoh" in (await play.says(SMS_SITI.number, "2A") or "")


async def test_who_answers_a_bundle_of_which_one_has_got_worse_and_the_rest_is_over_hears_which(play: Play) -> None:
    await a_bundle(play, IncidentType.DEGRADED)
    await play.resolve("PCM")
    for agency in ("MDC", "UCM"):
        await play.submit(replace(trigger(IncidentType.BOTH, play.clock.now(), brief=BY_SMS), dedup_key=agency))
    await play.resolve("UCM")

    assert "JCM-02 kini lebih teruk" in (await play.says(SMS_SITI.number, "2A") or "")


async def test_who_answers_a_bundle_is_named_as_each_agency_calls_them(play: Play) -> None:
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
    for agency, brief in (("NOC", ours), ("JCM", ours), ("MDC", theirs)):
        await play.submit(replace(trigger(brief=brief), dedup_key=agency))
    await play.advance(3 * MINUTE)
    assert play.sms.sent == [f"outage to {SMS_SITI.number}"] * 2, "one, and a bundle of two"

    answered = await play.says(SMS_SITI.number, "2A")
    assert answered == "RM0 JCM: JCM-02 (+1) telah disahkan oleh Siti Contoh. Terima kasih.", "the first of them"
    for agency in ("NOC", "JCM", "MDC"):
        await play.resolve(agency)
    await play.advance(3 * MINUTE)

    assert [(await play.incident(i)).acknowledged_by for i in (2, 3)] == ["Siti Contoh"] * 2
    assert {n for n in play.sms.sent if n.startswith("recovery")} == {f"recovery to {SMS_SITI.number}"}
    assert [n.person for n in await play.notifications(3)] == ["pegawai"] * 2


# -- what is not understood ------------------------------------------------------------------------------------------


async def test_a_stranger_is_not_answered_and_changes_nothing(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))

    assert [await play.says(STRANGER, text) for text in ("1A", "JCM-01", "hello", "STOP")] == [None] * 4
    assert (await play.incident()).state is IncidentState.TRIGGERED
    async with play.store.transaction() as uow:
        assert await uow.responses.sms_number(STRANGER) == SmsNumber(), "nothing is kept of them"


@pytest.mark.parametrize("name", ["\0bank", "\ud800", "Bank\n"])
async def test_a_sender_that_no_store_can_keep_keeps_nobody_behind_it_from_being_heard(play: Play, name: str) -> None:
    await play.submit(trigger(brief=BY_SMS))
    assert isinstance(play.sms, Answerable)
    senders = enumerate((name, SMS_SITI.number))
    play.sms.box += [InboundSms(sender=sender, text="1A", event_id=f"SM{n}") for n, sender in senders]

    await Poller(store=play.store, pool=play.pool, callback_handlers=play.desks, clock=play.clock).poll()

    assert (await play.incident()).acknowledged_by == "Siti Contoh"


async def test_what_is_not_understood_is_explained_a_few_times_until_something_is(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    answers = [await play.says(SMS_SITI.number, "siapa ini?") for _ in range(MAX_UNRECOGNISED_REPLIES + 2)]
    assert (
        answers
        == ["RM0 JCM: Jawapan tidak difahami. Balas 1A untuk sahkan JCM-01."] * MAX_UNRECOGNISED_REPLIES + [None] * 2
    )

    assert "telah disahkan" in (await play.says(SMS_SITI.number, "1A") or "")
    answered = await play.says(SMS_SITI.number, "??")
    assert answered == "RM0 JCM: Jawapan tidak difahami. Tiada amaran yang menunggu jawapan sekarang."


@pytest.mark.parametrize("said", ["1A", "serah 1A", "MULA"])
async def test_whatever_is_understood_begins_the_count_of_what_is_not_anew(play: Play, said: str) -> None:
    await play.submit(trigger(brief=BY_SMS))
    for text in ("siapa ini?", said):
        await play.says(SMS_SITI.number, text)

    answers = [await play.says(SMS_SITI.number, "??") for _ in range(MAX_UNRECOGNISED_REPLIES + 1)]
    assert [answer is not None for answer in answers] == [True] * MAX_UNRECOGNISED_REPLIES + [False]


async def test_what_is_not_understood_while_nothing_waits_is_answered_by_whom_the_newest_alert_is_about(
    play: Play,
) -> None:
    for agency in ("JCM", "MDC"):
        office = replace(BY_SMS.office, short=agency)
        await play.submit(trigger(brief=replace(BY_SMS, agency=agency, office=office)))
        await play.advance(3 * MINUTE)
    for code in ("1A", "2A"):
        await play.says(SMS_SITI.number, code)

    answered = await play.says(SMS_SITI.number, "??")
    assert answered == "RM0 MDC: Jawapan tidak difahami. Tiada amaran yang menunggu jawapan sekarang."


async def test_who_thanked_too_often_long_ago_is_answered_about_the_next_alert(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    await play.resolve()
    for _ in range(MAX_UNRECOGNISED_REPLIES + 1):
        await play.says(SMS_SITI.number, "ok terima kasih")
    play.sms.taken = dict.fromkeys(play.sms.taken, SubmissionState.DELIVERED)
    await play.advance(timedelta(days=2))

    await play.submit(trigger(at=play.clock.now(), brief=BY_SMS))
    await play.submit(Acknowledge(incident_id=2, at=play.clock.now(), by="Ravi Contoh"))

    assert "lebih awal oleh Ravi Contoh" in (await play.says(SMS_SITI.number, "1A") or "")


@pytest.mark.parametrize("text", ["Salam, 1A", "1A siti", "Balas 1A untuk sahkan. Ruj JCM-01"])
async def test_sms_with_the_right_code_among_other_words_acknowledges(play: Play, text: str) -> None:
    await play.submit(trigger(brief=BY_SMS))
    assert "telah disahkan oleh Siti Contoh" in (await play.says(SMS_SITI.number, text) or "")


@pytest.mark.parametrize("text", ["Salam, 9A", "Salam, 9A. Ruj JCM-01", "Salam, bukan 1A", "Salam, 1A untuk apa"])
async def test_sms_with_a_wrong_code_or_a_denial_among_other_words_acknowledges_nothing(play: Play, text: str) -> None:
    await play.submit(trigger(brief=BY_SMS))
    assert "tidak difahami. Balas 1A" in (await play.says(SMS_SITI.number, text) or "")
    assert (await play.incident()).acknowledged_by is None


async def test_sms_with_a_code_and_the_number_of_another_alert_is_asked_which(play: Play) -> None:
    for agency in ("JCM", "MDC"):
        office = replace(BY_SMS.office, short=agency)
        await play.submit(trigger(brief=replace(BY_SMS, agency=agency, office=office), at=play.clock.now()))
        await play.advance(3 * MINUTE)
    assert "Ada beberapa amaran" in (await play.says(SMS_SITI.number, "Salam, 1A. Ruj MDC-01") or "")
    assert {(await play.incident(i)).acknowledged_by for i in (1, 2)} == {None}
    assert "JCM-01 telah disahkan" in (await play.says(SMS_SITI.number, "Salam, 1A. Ruj COVID-19") or "")


async def test_sms_that_asks_again_lets_a_number_be_answered_again(play: Play) -> None:
    hourly = replace(
        BY_SMS, escalation=replace(BY_SMS.escalation, steps=BY_SMS.escalation.steps[:1], repeat_interval=60 * MINUTE)
    )
    await play.submit(trigger(brief=hourly))
    for _ in range(2):
        answers = [await play.says(SMS_SITI.number, "siapa ini?") for _ in range(MAX_UNRECOGNISED_REPLIES + 1)]
        assert [answer is not None for answer in answers] == [True] * MAX_UNRECOGNISED_REPLIES + [False]
        await play.advance(60 * MINUTE)


async def test_a_machine_that_says_ok_to_every_answer_is_answered_a_few_times(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    await play.resolve()

    answers = [await play.says(SMS_SITI.number, "OK") for _ in range(MAX_UNRECOGNISED_REPLIES + 2)]

    assert ["telah selesai" in (answer or "") for answer in answers] == [True] * MAX_UNRECOGNISED_REPLIES + [False] * 2


async def test_a_word_without_a_code_is_not_guessed_when_several_wait(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    await play.advance(3 * MINUTE)
    await play.submit(replace(trigger(brief=BY_SMS), dedup_key="MDC"))
    await play.advance(3 * MINUTE)

    answer = await play.says(SMS_SITI.number, "terima") or ""
    assert "Ada beberapa amaran" in answer
    assert (await play.incident(2)).number in answer, "the newest is the one that is shown how"
    assert {(await play.incident(i)).state for i in (1, 2)} == {IncidentState.TRIGGERED}
    assert (await play.incident(2)).number in (await play.says(SMS_SITI.number, "siapa ini?") or "")
    # What is over does not wait.
    await play.resolve("MDC")
    assert "JCM-01 telah disahkan" in (await play.says(SMS_SITI.number, "terima") or "")


async def test_who_hands_on_without_a_code_means_what_is_theirs(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    await play.advance(3 * MINUTE)
    await play.submit(replace(trigger(at=play.clock.now(), brief=BY_SMS), dedup_key="MDC"))
    await play.says(SMS_SITI.number, "1A")
    await play.says(SMS_RAVI.number, "2A")

    assert "JCM-01 telah diserahkan" in (await play.says(SMS_SITI.number, "serah") or "")
    assert [(await play.incident(i)).acknowledged_by for i in (1, 2)] == [None, "Ravi Contoh"]


async def test_whoever_is_next_is_called_as_soon_as_it_was_handed_on(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    for said in ("1A", "serah 1A"):
        assert play.voice.sent == []
        await play.says(SMS_SITI.number, said)

    assert play.voice.sent == [f"outage to {VOICE_RAVI.number}"]


async def test_stop_is_kept_and_the_person_is_called_instead(play: Play) -> None:
    brief = replace(
        BY_SMS,
        escalation=replace(POLICY, steps=(replace(POLICY.steps[0], channels=(Channel.SMS, Channel.VOICE)),), rounds=1),
    )
    await play.submit(trigger(brief=brief))
    with capture_logs() as lines:
        assert "dihubungi melalui panggilan" in str(await play.says(SMS_SITI.number, "STOP"))
    assert [line["person"] for line in lines if line["event"] == "no more SMS wanted"] == ["Siti Contoh"]
    await play.resolve()
    await play.advance(3 * MINUTE)
    sent = len(play.sms.sent)

    await play.submit(trigger(at=play.clock.now(), brief=brief))
    assert (len(play.sms.sent), play.voice.sent[-1]) == (sent, f"outage to {VOICE_SITI.number}")

    await play.says(SMS_SITI.number, "MULA")
    await play.resolve()
    await play.advance(3 * MINUTE)
    await play.submit(trigger(at=play.clock.now(), brief=brief))
    assert play.sms.sent[-1] == f"outage to {SMS_SITI.number}"


async def test_stop_of_somebody_who_was_told_without_a_code_is_kept_too(play: Play) -> None:
    outside = replace(BRIEF.announcement.recipients[0], addresses=(SMS_RAVI,))
    await play.submit(trigger(brief=replace(BRIEF, announcement=replace(BRIEF.announcement, recipients=(outside,)))))
    await play.release()

    with capture_logs() as lines:
        assert await play.says(SMS_RAVI.number, "STOP") is None
        assert await play.says(SMS_RAVI.number, "siapa ini?") is None, "there is nothing to answer"

    assert [line["person"] for line in lines if line["event"] == "no more SMS wanted"] == ["somebody"]
    async with play.store.transaction() as uow:
        assert (await uow.responses.sms_number(SMS_RAVI.number)).stopped_at == play.clock.now()


async def test_no_number_and_no_text_of_a_person_comes_into_the_journal(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    await play.submit(trigger(brief=BY_SMS))
    for text in ("STOP", "mula", "rahsia saya 1A 2A", "1A"):
        await play.says(SMS_SITI.number, text)
    said = repr(InboundSms(sender=SMS_SITI.number, text="rahsia saya", event_id="SM1"))

    assert SMS_SITI.number[-7:] not in caplog.text + said
    assert "rahsia" not in caplog.text + said


# -- asking ----------------------------------------------------------------------------------------------------------


async def test_providers_are_asked_while_an_incident_is_active_and_an_hour_after(play: Play) -> None:
    assert isinstance(play.sms, Answerable)
    poller = Poller(store=play.store, pool=play.pool, callback_handlers=play.desks, clock=play.clock)
    await poller.poll()
    assert play.sms.asked_since == []

    opened = await play.submit(trigger(brief=BY_SMS))
    assert opened is not None
    play.sms.box.append(InboundSms(sender=SMS_SITI.number, text="1A", event_id="SM1"))
    await poller.poll()
    assert (await play.incident()).acknowledged_by == "Siti Contoh"

    await play.resolve()
    play.sms.taken = dict.fromkeys(play.sms.taken, SubmissionState.DELIVERED)
    await play.advance(2 * MINUTE)
    assert await play.active() == []
    play.clock.moment = opened.opened_at + timedelta(minutes=60)
    await poller.poll()
    play.clock.moment += MINUTE
    await poller.poll()
    assert play.sms.asked_since == [opened.opened_at] * 2


@pytest.mark.blind
async def test_poller_clock_set_back_fetches_answers_given_since(play: Play) -> None:
    """Defect: After a clock is set back, fetched SMS answers are ignored for 539 minutes.

    Pantau: Answers are fetched from now on at the latest.
    """
    assert isinstance(play.sms, Answerable)
    poller = Poller(store=play.store, pool=play.pool, callback_handlers=play.desks, clock=play.clock)
    await play.submit(trigger(brief=BY_SMS, at=play.clock.now()))
    await play.advance(MINUTE)
    back = timedelta(hours=8)
    play.clock.moment -= back
    # Before anything in the store was moved back, and after.
    await poller.poll()
    await play.settle()
    play.clock.moment += MINUTE
    await poller.poll()
    now = play.clock.now()
    assert play.sms.asked_since == [now - MINUTE, now - 2 * MINUTE]
    await play.resolve()
    play.sms.taken = dict.fromkeys(play.sms.taken, SubmissionState.DELIVERED)
    await play.advance(2 * MINUTE)
    play.clock.moment -= back
    for minutes in (0, 60, 1):
        play.clock.moment += minutes * MINUTE
        await poller.poll()
    assert len(play.sms.asked_since) == 4, "for an hour after it is over, and as long after the clock was set back"


@pytest.mark.blind
async def test_pin_lock_clock_set_back_is_over(play: Play) -> None:
    """Defect: After a clock is set back, three wrong PINs lock a person out for eight hours more.

    Pantau: A failure that lies ahead does not count.
    """
    reference = await in_a_call(play)
    for wrong in ("111111", "222222", "333333"):
        await play.desk.verify_pin(reference, wrong)
    play.clock.moment -= timedelta(hours=8)
    await play.settle()
    assert (await play.desk.begin_release(reference)).stage is ReleaseStage.PIN


async def test_who_wants_sms_again_is_heard_when_nothing_is_the_matter(play: Play) -> None:
    assert isinstance(play.sms, Answerable)
    poller = Poller(store=play.store, pool=play.pool, callback_handlers=play.desks, clock=play.clock)
    await play.submit(trigger(brief=BY_SMS))
    await play.says(SMS_SITI.number, "STOP")
    await play.resolve()
    play.sms.taken = dict.fromkeys(play.sms.taken, SubmissionState.DELIVERED)
    await play.advance(timedelta(hours=6))
    await poller.poll()

    play.sms.box.append(InboundSms(sender=SMS_SITI.number, text="MULA", event_id="SM-mula"))
    play.clock.moment += 9 * MINUTE
    await poller.poll()
    assert play.sms.asked_since == []
    play.clock.moment += MINUTE
    for _ in range(2):
        await poller.poll()

    assert play.sms.asked_since == [play.clock.now() - 20 * MINUTE], "once"
    async with play.store.transaction() as uow:
        assert (await uow.responses.sms_number(SMS_SITI.number)).stopped_at is None


async def test_a_gateway_that_cannot_be_asked_holds_up_no_other(play: Play) -> None:
    class Dumb(Answerable):
        async def collect(self, since: datetime, desk: CallbackHandler) -> None:
            self.asked_since.append(since)
            if len(self.asked_since) < 4:
                raise DeliveryError(ErrorClass.TRANSIENT, "not reached")

    class Broken(Answerable):
        async def collect(self, since: datetime, desk: CallbackHandler) -> None:
            raise RuntimeError("a bug")

    heard = Answerable(box=[InboundSms(sender=SMS_SITI.number, text="1A", event_id="SM1")])
    gateways = {"dumb": Dumb(), "broken": Broken(), "sms": heard}
    play.restart(
        [ConfiguredGateway(name=name, channel=Channel.SMS, gateway=gateway) for name, gateway in gateways.items()]
    )
    await play.submit(trigger(brief=BY_SMS))

    poller = Poller(store=play.store, pool=play.pool, callback_handlers=play.desks, clock=play.clock)
    with capture_logs() as logged:
        for _ in range(5):
            await poller.poll()

    assert (await play.incident()).acknowledged_by == "Siti Contoh"
    told = [(line["gateway"], line["event"]) for line in logged if line["log_level"] != "info"]
    assert sorted(told) == [
        ("broken", "inbound SMS could not be processed"),
        ("dumb", "inbound SMS poll failed"),
    ], "once each, however often it is asked"
    again = [line["gateway"] for line in logged if line["event"] == "inbound SMS poll succeeded again"]
    assert again == ["dumb"], "once, and of none that could be asked all the time"


@pytest.mark.blind
async def test_a_gateway_that_hangs_when_it_is_asked_for_answers_ends_the_asking_of_no_other(play: Play) -> None:
    """Defect: A gateway that hangs when polled for answers ends the polling of all gateways.

    Pantau: It is abandoned after 90 s.
    """

    class Hanging(Answerable):
        async def collect(self, since: datetime, desk: CallbackHandler) -> None:
            await asyncio.Event().wait()

    heard = Answerable(box=[InboundSms(sender=SMS_SITI.number, text="1A", event_id="SM1")])
    gateways = {"hanging": Hanging(), "sms": heard}
    play.restart(
        [ConfiguredGateway(name=name, channel=Channel.SMS, gateway=gateway) for name, gateway in gateways.items()]
    )
    await play.submit(trigger(brief=BY_SMS))
    poller = Poller(store=play.store, pool=play.pool, callback_handlers=play.desks, clock=play.clock)
    poller.DEADLINE = timedelta(milliseconds=500)
    async with asyncio.timeout(HANGS):
        for _ in range(2):
            await poller.poll()

    assert len(heard.asked_since) == 2
    assert (await play.incident()).acknowledged_by == "Siti Contoh"


async def test_providers_are_asked_again_and_again(play: Play) -> None:
    assert isinstance(play.sms, Answerable)
    await play.submit(trigger(brief=BY_SMS))
    poller = Poller(store=play.store, pool=play.pool, callback_handlers=play.desks, clock=play.clock)
    poller.ACTIVE_INTERVAL = timedelta(0)
    asking = asyncio.create_task(poller.run())
    async with asyncio.timeout(HANGS):
        while not asking.done() and len(play.sms.asked_since) < 3:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    assert not asking.done()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.blind
async def test_a_clock_that_is_set_back_does_not_end_the_asking_until_it_has_caught_up(play: Play) -> None:
    """Defect: After a clock is set back, answers are not polled at quiet times until it catches up.

    Pantau: They are polled at once.
    """
    assert isinstance(play.sms, Answerable)
    poller = Poller(store=play.store, pool=play.pool, callback_handlers=play.desks, clock=play.clock)
    await poller.poll()
    play.clock.moment -= timedelta(days=1)
    await poller.poll()

    assert play.sms.asked_since == [play.clock.now() - poller.IDLE_INTERVAL]


async def test_a_bug_in_the_store_does_not_end_the_asking(play: Play) -> None:
    def break_at(called: str, args: tuple[object, ...]) -> None:
        raise RuntimeError("a bug")

    poller = Poller(store=play.store, pool=play.pool, callback_handlers=play.desks, clock=play.clock)
    opened = await play.submit(trigger(brief=BY_SMS))
    assert opened is not None
    await play.advance(3 * MINUTE)
    await play.submit(replace(trigger(at=play.clock.now(), brief=BY_SMS), dedup_key="MDC"))
    play.store.meddler = break_at
    await poller.poll()
    play.store.meddler = None
    await poller.poll()

    assert isinstance(play.sms, Answerable)
    assert play.sms.asked_since == [opened.opened_at], "once, and as far back as anybody may be answering"


async def test_a_store_that_is_away_ends_no_asking_and_fills_no_log(play: Play) -> None:
    class Away:
        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[UnitOfWork]:
            ledgers: list[UnitOfWork] = []
            for uow in ledgers:
                yield uow
            raise StoreUnavailable("disk full")

        def reading(self) -> NoReturn:
            raise StoreUnavailable("disk full")

    class Taker(Answerable):
        async def collect(self, since: datetime, desk: CallbackHandler) -> None:
            raise StoreUnavailable("disk full")

    play.restart([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=Taker())])
    await play.submit(trigger(brief=BY_SMS))

    with capture_logs() as logged:
        for store in (Away(), play.store) * 2:
            await Poller(store=store, pool=play.pool, callback_handlers=play.desks, clock=play.clock).poll()

    assert logged == []


# -- release in a call -----------------------------------------------------------------------------------------------


async def in_a_call(play: Play) -> str:
    """Let an outage last until its release is offered, call Siti about it, and return the reference of the call."""
    play.pins = PinStore({("JCM", "siti"): hash_pin(PIN)})
    brief = replace(BRIEF, escalation=replace(POLICY, steps=POLICY.steps[1:], rounds=3))
    await play.submit(trigger(brief=brief))
    await play.advance(timedelta(minutes=40))
    return next(o.reference for o in reversed(play.voice.orders) if o.address == VOICE_SITI.number)


async def test_a_pin_and_key_one_release_the_announcement(play: Play) -> None:
    reference = await in_a_call(play)
    asked = await play.desk.begin_release(reference)
    assert (asked.stage, asked.words["ms-MY"]) == (
        ReleaseStage.PIN,
        "Sila masukkan PIN tuan atau puan, diikuti tanda pagar.",
    )

    told = await play.desk.verify_pin(reference, PIN)
    assert told.stage is ReleaseStage.CONFIRM
    assert (await play.journal())[-1] == "PIN proven"
    for asks in (asked, told):
        assert "tidak dikeluarkan" in asks.otherwise["ms-MY"]
    assert "kepada satu penerima, iaitu melalui satu faks dan satu surat. Tekan satu" in told.words["ms-MY"]
    assert "Jabatan Contoh Malaysia" in told.words["en-GB"]
    assert play.fax.sent == [], "nothing leaves before key 1"

    done = await play.desk.release(reference)
    await play.settle()
    assert done.stage is ReleaseStage.END
    assert (await play.incident()).released_by == "Siti Contoh"
    assert (play.fax.sent, play.tray.sent) == ([f"outage to {FAX.number}"], [f"outage to {LETTER.number}"])
    assert "telah dikeluarkan" in (await play.desk.release(reference)).words["ms-MY"], "and once only"


async def test_key_one_releases_nothing_that_works_again_and_says_so(play: Play) -> None:
    escalation = replace(POLICY, steps=POLICY.steps[1:], rounds=3)
    await play.submit(trigger(brief=replace(BRIEF, agency="MDC", escalation=escalation)))
    reference = await in_a_call(play)
    play.pins = PinStore(dict.fromkeys([("JCM", "siti"), ("MDC", "siti")], hash_pin(PIN)))
    await play.desk.begin_release(reference)
    assert sorted(play.measured.begun) == ["JCM", "MDC"], "measured while the PIN is typed"
    await play.desk.verify_pin(reference, PIN)
    play.measured.delivered["MDC"] = {IncidentType.RECEIVING: play.clock.now()}
    said = (await play.desk.release(reference)).words["ms-MY"]
    assert "sedang dihantar kepada satu penerima" in said
    assert "tidak dikeluarkan, kerana ujian terkini mendapati e-mel berfungsi semula: Jabatan Contoh" in said
    await play.settle()
    released = {each.policy.agency: each.released_by for each in [await play.incident(n) for n in (1, 2)]}
    assert released == {"MDC": None, "JCM": "Siti Contoh"}


async def test_key_one_releases_nothing_at_all_where_all_works_again(play: Play) -> None:
    reference = await in_a_call(play)
    await play.desk.verify_pin(reference, PIN)
    play.measured.delivered["JCM"] = {IncidentType.SENDING: play.clock.now()}
    said = (await play.desk.release(reference)).words["en-GB"]
    assert said.startswith("The following outage notices are not released")
    assert (await play.incident(1)).released_at is None


async def test_without_the_pin_key_one_releases_nothing(play: Play) -> None:
    reference = await in_a_call(play)
    for typed in (None, "999999"):
        if typed:
            assert (await play.desk.verify_pin(reference, typed)).stage is ReleaseStage.PIN
        assert "tidak dikeluarkan" in (await play.desk.release(reference)).words["ms-MY"]

    assert (await play.incident()).released_at is None


async def test_a_pin_is_good_for_its_own_call_and_for_a_moment(play: Play) -> None:
    reference = await in_a_call(play)
    earlier = next(o.reference for o in play.voice.orders if o.address == VOICE_SITI.number)
    assert earlier != reference
    await play.desk.verify_pin(reference, PIN)
    assert "tidak dikeluarkan" in (await play.desk.release(earlier)).words["ms-MY"]

    play.clock.moment += timedelta(minutes=4)
    assert "tidak dikeluarkan" in (await play.desk.release(reference)).words["ms-MY"]


async def test_a_right_pin_begins_the_count_of_wrong_ones_anew(play: Play) -> None:
    reference = await in_a_call(play)
    typed = ("111111", "222222", PIN) * 2
    stages = [(await play.desk.verify_pin(reference, pin)).stage for pin in typed]
    assert stages == [ReleaseStage.PIN, ReleaseStage.PIN, ReleaseStage.CONFIRM] * 2
    stages = [(await play.desk.verify_pin(reference, wrong)).stage for wrong in typed[:2] + typed[:1]]
    assert stages == [ReleaseStage.PIN, ReleaseStage.PIN, ReleaseStage.END], "and no more than three"


async def test_three_wrong_pins_lock_the_person_out_in_every_call_and_are_in_the_journal(play: Play) -> None:
    reference = await in_a_call(play)
    stages = [(await play.desk.verify_pin(reference, wrong)).stage for wrong in ("111111", "222222", "333333")]
    assert stages == [ReleaseStage.PIN, ReleaseStage.PIN, ReleaseStage.END]
    locked_at = play.clock.now()
    play.clock.moment += MINUTE
    for _ in range(MAX_WRONG_PINS):
        assert "terlalu banyak kali" in (await play.desk.verify_pin(reference, PIN)).words["ms-MY"]
    assert "tidak dikeluarkan" in (await play.desk.release(reference)).words["ms-MY"]
    play.restart()
    assert (await play.desk.begin_release(reference)).stage is ReleaseStage.END
    assert [event for event in await play.journal() if "PIN" in event] == ["wrong PIN"] * MAX_WRONG_PINS

    # Whoever goes on trying is locked out no longer.
    play.clock.moment = locked_at + LOCKOUT_PERIOD
    assert (await play.desk.begin_release(reference)).stage is ReleaseStage.PIN


async def test_a_shared_contact_has_three_wrong_pins_in_all_and_not_three_for_each_agency(play: Play) -> None:
    reference, kept = await in_a_call(play), hash_pin(PIN)
    play.pins = PinStore({("MDC", "siti"): kept, ("JCM", "siti"): kept, ("UCM", "siti"): hash_pin(PIN)})
    for agency, wrong in (("MDC", 2), ("UCM", 2)):
        for _ in range(wrong):
            async with play.store.transaction() as uow:
                typed = PinAttempt(
                    reference="p9-1-0", agency=agency, person="siti", at=play.clock.now(), accepted=False
                )
                await uow.responses.add_pin_attempt(typed)
    assert (await play.desk.begin_release(reference)).stage is ReleaseStage.PIN, "UCM's is somebody else"

    assert (await play.desk.verify_pin(reference, "111111")).stage is ReleaseStage.END
    assert (await play.desk.verify_pin(reference, PIN)).stage is ReleaseStage.END


@pytest.mark.parametrize("person", ["nobody's", "another's"])
async def test_who_has_no_pin_may_release_nothing(play: Play, person: str) -> None:
    reference = await in_a_call(play)
    play.pins = PinStore({("JCM", "ravi"): hash_pin(PIN)} if person == "another's" else {})

    assert "Tiada PIN" in (await play.desk.begin_release(reference)).words["ms-MY"]
    assert (await play.desk.verify_pin(reference, PIN)).stage is not ReleaseStage.CONFIRM


async def test_what_is_over_released_or_not_offered_yet_cannot_be_released(play: Play) -> None:
    reference = await in_a_call(play)
    await play.desk.verify_pin(reference, PIN)
    await play.resolve()
    assert "Tiada notis yang menunggu" in (await play.desk.release(reference)).words["ms-MY"]

    await play.submit(replace(trigger(at=play.clock.now()), dedup_key="MDC"))
    await play.advance(5 * MINUTE)
    fresh = play.voice.orders[-1].reference
    assert "Tiada notis yang menunggu" in (await play.desk.begin_release(fresh)).words["ms-MY"]
    for said in (await play.desk.begin_release("p99-1-0"), await play.desk.verify_pin("p99-1-0", PIN)):
        assert "Tiada notis yang menunggu" in said.words["ms-MY"]
    assert await play.desk.content("p99-1-0") is None


async def test_one_pin_releases_all_that_wait_for_the_same_officer_and_nothing_that_was_not_read_out(
    play: Play,
) -> None:
    kept = hash_pin(PIN)
    escalation = replace(POLICY, steps=POLICY.steps[1:], rounds=3)
    offered = timedelta(minutes=30)
    for agency in ("UCM", "PCM"):
        await play.submit(trigger(brief=replace(BRIEF, agency=agency, escalation=escalation)))
    reference = await in_a_call(play)
    # UCM has another PIN for her, and this one has just begun.
    play.pins = PinStore(
        {**dict.fromkeys([("JCM", "siti"), ("MDC", "siti"), ("NEW", "siti")], kept), ("UCM", "siti"): hash_pin(PIN)}
    )
    now, half_a_minute = play.clock.now(), timedelta(seconds=30)
    for agency, ago in (("MDC", offered + half_a_minute), ("NEW", offered - half_a_minute)):
        brief = replace(BRIEF, agency=agency, escalation=escalation)
        new = await play.dispatcher.submit(trigger(at=now - ago, brief=brief))
    # She has typed it before in this call, when MDC could not be released yet.
    async with play.store.transaction() as uow:
        before = PinAttempt(reference=reference, agency="JCM", person="siti", at=now - MINUTE, accepted=True)
        await uow.responses.add_pin_attempt(before)
    assert new is not None

    told = (await play.desk.verify_pin(reference, PIN)).words["ms-MY"]
    assert "dua agensi akan dihantar kepada dua penerima, iaitu melalui dua faks dan dua surat" in told
    play.clock.moment += MINUTE
    assert "kepada dua penerima" in (await play.desk.release(reference)).words["ms-MY"]

    by = {}
    for incident_id in range(1, new.id + 1):
        incident = await play.incident(incident_id)
        by[incident.policy.agency] = incident.released_by
    assert by == {"MDC": "Siti Contoh", "UCM": None, "PCM": None, "JCM": "Siti Contoh", "NEW": None}


async def test_whoever_took_it_on_is_called_when_it_may_be_released_and_not_after_it_was(play: Play) -> None:
    play.pins = PinStore({("JCM", "siti"): hash_pin(PIN)})
    await play.submit(trigger(brief=BY_SMS))
    await play.says(SMS_SITI.number, "1A")
    await play.advance(timedelta(minutes=29))
    assert play.voice.sent == []

    await play.advance(MINUTE)
    assert play.voice.sent == [f"release to {VOICE_SITI.number}"]
    reference = play.voice.orders[0].reference
    pressed = CallbackEvent(
        reference=reference, event_id="1", report=DeliveryReport(progress=SubmissionState.DELIVERED), acknowledged=True
    )
    assert await play.dispatcher.record_callback("voice", pressed) is AckResult.TAKEN
    await play.desk.verify_pin(reference, PIN)
    await play.desk.release(reference)
    await play.advance(timedelta(hours=2))

    assert (await play.incident()).released_by == "Siti Contoh"
    assert play.voice.sent == [f"release to {VOICE_SITI.number}"], "once, and answered"


async def test_key_one_about_a_release_that_is_past_says_that_it_is_over(play: Play) -> None:
    play.pins = PinStore({("JCM", "siti"): hash_pin(PIN)})
    await play.submit(trigger(brief=BY_SMS))
    await play.says(SMS_SITI.number, "1A")
    await play.advance(timedelta(minutes=30))
    reference = play.voice.orders[0].reference
    await play.resolve()
    await play.advance(MINUTE)

    pressed = CallbackEvent(
        reference=reference, event_id="1", report=DeliveryReport(progress=SubmissionState.DELIVERED), acknowledged=True
    )
    assert await play.dispatcher.record_callback("voice", pressed) is AckResult.OVER


async def test_a_call_about_the_release_that_has_not_left_is_withdrawn_when_it_is_released(play: Play) -> None:
    play.voice.happens.extend([ErrorClass.TRANSIENT] * 2)
    await play.submit(trigger(brief=BY_SMS))
    await play.acknowledge()
    await play.advance(timedelta(minutes=30))
    assert play.voice.sent == [f"release to {VOICE_SITI.number}"]

    await play.release()
    await play.advance(timedelta(hours=2))

    assert play.voice.sent == [f"release to {VOICE_SITI.number}"]
    states = [n.state for n in await play.notifications() if n.purpose is Purpose.RELEASE]
    assert states == [NotificationState.WITHDRAWN]


# -- false alarms ----------------------------------------------------------------------------------------------------


async def test_a_false_alarm_is_corrected_to_everybody_who_was_told_and_no_recovery_is_told(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    await play.release()
    reference = play.tray.orders[0].reference
    play.tray.taken[reference] = SubmissionState.SENT
    await play.advance(MINUTE)

    await play.submit(MarkFalseAlarm(incident_id=1, at=play.clock.now(), by="Siti Contoh", reason="rujukan silap"))
    await play.resolve()

    told = play.sms.sent + play.fax.sent + play.tray.sent
    assert [n for n in told if n.startswith("recovery")] == []
    assert sorted(n for n in told if n.startswith("correction")) == sorted(
        f"correction to {a.number}" for a in (SMS_SITI, SMS_RAVI, FAX, LETTER)
    )
    assert (await play.incident()).state is IncidentState.RESOLVED


async def test_what_had_not_left_is_withdrawn_and_needs_no_correction(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    await play.release()

    await play.submit(MarkFalseAlarm(incident_id=1, at=play.clock.now(), by="Siti Contoh", reason="rujukan silap"))

    letters = [n for n in await play.notifications() if n.channel is Channel.LETTER]
    assert [(n.purpose, n.state) for n in letters] == [(Purpose.OUTAGE, NotificationState.WITHDRAWN)]
    assert play.tray.taken == {}


async def test_an_incident_that_was_put_to_rest_wakes_up_for_its_correction(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    await play.resolve()
    play.sms.taken = dict.fromkeys(play.sms.taken, SubmissionState.DELIVERED)
    await play.advance(timedelta(hours=5))
    assert await play.active() == []

    await play.dispatcher.submit(
        MarkFalseAlarm(incident_id=1, at=play.clock.now(), by="Siti Contoh", reason="rujukan silap")
    )
    play.restart()
    await play.advance(MINUTE)

    assert play.sms.sent[-2:] == [f"correction to {SMS_SITI.number}", f"correction to {SMS_RAVI.number}"]


async def test_what_a_prober_still_measures_does_not_open_the_false_alarm_again_but_new_trouble_does(
    play: Play,
) -> None:
    first = trigger(brief=BY_SMS)
    await play.submit(first)
    await play.submit(MarkFalseAlarm(incident_id=1, at=play.clock.now(), by="Siti Contoh", reason="rujukan silap"))

    play.restart()
    again = await play.submit(replace(first, at=play.clock.now()))
    assert again is not None
    assert again.id == 1

    await play.advance(MINUTE)
    later = play.clock.now()
    anew = await play.submit(replace(first, at=later, began_at=later))
    assert anew is not None
    assert anew.number == "JCM-02"


async def test_a_call_that_a_voicemail_answered_is_made_again_and_reaches_nobody(play: Play) -> None:
    by_call = replace(BRIEF, escalation=replace(POLICY, steps=(replace(POLICY.steps[1], contacts=(SITI,)),), rounds=1))
    play.voice.ends = False
    await play.submit(trigger(brief=by_call))
    await play.advance(5 * MINUTE)
    no_key = DeliveryReport(progress=SubmissionState.FAILED, error=ErrorClass.TRANSIENT, code=NO_KEY)
    for calls in (1, 2, 3):
        assert play.voice.sent == [f"outage to {VOICE_SITI.number}"] * calls
        heard = CallbackEvent(reference=play.voice.orders[-1].reference, event_id=f"CA{calls}", report=no_key)
        assert await play.dispatcher.record_callback("voice", heard) is AckResult.NONE
        await play.advance(2 * MINUTE)

    notices = await play.notifications()
    assert [n.state for n in notices] == [NotificationState.FAILED]
    assert (await play.incident()).state is IncidentState.TRIGGERED
    await play.resolve()
    assert play.sms.sent == [f"recovery to {SMS_SITI.number}"], "somebody may have listened"


async def test_a_voicemail_that_heard_it_is_told_that_it_was_wrong(play: Play) -> None:
    by_call = replace(BRIEF.announcement.recipients[0], addresses=(VOICE_SITI,))
    brief = replace(BRIEF, announcement=replace(BRIEF.announcement, recipients=(by_call,)))
    await play.submit(trigger(brief=brief))
    await play.release()
    no_key = DeliveryReport(progress=SubmissionState.FAILED, error=ErrorClass.TRANSIENT, code=NO_KEY)
    heard = CallbackEvent(reference=play.voice.orders[0].reference, event_id="1", report=no_key)
    await play.dispatcher.record_callback("voice", heard)

    await play.submit(MarkFalseAlarm(incident_id=1, at=play.clock.now(), by="Siti Contoh", reason="rujukan silap"))

    assert play.voice.sent[-1] == f"correction to {VOICE_SITI.number}"


async def test_a_recovery_that_had_not_left_is_not_told_besides_the_correction(play: Play) -> None:
    await play.submit(trigger(brief=BY_SMS))
    play.sms.happens.extend([ErrorClass.TRANSIENT] * 2)
    await play.resolve()
    tried = [f"recovery to {SMS_SITI.number}", f"recovery to {SMS_RAVI.number}"]
    assert play.sms.sent[2:] == tried, "and refused for now"

    await play.submit(MarkFalseAlarm(incident_id=1, at=play.clock.now(), by="Siti Contoh", reason="rujukan silap"))
    await play.advance(5 * MINUTE)

    assert play.sms.sent[2:] == tried
    # By the other gateway, since the first has just failed.
    assert play.modem.sent == [f"correction to {SMS_SITI.number}", f"correction to {SMS_RAVI.number}"]
