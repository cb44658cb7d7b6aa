"""Escalation auditor with a real dispatcher and store: it finds overdue actions and notifies the NOC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from alerts.decide.auditor import GRACE
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.delivery import NotificationState
from alerts.model.gateway import ErrorClass
from alerts.model.incident import Incident, IncidentState
from alerts.model.notification import IncidentType, IssuingOffice, Language
from alerts.model.policy_snapshot import EscalationPolicy, PolicySnapshot, Step
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.metrics import Metrics
from monitor.model.health import Health, HealthPolicy
from monitor.service.silences import route_silence_lookup
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.schema.tables import audit_log as table
from monitor.watchdog.auditor import UNREACHED_PREFIX, EscalationAuditor
from tests.inline_database import open_inline_database
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.unit.alerts.people import FAX, LONG, MINUTE, POLICY, SECOND, SNAPSHOT, T0, trigger
from tests.unit.monitor.world import agency_routes

NOC_SMS = Address(channel=Channel.SMS, number="+60100000900")
OFFICER = Contact(key="noc", name="Pegawai NOC", language=Language.MALAY, addresses=(NOC_SMS,))
NOC_POLICY = EscalationPolicy(
    steps=(Step(after=timedelta(0), contacts=(OFFICER,), channels=(Channel.SMS,)),), rounds=1, repeat_interval=LONG
)


def incident_policy(number: str, *, repeat_interval: timedelta = LONG) -> PolicySnapshot:
    office = IssuingOffice(short="PANTAU", name="Pusat Operasi Contoh", domain="")
    policy = replace(NOC_POLICY, repeat_interval=repeat_interval)
    return PolicySnapshot(agency="", office=office, escalation=policy, subject=number, subject_en=number)


class AuditorEnv:
    def __init__(self, database: Database) -> None:
        self.station = DispatcherEnv(database)
        self.store = SqlStore(database)
        self.metrics = Metrics(version="1", now=self.station.clock.now)
        self.wakes = 0
        self.evaluator = HealthEvaluator(agency_routes("JCM"), HealthPolicy())
        self.restart()

    def restart(self) -> None:
        self.auditor = EscalationAuditor(
            store=self.store,
            pool=self.station.pool,
            alerting=self,
            noc_policy=incident_policy,
            metrics=self.metrics.watchdog,
            clock=self.station.clock,
            silence_lookup=route_silence_lookup(lambda agency: self.evaluator.mail(agency).unhealthy_routes()),
        )

    async def submit(self, event):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        return await self.station.dispatcher.submit(event)

    def wake(self) -> None:
        self.wakes += 1

    async def pass_time(self, after: timedelta = timedelta(0), *, engine_runs: bool = False) -> None:
        """Let time pass with a stalled or running engine, then audit."""
        if engine_runs:
            await self.station.advance(after)
        else:
            self.station.clock.moment += after
        await self.auditor.audit()
        if engine_runs:
            await self.station.settle()

    def value(self, series: str) -> float:
        lines = self.metrics.render().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} "))

    async def noc_incidents(self) -> list[Incident]:
        async with self.store.reading() as uow:
            return [i for i in await uow.recent_incidents() if i.dedup_key.startswith(UNREACHED_PREFIX)]


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[AuditorEnv]:
    async with open_inline_database(tmp_path) as database:
        yield AuditorEnv(database)


async def auditor_events(env: AuditorEnv) -> list[str]:
    async with env.store._database.read() as connection:
        rows = await connection.execute(select(table.c.event).where(table.c.actor == "auditor").order_by(table.c.id))
        return list(rows.scalars())


async def test_auditor_engine_running_reports_nothing_overdue(env: AuditorEnv) -> None:
    await env.station.submit(trigger())
    for _ in range(20):
        await env.pass_time(MINUTE, engine_runs=True)
        assert env.value("pantau_escalation_overdue_seconds") == 0
    assert await auditor_events(env) == []
    assert env.wakes == 0


async def test_auditor_engine_stalled_is_woken_and_audited_once(env: AuditorEnv) -> None:
    await env.station.submit(trigger())
    await env.pass_time(5 * MINUTE + GRACE)
    assert env.value("pantau_escalation_overdue_seconds") == 0
    await env.pass_time(SECOND)
    assert env.value("pantau_escalation_overdue_seconds") == (GRACE + SECOND).total_seconds()
    assert env.value('pantau_escalation_overdue{action="step"}') == 1
    await env.pass_time(MINUTE)
    assert env.value("pantau_escalation_overdue_seconds") == (GRACE + SECOND + MINUTE).total_seconds()
    assert env.wakes == 2
    assert await auditor_events(env) == ["step overdue"]

    await env.pass_time(engine_runs=True)
    assert env.value("pantau_escalation_overdue_seconds") == 0
    assert await auditor_events(env) == ["step overdue", "step overdue no more"]


async def test_unacknowledged_incident_notifies_noc_once_and_on_acknowledgement(
    env: AuditorEnv,
) -> None:
    await env.station.submit(trigger())
    late = 5 * MINUTE + POLICY.repeat_after + 5 * MINUTE + POLICY.repeat_after
    await env.pass_time(late, engine_runs=True)
    assert await env.noc_incidents() == []
    for _ in range(3):
        await env.pass_time(MINUTE, engine_runs=True)
    assert env.value('pantau_incidents_escalation_failed{reason="nobody_answered"}') == 1
    (noc_incident,) = await env.noc_incidents()
    assert (noc_incident.type, noc_incident.policy.subject, noc_incident.number) == (
        IncidentType.UNREACHED,
        "JCM-01",
        "NOC-01",
    )
    assert f"outage to {NOC_SMS.number}" in env.station.sms.sent

    await env.station.acknowledge()
    await env.pass_time(MINUTE, engine_runs=True)
    (noc_incident,) = await env.noc_incidents()
    assert noc_incident.state is IncidentState.RESOLVED
    assert env.value('pantau_incidents_escalation_failed{reason="nobody_answered"}') == 0


async def test_silence_does_not_notify_noc_of_recovery(env: AuditorEnv) -> None:
    await env.station.submit(trigger())
    await env.pass_time(timedelta(hours=1), engine_runs=True)
    (noc_incident,) = await env.noc_incidents()
    async with env.store.transaction() as uow:
        now = env.station.clock.now()
        await uow.add_silence("JCM", now, now + timedelta(hours=1), "kerja penyelenggaraan", "Ali Contoh")
    for _ in range(80):
        await env.pass_time(MINUTE, engine_runs=True)
    assert [(i.id, i.is_open) for i in await env.noc_incidents()] == [(noc_incident.id, True)]
    assert f"recovery to {NOC_SMS.number}" not in env.station.sms.sent


async def test_unanswered_noc_incident_opens_no_further_incident(env: AuditorEnv) -> None:
    await env.station.submit(trigger())
    for _ in range(60):
        await env.pass_time(2 * MINUTE, engine_runs=True)
    assert len(await env.noc_incidents()) == 1
    # The metric counts it.
    assert env.value('pantau_incidents_escalation_failed{reason="nobody_answered"}') == 2


async def test_noc_notified_when_no_staff_number_works(env: AuditorEnv) -> None:
    env.station.sms.happens.extend([ErrorClass.PERMANENT] * 2)
    env.station.modem.happens.extend([ErrorClass.PERMANENT] * 2)
    env.station.voice.happens.extend([ErrorClass.PERMANENT] * 20)
    alone = replace(POLICY, rounds=1)
    await env.station.submit(trigger(snapshot=replace(SNAPSHOT, escalation=alone)))
    await env.pass_time(MINUTE, engine_runs=True)
    assert {n.state for n in await env.station.notifications()} == {NotificationState.FAILED}
    await env.pass_time(GRACE, engine_runs=True)
    assert env.value('pantau_incidents_escalation_failed{reason="nobody_reached"}') == 1
    (noc_incident,) = await env.noc_incidents()
    assert noc_incident.policy.subject == "JCM-01"


async def test_noc_notified_of_unreachable_recipient(env: AuditorEnv) -> None:
    (recipient,) = SNAPSHOT.announcement.recipients
    by_fax = replace(SNAPSHOT.announcement, recipients=(replace(recipient, addresses=(FAX,)),))
    env.station.fax.happens.extend([ErrorClass.PERMANENT])
    await env.station.submit(trigger(snapshot=replace(SNAPSHOT, announcement=by_fax)))
    await env.station.release()
    await env.station.acknowledge()
    await env.pass_time(MINUTE, engine_runs=True)
    assert env.value('pantau_incidents_escalation_failed{reason="recipient_untold"}') == 1
    assert [i.policy.subject for i in await env.noc_incidents()] == ["JCM-01"]


async def test_noc_not_notified_again_after_restart(env: AuditorEnv) -> None:
    await env.station.submit(trigger())
    await env.pass_time(timedelta(hours=2), engine_runs=True)
    assert len(await env.noc_incidents()) == 1
    env.restart()
    await env.pass_time(MINUTE, engine_runs=True)
    assert len(await env.noc_incidents()) == 1


async def test_silenced_escalation_not_overdue_during_silence_and_grace_after(
    env: AuditorEnv,
) -> None:
    async with env.store.transaction() as uow:
        ends = T0 + timedelta(hours=1)
        await uow.add_silence("JCM", T0 - MINUTE, ends, "kerja penyelenggaraan", "Ali Contoh")
    await env.station.submit(trigger())
    for _ in range(59):
        await env.pass_time(MINUTE)
        assert env.value("pantau_escalation_overdue_seconds") == 0
    await env.pass_time(MINUTE)
    assert env.value("pantau_escalation_overdue_seconds") == 0
    # The grace period is over, and the engine is stalled.
    await env.pass_time(GRACE + SECOND)
    assert env.value("pantau_escalation_overdue_seconds") > 0


async def test_escalation_silenced_by_only_failing_route_is_not_overdue(
    env: AuditorEnv,
) -> None:
    (route,) = [r.name for r in agency_routes("JCM")][:1]
    env.evaluator.restore({route: (Health.DOWN, T0)})
    async with env.store.transaction() as uow:
        await uow.add_silence(route, T0 - MINUTE, T0 + timedelta(hours=1), "kerja penyelenggaraan", "Ali Contoh")
    await env.station.submit(trigger())
    await env.pass_time(30 * MINUTE)
    assert env.value("pantau_escalation_overdue_seconds") == 0
    await env.pass_time(30 * MINUTE + GRACE + SECOND)
    assert env.value("pantau_escalation_overdue_seconds") > 0


async def test_bundled_mass_outage_leaves_nothing_overdue(env: AuditorEnv) -> None:
    for number in range(6):
        await env.station.submit(replace(trigger(), dedup_key=f"JCM-{number}"))
        await env.pass_time(10 * SECOND, engine_runs=True)
    for _ in range(60):
        await env.pass_time(MINUTE / 2, engine_runs=True)
        assert env.value("pantau_escalation_overdue_seconds") == 0


async def test_auditor_first_audit_waits_for_engine_to_catch_up(
    env: AuditorEnv,
) -> None:
    audits = 0

    async def count() -> None:
        nonlocal audits
        audits += 1

    env.auditor.audit = count  # type: ignore[method-assign]
    running = asyncio.create_task(env.auditor.run())
    for _ in range(5):
        await asyncio.sleep(0)
    assert audits == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
