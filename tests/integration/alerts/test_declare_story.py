"""Outages that no probe sees, told as stories: declared by a person, told like any other, and ended by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from alerts.decide.silence import active_silence
from alerts.model.channel import Channel
from alerts.model.event import MarkFalseAlarm, Release, Resolve
from alerts.model.incident import IncidentState
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, Step
from monitor.service.declarations import DeclarationService, DeclaredOutage
from monitor.service.errors import OperationRejectedError
from tests.integration.alerts.town import Town
from tests.unit.alerts.people import BRIEF, MINUTE, RAVI, SECOND, SITI, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
BY = "Aminah binti Contoh"
SMS_FIRST = EscalationPolicy(
    steps=(
        Step(after=timedelta(0), contacts=(SITI,), channels=(Channel.SMS,)),
        Step(after=5 * MINUTE, contacts=(RAVI,), channels=(Channel.SMS,)),
    ),
    rounds=1,
)
TOLD_BY_SMS = replace(BRIEF, escalation=SMS_FIRST)
BY_ITSELF = replace(
    TOLD_BY_SMS, announcement=replace(BRIEF.announcement, automatic=True, release_offered_after=10 * MINUTE)
)
ONLY_STAFF = replace(TOLD_BY_SMS, announcement=AnnouncementPlan())


def declarer(town: Town, brief: PolicySnapshot = TOLD_BY_SMS) -> DeclarationService:
    return DeclarationService(
        store=town.store_itself,
        dispatcher=town.dispatcher,
        clock=town.clock,
        agencies=lambda: ["JCM"],
        policy=lambda _: brief,
        zone=lambda: ZoneInfo("Asia/Kuala_Lumpur"),
        silence_lookup=active_silence,
        order_check=town.check,
    )


async def declared(
    town: Town, brief: PolicySnapshot = TOLD_BY_SMS, matter: IncidentType = IncidentType.RECEIVING, since: str = ""
) -> DeclaredOutage:
    done = await declarer(town, brief).declare("jcm", matter, since=since, reason="mel web tidak dapat dibuka", by=BY)
    await town.settle()
    return done


async def closed(town: Town) -> IncidentState:
    after = await declarer(town).close("JCM-01", reason="mel web dibaiki", by="Ravi Contoh")
    await town.settle()
    return after.state


async def probes_are_well(town: Town) -> None:
    now = town.clock.now()
    await town.submit(Resolve(dedup_key="JCM", at=now, ended_at=now))


async def test_an_outage_that_no_probe_sees_is_declared_told_released_and_ended_by_hand(either_town: Town) -> None:
    """An outage that no probe sees is declared, escalated, released and closed by hand; probes do not end it."""
    town = either_town
    await declared(town, since="13:40")
    await town.siti.gets("E-mel masuk gagal sejak 24/11, 1.40 ptg, diisytiharkan oleh", BY, "Balas 1A", "JCM-01")
    assert "telah disahkan oleh Siti Contoh" in await town.siti.replies("1A")
    for _ in range(3):
        await probes_are_well(town)
        await town.advance(MINUTE)
        town.restart()
    await town.submit(Release(incident_id=1, at=town.clock.now(), by="Siti Contoh"))
    assert "diisytiharkan" not in town.gets_fax("1.40 petang", "JCM-01")
    town.gets_letter("JCM-01")
    await town.advance(20 * MINUTE)
    await town.siti.gets("HASIL")
    town.expect_nothing_more()

    assert await closed(town) is IncidentState.RESOLVED
    await town.siti.gets("PULIH", "sejak 24/11, 2.38 ptg", "JCM-01")
    town.gets_fax("pulih", "JCM-01")
    story = [event for event in await town.journal() if "incident" in event or "outage d" in event]
    assert story == ["outage declared", "incident acknowledged", "incident closed"]


async def test_whoever_declares_an_outage_is_told_of_it_as_everybody_else_and_the_escalation_goes_on(
    town: Town,
) -> None:
    """Whoever declares an outage is notified like everybody else and has not acknowledged it."""
    await declarer(town, ONLY_STAFF).declare("JCM", IncidentType.BOTH, since="", reason="DNS hilang", by="Siti Contoh")
    await town.settle()
    await town.siti.gets("E-mel keluar dan masuk gagal", "diisytiharkan oleh Siti Contoh")
    await town.advance(5 * MINUTE)
    await town.ravi.gets("diisytiharkan oleh Siti Contoh")


@pytest.mark.parametrize("last", ["person", "prober"])
async def test_what_is_declared_and_then_seen_by_probes_is_one_incident_that_both_must_end(
    town: Town, last: str
) -> None:
    """A declared outage that probes see later is the same incident, and ends when both are over."""
    await declared(town, ONLY_STAFF)
    await town.siti.gets("E-mel masuk gagal", "diisytiharkan")
    await town.submit(trigger(IncidentType.BOTH, town.clock.now(), ONLY_STAFF))
    await town.advance(5 * MINUTE)
    # What the probes see needs nobody's word.
    assert "diisytiharkan" not in await town.ravi.gets("E-mel keluar dan masuk gagal", "JCM-01")
    if last == "person":
        await probes_are_well(town)
    else:
        assert await closed(town) is IncidentState.TRIGGERED
    await town.advance(10 * MINUTE)
    if last == "person":
        await town.ravi.gets("PERUBAHAN. E-mel keluar kini berfungsi. E-mel masuk GAGAL.")
    else:
        await town.siti.gets("PERUBAHAN", "kini GAGAL kedua-duanya")
    town.expect_nothing_more()
    if last == "person":
        assert await closed(town) is IncidentState.RESOLVED
    else:
        await probes_are_well(town)
    await town.siti.gets("PULIH", "sejak 24/11, 2.30 ptg")
    await town.ravi.gets("PULIH")


async def test_a_declared_outage_is_in_the_metrics_until_a_person_ends_it_over_restarts(either_town: Town) -> None:
    """A declared outage is in the metrics until a person ends it, restarts included."""
    town = either_town

    def shown() -> list[str]:
        lines = town.metrics.render().decode().splitlines()
        return [line.partition("{")[2] for line in lines if line.startswith("pantau_outage_declared{")]

    await declared(town, ONLY_STAFF)
    await town.siti.gets("JCM-01")
    assert shown() == ['agency="JCM",direction="inbound"} 1']
    await town.submit(trigger(IncidentType.BOTH, town.clock.now(), ONLY_STAFF))
    await town.settle()
    assert shown() == ['agency="JCM",direction="inbound"} 1'], "what the probes see is shown by what they see"
    await probes_are_well(town)
    town.restart()
    await town.settle()
    assert shown() == ['agency="JCM",direction="inbound"} 1']
    await town.advance(SECOND)
    await declared(town, ONLY_STAFF, IncidentType.SENDING)
    assert shown() == ['agency="JCM",direction="outbound"} 1', 'agency="JCM",direction="inbound"} 1']

    assert await closed(town) is IncidentState.RESOLVED
    assert shown() == []
    await town.siti.gets("PULIH")


async def test_slowness_that_people_know_to_be_an_outage_is_told_anew(town: Town) -> None:
    """Slow mail that a person declares to be an outage is escalated anew."""
    await town.submit(trigger(IncidentType.DEGRADED, town.clock.now(), ONLY_STAFF))
    await town.siti.gets("E-mel lambat")
    await town.siti.replies("1A")
    await town.advance(10 * MINUTE)
    await declared(town, ONLY_STAFF)
    await town.siti.gets("E-mel masuk gagal", "diisytiharkan oleh", "JCM-01")
    await probes_are_well(town)
    assert await closed(town) is IncidentState.RESOLVED
    await town.siti.gets("PULIH")


async def test_an_outage_that_was_declared_by_mistake_is_corrected_by_the_ways_it_was_told(town: Town) -> None:
    """A mistaken declaration is corrected and suppresses no measured outage."""
    await declared(town, BY_ITSELF)
    await town.siti.gets("diisytiharkan")
    await town.siti.replies("1A")
    await town.advance(10 * MINUTE)
    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")
    await town.submit(MarkFalseAlarm(incident_id=1, at=town.clock.now(), by="Siti Contoh", reason="silap agensi"))
    await town.siti.gets("PEMBETULAN", "JCM-01")
    town.gets_fax("PEMBETULAN")

    await town.submit(
        replace(trigger(IncidentType.RECEIVING, town.clock.now(), ONLY_STAFF), began_at=town.clock.now() - HOUR)
    )
    await town.siti.gets("E-mel masuk gagal", "JCM-02")


async def test_under_a_silence_the_declarer_hears_that_nobody_does_until_it_ends(town: Town) -> None:
    """Under a silence the declarer is told that nobody is notified."""
    now = town.clock.now()
    async with town.store_itself.transaction() as uow:
        await uow.add_silence("JCM", now, now + HOUR, "kerja rangkaian", "Ravi Contoh")
    done = await declared(town, ONLY_STAFF)
    assert done.silence is not None
    assert done.silence.ends_at == now + HOUR
    await town.advance(HOUR - SECOND)
    town.expect_nothing_more()
    await town.advance(SECOND)
    await town.siti.gets("diisytiharkan")


async def test_what_is_open_already_is_named_and_nobody_is_told_twice(either_town: Town) -> None:
    """A declaration of an open incident names it; another direction is added to it."""
    town = either_town
    await declared(town, ONLY_STAFF)
    await town.siti.gets("JCM-01")
    await town.advance(SECOND)
    with pytest.raises(
        OperationRejectedError, match=r"JCM-01 \(receiving\) is already open: Aminah binti Contoh declared it"
    ):
        await declared(town, ONLY_STAFF)
    await declared(town, ONLY_STAFF, IncidentType.SENDING)
    assert (await town.incident()).type is IncidentType.BOTH
    town.expect_nothing_more()


async def test_two_who_declare_the_same_at_once_open_one_incident(either_town: Town) -> None:
    """Two concurrent declarations open one incident, on either store."""
    town = either_town
    both = [
        declarer(town, ONLY_STAFF).declare("JCM", IncidentType.BOTH, since="", reason="DNS hilang", by=by)
        for by in (BY, "Ravi Contoh")
    ]
    done = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["DeclaredOutage", "OperationRejectedError"]
    await town.settle()
    await town.siti.gets("diisytiharkan", "JCM-01")
    assert await town.active() == [1]
