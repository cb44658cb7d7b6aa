"""Pipeline from a result through health to an event: sent once, and retried until it is accepted."""

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
from tests.unit.alerts.people import SNAPSHOT
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.world import (
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
    """Alerting side that records events and refuses those of `failing_keys`."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.failing_keys: set[str] = set()
        #: No event can be stored.
        self.store_unavailable = False
        self.attempts = 0
        self.submitted = asyncio.Event()
        #: While cleared, `submit` neither returns nor raises.
        self.answering = asyncio.Event()
        self.answering.set()

    async def submit(self, event: Event) -> Incident | None:
        await asyncio.sleep(0)
        assert isinstance(event, Trigger | Resolve)
        self.attempts += 1
        await self.answering.wait()
        if self.store_unavailable:
            raise StoreUnavailable("it does not answer in time")
        if event.dedup_key in self.failing_keys:
            raise RuntimeError("database is locked")
        self.events.append(event)
        self.submitted.set()
        return None

    def sent(self) -> list[str]:
        return [
            f"{e.dedup_key}: {e.type}" if isinstance(e, Trigger) else f"{e.dedup_key}: over"
            for e in self.events
            if isinstance(e, Trigger | Resolve)
        ]


class Store:
    """Part of the history that the pipeline writes; it refuses while `unavailable`."""

    def __init__(self) -> None:
        self.healths: dict[str, tuple[Health, datetime]] = {}
        self.runs = 0
        self.unavailable = False
        self.statuses: list[tuple[str, SiteStatus]] = []
        self.streaks: dict[str, Sequence[GradedRun]] = {}
        self.grades: dict[str, Grade | None] = {}
        self.are_rewritten = False

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
        if self.unavailable:
            raise OSError("disk full")
        self.runs += 1
        self.healths |= judged
        self.statuses += statuses.items()
        self.streaks |= streaks
        self.grades[result.route] = grade

    def rewrite_statuses(self) -> None:
        self.are_rewritten = True


class Service:
    """Evaluator and pipeline over the store and the alerting side, with a world to probe."""

    def __init__(self, *agencies: str) -> None:
        self.world = World([*(r for a in agencies for r in agency_routes(a)), *controls()])
        self.agencies = agencies
        self.clock, self.alerts, self.store = Clock(), Alerts(), Store()
        self.start()

    def start(self, open_incidents: Mapping[str, IncidentType] | None = None, *, writes_all: bool = False) -> None:
        self.evaluator = HealthEvaluator(self.world.routes, HealthPolicy())
        self.evaluator.restore(self.store.healths)
        self.metrics = Metrics(version="0", now=self.clock.now)
        self.metrics.register_references(["a", "b"])
        for agency in self.agencies:
            self.metrics.register_agency(agency, routes=[r.name for r in self.world.routes if r.agency == agency])
        self.reporter = IncidentReporter(
            policies=IncidentPolicies(agencies=dict.fromkeys(self.agencies, SNAPSHOT), monitoring_fault=self._policy),
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
            writes_all=writes_all,
        )

    @staticmethod
    def _policy(suspect: FaultSource) -> PolicySnapshot:
        return SNAPSHOT

    async def process(self, run: ProbeResult) -> None:
        """Process a run and report what follows."""
        try:
            await self.pipeline.process(run)
        finally:
            await self.reporter.report()

    async def rounds(self, count: int) -> list[str]:
        """Run every route so many times; return the errors of runs that could not be processed."""
        errors = []
        for _ in range(count):
            for each in self.world.routes:
                run = self.world.result(each, self.clock.time)
                self.clock.time += run.duration
                try:
                    await self.process(run)
                except OSError as error:
                    errors.append(str(error))
            self.clock.time += MINUTE
        return errors

    def value(self, name: str, **labels: str) -> float | None:
        return Scrape(self.metrics).value(name, **labels)

    def shown(self) -> dict[str, float | None]:
        """Return whether mail of JCM is up, by direction, and the monitoring faults, by cause."""
        up = {each: self.value("mail_up", agency="JCM", direction=each) for each in AGENCY_DIRECTIONS}
        return up | {cause: self.fault(cause) for cause in MONITORING_FAULTS}

    def fault(self, cause: str) -> float:
        """Return the exported monitoring fault of a cause, whatever its reference."""
        shown = Scrape(self.metrics)
        faults = [
            shown.value("monitoring_fault", **each)
            for each in shown.labels("monitoring_fault")
            if each["cause"] == cause
        ]
        return max(value for value in faults if value is not None)


async def test_pipeline_outage_sends_one_trigger_and_one_resolve() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(6)
    assert [*Scrape(service.metrics).labels("quorum_outage")] == [], "there is no other site"
    service.world.faults.clear()
    await service.rounds(4)

    assert service.alerts.sent() == ["JCM: both", "JCM: over"]
    assert service.value("probe_runs_total", agency="JCM", direction="outbound", verdict="failed")


def port_refused(of: MonitoredRoute, at: datetime, party: Party) -> ProbeResult | None:
    run = REFUSED(of, at, party)
    if run is None or run.failure is None:
        return run
    return replace(run, failure=replace(run.failure, reason=Reason.PORT_REFUSED))


async def test_trigger_names_cause_of_most_routes() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = port_refused
    await service.rounds(6)

    [event] = service.alerts.events
    assert event.policy == replace(SNAPSHOT, cause=Cause.CONNECT)  # type: ignore[union-attr]


async def test_cause_is_kept_after_reload() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = port_refused
    await service.rounds(6)
    service.pipeline.apply_routes({"JCM"})
    other = next(route for route in service.world.routes if route.agency == "JKT")
    await service.pipeline.process(service.world.result(other, service.clock.time))

    assert dict(service.store.statuses)["JCM"].cause is Cause.CONNECT


async def test_events_give_start_and_end_of_outage() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    broke_at = service.clock.time
    await service.rounds(5)
    service.world.faults.clear()
    works_at = service.clock.time
    await service.rounds(3)

    trigger, resolve = service.alerts.events
    assert isinstance(trigger, Trigger)
    assert isinstance(resolve, Resolve)
    assert trigger.began_at == broke_at
    assert works_at <= resolve.ended_at < works_at + MINUTE


@pytest.mark.parametrize("how", [slow(), unanswered])
async def test_phase_durations_are_shown_for_slow_or_unacknowledged_run(how: Fault) -> None:
    service = Service("JCM")
    service.metrics.limit_phase_routes(1)
    await service.rounds(1)
    assert [*Scrape(service.metrics).labels("probe_phase_duration_seconds")] == []
    service.world.faults["JCM/utama"] = how
    await service.rounds(1)
    assert [*Scrape(service.metrics).labels("probe_phase_duration_seconds")] != []


async def test_monitoring_fault_is_sent_to_noc_and_exported() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["a"] = LOSES
    await service.rounds(6)
    assert service.alerts.sent() == ["ours/reference/a: monitoring_fault"]
    assert service.value("monitoring_fault", cause="reference", reference="a") == 1
    assert service.fault("network") == 0

    service.world.faults.clear()
    await service.rounds(5)
    assert service.alerts.sent() == ["ours/reference/a: monitoring_fault", "ours/reference/a: over"]
    assert service.fault("reference") == 0


UNREADABLE = imap(Outcome.CONNECT, Phase.CONNECT)


async def test_partial_recovery_and_relapse_are_sent() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(6)
    service.world.faults["JCM/utama"] = UNREADABLE
    await service.rounds(8)
    assert service.alerts.sent() == ["JCM: both"]
    await service.rounds(6)
    assert service.alerts.sent() == ["JCM: both", "JCM: receiving"]
    last = service.alerts.events[-1]
    assert isinstance(last, Trigger)
    assert last.less_severe_since is not None
    assert last.at - last.less_severe_since >= 10 * MINUTE
    service.start({"JCM": IncidentType.RECEIVING})
    await service.rounds(4)
    assert service.alerts.sent() == ["JCM: both", "JCM: receiving"]
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(6)
    service.world.faults.clear()
    await service.rounds(8)
    assert service.alerts.sent()[2:] == ["JCM: both", "JCM: over"]


async def test_direction_no_longer_probed_is_not_reported_as_recovered() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(6)
    # The service restarts with a configuration that probes no outgoing mail.
    service.world.routes = [
        r for r in service.world.routes if r.direction not in {Direction.OUTBOUND, Direction.INTERNAL}
    ]
    service.world.faults["JCM/utama"] = UNREADABLE
    service.start({"JCM": IncidentType.BOTH})
    await service.rounds(20)
    assert service.alerts.sent() == ["JCM: both"]


async def test_restart_open_incident_sends_resolve_only() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(6)
    service.start({"JCM": IncidentType.BOTH})
    await service.rounds(3)
    assert service.alerts.sent() == ["JCM: both"]

    service.world.faults.clear()
    await service.rounds(3)
    assert service.alerts.sent() == ["JCM: both", "JCM: over"]


@pytest.mark.blind
async def test_restart_during_outage_and_fault_exports_both_before_first_run() -> None:
    """Defect: A restart resolves the alert on monitoring faults.

    Pantau: Stored faults are exported from the first scrape until they are proven over.
    """
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults |= {"JCM/utama": REFUSED, "a": LOSES}
    await service.rounds(6)
    told = {"JCM": IncidentType.BOTH, "ours/reference/a": IncidentType.MONITORING_FAULT}
    assert set(service.alerts.sent()) == {f"{key}: {matter}" for key, matter in told.items()}
    before = service.shown()
    service.start(told)
    assert service.shown() == before
    assert before["internal"] == 0
    assert before["reference"] == 1

    service.world.faults.clear()
    await service.rounds(5)
    after = service.shown()
    assert (after["internal"], after["reference"]) == (1, 0)


async def test_event_unsent_at_crash_is_sent_after_restart() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    service.alerts.failing_keys = {"JCM"}
    await service.rounds(6)
    service.alerts.failing_keys = set()
    service.start()
    await service.rounds(1)

    assert service.alerts.sent() == ["JCM: both"]


async def test_fault_of_removed_source_is_resolved() -> None:
    service = Service("JCM")
    gone = ["ours/credentials/JKT/utama", "ours/reference/gone"]
    told = (*gone, "ours/reference/a", "ours/site/johor", "ours/quorum", "ZZZ")
    service.start(dict.fromkeys(told, IncidentType.MONITORING_FAULT))
    await service.rounds(1)

    assert service.alerts.sent() == [f"{key}: over" for key in gone], (
        "this process does not know the sources of another site"
    )
    assert "ZZZ" not in dict(service.store.statuses), "nor a removed agency"


async def test_recovery_unproven_is_not_sent() -> None:
    service = Service("JCM")
    service.start({"JCM": IncidentType.BOTH})
    await service.rounds(1)

    assert service.alerts.sent() == []


async def test_event_failed_is_sent_after_next_run() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    service.alerts.failing_keys = {"JCM"}
    await service.rounds(6)
    assert service.alerts.sent() == []

    service.alerts.failing_keys = set()
    await service.rounds(1)
    service.alerts.failing_keys = {"JCM"}
    service.world.faults.clear()
    await service.rounds(4)
    service.alerts.failing_keys = set()
    await service.rounds(1)
    assert service.alerts.sent() == ["JCM: both", "JCM: over"]


async def test_event_failed_does_not_block_other_agencies() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults = {"JCM/utama": REFUSED, "JKT/utama": REFUSED}
    service.world.routes.sort(key=lambda r: r.agency)
    service.alerts.failing_keys = {"JCM"}
    await service.rounds(8)

    assert service.alerts.sent() == ["JKT: both"]


async def test_event_failing_repeatedly_is_logged_once(logs: list[Any]) -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    service.alerts.failing_keys = {"JCM"}
    await service.rounds(9)
    assert service.alerts.attempts > 3
    complaints = [line for line in logs if line["event"].startswith("incident event could not be submitted")]
    assert [line["key"] for line in complaints] == ["JCM"]

    service.alerts.failing_keys = set()
    await service.rounds(1)
    service.alerts.failing_keys = {"JCM"}
    service.world.faults.clear()
    await service.rounds(9)
    complaints = [line for line in logs if line["event"].startswith("incident event could not be submitted")]
    assert [line["key"] for line in complaints] == ["JCM", "JCM"]


async def test_reporter_error_during_retry_does_not_stop_service(logs: list[Any]) -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    service.alerts.store_unavailable = True
    await service.rounds(4)

    service.reporter.set_policies(IncidentPolicies(agencies={"JCM": SNAPSHOT}, monitoring_fault=lambda _: 1 / 0))  # type: ignore[arg-type, return-value]
    service.reporter.record_status(
        "utama", "ours/network", SiteStatus(trouble=ActiveProblem(type=IncidentType.MONITORING_FAULT, since=T0))
    )
    service.alerts.store_unavailable = False
    telling = asyncio.create_task(service.reporter.run())
    async with asyncio.timeout(60):
        while not (telling.done() or any("retrying" in line["event"] for line in logs)):  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.05)
    assert not telling.done()
    assert service.alerts.sent() == ["JCM: both"]
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def test_store_unavailable_evaluation_metrics_and_events_continue() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.store.unavailable = True
    service.world.faults["JCM/utama"] = REFUSED
    errors = await service.rounds(5)

    assert set(errors) == {"disk full"}
    assert service.value("mail_up", agency="JCM", direction="outbound") == 0
    assert service.alerts.sent() == ["JCM: both"]


@pytest.mark.parametrize("account", ["a", "JCM/utama"])
async def test_monitoring_fault_unsent_is_exported(account: str) -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults[account], service.alerts.store_unavailable = WRONG_PASSWORD, True
    await service.rounds(6)

    assert service.alerts.sent() == []
    assert service.value("monitoring_fault", cause="credentials", reference=account) == 1


@pytest.mark.falsegreen
async def test_pipeline_direction_with_refused_accounts_is_not_shown_as_up() -> None:
    """Defect: The gauge of a direction stays up after its accounts are refused.

    Pantau: It is absent; one that was down stays 0.
    """
    service = Service("JCM")
    service.world = World(hosted(service.world.routes, {"JCM/utama": "jcm.contoh.gov.my"}))
    service.start()
    await service.rounds(3)
    service.world.faults["JCM/utama"] = imap(Outcome.AUTH, Phase.AUTH, credentials=True)
    await service.rounds(8)

    assert service.alerts.sent() == ["JCM: sign_in"]
    up = {each: service.value("mail_up", agency="JCM", direction=each) for each in AGENCY_DIRECTIONS}
    assert up == {"outbound": 1, "inbound": None, "internal": None}
    assert service.value("monitoring_fault", cause="credentials", reference="JCM/utama") == 1

    # A direction that was down stays down until it is proven otherwise.
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(4)
    service.world.faults["JCM/utama"] = WRONG_PASSWORD
    await service.rounds(8)
    assert service.value("mail_up", agency="JCM", direction="inbound") == 0


async def test_runs_do_not_wait_for_reporter_which_retries_by_itself() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    service.alerts.store_unavailable = True
    service.alerts.answering.clear()

    async def seen(*, up: bool) -> None:
        for route in service.world.routes * 4:
            await service.pipeline.process(service.world.result(route, service.clock.time))
            service.clock.time += SECOND
        assert service.value("mail_up", agency="JCM", direction="internal") == up

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(service.reporter.run())
        # The database neither answers nor refuses: only the reporter waits.
        await seen(up=False)
        assert (service.alerts.attempts, service.alerts.sent()) == (1, [])
        # The database refuses, and no later run triggers a retry.
        service.alerts.answering.set()
        while service.alerts.attempts < 2:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        service.alerts.store_unavailable = False
        await service.alerts.submitted.wait()
        service.alerts.submitted.clear()
        service.world.faults.clear()
        await seen(up=True)
        await service.alerts.submitted.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not service.reporter._wake_event.is_set(), "nothing is pending"
        telling.cancel()
    assert service.alerts.sent() == ["JCM: both", "JCM: over"]


async def test_health_evaluated_while_store_unavailable_is_written_later() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.store.unavailable = True
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(5)
    service.store.unavailable = False
    await service.rounds(1)

    assert service.store.healths == service.evaluator.healths()
    service.start({"JCM": IncidentType.BOTH})
    await service.rounds(1)
    assert service.alerts.sent() == ["JCM: both"]


async def test_concurrent_runs_send_one_event() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(5)
    service.world.faults.clear()
    for _ in range(3):
        await asyncio.gather(*(service.pipeline.process(arrived(r, service.clock.time)) for r in service.world.routes))
        await service.reporter.report()
        service.clock.time += MINUTE

    assert service.alerts.sent() == ["JCM: both", "JCM: over"]


async def test_route_outcome_is_logged_when_it_changes(logs: list[Any]) -> None:
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


async def test_removed_route_is_no_longer_exported_before_next_run() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.evaluator.remove_routes([each for each in service.world.routes if each.direction is Direction.OUTBOUND])
    service.pipeline.apply_routes()
    assert service.value("mail_up", agency="JCM", direction="outbound") is None
    assert service.value("mail_up", agency="JCM", direction="inbound") == 1


async def test_removed_route_leaves_nothing() -> None:
    service = Service("JCM")
    await service.rounds(1)
    assert service.pipeline._last_outcomes.keys() == set().union(*service.pipeline._reasons.values())
    service.routes.clear()
    service.pipeline.apply_routes()
    assert (service.pipeline._last_outcomes, [*service.pipeline._reasons.values()]) == ({}, [{}, {}])


async def test_taken_over_incident_of_healthy_agency_is_resolved() -> None:
    service = Service("JCM")
    service.start(writes_all=True)
    await service.rounds(3)
    written = dict(service.store.statuses)["JCM"]
    assert written.up_since is not None, "other processes read it"
    # The process already monitored it under its new name when its history was renamed.
    service.reporter.add_agencies({"JCM"}, {"JCM": IncidentType.BOTH})
    service.metrics.unregister_agency("JCM")
    service.metrics.register_agency("JCM", routes=service.routes)
    service.pipeline.apply_routes({"JCM"})
    assert service.value("mail_up", agency="JCM", direction="outbound") == 1
    await service.pipeline.report_pending()
    await service.reporter.report()
    assert service.alerts.sent() == ["JCM: over"]


async def test_run_of_removed_route_is_ignored() -> None:
    service = Service("JCM")
    await service.pipeline.process(arrived(agency_routes("ZZZ")[0], T0))

    assert service.store.runs == 0
    assert service.evaluator.healths() == {}


async def test_relay_clock_skew_is_exported() -> None:
    service = Service("JCM")
    internal = service.world.routes[0]
    await service.pipeline.process(replace(arrived(internal, T0), path=Path(skew=3 * SECOND)))
    await service.pipeline.process(arrived(internal, T0 + MINUTE))

    assert service.value("relay_clock_skew_seconds", agency="JCM", direction="internal") == 3


@pytest.mark.parametrize("direction", ["internal", "outbound", "inbound"])
async def test_mail_up_unknown_is_not_exported(direction: str) -> None:
    service = Service("JCM")
    assert service.value("mail_up", agency="JCM", direction=direction) is None

    await service.rounds(3)
    assert service.value("mail_up", agency="JCM", direction=direction) == 1


async def test_restart_exports_stored_health() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.start()

    assert service.value("mail_up", agency="JCM", direction="outbound") == 1
    assert not service.evaluator.take_changed_agencies(), "no agency is exported again with the first run"


async def test_late_arrival_is_timed_and_changes_lost_to_slow() -> None:
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


async def test_failure_unwritten_is_written_with_next_run_of_any_agency() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    failing, other = (next(r for r in service.world.routes if r.agency == agency) for agency in service.agencies)
    service.world.faults["JCM/utama"], service.store.unavailable = REFUSED, True
    assert await service.rounds(1) != []
    service.store.unavailable = False
    await service.pipeline.process(service.world.result(other, service.clock.time))
    assert service.store.streaks[failing.name]
    assert (service.store.grades[other.name], [*service.store.grades.values()].count(None)) == (Grade.GOOD, 0)


async def test_failure_unwritten_of_removed_agency_does_not_block_writes() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"], service.store.unavailable = REFUSED, True
    assert await service.rounds(4) != []
    service.reporter.remove_agencies({"JCM"})
    service.pipeline.apply_routes()
    service.store.unavailable = False
    assert await service.rounds(1) == []


async def test_agency_removed_while_down_and_added_again_is_reported_again() -> None:
    service = Service("JCM", "JKT")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(4)
    service.reporter.remove_agencies({"JCM"})
    service.pipeline.apply_routes()
    await service.rounds(1)
    # Its open incident is closed by a person or by the orphaned incident closer; its mail still fails.
    service.reporter.add_agencies({"JCM"}, {})
    service.pipeline.apply_routes()
    await service.rounds(1)

    assert service.alerts.sent() == ["JCM: both", "JCM: both"]


async def test_status_is_written_once_with_run_that_changed_it() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    await service.rounds(3)
    service.store.statuses.clear()
    await service.rounds(1)
    assert service.store.statuses == []
    service.world.faults.clear()
    await service.rounds(4)

    # During recovery the number of failing routes decreases run by run.
    assert {key for key, _ in service.store.statuses} == {"JCM"}
    written = [said for _, said in service.store.statuses]
    assert written[0].trouble is not None
    assert written[-1].trouble is None
    assert all(before != after for before, after in pairwise(written))


async def test_status_unwritten_is_written_with_next_run() -> None:
    service = Service("JCM")
    await service.rounds(3)
    service.world.faults["JCM/utama"] = REFUSED
    service.store.unavailable = True
    await service.rounds(4)
    service.store.unavailable = False
    service.store.statuses.clear()
    await service.rounds(1)

    (written,) = [said for key, said in service.store.statuses if key == "JCM"]
    assert written.trouble is not None
    assert written.failing_routes == {route.name for route in agency_routes("JCM")}


async def test_report_pending_before_first_run_records_each_status_once() -> None:
    service = Service("JCM")
    heard: list[str] = []
    service.reporter.record_status = lambda site, key, status: heard.append(f"{site}: {key}")  # type: ignore[method-assign]
    await service.pipeline.report_pending()
    await service.pipeline.report_pending()
    assert heard == ["utama: JCM"]
    assert not service.pipeline._changed_keys, "each status is recorded once"


async def test_report_pending_removed_agency_records_nothing() -> None:
    service = Service("JCM", "JKT")
    service.reporter.remove_agencies({"JCM"})
    await service.pipeline.report_pending()
    assert service.pipeline._statuses.keys() == service.reporter._statuses.keys() == {"JKT"}


async def test_report_pending_thousands_of_agencies_yields() -> None:
    service = Service(*(f"J{number:03}" for number in range(3 * ATTRIBUTIONS_PER_STEP)))
    speaking, turns = asyncio.create_task(service.pipeline.report_pending()), 0
    while not speaking.done():
        await asyncio.sleep(0)
        turns += 1
    assert 4 <= turns <= 6


async def test_failed_write_while_agency_is_removed_does_not_block_later_runs() -> None:
    service = Service("JCM", "MDC")
    ended = service.store.record_run

    async def leaves(*values: Any, **ways: Any) -> None:
        service.reporter.remove_agencies({"JCM"})
        service.pipeline.apply_routes()
        service.store.unavailable = True
        await ended(*values, **ways)

    service.store.record_run = leaves  # type: ignore[method-assign]
    route = next(each for each in service.world.routes if each.agency == "MDC")
    with pytest.raises(OSError, match="disk full"):
        await service.pipeline.process(arrived(route, service.clock.time))
    service.store.record_run, service.store.unavailable = ended, False  # type: ignore[method-assign]
    await service.pipeline.process(arrived(route, service.clock.time + MINUTE))
    assert service.store.runs == 1
    assert "MDC" in {key for key, _ in service.store.statuses}


async def test_status_of_cancelled_run_is_written_with_next_run() -> None:
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
    assert {"JCM", "MDC"} <= {key for key, _ in service.store.statuses}


async def test_take_over_faults_healthy_sources_are_resolved() -> None:
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
    assert service.alerts.sent() == ["ours/network: over"]


async def test_take_over_faults_keeps_incidents_without_site_status() -> None:
    service = Service("JCM")
    await service.rounds(1)
    service.store.statuses.clear()
    service.pipeline.take_over_faults(
        {"alert/0123456789abcdef": IncidentType.ALERT, "unreached/NOC-01": IncidentType.UNREACHED}
    )
    await service.rounds(1)
    assert (service.store.statuses, service.reporter.reported_types) == ([], {})


async def test_own_faults_are_written_with_process_name_and_rewritten() -> None:
    service = Service("JCM")
    await service.rounds(1)
    own = {key for key, _ in service.store.statuses} - {"JCM", "ours/credentials/JCM/utama"}
    assert own > {"ours/network@satu", "ours/reference/a@satu", "ours/credentials/b@satu"}
    assert all(key.endswith("@satu") for key in own)
    service.store.statuses.clear()
    await service.rounds(1)
    assert service.store.statuses == []
    service.pipeline.rewrite_statuses()
    await service.rounds(1)
    assert {key for key, _ in service.store.statuses} == {*own, "JCM", "ours/credentials/JCM/utama"}
    assert service.store.are_rewritten, "including statuses written before"
