"""Bundles, rate limits, silences and order of notifications, on a real store with a clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from alerts.decide.bundle import BUNDLE_INTERVAL
from alerts.decide.gateway.rate_limit import RateLimitScope
from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.model.channel import Channel
from alerts.model.contact import Contact, Recipient
from alerts.model.delivery import NotificationState
from alerts.model.event import Acknowledge, Release, Resolve
from alerts.model.gateway import AckResult, CallbackEvent, ErrorClass, SmsContent, SubmissionState
from alerts.model.incident import IncidentState
from alerts.model.notification import IncidentType, IssuingOffice
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot
from alerts.persistence.store import SmsNumber
from tests.integration.alerts.dispatcher_env import HANG, DispatcherEnv, ScriptedGateway, open_dispatcher_env
from tests.unit.alerts.model.test_alert import FIRES
from tests.unit.alerts.people import (
    FAX,
    MINISTRY,
    MINUTE,
    POLICY,
    RAVI,
    SECOND,
    SITI,
    SMS_SITI,
    SNAPSHOT,
    T0,
    VOICE_SITI,
    trigger,
)

STAFF = replace(POLICY, steps=(replace(POLICY.steps[0], contacts=(SITI,)), replace(POLICY.steps[1], contacts=(SITI,))))
ONCE = replace(STAFF, steps=STAFF.steps[:1], rounds=1)


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[DispatcherEnv]:
    async with open_dispatcher_env(tmp_path) as opened:
        yield opened


def snapshot(agency: str, *, once: bool = True, announcement: AnnouncementPlan | None = None) -> PolicySnapshot:
    office = IssuingOffice(short=agency, name=f"Agensi {agency}", domain="contoh.gov.my")
    policy = ONCE if once else STAFF
    return PolicySnapshot(
        agency=agency, office=office, escalation=policy, announcement=announcement or AnnouncementPlan()
    )


async def outage(
    env: DispatcherEnv, agency: str, matter: IncidentType = IncidentType.BOTH, *, once: bool = True
) -> int:
    incident = await env.submit(trigger(matter, env.clock.now(), snapshot(agency, once=once)))
    assert incident is not None
    return incident.id


def texts(gateway: ScriptedGateway) -> list[str]:
    return [order.content.text for order in gateway.orders if isinstance(order.content, SmsContent)]


# -- bundles ---------------------------------------------------------------------------------------------------------


async def test_first_outage_is_sent_at_once_and_next_two_minutes_bundled(env: DispatcherEnv) -> None:
    await outage(env, "A", once=False)
    assert texts(env.sms) == ["outage both A-01"]
    for agency in ("B", "C", "D"):
        await env.advance(20 * SECOND)
        await outage(env, agency, once=False)
    await env.advance(BUNDLE_INTERVAL - 61 * SECOND)
    assert len(env.sms.orders) == 1

    await env.advance(SECOND)
    assert texts(env.sms) == ["outage both A-01", "outage both B-01+C-01+D-01"]
    # Five minutes after each opening, without acknowledgement: one call, and one for the others together.
    await env.advance(5 * MINUTE)
    assert texts(env.voice) == ["outage both A-01", "outage both B-01+C-01+D-01"]
    assert env.watcher.bundled == 2 + 2


async def test_key_press_acknowledges_whole_bundle(env: DispatcherEnv) -> None:
    ids = [await outage(env, agency, once=False) for agency in ("A", "B", "C")]
    await env.advance(8 * MINUTE)
    assert texts(env.voice) == ["outage both A-01", "outage both B-01+C-01"]

    heard = CallbackEvent(reference=env.voice.orders[1].reference, event_id="1", acknowledged=True)
    assert await env.dispatcher.record_callback("voice", heard) is AckResult.TAKEN

    states = [(await env.incident(i)).state for i in ids]
    assert states == [IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED, IncidentState.ACKNOWLEDGED]
    await env.acknowledge(ids[0])
    sent = len(env.sms.orders), len(env.voice.orders)
    await env.advance(timedelta(hours=2))
    assert (len(env.sms.orders), len(env.voice.orders)) == sent


async def test_acknowledged_or_resolved_incident_is_left_out_of_bundle(env: DispatcherEnv) -> None:
    for agency in ("A", "B", "C", "D"):
        await outage(env, agency)
    await env.acknowledge(2)
    await env.resolve("C")
    await env.advance(BUNDLE_INTERVAL)

    assert texts(env.sms) == ["outage both A-01", "recovery both C-01", "outage both D-01"]
    (afterwards,) = await env.notifications(3)
    assert afterwards.facts.is_belated, "nobody had been told of it when it was over"


async def test_unneeded_bundle_is_withdrawn(env: DispatcherEnv) -> None:
    for agency in ("A", "B", "C"):
        await outage(env, agency)
    await env.resolve("B")
    await env.resolve("C")
    await env.advance(timedelta(hours=3))

    assert texts(env.sms) == ["outage both A-01", "recovery both B-01", "recovery both C-01"]
    assert [n.state for n in await env.notifications(3)] == [NotificationState.WITHDRAWN, NotificationState.SENT]
    assert await env.active() == [1]


async def test_recoveries_are_bundled_like_outages(env: DispatcherEnv) -> None:
    for agency in ("A", "B", "C", "D"):
        await outage(env, agency)
    await env.advance(BUNDLE_INTERVAL)
    for agency in ("B", "C", "D"):
        await env.resolve(agency)
        await env.advance(10 * SECOND)
    await env.advance(BUNDLE_INTERVAL)

    assert texts(env.sms)[2:] == ["recovery both B-01", "recovery both C-01+D-01"]
    assert (await env.incident(1)).is_open


async def test_persons_of_another_agency_wait_for_no_bundle(env: DispatcherEnv) -> None:
    await outage(env, "A")
    ravi = replace(snapshot("B"), escalation=replace(ONCE, steps=(replace(ONCE.steps[0], contacts=(RAVI,)),)))
    await env.submit(trigger(snapshot=ravi))

    assert len(env.sms.orders) == 2


async def test_outage_does_not_wait_for_slowness(env: DispatcherEnv) -> None:
    await outage(env, "A", IncidentType.DEGRADED)
    await outage(env, "B")

    assert texts(env.sms) == ["outage degraded A-01", "outage both B-01"]


async def test_bundle_survives_restart_and_is_sent_once(env: DispatcherEnv) -> None:
    for agency in ("A", "B", "C"):
        await outage(env, agency)
    env.restart()
    await outage(env, "D")
    await env.advance(BUNDLE_INTERVAL)
    env.restart()
    await env.advance(BUNDLE_INTERVAL)

    assert texts(env.sms) == ["outage both A-01", "outage both B-01+C-01+D-01"]


async def test_failed_bundle_continues_every_incident_at_once(env: DispatcherEnv) -> None:
    env.sms.happens.extend([SubmissionState.ACCEPTED, ErrorClass.PERMANENT])
    for agency in ("A", "B", "C"):
        await outage(env, agency, once=False)
    await env.advance(BUNDLE_INTERVAL)

    # The next step is a call: one at once, and the others when the window closes.
    assert len(env.voice.orders) == 1
    await env.advance(BUNDLE_INTERVAL)
    assert sorted(texts(env.voice)) == ["outage both B-01", "outage both C-01"]


async def test_office_gets_one_fax_list_and_one_letter_per_agency(env: DispatcherEnv) -> None:
    ministry: Recipient = MINISTRY
    for agency in ("A", "B", "C"):
        told = snapshot(agency, announcement=AnnouncementPlan(recipients=(ministry,)))
        incident = await env.submit(trigger(snapshot=told))
        assert incident is not None
        await env.submit(Release(incident_id=incident.id, at=env.clock.now(), by="Siti Contoh"))
    await env.advance(BUNDLE_INTERVAL)

    assert texts(env.fax) == ["outage both A-01", "outage both B-01+C-01"]
    assert [order.address for order in env.fax.orders] == [FAX.number] * 2
    assert texts(env.tray) == ["outage both A-01", "outage both B-01", "outage both C-01"]


async def test_bundled_first_notification_without_gateway_fails(env: DispatcherEnv) -> None:
    """It is no repeat that a rate limit delayed too long: nobody was notified, and the next step starts at once."""
    await outage(env, "A")
    for line in env.lines():
        for _ in range(line.slots if line.channel is Channel.SMS else 0):
            assert env.pool.take_slot(line.name, incident_id=0, call_key="busy", priority=(-1, T0, 0))
    steps = (ONCE.steps[0], replace(STAFF.steps[1], after=timedelta(hours=2)))
    slow = replace(ONCE, steps=steps)
    await env.submit(trigger(at=env.clock.now(), snapshot=replace(snapshot("B"), escalation=slow)))
    await env.advance(31 * MINUTE)

    assert next(n.state for n in await env.notifications(2)) is NotificationState.FAILED
    assert texts(env.voice) == ["outage both B-01"]


# -- brakes ---------------------------------------------------------------------------------------------------------


async def test_rate_limit_delays_repeats_and_never_first_notification(env: DispatcherEnv) -> None:
    every_minute = replace(ONCE, rounds=20, repeat_after=3 * MINUTE)
    await env.submit(trigger(snapshot=replace(SNAPSHOT, escalation=every_minute)))
    await env.advance(14 * MINUTE)
    # Five SMS in a quarter of an hour; the sixth would come after fifteen minutes anyway.
    assert len(env.sms.orders) == 5
    await env.advance(7 * MINUTE)
    busy = len(env.sms.orders)

    hurried = replace(ONCE, rounds=30, repeat_after=30 * SECOND)
    other = replace(snapshot("B"), escalation=hurried)
    await env.submit(trigger(at=env.clock.now(), snapshot=other))
    assert len(env.sms.orders) == busy + 1, "told at once, whatever went before"
    await env.advance(5 * MINUTE)
    within = [o for o in env.sms.orders if o.created_at > env.clock.now() - 15 * MINUTE]
    assert len(within) <= 5 + 1
    assert env.watcher.held[RateLimitScope.CONTACT] > 0


async def test_mass_outage_releases_are_offered_in_two_calls_then_one(env: DispatcherEnv) -> None:
    plan = AnnouncementPlan(recipients=(MINISTRY,), release_offered_after=30 * MINUTE)
    agencies = [f"A{n}" for n in range(8)]
    for gateway in (env.sms, env.voice):
        gateway.happens.extend([SubmissionState.DELIVERED] * 2 * len(agencies))
    for number, agency in enumerate(agencies, 1):
        await env.submit(trigger(snapshot=snapshot(agency, announcement=plan)))
        await env.acknowledge(number)
    await env.advance(timedelta(hours=2))

    first, *others = (f"{agency}-01" for agency in agencies)
    # At once, after ten minutes, and after the first hour: whoever answered a call is not called again before.
    assert texts(env.voice) == [f"release both {'+'.join(some)}" for some in ([first], others, [first, *others])]
    assert env.watcher.held[RateLimitScope.CONTACT] == 0


async def test_extensions_of_one_switchboard_have_separate_rate_limits(env: DispatcherEnv) -> None:
    def calls(person: Contact, extension: str, times: int) -> EscalationPolicy:
        desk = replace(VOICE_SITI, number="+60300000100", extension=extension)
        steps = (replace(STAFF.steps[1], after=timedelta(0), contacts=(replace(person, addresses=(desk,)),)),)
        return replace(ONCE, steps=steps, rounds=times, repeat_after=3 * MINUTE)

    await env.submit(trigger(snapshot=replace(snapshot("A"), escalation=calls(SITI, "101", 3))))
    await env.submit(trigger(snapshot=replace(snapshot("B"), escalation=calls(RAVI, "102", 3))))
    await env.advance(14 * MINUTE)

    assert Counter(order.extension for order in env.voice.orders) == {"101": 3, "102": 3}
    assert env.watcher.held[RateLimitScope.CONTACT] == 0


async def test_refused_attempts_do_not_count_against_rate_limit(env: DispatcherEnv) -> None:
    env.restart([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=env.sms)])
    env.sms.happens.extend([ErrorClass.TRANSIENT] * 12)
    often = replace(ONCE, rounds=20, repeat_after=2 * MINUTE)
    await env.submit(trigger(snapshot=replace(SNAPSHOT, escalation=often)))
    await env.advance(10 * MINUTE)

    assert env.watcher.held[RateLimitScope.CONTACT] == 0
    assert len(env.sms.taken) > 0


async def test_gateway_rate_limit_exempts_first_notifications(env: DispatcherEnv) -> None:
    env.restart([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=env.sms, per_minute=1)])
    for agency in ("A", "B"):
        people = replace(SITI, addresses=(replace(SMS_SITI, number=f"+6010000{ord(agency):04}"),))
        twice = replace(ONCE, steps=(replace(ONCE.steps[0], contacts=(people,)),), rounds=2, repeat_after=2 * MINUTE)
        await env.submit(trigger(snapshot=replace(snapshot(agency), escalation=twice)))
    assert len(env.sms.orders) == 2

    await env.advance(2 * MINUTE)
    assert len(env.sms.orders) == 3
    assert env.watcher.held[RateLimitScope.GATEWAY] == 1
    await env.advance(MINUTE)
    assert len(env.sms.orders) == 4


async def test_phone_with_stop_is_called_instead(env: DispatcherEnv) -> None:
    async with env.store.transaction() as uow:
        await uow.responses.save_sms_number(SMS_SITI.number, SmsNumber(stopped_at=T0))
    either = replace(ONCE, steps=(replace(ONCE.steps[0], channels=(Channel.SMS, Channel.VOICE)),))
    await env.submit(trigger(snapshot=replace(SNAPSHOT, escalation=either)))

    assert env.sms.orders == []
    assert len(env.voice.orders) == 1

    await env.resolve()
    await env.advance(MINUTE)
    assert texts(env.voice)[1:] == ["recovery both JCM-01"], "and is told of the end in the same way"


async def test_first_notification_does_not_wait_after_clock_set_back(env: DispatcherEnv) -> None:
    """A machine whose clock starts at local time is eight hours ahead until it is set."""
    ahead = timedelta(hours=8)
    env.clock.moment += ahead
    await outage(env, "A")
    await outage(env, "B")
    env.clock.moment -= ahead
    env.dispatcher.wake()
    await outage(env, "C")
    await env.advance(BUNDLE_INTERVAL)

    assert sorted("+".join(texts(env.sms)).replace("outage both ", "").split("+")) == ["A-01", "B-01", "C-01"]


# -- silences --------------------------------------------------------------------------------------------------------


async def silence(env: DispatcherEnv, about: str, lasts: timedelta) -> int:
    now = env.clock.now()
    async with env.store.transaction() as uow:
        added = await uow.add_silence(about, now, now + lasts, "kerja rangkaian", "Siti Contoh")
    env.dispatcher.wake()
    return added.id


async def test_silenced_agency_is_notified_when_silence_ends(env: DispatcherEnv) -> None:
    await silence(env, "A", 2 * timedelta(hours=1))
    await outage(env, "A", once=False)
    await outage(env, "B")
    await env.advance(timedelta(hours=1, minutes=59))
    assert texts(env.sms) == ["outage both B-01"]
    assert env.voice.orders == []

    await env.advance(MINUTE)
    assert texts(env.sms)[1:] == ["outage both A-01"]


async def test_agency_silence_covers_noc_alerts_about_it(env: DispatcherEnv) -> None:
    await silence(env, "A", timedelta(hours=1))
    of_a = replace(FIRES, labels={"alertname": "SambunganPutus", "agency": "A"})
    other = replace(FIRES, fingerprint="ffffffffffffffff")
    await env.dispatcher.handle_alerts([of_a, other], lambda _: replace(SNAPSHOT, agency=""))
    await env.settle()
    await env.advance(timedelta(minutes=59))
    assert set(texts(env.sms)) == {"outage alert NOC-02"}
    await env.advance(MINUTE)
    assert "outage alert NOC-01" in texts(env.sms)


@pytest.mark.blind
async def test_dispatcher_sends_outage_before_earlier_alerts(env: DispatcherEnv) -> None:
    """Defect: Incidents are processed in order of arrival, so an outage waits behind alerts.

    Pantau: The outage is processed first.
    """
    alerts = [replace(FIRES, fingerprint=f"{number:016x}") for number in range(40)]
    await env.dispatcher.handle_alerts(alerts, lambda _: replace(SNAPSHOT, agency=""))
    await env.dispatcher.submit(trigger(at=env.clock.now(), snapshot=snapshot("A")))
    await env.settle()
    first, *others = texts(env.sms)
    assert first == "outage both A-01"
    assert all(each.startswith("outage alert NOC-") for each in others)
    assert others


async def test_outage_over_when_silence_ends_is_not_notified(env: DispatcherEnv) -> None:
    await silence(env, "A", timedelta(hours=1))
    await outage(env, "A")
    await env.advance(10 * MINUTE)
    await env.resolve("A")
    await env.advance(timedelta(hours=2))

    assert env.calls == []


async def test_escalation_pauses_during_silence_and_continues(env: DispatcherEnv) -> None:
    await outage(env, "A", once=False)
    await env.advance(MINUTE)
    number = await silence(env, "A", timedelta(hours=1))
    await env.advance(30 * MINUTE)
    assert env.voice.orders == []

    async with env.store.transaction() as uow:
        assert await uow.end_silence(number, env.clock.now()) is not None
    env.dispatcher.wake()
    await env.settle()
    assert texts(env.voice) == ["outage both A-01"]


@pytest.mark.parametrize("bundled", [False, True], ids=["by itself", "in a bundle that leaves after the silence"])
async def test_first_notification_withdrawn_by_silence_is_sent_later(env: DispatcherEnv, *, bundled: bool) -> None:
    """The step had started, and there is no other."""
    await outage(env, "A")
    if bundled:
        await outage(env, "B")
    await outage(env, "C")
    await silence(env, "C", MINUTE)
    await env.advance(timedelta(hours=1))

    said = [text for text in texts(env.sms) if "C-01" in text]
    assert said == ["outage both C-01"]


async def test_last_step_delayed_by_silence_starts_at_its_end(env: DispatcherEnv) -> None:
    """Its SMS has arrived, its call waits for the bundle, and no step follows."""
    last = replace(STAFF, rounds=1)
    for agency in ("A", "B"):
        await env.submit(trigger(snapshot=replace(snapshot(agency), escalation=last)))
    await env.advance(6 * MINUTE)
    assert texts(env.voice) == ["outage both A-01"]
    await silence(env, "B", timedelta(hours=1))
    await env.advance(timedelta(minutes=59))
    assert texts(env.voice) == ["outage both A-01"]

    await env.advance(5 * MINUTE)
    assert texts(env.voice) == ["outage both A-01", "outage both B-01"]


async def test_first_step_delayed_by_silence_comes_before_second(env: DispatcherEnv) -> None:
    steps = (STAFF.steps[0], replace(STAFF.steps[1], contacts=(RAVI,)))
    await outage(env, "A")
    await env.submit(trigger(snapshot=replace(snapshot("B"), escalation=replace(STAFF, steps=steps))))
    await silence(env, "B", timedelta(hours=1))
    await env.advance(timedelta(hours=1))
    assert texts(env.sms)[1:] == ["outage both B-01"]
    assert env.voice.orders == []

    await env.advance(5 * MINUTE)
    assert texts(env.voice) == ["outage both B-01"]


async def test_silence_delays_automatic_release_but_not_manual(env: DispatcherEnv) -> None:
    plan = AnnouncementPlan(recipients=(MINISTRY,), automatic=True, release_offered_after=30 * MINUTE)
    await silence(env, "A", timedelta(hours=1))
    await env.submit(trigger(snapshot=snapshot("A", announcement=plan)))
    await env.advance(45 * MINUTE)
    assert env.fax.orders == []

    await env.release()
    assert len(env.fax.orders) == 1
    assert env.sms.orders == []


# -- whose turn it is ------------------------------------------------------------------------------------------------


async def test_first_notification_precedes_others_waiting_for_gateway(env: DispatcherEnv) -> None:
    """The one slot is taken; then a recovery, a repeat and a first notification arrive, in the wrong order."""
    env.restart([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=env.sms, slots=1)])
    people = {
        name: replace(SITI, key=name, addresses=(replace(SMS_SITI, number=f"+601000010{n:02}"),))
        for n, name in enumerate(("busy", "good-news", "again", "news"))
    }

    async def open_for(name: str, rounds: int = 1) -> None:
        steps = (replace(ONCE.steps[0], contacts=(people[name],)),)
        policy = replace(ONCE, steps=steps, rounds=rounds, repeat_after=10 * MINUTE)
        await env.dispatcher.submit(trigger(at=env.clock.now(), snapshot=replace(snapshot(name), escalation=policy)))

    await open_for("good-news")
    await open_for("again", rounds=2)
    await env.settle()
    env.clock.moment += 10 * MINUTE
    env.sms.orders.clear()

    async with asyncio.TaskGroup() as calls:
        taken = env.pool.take_slot("sms", incident_id=0, call_key="busy", priority=(0, env.clock.now(), 0))
        assert taken
        await env.dispatcher.submit(Resolve(dedup_key="good-news", at=env.clock.now(), ended_at=env.clock.now()))
        await env.dispatcher.run_cycle(calls)
        await open_for("news")
        await env.dispatcher.run_cycle(calls)
        assert env.sms.orders == []
        env.pool.release_slot("sms")
    await env.settle()

    assert [t.rsplit(" ", 1)[0] + " " + t.rsplit(" ", 1)[1][:4] for t in texts(env.sms)] == [
        "outage both NEWS",
        "outage both AGAI",
        "recovery both GOOD",
    ]


async def test_hanging_gateway_does_not_delay_another_channel(env: DispatcherEnv) -> None:
    env.voice.happens.extend([HANG] * 4)
    by_voice = replace(ONCE, steps=(replace(ONCE.steps[0], channels=(Channel.VOICE,)),))
    for n in range(4):
        person = replace(SITI, addresses=(replace(SITI.addresses[1], number=f"+601000020{n:02}"),))
        hanging = replace(by_voice, steps=(replace(by_voice.steps[0], contacts=(person,)),))
        await env.dispatcher.submit(trigger(snapshot=replace(snapshot(f"V{n}"), escalation=hanging)))
    for n in range(100):
        person = replace(SITI, addresses=(replace(SMS_SITI, number=f"+60100003{n:03}"),))
        quick = replace(ONCE, steps=(replace(ONCE.steps[0], contacts=(person,)),))
        await env.dispatcher.submit(trigger(snapshot=replace(snapshot(f"S{n}"), escalation=quick)))

    running = asyncio.create_task(env.dispatcher.run())
    while len(env.sms.orders) < 100:
        env.sms.called.clear()
        await env.sms.called.wait()
    assert len(env.voice.orders) == 4, "they are being called all the while"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_acknowledging_one_of_bundle_leaves_others_open(env: DispatcherEnv) -> None:
    ids = [await outage(env, agency, once=False) for agency in ("A", "B", "C")]
    await env.advance(BUNDLE_INTERVAL)
    await env.submit(Acknowledge(incident_id=ids[1], at=env.clock.now(), by="Siti Contoh"))
    await env.advance(8 * MINUTE)

    assert texts(env.voice) == ["outage both A-01", "outage both C-01"]
