"""A site that was silent says nothing that it judged before: neither after a start, nor when it stood still and goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from alerts.model.notification import IncidentType
from monitor.bridge.incident_reporter import IncidentPolicies, IncidentReporter
from monitor.bridge.pipeline import ResultPipeline
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.joint.freshness import SiteHeartbeat
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.metrics import Metrics
from monitor.model.health import HealthPolicy
from monitor.model.route import Direction
from monitor.planning.loop_lag import LoopLag
from monitor.probing.lag import LagMeter, LagSample
from monitor.service.probing_runtime import ProbingRuntime
from monitor.service.sites.continuity import SiteContinuity
from monitor.service.sites.heartbeat import SiteHeartbeatWriter
from monitor.store.backend.database import Database
from monitor.store.probing.history import History
from monitor.store.probing.processes import Processes
from monitor.store.probing.statuses import SiteStatuses
from tests.unit.alerts.people import BRIEF
from tests.unit.monitor.bridge.test_pipeline import Alerts, Clock
from tests.unit.monitor.service.test_sites import DOWN, WELL, Nation
from tests.unit.monitor.trial import MINUTE, REFUSED, SECOND, T0, World, agency_routes, world

STALE_AFTER = 30 * SECOND
SITES = ("johor", "kuching")


@dataclass
class StoodStill:
    """A meter that says how long the process stood still since it was last asked."""

    longest: timedelta = timedelta(0)

    def mark(self) -> LagSample:
        return LagSample(0, 0)

    def lag_since(self, _: LagSample) -> LoopLag:
        longest, self.longest = self.longest, timedelta(0)
        return LoopLag(whole=longest, longest=longest)


@dataclass
class SourceLocation:
    """The parts of a site's process that judge, write and beat; all that it knows is in its store."""

    name: str
    database: Database
    clock: Clock
    is_alive: int = 0
    lag: StoodStill = field(default_factory=StoodStill)
    looked: int = 0

    def __post_init__(self) -> None:
        self.world: World = world("JCM")

    async def start(self) -> None:
        self.is_alive += 1
        self.standings = SiteStatuses(self.database, self.name)
        self.processes = Processes(self.database, f"{self.name}-1")
        history = History(self.database, self.standings)
        metrics = Metrics(version="0", now=self.clock.now)
        metrics.register_agency("JCM", routes=())
        evaluator = self.world.evaluator = HealthEvaluator(self.world.routes, HealthPolicy())
        reporter = IncidentReporter(
            policies=IncidentPolicies(agencies={"JCM": BRIEF}, monitoring_fault=lambda _: BRIEF),
            alerting=Alerts(),
            metrics=metrics,
            clock=self.clock,
            site=self.name,
            open_incidents={},
        )
        routes = {route.name: route for route in self.world.routes}
        prober = SimpleNamespace(advance_stale_routes=self._confirm)
        self.runtime = cast(ProbingRuntime, SimpleNamespace(evaluator=evaluator, routes=routes, prober=prober))
        self.continuity = SiteContinuity(
            self.processes,
            self.standings,
            self.clock,
            site=self.name,
            stale_after=STALE_AFTER,
            lag=cast(LagMeter, self.lag),
            runtime=lambda: self.runtime,
        )
        await self.continuity.begin()
        evaluator.restore(await history.healths())
        agency = [route.name for route in self.world.routes if route.agency]
        evaluator.restore_continuity(agency, self.processes.continuous_since, self.clock.now())
        self.pipeline = ResultPipeline(
            evaluator=evaluator,
            routes=routes,
            history=history,
            reporter=reporter,
            metrics=metrics,
            clock=self.clock,
            site=self.name,
            writes_all=True,
        )
        self.runtime.pipeline = self.pipeline  # type: ignore[misc]
        self.beating = SiteHeartbeatWriter(
            self.standings,
            self.clock,
            has_unwritten=lambda: False,
            check_continuity=self.continuity.check,
            monotonic=lambda: self.clock.time - T0,
        )

    def _confirm(self) -> None:
        self.looked += 1

    async def live(self) -> None:
        """Beat, as each second."""
        await self.processes.beat(self.clock.now(), self.clock.now())
        await self.beating.write()

    async def probe(self) -> None:
        """Run each route once."""
        for route in self.world.routes:
            await self.pipeline.process(self.world.result(route, self.clock.now()))

    async def says(self) -> SiteStatus:
        found, _ = await self.standings.changed(None)
        return found[self.name]["JCM"]


@asynccontextmanager
async def places(directory: Path, clock: Clock) -> AsyncIterator[Mapping[str, SourceLocation]]:
    made = {}
    async with (
        Database.open(directory / "johor") as johor,
        Database.open(directory / "kuching") as kuching,
    ):
        for name, database in zip(SITES, (johor, kuching), strict=True):
            made[name] = SourceLocation(name, database, clock)
            await made[name].start()
        yield made


class MultiSiteDemo:
    """A hub that probes, with two sites that have stores of their own."""

    def __init__(self, sites: Mapping[str, SourceLocation], hub: Nation) -> None:
        self.sites = sites
        self.hub = hub

    async def live(self, seconds: int, *silent: str) -> list[str]:
        """Let so much time pass; return what is told of the agency."""
        told = list[str]()
        for _ in range(seconds):
            for name, site in self.sites.items():
                if name not in silent:
                    await site.live()
                said, _ = await site.standings.changed(None)
                self.hub.rows.say(name, **said.get(name, {}))
                self.hub.rows.beaten |= await site.standings.heartbeats()
            told += await self.hub.live(1, *SITES)
        return [each for each in told if each.startswith("JCM")]

    async def all_say(self) -> list[tuple[bool, bool]]:
        """Return of each site whether it says that something is wrong, and that all is well."""
        said = [await site.says() for site in self.sites.values()]
        return [(each.trouble is not None, each.up_since is not None) for each in said]

    async def probe(self, rounds: int = 3) -> None:
        for _ in range(rounds):
            for site in self.sites.values():
                await site.probe()


@asynccontextmanager
async def country(directory: Path) -> AsyncIterator[MultiSiteDemo]:
    hub = Nation()
    hub.monotonic = hub.clock.time - T0
    hub.here = {}
    async with places(directory, hub.clock) as sites:
        yield MultiSiteDemo(sites, hub)


@pytest.mark.blind
@pytest.mark.parametrize("how", ["started anew", "stood still"])
async def test_site_back_from_a_silence_does_not_tell_an_outage_that_has_ended(tmp_path: Path, how: str) -> None:
    """Defect: A site reports after a silence what it evaluated before, and an old outage is notified again by SMS, fax and letter.

    Pantau: Such a status is stale until a run confirms it, and what was down is probed soon.
    """
    async with country(tmp_path) as here:
        for site in here.sites.values():
            site.world.faults = {"JCM/utama": REFUSED}
        here.hub.say("utama", JCM=DOWN)
        await here.probe()
        assert await here.live(30) == ["JCM: both"]

        # Both are silent, the agency is repaired, and the hub alone has seen it: what is open there is not the matter here.
        await here.live(180, *SITES)
        here.hub.say("utama", JCM=_well(here.hub))
        here.hub.alerts.heard.clear()
        here.hub.reporter._set_reported_type("JCM", None)
        for site in here.sites.values():
            site.world.faults = {}
            if how == "started anew":
                await site.start()
            else:
                site.lag.longest = 180 * SECOND
        assert await here.live(60) == [], "nobody has looked since"
        assert await here.all_say() == [(False, False)] * 2
        assert [site.looked for site in here.sites.values()] == [how == "stood still"] * 2
        await here.probe()
        assert await here.live(10) == []
        assert await here.all_say() == [(False, True)] * 2


@pytest.mark.blind
@pytest.mark.parametrize("how", ["started anew", "stood still"])
async def test_site_back_from_a_silence_ends_no_outage_that_began_meanwhile(tmp_path: Path, how: str) -> None:
    """Defect: Sites that were up before a silence end an outage that began meanwhile.

    Pantau: Their status is stale until a run confirms it.
    """
    async with country(tmp_path) as here:
        here.hub.say("utama", JCM=_well(here.hub))
        await here.probe()
        assert await here.live(30) == []
        await here.live(180, *SITES)
        here.hub.say("utama", JCM=DOWN)
        here.hub.reporter._set_reported_type("JCM", IncidentType.BOTH)
        for site in here.sites.values():
            site.world.faults = {"JCM/utama": REFUSED}
            if how == "started anew":
                await site.start()
            else:
                site.lag.longest = 180 * SECOND
        assert await here.live(60) == [], "nobody has looked since"
        await here.probe(1)
        assert await here.live(10) == []
        await here.probe(2)
        assert await here.live(10) == []
        assert await here.all_say() == [(True, False)] * 2


@pytest.mark.parametrize("how", ["started anew", "stood still"])
async def test_outage_that_goes_on_over_a_silence_is_said_once_a_run_confirms_it(tmp_path: Path, how: str) -> None:
    async with country(tmp_path) as here:
        johor = here.sites["johor"]
        johor.world.faults = {"JCM/utama": REFUSED}
        await johor.probe()
        await johor.probe()
        await johor.probe()
        await johor.live()
        assert (await johor.says()).trouble is not None
        johor.clock.time += 3 * MINUTE
        if how == "started anew":
            await johor.start()
            assert (await johor.says()).trouble is None, "before its first beat"
        johor.lag.longest = 180 * SECOND
        await johor.live()
        assert (await johor.says()).trouble is None
        await johor.probe()
        assert (await johor.says()).trouble is not None


async def test_judgement_that_the_first_run_confirms_is_said_again_as_it_was(tmp_path: Path) -> None:
    async with country(tmp_path) as here:
        johor = here.sites["johor"]
        johor.world = World(agency_routes("JCM", directions=[Direction.INTERNAL]))
        await johor.start()
        for _ in range(3):
            await johor.probe()
        await johor.live()
        before = await johor.says()
        assert before.up_since
        johor.clock.time += 3 * MINUTE
        johor.lag.longest = 180 * SECOND
        await johor.live()
        assert (await johor.says()).up_since is None
        await johor.probe()
        assert await johor.says() == before


async def test_short_restart_leaves_what_a_site_says_as_it_was(tmp_path: Path) -> None:
    async with country(tmp_path) as here:
        johor = here.sites["johor"]
        johor.world.faults = {"JCM/utama": REFUSED}
        for _ in range(3):
            await johor.probe()
        await johor.live()
        before = await johor.says()
        johor.clock.time += 20 * SECOND
        await johor.start()
        assert await johor.says() == before


async def test_restart_soon_after_a_silence_leaves_stale_what_was_stale(tmp_path: Path) -> None:
    async with country(tmp_path) as here:
        johor = here.sites["johor"]
        johor.world.faults = {"JCM/utama": REFUSED}
        for _ in range(3):
            await johor.probe()
        await johor.live()
        johor.clock.time += 3 * MINUTE
        for _ in range(3):
            await johor.start()
            await johor.live()
            johor.clock.time += 20 * SECOND
        await johor.pipeline.report_pending()
        assert johor.pipeline._statuses["JCM"].trouble is None


async def test_another_process_that_goes_on_keeps_what_the_site_says(tmp_path: Path) -> None:
    async with country(tmp_path) as here:
        johor = here.sites["johor"]
        await johor.probe()
        await johor.probe()
        await johor.live()
        before = await johor.says()
        assert before.up_since
        johor.clock.time += 3 * MINUTE
        await johor.standings.write_heartbeat(_beat(johor))
        johor.lag.longest = 180 * SECOND
        await johor.continuity.check()
        assert await johor.says() == before
        # What this process judged itself counts for nothing all the same.
        assert johor.pipeline._statuses["JCM"].up_since is None


def _well(hub: Nation) -> SiteStatus:
    return replace(WELL, up_since=hub.clock.time)


def _beat(of: SourceLocation) -> SiteHeartbeat:
    return SiteHeartbeat(at=of.clock.time, monotonic=of.clock.time - T0, incarnation="another")
