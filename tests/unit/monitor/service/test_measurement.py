"""What the newest runs of an agency show to an order, and which are begun for it."""

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
from tests.unit.monitor.trial import agency_routes, arrived, failed

SENDS, RECEIVES = IncidentType.SENDING, IncidentType.RECEIVING
OUT, IN, INSIDE = Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL


class SourceLocation:
    """Routes of agencies with their newest runs; what is begun ends when the test says so."""

    def __init__(self, routes: Sequence[MonitoredRoute], elsewhere: Collection[str] = ()) -> None:
        self.latest: dict[str, ProbeResult] = {}
        self.begun: dict[str, OnDemandRun] = {}
        self.routes = {each.name: each for each in routes}
        self.together: SiteStatus | None = None
        self.now = T0
        #: What is read from the store of runs that ended elsewhere.
        self.stored: dict[str, ProbeResult] = {}
        #: How each run ends at once that is begun; where there is none it goes on.
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
        self.measuring = MailMeasurement(
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
        trial = self.begun[name] = OnDemandRun(route=self.routes[name], requested_at=self.now)
        if (end := self.ends.get(name)) is not None:
            self.latest[name] = end
            trial.finish(self.now)
        return trial


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
        # Of two routes the newest decides, and one that came to nothing for a fault of ours says nothing.
        ([(OUT, 0, 5, "arrived"), (OUT, 1, 6, "failed")], {}),
        ([(OUT, 0, 5, "failed"), (OUT, 1, 6, "arrived")], {SENDS: 6}),
        ([(OUT, 0, 5, "arrived"), (OUT, 1, 6, "ours")], {SENDS: 5}),
        # Mail within the agency is neither sent out nor received from outside.
        ([(INSIDE, 0, 5, "arrived")], {}),
    ],
)
async def test_newest_run_of_a_direction_says_whether_mail_arrives(
    runs: Sequence[tuple[Direction, int, int, str]], delivered: Mapping[IncidentType, int]
) -> None:
    routes = agency_routes("JCM", ("a", "b"))
    place = SourceLocation(routes)
    for way, number, minutes, how in runs:
        route = [each for each in routes if each.direction is way][number]
        place.latest[route.name] = run(route, T0 + minutes * MINUTE, how)
    found = await place.measuring.newest(["JCM"])
    assert found == {"JCM": {way: T0 + minutes * MINUTE for way, minutes in delivered.items()}}


async def test_newest_runs_of_an_agency_with_internal_routes_alone_show_both_directions() -> None:
    [route] = agency_routes("JCM", directions=[INSIDE])
    place = SourceLocation([route])
    place.latest[route.name] = arrived(route, T0)
    assert await place.measuring.newest(["JCM"]) == {"JCM": {SENDS: T0, RECEIVES: T0}}


async def test_newest_at_a_hub_is_what_the_sites_agree_on() -> None:
    routes = agency_routes("JCM", ("a",))
    place = SourceLocation(routes)
    for each in routes:
        place.latest[each.name] = arrived(each, T0)
    place.together = SiteStatus(directions={OUT: Health.DOWN, IN: Health.DEGRADED})
    assert await place.measuring.newest(["JCM"]) == {"JCM": {RECEIVES: T0}}


async def test_measure_runs_each_direction_and_shows_how_it_ended() -> None:
    routes = agency_routes("JCM", ("a",))
    place = SourceLocation(routes)
    for each in routes:
        place.latest[each.name] = run(each, T0 - 5 * MINUTE, "failed")
        place.ends[each.name] = arrived(each, T0)
    assert await place.measuring.measure("JCM") == {SENDS: T0, RECEIVES: T0}
    assert {place.routes[name].direction for name in place.begun} == {OUT, IN}


async def test_measure_waits_no_longer_than_its_patience_and_begins_nothing_twice() -> None:
    routes = agency_routes("JCM", ("a",))
    place = SourceLocation(routes)
    assert await place.measuring.measure("JCM") == {}
    begun = dict(place.begun)
    assert len(begun) == 2
    assert await place.measuring.measure("JCM") == {}
    assert place.begun == begun, "they are under way"


def test_begin_leaves_out_what_is_fresh_or_probed_elsewhere_and_most_of_a_mass_outage() -> None:
    routes = [route for n in range(MAX_AGENCIES + 5) for route in agency_routes(f"J{n:02}", ("a",))]
    place = SourceLocation(routes, elsewhere=["J01"])
    first = {each.direction: each for each in routes if each.agency == "J00"}
    place.latest[first[OUT].name] = run(first[OUT], T0 - FRESH_PERIOD + SECOND, "failed")
    place.latest[first[IN].name] = run(first[IN], T0 - FRESH_PERIOD, "failed")
    place.measuring.begin([f"J{n:02}" for n in range(MAX_AGENCIES + 5)])
    assert first[OUT].name not in place.begun
    assert first[IN].name in place.begun
    agencies = {place.routes[name].agency for name in place.begun}
    assert "J01" not in agencies
    assert len(agencies) == MAX_AGENCIES


async def test_newest_reads_runs_that_ended_in_another_process() -> None:
    routes = agency_routes("JCM", ("a",))
    place = SourceLocation(routes, elsewhere=["JCM"])
    out = next(each for each in routes if each.direction is OUT)
    place.stored[out.name] = arrived(out, T0)
    assert await place.measuring.measure("JCM") == {SENDS: T0}
    assert not place.begun
