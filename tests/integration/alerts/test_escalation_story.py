"""Escalation and release: next person, time, and who releases an announcement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from alerts.gateways.tray import LetterPlace
from alerts.inbound.pin import PinStore, hash_pin
from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.event import MarkFalseAlarm
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, RedialPolicy, Step
from monitor.watchdog.auditor import EscalationAuditor
from pantau_lab.carrier.phone import PhoneBehaviour
from tests.integration.alerts.simulated_env import DESK, SimulatedEnv
from tests.integration.monitor.test_escalation_auditor import incident_policy
from tests.unit.alerts.people import LONG, MINISTRY, MINUTE, RAVI, SECOND, SITI, SMS_SITI, SNAPSHOT, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
AT_ONCE = timedelta(0)
PIN = "280146"


def told_by(*steps: Step, rounds: int = 1, announcement: AnnouncementPlan | None = None) -> PolicySnapshot:
    policy = EscalationPolicy(
        steps=steps, rounds=rounds, repeat_after=15 * MINUTE, repeat_interval=LONG, acknowledgement_timeout=LONG
    )
    return replace(SNAPSHOT, escalation=policy, announcement=announcement or AnnouncementPlan())


BY_SMS = Step(after=AT_ONCE, contacts=(SITI,), channels=(Channel.SMS,))
BY_CALL = Step(after=5 * MINUTE, contacts=(SITI, RAVI), channels=(Channel.VOICE,))


async def test_every_round_takes_all_steps_on_time(either_env: SimulatedEnv) -> None:
    """Every round takes all steps, each after its wait."""
    env = either_env
    by_sms = replace(BY_SMS, after=10 * MINUTE, contacts=(RAVI,))
    await env.submit(trigger(snapshot=told_by(BY_SMS, by_sms, rounds=2)))
    for wait, first in ((10 * MINUTE, True), (15 * MINUTE, False), (10 * MINUTE, True), (HOUR, False)):
        await (env.siti if first else env.ravi).gets("AMARAN", "JCM-01")
        await env.advance(wait - SECOND)
        env.expect_nothing_more()
        await env.advance(SECOND)


async def test_unanswered_call_is_made_three_times(env: SimulatedEnv) -> None:
    """An unanswered call is made three times."""
    env.siti.behaves(PhoneBehaviour.NO_ANSWER)
    await env.submit(trigger(snapshot=told_by(replace(BY_CALL, after=AT_ONCE, contacts=(SITI,)))))
    for wait in (60 * SECOND, 120 * SECOND, HOUR):
        await env.siti.misses_call()
        await env.advance(wait - SECOND)
        env.expect_nothing_more()
        await env.advance(SECOND)


async def test_failed_number_falls_back_to_same_persons_next(env: SimulatedEnv) -> None:
    """A number that fails permanently is replaced by the person's next; nobody else is notified for that."""
    env.add_phone(DESK, landline=True)
    desk = Address(channel=Channel.SMS, number=DESK)
    siti = replace(SITI, addresses=(desk, SMS_SITI))
    await env.submit(trigger(snapshot=told_by(replace(BY_SMS, contacts=(siti,)), BY_CALL)))

    await env.siti.gets("AMARAN")  # At once.
    await env.advance(5 * MINUTE - SECOND)


async def test_phone_is_called_when_sms_is_refused(env: SimulatedEnv) -> None:
    """A telephone is called when no SMS can reach it."""
    env.siti.phone.stopped = True
    env.siti.presses("1")
    either = replace(BY_SMS, channels=(Channel.SMS, Channel.VOICE))
    await env.submit(trigger(snapshot=told_by(either, BY_CALL)))

    await env.siti.is_called(keys="1")
    await env.advance(HOUR)


async def test_step_failed_as_a_whole_starts_next_at_once(env: SimulatedEnv) -> None:
    """A step that failed permanently as a whole starts the next step at once."""
    env.siti.phone.stopped = env.ravi.phone.stopped = True
    env.ravi.presses("1")
    both = replace(BY_SMS, contacts=(SITI, RAVI))
    await env.submit(trigger(snapshot=told_by(both, replace(BY_CALL, after=HOUR))))

    await env.siti.is_called()
    await env.ravi.is_called(keys="1")
    await env.advance(2 * HOUR)


async def test_step_with_one_reachable_person_keeps_next_steps_time(env: SimulatedEnv) -> None:
    """A step that can reach one person does not start the next early."""
    env.siti.phone.stopped = True
    both = replace(BY_SMS, contacts=(SITI, RAVI))
    await env.submit(trigger(snapshot=told_by(both, BY_CALL)))

    await env.ravi.gets("AMARAN")
    await env.advance(5 * MINUTE - SECOND)
    # Who sent STOP is called instead, as part of the started step: once, and twice more until a key is pressed.
    for _ in range(3):
        await env.siti.is_called("gagal sejak", keys="")


@pytest.mark.parametrize("how", [PhoneBehaviour.VOICEMAIL, PhoneBehaviour.BUSY, PhoneBehaviour.NO_ANSWER])
async def test_call_is_repeated_until_key_press(env: SimulatedEnv, how: PhoneBehaviour) -> None:
    """A person is called again until a key is pressed; voicemail and rejection do not count."""
    step = replace(BY_CALL, after=AT_ONCE, contacts=(SITI,), redial=RedialPolicy(interval=2 * MINUTE, times=5))
    env.siti.behaves(how)
    await env.submit(trigger(snapshot=told_by(step, replace(BY_CALL, after=HOUR, contacts=(RAVI,)))))
    for _ in range(2):
        heard = await env.siti.is_called(keys="")
        assert bool(heard) is (how is PhoneBehaviour.VOICEMAIL)
        await env.advance(2 * MINUTE - SECOND)
        env.expect_nothing_more()
        await env.advance(SECOND)
    await env.siti.is_called(keys="")
    env.siti.presses("1")
    await env.advance(2 * MINUTE)

    await env.siti.is_called("telah disahkan", keys="1")
    await env.advance(2 * HOUR)


async def test_last_redial_starts_next_step_at_once(env: SimulatedEnv) -> None:
    """After the last redial the next step starts at once."""
    step = replace(BY_CALL, after=AT_ONCE, contacts=(SITI,), redial=RedialPolicy(interval=2 * MINUTE, times=1))
    env.siti.behaves(PhoneBehaviour.BUSY)
    env.ravi.presses("1")
    await env.submit(trigger(snapshot=told_by(step, replace(BY_CALL, after=HOUR, contacts=(RAVI,)))))
    await env.siti.misses_call()
    await env.advance(2 * MINUTE)

    await env.siti.misses_call()
    await env.ravi.is_called(keys="1")
    await env.advance(2 * HOUR)


async def test_unanswered_incident_is_reported_to_noc_once_and_when_answered(either_env: SimulatedEnv) -> None:
    """The auditor tells the NOC once that nobody has answered."""
    env = either_env
    auditor = auditor_of(env)
    env.run_every(30 * SECOND, auditor.audit)
    await env.submit(trigger(snapshot=told_by(BY_SMS)))
    await env.siti.gets("AMARAN")
    await env.advance(15 * MINUTE)
    env.expect_nothing_more()
    await env.advance(MINUTE)
    await env.noc.gets("RM0 PANTAU: AMARAN", "JCM-01 belum sampai, disahkan")
    await env.advance(MINUTE)

    assert await env.siti.replies("1A") != ""
    await env.advance(MINUTE)
    await env.noc.gets("RM0 PANTAU: SELESAI", "JCM-01")
    assert env.value("pantau_escalation_overdue_seconds") == 0


def auditor_of(env: SimulatedEnv, *, repeat_interval: timedelta = LONG) -> EscalationAuditor:
    return EscalationAuditor(
        store=env.real_store,
        pool=env.pool,
        alerting=env.dispatcher,
        noc_policy=partial(incident_policy, repeat_interval=repeat_interval),
        metrics=env.metrics.watchdog,
        clock=env.clock,
    )


# -- what leaves the house -------------------------------------------------------------------------------------------


OUTSIDE = AnnouncementPlan(recipients=(MINISTRY,))
AUTOMATIC = replace(OUTSIDE, automatic=True)


async def test_announcement_waits_for_release_in_portal(env: SimulatedEnv) -> None:
    """An announcement waits for its release by a duty officer."""
    await env.submit(trigger(snapshot=told_by(BY_SMS, announcement=OUTSIDE)))
    await env.siti.gets("AMARAN")
    await env.facade.acknowledge("JCM-01", "Puan NOC Contoh")
    env.siti.presses(*["1"] * 9)
    await env.advance(5 * HOUR)
    await env.siti.gets("JCM-01 telah disahkan oleh Puan NOC Contoh")
    for _ in range(5):  # After 30 minutes; nobody else can be asked, so it repeats an hour later, once an hour.
        await env.siti.is_called("menunggu kebenaran", keys="1")
    env.expect_nothing_more()

    await env.facade.release("JCM-01", "Puan NOC Contoh")
    await env.facade.release("JCM-01", "Encik Lain Contoh")
    await env.settle()
    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")
    assert (await env.incident()).released_by == "Puan NOC Contoh"


async def call_about_release(env: SimulatedEnv, *keys: str) -> None:
    """Let Siti acknowledge an outage; half an hour later she is called about its release and presses these keys."""
    env.pins = PinStore({("JCM", "siti"): hash_pin(PIN)})
    await env.submit(trigger(snapshot=told_by(BY_SMS, announcement=OUTSIDE)))
    await env.siti.gets("Balas 1A")
    assert await env.siti.replies("1A") != ""
    env.siti.presses(*keys)
    await env.advance(30 * MINUTE - SECOND)
    env.expect_nothing_more()
    await env.advance(SECOND)


async def test_officer_releases_announcement_by_key_and_pin(either_env: SimulatedEnv) -> None:
    """An officer releases the announcement by key press and PIN in a call."""
    env = either_env
    await call_about_release(env, "5", f"{PIN}#", "1")
    await env.siti.is_called("Tekan lima", "satu faks dan satu surat", "Notis telah dikeluarkan", keys=f"5{PIN}1")

    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")
    assert (await env.incident()).released_by == "Siti Contoh"
    await env.later(HOUR)
    await env.siti.gets("HASIL", "JCM-01", "1 sampai")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("5", "111111#", "222222#", "333333#", f"{PIN}#", "1"), "salah terlalu banyak kali"),
        (("5", f"{PIN}#", "2"), "Notis tidak dikeluarkan"),
        (("5", "", "1"), "Notis tidak dikeluarkan"),
    ],
    ids=["wrong PINs", "another key", "no PIN"],
)
async def test_missing_pin_or_key_releases_nothing(env: SimulatedEnv, keys: Sequence[str], said: str) -> None:
    """Without key press or PIN nothing is released, and whoever acknowledged is not called for an hour."""
    await call_about_release(env, *keys)
    await env.siti.is_called(said)

    assert (await env.incident()).released_at is None
    env.siti.phone.keys.clear()
    await env.advance(59 * MINUTE)  # Whoever pressed a key has decided.
    env.expect_nothing_more()
    assert (await env.incident()).released_at is None


async def test_release_is_not_offered_in_calls_without_pin(env: SimulatedEnv) -> None:
    """A call offers no release to somebody without a PIN."""
    await env.submit(trigger(snapshot=told_by(BY_SMS, replace(BY_CALL, after=HOUR), announcement=OUTSIDE)))
    await env.siti.gets("AMARAN")
    env.ravi.presses("1")
    await env.advance(HOUR)
    calls = [await env.siti.is_called(), await env.ravi.is_called(keys="1")]
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    # Ravi has acknowledged, and is told that a release waits.
    calls.append(await env.ravi.is_called("menunggu kebenaran"))
    assert [call for call in calls if "Tekan lima" in call] == []


RAVI_NEXT = replace(BY_CALL, after=HOUR, contacts=(RAVI,))


async def test_waiting_release_is_offered_to_next_person_and_noc_repeatedly(env: SimulatedEnv) -> None:
    """A waiting release is offered to the next person and the NOC repeatedly."""
    auditor = auditor_of(env)
    env.run_every(30 * SECOND, auditor.audit)
    env.siti.presses(*["1"] * 9)
    env.ravi.behaves(PhoneBehaviour.NO_ANSWER)
    await env.submit(trigger(snapshot=told_by(BY_SMS, RAVI_NEXT, announcement=OUTSIDE)))
    await env.siti.gets("Balas 1A")
    await env.siti.replies("1A")
    await env.advance(30 * MINUTE)
    await env.siti.is_called("menunggu kebenaran", keys="1")
    await env.advance(15 * MINUTE - SECOND)
    env.expect_nothing_more()
    await env.advance(MINUTE)
    await env.ravi.misses_call()
    assert env.value('pantau_incidents_escalation_failed{reason="unreleased"}') == 0
    await env.advance(15 * MINUTE)
    for _ in range(2):  # During his step, and then by SMS.
        await env.ravi.misses_call()
    await env.ravi.gets("menunggu kebenaran")
    await env.noc.gets("RM0 PANTAU: AMARAN", "Notis luar JCM-01 menunggu kebenaran sejak 24/11, 2.45 ptg")
    assert env.value('pantau_incidents_escalation_failed{reason="unreleased"}') == 1
    assert env.value("pantau_escalation_overdue_seconds") == 0, "the heartbeat goes on: it is people who are awaited"
    env.expect_nothing_more()  # Siti has answered, and is not called again in the first hour.
    env.ravi.presses(*["1"] * 9)
    await env.advance(15 * MINUTE)
    await env.ravi.is_called("menunggu kebenaran", keys="1")
    for person in (env.siti, env.ravi):  # From now on, once an hour.
        await env.advance(15 * MINUTE if person is env.siti else HOUR)
        await person.is_called("menunggu kebenaran", keys="1")
        env.expect_nothing_more()
    assert (await env.incident()).acknowledged_by == "Siti Contoh"

    await env.facade.release("JCM-01", "Puan NOC Contoh")
    await env.advance(MINUTE)
    await env.noc.gets("RM0 PANTAU: SELESAI", "Notis luar JCM-01 tidak lagi menunggu kebenaran")
    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")
    await env.later(HOUR)


async def test_waiting_releases_are_offered_together_after_restart(env: SimulatedEnv) -> None:
    """Waiting releases of a mass outage are offered together, after a restart too."""
    for person in (env.siti, env.ravi):
        person.presses(*["1"] * 9)
    snapshot = told_by(BY_SMS, RAVI_NEXT, announcement=OUTSIDE)
    for n in range(5):
        office = replace(snapshot.office, short=f"JC{n}", name=f"Jabatan Contoh {n}")
        await env.submit(trigger(snapshot=replace(snapshot, agency=f"JC{n}", office=office)))
        await env.advance(SECOND)
        await env.facade.acknowledge(f"JC{n}-01", "Siti Contoh")
    await env.siti.gets("AMARAN")
    await env.advance(41 * MINUTE)
    for _ in range(2):
        await env.siti.is_called(keys="1")
    env.expect_nothing_more()
    env.restart()
    await env.advance(20 * MINUTE)
    await env.ravi.is_called("lima agensi", keys="1")
    env.expect_nothing_more()
    for n in range(5):
        await env.facade.release(f"JC{n}-01", "Siti Contoh")
    await env.advance(3 * MINUTE)
    env.gets_fax("JC0-01")
    env.gets_fax("Jabatan Contoh 1", "Jabatan Contoh 4")
    for n in range(5):
        env.gets_letter(f"JC{n}-01")
    await env.advance(2 * HOUR)
    await env.siti.gets("HASIL notis luar", "5 sampai: JC0, JC1")


async def test_automatic_release_occurs_exactly_after_half_an_hour(env: SimulatedEnv) -> None:
    """An automatic release comes exactly at its time."""
    await env.submit(trigger(snapshot=told_by(BY_SMS, announcement=AUTOMATIC)))
    await env.siti.gets("AMARAN")
    await env.advance(30 * MINUTE - SECOND)
    env.expect_nothing_more()
    await env.advance(SECOND)

    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")


async def test_outage_over_before_release_is_not_announced(env: SimulatedEnv) -> None:
    """An outage that ends before its release is not announced."""
    await env.submit(trigger(snapshot=told_by(BY_SMS, announcement=AUTOMATIC)))
    await env.siti.gets("AMARAN")
    await env.advance(29 * MINUTE)
    await env.resolve()
    await env.siti.gets("PULIH")
    await env.later(HOUR)


async def test_false_alarm_sends_correction_to_notified_only(
    either_env: SimulatedEnv,
) -> None:
    """A false alarm sends a correction to everybody who was notified, and to nobody else."""
    env = either_env
    await env.submit(trigger(snapshot=told_by(BY_SMS, replace(BY_CALL, after=HOUR), announcement=OUTSIDE)))
    await env.siti.gets("AMARAN")
    await env.release()
    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")
    letter = next(n for n in await env.notifications() if n.channel is Channel.LETTER)
    assert await env.posts(letter.id, "Kerani Contoh")
    assert env.tray_letters(LetterPlace.POSTED) == 1

    await env.submit(MarkFalseAlarm(incident_id=1, at=env.clock.now(), by="Siti Contoh", reason="rujukan silap"))
    await env.siti.gets("PEMBETULAN", "JCM-01")
    assert "PEMBETULAN" in env.gets_fax("JCM-01")
    assert "PEMBETULAN" in env.gets_letter("JCM-01")
    await env.resolve()
    await env.later(HOUR)


async def test_unposted_letter_is_withdrawn_without_correction(env: SimulatedEnv) -> None:
    """A letter in the tray is withdrawn and needs no correction."""
    await env.submit(trigger(snapshot=told_by(BY_SMS, announcement=OUTSIDE)))
    await env.siti.gets("AMARAN")
    await env.release()
    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")

    await env.submit(MarkFalseAlarm(incident_id=1, at=env.clock.now(), by="Siti Contoh", reason="rujukan silap"))
    await env.siti.gets("PEMBETULAN")
    env.gets_fax("PEMBETULAN")
    assert (env.tray_letters(LetterPlace.TRAY), env.tray_letters(LetterPlace.WITHDRAWN)) == (0, 1)
