"""Drills, told as stories: what rings in the drill of the week, and that nothing real ever waits or hides behind it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from alerts.decide.drill import DrillTarget
from alerts.gateways.tray import LetterPlace
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.incident import IncidentState
from alerts.model.notification import Language
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, Step
from monitor.config.fields.window import MALAYSIA
from monitor.model.window import Recurring
from monitor.store.engine.drills import DrillNotificationRecord
from pantau_lab.carrier.phone import PhoneBehaviour
from pantau_lab.faxservice.machine import FaxBehaviour
from pantau_lab.provider_fault import SubmissionFault
from tests.integration.alerts.town import DESK, NOC_OFFICE, Town
from tests.unit.alerts.people import BRIEF, FAX, LONG, MINUTE, OFFICE, RAVI, SECOND, SITI, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
#: Tuesdays at ten, as the README has it.
WEEKLY = Recurring("0 10 * * tue", 4 * HOUR, MALAYSIA)
TUESDAY = datetime(2026, 11, 24, 10, tzinfo=MALAYSIA)
#: A drill looks at what is due every five seconds; its exercises are half a minute apart.
EVERY = 10 * SECOND

TO_SITI = Step(after=timedelta(0), contacts=(SITI,), channels=(Channel.SMS,))
SITI_BY_SMS = replace(
    BRIEF,
    escalation=EscalationPolicy(steps=(TO_SITI,), rounds=1, repeat_interval=LONG),
    announcement=AnnouncementPlan(),
)


def target(key: str, name: str, *addresses: Address) -> DrillTarget:
    contact = Contact(key=key, name=name, language=Language.MALAY, addresses=addresses)
    return DrillTarget(agency="JCM", contact=contact, office=OFFICE)


SITI_AND_RAVI = [DrillTarget(agency="JCM", contact=person, office=OFFICE) for person in (SITI, RAVI)]
OURSELVES = replace(
    target("", NOC_OFFICE.name, Address(channel=Channel.LETTER, number=NOC_OFFICE.name)), agency="", office=NOC_OFFICE
)


async def drill_of_the_week(town: Town, at: datetime = TUESDAY) -> None:
    """Come to the minute before a drill begins by itself."""
    town.clock.moment = at - MINUTE
    town.drill_hours = WEEKLY
    if not town.targets:
        town.targets = SITI_AND_RAVI
    town.go_round(EVERY, town.look_at_drills)
    await town.advance(MINUTE - SECOND)
    town.expect_nothing_more()


async def records(town: Town) -> dict[str, DrillNotificationRecord]:
    return {record.key.removeprefix("JCM/"): record for _, record in await town.driller.latest_results(1)}


def reached(town: Town, contact: str) -> float:
    return town.value(f'pantau_contact_reached_timestamp_seconds{{agency="JCM",contact="{contact}"}}')


async def outage(town: Town, brief: PolicySnapshot = SITI_BY_SMS) -> None:
    at = town.clock.now()
    await town.submit(trigger(at=at, brief=brief))


async def test_every_tuesday_everybody_gets_an_sms_and_a_call_that_say_that_they_are_a_drill(
    either_town: Town,
) -> None:
    """The weekly drill sends SMS and calls with a key press, marks each text and is logged."""
    town = either_town
    await drill_of_the_week(town)
    for week in (1, 2):
        for person in (town.siti, town.ravi):
            person.presses("1")
        await town.advance(3 * MINUTE)
        for person in (town.siti, town.ravi):
            await person.gets("RM0 JCM ICT: LATIHAN SAHAJA.", f"Ruj LATIH-0{week}")
            await person.is_called("Ini ialah latihan sahaja", "telah disahkan", keys="1")
        # Once a week, and nothing in between.
        while town.clock.moment < TUESDAY + week * WEEK - 12 * HOUR:
            town.clock.moment += 12 * HOUR
            await town.look_at_drills()
        town.clock.moment = TUESDAY + week * WEEK - MINUTE
        await town.advance(MINUTE - SECOND)
        town.expect_nothing_more()

    first, *_ = [event for event in await town.journal() if "drill" in event or "exercise" in event]
    assert first == "drill begun"
    events = await town.journal()
    assert [events.count(e) for e in ("drill begun", "exercise confirmed", "drill ended")] == [2, 4, 2]
    assert await town.active() == []


async def test_who_has_not_been_reached_for_how_long_is_a_metric_and_only_the_key_counts(town: Town) -> None:
    """A metric has the time since each contact was last reached by a key press."""
    await drill_of_the_week(town)
    assert (reached(town, "siti"), reached(town, "ravi")) == (0, 0)
    town.siti.presses("1")
    town.ravi.behaves(PhoneBehaviour.VOICEMAIL)
    await town.advance(4 * MINUTE)
    for person in (town.siti, town.ravi):
        await person.gets("LATIHAN SAHAJA")
        await person.is_called("latihan sahaja")

    assert TUESDAY.timestamp() < reached(town, "siti") < town.clock.now().timestamp()
    assert reached(town, "ravi") == 0
    before = reached(town, "siti")
    town.clock.moment = TUESDAY + WEEK - MINUTE
    town.siti.behaves(PhoneBehaviour.BUSY)
    await town.advance(5 * MINUTE)
    for person in (town.siti, town.ravi):
        await person.gets("LATIHAN SAHAJA")
        await person.is_called()
    assert reached(town, "siti") == before


async def test_each_gateway_is_tried_and_each_text_is_marked_also_on_paper(town: Town) -> None:
    """A drill tries every gateway, those for paper included."""
    office_fax = target("faks", "Pejabat Contoh", FAX)
    town.targets = [*SITI_AND_RAVI[:1], office_fax, OURSELVES]
    town.siti.presses("1")
    await drill_of_the_week(town)
    await town.advance(30 * SECOND)
    letter = town.gets_letter("LATIHAN SAHAJA", "LATIH-01")
    assert "Pusat Operasi Contoh" in letter
    await town.advance(4 * MINUTE)

    await town.siti.gets("LATIHAN SAHAJA")
    await town.siti.is_called("latihan sahaja", keys="1")
    town.gets_fax("LATIHAN SAHAJA", "LATIH-01")
    assert town.tray_letters(LetterPlace.TRAY) == 0, "it is not for the post"
    assert {record.gateway for record in (await records(town)).values()} == {"sms", "suara", "faks", "dulang"}


async def test_what_does_not_arrive_in_a_drill_is_its_result_and_is_not_sent_again(town: Town) -> None:
    """What does not arrive is the drill's result and is not sent again."""
    town.targets = [*SITI_AND_RAVI, target("faks", "Pejabat Contoh", FAX)]
    town.fax_service.machines[FAX.number].behaviour = FaxBehaviour.BUSY
    town.siti.behaves(PhoneBehaviour.OFF)
    town.ravi.behaves(PhoneBehaviour.NO_ANSWER)
    await drill_of_the_week(town)
    await town.advance(5 * MINUTE)
    for _ in range(6):
        town.clock.moment += 20 * MINUTE
        await town.look_at_drills()

    await town.siti.is_rung()
    await town.ravi.gets("LATIHAN SAHAJA")
    await town.ravi.is_rung()
    assert {key: str(record.state) for key, record in (await records(town)).items()} == {
        "siti/sms/0/sms": "failed",
        "siti/voice/1/suara": "failed",
        "ravi/sms/0/sms": "delivered",
        "ravi/voice/1/suara": "failed",
        "faks/fax/0/faks": "failed",
    }
    assert len(town.fax_service.faxes) == 1


async def test_an_outage_in_the_middle_of_a_drill_is_told_at_once_and_the_drill_leaves_that_person_alone(
    either_town: Town,
) -> None:
    """An outage during a drill is notified at once, and its recipients are left out of the drill."""
    town = either_town
    town.ravi.presses("1")
    await drill_of_the_week(town)
    await town.advance(2 * SECOND)
    await town.siti.gets("LATIHAN SAHAJA")
    await outage(town)  # Siti's call of the drill would be next.
    await town.siti.gets("RM0 JCM ICT: AMARAN", "JCM-01")
    await town.advance(5 * MINUTE)
    await town.ravi.gets("LATIHAN SAHAJA")
    await town.ravi.is_called("latihan sahaja", keys="1")
    town.expect_nothing_more()

    # It is over; what is left of the drill comes after it.
    await town.resolve()
    await town.siti.gets("PULIH")
    town.siti.presses("1")
    await town.advance(5 * MINUTE)
    await town.siti.is_called("latihan sahaja", keys="1")


async def test_a_drill_whose_gateway_hangs_leaves_room_for_a_real_notice(town: Town) -> None:
    """A drill whose gateway hangs leaves a slot for a real notification."""
    numbers = [f"+601000004{n:02}" for n in range(8)]
    for place, number in enumerate(numbers):
        town.moves_in(number)
        town.targets.append(target(f"pegawai-{place}", "Pegawai Contoh", Address(channel=Channel.SMS, number=number)))
    town.clock.moment, town.drill_hours = TUESDAY, WEEKLY
    taken = asyncio.Event()
    town.carrier.on_taken = lambda _: taken.set()
    town.carrier.faults.extend([SubmissionFault.HANG_AFTER] * 8)
    looks = []
    for _ in numbers:
        taken.clear()
        looks.append(asyncio.create_task(town.look_at_drills()))
        waits = asyncio.create_task(taken.wait())
        await asyncio.wait({looks[-1], waits}, return_when=asyncio.FIRST_COMPLETED)
        waits.cancel()
        town.clock.moment += 30 * SECOND
    town.carrier.faults.clear()
    await outage(town)

    await town.siti.gets("RM0 JCM ICT: AMARAN")
    for look in looks:
        look.cancel()
    await asyncio.gather(*looks, return_exceptions=True)
    for number in numbers[:3]:  # One slot of four is never a drill's.
        await town.person(number).gets("LATIHAN SAHAJA")


async def test_a_key_in_a_drill_acknowledges_nothing_and_neither_does_an_answer_by_sms(town: Town) -> None:
    """A key press or SMS in a drill acknowledges nothing else."""
    town.targets = [target("ravi", "Ravi Contoh", *RAVI.addresses)]
    await outage(town)
    await town.siti.gets("JCM-01")
    town.ravi.presses("1")
    await drill_of_the_week(town)
    await town.advance(4 * MINUTE)
    await town.ravi.gets("LATIHAN SAHAJA")
    await town.ravi.is_called("latihan sahaja", keys="1")
    assert await town.ravi.replies("1A") == ""

    assert (await town.incident()).state is IncidentState.TRIGGERED


async def test_an_office_that_is_closed_is_not_drilled_and_the_reason_is_kept(town: Town) -> None:
    """A closed office is left out of the drill, with the reason."""
    town.targets = [target("meja", "Meja Contoh", Address(channel=Channel.VOICE, number=DESK))]
    town.moves_in(DESK, landline=True)
    town.clock.moment = datetime(2026, 11, 29, 9, 59, tzinfo=MALAYSIA)
    town.drill_hours = Recurring("0 10 * * sun", 2 * HOUR, MALAYSIA)
    town.go_round(MINUTE, town.look_at_drills)
    await town.advance(2 * HOUR + 2 * MINUTE)

    (record,) = (await records(town)).values()
    assert (record.state, record.reason) == ("skipped", "the office is closed")


async def test_a_service_that_starts_anew_in_the_middle_of_a_drill_tries_nobody_twice(town: Town) -> None:
    """A restart during a drill tries nobody twice."""
    for person in (town.siti, town.ravi):
        person.presses("1")
    await drill_of_the_week(town)
    for _ in range(5):
        await town.advance(40 * SECOND)
        town.restart()
    for person in (town.siti, town.ravi):
        await person.gets("LATIHAN SAHAJA")
        await person.is_called("latihan sahaja", keys="1")
