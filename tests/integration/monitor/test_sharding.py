"""Sharding of agencies between processes: changes in one process when another joins or leaves."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import monitor.service.probing_runtime
from alerts.decide.silence import Silence
from alerts.model.notification import IncidentType
from alerts.persistence.store import StoreUnavailable
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.planning.ownership import UNSHARDED, Shard, TakeoverPolicy
from monitor.planning.schedule import TAKEOVER_SPREAD
from monitor.service.errors import NotFoundError
from monitor.service.portal.on_demand_runs import OnDemandRuns
from monitor.service.probing_runtime import make_runtime
from monitor.service.reloader import Reloader
from monitor.service.sharding import ShardManager
from monitor.service.silences import route_silence_lookup
from monitor.store.probing.processes import Process, Processes
from tests.integration.monitor.test_reloader import JCONTOH, start_reloader
from tests.unit.alerts.people import T0, incident, trigger
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.world import SECOND, arrived

PROCESS = "putrajaya-1"
CREDENTIAL_KEY = "ours/credentials/JCONTOH/utama"


@pytest.fixture
async def reloader(tmp_path: Path) -> AsyncIterator[Reloader]:
    office = IssuingOffice(tmp_path)
    async with start_reloader(office.config, ENVIRON, tmp_path / "store") as made:
        made.tries = 1
        yield made


def shard_without_jcontoh() -> Shard:
    """Return a shard that owns MPCONTOH and not JCONTOH."""
    for number in range(100):
        shard = Shard(name=PROCESS, alive=frozenset({PROCESS, f"kuching-{number}"}))
        if shard.owned(["JCONTOH", "MPCONTOH"]) == {"MPCONTOH"}:
            return shard
    raise AssertionError("no such name")


async def store_incidents(reloader: Reloader, *keys: str) -> None:
    async with reloader._context.store.transaction() as uow:
        for key in keys:
            await uow.add_incidents([replace(trigger(), dedup_key=key)])


async def test_unsharded_process_owns_all_agencies(reloader: Reloader) -> None:
    runtime = reloader.runtime
    assert runtime.owned == runtime.configuration.registry.agencies.keys() == {"JCONTOH", "MPCONTOH"}
    assert len(runtime.routes) == len(runtime.configuration.registry.routes)
    assert not runtime.peer_evaluator.routes
    assert Scrape(reloader._metrics).value("agencies_owned") == 2


async def test_agency_moved_to_other_process_is_no_longer_handled_here(reloader: Reloader) -> None:
    route, *_ = reloader.runtime.configuration.registry.routes_for("JCONTOH")
    reloader.runtime.evaluator.restore({route.name: (Health.DOWN, T0)})
    await store_incidents(reloader, "JCONTOH", CREDENTIAL_KEY)
    history = reloader._context.history
    await history.record_run(arrived(route, T0), "JCONTOH", {})
    reloader.runtime.reporter.add_agencies(
        {"JCONTOH"}, {"JCONTOH": IncidentType.SENDING, CREDENTIAL_KEY: IncidentType.MONITORING_FAULT}
    )

    assert await reloader.change_shard(shard_without_jcontoh()) == set()

    runtime = reloader.runtime
    assert runtime.owned == {"MPCONTOH"}
    assert {each.agency for each in runtime.routes.values()} == {"MPCONTOH", ""}, "every process runs control routes"
    assert set(runtime.prober._routes) == set(runtime.evaluator.routes) == set(runtime.routes)
    assert route.name not in history.known(), "the last run belongs to the other process"
    assert runtime.reporter.reported_types == {}, "the other process handles open incidents"
    await runtime.pipeline._update_statuses(T0)
    assert not {"JCONTOH", CREDENTIAL_KEY} & runtime.pipeline._unstored_keys, "no status is written for moved subjects"
    runtime.pipeline._report()
    await runtime.reporter.report()
    async with reloader._context.store.reading() as uow:
        assert {each.dedup_key for each in await uow.open_incidents()} == {"JCONTOH", CREDENTIAL_KEY}
    assert runtime.evaluator_of("JCONTOH").route_health(route.name) is Health.DOWN, "the last known health is shown"
    scrape = Scrape(reloader._metrics)
    assert scrape.value("agencies_owned") == 1
    assert scrape.value("incidents_open", agency="JCONTOH") is None
    count = scrape.value("incidents_open", agency="MPCONTOH")
    assert count is not None
    assert math.isnan(count), "no engine has counted yet"
    assert runtime.probed_by("MPCONTOH") == ""
    assert runtime.probed_by("JCONTOH").startswith("kuching")
    runs = OnDemandRuns(reloader._lifecycle, reloader._clock, lambda: reloader.runtime)
    with pytest.raises(NotFoundError, match="kuching"):
        await runs.begin("JCONTOH", route.name, by="Siti Contoh")


@pytest.mark.parametrize("by", ["share", "start"])
async def test_gained_outage_not_resolved_by_statuses_from_before_it(reloader: Reloader, by: str) -> None:
    await store_incidents(reloader, "JCONTOH")
    if by == "share":
        await reloader.change_shard(shard_without_jcontoh())
        await reloader.change_shard(UNSHARDED)
        reporter = reloader.runtime.reporter
    else:
        reporter = (await make_runtime(reloader.runtime.configuration, reloader._context)).reporter
    well = SiteStatus(up_since=T0 - timedelta(hours=1), directions=dict.fromkeys(Direction, Health.UP))
    for site in (reporter._site, "kuching"):
        reporter.record_status(site, "JCONTOH", well)
    await reporter.report()
    assert "JCONTOH" in reporter.reported_types


async def test_change_shard_readers_meanwhile_see_known_health(
    reloader: Reloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks that run during the change see the known health, and no incident is resolved."""
    route, *_ = reloader.runtime.configuration.registry.routes_for("JCONTOH")
    await store_incidents(reloader, "JCONTOH", CREDENTIAL_KEY)
    reloader.runtime.evaluator.restore({route.name: (Health.DOWN, T0)})
    reloader.runtime.reporter.add_agencies(
        {"JCONTOH"}, {"JCONTOH": IncidentType.SENDING, CREDENTIAL_KEY: IncidentType.MONITORING_FAULT}
    )
    healths: list[Health] = []
    register_metrics = monitor.service.probing_runtime.register_metrics

    async def meanwhile(*arguments: Any) -> None:
        runtime = reloader.runtime
        healths.append(runtime.evaluator_of("JCONTOH").route_health(route.name))
        runtime.pipeline._export_changes(T0)
        await runtime.pipeline._update_statuses(T0)
        runtime.pipeline._report()
        await runtime.reporter.report()
        await register_metrics(*arguments)

    monkeypatch.setattr(monitor.service.probing_runtime, "register_metrics", meanwhile)
    await reloader.change_shard(shard_without_jcontoh())

    assert healths == [Health.DOWN]
    async with reloader._context.store.reading() as uow:
        assert {each.dedup_key for each in await uow.open_incidents()} == {"JCONTOH", CREDENTIAL_KEY}


async def test_gained_agency_continues_from_stored_state(reloader: Reloader) -> None:
    await reloader.change_shard(shard_without_jcontoh())
    around = reloader._context
    now = around.clock.now()
    route = next(
        each for each in reloader.runtime.peer_evaluator.routes.values() if each.direction is Direction.INTERNAL
    )
    # Records of the other process.
    await around.history.record_sent_token("00000000000000aa", route.name, now - 10 * SECOND, now)
    run = replace(arrived(route, now - 400 * SECOND), token_id="00000000000000bb")
    await around.history.record_run(run, "JCONTOH", {route.name: (Health.DOWN, T0), CREDENTIAL_KEY: (Health.DOWN, T0)})
    await store_incidents(reloader, "JCONTOH", CREDENTIAL_KEY, "MPCONTOH")
    site_statuses = around.history._statuses
    assert site_statuses is not None
    # Written by this process before the move.
    site_statuses.note_written(found_statuses := {"JCONTOH": UNTROUBLED})

    assert await reloader.change_shard(UNSHARDED) == {"JCONTOH"}
    assert site_statuses.changed_from_latest(found_statuses) == found_statuses, (
        "the other process may have written another status since"
    )

    runtime = reloader.runtime
    assert runtime.owned == {"JCONTOH", "MPCONTOH"}
    assert not runtime.peer_evaluator.routes
    assert runtime.evaluator.route_health(route.name) is Health.DOWN
    assert runtime.reporter.reported_types.keys() == {"JCONTOH", CREDENTIAL_KEY}, (
        "the incident of the other agency is not taken over"
    )
    assert runtime.prober._arrivals._missing["00000000000000aa"].route == route.name
    due = runtime.prober._schedule._entries[route.name].due
    assert due <= around.clock.now() + TAKEOVER_SPREAD, "it became due while no process owned it"
    assert Scrape(reloader._metrics).value("agencies_owned") == 2


async def test_change_shard_many_agencies_are_gained_in_batches(
    reloader: Reloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = Shard(name=PROCESS, alive=frozenset({"kuching-1"}))
    await reloader.change_shard(nobody)
    assert reloader.runtime.owned == set()
    monkeypatch.setattr("monitor.service.reloader._MAX_GAINED", 1)

    assert await reloader.change_shard(UNSHARDED) == {"JCONTOH", "MPCONTOH"}
    assert len(reloader.runtime.routes) == len(reloader.runtime.configuration.registry.routes)
    assert await reloader.change_shard(UNSHARDED) == set()


async def test_reload_keeps_shard_and_change_shard_fails_while_store_unavailable(reloader: Reloader) -> None:
    await reloader.change_shard(shard_without_jcontoh())
    assert [p for p in await reloader.reload("Siti Contoh") if p.key == "store"] == []
    assert reloader.runtime.owned == {"MPCONTOH"}

    class UnavailableHistory:
        async def catch_up(self) -> int:
            raise StoreUnavailable("gone")

        def __getattr__(self, name: str) -> object:
            return getattr(reloader._context.history, name)

    around = reloader._context
    reloader._context = replace(around, history=UnavailableHistory())  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        await reloader.change_shard(UNSHARDED)
    assert reloader.runtime.owned == {"MPCONTOH"}
    reloader._context = around
    assert await reloader.change_shard(UNSHARDED) == {"JCONTOH"}


async def test_route_silence_does_not_cover_failures_at_other_site(reloader: Reloader) -> None:
    here, there, *_ = reloader.runtime.configuration.registry.routes_for("JCONTOH")
    reloader.runtime.evaluator.restore({here.name: (Health.DOWN, T0)})
    find_silence = route_silence_lookup(reloader.runtime.failing_routes)
    found = replace(incident(), dedup_key="JCONTOH", policy=replace(incident().policy, agency="JCONTOH"))
    silence = Silence(id=1, target=here.name, starts_at=T0, ends_at=T0 + 60 * SECOND, reason="kerja", by="Siti Contoh")
    assert find_silence(found, [silence], T0) == silence
    reloader.runtime.reporter.record_status(
        "johor", "JCONTOH", SiteStatus(failing_routes=frozenset({here.name, there.name}))
    )
    assert find_silence(found, [silence], T0) is None


async def test_take_over_withdraws_statuses_of_dead_process(reloader: Reloader) -> None:
    around, runtime = reloader._context, reloader.runtime
    site_statuses = around.history._statuses
    assert site_statuses is not None
    broken = SiteStatus(trouble=ActiveProblem(type=IncidentType.MONITORING_FAULT, since=T0))
    subjects = (
        "ours/network@kuching-1",
        "ours/reference/rujukan-a@kuching-2",
        "ours/network",
        "JCONTOH",
        CREDENTIAL_KEY,
    )
    here, taken_over = f"ours/network@{PROCESS}", list[Collection[str]]()

    async def take_over(processes: Collection[str]) -> None:
        taken_over.append(processes)

    run = arrived(next(iter(runtime.routes.values())), T0)
    await around.history.record_run(run, "JCONTOH", {}, statuses=dict.fromkeys((*subjects, here), broken))
    await store_incidents(reloader, "ours/network", "ours/site/johor", CREDENTIAL_KEY)
    manager = ShardManager(
        name=PROCESS,
        processes=Processes(around.store._database, PROCESS),
        history=around.history,
        reloader=reloader,
        context=around,
        clock=around.clock,
        policy=TakeoverPolicy(),
        take_over_notifications=take_over,
    )
    manager._shard = Shard(name=PROCESS, alive=frozenset({PROCESS, "kuching-2"}))
    for now in (T0 + second * SECOND for second in range(9)):
        beats = {"kuching-1": T0, "kuching-2": now}
        manager._update_shard([Process(name=name, started_at=T0, heartbeat_at=at) for name, at in beats.items()], now)

    await manager._take_over_from_dead()

    found_statuses, _ = await site_statuses.changed(None)
    assert found_statuses["putrajaya"].keys() == {here, "ours/reference/rujukan-a@kuching-2", "JCONTOH", CREDENTIAL_KEY}
    assert runtime.reporter.reported_types.keys() == {"ours/network", "ours/site/johor"}, (
        "the process that detects the recovery resolves it"
    )
    assert "ours/network" in runtime.pipeline._changed_keys
    assert taken_over == [{PROCESS, "kuching-1"}], "the dead process and earlier runs of this one"


async def test_start_with_other_processes_resumes_last_runs(reloader: Reloader) -> None:
    around, configuration = reloader._context, reloader.runtime.configuration
    shard = shard_without_jcontoh()
    route = configuration.registry.routes_for("MPCONTOH")[0]
    at = around.clock.now() - route.probing.interval / 2
    await around.history.record_run(arrived(route, at), "MPCONTOH", {})
    for alive, is_resumed in ((shard.alive, True), (frozenset({PROCESS}), False)):
        runtime = await make_runtime(configuration, around, Shard(name=PROCESS, alive=alive))
        assert (route.name in runtime.prober._last_runs) is is_resumed


async def test_agency_in_documents_of_other_process_is_not_removed(tmp_path: Path) -> None:
    office = IssuingOffice(tmp_path)
    async with start_reloader(office.config, ENVIRON, tmp_path / "store") as reloader:
        reloader.tries = 1
        around = reloader._context
        run = arrived(next(iter(reloader.runtime.routes.values())), T0)
        await around.history.record_run(run, "JCONTOH", {}, statuses={"JCONTOH": UNTROUBLED, "MPCONTOH": UNTROUBLED})
        both = frozenset({"JCONTOH", "MPCONTOH"})
        await reloader.change_shard(
            Shard(name=PROCESS, alive=frozenset({PROCESS, "kuching-1"}), other_documents={"kuching-1": both})
        )
        (office.directory / JCONTOH).unlink()
        await reloader.reload("Siti Contoh")
        assert reloader.monitored_agencies == both
        site_statuses = around.history._statuses
        assert site_statuses is not None
        found_statuses, _ = await site_statuses.changed(None)
        assert found_statuses["putrajaya"].keys() == both

        # The other process reloads, too.
        await reloader.change_shard(
            Shard(
                name=PROCESS,
                alive=frozenset({PROCESS, "kuching-1"}),
                other_documents={"kuching-1": frozenset({"MPCONTOH"})},
            )
        )
        assert reloader.monitored_agencies == {"MPCONTOH"}
        found_statuses, _ = await site_statuses.changed(None)
        assert found_statuses["putrajaya"].keys() == {"MPCONTOH"}
