"""Bundles, rate limits, silences and announcements with simulated phones."""

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
from tests.integration.alerts.simulated_env import SimulatedEnv
from tests.unit.alerts.people import (
    LETTER,
    LONG,
    MINISTRY,
    MINUTE,
    OFFICE,
    SECOND,
    SNAPSHOT,
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
        SNAPSHOT,
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


async def outage(env: SimulatedEnv, snapshot: PolicySnapshot, matter: IncidentType = IncidentType.BOTH) -> int:
    incident = await env.submit(trigger(matter, env.clock.now(), snapshot))
    assert incident is not None
    return incident.id


# -- many at once ----------------------------------------------------------------------------------------------------


async def test_mass_outage_notifies_first_at_once_and_bundles_others(
    either_env: SimulatedEnv,
) -> None:
    """In a mass outage the first is notified at once, the others after two minutes in one SMS and one call."""
    env = either_env
    agencies = ["JCM", "MDC", "UCM", *(f"A{chr(65 + n)}" for n in range(20))]
    await outage(env, of("JCM", BY_SMS, BY_CALL))
    await env.siti.gets("RM0 JCM ICT", "JCM-01")
    for agency in agencies[1:]:
        await env.advance(5 * SECOND)
        await outage(env, of(agency, BY_SMS, BY_CALL))
    env.expect_nothing_more()
    await env.advance(2 * MINUTE - 5 * 22 * SECOND - SECOND)
    env.expect_nothing_more()

    await env.advance(SECOND)
    text = await env.siti.gets("22 agensi", "MDC, UCM, AA", "lagi, lihat portal")
    assert len(text) <= 160
    env.siti.presses("1", "1")
    await env.advance(7 * MINUTE)
    await env.siti.is_called("Agensi JCM", keys="1")
    await env.siti.is_called("Agensi MDC", "Agensi UCM", "enam belas", keys="1")
    assert {(await env.incident(n)).acknowledged_by for n in range(1, 24)} == {"Siti Contoh"}
    await env.advance(2 * HOUR)


async def test_ministry_gets_one_fax_list_and_one_letter_per_agency(env: SimulatedEnv) -> None:
    """In a mass outage a ministry gets one list by fax and a letter of each agency."""
    for agency in ("JCM", "MDC", "UCM"):
        snapshot = replace(of(agency), announcement=AnnouncementPlan(recipients=(MINISTRY,)))
        number = await outage(env, snapshot)
        await env.release(number)
    await env.siti.gets("JCM-01")
    env.gets_fax("JCM-01")
    await env.advance(2 * MINUTE)

    await env.siti.gets("2 agensi", "MDC, UCM")
    assert "JCM-01" not in env.gets_fax("MDC-01", "UCM-01")
    for name in ("JCM-01", "MDC-01", "UCM-01"):
        env.gets_letter(name)


async def test_mass_outage_announcements_are_released_in_one_call_with_one_pin(either_env: SimulatedEnv) -> None:
    """One call with one PIN releases all announcements of a mass outage."""
    env, agencies, kept = either_env, ("JCM", "MDC", "UCM"), hash_pin(PIN)
    env.pins = PinStore({(agency, "siti"): kept for agency in agencies})
    for agency in agencies:
        plan = AnnouncementPlan(recipients=(replace(MINISTRY, addresses=(LETTER,)),))
        number = await outage(env, replace(of(agency), announcement=plan))
        await env.facade.acknowledge(f"{agency}-01", "Siti Contoh")
    await env.siti.gets("JCM-01")
    env.siti.presses("5", f"{PIN}#", "1")
    await env.advance(30 * MINUTE)
    said = await env.siti.is_called("tiga agensi", "Agensi JCM; Agensi MDC; Agensi UCM", "tiga surat", keys=f"5{PIN}1")
    assert "menunggu kebenaran" in said

    assert {(await env.incident(n)).released_by for n in range(1, number + 1)} == {"Siti Contoh"}
    for agency in agencies:
        env.gets_letter(f"{agency}-01")
    await env.later(HOUR)


async def test_unanswered_release_call_is_repeated_until_released(env: SimulatedEnv) -> None:
    """An unanswered call about releases is repeated, and stops once somebody releases."""
    env.pins = PinStore(dict.fromkeys([("JCM", "siti"), ("MDC", "siti")], hash_pin(PIN)))
    plan = AnnouncementPlan(recipients=(replace(MINISTRY, addresses=(LETTER,)),))
    for agency in ("JCM", "MDC"):
        await outage(env, replace(of(agency), announcement=plan))
        await env.advance(SECOND)
        await env.facade.acknowledge(f"{agency}-01", "Siti Contoh")
    await env.siti.gets("JCM-01")
    env.siti.behaves(PhoneBehaviour.NO_ANSWER)
    await env.advance(31 * MINUTE)
    for _ in range(2):  # At once, and a minute later; the last one would follow two minutes later.
        await env.siti.misses_call()
    env.expect_nothing_more()
    env.siti.presses("5", f"{PIN}#", "1")
    await env.advance(2 * MINUTE)

    await env.siti.is_called("Agensi JCM; Agensi MDC", keys=f"5{PIN}1")
    for agency in ("JCM", "MDC"):
        env.gets_letter(f"{agency}-01")
    await env.later(HOUR)


async def test_recoveries_are_bundled(env: SimulatedEnv) -> None:
    """Recoveries are bundled."""
    for agency in ("JCM", "MDC", "UCM"):
        await outage(env, of(agency))
    await env.siti.gets("JCM-01")
    await env.advance(2 * MINUTE)
    await env.siti.gets("2 agensi")
    for agency in ("JCM", "MDC", "UCM"):
        await env.resolve(agency)
    await env.siti.gets("PULIH", "JCM-01")
    await env.advance(2 * MINUTE)

    await env.siti.gets("PULIH", "2 agensi", "MDC, UCM")


# -- staff before anybody outside -------------------------------------------------------------------------------------


def announced_after(agency: str, after: timedelta) -> PolicySnapshot:
    """Return the policy of an agency with automatic release."""
    plan = AnnouncementPlan(recipients=(MINISTRY,), automatic=True, release_offered_after=after)
    return replace(of(agency), announcement=plan)


async def test_announcement_waits_until_staff_notification_was_sent(either_env: SimulatedEnv) -> None:
    """Nobody outside is notified before a notification to staff has left."""
    env = either_env
    await outage(env, of("JCM"))
    await env.siti.gets("JCM-01")
    await outage(env, announced_after("MDC", 20 * SECOND))
    await env.advance(2 * MINUTE - SECOND)
    env.expect_nothing_more()

    await env.advance(SECOND)
    await env.siti.gets("MDC-01")
    env.gets_fax("MDC-01")
    env.gets_letter("MDC-01")


async def test_announcement_waits_while_no_staff_notification_can_be_sent(env: SimulatedEnv) -> None:
    """Nobody outside is notified while none to staff can leave."""
    # Three attempts, and all fail.
    env.carrier.faults.extend([SubmissionFault.TOO_MANY] * 3)
    await outage(env, announced_after("MDC", MINUTE))
    await env.advance(HOUR)


async def test_outage_over_before_notification_is_reported_once_as_past(either_env: SimulatedEnv) -> None:
    """An outage that ends before its notification leaves is reported once, as past."""
    env = either_env
    for agency in ("JCM", "MDC", "UCM"):
        await outage(env, announced_after(agency, 20 * SECOND) if agency == "MDC" else of(agency))
    await env.siti.gets("JCM-01")
    await env.advance(MINUTE)
    await env.resolve("MDC")
    await env.siti.gets("RM0 MDC ICT: MAKLUMAN. E-mel rasmi gagal dari", "hingga", "kini pulih", "MDC-01")

    await env.advance(MINUTE)
    await env.siti.gets("AMARAN", "UCM-01")
    await env.resolve("UCM")
    await env.siti.gets("PULIH", "UCM-01")
    await env.later(HOUR)


async def test_mass_outage_over_before_notification_is_reported_in_one_sms(env: SimulatedEnv) -> None:
    """A mass outage that ends before it is notified is reported in one SMS."""
    for agency in ("JCM", "MDC", "UCM", "PCM"):
        await outage(env, of(agency))
    await env.siti.gets("JCM-01")
    await env.advance(MINUTE)
    for agency in ("MDC", "UCM", "PCM"):
        await env.resolve(agency)
    await env.siti.gets("MAKLUMAN", "MDC-01")
    await env.advance(2 * MINUTE)
    await env.siti.gets("MAKLUMAN. E-mel 2 agensi gagal", "kini pulih: UCM, PCM")
    await env.later(HOUR)


# -- brakes ---------------------------------------------------------------------------------------------------------


async def test_contact_rate_limit_delays_repeats_and_never_first_notification(env: SimulatedEnv) -> None:
    """A rate limit delays repeats and never the first notification."""
    await outage(env, of("JCM", BY_SMS, rounds=8, repeat_after=2 * MINUTE))
    for _ in range(5):
        await env.siti.gets("JCM-01")
        await env.advance(2 * MINUTE)
    # Five in a quarter of an hour: the sixth and the seventh wait.
    await env.advance(MINUTE)
    env.expect_nothing_more()
    assert env.value('pantau_notifications_throttled_total{channel="sms",limit="contact"}') > 0

    await outage(env, of("MDC"))
    await env.siti.gets("MDC-01")  # At once; it counts against the limit.
    await env.advance(6 * MINUTE - SECOND)
    env.expect_nothing_more()
    await env.advance(SECOND)
    await env.siti.gets("JCM-01")


async def test_unanswered_calls_count_against_rate_limit(env: SimulatedEnv) -> None:
    """Unanswered calls count against the rate limit."""
    env.siti.behaves(PhoneBehaviour.NO_ANSWER)
    four_times = replace(BY_CALL, after=AT_ONCE, redial=RedialPolicy(interval=MINUTE, times=3))
    again = replace(BY_CALL, redial=RedialPolicy(interval=MINUTE, times=30))
    await outage(env, of("JCM", four_times, again))
    await env.advance(15 * MINUTE - SECOND)
    for _ in range(4):  # As the first step configures.
        await env.siti.misses_call()
    env.expect_nothing_more()
    await env.advance(45 * MINUTE)
    for _ in range(3):  # Seven an hour.
        await env.siti.misses_call()
    env.expect_nothing_more()


async def reach_rate_limit(env: SimulatedEnv) -> int:
    """Notify a person as often as the limit of a quarter of an hour permits."""
    number = await outage(env, of("JCM", BY_SMS, rounds=8, repeat_after=2 * MINUTE))
    for _ in range(5):
        await env.siti.gets("AMARAN", "JCM-01")
        await env.advance(2 * MINUTE)
    await env.advance(MINUTE)
    env.expect_nothing_more()
    return number


async def test_rate_limit_does_not_delay_recovery(env: SimulatedEnv) -> None:
    """A rate limit delays no recovery."""
    await reach_rate_limit(env)
    await env.resolve()
    await env.siti.gets("PULIH", "JCM-01")
    await env.later(HOUR)


async def test_rate_limit_does_not_delay_correction(env: SimulatedEnv) -> None:
    """A rate limit delays no correction."""
    number = await reach_rate_limit(env)
    at = env.clock.now()
    await env.submit(MarkFalseAlarm(incident_id=number, at=at, by="Siti Contoh", reason="rujukan silap"))
    await env.siti.gets("PEMBETULAN", "JCM-01")
    await env.later(HOUR)


async def test_bundled_outages_of_one_agency_list_every_number_and_time(env: SimulatedEnv) -> None:
    """Outages of one agency that are reported together have every number and time."""
    await outage(env, of("JCM"))
    await env.siti.gets("AMARAN", "JCM-01")
    await env.resolve()
    await env.siti.gets("PULIH", "JCM-01")
    # They end within the two minutes, one after the other: the first is reported at once.
    for _ in range(3):
        await env.advance(10 * SECOND)
        await outage(env, of("JCM"))
        await env.advance(10 * SECOND)
        await env.resolve()
    await env.siti.gets("MAKLUMAN", "Ruj JCM-02")
    await env.advance(2 * MINUTE)
    text = await env.siti.gets("MAKLUMAN. E-mel rasmi gagal, kini pulih: JCM-03 (24/11", "), JCM-04 (24/11")
    assert "agensi" not in text
    await env.later(HOUR)


# -- silences --------------------------------------------------------------------------------------------------------


def silencer(env: SimulatedEnv) -> Silencer:
    return Silencer(env.real_store, env.dispatcher, env.clock, lambda: {"JCM": "JCM", "MDC": "MDC"})


async def test_silence_suppresses_notifications_until_its_end(either_env: SimulatedEnv) -> None:
    """A silence suppresses notifications until its end; what still fails is notified then."""
    env = either_env
    await silencer(env).add("JCM", 20 * MINUTE, "naik taraf pelayan", "Puan NOC Contoh")
    await outage(env, of("JCM", BY_SMS, BY_CALL))
    await outage(env, of("MDC", replace(BY_SMS, contacts=(RAVI_CONTOH,))))
    await env.ravi.gets("MDC-01")
    await env.advance(20 * MINUTE - SECOND)
    env.expect_nothing_more()

    await env.advance(SECOND)
    await env.siti.gets("JCM-01")


async def test_silence_during_escalation_suspends_and_resumes_it(env: SimulatedEnv) -> None:
    """A silence during an escalation suspends it, and it continues where it stopped."""
    steps = (BY_SMS, BY_CALL, replace(BY_CALL, contacts=(RAVI_CONTOH,)))
    await outage(env, of("JCM", *steps))
    await env.siti.gets("JCM-01")
    await env.advance(MINUTE)
    added = await silencer(env).add("JCM", HOUR, "sedang dibaiki", "Puan NOC Contoh")
    await env.advance(30 * MINUTE)
    env.expect_nothing_more()

    # It ends early. One step is due, and not all that were missed.
    await silencer(env).remove(added.id, "Puan NOC Contoh")
    await env.settle()
    await env.siti.is_called("gagal")
    env.expect_nothing_more()
    env.ravi.presses("1")
    await env.advance(5 * MINUTE)
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    while env.siti.waits:
        await env.siti.is_called("gagal")
    await env.ravi.is_called(keys="1")


async def test_outage_over_before_silence_ends_is_not_notified(env: SimulatedEnv) -> None:
    """An outage that ends during a silence is never notified."""
    await silencer(env).add("JCM", HOUR, "naik taraf pelayan", "Puan NOC Contoh")
    await outage(env, of("JCM", BY_SMS, BY_CALL))
    await env.advance(30 * MINUTE)
    await env.resolve()
    await env.advance(2 * HOUR)


async def test_notification_waiting_when_silence_begins_is_sent_at_its_end(env: SimulatedEnv) -> None:
    """A notification that waits when a silence begins waits for its end."""
    await outage(env, of("JCM"))
    await outage(env, of("MDC", BY_SMS, BY_CALL))
    await env.siti.gets("JCM-01")  # The other waits two minutes for the bundle.
    await silencer(env).add("MDC", 10 * MINUTE, "sedang dibaiki", "Puan NOC Contoh")
    env.siti.presses("1")
    await env.advance(10 * MINUTE - SECOND)
    env.expect_nothing_more()

    await env.advance(SECOND)
    await env.siti.gets("MDC-01")
