"""An outage that nobody has is told again for as long as it lasts, told as stories."""

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
from tests.integration.alerts.test_escalation_story import auditor_of
from tests.integration.alerts.town import MEI, NOC, Town
from tests.unit.alerts.people import BRIEF, MINISTRY, MINUTE, RAVI, SECOND, SITI, trigger

pytestmark = pytest.mark.story

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
AT_ONCE = timedelta(0)
PIN = "280146"
OFFICE = OfficeHours(calendar=Calendar(), zone=MALAYSIA)
#: How much later than after an hour a message may leave: others are gathered for two minutes.
BOUND = HOUR + 3 * MINUTE
KETUA = Contact(
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
        Step(after=15 * MINUTE, contacts=(KETUA,), rotas=(DUTY.name,), channels=(Channel.VOICE,)),
    ),
    rotas=(DUTY,),
    office_hours=OFFICE,
)
#: The plan of README.md.
ONE_SMS = EscalationPolicy(steps=(Step(after=AT_ONCE, contacts=(SITI,), channels=(Channel.SMS,)),))


def by(policy: EscalationPolicy, announcement: AnnouncementPlan | None = None) -> PolicySnapshot:
    return replace(BRIEF, escalation=policy, announcement=announcement or AnnouncementPlan())


async def begins(town: Town, brief: PolicySnapshot, at: str, matter: IncidentType = IncidentType.BOTH) -> None:
    town.clock.moment = datetime.fromisoformat(at).replace(tzinfo=MALAYSIA)
    await town.submit(trigger(matter, town.clock.now(), brief))


def told(town: Town, number: str | None = None) -> list[tuple[datetime, str]]:
    """Return when staff, or one of them, got something of an escalation, and what: "call" or "SMS"."""
    things: list[Sms | Call] = [*town.carrier.messages, *town.carrier.calls]
    wanted = {number} if number else {SITI.addresses[0].number, RAVI.addresses[0].number, MEI}
    # What answers an SMS has no callback.
    mine = [thing for thing in things if thing.to in wanted and thing.callback]
    return sorted((thing.created_at, "call" if isinstance(thing, Call) else "SMS") for thing in mine)


def longest(town: Town) -> timedelta:
    """Return for how long nobody of the staff got anything, until now."""
    times = [at for at, _ in told(town)]
    return max(after - before for before, after in pairwise([*times, town.clock.now()]))


def night(town: Town, number: str, day: int) -> Sequence[str]:
    """Return what somebody got between ten in the evening of a day of November and half past seven."""
    evening = datetime(2026, 11, day, 22, tzinfo=MALAYSIA)
    return [what for at, what in told(town, number) if evening <= at < evening + 9.5 * HOUR]


def expect_all(town: Town) -> None:
    things: list[Sms | Call] = [*town.carrier.messages, *town.carrier.calls]
    for thing in things:
        thing.expected = True


async def test_escalation_officer_asleep_is_called_every_hour_and_everybody_at_eight(town: Town) -> None:
    """After the last round whoever is on duty is called every hour, and the whole plan at eight."""
    town.siti.behaves(PhoneBehaviour.NO_ANSWER)
    town.mei.behaves(PhoneBehaviour.NO_ANSWER)
    await begins(town, by(ON_CALL), "2026-11-23 23:30")
    town.go_round(19 * MINUTE, auditor_of(town).audit)
    await town.advance(datetime(2026, 11, 26, 11, tzinfo=MALAYSIA) - town.clock.now())

    assert longest(town) <= BOUND
    # In the nights that follow a call an hour, and an SMS after the call that she did not take.
    for day in (24, 25):
        assert 9 <= night(town, SITI.addresses[0].number, day).count("call") <= 12
        assert night(town, MEI, day) == []
    ketua = [at.astimezone(MALAYSIA) for at, _ in told(town, MEI) if at >= datetime(2026, 11, 24, 7, tzinfo=MALAYSIA)]
    assert [f"{at:%d %H.%M}" for at in ketua] == ["24 08.00", "25 08.00", "26 08.00"]
    assert "step overdue" not in await town.journal()
    # Somebody who takes it on ends it.
    town.siti.presses("1")
    expect_all(town)
    await town.advance(HOUR)
    assert (await town.incident()).state is IncidentState.ACKNOWLEDGED
    expect_all(town)
    await town.resolve()
    assert f"{town.clock.now().astimezone(MALAYSIA):%a %H.%M}" == "Thu 12.00"
    await town.siti.gets("PULIH")
    expect_all(town)


async def test_escalation_officer_who_forgets_each_reminder_is_told_again_each_time(town: Town) -> None:
    """An officer who answers each alert and ignores each reminder is notified again, and the reminder says so."""
    await begins(town, by(replace(ONE_SMS, office_hours=OFFICE)), "2026-11-24 08:00")
    until = datetime(2026, 11, 26, 9, tzinfo=MALAYSIA)
    while town.clock.now() < until:
        assert "MASIH GAGAL" in (text := await town.siti.gets("JCM-01")) or "AMARAN" in text
        assert "telah disahkan oleh Siti" in await town.siti.replies("1A")
        await town.advance(50 * MINUTE)
        # It says what will happen, and she forgets.
        await town.siti.gets("PERINGATAN. JCM-01", "atau tuan/puan dan NOC dihubungi")
        await town.advance(10 * MINUTE)
    await town.siti.gets("MASIH GAGAL")
    assert (await town.journal()).count("acknowledgement expired") == 49
    assert longest(town) <= BOUND


async def test_escalation_two_steps_and_one_officer_who_always_answers_never_ends(town: Town) -> None:
    """An expired acknowledgement uses up no step."""
    call = Step(after=5 * MINUTE, contacts=(SITI,), channels=(Channel.VOICE,))
    policy = replace(ONE_SMS, steps=(*ONE_SMS.steps, call))
    town.siti.presses(*["1"] * 99)
    await begins(town, by(policy), "2026-11-24 08:00")
    for _ in range(4):
        await town.siti.gets("JCM-01")
        await town.siti.replies("1A")
        await town.advance(HOUR)
        await town.siti.gets("PERINGATAN", "atau tuan/puan dan NOC dihubungi")
        await town.siti.is_called("masih gagal", keys="1")
        await town.advance(HOUR)
        await town.siti.gets("PERINGATAN")
    await town.siti.gets("MASIH GAGAL")


async def test_escalation_of_the_operations_centres_own_incident_repeats_as_well(town: Town) -> None:
    """The NOC's own incidents repeat as well."""
    await begins(town, by(replace(ONE_SMS, rounds=1, repeat_interval=DAY)), "2026-11-24 08:00")
    town.go_round(30 * SECOND, auditor_of(town, repeat_interval=HOUR).audit)
    await town.advance(6 * HOUR)
    await town.siti.gets("AMARAN")
    alerts = [at for at, _ in told(town, NOC)]
    assert len(alerts) >= 6
    assert max(after - before for before, after in pairwise(alerts)) <= BOUND
    assert len(alerts) == len(set(alerts)), "one at a time"
    expect_all(town)


@pytest.mark.parametrize("setback", [timedelta(0), timedelta(hours=3)])
async def test_escalation_restart_and_clock_set_back_leave_the_repeats_as_they_are(
    either_town: Town, setback: timedelta
) -> None:
    """A restart and a clock set back change no repeat."""
    town = either_town
    await begins(town, by(replace(ONE_SMS, rounds=1)), "2026-11-24 08:00")
    await town.siti.gets("AMARAN")
    for _ in range(3):
        await town.advance(30 * MINUTE)
        town.expect_nothing_more()
        town.clock.moment -= setback
        town.restart()
        # By a clock that was set back it is not known how long ago she was told: an hour at most is added.
        await town.advance(HOUR if setback else 30 * MINUTE)
        await town.siti.gets("AMARAN")


async def test_escalation_repeat_offers_the_release_that_waits(town: Town) -> None:
    """A repeated call offers the waiting release."""
    town.pins = PinStore({("JCM", "siti"): hash_pin(PIN)})
    call = Step(after=AT_ONCE, contacts=(SITI,), channels=(Channel.VOICE,))
    town.siti.behaves(PhoneBehaviour.NO_ANSWER)
    await begins(
        town,
        by(replace(ONE_SMS, steps=(call,), rounds=1), AnnouncementPlan(recipients=(MINISTRY,))),
        "2026-11-24 02:00",
    )
    await town.advance(HOUR - SECOND)
    for _ in range(3):
        await town.siti.is_rung()
    town.expect_nothing_more()
    town.siti.presses("5", f"{PIN}#", "1")
    await town.advance(SECOND)

    await town.siti.is_called("Tekan lima", "Notis telah dikeluarkan", keys=f"5{PIN}1")
    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")


# -- handed on -------------------------------------------------------------------------------------------------------


def sms_to(*contacts: Contact) -> Iterator[Step]:
    for number, each in enumerate(contacts):
        yield Step(after=number * 5 * MINUTE, contacts=(each,), channels=(Channel.SMS,))


async def test_escalation_handed_on_after_the_last_round_finds_whoever_was_told_already(either_town: Town) -> None:
    """Escalating after the last round notifies a person who was notified before."""
    town = either_town
    await begins(town, by(replace(ONE_SMS, steps=tuple(sms_to(SITI, RAVI)), rounds=1)), "2026-11-24 02:00")
    await town.advance(30 * MINUTE)
    await town.siti.gets("AMARAN")
    await town.ravi.gets("AMARAN")

    answer = await town.ravi.replies("serah 1A")
    assert answer == "RM0 JCM: JCM-01 telah diserahkan. Pegawai seterusnya sedang dihubungi. Terima kasih."
    await town.siti.gets("MASIH GAGAL", "Diserahkan oleh Ravi Contoh")
    assert "telah disahkan oleh Siti Contoh" in await town.siti.replies("1A")
    await town.ravi.gets("telah disahkan oleh Siti Contoh")
    # And back again.
    await town.siti.replies("serah 1A")
    await town.ravi.gets("MASIH GAGAL", "Diserahkan oleh Siti Contoh")


async def test_escalation_handed_on_by_the_last_of_the_plan_says_so_to_them_and_the_noc(either_town: Town) -> None:
    """The last person of a plan who escalates is told that nobody is left and when repeats come.

    The NOC is told at once.
    """
    town = either_town
    await begins(town, by(ONE_SMS), "2026-11-24 02:00")
    town.go_round(30 * SECOND, auditor_of(town).audit)
    await town.siti.gets("AMARAN")
    await town.advance(5 * MINUTE)

    answer = await town.siti.replies("serah 1A")
    assert (
        answer
        == "RM0 JCM: JCM-01 telah diserahkan, tetapi tiada pegawai lain. Tuan/puan dihubungi semula 24/11, 3.00 pg."
    )
    await town.advance(MINUTE)
    await town.noc.gets("RM0 PANTAU: AMARAN", "JCM-01 (Siti Contoh) belum sampai, disahkan atau dijawab")
    await town.advance(54 * MINUTE - SECOND)
    town.expect_nothing_more()
    await town.advance(SECOND)
    await town.siti.gets("MASIH GAGAL", "Diserahkan oleh Siti Contoh")
    assert "step overdue" not in await town.journal()


async def test_escalation_handed_on_in_a_call_by_the_last_of_the_plan_says_so(town: Town) -> None:
    """The last person of a plan who escalates in a call is told so."""
    call = Step(after=AT_ONCE, contacts=(SITI,), channels=(Channel.VOICE,))
    town.siti.presses("4")
    await begins(town, by(replace(ONE_SMS, steps=(call,))), "2026-11-24 02:00")
    said = await town.siti.is_called("telah diserahkan, tetapi tiada pegawai lain", keys="4")
    assert "Pegawai seterusnya sedang dihubungi" not in said
    await town.advance(40 * MINUTE)
