"""From the end of a run to the gateway: what is notified and what is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.event import Close, Declare, MarkFalseAlarm
from alerts.model.gateway import SmsContent
from alerts.model.incident import FALSE_ALARM_PERIOD, IncidentState
from alerts.model.notification import IncidentType, IssuingOffice, Plan
from alerts.model.policy_snapshot import AnnouncementPlan, PolicySnapshot
from monitor.bridge.incident_reporter import IncidentPolicies, IncidentReporter
from monitor.bridge.pipeline import ResultPipeline
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.monitoring_faults import FaultSource
from monitor.metrics import Metrics
from monitor.model.health import Health, HealthPolicy
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from monitor.store.engine.unit_of_work import SqlUnitOfWork
from monitor.store.probing.history import History
from probes.model.result import Outcome, Party, Phase, ProbeResult
from tests.integration.alerts.dispatcher_env import DispatcherEnv, open_dispatcher_env
from tests.unit.alerts.people import MINISTRY, MINUTE, POLICY, SITI
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.world import (
    LOSES,
    PROBING,
    REFUSED,
    World,
    agency_routes,
    controls,
    failed,
    imap,
    slow,
    smtp,
)

NOC = Address(channel=Channel.SMS, number="+60100000999")


class NullHistory:
    """A run history that stores nothing."""

    async def record_run(
        self, result: ProbeResult, agency: str, judged: Mapping[str, tuple[Health, datetime]], **_: object
    ) -> None:
        pass


class EvaluationEnv:
    """Agencies, their mail, the references, and everything from evaluation to gateways."""

    def __init__(self, env: DispatcherEnv, agencies: list[str], watched: ProbingPolicy = PROBING) -> None:
        """*watched*: the probing policy of the first agency."""
        self.env = env
        first = agency_routes(agencies[0], probing=watched)
        self.probe_world = World([*first, *(r for a in agencies[1:] for r in agency_routes(a)), *controls()])
        self.env.clock.moment = self.probe_world.now
        metrics = Metrics(version="0", now=env.clock.now)
        for agency in agencies:
            metrics.register_agency(agency, routes=[r.name for r in self.probe_world.routes if r.agency == agency])
        self.evaluator = HealthEvaluator(self.probe_world.routes, HealthPolicy())
        self.briefs = {agency: snapshot(agency, f"+6010000{n:04}") for n, agency in enumerate(agencies)}
        self.metrics = metrics
        self.start_reporter()

    def start_reporter(self, open_incidents: Mapping[str, IncidentType] | None = None) -> None:
        """Start to report evaluations; again: as after a start, with nothing reported."""
        self.reporter = IncidentReporter(
            policies=IncidentPolicies(agencies=self.briefs, monitoring_fault=fault_policy),
            alerting=self.env.dispatcher,
            open_incidents=open_incidents or {},
            open_keys=self._open_keys,
            metrics=self.metrics,
            clock=self.env.clock,
            site="utama",
        )
        self.pipeline = ResultPipeline(
            evaluator=self.evaluator,
            routes={r.name: r for r in self.probe_world.routes},
            history=cast(History, NullHistory()),
            reporter=self.reporter,
            metrics=self.metrics,
            clock=self.env.clock,
            site="utama",
        )

    def restart(self, open_incidents: Mapping[str, IncidentType] | None = None) -> None:
        """Drop all runs, as a stop does, and restore their evaluation."""
        healths = self.evaluator.healths()
        self.evaluator = HealthEvaluator(self.probe_world.routes, HealthPolicy())
        self.evaluator.restore(healths)
        self.start_reporter(open_incidents)

    async def _open_keys(self) -> Collection[str]:
        async with self.env.store.transaction() as uow:
            assert isinstance(uow, SqlUnitOfWork)
            return await uow.detected_keys()

    async def rounds(self, count: int) -> None:
        """Run every route this many times, and process the effects."""
        for _ in range(count):
            for route in self.probe_world.routes:
                run = self.probe_world.result(route, self.env.clock.now())
                self.env.clock.moment = max(self.env.clock.moment, run.started_at + timedelta(seconds=0.1))
                await self.pipeline.process(run)
                await self.reporter.report()
            await self.env.settle()
            self.env.clock.moment += MINUTE

    @property
    def notified_numbers(self) -> list[str]:
        """The numbers that were notified."""
        return [order.address for gateway in self.env.gateways for order in gateway.orders]

    @property
    def sent_texts(self) -> list[str]:
        return [o.content.text for o in self.env.sms.orders if isinstance(o.content, SmsContent)]


def snapshot(agency: str, number: str) -> PolicySnapshot:
    duty = replace(SITI, addresses=(Address(channel=Channel.SMS, number=number),))
    steps = (replace(POLICY.steps[0], contacts=(duty,)),)
    return PolicySnapshot(
        agency=agency,
        office=IssuingOffice(short=agency, name=f"Agensi {agency}", domain="contoh.gov.my"),
        escalation=replace(POLICY, steps=steps, rounds=1),
        announcement=AnnouncementPlan(recipients=(MINISTRY,)),
    )


def fault_policy(suspect: FaultSource) -> PolicySnapshot:
    noc = replace(snapshot("", NOC.number), announcement=AnnouncementPlan(), subject=str(suspect))
    return replace(noc, office=IssuingOffice(short="PANTAU", name="Pusat Operasi Contoh", domain=""))


@asynccontextmanager
async def open_evaluation_env(place: Path, *agencies: str) -> AsyncIterator[EvaluationEnv]:
    async with open_dispatcher_env(place) as env:
        mail = EvaluationEnv(env, list(agencies))
        await mail.rounds(3)
        assert mail.notified_numbers == []
        yield mail


async def test_one_or_two_failures_notify_nobody(tmp_path: Path) -> None:
    async with open_evaluation_env(tmp_path, "JCM") as mail:
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(2)
        assert mail.notified_numbers == []
        mail.probe_world.faults.clear()
        await mail.rounds(2)
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(2)
        assert mail.notified_numbers == []
        assert await mail.env.active() == []

        await mail.rounds(1)
        assert mail.sent_texts == ["outage both JCM-01"]


async def test_outage_notifies_staff_and_announces_only_after_release(tmp_path: Path) -> None:
    async with open_evaluation_env(tmp_path, "JCM") as mail:
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(10)
        assert (mail.env.fax.orders, mail.env.tray.orders) == ([], [])

        await mail.env.release()
        assert (len(mail.env.fax.orders), len(mail.env.tray.orders)) == (1, 1)


async def test_outage_after_slowness_is_announced_since_sending_failed(tmp_path: Path) -> None:
    """A letter said "cannot send since 6.16": until 6.25 mail went to junk, and then sending failed."""
    async with open_evaluation_env(tmp_path, "JCM") as mail:
        mail.probe_world.faults["JCM/utama"] = slow(junk=True)
        junk_at = mail.env.clock.now()
        await mail.rounds(9)
        mail.probe_world.faults["JCM/utama"] = smtp(Outcome.CONNECT, Phase.CONNECT)
        failed_at = mail.env.clock.now()
        await mail.rounds(6)
        incident = await mail.env.incident()
        assert (incident.type, incident.began_at) == (IncidentType.SENDING, junk_at)

        await mail.env.release()
        announced = [each for each in await mail.env.notifications() if each.plan is Plan.ANNOUNCEMENT]
        assert {each.facts.began_at for each in announced} == {failed_at}
        assert (await mail.env.incident()).reported_type_began_at == failed_at


async def test_fifty_agencies_with_monitoring_fault_notify_noc_once(tmp_path: Path) -> None:
    async with open_evaluation_env(tmp_path, *(f"J{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(50))) as mail:
        mail.probe_world.cut_off = True
        await mail.rounds(6)

        assert mail.notified_numbers == [NOC.number]
        assert len(await mail.env.active()) == 1
        assert (await mail.env.incident()).dedup_key == "ours/network"

        mail.probe_world.cut_off = False
        await mail.rounds(4)
        assert mail.notified_numbers == [NOC.number] * 2
        assert [text.split()[0] for text in mail.sent_texts] == ["outage", "recovery"]


async def test_dead_reference_notifies_noc_only(tmp_path: Path) -> None:
    async with open_evaluation_env(tmp_path, *(f"J{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(50))) as mail:
        mail.probe_world.faults["a"] = LOSES
        await mail.rounds(6)

        assert set(mail.notified_numbers) == {NOC.number}
        assert {(await mail.env.incident(i)).policy.agency for i in await mail.env.active()} == {""}


async def test_fifty_real_outages_open_fifty_incidents_and_call_each_officer_once(
    tmp_path: Path,
) -> None:
    codes = [f"J{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(50)]
    async with open_evaluation_env(tmp_path, *codes) as mail:
        for code in codes:
            mail.probe_world.faults[f"{code}/utama"] = REFUSED
        await mail.rounds(3)

        assert sorted(mail.notified_numbers) == [f"+6010000{n:04}" for n in range(50)]


# -- after a false alarm ---------------------------------------------------------------------------------------------


def one_route_is_refused(of: MonitoredRoute, at: datetime, party: Party) -> ProbeResult | None:
    return failed(of, at, Outcome.REJECTED, Phase.SUBMIT) if of.name == "JCM/inbound/a/JCM/utama" else None


async def mark_false_alarm(mail: EvaluationEnv, incident_id: int = 1) -> None:
    at = mail.env.clock.now()
    await mail.env.submit(MarkFalseAlarm(incident_id=incident_id, at=at, by="Siti Contoh", reason="rujukan silap"))


@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=3)], ids=["the same day", "days later"])
async def test_outage_after_false_alarm_is_notified_without_full_recovery_between(
    tmp_path: Path, later: timedelta
) -> None:
    async with open_evaluation_env(tmp_path, "JCM") as mail:
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(4)
        await mark_false_alarm(mail)
        mail.probe_world.faults["JCM/utama"] = one_route_is_refused
        await mail.rounds(10)
        assert mail.sent_texts == ["outage both JCM-01", "correction both JCM-01"]

        mail.env.clock.moment += later
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(12)
        assert any(text.startswith("outage both JCM-02") for text in mail.sent_texts)


async def test_continued_false_alarm_is_notified_again_after_one_day_only(tmp_path: Path) -> None:
    async with open_evaluation_env(tmp_path, "JCM") as mail:
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(4)
        await mark_false_alarm(mail)
        for _ in range(2):
            await mail.rounds(12)
            mail.restart()
        assert mail.sent_texts == ["outage both JCM-01", "correction both JCM-01"]

        mail.env.clock.moment += FALSE_ALARM_PERIOD
        await mail.rounds(6)
        assert mail.sent_texts[2:] == ["outage both JCM-02"]


async def test_restart_does_not_renew_false_alarm(tmp_path: Path) -> None:
    """After a restart the first run counts as the first failure."""
    async with open_evaluation_env(tmp_path, "JCM") as mail:
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(4)
        await mark_false_alarm(mail)
        mail.restart()
        await mail.rounds(12)
        assert mail.sent_texts == ["outage both JCM-01", "correction both JCM-01"]


async def test_manually_closed_incident_is_shown_until_probes_succeed(
    tmp_path: Path,
) -> None:
    def shown(mail: EvaluationEnv) -> tuple[float | None, str | None]:
        held = mail.reporter.manually_closed.get("JCM")
        return Scrape(mail.metrics).value("incident_closed_manually", agency="JCM"), held.number if held else None

    async with open_evaluation_env(tmp_path, "JCM") as mail:
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(4)
        assert shown(mail) == (None, None)
        at = mail.env.clock.now()
        await mail.env.submit(Close(incident_id=1, at=at, by="Siti Contoh", reason="probe silap", recovered=False))
        for _ in range(2):
            await mail.rounds(10)
            assert shown(mail) == (1, "JCM-01"), "it is measured down, and nobody is told: whoever looks must see that"
            mail.restart()
        assert mail.sent_texts == ["outage both JCM-01", "closed both JCM-01"]
        mail.probe_world.faults.clear()
        await mail.rounds(4)
        assert shown(mail) == (None, None)
        assert (await mail.env.incident(1)).detected is None
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(4)
        assert mail.sent_texts[2:] == ["outage both JCM-02"]


async def test_direction_removed_while_failing_sends_no_recovery(tmp_path: Path) -> None:
    async with open_evaluation_env(tmp_path, "JCM") as mail:
        mail.probe_world.faults["JCM/utama"] = imap(Outcome.CONNECT, Phase.CONNECT)
        await mail.rounds(5)
        assert mail.sent_texts == ["outage receiving JCM-01"]

        routes = list(mail.probe_world.routes)
        mail.probe_world.routes[:] = [r for r in routes if r.direction in {Direction.OUTBOUND, Direction.CONTROL}]
        mail.restart(open_incidents={"JCM": IncidentType.RECEIVING})
        await mail.rounds(5)
        assert mail.sent_texts == ["outage receiving JCM-01"]

        mail.probe_world.routes[:] = routes
        mail.probe_world.faults.clear()
        mail.restart(open_incidents={"JCM": IncidentType.RECEIVING})
        await mail.rounds(5)
        assert mail.sent_texts[1:] == ["recovery receiving JCM-01"]


# -- what a person declares ------------------------------------------------------------------------------------------


async def declare(mail: EvaluationEnv, matter: IncidentType = IncidentType.RECEIVING) -> None:
    at = mail.env.clock.now()
    await mail.env.submit(
        Declare(
            dedup_key="JCM",
            at=at,
            by="Siti Contoh",
            type=matter,
            began_at=at,
            reason="mel web tidak dapat dibuka",
            policy=mail.briefs["JCM"],
        )
    )


async def close(mail: EvaluationEnv) -> None:
    at = mail.env.clock.now()
    await mail.env.submit(Close(incident_id=1, at=at, by="Siti Contoh", reason="mel web dibaiki"))


async def measured_types(mail: EvaluationEnv) -> dict[str, IncidentType]:
    """Return the type of each open incident, as at a start."""
    still = [await mail.env.incident(1)]
    return {each.dedup_key: each.detected for each in still if each.is_open and each.detected}


async def test_successful_probes_do_not_end_declared_outage(tmp_path: Path) -> None:
    async with open_evaluation_env(tmp_path, "JCM") as mail:
        await declare(mail)
        await mail.rounds(6)
        mail.restart(await measured_types(mail))
        await mail.rounds(12)
        assert mail.sent_texts == ["outage receiving JCM-01"]

        await close(mail)
        await mail.rounds(6)
        assert mail.sent_texts == ["outage receiving JCM-01", "recovery receiving JCM-01"]


@pytest.mark.parametrize("restarts", [False, True], ids=["runs on", "restarts"])
@pytest.mark.parametrize("last", ["person", "prober"])
async def test_declared_then_failing_is_one_incident_until_both_end(
    tmp_path: Path, last: str, *, restarts: bool
) -> None:
    async with open_evaluation_env(tmp_path, "JCM") as mail:

        async def run_on(rounds: int) -> None:
            if restarts:
                mail.restart(await measured_types(mail))
            await mail.rounds(rounds)
            assert not any(text.startswith("recovery") for text in mail.sent_texts)

        await declare(mail)
        await run_on(3)
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await run_on(6)
        assert (await mail.env.incident()).detected is IncidentType.BOTH
        if last == "prober":
            await close(mail)
            await run_on(12)
            mail.probe_world.faults.clear()
            await mail.rounds(6)
        else:
            mail.probe_world.faults.clear()
            await run_on(12)
            await close(mail)
            await mail.rounds(6)
        told = [text.split()[0] for text in mail.sent_texts]
        assert (told.count("outage"), told.count("recovery"), told[-1]) == (1, 1, "recovery")
        assert (await mail.env.incident()).state is IncidentState.RESOLVED


async def test_failure_after_mistaken_declaration_is_notified(tmp_path: Path) -> None:
    """The failure began before, and is less than what was declared."""
    async with open_evaluation_env(tmp_path, "JCM") as mail:
        await declare(mail, IncidentType.BOTH)
        await mail.env.settle()
        mail.probe_world.faults["JCM/utama"] = imap(Outcome.CONNECT, Phase.CONNECT)
        await mail.rounds(2)
        await mark_false_alarm(mail)
        await mail.rounds(4)
        assert mail.sent_texts == ["outage both JCM-01", "correction both JCM-01", "outage receiving JCM-02"]


async def test_failure_during_new_declaration_belongs_to_its_incident(tmp_path: Path) -> None:
    """The prober reported it in an earlier incident that a person has ended, which must not count as the same."""
    async with open_evaluation_env(tmp_path, "JCM") as mail:
        mail.probe_world.faults["JCM/utama"] = REFUSED
        await mail.rounds(4)
        await mark_false_alarm(mail)
        await declare(mail)
        await mail.rounds(12)
        assert (await mail.env.incident(2)).detected is IncidentType.BOTH
