"""Who is on call: handovers, substitutes, fallback, office hours and rest days."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from alerts.hours.calendar import Calendar, State
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.notification import Language
from alerts.model.oncall import Days, Layer, Rota
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, Step
from monitor.config.fields.window import MALAYSIA
from tests.integration.alerts.simulated_env import DESK, MEI, NOC, SimulatedEnv
from tests.unit.alerts.people import FAX, LONG, MINISTRY, MINUTE, RAVI, SECOND, SITI, SNAPSHOT, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
AT_ONCE = timedelta(0)
OFFICE_HOURS = OfficeHours(calendar=Calendar(), zone=MALAYSIA)


def voice(number: str, **more: str) -> Address:
    return Address(channel=Channel.VOICE, number=number, **more)  # type: ignore[arg-type]


MEI_CONTOH = Contact(key="mei", name="Mei Contoh", language=Language.ENGLISH, addresses=(voice(MEI),))
OPERATIONS = Contact(key="noc", name="Pegawai NOC", language=Language.MALAY, addresses=(voice(NOC),))
#: Daily shifts, handed over at 8.00; 24 November is Siti's.
DAILY = Rota(
    name="JCM/harian", zone=MALAYSIA, layers=(Layer(people=(SITI, RAVI), starts_on=date(2026, 11, 24), shift_days=1),)
)
#: Weekly shifts, handed over on Tuesday.
WEEKLY = replace(DAILY, name="JCM/mingguan", layers=(replace(DAILY.layers[0], shift_days=7),))
#: Nobody is on call before 2030.
EMPTY = replace(DAILY, name="JCM/kosong", layers=(replace(DAILY.layers[0], starts_on=date(2030, 1, 1)),))


def call(after: timedelta, rota: Rota) -> Step:
    return Step(after=after, rotas=(rota.name,), channels=(Channel.VOICE,))


def told_by(*steps: Step, rota: Rota = DAILY, fallback: Contact | None = None) -> PolicySnapshot:
    policy = EscalationPolicy(
        steps=steps,
        rounds=1,
        repeat_interval=LONG,
        rotas=(rota, EMPTY),
        fallback=fallback,
        acknowledgement_timeout=LONG,
    )
    return replace(SNAPSHOT, escalation=policy, announcement=AnnouncementPlan())


async def outage(env: SimulatedEnv, snapshot: PolicySnapshot, at: datetime) -> None:
    env.clock.moment = at
    await env.submit(trigger(at=at, snapshot=snapshot))


@pytest.mark.parametrize(
    ("rota", "morning", "taker"),
    [
        (DAILY, datetime(2026, 11, 25, 8, tzinfo=MALAYSIA), "Ravi Contoh"),
        (WEEKLY, datetime(2026, 11, 25, 8, tzinfo=MALAYSIA), "Siti Contoh"),
        (WEEKLY, datetime(2026, 12, 1, 8, tzinfo=MALAYSIA), "Ravi Contoh"),
    ],
    ids=["daily", "in the middle of the week", "weekly"],
)
async def test_duty_handover_during_escalation_applies_to_following_steps(
    env: SimulatedEnv, rota: Rota, morning: datetime, taker: str
) -> None:
    """Duties are handed over at their time, during an escalation too."""
    steps = [Step(after=wait, rotas=(rota.name,), channels=(Channel.SMS,)) for wait in (AT_ONCE, *[5 * MINUTE] * 2)]
    await outage(env, told_by(*steps, rota=rota), morning - 6 * MINUTE)
    await env.siti.gets("AMARAN")
    await env.advance(5 * MINUTE)  # A minute before the handover.
    await env.siti.gets("AMARAN")
    await env.advance(5 * MINUTE)
    person = env.siti if taker == SITI.name else env.ravi
    if person != env.siti:
        await person.gets("SERAH TUGAS daripada Siti", "Balas 1A untuk sahkan")
    await person.gets("AMARAN", "Balas 1A untuk sahkan")

    assert await person.replies("1A") == f"RM0 JCM: JCM-01 telah disahkan oleh {taker}. Terima kasih."
    if person != env.siti:
        await env.siti.gets(f"JCM-01 telah disahkan oleh {taker}")


async def test_substitute_is_called_and_recorded_by_name(either_env: SimulatedEnv) -> None:
    """A substitute is called, recorded by name and told of the end."""
    env = either_env
    async with env.real_store.transaction() as uow:
        now = env.clock.now()
        await uow.oncall.add(
            rota=DAILY.name, contact=MEI_CONTOH, starts_at=now, ends_at=now + 2 * HOUR, by="Pegawai Contoh", now=now
        )
    env.mei.presses("1")
    await env.submit(trigger(snapshot=told_by(call(AT_ONCE, DAILY), call(HOUR, DAILY))))

    await env.mei.is_called("Your confirmation has been recorded", keys="1")
    assert (await env.incident()).acknowledged_by == "Mei Contoh"
    await env.advance(3 * HOUR)
    # Siti is on duty again, and is told who acknowledged.
    await env.siti.gets("SERAH TUGAS", "Disahkan oleh Mei Contoh")
    await env.resolve()
    await env.mei.is_called("working again")
    await env.siti.gets("PULIH")


async def test_nobody_on_call_calls_fallback_at_once_and_counts_it(env: SimulatedEnv) -> None:
    """When nobody is on call, the fallback is called at once."""
    env.noc.presses("1")
    await env.submit(trigger(snapshot=told_by(call(AT_ONCE, EMPTY), call(10 * MINUTE, DAILY), fallback=OPERATIONS)))

    await env.noc.is_called(keys="1")
    await env.advance(HOUR)
    assert env.value('pantau_nobody_on_call_total{agency="JCM"}') == 1
    assert "nobody is on call" in await env.journal()


async def test_nobody_on_call_without_fallback_starts_next_step(env: SimulatedEnv) -> None:
    """Without anybody on call and without a fallback the next step starts at once."""
    env.siti.presses("1")
    await env.submit(trigger(snapshot=told_by(call(AT_ONCE, EMPTY), call(HOUR, DAILY))))

    await env.siti.is_called(keys="1")
    await env.advance(2 * HOUR)


async def test_office_line_uses_extension_and_mobile_first_outside_hours(env: SimulatedEnv) -> None:
    """An office line has extension digits and office hours; outside of them the mobile is called first."""
    env.add_phone(DESK, landline=True, extension="1234", keys=["1"])
    siti = replace(SITI, addresses=(replace(voice(DESK, extension="1234"), hours=OFFICE_HOURS), *SITI.addresses))
    step = Step(after=AT_ONCE, contacts=(siti,), channels=(Channel.VOICE,))
    desk = told_by(step)

    await outage(env, desk, datetime(2026, 11, 24, 10, tzinfo=MALAYSIA))
    await env.person(DESK).is_called("telah disahkan", keys="1")
    await env.resolve()
    await env.siti.gets("PULIH")  # A recovery is an SMS.

    await env.advance(HOUR)
    env.siti.presses("1")
    await outage(env, desk, datetime(2026, 11, 24, 22, tzinfo=MALAYSIA))
    await env.siti.is_called(keys="1")


HOLIDAYS = {
    "a workday": (date(2026, 12, 3), Calendar(), "siti"),
    "a Saturday": (date(2026, 12, 5), Calendar(), "ravi"),
    "a Friday in Kelantan": (date(2026, 12, 4), Calendar(state=State.KELANTAN), "ravi"),
    "a Sunday in Kelantan": (date(2026, 12, 6), Calendar(state=State.KELANTAN), "siti"),
    "Christmas": (date(2026, 12, 25), Calendar(), "ravi"),
    "a day that was gazetted": (date(2026, 12, 3), Calendar(holidays=(date(2026, 12, 3),)), "ravi"),
}


@pytest.mark.parametrize(("day", "calendar", "whose"), HOLIDAYS.values(), ids=HOLIDAYS)
async def test_rest_days_follow_state_calendar(env: SimulatedEnv, day: date, calendar: Calendar, whose: str) -> None:
    """Rest days follow the state's weekend and gazetted holidays."""
    layers = (
        Layer(days=Days.WORKDAYS, people=(SITI,), starts_on=date(2026, 11, 1)),
        Layer(days=Days.REST, people=(RAVI,), starts_on=date(2026, 11, 1)),
    )
    rota = replace(DAILY, calendar=calendar, layers=layers)
    for person in (env.siti, env.ravi):
        person.presses("1")
    at = datetime(day.year, day.month, day.day, 12, tzinfo=MALAYSIA)
    await outage(env, told_by(call(AT_ONCE, rota), rota=rota), at)

    await (env.siti if whose == "siti" else env.ravi).is_called(keys="1")


async def test_fax_released_in_evening_waits_over_holiday_and_weekend(
    env: SimulatedEnv,
) -> None:
    """A fax released in the evening waits for office hours over Christmas and the weekend."""
    machine = replace(FAX, hours=OFFICE_HOURS)
    ministry = replace(MINISTRY, addresses=(machine,))
    step = Step(after=AT_ONCE, contacts=(SITI,), channels=(Channel.SMS,))
    snapshot = replace(told_by(step), announcement=AnnouncementPlan(recipients=(ministry,)))
    await outage(env, snapshot, datetime(2026, 12, 24, 18, tzinfo=MALAYSIA))
    await env.siti.gets("AMARAN")
    await env.acknowledge()
    await env.release()
    for _ in range(7):
        await env.advance(12 * HOUR)
        env.expect_nothing_more()
    await env.advance(2 * HOUR - SECOND)
    env.expect_nothing_more()

    assert env.clock.now() == datetime(2026, 12, 28, 8, tzinfo=MALAYSIA) - SECOND
    await env.advance(SECOND)
    env.gets_fax("JCM-01")
