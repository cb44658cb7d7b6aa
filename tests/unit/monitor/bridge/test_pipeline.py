"""Result, health, event: told once, and told again when it could not be told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from alerts.model.event import Event, Resolve, Trigger
from alerts.model.incident import Incident
from alerts.model.notification import Cause, IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from alerts.persistence.store import StoreUnavailable
from monitor.bridge.incident_reporter import IncidentPolicies, IncidentReporter
from monitor.bridge.pipeline import ResultPipeline
from monitor.evaluation.evaluator import ATTRIBUTIONS_PER_STEP, HealthEvaluator
from monitor.evaluation.health_tracker import GradedRun
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem, FaultSource
from monitor.metrics import AGENCY_DIRECTIONS, MONITORING_FAULTS, Metrics
from monitor.model.health import Grade, Health, HealthPolicy
from monitor.model.route import Direction, MonitoredRoute
from monitor.probing.arrival import Arrivals
from monitor.store.probing.history import History
from probes.model.reply import Reason
from probes.model.result import Arrival, Outcome, Party, Path, Phase, ProbeResult
from tests.unit.alerts.people import BRIEF
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.trial import (
    LOSES,
    MINUTE,
    REFUSED,
    SECOND,
    T0,
    WRONG_PASSWORD,
    Fault,
    World,
    agency_routes,
    arrived,
    controls,
    failed,
    hosted,
    imap,
    slow,
    unanswered,
)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield cast(list[Any], lines)


class Clock:
    def __init__(self) -> None:
        self.time = T0

    def now(self) -> datetime:
        return self.time


class Alerts:
    """Notes what it is told; refuses while `away`."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.away: set[str] = set()
        #: Nothing at all can be stored.
        self.store_away = False
        self.asked = 0
        self.told_something = asyncio.Event()
        #: Cleared: it neither answers nor refuses.
        self.answers = asyncio.Event()
        self.answers.set()

    async def submit(self, event: Event) -> Incident | None:
        await asyncio.sleep(0)
        assert isinstance(event, Trigger | Resolve)
        self.asked += 1
        await self.answers.wait()
        if self.store_away:
            raise StoreUnavailable("it does not answer in time")
        if event.dedup_key in self.away:
            raise RuntimeError("database is locked")
        self.heard.append(event)
        self.told_something.set()
        return None

    def told(self) -> list[str]:
        return [
            f"{e.dedup_key}: {e.type}" if isinstance(e, Trigger) else f"{e.dedup_key}: over"
            for e in self.heard
            if isinstance(e, Trigger | Resolve)
        ]


class Store:
    """The part of the history that the pipeline writes; refuses while `away`."""

    def __init__(self) -> None:
        self.healths: dict[str, tuple[Health, datetime]] = {}
        self.runs = 0
        self.away = False
        self.standings: list[tuple[str, SiteStatus]] = []
        self.streaks: dict[str, Sequence[GradedRun]] = {}
        self.grades: dict[str, Grade | None] = {}
        self.says_again = False

    async def record_run(
        self,
        result: ProbeResult,
        agency: str,
        judged: Mapping[str, tuple[Health, datetime]],
        *,
        statuses: Mapping[str, SiteStatus],
        streaks: Mapping[str, Sequence[GradedRun]],
        grade: Grade | None,
        **_: object,
    ) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise OSError("disk full")
        self.runs += 1
        self.healths |= judged
        self.standings += statuses.items()
        self.streaks |= streaks
        self.grades[result.route] = grade

    def rewrite_statuses(self) -> None:
        self.says_again = True


class Service:
    """A judge and a pipeline over the store and the alerting side, and a world to probe."""

    def __init__(self, *agencies: str) -> None:
        self.world = World([*(r for a in agencies for r in agency_routes(a)), *controls()])
        self.agencies = agencies
        self.clock, self.alerts, self.store = Clock(), Alerts(), Store()
        self.start()

    def start(self, open_incidents: Mapping[str, IncidentType] | None = None, *, is_read: bool = False) -> None:
        self.evaluator = HealthEvaluator(self.world.routes, HealthPolicy())
        self.evaluator.restore(self.store.healths)
        self.metrics = Metrics(version="0", now=self.clock.now)
        self.metrics.register_references(["a", "b"])
        for agency in self.agencies:
            self.metrics.register_agency(agency, routes=[r.name for r in self.world.routes if r.agency == agency])
        self.reporter = IncidentReporter(
            policies=IncidentPolicies(agencies=dict.fromkeys(self.agencies, BRIEF), monitoring_fault=self._ours),
            alerting=self.alerts,
            open_incidents=open_incidents or {},
            metrics=self.metrics,
            clock=self.clock,
            site="utama",
        )
        self.routes = {r.name: r for r in self.world.routes}
        self.pipeline = ResultPipeline(
            evaluator=self.evaluator,
            routes=self.routes,
            history=cast(History, self.store),
            reporter=self.reporter,
            metrics=self.metrics,
            clock=self.clock,
            site="utama",
            process="satu",
            writes_all=is_read,
        )

    @staticmethod
    def _ours(suspect: FaultSource) -> PolicySnapshot:
        return BRIEF

    async def take(self, run: ProbeResult) -> None:
        """Take a run in, and tell what follows."""
        try:
            await self.pipeline.process(run)
        finally:
            await self.reporter.report()

    async def rounds(self, count: int) -> list[str]:
        """Run every route so many times; return the errors of runs that could not be taken in."""
        errors = []
        for _ in range(count):
            for each in self.world.routes:
                run = self.world.result(each, self.clock.time)
                self.clock.time += run.duration
                try:
                    await self.take(run)
                except OSError as error:
                    errors.append(str(error))
            self.clock.time += MINUTE
        return errors

    def value(self, name: str, **labels: str) -> float | None:
        return Scrape(self.metrics).value(name, **labels)

    def shown(self) -> dict[str, float | None]:
        """Return whether mail of JCM is up, by direction, and what is wrong with us, by cause."""
        up = {each: self.value("mail_up", agency="JCM", direction=each) for each in AGENCY_DIRECTIONS}
        return up | {cause: self.fault(cause) for cause in MONITORING_FAULTS}

    def fault(self, cause: str) -> float:
        """Return whether something of ours is shown to be broken, whatever it is called."""
        shown = Scrape(self.metrics)
        faults = [
            shown.value("monitoring_fault", **each)
            for each in shown.labels("monitoring_fault")
            if each["cause"] == cause
        ]
        return max(value for value in faults if value is not None)


async def test_an_outage_is_told_once_and_its_end_is_told_once() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(6)
    assert [*Scrape(service.metrics).labels("quorum_outage")] == [], "no other site has a say"
    service.world.faults.clear()
    await service.rounds(4)

    assert service.alerts.told() == ["JCM: both", "JCM: over"]
    assert service.value("probe_runs_total", agency="JCM", direction="outbound", verdict="failed")


def port_refused(of: MonitoredRoute, at: datetime, party: Party) -> ProbeResult | None:
    run = REFUSED(of, at, party)
    if run is None or run.failure is None:
        return run
    return replace(run, failure=replace(run.failure, reason=Reason.PORT_REFUSED))


async def test_an_event_says_why_mail_fails_where_most_routes_agree() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = port_refused
    await service.rounds(6)

    [event] = service.alerts.heard
    assert event.policy == replace(BRIEF, cause=Cause.CONNECT)  # type: ignore[union-attr]


async def test_why_mail_fails_is_still_known_after_a_reload() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = port_refused
    await service.rounds(6)
    service.pipeline.apply_routes({"JCM"})
    other = next(route for route in service.world.routes if route.agency == "JKT")
    await service.pipeline.process(service.world.result(other, service.clock.time))

    assert dict(service.store.standings)["JCM"].cause is Cause.CONNECT


async def test_an_event_says_when_it_began_and_when_it_ended() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    broke_at = service.clock.time
    await service.rounds(5)
    service.world.faults.clear()
    works_at = service.clock.time
    await service.rounds(3)

    trigger, resolve = service.alerts.heard
    assert isinstance(trigger, Trigger)
    assert isinstance(resolve, Resolve)
    assert trigger.began_at == broke_at
    assert works_at <= resolve.ended_at < works_at + MINUTE


@pytest.mark.parametrize("how", [slow(), unanswered])
async def test_of_a_run_that_came_late_or_was_not_said_to_be_taken_it_is_shown_where_the_time_went(how: Fault) -> None:
    service = Service("JCM")
    service.metrics.limit_phase_routes(1)
    await service.rounds(1)
    assert [*Scrape(service.metrics).labels("probe_phase_duration_seconds")] == []
    service.world.faults["JCM/utama"] = how
    await service.rounds(1)
    assert [*Scrape(service.metrics).labels("probe_phase_duration_seconds")] != []


async def test_a_fault_of_ours_is_told_to_the_noc_and_shown() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["a"] = LOSES
    await service.rounds(6)
    assert service.alerts.told() == ["ours/reference/a: monitoring_fault"]
    assert service.value("monitoring_fault", cause="reference", reference="a") == 1
    assert service.fault("network") == 0

    service.world.faults.clear()
    await service.rounds(5)
    assert service.alerts.told() == ["ours/reference/a: monitoring_fault", "ours/reference/a: over"]
    assert service.fault("reference") == 0


UNREADABLE = imap(Outcome.CONNECT, Phase.CONNECT)


async def test_that_one_direction_works_again_is_told_and_so_is_that_it_does_not_any_more() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(6)
    service.world.faults["JCM/utama"] = UNREADABLE
    await service.rounds(8)
    assert service.alerts.told() == ["JCM: both"]
    await service.rounds(6)
    assert service.alerts.told() == ["JCM: both", "JCM: receiving"]
    last = service.alerts.heard[-1]
    assert isinstance(last, Trigger)
    assert last.less_since is not None
    assert last.at - last.less_since >= 10 * MINUTE
    service.start({"JCM": IncidentType.RECEIVING})
    await service.rounds(4)
    assert service.alerts.told() == ["JCM: both", "JCM: receiving"]
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(6)
    service.world.faults.clear()
    await service.rounds(8)
    assert service.alerts.told()[2:] == ["JCM: both", "JCM: over"]


async def test_a_direction_that_is_probed_no_more_is_not_told_to_work() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(6)
    # The configuration was changed and the service started: nothing is sent from there any more.
    service.world.routes = [
        r for r in service.world.routes if r.direction not in {Direction.OUTBOUND, Direction.INTERNAL}
    ]
    service.world.faults["JCM/utama"] = UNREADABLE
    service.start({"JCM": IncidentType.BOTH})
    await service.rounds(20)
    assert service.alerts.told() == ["JCM: both"]


async def test_after_a_restart_an_open_incident_is_not_told_again_and_its_end_is() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(6)
    service.start({"JCM": IncidentType.BOTH})
    await service.rounds(3)
    assert service.alerts.told() == ["JCM: both"]

    service.world.faults.clear()
    await service.rounds(3)
    assert service.alerts.told() == ["JCM: both", "JCM: over"]


@pytest.mark.blind
async def test_a_restart_in_an_outage_and_a_fault_of_ours_shows_both_before_the_first_run_has_ended() -> None:
    """Defect: A restart resolves the alert on monitoring faults.

    Pantau: Stored faults are exported from the first scrape until they are proven over.
    """
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults |= {"JCM/utama": REFUSED, "a": LOSES}
    await service.rounds(6)
    told = {"JCM": IncidentType.BOTH, "ours/reference/a": IncidentType.MONITORING_FAULT}
    assert set(service.alerts.told()) == {f"{key}: {matter}" for key, matter in told.items()}
    before = service.shown()
    service.start(told)
    assert service.shown() == before
    assert before["internal"] == 0
    assert before["reference"] == 1

    service.world.faults.clear()
    await service.rounds(5)
    after = service.shown()
    assert (after["internal"], after["reference"]) == (1, 0)


async def test_what_a_crash_kept_from_being_told_is_told_after_the_restart() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    service.alerts.away = {"JCM"}
    await service.rounds(6)
    service.alerts.away = set()
    service.start()
    await service.rounds(1)

    assert service.alerts.told() == ["JCM: both"]


async def test_a_fault_of_what_left_the_configuration_is_over() -> None:
    service = Service("JCM")
    gone = ["ours/credentials/JKT/utama", "ours/reference/gone"]
    told = (*gone, "ours/reference/a", "ours/site/johor", "ours/quorum", "ZZZ")
    service.start(dict.fromkeys(told, IncidentType.MONITORING_FAULT))
    await service.rounds(1)

    assert service.alerts.told() == [f"{key}: over" for key in gone], "of another site this process knows nothing"
    assert "ZZZ" not in dict(service.store.standings), "nor of an agency that has left"


async def test_an_end_that_was_not_proven_is_not_told() -> None:
    service = Service("JCM")
    service.start({"JCM": IncidentType.BOTH})
    await service.rounds(1)

    assert service.alerts.told() == []


async def test_what_could_not_be_told_is_told_after_the_next_run() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    service.alerts.away = {"JCM"}
    await service.rounds(6)
    assert service.alerts.told() == []

    service.alerts.away = set()
    await service.rounds(1)
    service.alerts.away = {"JCM"}
    service.world.faults.clear()
    await service.rounds(4)
    service.alerts.away = set()
    await service.rounds(1)
    assert service.alerts.told() == ["JCM: both", "JCM: over"]


async def test_one_that_cannot_be_told_does_not_keep_the_others_from_being_told() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults = {"JCM/utama": REFUSED, "JKT/utama": REFUSED}
    service.world.routes.sort(key=lambda r: r.agency)
    service.alerts.away = {"JCM"}
    await service.rounds(8)

    assert service.alerts.told() == ["JKT: both"]


async def test_what_cannot_be_told_for_a_bug_is_logged_once_however_often_it_is_tried(logs: list[Any]) -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    service.alerts.away = {"JCM"}
    await service.rounds(9)
    assert service.alerts.asked > 3
    complaints = [line for line in logs if line["event"].startswith("incident event could not be submitted")]
    assert [line["key"] for line in complaints] == ["JCM"]

    service.alerts.away = set()
    await service.rounds(1)
    service.alerts.away = {"JCM"}
    service.world.faults.clear()
    await service.rounds(9)
    complaints = [line for line in logs if line["event"].startswith("incident event could not be submitted")]
    assert [line["key"] for line in complaints] == ["JCM", "JCM"]


async def test_a_bug_while_it_is_told_again_does_not_end_the_service(logs: list[Any]) -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    service.alerts.store_away = True
    await service.rounds(4)

    service.reporter.set_policies(IncidentPolicies(agencies={"JCM": BRIEF}, monitoring_fault=lambda _: 1 / 0))  # type: ignore[arg-type, return-value]
    service.reporter.record_status(
        "utama", "ours/network", SiteStatus(trouble=ActiveProblem(type=IncidentType.MONITORING_FAULT, since=T0))
    )
    service.alerts.store_away = False
    telling = asyncio.create_task(service.reporter.run())
    async with asyncio.timeout(60):
        while not (telling.done() or any("retrying" in line["event"] for line in logs)):  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.05)
    assert not telling.done()
    assert service.alerts.told() == ["JCM: both"]
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def test_while_the_store_is_away_it_goes_on_judging_showing_and_telling() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.store.away = True
    service.world.faults["JCM/utama"] = REFUSED
    errors = await service.rounds(5)

    assert set(errors) == {"disk full"}
    assert service.value("mail_up", agency="JCM", direction="outbound") == 0
    assert service.alerts.told() == ["JCM: both"]


@pytest.mark.parametrize("account", ["a", "JCM/utama"])
async def test_what_is_wrong_with_us_is_shown_though_it_cannot_be_told(account: str) -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults[account], service.alerts.store_away = WRONG_PASSWORD, True
    await service.rounds(6)

    assert service.alerts.told() == []
    assert service.value("monitoring_fault", cause="credentials", reference=account) == 1


@pytest.mark.falsegreen
async def test_pipeline_direction_whose_accounts_are_refused_is_not_shown_as_up() -> None:
    """Defect: The gauge of a direction stays up after its accounts are refused.

    Pantau: It is absent; one that was down stays 0.
    """
    service = Service("JCM")
    service.world = World(hosted(service.world.routes, {"JCM/utama": "jcm.contoh.gov.my"}))
    service.start()
    await service.rounds(3)
    service.world.faults["JCM/utama"] = imap(Outcome.AUTH, Phase.AUTH, credentials=True)
    await service.rounds(8)

    assert service.alerts.told() == ["JCM: sign_in"]
    up = {each: service.value("mail_up", agency="JCM", direction=each) for each in AGENCY_DIRECTIONS}
    assert up == {"outbound": 1, "inbound": None, "internal": None}
    assert service.value("monitoring_fault", cause="credentials", reference="JCM/utama") == 1

    # One that was down before stays down until it is proven otherwise.
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(4)
    service.world.faults["JCM/utama"] = WRONG_PASSWORD
    await service.rounds(8)
    assert service.value("mail_up", agency="JCM", direction="inbound") == 0


async def test_runs_do_not_wait_for_what_is_told_and_what_could_not_be_is_told_by_itself_when_the_store_is_back() -> (
    None
):
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    service.alerts.store_away = True
    service.alerts.answers.clear()

    async def seen(*, up: bool) -> None:
        for route in service.world.routes * 4:
            await service.pipeline.process(service.world.result(route, service.clock.time))
            service.clock.time += SECOND
        assert service.value("mail_up", agency="JCM", direction="internal") == up

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(service.reporter.run())
        # Its store neither answers nor refuses: whoever tells waits, and nobody else.
        await seen(up=False)
        assert (service.alerts.asked, service.alerts.told()) == (1, [])
        # It refuses, and no run comes after it that would ask anew.
        service.alerts.answers.set()
        while service.alerts.asked < 2:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        service.alerts.store_away = False
        await service.alerts.told_something.wait()
        service.alerts.told_something.clear()
        service.world.faults.clear()
        await seen(up=True)
        await service.alerts.told_something.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not service.reporter._wake_event.is_set(), "nothing is owed"
        telling.cancel()
    assert service.alerts.told() == ["JCM: both", "JCM: over"]


async def test_what_was_judged_while_the_store_was_away_is_written_when_it_is_back() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.store.away = True
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(5)
    service.store.away = False
    await service.rounds(1)

    assert service.store.healths == service.evaluator.healths()
    service.start({"JCM": IncidentType.BOTH})
    await service.rounds(1)
    assert service.alerts.told() == ["JCM: both"]


async def test_runs_that_end_together_tell_once() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(5)
    service.world.faults.clear()
    for _ in range(3):
        await asyncio.gather(*(service.pipeline.process(arrived(r, service.clock.time)) for r in service.world.routes))
        await service.reporter.report()
        service.clock.time += MINUTE

    assert service.alerts.told() == ["JCM: both", "JCM: over"]


async def test_how_a_route_ends_is_logged_when_it_ends_otherwise_than_before(logs: list[Any]) -> None:
    service = Service("JCM")
    await service.rounds(1)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(2)
    service.world.faults["JCM/utama"] = port_refused
    await service.rounds(2)
    service.world.faults.clear()
    await service.rounds(2)
    name = agency_routes("JCM")[0].name
    said = [(line["event"], line["reason"]) for line in logs if line.get("route") == name]
    assert [event for event, _ in said] == ["probe failed", "probe failed", "probe arrived"]
    assert [why for _, why in said][1:] == [Reason.PORT_REFUSED, ""]


async def test_what_a_route_that_has_left_said_is_shown_no_more_before_any_run_has_ended() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.evaluator.remove_routes([each for each in service.world.routes if each.direction is Direction.OUTBOUND])
    service.pipeline.apply_routes()
    assert service.value("mail_up", agency="JCM", direction="outbound") is None
    assert service.value("mail_up", agency="JCM", direction="inbound") == 1


async def test_of_a_route_that_has_left_nothing_is_kept() -> None:
    service = Service("JCM")
    await service.rounds(1)
    assert service.pipeline._last_outcomes.keys() == set().union(*service.pipeline._reasons.values())
    service.routes.clear()
    service.pipeline.apply_routes()
    assert (service.pipeline._last_outcomes, [*service.pipeline._reasons.values()]) == ({}, [{}, {}])


async def test_what_is_well_and_was_said_to_be_is_said_anew_where_its_incident_comes_to_this_process() -> None:
    service = Service("JCM")
    service.start(is_read=True)
    await service.rounds(3)
    written = dict(service.store.standings)["JCM"]
    assert written.up_since is not None, "others read it"
    # It was watched under its new name already when its past came to it.
    service.reporter.add_agencies({"JCM"}, {"JCM": IncidentType.BOTH})
    service.metrics.unregister_agency("JCM")
    service.metrics.register_agency("JCM", routes=service.routes)
    service.pipeline.apply_routes({"JCM"})
    assert service.value("mail_up", agency="JCM", direction="outbound") == 1
    await service.pipeline.report_pending()
    await service.reporter.report()
    assert service.alerts.told() == ["JCM: over"]


async def test_a_run_of_a_route_that_has_left_is_ignored() -> None:
    service = Service("JCM")
    await service.pipeline.process(arrived(agency_routes("ZZZ")[0], T0))

    assert service.store.runs == 0
    assert service.evaluator.healths() == {}


async def test_how_far_the_clock_of_a_relay_is_off_is_shown_of_a_message_that_tells_it() -> None:
    service = Service("JCM")
    internal = service.world.routes[0]
    await service.pipeline.process(replace(arrived(internal, T0), path=Path(skew=3 * SECOND)))
    await service.pipeline.process(arrived(internal, T0 + MINUTE))

    assert service.value("relay_clock_skew_seconds", agency="JCM", direction="internal") == 3


@pytest.mark.parametrize("direction", ["internal", "outbound", "inbound"])
async def test_what_is_not_proven_is_not_shown(direction: str) -> None:
    service = Service("JCM")
    assert service.value("mail_up", agency="JCM", direction=direction) is None

    await service.rounds(3)
    assert service.value("mail_up", agency="JCM", direction=direction) == 1


async def test_after_a_restart_it_shows_what_was_known() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.start()

    assert service.value("mail_up", agency="JCM", direction="outbound") == 1
    assert not service.evaluator.take_changed_agencies(), "none is shown once more with the first run"


async def test_mail_that_comes_late_is_timed_and_turns_lost_into_slow() -> None:
    service = Service("JCM")
    await service.rounds(3)
    internal = service.world.routes[0]
    arrivals = Arrivals(
        {},
        routes={internal.name: internal},
        evaluator=service.evaluator,
        history=cast(History, service.store),
        metrics=service.metrics,
        clock=service.clock,
    )
    for n in range(3):
        lost = failed(internal, service.clock.time, Outcome.LOST, Phase.TRANSIT, token=f"{n:016x}")
        arrivals.record_sent(lost.token_id, internal.name, service.clock.time)
        await service.pipeline.process(lost)
        service.clock.time += 5 * MINUTE
    assert service.evaluator.route_health(internal.name) is Health.DOWN

    def come(arrival: Arrival, token_id: str | None) -> None:
        mailbox = internal.route.recipient.name
        arrivals.process_message(arrival, token_id, service.clock.time, mailbox=mailbox, is_first_poll=True)

    for n in range(3):
        come(Arrival.LATE, f"{n:016x}")
    come(Arrival.LATE, "sent long before the start")
    come(Arrival.FORGED, None)

    assert service.evaluator.route_health(internal.name) is Health.DEGRADED
    assert service.value("probe_arrivals_total", arrival="late") == 4
    assert service.value("mail_transit_seconds_bucket", direction="internal", le="600.0") == 3 + 2
    assert service.value("mail_transit_seconds_bucket", direction="internal", le="+Inf") == 3 + 3


async def test_a_failure_that_could_not_be_written_is_written_with_the_next_run_whosever_it_is() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    failing, other = (next(r for r in service.world.routes if r.agency == agency) for agency in service.agencies)
    service.world.faults["JCM/utama"], service.store.away = REFUSED, True
    assert await service.rounds(1) != []
    service.store.away = False
    await service.pipeline.process(service.world.result(other, service.clock.time))
    assert service.store.streaks[failing.name]
    assert (service.store.grades[other.name], [*service.store.grades.values()].count(None)) == (Grade.GOOD, 0)


async def test_what_could_not_be_written_of_an_agency_that_has_left_keeps_nobody_from_writing() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"], service.store.away = REFUSED, True
    assert await service.rounds(4) != []
    service.reporter.remove_agencies({"JCM"})
    service.pipeline.apply_routes()
    service.store.away = False
    assert await service.rounds(1) == []


async def test_an_agency_that_left_while_it_was_down_and_comes_back_is_told_of_again() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(4)
    service.reporter.remove_agencies({"JCM"})
    service.pipeline.apply_routes()
    await service.rounds(1)
    # What is open of it is ended by a person, or by the leaver; meanwhile it fails as it did.
    service.reporter.add_agencies({"JCM"}, {})
    service.pipeline.apply_routes()
    await service.rounds(1)

    assert service.alerts.told() == ["JCM: both", "JCM: both"]


async def test_how_things_stand_is_written_with_the_run_that_made_it_so_and_once() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(3)
    service.store.standings.clear()
    await service.rounds(1)
    assert service.store.standings == []
    service.world.faults.clear()
    await service.rounds(4)

    # While it recovers fewer routes are in trouble, run by run.
    assert {key for key, _ in service.store.standings} == {"JCM"}
    written = [said for _, said in service.store.standings]
    assert written[0].trouble is not None
    assert written[-1].trouble is None
    assert all(before != after for before, after in pairwise(written))


async def test_how_things_stand_is_written_with_the_next_run_where_it_could_not_be() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    service.store.away = True
    await service.rounds(4)
    service.store.away = False
    service.store.standings.clear()
    await service.rounds(1)

    (written,) = [said for key, said in service.store.standings if key == "JCM"]
    assert written.trouble is not None
    assert written.failing_routes == {route.name for route in agency_routes("JCM")}


async def test_what_stands_here_is_heard_before_the_first_run_where_others_wait_for_it() -> None:
    service = Service("JCM")
    heard: list[str] = []
    service.reporter.record_status = lambda site, key, status: heard.append(f"{site}: {key}")  # type: ignore[method-assign]
    await service.pipeline.report_pending()
    await service.pipeline.report_pending()
    assert heard == ["utama: JCM"]
    assert not service.pipeline._changed_keys, "each is looked at once"


async def test_of_an_agency_that_leaves_before_it_was_found_how_it_stands_nothing_is_said() -> None:
    service = Service("JCM", "JKT")
    service.reporter.remove_agencies({"JCM"})
    await service.pipeline.report_pending()
    assert service.pipeline._statuses.keys() == service.reporter._statuses.keys() == {"JKT"}


async def test_while_it_is_found_how_thousands_stand_others_have_their_turn_now_and_then() -> None:
    service = Service(*(f"J{number:03}" for number in range(3 * ATTRIBUTIONS_PER_STEP)))
    speaking, turns = asyncio.create_task(service.pipeline.report_pending()), 0
    while not speaking.done():
        await asyncio.sleep(0)
        turns += 1
    assert 4 <= turns <= 6


async def test_a_write_that_fails_while_an_agency_leaves_keeps_no_later_run_from_being_written() -> None:
    service = Service("JCM", "MDC")
    ended = service.store.record_run

    async def leaves(*values: Any, **ways: Any) -> None:
        service.reporter.remove_agencies({"JCM"})
        service.pipeline.apply_routes()
        service.store.away = True
        await ended(*values, **ways)

    service.store.record_run = leaves  # type: ignore[method-assign]
    route = next(each for each in service.world.routes if each.agency == "MDC")
    with pytest.raises(OSError, match="disk full"):
        await service.pipeline.process(arrived(route, service.clock.time))
    service.store.record_run, service.store.away = ended, False  # type: ignore[method-assign]
    await service.pipeline.process(arrived(route, service.clock.time + MINUTE))
    assert service.store.runs == 1
    assert "MDC" in {key for key, _ in service.store.standings}


async def test_how_things_stand_is_written_with_the_next_run_where_the_one_that_found_it_was_cancelled() -> None:
    service, is_writing = Service("JCM", "MDC"), asyncio.Event()
    ended = service.store.record_run
    route, other = (next(r for r in service.world.routes if r.agency == agency) for agency in ("JCM", "MDC"))

    async def hangs(*_: Any, **__: Any) -> None:
        is_writing.set()
        await asyncio.Event().wait()

    service.store.record_run = hangs  # type: ignore[method-assign]
    taking = asyncio.create_task(service.pipeline.process(arrived(route, service.clock.time)))
    await is_writing.wait()
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    service.store.record_run = ended  # type: ignore[method-assign]
    await service.pipeline.process(arrived(other, service.clock.time))
    assert {"JCM", "MDC"} <= {key for key, _ in service.store.standings}


async def test_what_was_told_by_a_process_that_is_gone_is_ended_by_one_that_sees_it_well() -> None:
    service = Service("JCM")
    await service.rounds(1)
    service.pipeline.take_over_faults(
        {
            "ours/network": IncidentType.MONITORING_FAULT,
            "ours/site/johor": IncidentType.MONITORING_FAULT,
            "ours/quorum": IncidentType.MONITORING_FAULT,
            "JKT": IncidentType.SENDING,
        }
    )
    await service.rounds(1)
    assert service.alerts.told() == ["ours/network: over"]


async def test_whoever_takes_back_what_others_said_leaves_incidents_that_no_site_speaks_of() -> None:
    service = Service("JCM")
    await service.rounds(1)
    service.store.standings.clear()
    service.pipeline.take_over_faults(
        {"alert/0123456789abcdef": IncidentType.ALERT, "unreached/NOC-01": IncidentType.UNREACHED}
    )
    await service.rounds(1)
    assert (service.store.standings, service.reporter.reported_types) == ([], {})


async def test_what_is_our_own_is_written_in_the_name_of_the_process_and_all_again_that_others_may_have_written() -> (
    None
):
    service = Service("JCM")
    await service.rounds(1)
    own = {key for key, _ in service.store.standings} - {"JCM", "ours/credentials/JCM/utama"}
    assert own > {"ours/network@satu", "ours/reference/a@satu", "ours/credentials/b@satu"}
    assert all(key.endswith("@satu") for key in own)
    service.store.standings.clear()
    await service.rounds(1)
    assert service.store.standings == []
    service.pipeline.rewrite_statuses()
    await service.rounds(1)
    assert {key for key, _ in service.store.standings} == {*own, "JCM", "ours/credentials/JCM/utama"}
    assert service.store.says_again, "whatever it is that it has said before"
