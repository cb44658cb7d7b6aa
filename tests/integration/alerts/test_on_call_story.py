"""Who is on call, told as stories: the telephone that rings is that of whoever has the duty when it rings."""

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
from tests.integration.alerts.town import DESK, MEI, NOC, Town
from tests.unit.alerts.people import BRIEF, FAX, LONG, MINISTRY, MINUTE, RAVI, SECOND, SITI, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
AT_ONCE = timedelta(0)
OFFICE_HOURS = OfficeHours(calendar=Calendar(), zone=MALAYSIA)


def voice(number: str, **more: str) -> Address:
    return Address(channel=Channel.VOICE, number=number, **more)  # type: ignore[arg-type]


MEI_CONTOH = Contact(key="mei", name="Mei Contoh", language=Language.ENGLISH, addresses=(voice(MEI),))
OPERATIONS = Contact(key="noc", name="Pegawai NOC", language=Language.MALAY, addresses=(voice(NOC),))
#: Turns of a day, handed over at 8.00 in the morning; on 24 November it is Siti's.
DAILY = Rota(
    name="JCM/harian", zone=MALAYSIA, layers=(Layer(people=(SITI, RAVI), starts_on=date(2026, 11, 24), shift_days=1),)
)
#: Turns of a week, handed over on Tuesday.
WEEKLY = replace(DAILY, name="JCM/mingguan", layers=(replace(DAILY.layers[0], shift_days=7),))
#: Nobody has it before 2030.
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
    return replace(BRIEF, escalation=policy, announcement=AnnouncementPlan())


async def outage(town: Town, brief: PolicySnapshot, at: datetime) -> None:
    town.clock.moment = at
    await town.submit(trigger(at=at, brief=brief))


@pytest.mark.parametrize(
    ("rota", "morning", "taker"),
    [
        (DAILY, datetime(2026, 11, 25, 8, tzinfo=MALAYSIA), "Ravi Contoh"),
        (WEEKLY, datetime(2026, 11, 25, 8, tzinfo=MALAYSIA), "Siti Contoh"),
        (WEEKLY, datetime(2026, 12, 1, 8, tzinfo=MALAYSIA), "Ravi Contoh"),
    ],
    ids=["daily", "in the middle of the week", "weekly"],
)
async def test_whoever_takes_the_duty_over_is_told_by_the_steps_that_follow(
    town: Town, rota: Rota, morning: datetime, taker: str
) -> None:
    """Duties are handed over at their time, during an escalation too."""
    steps = [Step(after=wait, rotas=(rota.name,), channels=(Channel.SMS,)) for wait in (AT_ONCE, *[5 * MINUTE] * 2)]
    await outage(town, told_by(*steps, rota=rota), morning - 6 * MINUTE)
    await town.siti.gets("AMARAN")
    await town.advance(5 * MINUTE)  # A minute before the handover.
    await town.siti.gets("AMARAN")
    await town.advance(5 * MINUTE)
    person = town.siti if taker == SITI.name else town.ravi
    if person != town.siti:
        await person.gets("SERAH TUGAS daripada Siti", "Balas 1A untuk sahkan")
    await person.gets("AMARAN", "Balas 1A untuk sahkan")

    assert await person.replies("1A") == f"RM0 JCM: JCM-01 telah disahkan oleh {taker}. Terima kasih."
    if person != town.siti:
        await town.siti.gets(f"JCM-01 telah disahkan oleh {taker}")


async def test_whoever_stands_in_for_two_hours_is_called_and_thanked_by_name(either_town: Town) -> None:
    """A substitute is called, recorded by name and told of the end."""
    town = either_town
    async with town.store_itself.transaction() as uow:
        now = town.clock.now()
        await uow.duty.add(
            rota=DAILY.name, contact=MEI_CONTOH, begins=now, ends=now + 2 * HOUR, by="Pegawai Contoh", now=now
        )
    town.mei.presses("1")
    await town.submit(trigger(brief=told_by(call(AT_ONCE, DAILY), call(HOUR, DAILY))))

    await town.mei.is_called("Your confirmation has been recorded", keys="1")
    assert (await town.incident()).acknowledged_by == "Mei Contoh"
    await town.advance(3 * HOUR)
    # Siti has her duty back, and hears who has taken it on.
    await town.siti.gets("SERAH TUGAS", "Disahkan oleh Mei Contoh")
    await town.resolve()
    await town.mei.is_called("working again")
    await town.siti.gets("PULIH")


async def test_when_nobody_is_on_call_the_fallback_is_called_at_once_and_it_is_seen(town: Town) -> None:
    """When nobody is on call, the fallback is called at once."""
    town.noc.presses("1")
    await town.submit(trigger(brief=told_by(call(AT_ONCE, EMPTY), call(10 * MINUTE, DAILY), fallback=OPERATIONS)))

    await town.noc.is_called(keys="1")
    await town.advance(HOUR)
    assert town.value('pantau_nobody_on_call_total{agency="JCM"}') == 1
    assert "nobody is on call" in await town.journal()


async def test_when_nobody_is_on_call_and_there_is_no_fallback_the_next_step_begins_at_once(town: Town) -> None:
    """Without anybody on call and without a fallback the next step starts at once."""
    town.siti.presses("1")
    await town.submit(trigger(brief=told_by(call(AT_ONCE, EMPTY), call(HOUR, DAILY))))

    await town.siti.is_called(keys="1")
    await town.advance(2 * HOUR)


async def test_an_office_line_is_rung_with_its_extension_and_outside_of_the_hours_the_mobile_first(town: Town) -> None:
    """An office line has extension digits and office hours; outside of them the mobile is called first."""
    town.moves_in(DESK, landline=True, extension="1234", keys=["1"])
    siti = replace(SITI, addresses=(replace(voice(DESK, extension="1234"), hours=OFFICE_HOURS), *SITI.addresses))
    step = Step(after=AT_ONCE, contacts=(siti,), channels=(Channel.VOICE,))
    desk = told_by(step)

    await outage(town, desk, datetime(2026, 11, 24, 10, tzinfo=MALAYSIA))
    await town.person(DESK).is_called("telah disahkan", keys="1")
    await town.resolve()
    await town.siti.gets("PULIH")  # Good news as an SMS.

    await town.advance(HOUR)
    town.siti.presses("1")
    await outage(town, desk, datetime(2026, 11, 24, 22, tzinfo=MALAYSIA))
    await town.siti.is_called(keys="1")


HOLIDAYS = {
    "a workday": (date(2026, 12, 3), Calendar(), "siti"),
    "a Saturday": (date(2026, 12, 5), Calendar(), "ravi"),
    "a Friday in Kelantan": (date(2026, 12, 4), Calendar(state=State.KELANTAN), "ravi"),
    "a Sunday in Kelantan": (date(2026, 12, 6), Calendar(state=State.KELANTAN), "siti"),
    "Christmas": (date(2026, 12, 25), Calendar(), "ravi"),
    "a day that was gazetted": (date(2026, 12, 3), Calendar(holidays=(date(2026, 12, 3),)), "ravi"),
}


@pytest.mark.parametrize(("day", "calendar", "whose"), HOLIDAYS.values(), ids=HOLIDAYS)
async def test_on_rest_days_of_the_state_whoever_has_the_rest_days_is_called(
    town: Town, day: date, calendar: Calendar, whose: str
) -> None:
    """Rest days follow the state's weekend and gazetted holidays."""
    layers = (
        Layer(days=Days.WORKDAYS, people=(SITI,), starts_on=date(2026, 11, 1)),
        Layer(days=Days.REST, people=(RAVI,), starts_on=date(2026, 11, 1)),
    )
    rota = replace(DAILY, calendar=calendar, layers=layers)
    for person in (town.siti, town.ravi):
        person.presses("1")
    at = datetime(day.year, day.month, day.day, 12, tzinfo=MALAYSIA)
    await outage(town, told_by(call(AT_ONCE, rota), rota=rota), at)

    await (town.siti if whose == "siti" else town.ravi).is_called(keys="1")


async def test_a_fax_that_is_released_in_the_evening_waits_for_the_office_over_christmas_and_the_weekend(
    town: Town,
) -> None:
    """A fax released in the evening waits for office hours over Christmas and the weekend."""
    machine = replace(FAX, hours=OFFICE_HOURS)
    ministry = replace(MINISTRY, addresses=(machine,))
    step = Step(after=AT_ONCE, contacts=(SITI,), channels=(Channel.SMS,))
    brief = replace(told_by(step), announcement=AnnouncementPlan(recipients=(ministry,)))
    await outage(town, brief, datetime(2026, 12, 24, 18, tzinfo=MALAYSIA))
    await town.siti.gets("AMARAN")
    await town.acknowledge()
    await town.release()
    for _ in range(7):
        await town.advance(12 * HOUR)
        town.expect_nothing_more()
    await town.advance(2 * HOUR - SECOND)
    town.expect_nothing_more()

    assert town.clock.now() == datetime(2026, 12, 28, 8, tzinfo=MALAYSIA) - SECOND
    await town.advance(SECOND)
    town.gets_fax("JCM-01")
