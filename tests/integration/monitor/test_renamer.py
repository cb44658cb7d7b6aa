"""Renaming of agencies and mailboxes with the shipped configuration on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from alerts.model.event import Resolve
from alerts.model.incident import IncidentState
from alerts.model.notification import IncidentType
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.config.files.problem import Severity
from monitor.config.loading import LoadCache, load
from monitor.metrics import Metrics
from monitor.model.health import Grade, Health
from monitor.model.renaming import RenamedKind, Renaming
from monitor.runtime.systemd import ServiceManager
from monitor.service.errors import OperationRejectedError
from monitor.service.probing_runtime import RuntimeContext
from monitor.service.reloader import Reloader
from monitor.service.renamer import Renamer, RenameResult
from monitor.store.admin.documents import Documents
from monitor.store.admin.renames import Renames
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import History
from monitor.store.probing.records import ConfigurationRecords
from probes.mail.token import TokenSigner
from probes.model.result import Outcome, Phase
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.unit.alerts.people import MINUTE, trigger
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice
from tests.unit.monitor.world import failed

BY = "Siti Contoh"
DAY = timedelta(days=1)
RENAMING = Renaming(kind=RenamedKind.AGENCY, old="JCONTOH", new="JBARU")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenamerEnv:
    """A service with the shipped configuration, and its files."""

    office: IssuingOffice
    station: DispatcherEnv
    reloader: Reloader
    renamer: Renamer
    history: History
    database: Database

    def write(self, old: str, new: str) -> None:
        """Replace a text in all files."""
        for file in (self.office.config, *(self.office.directory / "agencies").iterdir()):
            file.write_text(file.read_text().replace(old, new))

    async def record_failed_run(self, agency: str, *, ago: timedelta = timedelta(0)) -> None:
        """Record a failed run of an agency and its health."""
        route = next(r for r in self.reloader.runtime.routes.values() if r.agency == agency)
        result = failed(route, self.station.clock.now() - ago, Outcome.REJECTED, Phase.SUBMIT)
        judged = {route.name: (Health.DOWN, self.station.clock.now())}
        await self.history.record_run(result, agency, judged, grade=Grade.BAD, interval=5 * MINUTE)

    async def open_incident(self, agency: str) -> None:
        snapshot = replace(trigger().policy, agency=agency)
        await self.station.submit(
            replace(trigger(IncidentType.BOTH, self.station.clock.now()), dedup_key=agency, policy=snapshot)
        )


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[RenamerEnv]:
    office = IssuingOffice(tmp_path)
    with capture_logs():
        async with Database.open(tmp_path / "store") as database:
            station = DispatcherEnv(database)
            store, clock, history = SqlStore(database), station.clock, History(database)
            around = RuntimeContext(
                signer=TokenSigner(b"kunci-untuk-ujian-sahaja-32-okt!", "putrajaya-1"),
                store=store,
                history=history,
                alerting=station.dispatcher,
                metrics=Metrics(version="1", now=clock.now),
                clock=clock,
            )
            reloader = Reloader(
                office.config,
                ENVIRON,
                context=around,
                records=ConfigurationRecords(database),
                documents=Documents(database),
                lifecycle=LifecycleRecorder(store, clock, "pantau@test"),
                pool=station.pool,
                dispatcher=station.dispatcher,
                load_cache=(memory := LoadCache()),
                manager=ServiceManager({}),
            )
            await reloader.begin(load(office.config, ENVIRON, cache=memory).require_configuration())
            renamer = Renamer(renames=Renames(database), reloader=reloader, store=store, history=history, clock=clock)
            yield RenamerEnv(
                office=office, station=station, reloader=reloader, renamer=renamer, history=history, database=database
            )


async def test_rename_agency_continues_with_records_and_incidents(env: RenamerEnv) -> None:
    await env.record_failed_run("JCONTOH")
    await env.open_incident("JCONTOH")
    env.write("agency: JCONTOH", "agency: JBARU")
    done = await env.renamer.rename(RENAMING, BY)
    assert (done.counts["runs"], done.counts["incidents"]) == (1, 1)
    # The policy of the incident has other contacts than the configuration.
    (followed,) = done.problems
    assert (followed.key, followed.severity) == ("JBARU", Severity.WARNING)
    assert "JCONT-01 is open: no longer notified: Ravi Contoh" in followed.message
    runtime = env.reloader.runtime
    assert {route.agency for route in runtime.routes.values()} >= {"JBARU"}
    assert "JCONTOH" not in {route.agency for route in runtime.routes.values()}
    # Health and reported incident are kept.
    assert Health.DOWN in {runtime.evaluator.route_health(name) for name in runtime.routes}
    assert runtime.reporter._reported_types == {"JBARU": IncidentType.BOTH}
    assert [name for name in env.history.known() if name.startswith("JCONTOH/")] == []
    now = env.station.clock.now()
    await env.station.submit(Resolve(dedup_key="JBARU", at=now, ended_at=now))
    assert (await env.station.incident()).state is IncidentState.RESOLVED
    with pytest.raises(OperationRejectedError, match="JCONTOH has been renamed to JBARU before, and nothing is left"):
        await env.renamer.rename(RENAMING, BY)


async def test_rename_twice_concurrently_is_done_once(env: RenamerEnv) -> None:
    await env.record_failed_run("JCONTOH")
    env.write("agency: JCONTOH", "agency: JBARU")
    both = [env.renamer.rename(RENAMING, by) for by in (BY, "Ravi Contoh")]
    done, refused = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(done, RenameResult)
    assert done.counts["runs"] == 1
    assert str(refused).startswith("JCONTOH has been renamed to JBARU before")


async def test_check_suggests_rename_until_done(env: RenamerEnv) -> None:
    office, hint = env.office, "pantau rename agency JCONTOH JBARU"
    await env.record_failed_run("JCONTOH")
    office.state.rmdir()
    office.state.symlink_to(office.directory / "store")
    assert hint not in (await office.ask("check"))[1]
    env.write("agency: JCONTOH", "agency: JBARU")
    code, said = await office.ask("check")
    assert (code, said.count(hint)) == (1, 1), said
    with office.config.open("a") as settings:
        settings.write("store: {url: postgresql://pantau@127.0.0.1/pantau, tls: false}\n")
    assert hint not in (await office.ask("check"))[1], "a PostgreSQL store is not queried"
    office.config.write_text(office.config.read_text().replace("store: {url", "# store: {url"))

    await env.renamer.rename(RENAMING, BY)
    assert hint not in (await office.ask("check"))[1]


async def test_rename_after_reload_is_suggested_and_merges_records(env: RenamerEnv) -> None:
    await env.record_failed_run("JCONTOH")
    await env.open_incident("JCONTOH")
    env.write("agency: JCONTOH", "agency: JBARU")
    problems = [str(problem) for problem in await env.reloader.reload(BY)]
    assert any("pantau rename agency JCONTOH JBARU" in problem for problem in problems), problems
    assert env.reloader.runtime.reporter._reported_types == {}
    await env.record_failed_run("JBARU")
    runtime = env.reloader.runtime
    await runtime.pipeline.report_pending()
    done = await env.renamer.rename(RENAMING, BY)
    assert (done.counts["runs"], done.counts["incidents"]) == (1, 1)
    assert runtime.reporter._reported_types == {"JBARU": IncidentType.BOTH}
    await runtime.pipeline.report_pending()
    assert runtime.reporter._statuses["JBARU"], "this process has reported a status since the reload"
    assert len(await env.history.between("JBARU", env.station.clock.now() - DAY, env.station.clock.now())) == 2


async def test_rename_reference_renames_its_routes(env: RenamerEnv) -> None:
    routes = {name: route for name, route in env.reloader.runtime.routes.items() if "/rujukan-a" in name}
    for route in routes.values():
        result = failed(route, env.station.clock.now(), Outcome.REJECTED, Phase.SUBMIT)
        await env.history.record_run(result, route.agency, {}, grade=Grade.BAD, interval=5 * MINUTE)
    env.write("rujukan-a:", "rujukan-x:")
    env.write("reference: rujukan-a", "reference: rujukan-x")
    renaming = Renaming(kind=RenamedKind.MAILBOX, old="rujukan-a", new="rujukan-x")
    done = await env.renamer.rename(renaming, BY)
    assert done.counts["runs"] == len(routes) > 0
    assert {renaming.route(name) for name in routes} <= env.reloader.runtime.routes.keys()
    assert set(env.history.known()) <= env.reloader.runtime.routes.keys()
    with pytest.raises(OperationRejectedError, match="renamed to rujukan-x before"):
        await env.renamer.rename(renaming, BY)


def _no_edit(_: RenamerEnv) -> None:
    pass


def _edit(old: str, new: str) -> Callable[[RenamerEnv], None]:
    return lambda env: env.write(old, new)


_RENAME_TO_JBARU = _edit("agency: JCONTOH", "agency: JBARU")


@pytest.mark.parametrize(
    ("words", "edit", "says"),
    [
        (("agency", "JCONTOH", "JBARU"), _no_edit, "JCONTOH is still in the configuration: change it to JBARU there"),
        (("agency", "JCONTOH", "JCONTOH"), _no_edit, "JCONTOH is both the old and the new name; there is nothing"),
        (
            ("agency", "JCONTOH", "JBARX"),
            _RENAME_TO_JBARU,
            "there is no agency 'JBARX' in the configuration; did you mean JBARU?",
        ),
        (
            ("agency", "JCONTOG", "JBARU"),
            _RENAME_TO_JBARU,
            "there are no records of an agency 'JCONTOG'; did you mean JCONTOH?",
        ),
        (
            ("agency", "JCONTOH", "JBARU"),
            _edit("agency: JCONTOH", "agensi: JBARU"),
            "has errors, and nothing is renamed",
        ),
        (("mailbox", "rujukan-a", "rujukan-x"), _no_edit, "rujukan-a is still in the configuration"),
        (("mailbox", "rujukan-z", "rujukan-b"), _no_edit, "there are no records of a mailbox 'rujukan-z'"),
        (("mailbox", "JCONTOH/utama", "rujukan-b"), _no_edit, "are not of the same agency; write CODE/KEY for both"),
        (("mailbox", "ZZZ/utama", "ZZZ/lain"), _no_edit, "there is no agency 'ZZZ' in the configuration"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
async def test_rename_wrong_names_are_rejected_with_hint(
    env: RenamerEnv, words: tuple[str, str, str], edit: Callable[[RenamerEnv], None], says: str
) -> None:
    what, old, new = words
    await env.record_failed_run("JCONTOH")
    before = env.reloader.runtime
    edit(env)
    with pytest.raises(OperationRejectedError) as refused:
        await env.renamer.rename(Renaming(kind=RenamedKind(what), old=old, new=new), BY)
    assert says in str(refused.value)
    assert env.reloader.runtime is before
    assert (await Renames(env.database).find_records("JCONTOH")).has_any_record


async def test_rename_to_agency_with_records_is_rejected(env: RenamerEnv) -> None:
    others = sorted(env.reloader.runtime.configuration.registry.agencies.keys() - {"JCONTOH"})
    other = others[0]
    await env.record_failed_run("JCONTOH")
    await env.record_failed_run(other, ago=2 * DAY)
    for file in (env.office.directory / "agencies").iterdir():
        if "agency: JCONTOH" in file.read_text():
            file.unlink()
    with pytest.raises(OperationRejectedError, match=f"{other} has records of its own"):
        await env.renamer.rename(replace(RENAMING, new=other), BY)
