"""Quiet when it should be, told as stories: what rings nobody, what rings once for many, and what nothing holds back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.inbound.pin import PinStore, hash_pin
from alerts.model.channel import Channel
from alerts.model.event import MarkFalseAlarm
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, RedialPolicy, Step
from monitor.service.silences import Silencer
from pantau_lab.carrier.phone import PhoneBehaviour
from pantau_lab.provider_fault import SubmissionFault
from tests.integration.alerts.town import Town
from tests.unit.alerts.people import (
    BRIEF,
    LETTER,
    LONG,
    MINISTRY,
    MINUTE,
    OFFICE,
    SECOND,
    trigger,
)
from tests.unit.alerts.people import RAVI as RAVI_CONTOH
from tests.unit.alerts.people import SITI as SITI_CONTOH

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
PIN = "280146"
AT_ONCE = timedelta(0)
BY_SMS = Step(after=AT_ONCE, contacts=(SITI_CONTOH,), channels=(Channel.SMS,))
BY_CALL = Step(after=5 * MINUTE, contacts=(SITI_CONTOH,), channels=(Channel.VOICE,))


def of(agency: str, *steps: Step, rounds: int = 1, repeat_after: timedelta = 15 * MINUTE) -> PolicySnapshot:
    return replace(
        BRIEF,
        agency=agency,
        office=replace(OFFICE, short=agency, name=f"Agensi {agency}"),
        escalation=EscalationPolicy(
            steps=steps or (BY_SMS,),
            rounds=rounds,
            repeat_after=repeat_after,
            repeat_interval=LONG,
            acknowledgement_timeout=LONG,
        ),
        announcement=AnnouncementPlan(),
    )


async def outage(town: Town, brief: PolicySnapshot, matter: IncidentType = IncidentType.BOTH) -> int:
    incident = await town.submit(trigger(matter, town.clock.now(), brief))
    assert incident is not None
    return incident.id


# -- many at once ----------------------------------------------------------------------------------------------------


async def test_in_a_mass_outage_the_first_is_told_at_once_and_the_others_in_one_sms_and_one_call(
    either_town: Town,
) -> None:
    """In a mass outage the first is notified at once, the others after two minutes in one SMS and one call."""
    town = either_town
    agencies = ["JCM", "MDC", "UCM", *(f"A{chr(65 + n)}" for n in range(20))]
    await outage(town, of("JCM", BY_SMS, BY_CALL))
    await town.siti.gets("RM0 JCM ICT", "JCM-01")
    for agency in agencies[1:]:
        await town.advance(5 * SECOND)
        await outage(town, of(agency, BY_SMS, BY_CALL))
    town.expect_nothing_more()
    await town.advance(2 * MINUTE - 5 * 22 * SECOND - SECOND)
    town.expect_nothing_more()

    await town.advance(SECOND)
    text = await town.siti.gets("22 agensi", "MDC, UCM, AA", "lagi, lihat portal")
    assert len(text) <= 160
    town.siti.presses("1", "1")
    await town.advance(7 * MINUTE)
    await town.siti.is_called("Agensi JCM", keys="1")
    await town.siti.is_called("Agensi MDC", "Agensi UCM", "enam belas", keys="1")
    assert {(await town.incident(n)).acknowledged_by for n in range(1, 24)} == {"Siti Contoh"}
    await town.advance(2 * HOUR)


async def test_a_ministry_gets_one_list_by_fax_and_a_letter_of_each_agency(town: Town) -> None:
    """In a mass outage a ministry gets one list by fax and a letter of each agency."""
    for agency in ("JCM", "MDC", "UCM"):
        brief = replace(of(agency), announcement=AnnouncementPlan(recipients=(MINISTRY,)))
        number = await outage(town, brief)
        await town.release(number)
    await town.siti.gets("JCM-01")
    town.gets_fax("JCM-01")
    await town.advance(2 * MINUTE)

    await town.siti.gets("2 agensi", "MDC, UCM")
    assert "JCM-01" not in town.gets_fax("MDC-01", "UCM-01")
    for name in ("JCM-01", "MDC-01", "UCM-01"):
        town.gets_letter(name)


async def test_of_a_mass_outage_all_announcements_are_released_in_one_call_with_one_pin(either_town: Town) -> None:
    """One call with one PIN releases all announcements of a mass outage."""
    town, agencies, kept = either_town, ("JCM", "MDC", "UCM"), hash_pin(PIN)
    town.pins = PinStore({(agency, "siti"): kept for agency in agencies})
    for agency in agencies:
        plan = AnnouncementPlan(recipients=(replace(MINISTRY, addresses=(LETTER,)),))
        number = await outage(town, replace(of(agency), announcement=plan))
        await town.facade.acknowledge(f"{agency}-01", "Siti Contoh")
    await town.siti.gets("JCM-01")
    town.siti.presses("5", f"{PIN}#", "1")
    await town.advance(30 * MINUTE)
    said = await town.siti.is_called("tiga agensi", "Agensi JCM; Agensi MDC; Agensi UCM", "tiga surat", keys=f"5{PIN}1")
    assert "menunggu kebenaran" in said

    assert {(await town.incident(n)).released_by for n in range(1, number + 1)} == {"Siti Contoh"}
    for agency in agencies:
        town.gets_letter(f"{agency}-01")
    await town.later(HOUR)


async def test_a_call_about_releases_that_nobody_takes_is_made_again_and_ends_when_one_is_taken(town: Town) -> None:
    """An unanswered call about releases is repeated, and stops once somebody releases."""
    town.pins = PinStore(dict.fromkeys([("JCM", "siti"), ("MDC", "siti")], hash_pin(PIN)))
    plan = AnnouncementPlan(recipients=(replace(MINISTRY, addresses=(LETTER,)),))
    for agency in ("JCM", "MDC"):
        await outage(town, replace(of(agency), announcement=plan))
        await town.advance(SECOND)
        await town.facade.acknowledge(f"{agency}-01", "Siti Contoh")
    await town.siti.gets("JCM-01")
    town.siti.behaves(PhoneBehaviour.NO_ANSWER)
    await town.advance(31 * MINUTE)
    for _ in range(2):  # At once, and a minute later; two more minutes later it would be for the last time.
        await town.siti.is_rung()
    town.expect_nothing_more()
    town.siti.presses("5", f"{PIN}#", "1")
    await town.advance(2 * MINUTE)

    await town.siti.is_called("Agensi JCM; Agensi MDC", keys=f"5{PIN}1")
    for agency in ("JCM", "MDC"):
        town.gets_letter(f"{agency}-01")
    await town.later(HOUR)


async def test_recoveries_are_told_together_too(town: Town) -> None:
    """Recoveries are bundled."""
    for agency in ("JCM", "MDC", "UCM"):
        await outage(town, of(agency))
    await town.siti.gets("JCM-01")
    await town.advance(2 * MINUTE)
    await town.siti.gets("2 agensi")
    for agency in ("JCM", "MDC", "UCM"):
        await town.resolve(agency)
    await town.siti.gets("PULIH", "JCM-01")
    await town.advance(2 * MINUTE)

    await town.siti.gets("PULIH", "2 agensi", "MDC, UCM")


# -- staff before anybody outside -------------------------------------------------------------------------------------


def announced_after(agency: str, after: timedelta) -> PolicySnapshot:
    """Return whom to tell of an agency that has its announcements released by themselves."""
    plan = AnnouncementPlan(recipients=(MINISTRY,), automatic=True, release_offered_after=after)
    return replace(of(agency), announcement=plan)


async def test_nobody_outside_is_told_before_a_notice_to_staff_has_left(either_town: Town) -> None:
    """Nobody outside is notified before a notification to staff has left."""
    town = either_town
    await outage(town, of("JCM"))
    await town.siti.gets("JCM-01")
    await outage(town, announced_after("MDC", 20 * SECOND))
    await town.advance(2 * MINUTE - SECOND)
    town.expect_nothing_more()

    await town.advance(SECOND)
    await town.siti.gets("MDC-01")
    town.gets_fax("MDC-01")
    town.gets_letter("MDC-01")


async def test_nobody_outside_is_told_while_no_notice_to_staff_can_leave(town: Town) -> None:
    """Nobody outside is notified while none to staff can leave."""
    # Three tries, and none of them gets through.
    town.carrier.faults.extend([SubmissionFault.TOO_MANY] * 3)
    await outage(town, announced_after("MDC", MINUTE))
    await town.advance(HOUR)


async def test_what_was_over_before_its_notice_left_is_told_once_in_the_past_tense(either_town: Town) -> None:
    """An outage that ends before its notification leaves is reported once, as past."""
    town = either_town
    for agency in ("JCM", "MDC", "UCM"):
        await outage(town, announced_after(agency, 20 * SECOND) if agency == "MDC" else of(agency))
    await town.siti.gets("JCM-01")
    await town.advance(MINUTE)
    await town.resolve("MDC")
    await town.siti.gets("RM0 MDC ICT: MAKLUMAN. E-mel rasmi gagal dari", "hingga", "kini pulih", "MDC-01")

    await town.advance(MINUTE)
    await town.siti.gets("AMARAN", "UCM-01")
    await town.resolve("UCM")
    await town.siti.gets("PULIH", "UCM-01")
    await town.later(HOUR)


async def test_a_mass_outage_that_was_over_before_it_was_told_is_told_in_one_sms(town: Town) -> None:
    """A mass outage that ends before it is notified is reported in one SMS."""
    for agency in ("JCM", "MDC", "UCM", "PCM"):
        await outage(town, of(agency))
    await town.siti.gets("JCM-01")
    await town.advance(MINUTE)
    for agency in ("MDC", "UCM", "PCM"):
        await town.resolve(agency)
    await town.siti.gets("MAKLUMAN", "MDC-01")
    await town.advance(2 * MINUTE)
    await town.siti.gets("MAKLUMAN. E-mel 2 agensi gagal", "kini pulih: UCM, PCM")
    await town.later(HOUR)


# -- brakes ---------------------------------------------------------------------------------------------------------


async def test_repeats_wait_for_a_persons_brake_and_the_first_notice_of_an_incident_never_does(town: Town) -> None:
    """A rate limit delays repeats and never the first notification."""
    await outage(town, of("JCM", BY_SMS, rounds=8, repeat_after=2 * MINUTE))
    for _ in range(5):
        await town.siti.gets("JCM-01")
        await town.advance(2 * MINUTE)
    # Five in a quarter of an hour: the sixth and the seventh wait.
    await town.advance(MINUTE)
    town.expect_nothing_more()
    assert town.value('pantau_notifications_throttled_total{channel="sms",limit="contact"}') > 0

    await outage(town, of("MDC"))
    await town.siti.gets("MDC-01")  # At once; but it counts.
    await town.advance(6 * MINUTE - SECOND)
    town.expect_nothing_more()
    await town.advance(SECOND)
    await town.siti.gets("JCM-01")


async def test_rate_limit_of_a_telephone_that_nobody_answers_holds_further_calls(town: Town) -> None:
    """Unanswered calls count against the rate limit."""
    town.siti.behaves(PhoneBehaviour.NO_ANSWER)
    four_times = replace(BY_CALL, after=AT_ONCE, redial=RedialPolicy(interval=MINUTE, times=3))
    again = replace(BY_CALL, redial=RedialPolicy(interval=MINUTE, times=30))
    await outage(town, of("JCM", four_times, again))
    await town.advance(15 * MINUTE - SECOND)
    for _ in range(4):  # As often as the first step says.
        await town.siti.is_rung()
    town.expect_nothing_more()
    await town.advance(45 * MINUTE)
    for _ in range(3):  # Seven an hour.
        await town.siti.is_rung()
    town.expect_nothing_more()


async def told_five_times(town: Town) -> int:
    """Have somebody use up what they may be told in a quarter of an hour."""
    number = await outage(town, of("JCM", BY_SMS, rounds=8, repeat_after=2 * MINUTE))
    for _ in range(5):
        await town.siti.gets("AMARAN", "JCM-01")
        await town.advance(2 * MINUTE)
    await town.advance(MINUTE)
    town.expect_nothing_more()
    return number


async def test_a_recovery_waits_for_no_brake(town: Town) -> None:
    """A rate limit delays no recovery."""
    await told_five_times(town)
    await town.resolve()
    await town.siti.gets("PULIH", "JCM-01")
    await town.later(HOUR)


async def test_a_correction_waits_for_no_brake(town: Town) -> None:
    """A rate limit delays no correction."""
    number = await told_five_times(town)
    at = town.clock.now()
    await town.submit(MarkFalseAlarm(incident_id=number, at=at, by="Siti Contoh", reason="rujukan silap"))
    await town.siti.gets("PEMBETULAN", "JCM-01")
    await town.later(HOUR)


async def test_outages_of_one_agency_that_are_told_together_have_every_number_and_time(town: Town) -> None:
    """Outages of one agency that are reported together have every number and time."""
    await outage(town, of("JCM"))
    await town.siti.gets("AMARAN", "JCM-01")
    await town.resolve()
    await town.siti.gets("PULIH", "JCM-01")
    # They are over before the two minutes are, one after the other: the first is told at once.
    for _ in range(3):
        await town.advance(10 * SECOND)
        await outage(town, of("JCM"))
        await town.advance(10 * SECOND)
        await town.resolve()
    await town.siti.gets("MAKLUMAN", "Ruj JCM-02")
    await town.advance(2 * MINUTE)
    text = await town.siti.gets("MAKLUMAN. E-mel rasmi gagal, kini pulih: JCM-03 (24/11", "), JCM-04 (24/11")
    assert "agensi" not in text
    await town.later(HOUR)


# -- silences --------------------------------------------------------------------------------------------------------


def silencer(town: Town) -> Silencer:
    return Silencer(town.store_itself, town.dispatcher, town.clock, lambda: {"JCM": "JCM", "MDC": "MDC"})


async def test_nobody_is_rung_about_what_is_silent_and_everybody_is_when_the_silence_ends(either_town: Town) -> None:
    """A silence suppresses notifications until its end; what still fails is notified then."""
    town = either_town
    await silencer(town).add("JCM", 20 * MINUTE, "naik taraf pelayan", "Puan NOC Contoh")
    await outage(town, of("JCM", BY_SMS, BY_CALL))
    await outage(town, of("MDC", replace(BY_SMS, contacts=(RAVI_CONTOH,))))
    await town.ravi.gets("MDC-01")
    await town.advance(20 * MINUTE - SECOND)
    town.expect_nothing_more()

    await town.advance(SECOND)
    await town.siti.gets("JCM-01")


async def test_a_silence_in_the_middle_of_an_escalation_stops_it_and_it_goes_on_where_it_was(town: Town) -> None:
    """A silence during an escalation suspends it, and it continues where it stopped."""
    steps = (BY_SMS, BY_CALL, replace(BY_CALL, contacts=(RAVI_CONTOH,)))
    await outage(town, of("JCM", *steps))
    await town.siti.gets("JCM-01")
    await town.advance(MINUTE)
    added = await silencer(town).add("JCM", HOUR, "sedang dibaiki", "Puan NOC Contoh")
    await town.advance(30 * MINUTE)
    town.expect_nothing_more()

    # It is ended before its time. One step is due, and not all that were missed.
    await silencer(town).remove(added.id, "Puan NOC Contoh")
    await town.settle()
    await town.siti.is_called("gagal")
    town.expect_nothing_more()
    town.ravi.presses("1")
    await town.advance(5 * MINUTE)
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    while town.siti.waits:
        await town.siti.is_called("gagal")
    await town.ravi.is_called(keys="1")


async def test_what_is_over_before_the_silence_ends_was_never_told(town: Town) -> None:
    """An outage that ends during a silence is never notified."""
    await silencer(town).add("JCM", HOUR, "naik taraf pelayan", "Puan NOC Contoh")
    await outage(town, of("JCM", BY_SMS, BY_CALL))
    await town.advance(30 * MINUTE)
    await town.resolve()
    await town.advance(2 * HOUR)


async def test_what_waits_when_a_silence_begins_is_not_told_before_its_end(town: Town) -> None:
    """A notification that waits when a silence begins waits for its end."""
    await outage(town, of("JCM"))
    await outage(town, of("MDC", BY_SMS, BY_CALL))
    await town.siti.gets("JCM-01")  # And the other is gathered for two minutes.
    await silencer(town).add("MDC", 10 * MINUTE, "sedang dibaiki", "Puan NOC Contoh")
    town.siti.presses("1")
    await town.advance(10 * MINUTE - SECOND)
    town.expect_nothing_more()

    await town.advance(SECOND)
    await town.siti.gets("MDC-01")
