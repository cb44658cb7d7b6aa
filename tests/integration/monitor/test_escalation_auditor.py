"""The auditor beside a real dispatcher on a real store: it finds what the cycle leaves undone, and tells the NOC."""

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
from monitor.store.engine.ledger import SqlStore
from monitor.store.schema.tables import audit_log as table
from monitor.watchdog.auditor import UNREACHED_PREFIX, EscalationAuditor
from tests.in_the_loop import opened_in_the_loop
from tests.integration.alerts.station import Station
from tests.unit.alerts.people import BRIEF, FAX, LONG, MINUTE, POLICY, SECOND, T0, trigger
from tests.unit.monitor.trial import agency_routes

NOC_SMS = Address(channel=Channel.SMS, number="+60100000900")
OFFICER = Contact(key="noc", name="Pegawai NOC", language=Language.MALAY, addresses=(NOC_SMS,))
NOC_POLICY = EscalationPolicy(
    steps=(Step(after=timedelta(0), contacts=(OFFICER,), channels=(Channel.SMS,)),), rounds=1, repeat_interval=LONG
)


def incident_policy(number: str, *, repeat_interval: timedelta = LONG) -> PolicySnapshot:
    office = IssuingOffice(short="PANTAU", name="Pusat Operasi Contoh", domain="")
    policy = replace(NOC_POLICY, repeat_interval=repeat_interval)
    return PolicySnapshot(agency="", office=office, escalation=policy, subject=number, subject_en=number)


class ProbingRuntime:
    def __init__(self, database: Database) -> None:
        self.station = Station(database)
        self.store = SqlStore(database)
        self.metrics = Metrics(version="1", now=self.station.clock.now)
        self.pokes = 0
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
        self.pokes += 1

    async def look(self, after: timedelta = timedelta(0), *, cycle: bool = False) -> None:
        """Let time pass, with the cycle standing still or going round, and look."""
        if cycle:
            await self.station.advance(after)
        else:
            self.station.clock.moment += after
        await self.auditor.audit()
        if cycle:
            await self.station.settle()

    def value(self, series: str) -> float:
        lines = self.metrics.render().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} "))

    async def own(self) -> list[Incident]:
        async with self.store.reading() as uow:
            return [i for i in await uow.recent_incidents() if i.dedup_key.startswith(UNREACHED_PREFIX)]


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[ProbingRuntime]:
    async with opened_in_the_loop(tmp_path) as database:
        yield ProbingRuntime(database)


async def journal(runtime: ProbingRuntime) -> list[str]:
    async with runtime.store._database.read() as connection:
        rows = await connection.execute(select(table.c.event).where(table.c.actor == "auditor").order_by(table.c.id))
        return list(rows.scalars())


async def test_while_the_cycle_goes_round_nothing_is_overdue(runtime: ProbingRuntime) -> None:
    await runtime.station.submit(trigger())
    for _ in range(20):
        await runtime.look(MINUTE, cycle=True)
        assert runtime.value("pantau_escalation_overdue_seconds") == 0
    assert await journal(runtime) == []
    assert runtime.pokes == 0


async def test_a_cycle_that_stands_still_is_found_poked_and_journalled_once(runtime: ProbingRuntime) -> None:
    await runtime.station.submit(trigger())
    await runtime.look(5 * MINUTE + GRACE)
    assert runtime.value("pantau_escalation_overdue_seconds") == 0
    await runtime.look(SECOND)
    assert runtime.value("pantau_escalation_overdue_seconds") == (GRACE + SECOND).total_seconds()
    assert runtime.value('pantau_escalation_overdue{action="step"}') == 1
    await runtime.look(MINUTE)
    assert runtime.value("pantau_escalation_overdue_seconds") == (GRACE + SECOND + MINUTE).total_seconds()
    assert runtime.pokes == 2
    assert await journal(runtime) == ["step overdue"]

    await runtime.look(cycle=True)
    assert runtime.value("pantau_escalation_overdue_seconds") == 0
    assert await journal(runtime) == ["step overdue", "step overdue no more"]


async def test_when_nobody_acknowledges_the_noc_is_told_once_and_told_when_somebody_does(
    runtime: ProbingRuntime,
) -> None:
    await runtime.station.submit(trigger())
    late = 5 * MINUTE + POLICY.repeat_after + 5 * MINUTE + POLICY.repeat_after
    await runtime.look(late, cycle=True)
    assert await runtime.own() == []
    for _ in range(3):
        await runtime.look(MINUTE, cycle=True)
    assert runtime.value('pantau_incidents_escalation_failed{reason="nobody_answered"}') == 1
    (own,) = await runtime.own()
    assert (own.type, own.policy.subject, own.number) == (IncidentType.UNREACHED, "JCM-01", "NOC-01")
    assert f"outage to {NOC_SMS.number}" in runtime.station.sms.sent

    await runtime.station.acknowledge()
    await runtime.look(MINUTE, cycle=True)
    (own,) = await runtime.own()
    assert own.state is IncidentState.RESOLVED
    assert runtime.value('pantau_incidents_escalation_failed{reason="nobody_answered"}') == 0


async def test_a_silence_is_not_told_to_the_noc_as_if_somebody_had_acknowledged(runtime: ProbingRuntime) -> None:
    await runtime.station.submit(trigger())
    await runtime.look(timedelta(hours=1), cycle=True)
    (own,) = await runtime.own()
    async with runtime.store.transaction() as uow:
        now = runtime.station.clock.now()
        await uow.add_silence("JCM", now, now + timedelta(hours=1), "kerja penyelenggaraan", "Ali Contoh")
    for _ in range(80):
        await runtime.look(MINUTE, cycle=True)
    assert [(i.id, i.is_open) for i in await runtime.own()] == [(own.id, True)]
    assert f"recovery to {NOC_SMS.number}" not in runtime.station.sms.sent


async def test_that_the_noc_itself_does_not_answer_opens_no_further_incident(runtime: ProbingRuntime) -> None:
    await runtime.station.submit(trigger())
    for _ in range(60):
        await runtime.look(2 * MINUTE, cycle=True)
    assert len(await runtime.own()) == 1
    # It is seen all the same.
    assert runtime.value('pantau_incidents_escalation_failed{reason="nobody_answered"}') == 2


async def test_when_no_number_of_the_staff_works_the_noc_is_told(runtime: ProbingRuntime) -> None:
    runtime.station.sms.happens.extend([ErrorClass.PERMANENT] * 2)
    runtime.station.modem.happens.extend([ErrorClass.PERMANENT] * 2)
    runtime.station.voice.happens.extend([ErrorClass.PERMANENT] * 20)
    alone = replace(POLICY, rounds=1)
    await runtime.station.submit(trigger(brief=replace(BRIEF, escalation=alone)))
    await runtime.look(MINUTE, cycle=True)
    assert {n.state for n in await runtime.station.notifications()} == {NotificationState.FAILED}
    await runtime.look(GRACE, cycle=True)
    assert runtime.value('pantau_incidents_escalation_failed{reason="nobody_reached"}') == 1
    (own,) = await runtime.own()
    assert own.policy.subject == "JCM-01"


async def test_a_recipient_who_cannot_be_told_is_told_to_the_noc(runtime: ProbingRuntime) -> None:
    (recipient,) = BRIEF.announcement.recipients
    by_fax = replace(BRIEF.announcement, recipients=(replace(recipient, addresses=(FAX,)),))
    runtime.station.fax.happens.extend([ErrorClass.PERMANENT])
    await runtime.station.submit(trigger(brief=replace(BRIEF, announcement=by_fax)))
    await runtime.station.release()
    await runtime.station.acknowledge()
    await runtime.look(MINUTE, cycle=True)
    assert runtime.value('pantau_incidents_escalation_failed{reason="recipient_untold"}') == 1
    assert [i.policy.subject for i in await runtime.own()] == ["JCM-01"]


async def test_another_life_of_the_process_does_not_tell_the_noc_again(runtime: ProbingRuntime) -> None:
    await runtime.station.submit(trigger())
    await runtime.look(timedelta(hours=2), cycle=True)
    assert len(await runtime.own()) == 1
    runtime.restart()
    await runtime.look(MINUTE, cycle=True)
    assert len(await runtime.own()) == 1


async def test_what_a_silence_holds_back_is_not_overdue_and_neither_is_it_when_the_silence_ends(
    runtime: ProbingRuntime,
) -> None:
    async with runtime.store.transaction() as uow:
        ends = T0 + timedelta(hours=1)
        await uow.add_silence("JCM", T0 - MINUTE, ends, "kerja penyelenggaraan", "Ali Contoh")
    await runtime.station.submit(trigger())
    for _ in range(59):
        await runtime.look(MINUTE)
        assert runtime.value("pantau_escalation_overdue_seconds") == 0
    await runtime.look(MINUTE)
    assert runtime.value("pantau_escalation_overdue_seconds") == 0
    # Now the cycle has had its time, and stands still.
    await runtime.look(GRACE + SECOND)
    assert runtime.value("pantau_escalation_overdue_seconds") > 0


async def test_what_a_silence_about_the_only_route_in_trouble_holds_back_is_not_overdue(
    runtime: ProbingRuntime,
) -> None:
    (route,) = [r.name for r in agency_routes("JCM")][:1]
    runtime.evaluator.restore({route: (Health.DOWN, T0)})
    async with runtime.store.transaction() as uow:
        await uow.add_silence(route, T0 - MINUTE, T0 + timedelta(hours=1), "kerja penyelenggaraan", "Ali Contoh")
    await runtime.station.submit(trigger())
    await runtime.look(30 * MINUTE)
    assert runtime.value("pantau_escalation_overdue_seconds") == 0
    await runtime.look(30 * MINUTE + GRACE + SECOND)
    assert runtime.value("pantau_escalation_overdue_seconds") > 0


async def test_a_mass_outage_that_is_told_together_leaves_nothing_overdue(runtime: ProbingRuntime) -> None:
    for number in range(6):
        await runtime.station.submit(replace(trigger(), dedup_key=f"JCM-{number}"))
        await runtime.look(10 * SECOND, cycle=True)
    for _ in range(60):
        await runtime.look(MINUTE / 2, cycle=True)
        assert runtime.value("pantau_escalation_overdue_seconds") == 0


async def test_it_looks_first_when_the_cycle_has_had_time_to_catch_up_with_what_a_stop_has_missed(
    runtime: ProbingRuntime,
) -> None:
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1

    runtime.auditor.audit = look  # type: ignore[method-assign]
    running = asyncio.create_task(runtime.auditor.run())
    for _ in range(5):
        await asyncio.sleep(0)
    assert looks == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
