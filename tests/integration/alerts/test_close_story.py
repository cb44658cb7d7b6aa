"""Incidents that a person closes: notifications, suppression of what probes still measure, and recovery."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from alerts.decide.silence import active_silence
from alerts.gateways.tray import LetterPlace
from alerts.model.event import MarkFalseAlarm, Release, Resolve
from alerts.model.incident import SUPPRESSION_PERIOD, Incident, IncidentState
from alerts.model.notification import IncidentType
from monitor.service.declarations import DeclarationService
from monitor.service.errors import OperationRejectedError
from monitor.store.schema.tables import audit_log
from tests.integration.alerts.simulated_env import SimulatedEnv
from tests.integration.alerts.test_declare_story import BY_ITSELF, ONLY_STAFF, TOLD_BY_SMS
from tests.unit.alerts.people import MINUTE, SECOND, T0, trigger

pytestmark = pytest.mark.story

WHY = "probe rosak, e-mel sudah diuji"


async def close_incident(
    env: SimulatedEnv, *, recovered: bool | None, number: str = "JCM-01", by: str = "Ravi Contoh"
) -> Incident:
    declarer = DeclarationService(
        store=env.real_store,
        dispatcher=env.dispatcher,
        clock=env.clock,
        agencies=lambda: ["JCM"],
        policy=lambda _: TOLD_BY_SMS,
        zone=lambda: ZoneInfo("Asia/Kuala_Lumpur"),
        silence_lookup=active_silence,
        operation_check=env.check,
    )
    after = await declarer.close(number, reason=WHY, by=by, recovered=recovered)
    await env.settle()
    return after


async def entries(env: SimulatedEnv, event: str) -> list[Any]:
    """Return actor and detail of an event, from the audit log."""
    async with env.database.read() as connection:
        rows = await connection.execute(select(audit_log).where(audit_log.c.event == event).order_by(audit_log.c.id))
        return [(row.actor, row.detail) for row in rows]


async def report_probes_again(env: SimulatedEnv) -> None:
    """Report the outage again with its start before the closing."""
    await env.submit(replace(trigger(IncidentType.BOTH, env.clock.now(), BY_ITSELF), began_at=T0))
    await env.settle()


async def test_closed_as_recovered_sends_recovery_to_all_notified(either_env: SimulatedEnv) -> None:
    """An outage closed as recovered sends recoveries to all who were notified and withdraws letters."""
    env = either_env
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), BY_ITSELF))
    await env.settle()
    await env.siti.gets("E-mel keluar dan masuk gagal", "JCM-01")
    await env.siti.replies("1A")
    await env.advance(10 * MINUTE)
    env.gets_fax("JCM-01")
    assert env.tray_letters(LetterPlace.TRAY) == 1

    env.set_delivered(IncidentType.SENDING, IncidentType.RECEIVING)
    after = await close_incident(env, recovered=True)
    assert after.state is IncidentState.RESOLVED
    await env.siti.gets("PULIH", "JCM-01")
    env.gets_fax("pulih", "JCM-01")
    # The unposted letter is withdrawn, so that no recovery letter follows.
    env.gets_letter("JCM-01", place=LetterPlace.WITHDRAWN)
    assert env.tray_letters(LetterPlace.TRAY) == 0
    [(actor, detail)] = await entries(env, "incident closed")
    assert (actor, detail["why"], detail["recovered"], detail["measured"]) == ("Ravi Contoh", WHY, "yes", "both")


async def test_closed_without_recovery_is_reported_to_staff_only(
    either_env: SimulatedEnv,
) -> None:
    """An outage closed as not recovered is reported to staff only, with who closed it."""
    env = either_env
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), TOLD_BY_SMS))
    await env.advance(5 * MINUTE)
    await env.siti.gets("JCM-01")
    await env.ravi.gets("JCM-01")
    await env.submit(Release(incident_id=1, at=env.clock.now(), by="Siti Contoh"))
    await env.settle()
    env.gets_fax("JCM-01")

    await close_incident(env, recovered=False)
    for person in (env.siti, env.ravi):
        text = await person.gets("JCM-01 ditutup oleh Ravi Contoh", "Pemulihan TIDAK disahkan")
        assert "PULIH" not in text
    env.gets_letter("JCM-01", place=LetterPlace.WITHDRAWN)
    env.restart()
    await env.advance(timedelta(days=3))
    env.expect_nothing_more()
    assert await env.active() == []
    async with env.store.transaction() as uow:
        assert not [n for n in await uow.notifications(1) if n.state.value in {"pending", "sending"}]


async def test_closed_incident_is_not_reopened_by_probes_for_one_day(either_env: SimulatedEnv) -> None:
    """What probes still measure opens no incident for a day after the closing, restarts included."""
    env = either_env
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), ONLY_STAFF))
    await env.settle()
    await env.siti.gets("JCM-01")
    await close_incident(env, recovered=False)
    await env.siti.gets("ditutup")
    for _ in range(5):
        await env.advance(timedelta(hours=4))
        await report_probes_again(env)
        env.restart()
    env.expect_nothing_more()
    await env.advance(SUPPRESSION_PERIOD - timedelta(hours=20) + SECOND)
    await report_probes_again(env)
    await env.siti.gets("E-mel keluar dan masuk gagal", "JCM-02")
    await env.submit(Resolve(dedup_key="JCM", at=env.clock.now(), ended_at=env.clock.now()))
    await env.settle()
    await env.siti.gets("PULIH", "JCM-02")


async def test_recovery_after_closing_is_recorded_and_later_failure_opens_new(either_env: SimulatedEnv) -> None:
    """A recovery after the closing is recorded once; later failures open a new incident."""
    env = either_env
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), ONLY_STAFF))
    await env.settle()
    await env.siti.gets("JCM-01")
    await close_incident(env, recovered=False)
    await env.siti.gets("ditutup")
    await env.advance(30 * MINUTE)
    for _ in range(2):
        await env.submit(Resolve(dedup_key="JCM", at=env.clock.now(), ended_at=env.clock.now()))
    env.expect_nothing_more()
    assert len(await entries(env, "outage measured no more")) == 1
    assert (await env.incident()).ended_at == env.clock.now()

    await env.advance(MINUTE)
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), ONLY_STAFF))
    await env.settle()
    await env.siti.gets("JCM-02")
    await env.submit(Resolve(dedup_key="JCM", at=env.clock.now(), ended_at=env.clock.now()))
    await env.settle()
    await env.siti.gets("PULIH")


async def test_concurrent_closings_close_once(either_env: SimulatedEnv) -> None:
    """Two concurrent closings close the incident once."""
    env = either_env
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), ONLY_STAFF))
    await env.settle()
    await env.siti.gets("JCM-01")
    env.set_delivered(IncidentType.SENDING, IncidentType.RECEIVING)
    both = [close_incident(env, recovered=r, by=by) for r, by in ((True, "Siti Contoh"), (False, "Ravi Contoh"))]
    done = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["Incident", "OperationRejectedError"]
    refused = next(each for each in done if isinstance(each, OperationRejectedError))
    by = "Ravi Contoh" if "Ravi Contoh" in str(refused) else "Siti Contoh"
    assert str(refused).startswith(f"{by} closed JCM-01 at 24/11")
    [(actor, _)] = await entries(env, "incident closed")
    assert actor == by
    await env.siti.gets("JCM-01")
    env.expect_nothing_more()


async def test_closing_withdraws_offered_release(either_env: SimulatedEnv) -> None:
    """Closing withdraws the offer of a release."""
    env = either_env
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), TOLD_BY_SMS))
    await env.settle()
    await env.siti.gets("JCM-01")
    await env.siti.replies("1A")
    await close_incident(env, recovered=False)
    await env.siti.gets("ditutup oleh Ravi Contoh")
    await env.advance(timedelta(hours=2))
    await env.submit(Release(incident_id=1, at=env.clock.now(), by="Siti Contoh"))
    await env.settle()
    env.expect_nothing_more()


async def test_closed_incident_leaves_waiting_bundle(either_env: SimulatedEnv) -> None:
    """A closed incident leaves the waiting bundle of a mass outage."""
    env = either_env
    for code in ("JCM", "JKR", "JPA"):
        snapshot = replace(ONLY_STAFF, agency=code, office=replace(ONLY_STAFF.office, short=code))
        await env.submit(replace(trigger(IncidentType.BOTH, env.clock.now(), snapshot), dedup_key=code))
        await env.settle()
    await env.siti.gets("JCM-01")
    async with env.real_store.reading() as uow:
        number = next(i.number for i in await uow.open_incidents() if i.dedup_key == "JKR")
    await close_incident(env, recovered=False, number=number)
    await env.advance(2 * MINUTE)
    assert "JKR" not in await env.siti.gets("JPA")
    await env.advance(3 * MINUTE)
    assert "JKR" not in await env.ravi.gets("JCM")
    await env.advance(2 * MINUTE)
    await env.ravi.gets("JPA")
    env.expect_nothing_more()


async def test_closed_incident_can_be_marked_false_alarm(env: SimulatedEnv) -> None:
    """A closed incident can still be marked as a false alarm."""
    await env.submit(trigger(IncidentType.BOTH, env.clock.now(), ONLY_STAFF))
    await env.settle()
    await env.siti.gets("JCM-01")
    await close_incident(env, recovered=False)
    await env.siti.gets("ditutup")
    await env.submit(MarkFalseAlarm(incident_id=1, at=env.clock.now(), by="Siti Contoh", reason="tiada gangguan"))
    await env.settle()
    await env.siti.gets("PEMBETULAN")
