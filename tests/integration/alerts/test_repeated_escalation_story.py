"""An outage without assignee, notified again for as long as it lasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise

import pytest

from alerts.hours.calendar import Calendar
from alerts.hours.office_hours import OfficeHours
from alerts.inbound.pin import PinStore, hash_pin
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.incident import IncidentState
from alerts.model.notification import IncidentType, Language
from alerts.model.oncall import Layer, Rota
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, RedialPolicy, Step
from monitor.config.fields.window import MALAYSIA
from pantau_lab.carrier.phone import Call, PhoneBehaviour, Sms
from tests.integration.alerts.simulated_env import MEI, NOC, SimulatedEnv
from tests.integration.alerts.test_escalation_story import auditor_of
from tests.unit.alerts.people import MINISTRY, MINUTE, RAVI, SECOND, SITI, SNAPSHOT, trigger

pytestmark = pytest.mark.story

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
AT_ONCE = timedelta(0)
PIN = "280146"
OFFICE = OfficeHours(calendar=Calendar(), zone=MALAYSIA)
#: The longest gap: an hour, and two minutes for the bundle.
MAX_GAP = HOUR + 3 * MINUTE
HEAD = Contact(
    key="ketua",
    name="Ketua Contoh",
    language=Language.MALAY,
    addresses=(Address(channel=Channel.VOICE, number=MEI),),
)
#: The plan of docs/how-to/agency-officer/on-call.md; 2026-11-23 is a Monday.
DUTY = Rota(
    name="JCM/bertugas", zone=MALAYSIA, layers=(Layer(people=(SITI, RAVI), starts_on=date(2026, 11, 23), shift_days=7),)
)
ON_CALL = EscalationPolicy(
    steps=(
        Step(after=AT_ONCE, rotas=(DUTY.name,), channels=(Channel.SMS, Channel.VOICE)),
        Step(
            after=5 * MINUTE,
            rotas=(DUTY.name,),
            channels=(Channel.VOICE,),
            redial=RedialPolicy(interval=2 * MINUTE, times=5),
        ),
        Step(after=15 * MINUTE, contacts=(HEAD,), rotas=(DUTY.name,), channels=(Channel.VOICE,)),
    ),
    rotas=(DUTY,),
    office_hours=OFFICE,
)
#: The plan of README.md.
ONE_SMS = EscalationPolicy(steps=(Step(after=AT_ONCE, contacts=(SITI,), channels=(Channel.SMS,)),))


def by(policy: EscalationPolicy, announcement: AnnouncementPlan | None = None) -> PolicySnapshot:
    return replace(SNAPSHOT, escalation=policy, announcement=announcement or AnnouncementPlan())


async def open_outage(
    env: SimulatedEnv, snapshot: PolicySnapshot, at: str, matter: IncidentType = IncidentType.BOTH
) -> None:
    env.clock.moment = datetime.fromisoformat(at).replace(tzinfo=MALAYSIA)
    await env.submit(trigger(matter, env.clock.now(), snapshot))


def received(env: SimulatedEnv, number: str | None = None) -> list[tuple[datetime, str]]:
    """Return when staff, or one person, got a notification of an escalation, and its kind: "call" or "SMS"."""
    things: list[Sms | Call] = [*env.carrier.messages, *env.carrier.calls]
    wanted = {number} if number else {SITI.addresses[0].number, RAVI.addresses[0].number, MEI}
    # An SMS reply has no callback.
    mine = [thing for thing in things if thing.to in wanted and thing.callback]
    return sorted((thing.created_at, "call" if isinstance(thing, Call) else "SMS") for thing in mine)


def longest_gap(env: SimulatedEnv) -> timedelta:
    """Return the longest time in which no staff got anything, until now."""
    times = [at for at, _ in received(env)]
    return max(after - before for before, after in pairwise([*times, env.clock.now()]))


def night(env: SimulatedEnv, number: str, day: int) -> Sequence[str]:
    """Return what a person got between 22:00 of a day of November and 7:30."""
    evening = datetime(2026, 11, day, 22, tzinfo=MALAYSIA)
    return [what for at, what in received(env, number) if evening <= at < evening + 9.5 * HOUR]


def expect_all(env: SimulatedEnv) -> None:
    things: list[Sms | Call] = [*env.carrier.messages, *env.carrier.calls]
    for thing in things:
        thing.expected = True


async def test_unanswered_officer_is_called_hourly_and_whole_plan_at_eight(env: SimulatedEnv) -> None:
    """After the last round whoever is on duty is called every hour, and the whole plan at eight."""
    env.siti.behaves(PhoneBehaviour.NO_ANSWER)
    env.mei.behaves(PhoneBehaviour.NO_ANSWER)
    await open_outage(env, by(ON_CALL), "2026-11-23 23:30")
    env.run_every(19 * MINUTE, auditor_of(env).audit)
    await env.advance(datetime(2026, 11, 26, 11, tzinfo=MALAYSIA) - env.clock.now())

    assert longest_gap(env) <= MAX_GAP
    # In the following nights one call an hour, and an SMS after each unanswered call.
    for day in (24, 25):
        assert 9 <= night(env, SITI.addresses[0].number, day).count("call") <= 12
        assert night(env, MEI, day) == []
    ketua = [
        at.astimezone(MALAYSIA) for at, _ in received(env, MEI) if at >= datetime(2026, 11, 24, 7, tzinfo=MALAYSIA)
    ]
    assert [f"{at:%d %H.%M}" for at in ketua] == ["24 08.00", "25 08.00", "26 08.00"]
    assert "step overdue" not in await env.journal()
    # An acknowledgement ends it.
    env.siti.presses("1")
    expect_all(env)
    await env.advance(HOUR)
    assert (await env.incident()).state is IncidentState.ACKNOWLEDGED
    expect_all(env)
    await env.resolve()
    assert f"{env.clock.now().astimezone(MALAYSIA):%a %H.%M}" == "Thu 12.00"
    await env.siti.gets("PULIH")
    expect_all(env)


async def test_ignored_reminder_notifies_officer_again_each_time(env: SimulatedEnv) -> None:
    """An officer who answers each alert and ignores each reminder is notified again, and the reminder says so."""
    await open_outage(env, by(replace(ONE_SMS, office_hours=OFFICE)), "2026-11-24 08:00")
    until = datetime(2026, 11, 26, 9, tzinfo=MALAYSIA)
    while env.clock.now() < until:
        assert "MASIH GAGAL" in (text := await env.siti.gets("JCM-01")) or "AMARAN" in text
        assert "telah disahkan oleh Siti" in await env.siti.replies("1A")
        await env.advance(50 * MINUTE)
        # The reminder says what will happen, and she ignores it.
        await env.siti.gets("PERINGATAN. JCM-01", "atau tuan/puan dan NOC dihubungi")
        await env.advance(10 * MINUTE)
    await env.siti.gets("MASIH GAGAL")
    assert (await env.journal()).count("acknowledgement expired") == 49
    assert longest_gap(env) <= MAX_GAP


async def test_expired_acknowledgement_uses_up_no_step(env: SimulatedEnv) -> None:
    """An expired acknowledgement uses up no step."""
    call = Step(after=5 * MINUTE, contacts=(SITI,), channels=(Channel.VOICE,))
    policy = replace(ONE_SMS, steps=(*ONE_SMS.steps, call))
    env.siti.presses(*["1"] * 99)
    await open_outage(env, by(policy), "2026-11-24 08:00")
    for _ in range(4):
        await env.siti.gets("JCM-01")
        await env.siti.replies("1A")
        await env.advance(HOUR)
        await env.siti.gets("PERINGATAN", "atau tuan/puan dan NOC dihubungi")
        await env.siti.is_called("masih gagal", keys="1")
        await env.advance(HOUR)
        await env.siti.gets("PERINGATAN")
    await env.siti.gets("MASIH GAGAL")


async def test_noc_incident_repeats_too(env: SimulatedEnv) -> None:
    """The NOC's own incidents repeat as well."""
    await open_outage(env, by(replace(ONE_SMS, rounds=1, repeat_interval=DAY)), "2026-11-24 08:00")
    env.run_every(30 * SECOND, auditor_of(env, repeat_interval=HOUR).audit)
    await env.advance(6 * HOUR)
    await env.siti.gets("AMARAN")
    alerts = [at for at, _ in received(env, NOC)]
    assert len(alerts) >= 6
    assert max(after - before for before, after in pairwise(alerts)) <= MAX_GAP
    assert len(alerts) == len(set(alerts)), "one at a time"
    expect_all(env)


@pytest.mark.parametrize("setback", [timedelta(0), timedelta(hours=3)])
async def test_restart_and_clock_set_back_do_not_change_repeats(either_env: SimulatedEnv, setback: timedelta) -> None:
    """A restart and a clock set back change no repeat."""
    env = either_env
    await open_outage(env, by(replace(ONE_SMS, rounds=1)), "2026-11-24 08:00")
    await env.siti.gets("AMARAN")
    for _ in range(3):
        await env.advance(30 * MINUTE)
        env.expect_nothing_more()
        env.clock.moment -= setback
        env.restart()
        # After a clock was set back the last time is unknown: at most an hour is added.
        await env.advance(HOUR if setback else 30 * MINUTE)
        await env.siti.gets("AMARAN")


async def test_repeated_call_offers_waiting_release(env: SimulatedEnv) -> None:
    """A repeated call offers the waiting release."""
    env.pins = PinStore({("JCM", "siti"): hash_pin(PIN)})
    call = Step(after=AT_ONCE, contacts=(SITI,), channels=(Channel.VOICE,))
    env.siti.behaves(PhoneBehaviour.NO_ANSWER)
    await open_outage(
        env,
        by(replace(ONE_SMS, steps=(call,), rounds=1), AnnouncementPlan(recipients=(MINISTRY,))),
        "2026-11-24 02:00",
    )
    await env.advance(HOUR - SECOND)
    for _ in range(3):
        await env.siti.misses_call()
    env.expect_nothing_more()
    env.siti.presses("5", f"{PIN}#", "1")
    await env.advance(SECOND)

    await env.siti.is_called("Tekan lima", "Notis telah dikeluarkan", keys=f"5{PIN}1")
    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")


# -- handed on -------------------------------------------------------------------------------------------------------


def sms_to(*contacts: Contact) -> Iterator[Step]:
    for number, each in enumerate(contacts):
        yield Step(after=number * 5 * MINUTE, contacts=(each,), channels=(Channel.SMS,))


async def test_escalation_after_last_round_notifies_person_notified_before(either_env: SimulatedEnv) -> None:
    """Escalating after the last round notifies a person who was notified before."""
    env = either_env
    await open_outage(env, by(replace(ONE_SMS, steps=tuple(sms_to(SITI, RAVI)), rounds=1)), "2026-11-24 02:00")
    await env.advance(30 * MINUTE)
    await env.siti.gets("AMARAN")
    await env.ravi.gets("AMARAN")

    answer = await env.ravi.replies("serah 1A")
    assert answer == "RM0 JCM: JCM-01 telah diserahkan. Pegawai seterusnya sedang dihubungi. Terima kasih."
    await env.siti.gets("MASIH GAGAL", "Diserahkan oleh Ravi Contoh")
    assert "telah disahkan oleh Siti Contoh" in await env.siti.replies("1A")
    await env.ravi.gets("telah disahkan oleh Siti Contoh")
    # And back to Ravi.
    await env.siti.replies("serah 1A")
    await env.ravi.gets("MASIH GAGAL", "Diserahkan oleh Siti Contoh")


async def test_escalation_by_last_person_reports_nobody_left_to_them_and_noc(either_env: SimulatedEnv) -> None:
    """The last person of a plan who escalates is told that nobody is left and when repeats come.

    The NOC is told at once.
    """
    env = either_env
    await open_outage(env, by(ONE_SMS), "2026-11-24 02:00")
    env.run_every(30 * SECOND, auditor_of(env).audit)
    await env.siti.gets("AMARAN")
    await env.advance(5 * MINUTE)

    answer = await env.siti.replies("serah 1A")
    assert (
        answer
        == "RM0 JCM: JCM-01 telah diserahkan, tetapi tiada pegawai lain. Tuan/puan dihubungi semula 24/11, 3.00 pg."
    )
    await env.advance(MINUTE)
    await env.noc.gets("RM0 PANTAU: AMARAN", "JCM-01 (Siti Contoh) belum sampai, disahkan atau dijawab")
    await env.advance(54 * MINUTE - SECOND)
    env.expect_nothing_more()
    await env.advance(SECOND)
    await env.siti.gets("MASIH GAGAL", "Diserahkan oleh Siti Contoh")
    assert "step overdue" not in await env.journal()


async def test_escalation_in_call_by_last_person_reports_nobody_left(env: SimulatedEnv) -> None:
    """The last person of a plan who escalates in a call is told so."""
    call = Step(after=AT_ONCE, contacts=(SITI,), channels=(Channel.VOICE,))
    env.siti.presses("4")
    await open_outage(env, by(replace(ONE_SMS, steps=(call,))), "2026-11-24 02:00")
    said = await env.siti.is_called("telah diserahkan, tetapi tiada pegawai lain", keys="4")
    assert "Pegawai seterusnya sedang dihubungi" not in said
    await env.advance(40 * MINUTE)
