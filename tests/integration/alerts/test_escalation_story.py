"""Escalation and release, told as stories: who is rung next, when, and what leaves the house by whose word."""

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
from tests.integration.alerts.town import DESK, Town
from tests.integration.monitor.test_escalation_auditor import incident_policy
from tests.unit.alerts.people import BRIEF, LONG, MINISTRY, MINUTE, RAVI, SECOND, SITI, SMS_SITI, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
AT_ONCE = timedelta(0)
PIN = "280146"


def told_by(*steps: Step, rounds: int = 1, announcement: AnnouncementPlan | None = None) -> PolicySnapshot:
    policy = EscalationPolicy(
        steps=steps, rounds=rounds, repeat_after=15 * MINUTE, repeat_interval=LONG, acknowledgement_timeout=LONG
    )
    return replace(BRIEF, escalation=policy, announcement=announcement or AnnouncementPlan())


BY_SMS = Step(after=AT_ONCE, contacts=(SITI,), channels=(Channel.SMS,))
BY_CALL = Step(after=5 * MINUTE, contacts=(SITI, RAVI), channels=(Channel.VOICE,))


async def test_all_steps_are_taken_in_every_round_each_at_its_time_until_the_last(either_town: Town) -> None:
    """Every round takes all steps, each after its wait."""
    town = either_town
    by_sms = replace(BY_SMS, after=10 * MINUTE, contacts=(RAVI,))
    await town.submit(trigger(brief=told_by(BY_SMS, by_sms, rounds=2)))
    for wait, first in ((10 * MINUTE, True), (15 * MINUTE, False), (10 * MINUTE, True), (HOUR, False)):
        await (town.siti if first else town.ravi).gets("AMARAN", "JCM-01")
        await town.advance(wait - SECOND)
        town.expect_nothing_more()
        await town.advance(SECOND)


async def test_whoever_does_not_take_a_call_is_rung_three_times(town: Town) -> None:
    """An unanswered call is made three times."""
    town.siti.behaves(PhoneBehaviour.NO_ANSWER)
    await town.submit(trigger(brief=told_by(replace(BY_CALL, after=AT_ONCE, contacts=(SITI,)))))
    for wait in (60 * SECOND, 120 * SECOND, HOUR):
        await town.siti.is_rung()
        await town.advance(wait - SECOND)
        town.expect_nothing_more()
        await town.advance(SECOND)


async def test_a_number_that_fails_for_good_makes_way_for_the_persons_next_and_nobody_else_is_rung(town: Town) -> None:
    """A number that fails permanently is replaced by the person's next; nobody else is notified for that."""
    town.moves_in(DESK, landline=True)
    desk = Address(channel=Channel.SMS, number=DESK)
    siti = replace(SITI, addresses=(desk, SMS_SITI))
    await town.submit(trigger(brief=told_by(replace(BY_SMS, contacts=(siti,)), BY_CALL)))

    await town.siti.gets("AMARAN")  # At once.
    await town.advance(5 * MINUTE - SECOND)


async def test_a_telephone_that_is_called_when_no_sms_can_reach_it(town: Town) -> None:
    """A telephone is called when no SMS can reach it."""
    town.siti.phone.stopped = True
    town.siti.presses("1")
    either = replace(BY_SMS, channels=(Channel.SMS, Channel.VOICE))
    await town.submit(trigger(brief=told_by(either, BY_CALL)))

    await town.siti.is_called(keys="1")
    await town.advance(HOUR)


async def test_when_a_whole_step_has_failed_for_good_the_next_begins_at_once(town: Town) -> None:
    """A step that failed permanently as a whole starts the next step at once."""
    town.siti.phone.stopped = town.ravi.phone.stopped = True
    town.ravi.presses("1")
    both = replace(BY_SMS, contacts=(SITI, RAVI))
    await town.submit(trigger(brief=told_by(both, replace(BY_CALL, after=HOUR))))

    await town.siti.is_called()
    await town.ravi.is_called(keys="1")
    await town.advance(2 * HOUR)


async def test_when_one_of_a_step_can_be_reached_the_next_does_not_begin_before_its_time(town: Town) -> None:
    """A step that can reach one person does not start the next early."""
    town.siti.phone.stopped = True
    both = replace(BY_SMS, contacts=(SITI, RAVI))
    await town.submit(trigger(brief=told_by(both, BY_CALL)))

    await town.ravi.gets("AMARAN")
    await town.advance(5 * MINUTE - SECOND)
    # Who sent STOP is called instead, as somebody whose step has begun: once, and twice more until a key is pressed.
    for _ in range(3):
        await town.siti.is_called("gagal sejak", keys="")


@pytest.mark.parametrize("how", [PhoneBehaviour.VOICEMAIL, PhoneBehaviour.BUSY, PhoneBehaviour.NO_ANSWER])
async def test_somebody_is_called_again_until_a_key_is_pressed(town: Town, how: PhoneBehaviour) -> None:
    """A person is called again until a key is pressed; voicemail and rejection do not count."""
    step = replace(BY_CALL, after=AT_ONCE, contacts=(SITI,), redial=RedialPolicy(interval=2 * MINUTE, times=5))
    town.siti.behaves(how)
    await town.submit(trigger(brief=told_by(step, replace(BY_CALL, after=HOUR, contacts=(RAVI,)))))
    for _ in range(2):
        heard = await town.siti.is_called(keys="")
        assert bool(heard) is (how is PhoneBehaviour.VOICEMAIL)
        await town.advance(2 * MINUTE - SECOND)
        town.expect_nothing_more()
        await town.advance(SECOND)
    await town.siti.is_called(keys="")
    town.siti.presses("1")
    await town.advance(2 * MINUTE)

    await town.siti.is_called("telah disahkan", keys="1")
    await town.advance(2 * HOUR)


async def test_calls_in_vain_end_after_so_many_and_the_next_is_called_at_once(town: Town) -> None:
    """After the last redial the next step starts at once."""
    step = replace(BY_CALL, after=AT_ONCE, contacts=(SITI,), redial=RedialPolicy(interval=2 * MINUTE, times=1))
    town.siti.behaves(PhoneBehaviour.BUSY)
    town.ravi.presses("1")
    await town.submit(trigger(brief=told_by(step, replace(BY_CALL, after=HOUR, contacts=(RAVI,)))))
    await town.siti.is_rung()
    await town.advance(2 * MINUTE)

    await town.siti.is_rung()
    await town.ravi.is_called(keys="1")
    await town.advance(2 * HOUR)


async def test_when_nobody_answers_the_noc_is_told_once_and_when_somebody_has(either_town: Town) -> None:
    """The auditor tells the NOC once that nobody has answered."""
    town = either_town
    auditor = auditor_of(town)
    town.go_round(30 * SECOND, auditor.audit)
    await town.submit(trigger(brief=told_by(BY_SMS)))
    await town.siti.gets("AMARAN")
    await town.advance(15 * MINUTE)
    town.expect_nothing_more()
    await town.advance(MINUTE)
    await town.noc.gets("RM0 PANTAU: AMARAN", "JCM-01 belum sampai, disahkan")
    await town.advance(MINUTE)

    assert await town.siti.replies("1A") != ""
    await town.advance(MINUTE)
    await town.noc.gets("RM0 PANTAU: SELESAI", "JCM-01")
    assert town.value("pantau_escalation_overdue_seconds") == 0


def auditor_of(town: Town, *, repeat_interval: timedelta = LONG) -> EscalationAuditor:
    return EscalationAuditor(
        store=town.store_itself,
        pool=town.pool,
        alerting=town.dispatcher,
        noc_policy=partial(incident_policy, repeat_interval=repeat_interval),
        metrics=town.metrics.watchdog,
        clock=town.clock,
    )


# -- what leaves the house -------------------------------------------------------------------------------------------


OUTSIDE = AnnouncementPlan(recipients=(MINISTRY,))
AUTOMATIC = replace(OUTSIDE, automatic=True)


async def test_nothing_leaves_the_house_until_a_duty_officer_says_so_by_the_portal(town: Town) -> None:
    """An announcement waits for its release by a duty officer."""
    await town.submit(trigger(brief=told_by(BY_SMS, announcement=OUTSIDE)))
    await town.siti.gets("AMARAN")
    await town.facade.acknowledge("JCM-01", "Puan NOC Contoh")
    town.siti.presses(*["1"] * 9)
    await town.advance(5 * HOUR)
    await town.siti.gets("JCM-01 telah disahkan oleh Puan NOC Contoh")
    for _ in range(
        5
    ):  # After 30 minutes; nobody else is there to be asked, and an hour later it begins again, once an hour.
        await town.siti.is_called("menunggu kebenaran", keys="1")
    town.expect_nothing_more()

    await town.facade.release("JCM-01", "Puan NOC Contoh")
    await town.facade.release("JCM-01", "Encik Lain Contoh")
    await town.settle()
    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")
    assert (await town.incident()).released_by == "Puan NOC Contoh"


async def officer_in_charge(town: Town, *keys: str) -> None:
    """Let Siti take an outage on; half an hour later she is called about its release and presses these keys."""
    town.pins = PinStore({("JCM", "siti"): hash_pin(PIN)})
    await town.submit(trigger(brief=told_by(BY_SMS, announcement=OUTSIDE)))
    await town.siti.gets("Balas 1A")
    assert await town.siti.replies("1A") != ""
    town.siti.presses(*keys)
    await town.advance(30 * MINUTE - SECOND)
    town.expect_nothing_more()
    await town.advance(SECOND)


async def test_an_officer_releases_the_announcement_by_key_and_pin(either_town: Town) -> None:
    """An officer releases the announcement by key press and PIN in a call."""
    town = either_town
    await officer_in_charge(town, "5", f"{PIN}#", "1")
    await town.siti.is_called("Tekan lima", "satu faks dan satu surat", "Notis telah dikeluarkan", keys=f"5{PIN}1")

    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")
    assert (await town.incident()).released_by == "Siti Contoh"
    await town.later(HOUR)
    await town.siti.gets("HASIL", "JCM-01", "1 sampai")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("5", "111111#", "222222#", "333333#", f"{PIN}#", "1"), "salah terlalu banyak kali"),
        (("5", f"{PIN}#", "2"), "Notis tidak dikeluarkan"),
        (("5", "", "1"), "Notis tidak dikeluarkan"),
    ],
    ids=["wrong PINs", "another key", "no PIN"],
)
async def test_without_the_pin_or_the_key_nothing_leaves(town: Town, keys: Sequence[str], said: str) -> None:
    """Without key press or PIN nothing is released, and whoever acknowledged is not called for an hour."""
    await officer_in_charge(town, *keys)
    await town.siti.is_called(said)

    assert (await town.incident()).released_at is None
    town.siti.phone.keys.clear()
    await town.advance(59 * MINUTE)  # Whoever pressed a key is there, and has decided.
    town.expect_nothing_more()
    assert (await town.incident()).released_at is None


async def test_without_a_pin_no_release_is_offered_in_a_call(town: Town) -> None:
    """A call offers no release to somebody without a PIN."""
    await town.submit(trigger(brief=told_by(BY_SMS, replace(BY_CALL, after=HOUR), announcement=OUTSIDE)))
    await town.siti.gets("AMARAN")
    town.ravi.presses("1")
    await town.advance(HOUR)
    calls = [await town.siti.is_called(), await town.ravi.is_called(keys="1")]
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    # Ravi has taken it on, and is told that a release is waited for.
    calls.append(await town.ravi.is_called("menunggu kebenaran"))
    assert [call for call in calls if "Tekan lima" in call] == []


RAVI_NEXT = replace(BY_CALL, after=HOUR, contacts=(RAVI,))


async def test_a_release_that_waits_is_offered_to_the_next_and_the_noc_again_and_again(town: Town) -> None:
    """A waiting release is offered to the next person and the NOC repeatedly."""
    auditor = auditor_of(town)
    town.go_round(30 * SECOND, auditor.audit)
    town.siti.presses(*["1"] * 9)
    town.ravi.behaves(PhoneBehaviour.NO_ANSWER)
    await town.submit(trigger(brief=told_by(BY_SMS, RAVI_NEXT, announcement=OUTSIDE)))
    await town.siti.gets("Balas 1A")
    await town.siti.replies("1A")
    await town.advance(30 * MINUTE)
    await town.siti.is_called("menunggu kebenaran", keys="1")
    await town.advance(15 * MINUTE - SECOND)
    town.expect_nothing_more()
    await town.advance(MINUTE)
    await town.ravi.is_rung()
    assert town.value('pantau_incidents_escalation_failed{reason="unreleased"}') == 0
    await town.advance(15 * MINUTE)
    for _ in range(2):  # Within his turn, and then by SMS.
        await town.ravi.is_rung()
    await town.ravi.gets("menunggu kebenaran")
    await town.noc.gets("RM0 PANTAU: AMARAN", "Notis luar JCM-01 menunggu kebenaran sejak 24/11, 2.45 ptg")
    assert town.value('pantau_incidents_escalation_failed{reason="unreleased"}') == 1
    assert town.value("pantau_escalation_overdue_seconds") == 0, "the heartbeat goes on: it is people who are awaited"
    town.expect_nothing_more()  # Siti has listened, and is left in peace for the first hour.
    town.ravi.presses(*["1"] * 9)
    await town.advance(15 * MINUTE)
    await town.ravi.is_called("menunggu kebenaran", keys="1")
    for person in (town.siti, town.ravi):  # From now on once an hour.
        await town.advance(15 * MINUTE if person is town.siti else HOUR)
        await person.is_called("menunggu kebenaran", keys="1")
        town.expect_nothing_more()
    assert (await town.incident()).acknowledged_by == "Siti Contoh"

    await town.facade.release("JCM-01", "Puan NOC Contoh")
    await town.advance(MINUTE)
    await town.noc.gets("RM0 PANTAU: SELESAI", "Notis luar JCM-01 tidak lagi menunggu kebenaran")
    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")
    await town.later(HOUR)


async def test_releases_that_wait_are_offered_together_to_the_next_after_a_restart(town: Town) -> None:
    """Waiting releases of a mass outage are offered together, after a restart too."""
    for person in (town.siti, town.ravi):
        person.presses(*["1"] * 9)
    brief = told_by(BY_SMS, RAVI_NEXT, announcement=OUTSIDE)
    for n in range(5):
        office = replace(brief.office, short=f"JC{n}", name=f"Jabatan Contoh {n}")
        await town.submit(trigger(brief=replace(brief, agency=f"JC{n}", office=office)))
        await town.advance(SECOND)
        await town.facade.acknowledge(f"JC{n}-01", "Siti Contoh")
    await town.siti.gets("AMARAN")
    await town.advance(41 * MINUTE)
    for _ in range(2):
        await town.siti.is_called(keys="1")
    town.expect_nothing_more()
    town.restart()
    await town.advance(20 * MINUTE)
    await town.ravi.is_called("lima agensi", keys="1")
    town.expect_nothing_more()
    for n in range(5):
        await town.facade.release(f"JC{n}-01", "Siti Contoh")
    await town.advance(3 * MINUTE)
    town.gets_fax("JC0-01")
    town.gets_fax("Jabatan Contoh 1", "Jabatan Contoh 4")
    for n in range(5):
        town.gets_letter(f"JC{n}-01")
    await town.advance(2 * HOUR)
    await town.siti.gets("HASIL notis luar", "5 sampai: JC0, JC1")


async def test_who_opted_in_is_released_after_half_an_hour_and_not_a_second_before(town: Town) -> None:
    """An automatic release comes exactly at its time."""
    await town.submit(trigger(brief=told_by(BY_SMS, announcement=AUTOMATIC)))
    await town.siti.gets("AMARAN")
    await town.advance(30 * MINUTE - SECOND)
    town.expect_nothing_more()
    await town.advance(SECOND)

    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")


async def test_what_is_over_before_its_release_is_told_to_nobody_outside(town: Town) -> None:
    """An outage that ends before its release is not announced."""
    await town.submit(trigger(brief=told_by(BY_SMS, announcement=AUTOMATIC)))
    await town.siti.gets("AMARAN")
    await town.advance(29 * MINUTE)
    await town.resolve()
    await town.siti.gets("PULIH")
    await town.later(HOUR)


async def test_a_correction_follows_a_false_alarm_to_everybody_who_was_told_and_to_nobody_else(
    either_town: Town,
) -> None:
    """A false alarm sends a correction to everybody who was notified, and to nobody else."""
    town = either_town
    await town.submit(trigger(brief=told_by(BY_SMS, replace(BY_CALL, after=HOUR), announcement=OUTSIDE)))
    await town.siti.gets("AMARAN")
    await town.release()
    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")
    letter = next(n for n in await town.notifications() if n.channel is Channel.LETTER)
    assert await town.posts(letter.id, "Kerani Contoh")
    assert town.tray_letters(LetterPlace.POSTED) == 1

    await town.submit(MarkFalseAlarm(incident_id=1, at=town.clock.now(), by="Siti Contoh", reason="rujukan silap"))
    await town.siti.gets("PEMBETULAN", "JCM-01")
    assert "PEMBETULAN" in town.gets_fax("JCM-01")
    assert "PEMBETULAN" in town.gets_letter("JCM-01")
    await town.resolve()
    await town.later(HOUR)


async def test_a_letter_that_was_not_posted_is_taken_back_and_needs_no_correction(town: Town) -> None:
    """A letter in the tray is withdrawn and needs no correction."""
    await town.submit(trigger(brief=told_by(BY_SMS, announcement=OUTSIDE)))
    await town.siti.gets("AMARAN")
    await town.release()
    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")

    await town.submit(MarkFalseAlarm(incident_id=1, at=town.clock.now(), by="Siti Contoh", reason="rujukan silap"))
    await town.siti.gets("PEMBETULAN")
    town.gets_fax("PEMBETULAN")
    assert (town.tray_letters(LetterPlace.TRAY), town.tray_letters(LetterPlace.WITHDRAWN)) == (0, 1)
