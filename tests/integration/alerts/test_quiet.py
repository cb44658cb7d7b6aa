"""Quiet when it should be: bundles, brakes, silences, and whose turn it is. On a real store, with a clock."""

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
from tests.integration.alerts.station import HANG, Scripted, Station, station_at
from tests.unit.alerts.model.test_alert import FIRES
from tests.unit.alerts.people import (
    BRIEF,
    FAX,
    MINISTRY,
    MINUTE,
    POLICY,
    RAVI,
    SECOND,
    SITI,
    SMS_SITI,
    T0,
    VOICE_SITI,
    trigger,
)

STAFF = replace(POLICY, steps=(replace(POLICY.steps[0], contacts=(SITI,)), replace(POLICY.steps[1], contacts=(SITI,))))
ONCE = replace(STAFF, steps=STAFF.steps[:1], rounds=1)


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[Station]:
    async with station_at(tmp_path) as opened:
        yield opened


def brief(agency: str, *, once: bool = True, announcement: AnnouncementPlan | None = None) -> PolicySnapshot:
    office = IssuingOffice(short=agency, name=f"Agensi {agency}", domain="contoh.gov.my")
    policy = ONCE if once else STAFF
    return PolicySnapshot(
        agency=agency, office=office, escalation=policy, announcement=announcement or AnnouncementPlan()
    )


async def outage(station: Station, agency: str, matter: IncidentType = IncidentType.BOTH, *, once: bool = True) -> int:
    incident = await station.submit(trigger(matter, station.clock.now(), brief(agency, once=once)))
    assert incident is not None
    return incident.id


def texts(gateway: Scripted) -> list[str]:
    return [order.content.text for order in gateway.orders if isinstance(order.content, SmsContent)]


# -- bundles ---------------------------------------------------------------------------------------------------------


async def test_the_first_is_told_at_once_and_those_of_two_minutes_in_one_sms_and_one_call(station: Station) -> None:
    await outage(station, "A", once=False)
    assert texts(station.sms) == ["outage both A-01"]
    for agency in ("B", "C", "D"):
        await station.advance(20 * SECOND)
        await outage(station, agency, once=False)
    await station.advance(BUNDLE_INTERVAL - 61 * SECOND)
    assert len(station.sms.orders) == 1

    await station.advance(SECOND)
    assert texts(station.sms) == ["outage both A-01", "outage both B-01+C-01+D-01"]
    # Five minutes after each opened, nobody has acknowledged: one call, and one for the others together.
    await station.advance(5 * MINUTE)
    assert texts(station.voice) == ["outage both A-01", "outage both B-01+C-01+D-01"]
    assert station.watcher.bundled == 2 + 2


async def test_a_key_in_the_call_about_many_takes_on_all_of_them(station: Station) -> None:
    ids = [await outage(station, agency, once=False) for agency in ("A", "B", "C")]
    await station.advance(8 * MINUTE)
    assert texts(station.voice) == ["outage both A-01", "outage both B-01+C-01"]

    heard = CallbackEvent(reference=station.voice.orders[1].reference, event_id="1", acknowledged=True)
    assert await station.dispatcher.record_callback("voice", heard) is AckResult.TAKEN

    states = [(await station.incident(i)).state for i in ids]
    assert states == [IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED, IncidentState.ACKNOWLEDGED]
    await station.acknowledge(ids[0])
    sent = len(station.sms.orders), len(station.voice.orders)
    await station.advance(timedelta(hours=2))
    assert (len(station.sms.orders), len(station.voice.orders)) == sent


async def test_what_is_acknowledged_or_over_before_the_bundle_leaves_is_not_in_it(station: Station) -> None:
    for agency in ("A", "B", "C", "D"):
        await outage(station, agency)
    await station.acknowledge(2)
    await station.resolve("C")
    await station.advance(BUNDLE_INTERVAL)

    assert texts(station.sms) == ["outage both A-01", "recovery both C-01", "outage both D-01"]
    (afterwards,) = await station.notifications(3)
    assert afterwards.facts.is_belated, "nobody had been told of it when it was over"


async def test_a_bundle_that_nobody_needs_any_more_is_withdrawn(station: Station) -> None:
    for agency in ("A", "B", "C"):
        await outage(station, agency)
    await station.resolve("B")
    await station.resolve("C")
    await station.advance(timedelta(hours=3))

    assert texts(station.sms) == ["outage both A-01", "recovery both B-01", "recovery both C-01"]
    assert [n.state for n in await station.notifications(3)] == [NotificationState.WITHDRAWN, NotificationState.SENT]
    assert await station.active() == [1]


async def test_recoveries_are_told_together_as_the_outages_were(station: Station) -> None:
    for agency in ("A", "B", "C", "D"):
        await outage(station, agency)
    await station.advance(BUNDLE_INTERVAL)
    for agency in ("B", "C", "D"):
        await station.resolve(agency)
        await station.advance(10 * SECOND)
    await station.advance(BUNDLE_INTERVAL)

    assert texts(station.sms)[2:] == ["recovery both B-01", "recovery both C-01+D-01"]
    assert (await station.incident(1)).is_open


async def test_people_whom_two_agencies_share_are_not_kept_waiting_by_what_others_were_told(station: Station) -> None:
    await outage(station, "A")
    ravi = replace(brief("B"), escalation=replace(ONCE, steps=(replace(ONCE.steps[0], contacts=(RAVI,)),)))
    await station.submit(trigger(brief=ravi))

    assert len(station.sms.orders) == 2


async def test_an_outage_does_not_wait_for_slowness(station: Station) -> None:
    await outage(station, "A", IncidentType.DEGRADED)
    await outage(station, "B")

    assert texts(station.sms) == ["outage degraded A-01", "outage both B-01"]


async def test_a_bundle_survives_a_restart_and_is_sent_once(station: Station) -> None:
    for agency in ("A", "B", "C"):
        await outage(station, agency)
    station.restart()
    await outage(station, "D")
    await station.advance(BUNDLE_INTERVAL)
    station.restart()
    await station.advance(BUNDLE_INTERVAL)

    assert texts(station.sms) == ["outage both A-01", "outage both B-01+C-01+D-01"]


async def test_a_bundle_that_fails_for_good_lets_every_incident_go_on_at_once(station: Station) -> None:
    station.sms.happens.extend([SubmissionState.ACCEPTED, ErrorClass.PERMANENT])
    for agency in ("A", "B", "C"):
        await outage(station, agency, once=False)
    await station.advance(BUNDLE_INTERVAL)

    # The next step is a call: of one at once, and of the others when the window closes.
    assert len(station.voice.orders) == 1
    await station.advance(BUNDLE_INTERVAL)
    assert sorted(texts(station.voice)) == ["outage both B-01", "outage both C-01"]


async def test_an_office_gets_one_list_by_fax_and_a_letter_for_each_agency(station: Station) -> None:
    ministry: Recipient = MINISTRY
    for agency in ("A", "B", "C"):
        told = brief(agency, announcement=AnnouncementPlan(recipients=(ministry,)))
        incident = await station.submit(trigger(brief=told))
        assert incident is not None
        await station.submit(Release(incident_id=incident.id, at=station.clock.now(), by="Siti Contoh"))
    await station.advance(BUNDLE_INTERVAL)

    assert texts(station.fax) == ["outage both A-01", "outage both B-01+C-01"]
    assert [order.address for order in station.fax.orders] == [FAX.number] * 2
    assert texts(station.tray) == ["outage both A-01", "outage both B-01", "outage both C-01"]


async def test_a_first_notice_that_was_gathered_and_never_got_a_gateway_has_failed(station: Station) -> None:
    """It is no repeat that a brake kept back too long: nobody was told, and the next step begins at once."""
    await outage(station, "A")
    for line in station.lines():
        for _ in range(line.slots if line.channel is Channel.SMS else 0):
            assert station.pool.take_slot(line.name, incident_id=0, what="busy", priority=(-1, T0, 0))
    steps = (ONCE.steps[0], replace(STAFF.steps[1], after=timedelta(hours=2)))
    slow = replace(ONCE, steps=steps)
    await station.submit(trigger(at=station.clock.now(), brief=replace(brief("B"), escalation=slow)))
    await station.advance(31 * MINUTE)

    assert next(n.state for n in await station.notifications(2)) is NotificationState.FAILED
    assert texts(station.voice) == ["outage both B-01"]


# -- brakes ---------------------------------------------------------------------------------------------------------


async def test_repeats_wait_for_the_brake_and_the_first_notice_of_an_incident_never_does(station: Station) -> None:
    every_minute = replace(ONCE, rounds=20, repeat_after=3 * MINUTE)
    await station.submit(trigger(brief=replace(BRIEF, escalation=every_minute)))
    await station.advance(14 * MINUTE)
    # Five SMS in a quarter of an hour; the sixth would come after fifteen minutes all the same.
    assert len(station.sms.orders) == 5
    await station.advance(7 * MINUTE)
    busy = len(station.sms.orders)

    hurried = replace(ONCE, rounds=30, repeat_after=30 * SECOND)
    other = replace(brief("B"), escalation=hurried)
    await station.submit(trigger(at=station.clock.now(), brief=other))
    assert len(station.sms.orders) == busy + 1, "told at once, whatever went before"
    await station.advance(5 * MINUTE)
    within = [o for o in station.sms.orders if o.created_at > station.clock.now() - 15 * MINUTE]
    assert len(within) <= 5 + 1
    assert station.watcher.held[RateLimitScope.CONTACT] > 0


async def test_of_a_mass_outage_all_releases_are_offered_in_two_calls_and_then_in_one(station: Station) -> None:
    plan = AnnouncementPlan(recipients=(MINISTRY,), release_offered_after=30 * MINUTE)
    agencies = [f"A{n}" for n in range(8)]
    for gateway in (station.sms, station.voice):
        gateway.happens.extend([SubmissionState.DELIVERED] * 2 * len(agencies))
    for number, agency in enumerate(agencies, 1):
        await station.submit(trigger(brief=brief(agency, announcement=plan)))
        await station.acknowledge(number)
    await station.advance(timedelta(hours=2))

    first, *others = (f"{agency}-01" for agency in agencies)
    # At once and after ten minutes, and again when the first hour is over: whoever has taken the call is left in peace till then.
    assert texts(station.voice) == [f"release both {'+'.join(some)}" for some in ([first], others, [first, *others])]
    assert station.watcher.held[RateLimitScope.CONTACT] == 0


async def test_people_behind_one_switchboard_have_a_brake_each(station: Station) -> None:
    def calls(person: Contact, extension: str, times: int) -> EscalationPolicy:
        desk = replace(VOICE_SITI, number="+60300000100", extension=extension)
        steps = (replace(STAFF.steps[1], after=timedelta(0), contacts=(replace(person, addresses=(desk,)),)),)
        return replace(ONCE, steps=steps, rounds=times, repeat_after=3 * MINUTE)

    await station.submit(trigger(brief=replace(brief("A"), escalation=calls(SITI, "101", 3))))
    await station.submit(trigger(brief=replace(brief("B"), escalation=calls(RAVI, "102", 3))))
    await station.advance(14 * MINUTE)

    assert Counter(order.extension for order in station.voice.orders) == {"101": 3, "102": 3}
    assert station.watcher.held[RateLimitScope.CONTACT] == 0


async def test_what_a_gateway_refused_uses_nothing_up(station: Station) -> None:
    station.restart([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=station.sms)])
    station.sms.happens.extend([ErrorClass.TRANSIENT] * 12)
    often = replace(ONCE, rounds=20, repeat_after=2 * MINUTE)
    await station.submit(trigger(brief=replace(BRIEF, escalation=often)))
    await station.advance(10 * MINUTE)

    assert station.watcher.held[RateLimitScope.CONTACT] == 0
    assert len(station.sms.taken) > 0


async def test_a_gateway_takes_so_many_a_minute_and_first_notices_besides(station: Station) -> None:
    station.restart([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=station.sms, per_minute=1)])
    for agency in ("A", "B"):
        people = replace(SITI, addresses=(replace(SMS_SITI, number=f"+6010000{ord(agency):04}"),))
        twice = replace(ONCE, steps=(replace(ONCE.steps[0], contacts=(people,)),), rounds=2, repeat_after=2 * MINUTE)
        await station.submit(trigger(brief=replace(brief(agency), escalation=twice)))
    assert len(station.sms.orders) == 2

    await station.advance(2 * MINUTE)
    assert len(station.sms.orders) == 3
    assert station.watcher.held[RateLimitScope.GATEWAY] == 1
    await station.advance(MINUTE)
    assert len(station.sms.orders) == 4


async def test_a_phone_whose_owner_wants_no_sms_is_called_instead(station: Station) -> None:
    async with station.store.transaction() as uow:
        await uow.responses.save_sms_number(SMS_SITI.number, SmsNumber(stopped_at=T0))
    either = replace(ONCE, steps=(replace(ONCE.steps[0], channels=(Channel.SMS, Channel.VOICE)),))
    await station.submit(trigger(brief=replace(BRIEF, escalation=either)))

    assert station.sms.orders == []
    assert len(station.voice.orders) == 1

    await station.resolve()
    await station.advance(MINUTE)
    assert texts(station.voice)[1:] == ["recovery both JCM-01"], "and is told of the end in the same way"


async def test_a_first_notice_does_not_wait_for_a_time_from_which_the_clock_was_set_back(station: Station) -> None:
    """A machine whose clock begins at local time is eight hours ahead until somebody tells it the time."""
    ahead = timedelta(hours=8)
    station.clock.moment += ahead
    await outage(station, "A")
    await outage(station, "B")
    station.clock.moment -= ahead
    station.dispatcher.wake()
    await outage(station, "C")
    await station.advance(BUNDLE_INTERVAL)

    assert sorted("+".join(texts(station.sms)).replace("outage both ", "").split("+")) == ["A-01", "B-01", "C-01"]


# -- silences --------------------------------------------------------------------------------------------------------


async def silence(station: Station, about: str, lasts: timedelta) -> int:
    now = station.clock.now()
    async with station.store.transaction() as uow:
        added = await uow.add_silence(about, now, now + lasts, "kerja rangkaian", "Siti Contoh")
    station.dispatcher.wake()
    return added.id


async def test_nobody_is_told_of_what_is_silent_until_the_silence_ends(station: Station) -> None:
    await silence(station, "A", 2 * timedelta(hours=1))
    await outage(station, "A", once=False)
    await outage(station, "B")
    await station.advance(timedelta(hours=1, minutes=59))
    assert texts(station.sms) == ["outage both B-01"]
    assert station.voice.orders == []

    await station.advance(MINUTE)
    assert texts(station.sms)[1:] == ["outage both A-01"]


async def test_a_silence_of_an_agency_holds_for_what_the_centres_own_monitoring_says_of_it(station: Station) -> None:
    await silence(station, "A", timedelta(hours=1))
    of_a = replace(FIRES, labels={"alertname": "SambunganPutus", "agency": "A"})
    other = replace(FIRES, fingerprint="ffffffffffffffff")
    await station.dispatcher.handle_alerts([of_a, other], lambda _: replace(BRIEF, agency=""))
    await station.settle()
    await station.advance(timedelta(minutes=59))
    assert set(texts(station.sms)) == {"outage alert NOC-02"}
    await station.advance(MINUTE)
    assert "outage alert NOC-01" in texts(station.sms)


@pytest.mark.blind
async def test_dispatcher_tells_of_an_outage_before_alerts_that_came_before_it(station: Station) -> None:
    """Defect: Incidents are processed in order of arrival, so an outage waits behind alerts.

    Pantau: The outage is processed first.
    """
    alerts = [replace(FIRES, fingerprint=f"{number:016x}") for number in range(40)]
    await station.dispatcher.handle_alerts(alerts, lambda _: replace(BRIEF, agency=""))
    await station.dispatcher.submit(trigger(at=station.clock.now(), brief=brief("A")))
    await station.settle()
    first, *others = texts(station.sms)
    assert first == "outage both A-01"
    assert all(each.startswith("outage alert NOC-") for each in others)
    assert others


async def test_what_is_over_when_the_silence_ends_was_never_told(station: Station) -> None:
    await silence(station, "A", timedelta(hours=1))
    await outage(station, "A")
    await station.advance(10 * MINUTE)
    await station.resolve("A")
    await station.advance(timedelta(hours=2))

    assert station.calls == []


async def test_an_escalation_stops_while_it_is_silent_and_goes_on_after(station: Station) -> None:
    await outage(station, "A", once=False)
    await station.advance(MINUTE)
    number = await silence(station, "A", timedelta(hours=1))
    await station.advance(30 * MINUTE)
    assert station.voice.orders == []

    async with station.store.transaction() as uow:
        assert await uow.end_silence(number, station.clock.now()) is not None
    station.dispatcher.wake()
    await station.settle()
    assert texts(station.voice) == ["outage both A-01"]


@pytest.mark.parametrize("bundled", [False, True], ids=["by itself", "in a bundle that leaves after the silence"])
async def test_a_silence_that_withdraws_the_first_notice_does_not_lose_it(station: Station, *, bundled: bool) -> None:
    """The step had begun, and there is no other."""
    await outage(station, "A")
    if bundled:
        await outage(station, "B")
    await outage(station, "C")
    await silence(station, "C", MINUTE)
    await station.advance(timedelta(hours=1))

    said = [text for text in texts(station.sms) if "C-01" in text]
    assert said == ["outage both C-01"]


async def test_a_last_step_that_a_silence_withholds_begins_when_it_ends(station: Station) -> None:
    """Its SMS has been heard, its call waits to be gathered, and nothing follows it."""
    last = replace(STAFF, rounds=1)
    for agency in ("A", "B"):
        await station.submit(trigger(brief=replace(brief(agency), escalation=last)))
    await station.advance(6 * MINUTE)
    assert texts(station.voice) == ["outage both A-01"]
    await silence(station, "B", timedelta(hours=1))
    await station.advance(timedelta(minutes=59))
    assert texts(station.voice) == ["outage both A-01"]

    await station.advance(5 * MINUTE)
    assert texts(station.voice) == ["outage both A-01", "outage both B-01"]


async def test_whoever_a_silence_kept_from_hearing_first_still_hears_first(station: Station) -> None:
    steps = (STAFF.steps[0], replace(STAFF.steps[1], contacts=(RAVI,)))
    await outage(station, "A")
    await station.submit(trigger(brief=replace(brief("B"), escalation=replace(STAFF, steps=steps))))
    await silence(station, "B", timedelta(hours=1))
    await station.advance(timedelta(hours=1))
    assert texts(station.sms)[1:] == ["outage both B-01"]
    assert station.voice.orders == []

    await station.advance(5 * MINUTE)
    assert texts(station.voice) == ["outage both B-01"]


async def test_an_automatic_release_waits_for_the_silence_and_a_persons_does_not(station: Station) -> None:
    plan = AnnouncementPlan(recipients=(MINISTRY,), automatic=True, release_offered_after=30 * MINUTE)
    await silence(station, "A", timedelta(hours=1))
    await station.submit(trigger(brief=brief("A", announcement=plan)))
    await station.advance(45 * MINUTE)
    assert station.fax.orders == []

    await station.release()
    assert len(station.fax.orders) == 1
    assert station.sms.orders == []


# -- whose turn it is ------------------------------------------------------------------------------------------------


async def test_a_first_notice_goes_ahead_of_all_that_waits_for_the_gateway(station: Station) -> None:
    """One slot, taken; then come a recovery, a repeat and news, in the wrong order."""
    station.restart([ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=station.sms, slots=1)])
    people = {
        name: replace(SITI, key=name, addresses=(replace(SMS_SITI, number=f"+601000010{n:02}"),))
        for n, name in enumerate(("busy", "good-news", "again", "news"))
    }

    async def open_for(name: str, rounds: int = 1) -> None:
        steps = (replace(ONCE.steps[0], contacts=(people[name],)),)
        policy = replace(ONCE, steps=steps, rounds=rounds, repeat_after=10 * MINUTE)
        await station.dispatcher.submit(trigger(at=station.clock.now(), brief=replace(brief(name), escalation=policy)))

    await open_for("good-news")
    await open_for("again", rounds=2)
    await station.settle()
    station.clock.moment += 10 * MINUTE
    station.sms.orders.clear()

    async with asyncio.TaskGroup() as calls:
        taken = station.pool.take_slot("sms", incident_id=0, what="busy", priority=(0, station.clock.now(), 0))
        assert taken
        await station.dispatcher.submit(
            Resolve(dedup_key="good-news", at=station.clock.now(), ended_at=station.clock.now())
        )
        await station.dispatcher.run_cycle(calls)
        await open_for("news")
        await station.dispatcher.run_cycle(calls)
        assert station.sms.orders == []
        station.pool.release_slot("sms")
    await station.settle()

    assert [t.rsplit(" ", 1)[0] + " " + t.rsplit(" ", 1)[1][:4] for t in texts(station.sms)] == [
        "outage both NEWS",
        "outage both AGAI",
        "recovery both GOOD",
    ]


async def test_a_gateway_that_hangs_holds_back_nobody_who_goes_by_another(station: Station) -> None:
    station.voice.happens.extend([HANG] * 4)
    by_voice = replace(ONCE, steps=(replace(ONCE.steps[0], channels=(Channel.VOICE,)),))
    for n in range(4):
        person = replace(SITI, addresses=(replace(SITI.addresses[1], number=f"+601000020{n:02}"),))
        hanging = replace(by_voice, steps=(replace(by_voice.steps[0], contacts=(person,)),))
        await station.dispatcher.submit(trigger(brief=replace(brief(f"V{n}"), escalation=hanging)))
    for n in range(100):
        person = replace(SITI, addresses=(replace(SMS_SITI, number=f"+60100003{n:03}"),))
        quick = replace(ONCE, steps=(replace(ONCE.steps[0], contacts=(person,)),))
        await station.dispatcher.submit(trigger(brief=replace(brief(f"S{n}"), escalation=quick)))

    running = asyncio.create_task(station.dispatcher.run())
    while len(station.sms.orders) < 100:
        station.sms.called.clear()
        await station.sms.called.wait()
    assert len(station.voice.orders) == 4, "they are being called all the while"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_acknowledgement_of_one_does_not_end_the_others(station: Station) -> None:
    ids = [await outage(station, agency, once=False) for agency in ("A", "B", "C")]
    await station.advance(BUNDLE_INTERVAL)
    await station.submit(Acknowledge(incident_id=ids[1], at=station.clock.now(), by="Siti Contoh"))
    await station.advance(8 * MINUTE)

    assert texts(station.voice) == ["outage both A-01", "outage both C-01"]
