"""Drills: SMS and calls to every contact, and their separation from real notifications."""

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
from tests.integration.alerts.simulated_env import DESK, NOC_OFFICE, SimulatedEnv
from tests.unit.alerts.people import FAX, LONG, MINUTE, OFFICE, RAVI, SECOND, SITI, SNAPSHOT, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
#: Tuesdays at ten, as in the README.
WEEKLY = Recurring("0 10 * * tue", 4 * HOUR, MALAYSIA)
TUESDAY = datetime(2026, 11, 24, 10, tzinfo=MALAYSIA)
#: A drill processes due steps every five seconds; its notifications are half a minute apart.
EVERY = 10 * SECOND

TO_SITI = Step(after=timedelta(0), contacts=(SITI,), channels=(Channel.SMS,))
SITI_BY_SMS = replace(
    SNAPSHOT,
    escalation=EscalationPolicy(steps=(TO_SITI,), rounds=1, repeat_interval=LONG),
    announcement=AnnouncementPlan(),
)


def target(key: str, name: str, *addresses: Address) -> DrillTarget:
    contact = Contact(key=key, name=name, language=Language.MALAY, addresses=addresses)
    return DrillTarget(agency="JCM", contact=contact, office=OFFICE)


SITI_AND_RAVI = [DrillTarget(agency="JCM", contact=person, office=OFFICE) for person in (SITI, RAVI)]
PANTAU_ITSELF = replace(
    target("", NOC_OFFICE.name, Address(channel=Channel.LETTER, number=NOC_OFFICE.name)), agency="", office=NOC_OFFICE
)


async def weekly_drill(env: SimulatedEnv, at: datetime = TUESDAY) -> None:
    """Advance to the minute before the scheduled drill."""
    env.clock.moment = at - MINUTE
    env.drill_hours = WEEKLY
    if not env.targets:
        env.targets = SITI_AND_RAVI
    env.run_every(EVERY, env.run_due_drills)
    await env.advance(MINUTE - SECOND)
    env.expect_nothing_more()


async def records(env: SimulatedEnv) -> dict[str, DrillNotificationRecord]:
    return {record.key.removeprefix("JCM/"): record for _, record in await env.drill_runner.latest_results(1)}


def reached(env: SimulatedEnv, contact: str) -> float:
    return env.value(f'pantau_contact_reached_timestamp_seconds{{agency="JCM",contact="{contact}"}}')


async def outage(env: SimulatedEnv, snapshot: PolicySnapshot = SITI_BY_SMS) -> None:
    at = env.clock.now()
    await env.submit(trigger(at=at, snapshot=snapshot))


async def test_weekly_drill_sends_marked_sms_and_call_to_everybody(
    either_env: SimulatedEnv,
) -> None:
    """The weekly drill sends SMS and calls with a key press, marks each text and is logged."""
    env = either_env
    await weekly_drill(env)
    for week in (1, 2):
        for person in (env.siti, env.ravi):
            person.presses("1")
        await env.advance(3 * MINUTE)
        for person in (env.siti, env.ravi):
            await person.gets("RM0 JCM ICT: LATIHAN SAHAJA.", f"Ruj LATIH-0{week}")
            await person.is_called("Ini ialah latihan sahaja", "telah disahkan", keys="1")
        # Once a week only.
        while env.clock.moment < TUESDAY + week * WEEK - 12 * HOUR:
            env.clock.moment += 12 * HOUR
            await env.run_due_drills()
        env.clock.moment = TUESDAY + week * WEEK - MINUTE
        await env.advance(MINUTE - SECOND)
        env.expect_nothing_more()

    first, *_ = [event for event in await env.journal() if "drill" in event or "exercise" in event]
    assert first == "drill begun"
    events = await env.journal()
    assert [events.count(e) for e in ("drill begun", "exercise confirmed", "drill ended")] == [2, 4, 2]
    assert await env.active() == []


async def test_contact_reached_metric_counts_key_press_only(env: SimulatedEnv) -> None:
    """A metric has the time since each contact was last reached by a key press."""
    await weekly_drill(env)
    assert (reached(env, "siti"), reached(env, "ravi")) == (0, 0)
    env.siti.presses("1")
    env.ravi.behaves(PhoneBehaviour.VOICEMAIL)
    await env.advance(4 * MINUTE)
    for person in (env.siti, env.ravi):
        await person.gets("LATIHAN SAHAJA")
        await person.is_called("latihan sahaja")

    assert TUESDAY.timestamp() < reached(env, "siti") < env.clock.now().timestamp()
    assert reached(env, "ravi") == 0
    before = reached(env, "siti")
    env.clock.moment = TUESDAY + WEEK - MINUTE
    env.siti.behaves(PhoneBehaviour.BUSY)
    await env.advance(5 * MINUTE)
    for person in (env.siti, env.ravi):
        await person.gets("LATIHAN SAHAJA")
        await person.is_called()
    assert reached(env, "siti") == before


async def test_drill_tries_every_gateway_and_marks_each_text(env: SimulatedEnv) -> None:
    """A drill tries every gateway, those for paper included."""
    office_fax = target("faks", "Pejabat Contoh", FAX)
    env.targets = [*SITI_AND_RAVI[:1], office_fax, PANTAU_ITSELF]
    env.siti.presses("1")
    await weekly_drill(env)
    await env.advance(30 * SECOND)
    letter = env.gets_letter("LATIHAN SAHAJA", "LATIH-01")
    assert "Pusat Operasi Contoh" in letter
    await env.advance(4 * MINUTE)

    await env.siti.gets("LATIHAN SAHAJA")
    await env.siti.is_called("latihan sahaja", keys="1")
    env.gets_fax("LATIHAN SAHAJA", "LATIH-01")
    assert env.tray_letters(LetterPlace.TRAY) == 0, "it is not for the post"
    assert {record.gateway for record in (await records(env)).values()} == {"sms", "suara", "faks", "dulang"}


async def test_drill_delivery_failure_is_its_result_and_not_resent(env: SimulatedEnv) -> None:
    """What does not arrive is the drill's result and is not sent again."""
    env.targets = [*SITI_AND_RAVI, target("faks", "Pejabat Contoh", FAX)]
    env.fax_service.machines[FAX.number].behaviour = FaxBehaviour.BUSY
    env.siti.behaves(PhoneBehaviour.OFF)
    env.ravi.behaves(PhoneBehaviour.NO_ANSWER)
    await weekly_drill(env)
    await env.advance(5 * MINUTE)
    for _ in range(6):
        env.clock.moment += 20 * MINUTE
        await env.run_due_drills()

    await env.siti.misses_call()
    await env.ravi.gets("LATIHAN SAHAJA")
    await env.ravi.misses_call()
    assert {key: str(record.state) for key, record in (await records(env)).items()} == {
        "siti/sms/0/sms": "failed",
        "siti/voice/1/suara": "failed",
        "ravi/sms/0/sms": "delivered",
        "ravi/voice/1/suara": "failed",
        "faks/fax/0/faks": "failed",
    }
    assert len(env.fax_service.faxes) == 1


async def test_outage_during_drill_is_notified_at_once_and_skips_recipient(
    either_env: SimulatedEnv,
) -> None:
    """An outage during a drill is notified at once, and its recipients are left out of the drill."""
    env = either_env
    env.ravi.presses("1")
    await weekly_drill(env)
    await env.advance(2 * SECOND)
    await env.siti.gets("LATIHAN SAHAJA")
    await outage(env)  # Siti's drill call would be next.
    await env.siti.gets("RM0 JCM ICT: AMARAN", "JCM-01")
    await env.advance(5 * MINUTE)
    await env.ravi.gets("LATIHAN SAHAJA")
    await env.ravi.is_called("latihan sahaja", keys="1")
    env.expect_nothing_more()

    # After the incident the rest of the drill follows.
    await env.resolve()
    await env.siti.gets("PULIH")
    env.siti.presses("1")
    await env.advance(5 * MINUTE)
    await env.siti.is_called("latihan sahaja", keys="1")


async def test_hanging_drill_gateway_leaves_slot_for_real_notification(env: SimulatedEnv) -> None:
    """A drill whose gateway hangs leaves a slot for a real notification."""
    numbers = [f"+601000004{n:02}" for n in range(8)]
    for place, number in enumerate(numbers):
        env.add_phone(number)
        env.targets.append(target(f"pegawai-{place}", "Pegawai Contoh", Address(channel=Channel.SMS, number=number)))
    env.clock.moment, env.drill_hours = TUESDAY, WEEKLY
    taken = asyncio.Event()
    env.carrier.on_taken = lambda _: taken.set()
    env.carrier.faults.extend([SubmissionFault.HANG_AFTER] * 8)
    looks = []
    for _ in numbers:
        taken.clear()
        looks.append(asyncio.create_task(env.run_due_drills()))
        waits = asyncio.create_task(taken.wait())
        await asyncio.wait({looks[-1], waits}, return_when=asyncio.FIRST_COMPLETED)
        waits.cancel()
        env.clock.moment += 30 * SECOND
    env.carrier.faults.clear()
    await outage(env)

    await env.siti.gets("RM0 JCM ICT: AMARAN")
    for look in looks:
        look.cancel()
    await asyncio.gather(*looks, return_exceptions=True)
    for number in numbers[:3]:  # A drill never takes the last of four slots.
        await env.person(number).gets("LATIHAN SAHAJA")


async def test_drill_key_press_and_sms_acknowledge_nothing(env: SimulatedEnv) -> None:
    """A key press or SMS in a drill acknowledges nothing else."""
    env.targets = [target("ravi", "Ravi Contoh", *RAVI.addresses)]
    await outage(env)
    await env.siti.gets("JCM-01")
    env.ravi.presses("1")
    await weekly_drill(env)
    await env.advance(4 * MINUTE)
    await env.ravi.gets("LATIHAN SAHAJA")
    await env.ravi.is_called("latihan sahaja", keys="1")
    assert await env.ravi.replies("1A") == ""

    assert (await env.incident()).state is IncidentState.TRIGGERED


async def test_drill_skips_closed_office_with_reason(env: SimulatedEnv) -> None:
    """A closed office is left out of the drill, with the reason."""
    env.targets = [target("meja", "Meja Contoh", Address(channel=Channel.VOICE, number=DESK))]
    env.add_phone(DESK, landline=True)
    env.clock.moment = datetime(2026, 11, 29, 9, 59, tzinfo=MALAYSIA)
    env.drill_hours = Recurring("0 10 * * sun", 2 * HOUR, MALAYSIA)
    env.run_every(MINUTE, env.run_due_drills)
    await env.advance(2 * HOUR + 2 * MINUTE)

    (record,) = (await records(env)).values()
    assert (record.state, record.reason) == ("skipped", "the office is closed")


async def test_restart_during_drill_tries_nobody_twice(env: SimulatedEnv) -> None:
    """A restart during a drill tries nobody twice."""
    for person in (env.siti, env.ravi):
        person.presses("1")
    await weekly_drill(env)
    for _ in range(5):
        await env.advance(40 * SECOND)
        env.restart()
    for person in (env.siti, env.ravi):
        await person.gets("LATIHAN SAHAJA")
        await person.is_called("latihan sahaja", keys="1")
