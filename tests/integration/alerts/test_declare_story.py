"""Outages that a person declares: notification, escalation, and the end by hand."""

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
from tests.integration.alerts.simulated_env import SimulatedEnv
from tests.unit.alerts.people import MINUTE, RAVI, SECOND, SITI, SNAPSHOT, trigger

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
TOLD_BY_SMS = replace(SNAPSHOT, escalation=SMS_FIRST)
BY_ITSELF = replace(
    TOLD_BY_SMS, announcement=replace(SNAPSHOT.announcement, automatic=True, release_offered_after=10 * MINUTE)
)
ONLY_STAFF = replace(TOLD_BY_SMS, announcement=AnnouncementPlan())


def declarer(env: SimulatedEnv, snapshot: PolicySnapshot = TOLD_BY_SMS) -> DeclarationService:
    return DeclarationService(
        store=env.real_store,
        dispatcher=env.dispatcher,
        clock=env.clock,
        agencies=lambda: ["JCM"],
        policy=lambda _: snapshot,
        zone=lambda: ZoneInfo("Asia/Kuala_Lumpur"),
        silence_lookup=active_silence,
        operation_check=env.check,
    )


async def declare_outage(
    env: SimulatedEnv,
    snapshot: PolicySnapshot = TOLD_BY_SMS,
    matter: IncidentType = IncidentType.RECEIVING,
    since: str = "",
) -> DeclaredOutage:
    done = await declarer(env, snapshot).declare("jcm", matter, since=since, reason="mel web tidak dapat dibuka", by=BY)
    await env.settle()
    return done


async def close_incident(env: SimulatedEnv) -> IncidentState:
    after = await declarer(env).close("JCM-01", reason="mel web dibaiki", by="Ravi Contoh")
    await env.settle()
    return after.state


async def probes_recover(env: SimulatedEnv) -> None:
    now = env.clock.now()
    await env.submit(Resolve(dedup_key="JCM", at=now, ended_at=now))


async def test_declared_outage_is_escalated_released_and_closed_by_hand(either_env: SimulatedEnv) -> None:
    """An outage that no probe sees is declared, escalated, released and closed by hand; probes do not end it."""
    env = either_env
    await declare_outage(env, since="13:40")
    await env.siti.gets("E-mel masuk gagal sejak 24/11, 1.40 ptg, diisytiharkan oleh", BY, "Balas 1A", "JCM-01")
    assert "telah disahkan oleh Siti Contoh" in await env.siti.replies("1A")
    for _ in range(3):
        await probes_recover(env)
        await env.advance(MINUTE)
        env.restart()
    await env.submit(Release(incident_id=1, at=env.clock.now(), by="Siti Contoh"))
    assert "diisytiharkan" not in env.gets_fax("1.40 petang", "JCM-01")
    env.gets_letter("JCM-01")
    await env.advance(20 * MINUTE)
    await env.siti.gets("HASIL")
    env.expect_nothing_more()

    assert await close_incident(env) is IncidentState.RESOLVED
    await env.siti.gets("PULIH", "sejak 24/11, 2.38 ptg", "JCM-01")
    env.gets_fax("pulih", "JCM-01")
    story = [event for event in await env.journal() if "incident" in event or "outage d" in event]
    assert story == ["outage declared", "incident acknowledged", "incident closed"]


async def test_declarer_is_notified_like_others_without_acknowledging(
    env: SimulatedEnv,
) -> None:
    """Whoever declares an outage is notified like everybody else and has not acknowledged it."""
    await declarer(env, ONLY_STAFF).declare("JCM", IncidentType.BOTH, since="", reason="DNS hilang", by="Siti Contoh")
    await env.settle()
    await env.siti.gets("E-mel keluar dan masuk gagal", "diisytiharkan oleh Siti Contoh")
    await env.advance(5 * MINUTE)
    await env.ravi.gets("diisytiharkan oleh Siti Contoh")


@pytest.mark.parametrize("last", ["person", "prober"])
async def test_declared_then_measured_outage_is_one_incident_until_both_end(env: SimulatedEnv, last: str) -> None:
    """A declared outage that probes see later is the same incident, and ends when both are over."""
    await declare_outage(env, ONLY_STAFF)
    await env.siti.gets("E-mel masuk gagal", "diisytiharkan")
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), ONLY_STAFF))
    await env.advance(5 * MINUTE)
    # What the probes measure needs no declaration.
    assert "diisytiharkan" not in await env.ravi.gets("E-mel keluar dan masuk gagal", "JCM-01")
    if last == "person":
        await probes_recover(env)
    else:
        assert await close_incident(env) is IncidentState.TRIGGERED
    await env.advance(10 * MINUTE)
    if last == "person":
        await env.ravi.gets("PERUBAHAN. E-mel keluar kini berfungsi. E-mel masuk GAGAL.")
    else:
        await env.siti.gets("PERUBAHAN", "kini GAGAL kedua-duanya")
    env.expect_nothing_more()
    if last == "person":
        assert await close_incident(env) is IncidentState.RESOLVED
    else:
        await probes_recover(env)
    await env.siti.gets("PULIH", "sejak 24/11, 2.30 ptg")
    await env.ravi.gets("PULIH")


async def test_declared_outage_stays_in_metrics_across_restarts(either_env: SimulatedEnv) -> None:
    """A declared outage is in the metrics until a person ends it, restarts included."""
    env = either_env

    def shown() -> list[str]:
        lines = env.metrics.render().decode().splitlines()
        return [line.partition("{")[2] for line in lines if line.startswith("pantau_outage_declared{")]

    await declare_outage(env, ONLY_STAFF)
    await env.siti.gets("JCM-01")
    assert shown() == ['agency="JCM",direction="inbound"} 1']
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), ONLY_STAFF))
    await env.settle()
    assert shown() == ['agency="JCM",direction="inbound"} 1'], "what the probes see is shown by what they see"
    await probes_recover(env)
    env.restart()
    await env.settle()
    assert shown() == ['agency="JCM",direction="inbound"} 1']
    await env.advance(SECOND)
    await declare_outage(env, ONLY_STAFF, IncidentType.SENDING)
    assert shown() == ['agency="JCM",direction="outbound"} 1', 'agency="JCM",direction="inbound"} 1']

    assert await close_incident(env) is IncidentState.RESOLVED
    assert shown() == []
    await env.siti.gets("PULIH")


async def test_slow_mail_declared_as_outage_is_escalated_anew(env: SimulatedEnv) -> None:
    """Slow mail that a person declares to be an outage is escalated anew."""
    await env.submit(trigger(IncidentType.DEGRADED, env.clock.now(), ONLY_STAFF))
    await env.siti.gets("E-mel lambat")
    await env.siti.replies("1A")
    await env.advance(10 * MINUTE)
    await declare_outage(env, ONLY_STAFF)
    await env.siti.gets("E-mel masuk gagal", "diisytiharkan oleh", "JCM-01")
    await probes_recover(env)
    assert await close_incident(env) is IncidentState.RESOLVED
    await env.siti.gets("PULIH")


async def test_mistaken_declaration_is_corrected_on_its_channels(env: SimulatedEnv) -> None:
    """A mistaken declaration is corrected and suppresses no measured outage."""
    await declare_outage(env, BY_ITSELF)
    await env.siti.gets("diisytiharkan")
    await env.siti.replies("1A")
    await env.advance(10 * MINUTE)
    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")
    await env.submit(MarkFalseAlarm(incident_id=1, at=env.clock.now(), by="Siti Contoh", reason="silap agensi"))
    await env.siti.gets("PEMBETULAN", "JCM-01")
    env.gets_fax("PEMBETULAN")

    await env.submit(
        replace(trigger(IncidentType.RECEIVING, env.clock.now(), ONLY_STAFF), began_at=env.clock.now() - HOUR)
    )
    await env.siti.gets("E-mel masuk gagal", "JCM-02")


async def test_declaration_under_silence_reports_silence_until_its_end(env: SimulatedEnv) -> None:
    """Under a silence the declarer is told that nobody is notified."""
    now = env.clock.now()
    async with env.real_store.transaction() as uow:
        await uow.add_silence("JCM", now, now + HOUR, "kerja rangkaian", "Ravi Contoh")
    done = await declare_outage(env, ONLY_STAFF)
    assert done.silence is not None
    assert done.silence.ends_at == now + HOUR
    await env.advance(HOUR - SECOND)
    env.expect_nothing_more()
    await env.advance(SECOND)
    await env.siti.gets("diisytiharkan")


async def test_declaration_of_open_incident_names_it_and_notifies_once(either_env: SimulatedEnv) -> None:
    """A declaration of an open incident names it; another direction is added to it."""
    env = either_env
    await declare_outage(env, ONLY_STAFF)
    await env.siti.gets("JCM-01")
    await env.advance(SECOND)
    with pytest.raises(
        OperationRejectedError, match=r"JCM-01 \(receiving\) is already open: Aminah binti Contoh declared it"
    ):
        await declare_outage(env, ONLY_STAFF)
    await declare_outage(env, ONLY_STAFF, IncidentType.SENDING)
    assert (await env.incident()).type is IncidentType.BOTH
    env.expect_nothing_more()


async def test_concurrent_declarations_open_one_incident(either_env: SimulatedEnv) -> None:
    """Two concurrent declarations open one incident, on either store."""
    env = either_env
    both = [
        declarer(env, ONLY_STAFF).declare("JCM", IncidentType.BOTH, since="", reason="DNS hilang", by=by)
        for by in (BY, "Ravi Contoh")
    ]
    done = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["DeclaredOutage", "OperationRejectedError"]
    await env.settle()
    await env.siti.gets("diisytiharkan", "JCM-01")
    assert await env.active() == [1]
