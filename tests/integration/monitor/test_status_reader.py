"""Status reader: status comes from memory, and from the store only after changes there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import event

from alerts.engine.event_handler import handle_event
from alerts.engine.gateway_pool import GatewayPool
from alerts.model.event import Close, Declare, Trigger
from alerts.model.incident import IncidentState
from alerts.model.notification import IncidentType
from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry, StoreUnavailable
from monitor.config.model.registry import Agency, Registry
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.evaluation.joint.quorum import Quorum, joint_status
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.model.day import DayTimeline, MinuteState, day_of
from monitor.model.health import Health, HealthPolicy
from monitor.model.route import Direction
from monitor.service.errors import NotFoundError
from monitor.service.probing_runtime import ProbingRuntime
from monitor.service.status_reader import StatusReader
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.days import DayRecords
from monitor.store.probing.history import History
from monitor.store.probing.site_runs import SiteRecords, SiteRunWriter
from monitor.views.days import outage_minutes
from monitor.views.self_health import Component, SelfHealthInputs
from probes.model.result import Outcome, Phase
from tests.unit.alerts.people import SNAPSHOT
from tests.unit.monitor.world import MINUTE, T0, agency_routes, arrived, controls, failed

CODES = ("JCM", "MDC")


@dataclass
class Service:
    """The parts of the service that the status reader uses."""

    database: Database
    time: datetime = T0
    inputs: SelfHealthInputs = field(default_factory=SelfHealthInputs)

    def __post_init__(self) -> None:
        routes = {r.name: r for r in (*agency_routes("JCM"), *agency_routes("MDC"), *controls())}
        self.evaluator = HealthEvaluator(routes.values(), HealthPolicy())
        #: Agencies of other processes, and the evaluator of their stored health.
        self.owned_elsewhere: set[str] = set()
        self.probed_by: dict[str, str] = {}
        self.peer_evaluator = HealthEvaluator([r for r in routes.values() if r.agency == "MDC"], HealthPolicy())
        self.history, self.store = History(self.database), SqlStore(self.database)
        self.days = DayRecords(self.database)
        agencies = {code: SimpleNamespace(name=f"Jabatan {code}", domains=["contoh.gov.my"]) for code in CODES}
        runtime = self.runtime = SimpleNamespace(
            configuration=SimpleNamespace(
                settings=SimpleNamespace(references={"a": None, "b": None}, site="noc"),
                registry=Registry(agencies=cast(Mapping[str, Agency], agencies), routes=tuple(routes.values())),
            ),
            routes=routes,
            evaluator=self.evaluator,
            evaluator_of=lambda agency: self.peer_evaluator if agency in self.owned_elsewhere else self.evaluator,
            owned={*CODES},
            probed_by=lambda agency: self.probed_by.get(agency, ""),
            peer_evaluator=self.peer_evaluator,
            check_runner=SimpleNamespace(latest=lambda _: {}),
            reporter=SimpleNamespace(
                manually_closed={}, site_statuses=lambda _: self.reported_statuses, joint_status=self.joint_status
            ),
        )
        self.reported_statuses: Mapping[str, SiteStatus | None] = {}
        self.status_reader = StatusReader(
            store=self.store,
            history=self.history,
            days=self.days,
            gateway_pool=GatewayPool(()),
            clock=cast(Clock, SimpleNamespace(now=lambda: self.time)),
            runtime=lambda: cast(ProbingRuntime, runtime),
            self_health_inputs=lambda: self.inputs,
            site_records=SiteRecords(self.database, "noc", ["johor", "kuching"]),
        )

    def joint_status(self, _agency: str) -> SiteStatus | None:
        said = [each for each in self.reported_statuses.values() if each is not None]
        return joint_status(said, Quorum(minimum=2)) if len(said) > 1 else None

    async def run(self, code: str) -> None:
        result = arrived(agency_routes(code)[0], self.time)
        self.evaluator.record_run(result, self.time)
        await self.history.record_run(result, code, {})

    async def open(self, code: str) -> None:
        trigger = Trigger(dedup_key=code, at=T0, type=IncidentType.BOTH, began_at=T0, policy=SNAPSHOT)
        async with self.store.transaction() as uow:
            [incident] = await uow.add_incidents([trigger])
            await uow.add_audit_entry(
                AuditEntry(at=T0, actor="pantau", event="incident opened", incident_id=incident.id)
            )


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with Database.open(tmp_path) as database:
        yield Service(database)


@pytest.fixture
def statements(service: Service) -> list[str]:
    """Return the list of SQL statements from now on."""
    statements: list[str] = []
    engine = service.database._engine.sync_engine

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    return statements


async def test_site_evidence_shows_report_and_last_failures_of_each_site_own_first(service: Service) -> None:
    route, other = agency_routes("JCM")[:2]
    for each, at in ((route, T0 - MINUTE), (route, T0), (other, T0 - 16 * MINUTE), (other, T0 + MINUTE)):
        await service.history.record_run(failed(each, at, Outcome.REJECTED, Phase.SUBMIT), "JCM", {})
    await SiteRunWriter(service.database, "johor").publish_failed(0, 9, T0)
    await service.open("JCM")
    async with service.store.reading() as uow:
        opened = await uow.incident_by_number("JCM-01")
    assert opened is not None
    down = SiteStatus(trouble=ActiveProblem(type=IncidentType.BOTH, since=T0))
    service.reported_statuses = {"noc": down, "johor": None}
    service.time = T0 + MINUTE
    own, johor, kuching = await service.status_reader.site_evidence(opened)

    assert [each.site for each in (own, johor, kuching)] == ["noc", "johor", "kuching"]
    assert [each.report and each.report.says for each in (own, johor, kuching)] == ["wrong", "stale", None]
    seen = [(other.name, T0 + MINUTE), (route.name, T0)]
    assert [(each.route, each.started_at) for each in own.last_failures] == seen
    assert [(each.route, each.started_at) for each in johor.last_failures] == seen
    assert (kuching.last_failures, kuching.unclear) == ([], 0)

    # Every route has worked since then.
    for each in (route, other):
        await service.history.record_run(arrived(each, T0 + 30 * MINUTE), "JCM", {})
    service.time = T0 + 40 * MINUTE
    over = replace(opened, state=IncidentState.RESOLVED, resolved_at=T0 + 2 * MINUTE)
    own, *_ = await service.status_reader.site_evidence(over)
    assert [(each.route, each.started_at) for each in own.last_failures] == seen

    over = replace(opened, state=IncidentState.RESOLVED, resolved_at=T0 - 15 * MINUTE)
    own, johor, _ = await service.status_reader.site_evidence(over)
    assert (own.report, [each.started_at for each in johor.last_failures]) == (None, [T0])
    assert [each.site for each in await service.status_reader.site_sums("jcm", 30)] == ["noc", "johor", "kuching"]


async def test_agency_of_other_process_is_read_from_store(service: Service) -> None:
    service.owned_elsewhere, service.runtime.owned = {"MDC"}, {"JCM"}
    route = agency_routes("MDC")[0]
    await service.run("JCM")
    assert [each.agency for each in await service.status_reader.agencies()] == [*CODES]

    # A run that this process has not seen.
    another = History(service.database)
    await another.record_run(arrived(route, T0 + MINUTE), "MDC", {})
    service.peer_evaluator.restore({route.name: (Health.DOWN, T0)})
    view = await service.status_reader.agency("MDC")

    assert view.health[route.direction] is Health.DOWN
    assert view.since == T0
    assert view.routes[0].last_run_at == arrived(route, T0 + MINUTE).started_at + arrived(route, T0 + MINUTE).duration
    assert (await service.status_reader.agencies())[1].health == view.health

    await another.record_run(arrived(route, T0 + 2 * MINUTE), "MDC", {})
    service.time += timedelta(seconds=15)
    last_run_at = (await service.status_reader.agencies())[1].routes[0].last_run_at
    assert last_run_at == arrived(route, T0 + 2 * MINUTE).started_at + arrived(route, T0 + 2 * MINUTE).duration


@pytest.mark.blind
async def test_overview_reads_one_row_unless_audit_log_has_grown(service: Service, statements: list[str]) -> None:
    """Defect: Each look reads the last runs of all routes, 200 incidents and 200 notifications.

    Pantau: It reads one line of the audit log, unless that has grown.
    """
    await service.run("JCM")
    first = await service.status_reader.overview()
    assert (first.incidents, first.recorded_at) == ([], None)
    statements.clear()
    second = await service.status_reader.overview()
    assert len(statements) == 1
    assert "audit_head" in statements[0]
    assert second.incidents is first.incidents

    await service.open("JCM")
    third = await service.status_reader.overview()
    assert [(i.agency, i.type) for i in third.incidents] == [(SNAPSHOT.agency, IncidentType.BOTH)]
    assert [agency.incident for agency in third.agencies] == [third.incidents[0].number, None]
    assert ([i.id for i in third.open], third.open_count) == ([third.incidents[0].id], 1)
    assert [agency.since for agency in third.agencies] == [T0, None], "as in the notifications"
    statements.clear()
    # Changes without an audit entry are read after 15 seconds.
    service.time += timedelta(seconds=15)
    await service.status_reader.overview()
    assert len(statements) > 3


@pytest.mark.blind
async def test_overview_shows_declared_outage_until_it_is_closed(service: Service) -> None:
    """Defect: The display of a declared outage ends with the page's cache.

    Pantau: It is read from the store with the open incidents.
    """
    await service.run("JCM")
    declare = Declare(
        dedup_key="JCM",
        at=T0,
        by="Aminah Contoh",
        type=IncidentType.RECEIVING,
        began_at=T0,
        reason="mel web",
        policy=SNAPSHOT,
    )
    close = Close(incident_id=1, at=T0 + MINUTE, by="Aminah Contoh", reason="pulih")
    measured = Trigger(dedup_key="JCM", at=T0, type=IncidentType.SENDING, began_at=T0, policy=SNAPSHOT)
    shown = []
    for event_ in (declare, measured, close):
        async with service.store.transaction() as uow:
            await handle_event(uow, event_)
        overview = await service.status_reader.overview()
        agency = overview.agencies[0]
        shown.append((agency.incident, agency.declared, agency.declared_by))
        assert overview.incidents[0].declared_by == "Aminah Contoh"
    standing = ("JCM-01", IncidentType.RECEIVING, "Aminah Contoh")
    assert shown == [standing, standing, ("JCM-01", None, "")]


@pytest.mark.blind
async def test_overview_unchanged_agency_is_same_object(service: Service) -> None:
    """Defect: Every agency's view is built anew.

    Pantau: An unchanged agency keeps its object, for programs too.
    """
    for code in CODES:
        await service.run(code)
    before = await service.status_reader.overview()
    service.time += MINUTE
    await service.run("MDC")
    after = await service.status_reader.overview()

    assert after.agencies[0] is before.agencies[0]
    assert after.agencies[1] is not before.agencies[1]
    assert after.agencies[1].routes[0].last_run_at == before.agencies[1].routes[0].last_run_at + MINUTE  # type: ignore[operator]


@pytest.mark.blind
async def test_overview_store_unavailable_uses_memory_and_last_answer(service: Service, statements: list[str]) -> None:
    """Defect: A page waits for a store that hangs.

    Pantau: The store is not asked while it is unavailable; its last answer is shown with the time.
    """
    await service.run("JCM")
    await service.open("JCM")
    then = await service.status_reader.overview()
    service.inputs = SelfHealthInputs(store_outage=(T0, "database is locked"))
    service.time += MINUTE
    await service.run("JCM")
    statements.clear()
    shown = await service.status_reader.overview()

    assert statements == [], "no page waits for a store that hangs"
    assert shown.recorded_at == T0
    assert shown.incidents == then.incidents
    assert shown.agencies[0].routes[0].last_run_at != then.agencies[0].routes[0].last_run_at
    store = next(each for each in shown.own if each.component is Component.STORE)
    assert (store.health, [each.reason for each in store.problems]) == (Health.DOWN, ["database is locked"])


async def test_overview_before_first_store_read_shows_agencies_unknown(service: Service) -> None:
    service.inputs = SelfHealthInputs(store_outage=(T0, "it does not answer in time"))
    shown = await service.status_reader.overview()
    assert [agency.agency for agency in shown.agencies] == list(CODES)
    assert set(shown.agencies[0].health.values()) == {Health.UNKNOWN}
    assert Direction.INTERNAL in shown.agencies[0].health
    assert not shown.was_read, "the list of incidents is unknown, not empty"
    assert (await service.status_reader.overview()).was_read is False
    service.inputs = SelfHealthInputs()
    assert (await service.status_reader.overview()).was_read


async def test_agency_and_references_match_lists(service: Service) -> None:
    await service.run("JCM")
    await service.open("JCM")
    for control in controls():
        result = arrived(control, service.time)
        service.evaluator.record_run(result, service.time)
        await service.history.record_run(result, "", {})

    [first, _] = await service.status_reader.agencies()
    assert await service.status_reader.agency("jcm") is first
    assert first.incident == "JCM-01"
    with pytest.raises(NotFoundError, match="did you mean JCM"):
        await service.status_reader.agency("JCN")
    # Each reference is an end of both control routes; one arrival is not enough for a health.
    found = [
        (each.name, each.health, [route.outcome for route in each.controls])
        for each in service.status_reader.references()
    ]
    arrival = Outcome.DELIVERED
    assert found == [("a", Health.UNKNOWN, [arrival, arrival]), ("b", Health.UNKNOWN, [arrival, arrival])]


async def test_days_come_from_store_up_to_now(service: Service) -> None:
    today = day_of(T0)
    await service.days.add(
        {("JCM", today): DayTimeline("w500b40"), ("JCM", today - timedelta(days=1)): DayTimeline("w1440")}
    )
    # It is 09:00 in Malaysia.
    shown = await service.status_reader.days("jcm", 2)
    assert [
        (each.day, each.minutes[MinuteState.UP], outage_minutes(each.minutes), each.availability) for each in shown.days
    ] == [
        (today - timedelta(days=1), 1440, 0, 1.0),
        (today, 500, 40, pytest.approx(0.925925)),
    ]
    assert [(each.days, each.availability) for each in shown.availability] == [(30, 0.979797), (90, 0.979797)]
    with pytest.raises(NotFoundError):
        await service.status_reader.days("XYZ", 2)


async def test_histories_read_once_a_minute_and_cached_while_store_unavailable(
    service: Service, statements: list[str]
) -> None:
    first = await service.status_reader.histories(["JCM", "XYZ", "MDC"])
    assert list(first) == ["JCM", "MDC"]
    statements.clear()
    again = await service.status_reader.histories(["MDC", "JCM"])
    assert (again["JCM"] is first["JCM"], statements) == (True, [])

    service.time += MINUTE
    service.inputs = SelfHealthInputs(store_outage=(service.time, "contoh"))
    assert (await service.status_reader.histories(["JCM"]))["JCM"] is first["JCM"]
    service.inputs = SelfHealthInputs()
    assert (await service.status_reader.histories(["JCM"]))["JCM"] is not first["JCM"]


async def test_histories_hanging_store_blocks_one_reader_only(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, waited = await service.status_reader.histories(["JCM"]), list[str]()

    async def hang(code: str, _: date) -> Mapping[date, DayTimeline]:
        waited.append(code)
        raise StoreUnavailable

    service.time += MINUTE
    with monkeypatch.context() as hanging:
        hanging.setattr(service.days, "since", hang)
        for _ in range(5):
            assert await service.status_reader.histories(["JCM", "MDC"]) == first
        assert waited == ["JCM"]
    service.time += timedelta(seconds=15)
    assert list(await service.status_reader.histories(["JCM", "MDC"])) == ["JCM", "MDC"]


async def test_agency_lists_status_of_each_site_if_several(service: Service) -> None:
    code = CODES[0]
    assert (await service.status_reader.agency(code)).sites == []
    service.reported_statuses = {"johor": SiteStatus(up_since=T0), "kuching": None}
    (johor, kuching) = (await service.status_reader.agency(code)).sites
    assert (johor.site, johor.says, kuching.site, kuching.says) == ("johor", "up", "kuching", "stale")


def _site_status(type_: IncidentType | None, directions: Mapping[Direction, Health]) -> SiteStatus:
    if type_ is None:
        return SiteStatus(up_since=T0, directions=directions)
    return SiteStatus(trouble=ActiveProblem(type=type_, since=T0), directions=directions)


async def test_agency_status_follows_quorum_over_own_measurement(service: Service) -> None:
    out = Direction.OUTBOUND
    down, well = _site_status(IncidentType.SENDING, {out: Health.DOWN}), _site_status(None, {out: Health.UP})
    service.reported_statuses = {"noc": well, "johor": down, "kuching": down}
    said = await service.status_reader.agency("JCM")
    assert (said.state, said.quorum_type, said.disputed) == ("down", IncidentType.SENDING, [])

    # One site has seen a recovery; the incident stays open until the quorum has.
    await service.open("JCM")
    service.reported_statuses = {"noc": well, "johor": _site_status(None, {}), "kuching": down}
    told = await service.status_reader.agency("JCM")
    assert (told.state, told.quorum_type, told.since) == ("down", IncidentType.BOTH, T0)
    # Also without reports of other sites, and for a hub that has just started.
    service.reported_statuses = {}
    assert (await service.status_reader.agency("JCM")).state == "down"


async def test_agency_down_without_quorum_is_disputed_not_outage(service: Service) -> None:
    out = Direction.OUTBOUND
    service.evaluator.restore({r.name: (Health.DOWN, T0) for r in agency_routes("JCM") if r.direction is out})
    assert service.evaluator.mail("JCM").directions()[out] is Health.DOWN
    down, well = _site_status(IncidentType.SENDING, {out: Health.DOWN}), _site_status(None, {out: Health.UP})
    found = []
    for others in ([], [well], [well, well], [down, well]):
        service.reported_statuses = dict(zip(("noc", "johor", "kuching"), [down, *others], strict=False))
        view = await service.status_reader.agency("JCM")
        found.append((view.quorum_type, [*view.disputed]))
    # Without other sites the status is that of this site.
    assert found == [(None, []), (None, [out]), (None, [out]), (IncidentType.SENDING, [])]


async def test_agency_down_at_one_other_site_is_degraded_not_up(service: Service) -> None:
    out, into = Direction.OUTBOUND, Direction.INBOUND
    service.evaluator.restore({r.name: (Health.UP, T0) for r in agency_routes("JCM")})
    well = _site_status(None, {out: Health.UP, into: Health.UP})
    service.reported_statuses = {"noc": well, "johor": well, "kuching": well}
    assert (await service.status_reader.agency("JCM")).state == "up"
    found = []
    for type_, health in ((IncidentType.SENDING, Health.DOWN), (IncidentType.DEGRADED, Health.DEGRADED)):
        service.reported_statuses["kuching"] = _site_status(type_, {out: health, into: Health.UP})
        view = await service.status_reader.agency("JCM")
        found.append((view.state, view.quorum_type, [*view.disputed]))
    # A degradation that one other site sees is shown on the agency's page only.
    assert found == [("degraded", None, [out]), ("up", None, [])]


async def test_agency_shows_other_process_that_probes_it(service: Service) -> None:
    one, another = CODES[:2]
    service.probed_by[another] = "prob-2"
    assert [(await service.status_reader.agency(code)).probed_by for code in (one, another)] == ["", "prob-2"]
