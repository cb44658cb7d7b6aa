"""One call at a time for a phone that several agencies share."""

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
from tests.integration.alerts.dispatcher_env import open_dispatcher_env
from tests.integration.alerts.simulated_env import SimulatedEnv
from tests.unit.alerts.people import LONG, OFFICE, SECOND, SITI, SNAPSHOT, T0, VOICE_SITI, trigger

pytestmark = pytest.mark.story

#: Other agencies' plans have her with other names, languages and addresses: their incidents are never
#: bundled in one call.
NAMES = ("JCM", "MDC", "UCM")
PEOPLE = (
    SITI,
    replace(SITI, key="pegawai", language=Language.ENGLISH),
    replace(SITI, addresses=(VOICE_SITI, replace(VOICE_SITI, number="+60100000102"))),
)


def snapshot(agency: str, contact: Contact) -> PolicySnapshot:
    step = Step(after=timedelta(0), contacts=(contact,), channels=(Channel.VOICE,))
    office = replace(OFFICE, short=agency, name=f"Agensi {agency}")
    policy = EscalationPolicy(steps=(step,), rounds=1, repeat_interval=LONG)
    return replace(SNAPSHOT, agency=agency, office=office, escalation=policy, announcement=AnnouncementPlan())


async def test_phone_shared_by_three_agencies_gets_one_call_at_a_time(either_env: SimulatedEnv) -> None:
    """A telephone that several agencies share gets one call after the other, each once the one before has ended."""
    env = either_env
    env.siti.presses("1", "1", "1")
    for agency, contact in zip(NAMES, PEOPLE, strict=True):
        await env.dispatcher.submit(trigger(snapshot=snapshot(agency, contact)))
    await env.settle()
    # Each call starts when the one before has ended, and none finds the line busy.
    for _ in NAMES:
        await env.siti.is_called(keys="1")
    env.expect_nothing_more()


async def test_phone_in_use_delays_call_until_end_not_until_key(tmp_path: Path) -> None:
    """While an officer releases an announcement by PIN, no other call rings that telephone."""
    async with open_dispatcher_env(tmp_path) as env:
        for agency, contact in zip(NAMES, PEOPLE, strict=True):
            await env.submit(trigger(snapshot=snapshot(agency, contact)))
        reference = env.voice.orders[0].reference
        key = DeliveryReport(progress=SubmissionState.DELIVERED, provider_id="CA1", in_call=True)
        # She is asked for her PIN, and is assignee.
        for event, taken in (("key", False), ("key/1", True)):
            heard = CallbackEvent(reference=reference, event_id=event, report=key, acknowledged=taken)
            await env.dispatcher.record_callback("voice", heard)
            await env.advance(30 * SECOND)
            assert len(env.voice.sent) == 1
        end = DeliveryReport(
            progress=SubmissionState.FAILED, provider_id="CA1", error=ErrorClass.TRANSIENT, code=NO_KEY
        )
        await env.dispatcher.record_callback(
            "voice", CallbackEvent(reference=reference, event_id="completed", report=end)
        )
        await env.settle()
        assert len(env.voice.sent) == 2
        (told, *_) = await env.notifications()
        assert told.state is NotificationState.DELIVERED


async def test_phone_without_reported_end_is_free_after_longest_call(tmp_path: Path) -> None:
    """A call without a reported end delays the next for seven minutes, which neither fails nor expires."""
    async with open_dispatcher_env(tmp_path) as env:
        env.voice.ends = False
        agencies = [f"J{n}M" for n in range(6)]
        for number, agency in enumerate(agencies):
            contact = replace(SITI, key=f"siti{number}", language=list(Language)[number % 2], addresses=(VOICE_SITI,))
            if number > 1:
                contact = replace(contact, addresses=(VOICE_SITI, replace(VOICE_SITI, number=f"+6010000020{number}")))
            await env.submit(trigger(snapshot=snapshot(agency, contact)))
        began: list[timedelta] = []
        while env.clock.moment < T0 + 6 * MAX_CALL_DURATION:
            while len(began) < len(env.voice.sent):
                began.append(env.clock.moment - T0)
            env.clock.moment += 30 * SECOND
            await env.settle()
        # The last waits for longer than the deadline of a notification, and neither expires nor fails.
        assert began == [n * MAX_CALL_DURATION for n in range(6)]
        states = [n.state for number in range(6) for n in await env.notifications(number + 1)]
        assert states == [NotificationState.SENT] * 6
