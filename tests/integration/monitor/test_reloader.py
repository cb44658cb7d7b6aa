"""Which configuration is in force: with the one that ships, on a real store."""

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
from monitor.audit.lifecycle import Lifecycle
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
from monitor.service.probing_runtime import RuntimeContext, announce, make_runtime, retire
from monitor.service.reloader import Reloader, needs_restart
from monitor.store.admin.documents import Documents
from monitor.store.backend.database import Database
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.history import History
from monitor.store.probing.processes import Process, Processes
from monitor.store.probing.records import ConfigurationRecords
from monitor.store.probing.statuses import SiteStatuses
from monitor.store.schema.tables import process
from probes.arrival.watcher import MailboxWatcher
from probes.mail.token import TokenSigner
from probes.model.mailbox import Password
from probes.model.result import Outcome, Phase
from tests.integration.alerts.station import Station
from tests.unit.alerts.people import MINUTE, T0, trigger
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice
from tests.unit.monitor.config.corpus import case as corpus
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.trial import failed


@pytest.fixture
def office(tmp_path: Path) -> IssuingOffice:
    return IssuingOffice(tmp_path)


class Buggy(Reloader):
    """Fails once for a bug of ours, behind everything that is checked; or its store is away."""

    tries = 0
    away = False

    async def _apply(self, configuration: Configuration, by: str) -> None:
        self.tries += not self.away
        if self.tries == 1:
            raise ZeroDivisionError
        await super()._apply(configuration, by)

    async def _record(self, configuration: Configuration, by: str) -> None:
        if self.away:
            raise StoreUnavailable("disk full")
        await super()._record(configuration, by)


@asynccontextmanager
async def in_force(config: Path, environ: Mapping[str, str], store: Path) -> AsyncIterator[Buggy]:
    """Take up the configuration at *config*, with a database in *store*."""
    async with Database.open(store) as database:
        station = Station(database)
        uow, clock = SqlStore(database), station.clock
        around = RuntimeContext(
            signer=TokenSigner(b"kunci-untuk-ujian-sahaja-32-okt!", "putrajaya-1"),
            store=uow,
            history=History(database, SiteStatuses(database, "putrajaya")),
            alerting=station.dispatcher,
            metrics=Metrics(version="1", now=clock.now),
            clock=clock,
        )
        made = Buggy(
            config,
            environ,
            context=around,
            records=ConfigurationRecords(database),
            documents=Documents(database),
            lifecycle=Lifecycle(uow, clock, "pantau@test"),
            pool=station.pool,
            dispatcher=station.dispatcher,
            memory=(memory := LoadCache()),
            manager=ServiceManager({}),
            processes=Processes(database, "putrajaya-1"),
        )
        await made.begin(load(config, environ, cache=memory).accepted())
        yield made


@pytest.fixture
async def reloader(office: IssuingOffice, tmp_path: Path) -> AsyncIterator[Buggy]:
    async with in_force(office.config, ENVIRON, tmp_path / "store") as made:
        yield made


async def test_a_bug_in_a_reload_leaves_the_old_configuration_in_force_and_the_next_signal_is_heard(
    reloader: Buggy,
) -> None:
    wanted, before = asyncio.Event(), reloader.runtime
    with capture_logs() as logged:
        keeping = asyncio.create_task(reloader.reload_on_signal(wanted))
        async with asyncio.timeout(60):
            for tries in (1, 2):
                # And not at the end: the second may have been taken up before it is cancelled.
                assert reloader.runtime is before
                wanted.set()
                while reloader.tries < tries and not keeping.done():  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.01)
    assert not keeping.done()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    failures = [line for line in logged if line["log_level"] == "error"]
    assert [(line["event"], line["task"]) for line in failures] == [("task failed; retrying", "reload")]


async def test_while_the_store_is_away_the_old_configuration_and_its_gateways_stay(reloader: Buggy) -> None:
    before, lines = reloader.runtime, list(reloader._pool)
    reloader.away = True
    with capture_logs() as logged:
        (problem,) = await reloader.reload("Siti Contoh")
    assert (problem.key, problem.severity) == ("store", Severity.ERROR)
    assert "disk full" in problem.message
    assert [line["event"] for line in logged] == ["configuration not applied; the old one stays active"]
    assert reloader.runtime is before
    assert list(reloader._pool) == lines


async def test_a_reload_does_not_end_the_telling(reloader: Buggy, office: IssuingOffice) -> None:
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


async def test_a_reload_begins_the_telling(reloader: Buggy, office: IssuingOffice) -> None:
    text = office.config.read_text()
    office.config.write_text("mode: monitor_only\n" + text)
    await reloader.begin(load(office.config, ENVIRON, cache=reloader._memory).accepted())
    assert Scrape(reloader._metrics).value("monitor_only") == 1
    office.config.write_text(text)
    reloader.tries = 1
    assert [p for p in await reloader.reload("Siti Contoh") if p.severity is Severity.ERROR] == []
    assert Scrape(reloader._metrics).value("monitor_only") == 0


async def test_a_reload_that_failed_is_shown_as_one(reloader: Buggy) -> None:
    def succeeded() -> float | None:
        return Scrape(reloader._metrics).value("config_last_reload_successful")

    assert succeeded() == 1
    with pytest.raises(ZeroDivisionError):
        await reloader.reload("Siti Contoh")
    assert succeeded() == 0


async def test_a_start_knows_how_often_an_agency_has_fallen_lately_and_what_was_held_open(reloader: Buggy) -> None:
    around, configuration = reloader._context, reloader.runtime.configuration
    now = around.clock.now()

    async def is_unsteady(code: str) -> bool:
        """Whether the next fall would be held open."""
        evaluator = (await make_runtime(configuration, around)).evaluator
        flapping = evaluator._agencies[code]._flapping
        flapping.record_fall(now)
        return flapping.is_flapping

    async def fell(code: str, at: datetime, *, unsteady: bool = False, over: bool = True) -> None:
        async with around.store.transaction() as uow:
            [opened] = await uow.add_incidents([replace(trigger(), dedup_key=code, at=at, flapping=unsteady)])
            if over:
                ended = replace(opened, state=IncidentState.RESOLVED, resolved_at=at, ended_at=at)
                await uow.save_incident(ended)

    for minutes in (130, 40):
        await fell("JCONTOH", now - minutes * MINUTE)
    assert not await is_unsteady("JCONTOH"), "the first was too long ago"
    await fell("JCONTOH", now - 20 * MINUTE)
    assert await is_unsteady("JCONTOH")
    assert not await is_unsteady("MPCONTOH")
    await fell("MPCONTOH", now - 300 * MINUTE, unsteady=True, over=False)
    assert await is_unsteady("MPCONTOH"), "it hides how often it fell since"


async def test_a_start_goes_on_with_the_failures_of_what_is_our_own_and_not_of_what_has_left(reloader: Buggy) -> None:
    around, configuration = reloader._context, reloader.runtime.configuration
    (control, *_) = (each for each in configuration.registry.routes if each.direction is Direction.CONTROL)
    cut_off = failed(control, around.clock.now(), Outcome.INCONCLUSIVE, Phase.CONNECT)
    runs = (GradedRun.from_result(cut_off, Grade.BAD),)
    streaks = {"ours/network": runs, "ours/credentials/gone#sender": runs, "ours/from another version": runs}
    await around.history.record_run(cut_off, "", {}, streaks=streaks)

    evaluator = (await make_runtime(configuration, around)).evaluator
    assert evaluator.take_changed_streaks() == {"ours/network": runs}
    assert evaluator.needs_another_run(control.name)


@pytest.mark.blind
async def test_start_after_clock_was_set_back_judges_by_nothing_that_lies_ahead(reloader: Buggy) -> None:
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
    subjects = [evaluator._trackers[route.name] for route in (down, failing, deferred)]
    assert subjects[0].changed_at == subjects[1].recent[0].started_at == subjects[2].deferred_since == now
    # How much is wrong is waited for for eleven minutes, and not for eight hours more.
    assert evaluator.trouble("JCONTOH", now) is None
    assert evaluator.trouble("JCONTOH", now + timedelta(minutes=20)) is not None


async def test_a_start_takes_what_people_have_declared_for_nothing_that_was_measured(reloader: Buggy) -> None:
    """Else less than that would be no news to it, and its own first fall the second."""
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
        [opened] = await uow.add_incidents([declare])
    runtime = await make_runtime(configuration, around)
    # On the wall from the first scrape on.
    assert Scrape(around.metrics).value("outage_declared", agency="JCONTOH", direction="inbound") == 1
    assert runtime.reporter._reported_types == {}
    assert list(runtime.evaluator._agencies["JCONTOH"]._flapping._falls) == []

    async with around.store.transaction() as uow:
        await uow.save_incident(apply(opened, replace(trigger(IncidentType.SENDING, now), dedup_key="JCONTOH")))
    assert (await make_runtime(configuration, around)).reporter._reported_types == {"JCONTOH": IncidentType.SENDING}


async def test_what_left_the_configuration_is_shown_no_more(office: IssuingOffice) -> None:
    before = load(office.config, ENVIRON).accepted()
    text = office.config.read_text()
    office.config.write_text(text.replace("name: sms-utama", "name: sms-baharu"))
    (office.directory / "agencies" / "majlis-contoh.yaml").unlink()
    after = load(office.config, ENVIRON).accepted()
    metrics = Metrics(version="1", now=SystemClock().now)
    for configuration in (before, after):
        await announce(metrics, configuration, (), [*configuration.registry.agencies, NO_AGENCY])
        for channel, entries in configuration.settings.gateways.items():
            for entry in entries:
                metrics.set_gateway_up(channel, entry.name, up=True)

    retire(metrics, before, after)

    scrape = Scrape(metrics)
    gateways = {labels["gateway"] for labels in scrape.labels("gateway_up")}
    assert {"sms-baharu", "suara-utama"} <= gateways
    assert "sms-utama" not in gateways
    assert {labels["agency"] for labels in scrape.labels("incidents_open")} == {"", "JCONTOH"}


async def test_reload_edited_gateway_is_shown_as_unproven(reloader: Buggy, office: IssuingOffice) -> None:
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


# -- a change touches only what changed -----------------------------------------------------------------------------


def edit(office: IssuingOffice, file: str, before: str, after: str) -> None:
    path = office.directory / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


JCONTOH, MPCONTOH = "agencies/jabatan-contoh.yaml", "agencies/majlis-contoh.yaml"


def watched(reloader: Reloader) -> dict[str, MailboxWatcher]:
    return dict(reloader.runtime.prober._watchers)


def exchanged(reloader: Reloader, before: dict[str, MailboxWatcher]) -> set[str]:
    """Return the mailboxes whose watcher is not the one that it was."""
    now = watched(reloader)
    return {name for name in {*now, *before} if now.get(name) is not before.get(name)}


@pytest.fixture
def sound(reloader: Buggy) -> Buggy:
    reloader.tries = 1
    return reloader


@pytest.mark.blind
async def test_a_reload_that_changes_nothing_touches_nothing(sound: Buggy) -> None:
    """Defect: A reload without changes restarts everything.

    Pantau: It changes nothing.
    """
    before, evaluator, parts = watched(sound), sound.runtime.evaluator, sound.runtime.routes
    for _ in range(3):
        assert await sound.reload("Siti Contoh") == []
    assert exchanged(sound, before) == set()
    assert sound.runtime.evaluator is evaluator
    assert sound.runtime.routes == parts


@pytest.mark.blind
async def test_people_and_windows_of_an_agency_change_and_no_mailbox_is_opened_anew(
    sound: Buggy, office: IssuingOffice
) -> None:
    """Defect: A change of people affects probing.

    Pantau: It affects notifications only.
    """
    before = watched(sound)
    edit(office, JCONTOH, "name: Siti binti Contoh", "name: Aminah binti Contoh")
    edit(office, MPCONTOH, "domains:", 'maintenance: [{cron: "0 2 * * sun", for: 2h, reason: Sandaran}]\ndomains:')
    await sound.reload("Siti Contoh")
    assert exchanged(sound, before) == set()
    assert sound.runtime.configuration.registry.agencies["JCONTOH"].contacts["siti"].name == "Aminah binti Contoh"
    (siti,) = sound.runtime.reporter._policies.agencies["JCONTOH"].escalation.steps[-2].contacts[:1]
    assert siti.name == "Aminah binti Contoh"
    assert all(r.probing.hours.maintenance for r in sound.runtime.routes.values() if r.agency == "MPCONTOH")
    assert sound.runtime.evaluator.routes == sound.runtime.prober._routes == sound.runtime.routes


async def opened(reloader: Reloader, agency: str) -> None:
    async with reloader._context.store.transaction() as uow:
        brief = CurrentPolicies(reloader.runtime.configuration).of_agency(agency)
        await uow.add_incidents([replace(trigger(), dedup_key=agency, policy=brief)])


@pytest.mark.blind
async def test_reload_names_what_open_incidents_take_over_of_an_edit_and_what_they_keep(
    sound: Buggy, office: IssuingOffice
) -> None:
    """Defect: A reload reports success and not which incidents keep the old plan.

    Pantau: It names each open incident and what it takes over and keeps.
    """
    await opened(sound, "JCONTOH")
    edit(office, MPCONTOH, "domains:", 'maintenance: [{cron: "0 2 * * sun", for: 2h, reason: Sandaran}]\ndomains:')
    assert await sound.reload("Siti Contoh") == [], "that of another agency"
    edit(office, JCONTOH, "sms: 010-000 0101\n    voice: 010-000 0101", "sms: 010-000 0177\n    voice: 010-000 0177")
    edit(office, JCONTOH, "{after: 5m, rotas", "{after: 25m, rotas")
    (problem,) = await sound.reload("Siti Contoh")
    assert (problem.key, problem.severity) == ("JCONTOH", Severity.WARNING)
    assert problem.message == (
        "JCONT-01 is open: new numbers for Siti binti Contoh, told again there if only an old one was used; "
        "its steps, times and channels stay as they were when it opened"
    )


@pytest.mark.blind
async def test_reload_of_settings_names_open_incidents_of_all_agencies_whose_shared_contact_moved(
    sound: Buggy, office: IssuingOffice
) -> None:
    """Defect: A reload of the settings does not name affected incidents.

    Pantau: It names those of all agencies that share the contact.
    """
    await opened(sound, "JCONTOH")
    edit(office, "pantau.yaml", "name: Pegawai Bertugas Pusat Operasi", "name: Pegawai Jaga")
    edit(office, "pantau.yaml", "- {mobile: 010-000 0001}", "- {mobile: 010-000 0009}")
    (problem,) = await sound.reload("Siti Contoh")
    assert problem.message.startswith("JCONT-01 is open: new numbers for Pegawai Jaga")


async def test_what_is_open_of_an_agency_that_changed_is_looked_at_again_and_all_of_it_when_the_settings_did(
    sound: Buggy, office: IssuingOffice
) -> None:
    dispatcher, now = sound._dispatcher, sound._clock.now()
    agenda = dispatcher._queue
    agenda.set_active((1, 2), now, shared=False)
    for incident_id, agency in zip(agenda.take_next([], now, 2), ("JCONTOH", "MPCONTOH"), strict=True):
        agenda.record(incident_id, WorkItem(open=OpenIncident(agency=agency, number=f"{agency}-01", opened_at=now)))

    edit(office, MPCONTOH, "domains:", 'maintenance: [{cron: "0 2 * * sun", for: 2h, reason: Sandaran}]\ndomains:')
    await sound.reload("Siti Contoh")
    assert (agenda.take_next([], now, 9), agenda.is_refresh_due(now)) == ([2], False)
    edit(office, "pantau.yaml", "host: imap.universiti-contoh.edu.my", "host: imap2.universiti-contoh.edu.my")
    await sound.reload("Siti Contoh")
    assert agenda.is_refresh_due(now)


@pytest.mark.blind
async def test_a_secret_that_changes_in_its_file_is_taken_up_though_no_yaml_changed(
    sound: Buggy, office: IssuingOffice
) -> None:
    """Defect: A secret that changes without its YAML is not applied.

    Pantau: It is, and only its mailbox starts anew.
    """
    before = watched(sound)
    (office.directory / "secrets" / "jabatan-contoh").write_text("kata-laluan-baharu\n")
    await sound.reload("Siti Contoh")
    assert exchanged(sound, before) == {"JCONTOH/utama"}
    login = watched(sound)["JCONTOH/utama"].mailbox.login
    assert isinstance(login, Password)
    assert login.secret == "kata-laluan-baharu"


async def test_a_reference_that_moves_takes_only_its_own_routes_along(sound: Buggy, office: IssuingOffice) -> None:
    before = watched(sound)
    edit(office, "pantau.yaml", "host: imap.universiti-contoh.edu.my", "host: imap2.universiti-contoh.edu.my")
    await sound.reload("Siti Contoh")
    assert exchanged(sound, before) == {"rujukan-b"}


@pytest.mark.blind
async def test_a_mailbox_with_an_access_token_keeps_it_over_a_reload(sound: Buggy, office: IssuingOffice) -> None:
    """Defect: Each reload discards access tokens and renewed refresh tokens.

    Pantau: They stay with an unchanged mailbox.
    """
    password = "password_env: PANTAU_MPCONTOH_PASSWORD"
    edit(office, MPCONTOH, password, "token_command: [oama, access, pantau@mpcontoh.gov.my]")
    await sound.reload("Siti Contoh")
    before = watched(sound)
    edit(office, JCONTOH, "name: Siti binti Contoh", "name: Aminah binti Contoh")
    await sound.reload("Siti Contoh")
    assert exchanged(sound, before) == set()


async def test_that_a_site_is_not_heard_is_over_once_it_is_none_of_ours_also_where_no_other_is_left(
    reloader: Buggy,
) -> None:
    around = reloader._context
    async with around.store.transaction() as uow:
        brief = replace(trigger().policy, agency="")
        told = {"ours/site/sabah", "ours/quorum"}
        fault = replace(trigger(), type=IncidentType.MONITORING_FAULT, policy=brief)
        await uow.add_incidents([replace(fault, dedup_key=key) for key in sorted(told)])
    runtime = await make_runtime(reloader.runtime.configuration, around)
    assert runtime.reporter.reported_types.keys() == told
    await runtime.reporter.report()
    async with around.store.reading() as uow:
        assert await uow.open_incidents() == []


async def test_what_was_said_of_what_has_left_meanwhile_or_by_who_is_gone_is_said_no_more(
    office: IssuingOffice,
) -> None:
    edit(office, "pantau.yaml", "\nprobing:\n", "\nprobing:\n  sharding: false\n")
    async with in_force(office.config, ENVIRON, office.state) as reloader:
        reloader.tries, history, now = 1, reloader._context.history, reloader._context.clock.now()
        own = reloader.runtime.configuration.settings.process_name
        # Another process that shares nothing, and one that was killed long ago; the last of these has named nobody.
        stays = [f"ours/network@{own}", f"ours/reference/rujukan-a@{own}", "ours/network@sabah-1", "JCONTOH"]
        goes = [
            f"ours/reference/hilang@{own}",
            "ours/network@sabah-2",
            "ours/network@sabah-3",
            "ours/network",
            "HILANG",
        ]
        dead = SiteStatus(trouble=ActiveProblem(type=IncidentType.MONITORING_FAULT, since=now))
        (control, *_) = (each for each in reloader.runtime.routes.values() if each.direction is Direction.CONTROL)
        run = failed(control, now, Outcome.INCONCLUSIVE, Phase.CONNECT)
        await history.record_run(run, "", {}, statuses=dict.fromkeys([*stays, *goes], dead))
        rows = [("sabah-1", now, None), ("sabah-2", now, now), ("sabah-3", now - 2000 * MINUTE, None)]
        async with history._database.write() as connection:
            for name, heartbeat_at, stopped_at in rows:
                row = {"name": name, "started_at": T0, "heartbeat_at": heartbeat_at, "stopped_at": stopped_at}
                await connection.execute(insert(process).values(**row))
        await reloader.reload("Siti Contoh")
        assert sorted(await SiteStatuses(history._database, "putrajaya").subjects()) == sorted(stays)


@pytest.mark.blind
async def test_an_agency_that_leaves_in_the_middle_of_an_outage_and_comes_back_is_known_to_be_down(
    sound: Buggy, office: IssuingOffice
) -> None:
    """Defect: An agency that is removed during an outage and restored is unknown.

    Pantau: Its stored health is taken up.
    """
    around, runtime = sound._context, sound.runtime
    names = [name for name, route in runtime.routes.items() if route.agency == "JCONTOH"]
    now = around.clock.now()
    for name in names:
        runtime.evaluator._trackers[name].health, runtime.evaluator._trackers[name].changed_at = Health.DOWN, now
        runtime.evaluator._changed_healths.add(name)
    async with around.store.transaction() as uow:
        brief = replace(trigger().policy, agency="JCONTOH")
        await uow.add_incidents([replace(trigger(), dedup_key="JCONTOH", at=now, policy=brief)])
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
    (problem,) = await sound.reload("Siti Contoh")
    assert (problem.key, problem.severity) == ("JCONTOH", Severity.WARNING)
    assert sound.runtime.evaluator.mail("JCONTOH").directions() == {}
    assert not any(name.startswith("JCONTOH") for name in watched(sound))
    left, _ = await SiteStatuses(around.store._database, "putrajaya").changed(None)
    assert left["putrajaya"].keys() == {"MPCONTOH", "ours/network"}

    (office.directory / "agencies" / "lain-nama.yaml").write_text(text)
    (problem,) = await sound.reload("Siti Contoh")
    assert "JCONT-01 is open: " in problem.message, "it opened with other people"
    assert set(sound.runtime.evaluator.mail("JCONTOH").directions().values()) == {Health.DOWN}
    assert sound.runtime.reporter._reported_types == {"JCONTOH": trigger().type}


@pytest.mark.blind
async def test_a_direction_that_is_probed_no_more_is_shown_no_more(sound: Buggy, office: IssuingOffice) -> None:
    """Defect: A removed direction keeps its last `pantau_mail_up`.

    Pantau: The series ends.
    """
    metrics, evaluator = sound._metrics, sound.runtime.evaluator
    for name, route in sound.runtime.routes.items():
        if route.agency == "JCONTOH":
            evaluator._trackers[name].health = Health.DOWN
            evaluator._changed_agencies.add("JCONTOH")
    sound.runtime.pipeline.apply_routes()

    def shown() -> set[str]:
        return {each["direction"] for each in Scrape(metrics).labels("mail_up") if each["agency"] == "JCONTOH"}

    assert shown() == {"internal", "outbound", "inbound"}
    edit(office, JCONTOH, "contacts:\n  siti:", "routes: [{direction: internal}]\ncontacts:\n  siti:")
    await sound.reload("Siti Contoh")
    assert shown() == {"internal"}


@pytest.mark.blind
async def test_reloads_in_crowds_and_in_the_middle_of_the_work_end_with_what_the_files_say(
    sound: Buggy, office: IssuingOffice
) -> None:
    """Defect: Reloads in quick succession, or before probing began, meet a half-built runtime.

    Pantau: They end with what the files say.
    """
    working = asyncio.create_task(sound.run())
    wanted = asyncio.Event()
    keeping = asyncio.create_task(sound.reload_on_signal(wanted))
    text = (office.directory / JCONTOH).read_text()
    for interval in range(6, 26):
        (office.directory / JCONTOH).write_text(text + f"probing: {{interval: {interval}m}}\n")
        wanted.set()
        orders = [asyncio.create_task(sound.reload("Siti Contoh")) for _ in range(2)]
        await asyncio.sleep(0)
        if interval % 5 == 0:
            await asyncio.gather(*orders)
    assert await sound.reload("Siti Contoh") == []
    intervals = {route.probing.interval for route in sound.runtime.prober._routes.values() if route.agency == "JCONTOH"}
    assert intervals == {25 * MINUTE}
    assert sound.runtime.evaluator.routes == sound.runtime.prober._routes == sound.runtime.routes
    assert set(sound.runtime.prober._watcher_tasks) == set(watched(sound))
    assert not working.done()
    # An hour from now it looks through what other processes use of pools, whatever is in force then.
    assert any("MailboxCleaner.run" in repr(task.get_coro()) for task in asyncio.all_tasks())
    for task in (working, keeping):
        task.cancel()
    await asyncio.gather(working, keeping, return_exceptions=True)


# -- what is only read at the start ----------------------------------------------------------------------------------


def warned(problems: Sequence[Problem]) -> list[str]:
    assert {problem.severity for problem in problems} <= {Severity.WARNING}
    return [problem.key for problem in problems]


def test_what_is_only_read_at_the_start_is_named_when_it_has_changed(office: IssuingOffice, tmp_path: Path) -> None:
    before = load(office.config, ENVIRON).accepted()
    text = office.config.read_text()
    office.config.write_text(text.replace("state_dir: state", "state_dir: other") + "process_name: lain\n")
    after = load(office.config, ENVIRON).accepted()
    assert warned(needs_restart(before, before, office.config)) == []
    assert warned(needs_restart(before, after, office.config)) == ["state_dir", "process_name"]


def test_texts_that_were_changed_in_their_place_take_effect_at_the_next_start_too(office: IssuingOffice) -> None:
    texts = office.directory / "texts"
    texts.mkdir()
    office.config.write_text(office.config.read_text() + "wording: texts\n")
    before = load(office.config, ENVIRON).accepted()
    ships = Path(wording.__file__).with_name("ms.yaml")
    (texts / "ms.yaml").write_text(ships.read_text().replace("AMARAN", "PERHATIAN"))
    after = load(office.config, ENVIRON).accepted()
    assert warned(needs_restart(before, after, office.config)) == ["wording"]


@pytest.mark.blind
async def test_what_waits_for_a_restart_is_said_logged_and_shown_until_it_is_as_it_was(
    sound: Buggy, office: IssuingOffice
) -> None:
    """Defect: Settings that need a restart are reported once only.

    Pantau: They are reported, logged and shown until they are as at the start.
    """

    def needed() -> float | None:
        return Scrape(sound._metrics).value("config_restart_needed")

    assert needed() == 0
    edit(office, "pantau.yaml", "site: putrajaya", "site: johor")
    for _ in range(2):
        # Said again each time: it has not been restarted yet.
        with capture_logs() as logged:
            assert warned(await sound.reload("Siti Contoh")) == ["site"]
        assert [line["keys"] for line in logged if line["event"] == "settings take effect after a restart"] == [
            ["site"]
        ]
        assert needed() == 1
    edit(office, "pantau.yaml", "site: johor", "site: putrajaya")
    assert await sound.reload("Siti Contoh") == []
    assert needed() == 0


async def test_no_odd_configuration_stops_a_service_or_shows_a_secret_in_its_log_and_journal(tmp_path: Path) -> None:
    config = tmp_path / "pantau" / "pantau.yaml"
    corpus.lay_out_base(config.parent)
    async with in_force(config, corpus.ENVIRON, tmp_path / "store") as reloader:
        reloader.tries = 1  # It has no bug.
        for number, case in enumerate(corpus.cases()):
            # All that may hang or show a secret, and some of the others: a reload takes as long as a start.
            if case.depends_on_the_day or (number % 5 and not case.name.startswith(("places/", "sign-in/"))):
                continue
            case.lay_out(config.parent)
            with capture_logs() as logged:
                async with asyncio.timeout(60):
                    await reloader.reload("Siti Contoh")
            refused = [line["errors"] for line in logged if line["event"].startswith("configuration rejected; the old")]
            errors = [line for line in case.says if ": warning: " not in line]
            assert [corpus.shortened(error, config) for each in refused for error in each] == errors[:20], case.name
            assert bool(refused) is bool(errors), case.name
            assert corpus.CANARY not in repr(logged), case.name
        corpus.lay_out_base(config.parent)
        assert await reloader.reload("Siti Contoh") == []
    kept = b"".join(file.read_bytes() for file in (tmp_path / "store").iterdir())
    assert b"Siti Contoh" in kept
    assert corpus.CANARY.encode() not in kept


async def test_what_another_service_goes_by_is_taken_up_and_what_nobody_has_taken_up_is_left(
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
    async with in_force(office.config, ENVIRON, office.state) as reloader:
        reloader.tries, database = 1, reloader._context.history._database
        ours, sabah = Processes(database, "putrajaya-1"), Process(name="sabah-1", started_at=T0, heartbeat_at=T0)

        def name() -> str:
            return reloader.runtime.configuration.registry.agencies["JCONTOH"].name

        # Its pulse has not beaten yet.
        await reloader.follow_documents([])
        await ours.beat(T0, T0)
        await reloader.follow_documents([sabah])
        assert await _level(database) == 2
        await write(database, text.replace("Jabatan Contoh Malaysia", "Jabatan Baharu"))
        for level in (None, 1, 2):
            await reloader.follow_documents([sabah, replace(sabah, documents=level)])
            assert name() == "Jabatan Contoh Malaysia"
        await reloader.follow_documents([sabah, replace(sabah, documents=3)])
        assert name() == "Jabatan Baharu"
        await reloader.follow_documents([])
        assert await _level(database) == 3

        await write(database, text.replace("domains:", "domain:"))
        with capture_logs() as logged:
            for _ in range(3):
                await reloader.follow_documents([replace(sabah, documents=4)])
        assert [each["event"] for each in logged].count("configuration rejected; the old one stays active") == 1
        assert name() == "Jabatan Baharu"
        await write(database, text)
        reloader.away = True
        await reloader.follow_documents([replace(sabah, documents=5)])
        assert name() == "Jabatan Baharu"
        reloader.away = False
        await reloader.follow_documents([replace(sabah, documents=5)])
        assert name() == "Jabatan Contoh Malaysia"


async def _level(database: Database) -> int | None:
    async with database.read() as connection:
        level: int | None = (await connection.execute(select(process.c.documents))).scalar_one()
        return level
