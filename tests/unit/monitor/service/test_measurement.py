"""The newest runs of an agency for a command, and the runs that it starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from alerts.model.notification import IncidentType
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.model.health import Health
from monitor.model.route import Direction, MonitoredRoute
from monitor.probing.on_demand_run import OnDemandRun
from monitor.service.measurement import FRESH_PERIOD, MAX_AGENCIES, MailMeasurement
from probes.model.result import Outcome, Phase, ProbeResult
from tests.unit.alerts.people import MINUTE, SECOND, T0
from tests.unit.monitor.world import agency_routes, arrived, failed

SENDS, RECEIVES = IncidentType.SENDING, IncidentType.RECEIVING
OUT, IN, INSIDE = Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL


class MeasurementFixture:
    """Routes of agencies with their newest runs. A started run ends when the test sets its result."""

    def __init__(self, routes: Sequence[MonitoredRoute], elsewhere: Collection[str] = ()) -> None:
        self.latest: dict[str, ProbeResult] = {}
        self.begun: dict[str, OnDemandRun] = {}
        self.routes = {each.name: each for each in routes}
        self.together: SiteStatus | None = None
        self.now = T0
        #: Runs in the database that ended in another process.
        self.stored: dict[str, ProbeResult] = {}
        #: The result with which a started run ends at once; without one it stays active.
        self.ends: dict[str, ProbeResult] = {}
        agencies = {each.agency for each in routes}
        runtime = SimpleNamespace(
            owned=agencies - set(elsewhere),
            configuration=SimpleNamespace(
                registry=SimpleNamespace(routes_for=lambda code: [r for r in routes if r.agency == code])
            ),
            prober=self,
            reporter=SimpleNamespace(joint_status=lambda _: self.together),
        )
        self.measurement = MailMeasurement(
            runtime=lambda: cast(Any, runtime),
            history=cast(Any, self),
            clock=cast(Any, SimpleNamespace(now=lambda: self.now)),
            timeout=timedelta(0),
        )

    def known(self) -> Mapping[str, ProbeResult]:
        return self.latest

    async def refresh_latest(self, _: Collection[str]) -> None:
        self.latest |= self.stored

    def run_now(self, name: str) -> OnDemandRun:
        assert name not in self.begun or self.begun[name].is_finished, "it is under way"
        started = self.begun[name] = OnDemandRun(route=self.routes[name], requested_at=self.now)
        if (end := self.ends.get(name)) is not None:
            self.latest[name] = end
            started.finish(self.now)
        return started


def run(route: MonitoredRoute, at: datetime, how: str) -> ProbeResult:
    match how:
        case "arrived":
            return arrived(route, at)
        case "in junk":
            return arrived(route, at, junk=True)
        case "ours":
            return failed(route, at, Outcome.INCONCLUSIVE, Phase.CONNECT)
        case _:
            return failed(route, at, Outcome.CONNECT, Phase.CONNECT)


@pytest.mark.parametrize(
    ("runs", "delivered"),
    [
        ([], {}),
        ([(OUT, 0, 5, "arrived")], {SENDS: 5}),
        ([(OUT, 0, 5, "in junk")], {SENDS: 5}),
        ([(IN, 0, 5, "arrived"), (OUT, 0, 6, "failed")], {RECEIVES: 5}),
        # The newest of two routes decides, and a run with a monitoring fault does not count.
        ([(OUT, 0, 5, "arrived"), (OUT, 1, 6, "failed")], {}),
        ([(OUT, 0, 5, "failed"), (OUT, 1, 6, "arrived")], {SENDS: 6}),
        ([(OUT, 0, 5, "arrived"), (OUT, 1, 6, "ours")], {SENDS: 5}),
        # Internal mail is neither sent to nor received from outside.
        ([(INSIDE, 0, 5, "arrived")], {}),
    ],
)
async def test_newest_run_of_direction_decides_whether_mail_arrives(
    runs: Sequence[tuple[Direction, int, int, str]], delivered: Mapping[IncidentType, int]
) -> None:
    routes = agency_routes("JCM", ("a", "b"))
    fixture = MeasurementFixture(routes)
    for way, number, minutes, how in runs:
        route = [each for each in routes if each.direction is way][number]
        fixture.latest[route.name] = run(route, T0 + minutes * MINUTE, how)
    found = await fixture.measurement.newest(["JCM"])
    assert found == {"JCM": {way: T0 + minutes * MINUTE for way, minutes in delivered.items()}}


async def test_newest_runs_of_agency_with_internal_routes_only_show_both_directions() -> None:
    [route] = agency_routes("JCM", directions=[INSIDE])
    fixture = MeasurementFixture([route])
    fixture.latest[route.name] = arrived(route, T0)
    assert await fixture.measurement.newest(["JCM"]) == {"JCM": {SENDS: T0, RECEIVES: T0}}


async def test_newest_at_hub_requires_joint_status_of_sites() -> None:
    routes = agency_routes("JCM", ("a",))
    fixture = MeasurementFixture(routes)
    for each in routes:
        fixture.latest[each.name] = arrived(each, T0)
    fixture.together = SiteStatus(directions={OUT: Health.DOWN, IN: Health.DEGRADED})
    assert await fixture.measurement.newest(["JCM"]) == {"JCM": {RECEIVES: T0}}


async def test_measure_runs_each_direction_and_returns_result() -> None:
    routes = agency_routes("JCM", ("a",))
    fixture = MeasurementFixture(routes)
    for each in routes:
        fixture.latest[each.name] = run(each, T0 - 5 * MINUTE, "failed")
        fixture.ends[each.name] = arrived(each, T0)
    assert await fixture.measurement.measure("JCM") == {SENDS: T0, RECEIVES: T0}
    assert {fixture.routes[name].direction for name in fixture.begun} == {OUT, IN}


async def test_measure_stops_at_timeout_and_starts_no_run_twice() -> None:
    routes = agency_routes("JCM", ("a",))
    fixture = MeasurementFixture(routes)
    assert await fixture.measurement.measure("JCM") == {}
    begun = dict(fixture.begun)
    assert len(begun) == 2
    assert await fixture.measurement.measure("JCM") == {}
    assert fixture.begun == begun, "they are under way"


def test_begin_skips_fresh_and_foreign_routes_and_limits_agencies() -> None:
    routes = [route for n in range(MAX_AGENCIES + 5) for route in agency_routes(f"J{n:02}", ("a",))]
    fixture = MeasurementFixture(routes, elsewhere=["J01"])
    first = {each.direction: each for each in routes if each.agency == "J00"}
    fixture.latest[first[OUT].name] = run(first[OUT], T0 - FRESH_PERIOD + SECOND, "failed")
    fixture.latest[first[IN].name] = run(first[IN], T0 - FRESH_PERIOD, "failed")
    fixture.measurement.begin([f"J{n:02}" for n in range(MAX_AGENCIES + 5)])
    assert first[OUT].name not in fixture.begun
    assert first[IN].name in fixture.begun
    agencies = {fixture.routes[name].agency for name in fixture.begun}
    assert "J01" not in agencies
    assert len(agencies) == MAX_AGENCIES


async def test_newest_reads_runs_that_ended_in_another_process() -> None:
    routes = agency_routes("JCM", ("a",))
    fixture = MeasurementFixture(routes, elsewhere=["JCM"])
    out = next(each for each in routes if each.direction is OUT)
    fixture.stored[out.name] = arrived(out, T0)
    assert await fixture.measurement.measure("JCM") == {SENDS: T0}
    assert not fixture.begun
