"""A telephone takes one call at a time, whoever shares it, told as stories."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from alerts.model.channel import Channel
from alerts.model.contact import Contact
from alerts.model.delivery import NotificationState
from alerts.model.gateway import MAX_CALL_DURATION, NO_KEY, CallbackEvent, DeliveryReport, ErrorClass, SubmissionState
from alerts.model.notification import Language
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, Step
from tests.integration.alerts.station import station_at
from tests.integration.alerts.town import Town
from tests.unit.alerts.people import BRIEF, LONG, OFFICE, SECOND, SITI, T0, VOICE_SITI, trigger

pytestmark = pytest.mark.story

#: In other agencies' plans she is called by other names, in another language and at other addresses too: nothing of theirs
#: is told in one call.
NAMES = ("JCM", "MDC", "UCM")
PEOPLE = (
    SITI,
    replace(SITI, key="pegawai", language=Language.ENGLISH),
    replace(SITI, addresses=(VOICE_SITI, replace(VOICE_SITI, number="+60100000102"))),
)


def brief(agency: str, contact: Contact) -> PolicySnapshot:
    step = Step(after=timedelta(0), contacts=(contact,), channels=(Channel.VOICE,))
    office = replace(OFFICE, short=agency, name=f"Agensi {agency}")
    policy = EscalationPolicy(steps=(step,), rounds=1, repeat_interval=LONG)
    return replace(BRIEF, agency=agency, office=office, escalation=policy, announcement=AnnouncementPlan())


async def test_telephone_of_three_agencies_takes_one_call_after_the_other(either_town: Town) -> None:
    """A telephone that several agencies share gets one call after the other, each once the one before has ended."""
    town = either_town
    town.siti.presses("1", "1", "1")
    for agency, contact in zip(NAMES, PEOPLE, strict=True):
        await town.dispatcher.submit(trigger(brief=brief(agency, contact)))
    await town.settle()
    # Each as soon as the one before has ended, and none finds the line busy.
    for _ in NAMES:
        await town.siti.is_called(keys="1")
    town.expect_nothing_more()


async def test_telephone_in_use_holds_a_call_until_its_end_and_not_until_the_key(tmp_path: Path) -> None:
    """While an officer releases an announcement by PIN, no other call rings that telephone."""
    async with station_at(tmp_path) as station:
        for agency, contact in zip(NAMES, PEOPLE, strict=True):
            await station.submit(trigger(brief=brief(agency, contact)))
        reference = station.voice.orders[0].reference
        key = DeliveryReport(progress=SubmissionState.DELIVERED, provider_id="CA1", in_call=True)
        # She is asked for her PIN, and has the incident.
        for event, taken in (("key", False), ("key/1", True)):
            heard = CallbackEvent(reference=reference, event_id=event, report=key, acknowledged=taken)
            await station.dispatcher.record_callback("voice", heard)
            await station.advance(30 * SECOND)
            assert len(station.voice.sent) == 1
        end = DeliveryReport(
            progress=SubmissionState.FAILED, provider_id="CA1", error=ErrorClass.TRANSIENT, code=NO_KEY
        )
        await station.dispatcher.record_callback(
            "voice", CallbackEvent(reference=reference, event_id="completed", report=end)
        )
        await station.settle()
        assert len(station.voice.sent) == 2
        (told, *_) = await station.notifications()
        assert told.state is NotificationState.DELIVERED


async def test_telephone_whose_call_never_ends_is_free_after_the_longest_call(tmp_path: Path) -> None:
    """A call without a reported end delays the next for seven minutes, which neither fails nor expires."""
    async with station_at(tmp_path) as station:
        station.voice.ends = False
        agencies = [f"J{n}M" for n in range(6)]
        for number, agency in enumerate(agencies):
            contact = replace(SITI, key=f"siti{number}", language=list(Language)[number % 2], addresses=(VOICE_SITI,))
            if number > 1:
                contact = replace(contact, addresses=(VOICE_SITI, replace(VOICE_SITI, number=f"+6010000020{number}")))
            await station.submit(trigger(brief=brief(agency, contact)))
        began: list[timedelta] = []
        while station.clock.moment < T0 + 6 * MAX_CALL_DURATION:
            while len(began) < len(station.voice.sent):
                began.append(station.clock.moment - T0)
            station.clock.moment += 30 * SECOND
            await station.settle()
        # The last waits for longer than a notice is of use, and is neither given up nor counted as failed.
        assert began == [n * MAX_CALL_DURATION for n in range(6)]
        states = [n.state for number in range(6) for n in await station.notifications(number + 1)]
        assert states == [NotificationState.SENT] * 6
