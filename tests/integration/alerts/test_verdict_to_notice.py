"""From the end of a run to the gateway: what makes somebody ring, and what does not."""

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
from monitor.store.engine.ledger import SqlUnitOfWork
from monitor.store.probing.history import History
from probes.model.result import Outcome, Party, Phase, ProbeResult
from tests.integration.alerts.station import Station, station_at
from tests.unit.alerts.people import MINISTRY, MINUTE, POLICY, SITI
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.trial import LOSES, PROBING, REFUSED, World, agency_routes, controls, failed, imap, slow, smtp

NOC = Address(channel=Channel.SMS, number="+60100000999")


class Nothing:
    """A history that forgets."""

    async def record_run(
        self, result: ProbeResult, agency: str, judged: Mapping[str, tuple[Health, datetime]], **_: object
    ) -> None:
        pass


class MultiSiteDemo:
    """Agencies, their mail, our references, and everything from a judge to the gateways."""

    def __init__(self, station: Station, agencies: list[str], watched: ProbingPolicy = PROBING) -> None:
        """*watched*: how the first of them is probed."""
        self.station = station
        first = agency_routes(agencies[0], probing=watched)
        self.world = World([*first, *(r for a in agencies[1:] for r in agency_routes(a)), *controls()])
        self.station.clock.moment = self.world.now
        metrics = Metrics(version="0", now=station.clock.now)
        for agency in agencies:
            metrics.register_agency(agency, routes=[r.name for r in self.world.routes if r.agency == agency])
        self.evaluator = HealthEvaluator(self.world.routes, HealthPolicy())
        self.briefs = {agency: brief(agency, f"+6010000{n:04}") for n, agency in enumerate(agencies)}
        self.metrics = metrics
        self.watch()

    def watch(self, open_incidents: Mapping[str, IncidentType] | None = None) -> None:
        """Begin to tell of what the judge says; again: as after a start, with nothing told."""
        self.reporter = IncidentReporter(
            policies=IncidentPolicies(agencies=self.briefs, monitoring_fault=ours),
            alerting=self.station.dispatcher,
            open_incidents=open_incidents or {},
            open_keys=self._open_keys,
            metrics=self.metrics,
            clock=self.station.clock,
            site="utama",
        )
        self.pipeline = ResultPipeline(
            evaluator=self.evaluator,
            routes={r.name: r for r in self.world.routes},
            history=cast(History, Nothing()),
            reporter=self.reporter,
            metrics=self.metrics,
            clock=self.station.clock,
            site="utama",
        )

    def restart(self, open_incidents: Mapping[str, IncidentType] | None = None) -> None:
        """Forget all runs, as a stop does; how they were judged is taken up."""
        healths = self.evaluator.healths()
        self.evaluator = HealthEvaluator(self.world.routes, HealthPolicy())
        self.evaluator.restore(healths)
        self.watch(open_incidents)

    async def _open_keys(self) -> Collection[str]:
        async with self.station.store.transaction() as uow:
            assert isinstance(uow, SqlUnitOfWork)
            return await uow.detected_keys()

    async def rounds(self, count: int) -> None:
        """Run every route so many times, and let the engine do what follows."""
        for _ in range(count):
            for route in self.world.routes:
                run = self.world.result(route, self.station.clock.now())
                self.station.clock.moment = max(self.station.clock.moment, run.started_at + timedelta(seconds=0.1))
                await self.pipeline.process(run)
                await self.reporter.report()
            await self.station.settle()
            self.station.clock.moment += MINUTE

    @property
    def rung(self) -> list[str]:
        """Who was told anything, by number."""
        return [order.address for gateway in self.station.gateways for order in gateway.orders]

    @property
    def said(self) -> list[str]:
        return [o.content.text for o in self.station.sms.orders if isinstance(o.content, SmsContent)]


def brief(agency: str, number: str) -> PolicySnapshot:
    duty = replace(SITI, addresses=(Address(channel=Channel.SMS, number=number),))
    steps = (replace(POLICY.steps[0], contacts=(duty,)),)
    return PolicySnapshot(
        agency=agency,
        office=IssuingOffice(short=agency, name=f"Agensi {agency}", domain="contoh.gov.my"),
        escalation=replace(POLICY, steps=steps, rounds=1),
        announcement=AnnouncementPlan(recipients=(MINISTRY,)),
    )


def ours(suspect: FaultSource) -> PolicySnapshot:
    noc = replace(brief("", NOC.number), announcement=AnnouncementPlan(), subject=str(suspect))
    return replace(noc, office=IssuingOffice(short="PANTAU", name="Pusat Operasi Contoh", domain=""))


@asynccontextmanager
async def country(place: Path, *agencies: str) -> AsyncIterator[MultiSiteDemo]:
    async with station_at(place) as station:
        here = MultiSiteDemo(station, list(agencies))
        await here.rounds(3)
        assert here.rung == []
        yield here


async def test_nothing_leaves_at_one_or_two_failures(tmp_path: Path) -> None:
    async with country(tmp_path, "JCM") as here:
        here.world.faults["JCM/utama"] = REFUSED
        await here.rounds(2)
        assert here.rung == []
        here.world.faults.clear()
        await here.rounds(2)
        here.world.faults["JCM/utama"] = REFUSED
        await here.rounds(2)
        assert here.rung == []
        assert await here.station.active() == []

        await here.rounds(1)
        assert here.said == ["outage both JCM-01"]


async def test_an_outage_rings_staff_and_sends_nothing_outside_until_a_person_releases_it(tmp_path: Path) -> None:
    async with country(tmp_path, "JCM") as here:
        here.world.faults["JCM/utama"] = REFUSED
        await here.rounds(10)
        assert (here.station.fax.orders, here.station.tray.orders) == ([], [])

        await here.station.release()
        assert (len(here.station.fax.orders), len(here.station.tray.orders)) == (1, 1)


async def test_outage_after_slowness_is_announced_since_sending_failed(tmp_path: Path) -> None:
    """A letter said "cannot send since 6.16": since then mail had been in junk, and it failed from 6.25."""
    async with country(tmp_path, "JCM") as here:
        here.world.faults["JCM/utama"] = slow(junk=True)
        junk_at = here.station.clock.now()
        await here.rounds(9)
        here.world.faults["JCM/utama"] = smtp(Outcome.CONNECT, Phase.CONNECT)
        failed_at = here.station.clock.now()
        await here.rounds(6)
        incident = await here.station.incident()
        assert (incident.type, incident.began_at) == (IncidentType.SENDING, junk_at)

        await here.station.release()
        announced = [each for each in await here.station.notifications() if each.plan is Plan.ANNOUNCEMENT]
        assert {each.facts.began_at for each in announced} == {failed_at}
        assert (await here.station.incident()).reported_type_began_at == failed_at


async def test_when_fifty_agencies_fail_for_a_fault_of_ours_the_noc_alone_hears_and_once(tmp_path: Path) -> None:
    async with country(tmp_path, *(f"J{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(50))) as here:
        here.world.cut_off = True
        await here.rounds(6)

        assert here.rung == [NOC.number]
        assert len(await here.station.active()) == 1
        assert (await here.station.incident()).dedup_key == "ours/network"

        here.world.cut_off = False
        await here.rounds(4)
        assert here.rung == [NOC.number] * 2
        assert [text.split()[0] for text in here.said] == ["outage", "recovery"]


async def test_a_dead_reference_is_told_to_the_noc_and_makes_no_agency_ring(tmp_path: Path) -> None:
    async with country(tmp_path, *(f"J{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(50))) as here:
        here.world.faults["a"] = LOSES
        await here.rounds(6)

        assert set(here.rung) == {NOC.number}
        assert {(await here.station.incident(i)).policy.agency for i in await here.station.active()} == {""}


async def test_fifty_agencies_that_really_fail_are_fifty_incidents_and_each_officer_is_rung_once(
    tmp_path: Path,
) -> None:
    codes = [f"J{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(50)]
    async with country(tmp_path, *codes) as here:
        for code in codes:
            here.world.faults[f"{code}/utama"] = REFUSED
        await here.rounds(3)

        assert sorted(here.rung) == [f"+6010000{n:04}" for n in range(50)]


# -- after a false alarm ---------------------------------------------------------------------------------------------


def one_route_is_refused(of: MonitoredRoute, at: datetime, party: Party) -> ProbeResult | None:
    return failed(of, at, Outcome.REJECTED, Phase.SUBMIT) if of.name == "JCM/inbound/a/JCM/utama" else None


async def declared_false(here: MultiSiteDemo, incident_id: int = 1) -> None:
    at = here.station.clock.now()
    await here.station.submit(MarkFalseAlarm(incident_id=incident_id, at=at, by="Siti Contoh", reason="rujukan silap"))


@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=3)], ids=["the same day", "days later"])
async def test_a_real_outage_is_told_after_a_false_alarm_though_not_all_was_ever_well_in_between(
    tmp_path: Path, later: timedelta
) -> None:
    async with country(tmp_path, "JCM") as here:
        here.world.faults["JCM/utama"] = REFUSED
        await here.rounds(4)
        await declared_false(here)
        here.world.faults["JCM/utama"] = one_route_is_refused
        await here.rounds(10)
        assert here.said == ["outage both JCM-01", "correction both JCM-01"]

        here.station.clock.moment += later
        here.world.faults["JCM/utama"] = REFUSED
        await here.rounds(12)
        assert any(text.startswith("outage both JCM-02") for text in here.said)


async def test_what_was_a_false_alarm_and_goes_on_is_told_again_after_a_day_and_not_before(tmp_path: Path) -> None:
    async with country(tmp_path, "JCM") as here:
        here.world.faults["JCM/utama"] = REFUSED
        await here.rounds(4)
        await declared_false(here)
        for _ in range(2):
            await here.rounds(12)
            here.restart()
        assert here.said == ["outage both JCM-01", "correction both JCM-01"]

        here.station.clock.moment += FALSE_ALARM_PERIOD
        await here.rounds(6)
        assert here.said[2:] == ["outage both JCM-02"]


async def test_a_start_does_not_make_a_false_alarm_new(tmp_path: Path) -> None:
    """The first run after it is the first of a streak, as far as is remembered."""
    async with country(tmp_path, "JCM") as here:
        here.world.faults["JCM/utama"] = REFUSED
        await here.rounds(4)
        await declared_false(here)
        here.restart()
        await here.rounds(12)
        assert here.said == ["outage both JCM-01", "correction both JCM-01"]


async def test_what_is_closed_by_hand_is_shown_until_the_probes_are_well_and_what_fails_again_is_told(
    tmp_path: Path,
) -> None:
    def shown(here: MultiSiteDemo) -> tuple[float | None, str | None]:
        held = here.reporter.closed_by_hand.get("JCM")
        return Scrape(here.metrics).value("incident_closed_manually", agency="JCM"), held.number if held else None

    async with country(tmp_path, "JCM") as here:
        here.world.faults["JCM/utama"] = REFUSED
        await here.rounds(4)
        assert shown(here) == (None, None)
        at = here.station.clock.now()
        await here.station.submit(Close(incident_id=1, at=at, by="Siti Contoh", reason="probe silap", recovered=False))
        for _ in range(2):
            await here.rounds(10)
            assert shown(here) == (1, "JCM-01"), "it is measured down, and nobody is told: whoever looks must see that"
            here.restart()
        assert here.said == ["outage both JCM-01", "closed both JCM-01"]
        here.world.faults.clear()
        await here.rounds(4)
        assert shown(here) == (None, None)
        assert (await here.station.incident(1)).detected is None
        here.world.faults["JCM/utama"] = REFUSED
        await here.rounds(4)
        assert here.said[2:] == ["outage both JCM-02"]


async def test_a_direction_that_is_taken_out_while_it_fails_is_not_said_to_work_again(tmp_path: Path) -> None:
    async with country(tmp_path, "JCM") as here:
        here.world.faults["JCM/utama"] = imap(Outcome.CONNECT, Phase.CONNECT)
        await here.rounds(5)
        assert here.said == ["outage receiving JCM-01"]

        routes = list(here.world.routes)
        here.world.routes[:] = [r for r in routes if r.direction in {Direction.OUTBOUND, Direction.CONTROL}]
        here.restart(open_incidents={"JCM": IncidentType.RECEIVING})
        await here.rounds(5)
        assert here.said == ["outage receiving JCM-01"]

        here.world.routes[:] = routes
        here.world.faults.clear()
        here.restart(open_incidents={"JCM": IncidentType.RECEIVING})
        await here.rounds(5)
        assert here.said[1:] == ["recovery receiving JCM-01"]


# -- what a person declares ------------------------------------------------------------------------------------------


async def declared(here: MultiSiteDemo, matter: IncidentType = IncidentType.RECEIVING) -> None:
    at = here.station.clock.now()
    await here.station.submit(
        Declare(
            dedup_key="JCM",
            at=at,
            by="Siti Contoh",
            type=matter,
            began_at=at,
            reason="mel web tidak dapat dibuka",
            policy=here.briefs["JCM"],
        )
    )


async def closed(here: MultiSiteDemo) -> None:
    at = here.station.clock.now()
    await here.station.submit(Close(incident_id=1, at=at, by="Siti Contoh", reason="mel web dibaiki"))


async def measured(here: MultiSiteDemo) -> dict[str, IncidentType]:
    """Return what a start is told of open incidents."""
    still = [await here.station.incident(1)]
    return {each.dedup_key: each.detected for each in still if each.is_open and each.detected}


async def test_probes_that_are_well_do_not_end_what_a_person_has_declared(tmp_path: Path) -> None:
    async with country(tmp_path, "JCM") as here:
        await declared(here)
        await here.rounds(6)
        here.restart(await measured(here))
        await here.rounds(12)
        assert here.said == ["outage receiving JCM-01"]

        await closed(here)
        await here.rounds(6)
        assert here.said == ["outage receiving JCM-01", "recovery receiving JCM-01"]


@pytest.mark.parametrize("restarts", [False, True], ids=["runs on", "restarts"])
@pytest.mark.parametrize("last", ["person", "prober"])
async def test_what_is_declared_and_then_fails_is_one_incident_until_both_are_over(
    tmp_path: Path, last: str, *, restarts: bool
) -> None:
    async with country(tmp_path, "JCM") as here:

        async def goes_on(rounds: int) -> None:
            if restarts:
                here.restart(await measured(here))
            await here.rounds(rounds)
            assert not any(text.startswith("recovery") for text in here.said)

        await declared(here)
        await goes_on(3)
        here.world.faults["JCM/utama"] = REFUSED
        await goes_on(6)
        assert (await here.station.incident()).detected is IncidentType.BOTH
        if last == "prober":
            await closed(here)
            await goes_on(12)
            here.world.faults.clear()
            await here.rounds(6)
        else:
            here.world.faults.clear()
            await goes_on(12)
            await closed(here)
            await here.rounds(6)
        told = [text.split()[0] for text in here.said]
        assert (told.count("outage"), told.count("recovery"), told[-1]) == (1, 1, "recovery")
        assert (await here.station.incident()).state is IncidentState.RESOLVED


async def test_what_fails_after_a_declaration_was_taken_back_is_told(tmp_path: Path) -> None:
    """Though it began before, and is less than what had been declared."""
    async with country(tmp_path, "JCM") as here:
        await declared(here, IncidentType.BOTH)
        await here.station.settle()
        here.world.faults["JCM/utama"] = imap(Outcome.CONNECT, Phase.CONNECT)
        await here.rounds(2)
        await declared_false(here)
        await here.rounds(4)
        assert here.said == ["outage both JCM-01", "correction both JCM-01", "outage receiving JCM-02"]


async def test_what_fails_while_a_person_declares_anew_is_told_of_that_incident(tmp_path: Path) -> None:
    """The prober has told of it before, in an incident that a person has ended: it must not think that this is the same."""
    async with country(tmp_path, "JCM") as here:
        here.world.faults["JCM/utama"] = REFUSED
        await here.rounds(4)
        await declared_false(here)
        await declared(here)
        await here.rounds(12)
        assert (await here.station.incident(2)).detected is IncidentType.BOTH
