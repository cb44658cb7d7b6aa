"""Start and reload of the shipped configuration on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from structlog.testing import capture_logs

from alerts import wording
from alerts.engine.processing_result import OpenIncident
from alerts.engine.work_queue import WorkItem
from alerts.model.event import Declare
from alerts.model.incident import IncidentState, apply
from alerts.model.notification import IncidentType
from alerts.persistence.clock import SystemClock
from alerts.persistence.store import StoreUnavailable
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.config.files.problem import Problem, Severity
from monitor.config.loading import Configuration, LoadCache, load
from monitor.evaluation.health_tracker import GradedRun
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.metrics import NO_AGENCY, Metrics
from monitor.model.document import EditSource, WrittenDocument
from monitor.model.health import Grade, Health
from monitor.model.route import Direction
from monitor.runtime.systemd import ServiceManager
from monitor.service.open_incidents import CurrentPolicies
from monitor.service.probing_runtime import RuntimeContext, make_runtime, register_metrics, unregister_metrics
from monitor.service.reloader import Reloader, needs_restart
from monitor.store.admin.documents import Documents
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import History
from monitor.store.probing.processes import Process, Processes
from monitor.store.probing.records import ConfigurationRecords
from monitor.store.probing.statuses import SiteStatuses
from monitor.store.schema.tables import process
from probes.arrival.watcher import MailboxWatcher
from probes.mail.token import TokenSigner
from probes.model.mailbox import Password
from probes.model.result import Outcome, Phase
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.unit.alerts.people import MINUTE, T0, trigger
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice
from tests.unit.monitor.config.corpus import case as corpus
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.world import failed


@pytest.fixture
def office(tmp_path: Path) -> IssuingOffice:
    return IssuingOffice(tmp_path)


class FailingReloader(Reloader):
    """Reloader whose first reload fails with a bug after all checks; or whose store is unavailable."""

    tries = 0
    store_unavailable = False

    async def _apply(self, configuration: Configuration, by: str) -> None:
        self.tries += not self.store_unavailable
        if self.tries == 1:
            raise ZeroDivisionError
        await super()._apply(configuration, by)

    async def _record(self, configuration: Configuration, by: str) -> None:
        if self.store_unavailable:
            raise StoreUnavailable("disk full")
        await super()._record(configuration, by)


@asynccontextmanager
async def start_reloader(config: Path, environ: Mapping[str, str], store: Path) -> AsyncIterator[FailingReloader]:
    """Apply the configuration at *config*, with a database in *store*."""
    async with Database.open(store) as database:
        station = DispatcherEnv(database)
        uow, clock = SqlStore(database), station.clock
        around = RuntimeContext(
            signer=TokenSigner(b"kunci-untuk-ujian-sahaja-32-okt!", "putrajaya-1"),
            store=uow,
            history=History(database, SiteStatuses(database, "putrajaya")),
            alerting=station.dispatcher,
            metrics=Metrics(version="1", now=clock.now),
            clock=clock,
        )
        made = FailingReloader(
            config,
            environ,
            context=around,
            records=ConfigurationRecords(database),
            documents=Documents(database),
            lifecycle=LifecycleRecorder(uow, clock, "pantau@test"),
            pool=station.pool,
            dispatcher=station.dispatcher,
            load_cache=(memory := LoadCache()),
            manager=ServiceManager({}),
            processes=Processes(database, "putrajaya-1"),
        )
        await made.begin(load(config, environ, cache=memory).require_configuration())
        yield made


@pytest.fixture
async def reloader(office: IssuingOffice, tmp_path: Path) -> AsyncIterator[FailingReloader]:
    async with start_reloader(office.config, ENVIRON, tmp_path / "store") as made:
        yield made


async def test_reload_bug_keeps_old_configuration_and_next_signal_is_handled(
    reloader: FailingReloader,
) -> None:
    wanted, before = asyncio.Event(), reloader.runtime
    with capture_logs() as logged:
        reloading = asyncio.create_task(reloader.reload_on_signal(wanted))
        async with asyncio.timeout(60):
            for tries in (1, 2):
                # Not checked at the end: the second reload may be applied before the task is cancelled.
                assert reloader.runtime is before
                wanted.set()
                while reloader.tries < tries and not reloading.done():  # noqa: ASYNC110 - a reload cannot be awaited
                    await asyncio.sleep(0.01)
    assert not reloading.done()
    reloading.cancel()
    await asyncio.gather(reloading, return_exceptions=True)
    failures = [line for line in logged if line["log_level"] == "error"]
    assert [(line["event"], line["task"]) for line in failures] == [("task failed; retrying", "reload")]


async def test_reload_store_unavailable_keeps_old_configuration_and_gateways(reloader: FailingReloader) -> None:
    before, configured = reloader.runtime, list(reloader._pool)
    reloader.store_unavailable = True
    with capture_logs() as logged:
        (problem,) = await reloader.reload("Siti Contoh")
    assert (problem.key, problem.severity) == ("store", Severity.ERROR)
    assert "disk full" in problem.message
    assert [line["event"] for line in logged] == ["configuration not applied; the old one stays active"]
    assert reloader.runtime is before
    assert list(reloader._pool) == configured


async def test_reload_to_monitor_only_is_rejected(reloader: FailingReloader, office: IssuingOffice) -> None:
    before = reloader.runtime
    office.config.write_text("mode: monitor_only\n" + office.config.read_text())
    reloader.tries = 1
    with capture_logs() as logged:
        [problem] = await reloader.reload("Siti Contoh")
    assert (problem.key, problem.severity) == ("mode", Severity.ERROR)
    assert reloader.runtime is before
    assert [(line["event"], line["log_level"]) for line in logged] == [
        ("configuration rejected; people are notified as before", "error")
    ]
    scrape = Scrape(reloader._metrics)
    assert (scrape.value("config_last_reload_successful"), scrape.value("monitor_only")) == (0, 0)


async def test_reload_from_monitor_only_is_applied(reloader: FailingReloader, office: IssuingOffice) -> None:
    text = office.config.read_text()
    office.config.write_text("mode: monitor_only\n" + text)
    await reloader.begin(load(office.config, ENVIRON, cache=reloader._load_cache).require_configuration())
    assert Scrape(reloader._metrics).value("monitor_only") == 1
    office.config.write_text(text)
    reloader.tries = 1
    assert [p for p in await reloader.reload("Siti Contoh") if p.severity is Severity.ERROR] == []
    assert Scrape(reloader._metrics).value("monitor_only") == 0


async def test_reload_failed_sets_metric(reloader: FailingReloader) -> None:
    def succeeded() -> float | None:
        return Scrape(reloader._metrics).value("config_last_reload_successful")

    assert succeeded() == 1
    with pytest.raises(ZeroDivisionError):
        await reloader.reload("Siti Contoh")
    assert succeeded() == 0


async def test_start_restores_recent_outages_for_flapping(reloader: FailingReloader) -> None:
    around, configuration = reloader._context, reloader.runtime.configuration
    now = around.clock.now()

    async def would_flap(code: str) -> bool:
        """Return whether the next outage would be held open."""
        evaluator = (await make_runtime(configuration, around)).evaluator
        flapping = evaluator._agencies[code]._flapping
        flapping.record_fall(now)
        return flapping.is_flapping

    async def add_outage(code: str, at: datetime, *, was_flapping: bool = False, over: bool = True) -> None:
        async with around.store.transaction() as uow:
            [store_incident] = await uow.add_incidents(
                [replace(trigger(), dedup_key=code, at=at, flapping=was_flapping)]
            )
            if over:
                ended = replace(store_incident, state=IncidentState.RESOLVED, resolved_at=at, ended_at=at)
                await uow.save_incident(ended)

    for minutes in (130, 40):
        await add_outage("JCONTOH", now - minutes * MINUTE)
    assert not await would_flap("JCONTOH"), "the first outage was too long ago"
    await add_outage("JCONTOH", now - 20 * MINUTE)
    assert await would_flap("JCONTOH")
    assert not await would_flap("MPCONTOH")
    await add_outage("MPCONTOH", now - 300 * MINUTE, was_flapping=True, over=False)
    assert await would_flap("MPCONTOH"), "a held-open incident hides later outages"


async def test_start_restores_monitoring_fault_streaks_except_removed(reloader: FailingReloader) -> None:
    around, configuration = reloader._context, reloader.runtime.configuration
    (control, *_) = (each for each in configuration.registry.routes if each.direction is Direction.CONTROL)
    inconclusive = failed(control, around.clock.now(), Outcome.INCONCLUSIVE, Phase.CONNECT)
    runs = (GradedRun.from_result(inconclusive, Grade.BAD),)
    streaks = {"ours/network": runs, "ours/credentials/gone#sender": runs, "ours/from another version": runs}
    await around.history.record_run(inconclusive, "", {}, streaks=streaks)

    evaluator = (await make_runtime(configuration, around)).evaluator
    assert evaluator.take_changed_streaks() == {"ours/network": runs}
    assert evaluator.needs_another_run(control.name)


@pytest.mark.blind
async def test_start_after_clock_set_back_uses_no_future_time(reloader: FailingReloader) -> None:
    """Defect: After a restart, old and new times are mixed up.

    Pantau: Nothing is taken as later than now.
    """
    around, configuration = reloader._context, reloader.runtime.configuration
    ahead, now = around.clock.now(), around.clock.now() - timedelta(hours=8)
    down, failing, deferred = (each for each in configuration.registry.routes_for("JCONTOH")[:3])
    for route, outcome in ((down, Outcome.REJECTED), (failing, Outcome.REJECTED), (deferred, Outcome.DEFERRED)):
        run = failed(route, ahead, outcome, Phase.SUBMIT)
        streaks = {} if route is down else {route.name: (GradedRun.from_result(run, Grade.BAD),)}
        judged = {down.name: (Health.DOWN, ahead)} if route is down else {}
        await around.history.record_run(run, "JCONTOH", judged, streaks=streaks)

    around.clock.moment = now  # type: ignore[attr-defined]
    evaluator = (await make_runtime(configuration, around)).evaluator
    trackers = [evaluator._trackers[route.name] for route in (down, failing, deferred)]
    assert trackers[0].changed_at == trackers[1].recent[0].started_at == trackers[2].deferred_since == now
    # The type of the outage is awaited for eleven minutes, not for eight more hours.
    assert evaluator.trouble("JCONTOH", now) is None
    assert evaluator.trouble("JCONTOH", now + timedelta(minutes=20)) is not None


async def test_start_declared_outage_is_not_taken_as_detected(reloader: FailingReloader) -> None:
    """Otherwise a smaller detected outage would not be reported, and the first one would count as the second."""
    around, configuration = reloader._context, reloader.runtime.configuration
    now = around.clock.now()
    declare = Declare(
        dedup_key="JCONTOH",
        at=now,
        by="Aminah Contoh",
        type=IncidentType.BOTH,
        began_at=now,
        reason="mel web",
        policy=replace(trigger().policy, agency="JCONTOH"),
    )
    async with around.store.transaction() as uow:
        [store_incident] = await uow.add_incidents([declare])
    runtime = await make_runtime(configuration, around)
    # The first scrape shows the declared outage.
    assert Scrape(around.metrics).value("outage_declared", agency="JCONTOH", direction="inbound") == 1
    assert runtime.reporter._reported_types == {}
    assert list(runtime.evaluator._agencies["JCONTOH"]._flapping._falls) == []

    async with around.store.transaction() as uow:
        await uow.save_incident(apply(store_incident, replace(trigger(IncidentType.SENDING, now), dedup_key="JCONTOH")))
    assert (await make_runtime(configuration, around)).reporter._reported_types == {"JCONTOH": IncidentType.SENDING}


async def test_unregister_metrics_removes_series_of_removed_gateways_and_agencies(office: IssuingOffice) -> None:
    before = load(office.config, ENVIRON).require_configuration()
    text = office.config.read_text()
    office.config.write_text(text.replace("name: sms-utama", "name: sms-baharu"))
    (office.directory / "agencies" / "majlis-contoh.yaml").unlink()
    after = load(office.config, ENVIRON).require_configuration()
    metrics = Metrics(version="1", now=SystemClock().now)
    for configuration in (before, after):
        await register_metrics(metrics, configuration, (), [*configuration.registry.agencies, NO_AGENCY])
        for channel, entries in configuration.settings.gateways.items():
            for entry in entries:
                metrics.set_gateway_up(channel, entry.name, up=True)

    unregister_metrics(metrics, before, after)

    scrape = Scrape(metrics)
    gateways = {labels["gateway"] for labels in scrape.labels("gateway_up")}
    assert {"sms-baharu", "suara-utama"} <= gateways
    assert "sms-utama" not in gateways
    assert {labels["agency"] for labels in scrape.labels("incidents_open")} == {"", "JCONTOH"}


async def test_reload_edited_gateway_is_shown_as_unknown(reloader: FailingReloader, office: IssuingOffice) -> None:
    reloader.tries = 1
    await reloader.reload("Siti Contoh")
    metrics, pool = reloader._context.metrics, reloader._pool
    now = SystemClock().now()
    for line in pool:
        pool.record_state(line.name, up=True, now=now)
        metrics.set_gateway_up(line.channel, line.name, up=True)
    office.config.write_text(office.config.read_text().replace("+15005550006", "+15005550007", 1))
    await reloader.reload("Siti Contoh")
    edited = {line.name for line in pool if pool.is_up(line.name) is None}
    shown = {labels["gateway"] for labels in Scrape(metrics).labels("gateway_up")}
    assert edited
    assert shown == {line.name for line in pool} - edited


# -- a reload affects only what changed -----------------------------------------------------------------------------


def edit(office: IssuingOffice, file: str, before: str, after: str) -> None:
    path = office.directory / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


JCONTOH, MPCONTOH = "agencies/jabatan-contoh.yaml", "agencies/majlis-contoh.yaml"


def watchers(reloader: Reloader) -> dict[str, MailboxWatcher]:
    return dict(reloader.runtime.prober._watchers)


def replaced_watchers(reloader: Reloader, before: dict[str, MailboxWatcher]) -> set[str]:
    """Return the mailboxes whose watcher was replaced."""
    now = watchers(reloader)
    return {name for name in {*now, *before} if now.get(name) is not before.get(name)}


@pytest.fixture
def working_reloader(reloader: FailingReloader) -> FailingReloader:
    reloader.tries = 1
    return reloader


@pytest.mark.blind
async def test_reload_without_changes_restarts_nothing(working_reloader: FailingReloader) -> None:
    """Defect: A reload without changes restarts everything.

    Pantau: It changes nothing.
    """
    before, evaluator, parts = (
        watchers(working_reloader),
        working_reloader.runtime.evaluator,
        working_reloader.runtime.routes,
    )
    for _ in range(3):
        assert await working_reloader.reload("Siti Contoh") == []
    assert replaced_watchers(working_reloader, before) == set()
    assert working_reloader.runtime.evaluator is evaluator
    assert working_reloader.runtime.routes == parts


@pytest.mark.blind
async def test_reload_contacts_or_windows_keeps_mailbox_watchers(
    working_reloader: FailingReloader, office: IssuingOffice
) -> None:
    """Defect: A change of people affects probing.

    Pantau: It affects notifications only.
    """
    before = watchers(working_reloader)
    edit(office, JCONTOH, "name: Siti binti Contoh", "name: Aminah binti Contoh")
    edit(office, MPCONTOH, "domains:", 'maintenance: [{cron: "0 2 * * sun", for: 2h, reason: Sandaran}]\ndomains:')
    await working_reloader.reload("Siti Contoh")
    assert replaced_watchers(working_reloader, before) == set()
    assert (
        working_reloader.runtime.configuration.registry.agencies["JCONTOH"].contacts["siti"].name
        == "Aminah binti Contoh"
    )
    (siti,) = working_reloader.runtime.reporter._policies.agencies["JCONTOH"].escalation.steps[-2].contacts[:1]
    assert siti.name == "Aminah binti Contoh"
    assert all(r.probing.hours.maintenance for r in working_reloader.runtime.routes.values() if r.agency == "MPCONTOH")
    assert (
        working_reloader.runtime.evaluator.routes
        == working_reloader.runtime.prober._routes
        == working_reloader.runtime.routes
    )


async def store_incident(reloader: Reloader, agency: str) -> None:
    async with reloader._context.store.transaction() as uow:
        snapshot = CurrentPolicies(reloader.runtime.configuration).agency_policy(agency)
        await uow.add_incidents([replace(trigger(), dedup_key=agency, policy=snapshot)])


@pytest.mark.blind
async def test_reload_names_changes_open_incidents_apply_and_keep(
    working_reloader: FailingReloader, office: IssuingOffice
) -> None:
    """Defect: A reload reports success and not which incidents keep the old plan.

    Pantau: It names each open incident and what it takes over and keeps.
    """
    await store_incident(working_reloader, "JCONTOH")
    edit(office, MPCONTOH, "domains:", 'maintenance: [{cron: "0 2 * * sun", for: 2h, reason: Sandaran}]\ndomains:')
    assert await working_reloader.reload("Siti Contoh") == [], "the incident is of another agency"
    edit(office, JCONTOH, "sms: 010-000 0101\n    voice: 010-000 0101", "sms: 010-000 0177\n    voice: 010-000 0177")
    edit(office, JCONTOH, "{after: 5m, rotas", "{after: 25m, rotas")
    (problem,) = await working_reloader.reload("Siti Contoh")
    assert (problem.key, problem.severity) == ("JCONTOH", Severity.WARNING)
    assert problem.message == (
        "JCONT-01 is open: new numbers for Siti binti Contoh, notified again there if only an old one was used; "
        "its steps, times and channels stay as they were when it opened"
    )


@pytest.mark.blind
async def test_reload_settings_names_open_incidents_sharing_changed_contact(
    working_reloader: FailingReloader, office: IssuingOffice
) -> None:
    """Defect: A reload of the settings does not name affected incidents.

    Pantau: It names those of all agencies that share the contact.
    """
    await store_incident(working_reloader, "JCONTOH")
    edit(office, "pantau.yaml", "name: Pegawai Bertugas Pusat Operasi", "name: Pegawai Jaga")
    edit(office, "pantau.yaml", "- {mobile: 010-000 0001}", "- {mobile: 010-000 0009}")
    (problem,) = await working_reloader.reload("Siti Contoh")
    assert problem.message.startswith("JCONT-01 is open: new numbers for Pegawai Jaga")


async def test_reload_requeues_incidents_of_changed_agency_or_all_for_settings(
    working_reloader: FailingReloader, office: IssuingOffice
) -> None:
    dispatcher, now = working_reloader._dispatcher, working_reloader._clock.now()
    queue = dispatcher._queue
    queue.set_active((1, 2), now, shared=False)
    for incident_id, agency in zip(queue.take_next([], now, 2), ("JCONTOH", "MPCONTOH"), strict=True):
        queue.record(
            incident_id, WorkItem(open_incident=OpenIncident(agency=agency, number=f"{agency}-01", opened_at=now))
        )

    edit(office, MPCONTOH, "domains:", 'maintenance: [{cron: "0 2 * * sun", for: 2h, reason: Sandaran}]\ndomains:')
    await working_reloader.reload("Siti Contoh")
    assert (queue.take_next([], now, 9), queue.is_refresh_due(now)) == ([2], False)
    edit(office, "pantau.yaml", "host: imap.universiti-contoh.edu.my", "host: imap2.universiti-contoh.edu.my")
    await working_reloader.reload("Siti Contoh")
    assert queue.is_refresh_due(now)


@pytest.mark.blind
async def test_reload_changed_secret_file_is_applied_without_yaml_change(
    working_reloader: FailingReloader, office: IssuingOffice
) -> None:
    """Defect: A secret that changes without its YAML is not applied.

    Pantau: It is, and only its mailbox starts anew.
    """
    before = watchers(working_reloader)
    (office.directory / "secrets" / "jabatan-contoh").write_text("kata-laluan-baharu\n")
    await working_reloader.reload("Siti Contoh")
    assert replaced_watchers(working_reloader, before) == {"JCONTOH/utama"}
    login = watchers(working_reloader)["JCONTOH/utama"].mailbox.login
    assert isinstance(login, Password)
    assert login.secret == "kata-laluan-baharu"


async def test_reload_changed_reference_restarts_only_its_routes(
    working_reloader: FailingReloader, office: IssuingOffice
) -> None:
    before = watchers(working_reloader)
    edit(office, "pantau.yaml", "host: imap.universiti-contoh.edu.my", "host: imap2.universiti-contoh.edu.my")
    await working_reloader.reload("Siti Contoh")
    assert replaced_watchers(working_reloader, before) == {"rujukan-b"}


@pytest.mark.blind
async def test_reload_keeps_access_token_of_unchanged_mailbox(
    working_reloader: FailingReloader, office: IssuingOffice
) -> None:
    """Defect: Each reload discards access tokens and renewed refresh tokens.

    Pantau: They stay with an unchanged mailbox.
    """
    password = "password_env: PANTAU_MPCONTOH_PASSWORD"
    edit(office, MPCONTOH, password, "token_command: [oama, access, pantau@mpcontoh.gov.my]")
    await working_reloader.reload("Siti Contoh")
    before = watchers(working_reloader)
    edit(office, JCONTOH, "name: Siti binti Contoh", "name: Aminah binti Contoh")
    await working_reloader.reload("Siti Contoh")
    assert replaced_watchers(working_reloader, before) == set()


async def test_report_resolves_site_incidents_of_removed_sites_and_quorum(
    reloader: FailingReloader,
) -> None:
    around = reloader._context
    async with around.store.transaction() as uow:
        snapshot = replace(trigger().policy, agency="")
        told = {"ours/site/sabah", "ours/quorum"}
        fault = replace(trigger(), type=IncidentType.MONITORING_FAULT, policy=snapshot)
        await uow.add_incidents([replace(fault, dedup_key=key) for key in sorted(told)])
    runtime = await make_runtime(reloader.runtime.configuration, around)
    assert runtime.reporter.reported_types.keys() == told
    await runtime.reporter.report()
    async with around.store.reading() as uow:
        assert await uow.open_incidents() == []


async def test_reload_withdraws_statuses_of_removed_subjects_and_processes(
    office: IssuingOffice,
) -> None:
    edit(office, "pantau.yaml", "\nprobing:\n", "\nprobing:\n  sharding: false\n")
    async with start_reloader(office.config, ENVIRON, office.state) as reloader:
        reloader.tries, history, now = 1, reloader._context.history, reloader._context.clock.now()
        own = reloader.runtime.configuration.settings.process_name
        # A running process without sharding, and one that was killed long ago. The last key names no process.
        stay = [f"ours/network@{own}", f"ours/reference/rujukan-a@{own}", "ours/network@sabah-1", "JCONTOH"]
        withdrawn = [
            f"ours/reference/hilang@{own}",
            "ours/network@sabah-2",
            "ours/network@sabah-3",
            "ours/network",
            "HILANG",
        ]
        broken = SiteStatus(trouble=ActiveProblem(type=IncidentType.MONITORING_FAULT, since=now))
        (control, *_) = (each for each in reloader.runtime.routes.values() if each.direction is Direction.CONTROL)
        run = failed(control, now, Outcome.INCONCLUSIVE, Phase.CONNECT)
        await history.record_run(run, "", {}, statuses=dict.fromkeys([*stay, *withdrawn], broken))
        rows = [("sabah-1", now, None), ("sabah-2", now, now), ("sabah-3", now - 2000 * MINUTE, None)]
        async with history._database.write() as connection:
            for name, heartbeat_at, stopped_at in rows:
                row = {"name": name, "started_at": T0, "heartbeat_at": heartbeat_at, "stopped_at": stopped_at}
                await connection.execute(insert(process).values(**row))
        await reloader.reload("Siti Contoh")
        assert sorted(await SiteStatuses(history._database, "putrajaya").subjects()) == sorted(stay)


@pytest.mark.blind
async def test_reload_agency_removed_in_outage_and_restored_is_down(
    working_reloader: FailingReloader, office: IssuingOffice
) -> None:
    """Defect: An agency that is removed during an outage and restored is unknown.

    Pantau: Its stored health is taken up.
    """
    around, runtime = working_reloader._context, working_reloader.runtime
    names = [name for name, route in runtime.routes.items() if route.agency == "JCONTOH"]
    now = around.clock.now()
    for name in names:
        runtime.evaluator._trackers[name].health, runtime.evaluator._trackers[name].changed_at = Health.DOWN, now
        runtime.evaluator._changed_healths.add(name)
    async with around.store.transaction() as uow:
        snapshot = replace(trigger().policy, agency="JCONTOH")
        await uow.add_incidents([replace(trigger(), dedup_key="JCONTOH", at=now, policy=snapshot)])
    ended = failed(runtime.routes[names[0]], now, Outcome.LOST, Phase.TRANSIT)
    said = {
        "JCONTOH": UNTROUBLED,
        "ours/credentials/JCONTOH/utama": UNTROUBLED,
        "MPCONTOH": UNTROUBLED,
        "ours/network": UNTROUBLED,
    }
    await around.history.record_run(ended, "JCONTOH", runtime.evaluator.take_changed_healths(), statuses=said)
    text = (office.directory / JCONTOH).read_text()

    (office.directory / JCONTOH).unlink()
    (problem,) = await working_reloader.reload("Siti Contoh")
    assert (problem.key, problem.severity) == ("JCONTOH", Severity.WARNING)
    assert working_reloader.runtime.evaluator.mail("JCONTOH").directions() == {}
    assert not any(name.startswith("JCONTOH") for name in watchers(working_reloader))
    left, _ = await SiteStatuses(around.store._database, "putrajaya").changed(None)
    assert left["putrajaya"].keys() == {"MPCONTOH", "ours/network"}

    (office.directory / "agencies" / "lain-nama.yaml").write_text(text)
    (problem,) = await working_reloader.reload("Siti Contoh")
    assert "JCONT-01 is open: " in problem.message, "it opened with other contacts"
    assert set(working_reloader.runtime.evaluator.mail("JCONTOH").directions().values()) == {Health.DOWN}
    assert working_reloader.runtime.reporter._reported_types == {"JCONTOH": trigger().type}


@pytest.mark.blind
async def test_reload_removed_direction_ends_its_series(
    working_reloader: FailingReloader, office: IssuingOffice
) -> None:
    """Defect: A removed direction keeps its last `pantau_mail_up`.

    Pantau: The series ends.
    """
    metrics, evaluator = working_reloader._metrics, working_reloader.runtime.evaluator
    for name, route in working_reloader.runtime.routes.items():
        if route.agency == "JCONTOH":
            evaluator._trackers[name].health = Health.DOWN
            evaluator._changed_agencies.add("JCONTOH")
    working_reloader.runtime.pipeline.apply_routes()

    def shown() -> set[str]:
        return {each["direction"] for each in Scrape(metrics).labels("mail_up") if each["agency"] == "JCONTOH"}

    assert shown() == {"internal", "outbound", "inbound"}
    edit(office, JCONTOH, "contacts:\n  siti:", "routes: [{direction: internal}]\ncontacts:\n  siti:")
    await working_reloader.reload("Siti Contoh")
    assert shown() == {"internal"}


@pytest.mark.blind
async def test_reload_many_concurrent_end_with_files(working_reloader: FailingReloader, office: IssuingOffice) -> None:
    """Defect: Reloads in quick succession, or before probing began, meet a half-built runtime.

    Pantau: They end with what the files say.
    """
    working = asyncio.create_task(working_reloader.run())
    wanted = asyncio.Event()
    reloading = asyncio.create_task(working_reloader.reload_on_signal(wanted))
    text = (office.directory / JCONTOH).read_text()
    for interval in range(6, 26):
        (office.directory / JCONTOH).write_text(text + f"probing: {{interval: {interval}m}}\n")
        wanted.set()
        reloads = [asyncio.create_task(working_reloader.reload("Siti Contoh")) for _ in range(2)]
        await asyncio.sleep(0)
        if interval % 5 == 0:
            await asyncio.gather(*reloads)
    assert await working_reloader.reload("Siti Contoh") == []
    intervals = {
        route.probing.interval
        for route in working_reloader.runtime.prober._routes.values()
        if route.agency == "JCONTOH"
    }
    assert intervals == {25 * MINUTE}
    assert (
        working_reloader.runtime.evaluator.routes
        == working_reloader.runtime.prober._routes
        == working_reloader.runtime.routes
    )
    assert set(working_reloader.runtime.prober._watcher_tasks) == set(watchers(working_reloader))
    assert not working.done()
    # The mailbox cleaner runs for the current configuration.
    assert any("MailboxCleaner.run" in repr(task.get_coro()) for task in asyncio.all_tasks())
    for task in (working, reloading):
        task.cancel()
    await asyncio.gather(working, reloading, return_exceptions=True)


# -- settings that are read at the start only ------------------------------------------------------------------------


def warning_keys(problems: Sequence[Problem]) -> list[str]:
    assert {problem.severity for problem in problems} <= {Severity.WARNING}
    return [problem.key for problem in problems]


def test_needs_restart_names_changed_start_settings(office: IssuingOffice, tmp_path: Path) -> None:
    before = load(office.config, ENVIRON).require_configuration()
    text = office.config.read_text()
    office.config.write_text(text.replace("state_dir: state", "state_dir: other") + "process_name: lain\n")
    after = load(office.config, ENVIRON).require_configuration()
    assert warning_keys(needs_restart(before, before, office.config)) == []
    assert warning_keys(needs_restart(before, after, office.config)) == ["state_dir", "process_name"]


def test_needs_restart_names_wording_changed_in_place(office: IssuingOffice) -> None:
    texts = office.directory / "texts"
    texts.mkdir()
    office.config.write_text(office.config.read_text() + "wording: texts\n")
    before = load(office.config, ENVIRON).require_configuration()
    shipped = Path(wording.__file__).with_name("ms.yaml")
    (texts / "ms.yaml").write_text(shipped.read_text().replace("AMARAN", "PERHATIAN"))
    after = load(office.config, ENVIRON).require_configuration()
    assert warning_keys(needs_restart(before, after, office.config)) == ["wording"]


@pytest.mark.blind
async def test_reload_restart_needed_reported_until_reverted(
    working_reloader: FailingReloader, office: IssuingOffice
) -> None:
    """Defect: Settings that need a restart are reported once only.

    Pantau: They are reported, logged and shown until they are as at the start.
    """

    def needed() -> float | None:
        return Scrape(working_reloader._metrics).value("config_restart_needed")

    assert needed() == 0
    edit(office, "pantau.yaml", "site: putrajaya", "site: johor")
    for _ in range(2):
        # Reported each time until the restart.
        with capture_logs() as logged:
            assert warning_keys(await working_reloader.reload("Siti Contoh")) == ["site"]
        assert [line["keys"] for line in logged if line["event"] == "settings take effect after a restart"] == [
            ["site"]
        ]
        assert needed() == 1
    edit(office, "pantau.yaml", "site: johor", "site: putrajaya")
    assert await working_reloader.reload("Siti Contoh") == []
    assert needed() == 0


async def test_reload_invalid_configurations_neither_stop_nor_leak_secrets(tmp_path: Path) -> None:
    config = tmp_path / "pantau" / "pantau.yaml"
    corpus.lay_out_base(config.parent)
    async with start_reloader(config, corpus.ENVIRON, tmp_path / "store") as reloader:
        reloader.tries = 1  # No bug in this reload.
        for number, case in enumerate(corpus.cases()):
            # All cases that may hang or leak a secret, and some others: a reload takes as long as a start.
            if case.depends_on_date or (number % 5 and not case.name.startswith(("places/", "sign-in/"))):
                continue
            case.lay_out(config.parent)
            with capture_logs() as logged:
                async with asyncio.timeout(60):
                    await reloader.reload("Siti Contoh")
            refused = [line["errors"] for line in logged if line["event"].startswith("configuration rejected; the old")]
            errors = [line for line in case.expected if ": warning: " not in line]
            assert [corpus.shortened(error, config) for each in refused for error in each] == errors[:20], case.name
            assert bool(refused) is bool(errors), case.name
            assert corpus.CANARY not in repr(logged), case.name
        corpus.lay_out_base(config.parent)
        assert await reloader.reload("Siti Contoh") == []
    kept = b"".join(file.read_bytes() for file in (tmp_path / "store").iterdir())
    assert b"Siti Contoh" in kept
    assert corpus.CANARY.encode() not in kept


async def test_follow_documents_applies_level_of_other_process_only(
    office: IssuingOffice,
) -> None:
    office.config.write_text(office.config.read_text().replace("agencies: agencies/", "agencies: database"))
    files = sorted((office.directory / "agencies").iterdir())
    texts = {file.stem: file.read_text() for file in files}

    async def write(database: Database, text: str) -> None:
        documents, code = Documents(database), "JCONTOH"
        present = await documents.latest()
        ours = WrittenDocument(agency=code, name="jabatan-contoh.yaml", text=text)
        other = WrittenDocument(agency="MPCONTOH", name="majlis-contoh.yaml", text=texts["majlis-contoh"])
        wanted = [ours] if present else [ours, other]
        await documents.write(present, wanted, [], edit_source=EditSource.API, by="Siti", now=T0)

    text = texts["jabatan-contoh"]
    async with Database.open(office.state) as database:
        await write(database, text)
    async with start_reloader(office.config, ENVIRON, office.state) as reloader:
        reloader.tries, database = 1, reloader._context.history._database
        ours, other_process = (
            Processes(database, "putrajaya-1"),
            Process(name="sabah-1", started_at=T0, heartbeat_at=T0),
        )

        def name() -> str:
            return reloader.runtime.configuration.registry.agencies["JCONTOH"].name

        # This process has not written a heartbeat yet.
        await reloader.follow_documents([])
        await ours.beat(T0, T0)
        await reloader.follow_documents([other_process])
        assert await _documents_revision(database) == 2
        await write(database, text.replace("Jabatan Contoh Malaysia", "Jabatan Baharu"))
        for level in (None, 1, 2):
            await reloader.follow_documents([other_process, replace(other_process, documents=level)])
            assert name() == "Jabatan Contoh Malaysia"
        await reloader.follow_documents([other_process, replace(other_process, documents=3)])
        assert name() == "Jabatan Baharu"
        await reloader.follow_documents([])
        assert await _documents_revision(database) == 3

        await write(database, text.replace("domains:", "domain:"))
        with capture_logs() as logged:
            for _ in range(3):
                await reloader.follow_documents([replace(other_process, documents=4)])
        assert [each["event"] for each in logged].count("configuration rejected; the old one stays active") == 1
        assert name() == "Jabatan Baharu"
        await write(database, text)
        reloader.store_unavailable = True
        await reloader.follow_documents([replace(other_process, documents=5)])
        assert name() == "Jabatan Baharu"
        reloader.store_unavailable = False
        await reloader.follow_documents([replace(other_process, documents=5)])
        assert name() == "Jabatan Contoh Malaysia"


async def _documents_revision(database: Database) -> int | None:
    async with database.read() as connection:
        level: int | None = (await connection.execute(select(process.c.documents))).scalar_one()
        return level
