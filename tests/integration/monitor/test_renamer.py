"""An agency is called otherwise in the files: what it has lived through follows, with what ships, on a real store."""

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
from monitor.audit.lifecycle import Lifecycle
from monitor.config.files.problem import Severity
from monitor.config.loading import LoadCache, load
from monitor.metrics import Metrics
from monitor.model.health import Grade, Health
from monitor.model.renaming import Renamed, Renaming
from monitor.runtime.systemd import ServiceManager
from monitor.service.errors import OperationRejectedError
from monitor.service.probing_runtime import RuntimeContext
from monitor.service.reloader import Reloader
from monitor.service.renamer import Renamer, RenameResult
from monitor.store.admin.documents import Documents
from monitor.store.admin.renames import Renames
from monitor.store.backend.database import Database
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.history import History
from monitor.store.probing.records import ConfigurationRecords
from probes.mail.token import TokenSigner
from probes.model.result import Outcome, Phase
from tests.integration.alerts.station import Station
from tests.unit.alerts.people import MINUTE, trigger
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice
from tests.unit.monitor.trial import failed

BY = "Siti Contoh"
DAY = timedelta(days=1)
AGENCY = Renaming(kind=Renamed.AGENCY, old="JCONTOH", new="JBARU")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLocation:
    """A service that watches what ships, and its files."""

    office: IssuingOffice
    station: Station
    reloader: Reloader
    renamer: Renamer
    history: History
    database: Database

    def write(self, old: str, new: str) -> None:
        """Write something else into the files."""
        for file in (self.office.config, *(self.office.directory / "agencies").iterdir()):
            file.write_text(file.read_text().replace(old, new))

    async def ran(self, agency: str, *, ago: timedelta = timedelta(0)) -> None:
        """Let a run of an agency have failed, and be judged."""
        route = next(r for r in self.reloader.runtime.routes.values() if r.agency == agency)
        result = failed(route, self.station.clock.now() - ago, Outcome.REJECTED, Phase.SUBMIT)
        judged = {route.name: (Health.DOWN, self.station.clock.now())}
        await self.history.record_run(result, agency, judged, grade=Grade.BAD, interval=5 * MINUTE)

    async def fails(self, agency: str) -> None:
        brief = replace(trigger().policy, agency=agency)
        await self.station.submit(
            replace(trigger(IncidentType.BOTH, self.station.clock.now()), dedup_key=agency, policy=brief)
        )


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[SourceLocation]:
    office = IssuingOffice(tmp_path)
    with capture_logs():
        async with Database.open(tmp_path / "store") as database:
            station = Station(database)
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
                lifecycle=Lifecycle(store, clock, "pantau@test"),
                pool=station.pool,
                dispatcher=station.dispatcher,
                memory=(memory := LoadCache()),
                manager=ServiceManager({}),
            )
            await reloader.begin(load(office.config, ENVIRON, cache=memory).accepted())
            renamer = Renamer(renames=Renames(database), reloader=reloader, store=store, history=history, clock=clock)
            yield SourceLocation(
                office=office, station=station, reloader=reloader, renamer=renamer, history=history, database=database
            )


async def test_an_agency_that_the_files_call_otherwise_goes_on_as_it_was(place: SourceLocation) -> None:
    await place.ran("JCONTOH")
    await place.fails("JCONTOH")
    place.write("agency: JCONTOH", "agency: JBARU")
    done = await place.renamer.rename(AGENCY, BY)
    assert (done.counts["runs"], done.counts["incidents"]) == (1, 1)
    # The incident was opened with the contacts of another test.
    (followed,) = done.problems
    assert (followed.key, followed.severity) == ("JBARU", Severity.WARNING)
    assert "JCONT-01 is open: no longer told: Ravi Contoh" in followed.message
    runtime = place.reloader.runtime
    assert {route.agency for route in runtime.routes.values()} >= {"JBARU"}
    assert "JCONTOH" not in {route.agency for route in runtime.routes.values()}
    # How it was judged, and what was told of it, is known still.
    assert Health.DOWN in {runtime.evaluator.route_health(name) for name in runtime.routes}
    assert runtime.reporter._reported_types == {"JBARU": IncidentType.BOTH}
    assert [name for name in place.history.known() if name.startswith("JCONTOH/")] == []
    now = place.station.clock.now()
    await place.station.submit(Resolve(dedup_key="JBARU", at=now, ended_at=now))
    assert (await place.station.incident()).state is IncidentState.RESOLVED
    with pytest.raises(OperationRejectedError, match="JCONTOH has been renamed to JBARU before, and nothing is left"):
        await place.renamer.rename(AGENCY, BY)


async def test_of_two_who_say_so_at_once_one_hears_that_it_was_done(place: SourceLocation) -> None:
    await place.ran("JCONTOH")
    place.write("agency: JCONTOH", "agency: JBARU")
    both = [place.renamer.rename(AGENCY, by) for by in (BY, "Ravi Contoh")]
    done, refused = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(done, RenameResult)
    assert done.counts["runs"] == 1
    assert str(refused).startswith("JCONTOH has been renamed to JBARU before")


async def test_a_check_asks_before_anything_is_reloaded_and_no_more_once_it_was_renamed(place: SourceLocation) -> None:
    office, hint = place.office, "pantau rename agency JCONTOH JBARU"
    await place.ran("JCONTOH")
    office.state.rmdir()
    office.state.symlink_to(office.directory / "store")
    assert hint not in (await office.ask("check"))[1]
    place.write("agency: JCONTOH", "agency: JBARU")
    code, said = await office.ask("check")
    assert (code, said.count(hint)) == (1, 1), said
    with office.config.open("a") as settings:
        settings.write("store: {url: postgresql://pantau@127.0.0.1/pantau, tls: false}\n")
    assert hint not in (await office.ask("check"))[1], "what a server holds is not asked"
    office.config.write_text(office.config.read_text().replace("store: {url", "# store: {url"))

    await place.renamer.rename(AGENCY, BY)
    assert hint not in (await office.ask("check"))[1]


async def test_whoever_has_edited_the_file_alone_is_asked_and_can_say_so_later(place: SourceLocation) -> None:
    await place.ran("JCONTOH")
    await place.fails("JCONTOH")
    place.write("agency: JCONTOH", "agency: JBARU")
    problems = [str(problem) for problem in await place.reloader.reload(BY)]
    assert any("pantau rename agency JCONTOH JBARU" in problem for problem in problems), problems
    assert place.reloader.runtime.reporter._reported_types == {}
    await place.ran("JBARU")
    runtime = place.reloader.runtime
    await runtime.pipeline.report_pending()
    done = await place.renamer.rename(AGENCY, BY)
    assert (done.counts["runs"], done.counts["incidents"]) == (1, 1)
    assert runtime.reporter._reported_types == {"JBARU": IncidentType.BOTH}
    await runtime.pipeline.report_pending()
    assert runtime.reporter._statuses["JBARU"], "nothing is told of one of which this process has not spoken since"
    assert len(await place.history.between("JBARU", place.station.clock.now() - DAY, place.station.clock.now())) == 2


async def test_a_reference_that_the_files_call_otherwise_takes_its_routes_with_it(place: SourceLocation) -> None:
    routes = {name: route for name, route in place.reloader.runtime.routes.items() if "/rujukan-a" in name}
    for route in routes.values():
        result = failed(route, place.station.clock.now(), Outcome.REJECTED, Phase.SUBMIT)
        await place.history.record_run(result, route.agency, {}, grade=Grade.BAD, interval=5 * MINUTE)
    place.write("rujukan-a:", "rujukan-x:")
    place.write("reference: rujukan-a", "reference: rujukan-x")
    renaming = Renaming(kind=Renamed.MAILBOX, old="rujukan-a", new="rujukan-x")
    done = await place.renamer.rename(renaming, BY)
    assert done.counts["runs"] == len(routes) > 0
    assert {renaming.route(name) for name in routes} <= place.reloader.runtime.routes.keys()
    assert set(place.history.known()) <= place.reloader.runtime.routes.keys()
    with pytest.raises(OperationRejectedError, match="renamed to rujukan-x before"):
        await place.renamer.rename(renaming, BY)


def _nothing(_: SourceLocation) -> None:
    pass


def _edit(old: str, new: str) -> Callable[[SourceLocation], None]:
    return lambda place: place.write(old, new)


_TO_BARU = _edit("agency: JCONTOH", "agency: JBARU")


@pytest.mark.parametrize(
    ("order", "edit", "says"),
    [
        (("agency", "JCONTOH", "JBARU"), _nothing, "JCONTOH is in the configuration still: write JBARU there first"),
        (("agency", "JCONTOH", "JCONTOH"), _nothing, "JCONTOH is called so already; there is nothing to do"),
        (
            ("agency", "JCONTOH", "JBARX"),
            _TO_BARU,
            "there is no agency 'JBARX' in the configuration; did you mean JBARU?",
        ),
        (
            ("agency", "JCONTOG", "JBARU"),
            _TO_BARU,
            "there are no records of an agency 'JCONTOG'; did you mean JCONTOH?",
        ),
        (
            ("agency", "JCONTOH", "JBARU"),
            _edit("agency: JCONTOH", "agensi: JBARU"),
            "has errors, and nothing is renamed",
        ),
        (("mailbox", "rujukan-a", "rujukan-x"), _nothing, "rujukan-a is in the configuration still"),
        (("mailbox", "rujukan-z", "rujukan-b"), _nothing, "there are no records of a mailbox 'rujukan-z'"),
        (("mailbox", "JCONTOH/utama", "rujukan-b"), _nothing, "are not of the same agency; write CODE/KEY for both"),
        (("mailbox", "ZZZ/utama", "ZZZ/lain"), _nothing, "there is no agency 'ZZZ' in the configuration"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
async def test_who_mistypes_is_told_what_to_write_and_nothing_is_renamed(
    place: SourceLocation, order: tuple[str, str, str], edit: Callable[[SourceLocation], None], says: str
) -> None:
    what, old, new = order
    await place.ran("JCONTOH")
    before = place.reloader.runtime
    edit(place)
    with pytest.raises(OperationRejectedError) as refused:
        await place.renamer.rename(Renaming(kind=Renamed(what), old=old, new=new), BY)
    assert says in str(refused.value)
    assert place.reloader.runtime is before
    assert (await Renames(place.database).known("JCONTOH")).is_anything


async def test_two_agencies_do_not_become_one(place: SourceLocation) -> None:
    others = sorted(place.reloader.runtime.configuration.registry.agencies.keys() - {"JCONTOH"})
    other = others[0]
    await place.ran("JCONTOH")
    await place.ran(other, ago=2 * DAY)
    for file in (place.office.directory / "agencies").iterdir():
        if "agency: JCONTOH" in file.read_text():
            file.unlink()
    with pytest.raises(OperationRejectedError, match=f"{other} has records of its own"):
        await place.renamer.rename(replace(AGENCY, new=other), BY)
