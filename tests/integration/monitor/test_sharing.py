"""What changes in a process when another one shares the agencies with it, or does so no more."""

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
from monitor.planning.ownership import WHOLE, Shard, TakeoverPolicy
from monitor.planning.schedule import TAKEOVER_SPREAD
from monitor.service.errors import NotFoundError
from monitor.service.portal.on_demand_runs import OnDemandRuns
from monitor.service.probing_runtime import make_runtime
from monitor.service.reloader import Reloader
from monitor.service.sharding import ShardManager
from monitor.service.silences import route_silence_lookup
from monitor.store.probing.processes import Process, Processes
from tests.integration.monitor.test_reloader import JCONTOH, in_force
from tests.unit.alerts.people import T0, incident, trigger
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.trial import SECOND, arrived

NAME = "putrajaya-1"
ACCOUNT = "ours/credentials/JCONTOH/utama"


@pytest.fixture
async def reloader(tmp_path: Path) -> AsyncIterator[Reloader]:
    office = IssuingOffice(tmp_path)
    async with in_force(office.config, ENVIRON, tmp_path / "store") as made:
        made.tries = 1
        yield made


def beside() -> Shard:
    """Return the share of which JCONTOH is not a part, and MPCONTOH is."""
    for number in range(100):
        share = Shard(name=NAME, alive=frozenset({NAME, f"kuching-{number}"}))
        if share.owned(["JCONTOH", "MPCONTOH"]) == {"MPCONTOH"}:
            return share
    raise AssertionError("no such name")


async def opened(reloader: Reloader, *keys: str) -> None:
    async with reloader._context.store.transaction() as uow:
        for key in keys:
            await uow.add_incidents([replace(trigger(), dedup_key=key)])


async def test_a_process_alone_owns_all(reloader: Reloader) -> None:
    runtime = reloader.runtime
    assert runtime.owned == runtime.configuration.registry.agencies.keys() == {"JCONTOH", "MPCONTOH"}
    assert len(runtime.routes) == len(runtime.configuration.registry.routes)
    assert not runtime.peer_evaluator.routes
    assert Scrape(reloader._metrics).value("agencies_owned") == 2


async def test_what_goes_to_another_process_is_probed_judged_told_and_counted_here_no_more(reloader: Reloader) -> None:
    route, *_ = reloader.runtime.configuration.registry.routes_for("JCONTOH")
    reloader.runtime.evaluator.restore({route.name: (Health.DOWN, T0)})
    await opened(reloader, "JCONTOH", ACCOUNT)
    history = reloader._context.history
    await history.record_run(arrived(route, T0), "JCONTOH", {})
    reloader.runtime.reporter.add_agencies(
        {"JCONTOH"}, {"JCONTOH": IncidentType.SENDING, ACCOUNT: IncidentType.MONITORING_FAULT}
    )

    assert await reloader.change_shard(beside()) == set()

    runtime = reloader.runtime
    assert runtime.owned == {"MPCONTOH"}
    assert {each.agency for each in runtime.routes.values()} == {"MPCONTOH", ""}, "control routes are everybody's"
    assert set(runtime.prober._routes) == set(runtime.evaluator.routes) == set(runtime.routes)
    assert route.name not in history.known(), "its last run is another process's from now on"
    assert runtime.reporter.reported_types == {}, "what is open goes on elsewhere, and nothing here ends it"
    await runtime.pipeline._update_statuses(T0)
    assert not {"JCONTOH", ACCOUNT} & runtime.pipeline._unstored_keys, "nor is it written here that all is well there"
    runtime.pipeline._report()
    await runtime.reporter.report()
    async with reloader._context.store.reading() as uow:
        assert {each.dedup_key for each in await uow.open_incidents()} == {"JCONTOH", ACCOUNT}
    assert runtime.evaluator_of("JCONTOH").route_health(route.name) is Health.DOWN, "it is shown as it was judged last"
    scrape = Scrape(reloader._metrics)
    assert scrape.value("agencies_owned") == 1
    assert scrape.value("incidents_open", agency="JCONTOH") is None
    count = scrape.value("incidents_open", agency="MPCONTOH")
    assert count is not None
    assert math.isnan(count), "no engine has looked yet"
    assert runtime.probed_by("MPCONTOH") == ""
    assert runtime.probed_by("JCONTOH").startswith("kuching")
    trials = OnDemandRuns(reloader._lifecycle, reloader._clock, lambda: reloader.runtime)
    with pytest.raises(NotFoundError, match="kuching"):
        await trials.begin("JCONTOH", route.name, by="Siti Contoh")


@pytest.mark.parametrize("by", ["share", "start"])
async def test_gained_outage_is_not_over_by_sites_that_were_well_before_it(reloader: Reloader, by: str) -> None:
    await opened(reloader, "JCONTOH")
    if by == "share":
        await reloader.change_shard(beside())
        await reloader.change_shard(WHOLE)
        reporter = reloader.runtime.reporter
    else:
        reporter = (await make_runtime(reloader.runtime.configuration, reloader._context)).reporter
    well = SiteStatus(up_since=T0 - timedelta(hours=1), directions=dict.fromkeys(Direction, Health.UP))
    for site in (reporter._site, "kuching"):
        reporter.record_status(site, "JCONTOH", well)
    await reporter.report()
    assert "JCONTOH" in reporter.reported_types


async def test_while_a_share_changes_hands_pages_are_read_and_runs_end(
    reloader: Reloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have their turn in the middle of it: nothing is unknown to them, and nothing told to be over."""
    route, *_ = reloader.runtime.configuration.registry.routes_for("JCONTOH")
    await opened(reloader, "JCONTOH", ACCOUNT)
    reloader.runtime.evaluator.restore({route.name: (Health.DOWN, T0)})
    reloader.runtime.reporter.add_agencies(
        {"JCONTOH"}, {"JCONTOH": IncidentType.SENDING, ACCOUNT: IncidentType.MONITORING_FAULT}
    )
    seen: list[Health] = []
    announce = monitor.service.probing_runtime.announce

    async def meanwhile(*told: Any) -> None:
        runtime = reloader.runtime
        seen.append(runtime.evaluator_of("JCONTOH").route_health(route.name))
        runtime.pipeline._export_changes(T0)
        await runtime.pipeline._update_statuses(T0)
        runtime.pipeline._report()
        await runtime.reporter.report()
        await announce(*told)

    monkeypatch.setattr(monitor.service.probing_runtime, "announce", meanwhile)
    await reloader.change_shard(beside())

    assert seen == [Health.DOWN]
    async with reloader._context.store.reading() as uow:
        assert {each.dedup_key for each in await uow.open_incidents()} == {"JCONTOH", ACCOUNT}


async def test_what_comes_from_another_process_goes_on_where_that_one_left_off(reloader: Reloader) -> None:
    await reloader.change_shard(beside())
    around = reloader._context
    now = around.clock.now()
    route = next(
        each for each in reloader.runtime.peer_evaluator.routes.values() if each.direction is Direction.INTERNAL
    )
    # As the other process has written it.
    await around.history.record_sent_token("00000000000000aa", route.name, now - 10 * SECOND, now)
    run = replace(arrived(route, now - 400 * SECOND), token_id="00000000000000bb")
    await around.history.record_run(run, "JCONTOH", {route.name: (Health.DOWN, T0), ACCOUNT: (Health.DOWN, T0)})
    await opened(reloader, "JCONTOH", ACCOUNT, "MPCONTOH")
    standings = around.history._statuses
    assert standings is not None
    # By this process, before the other had it.
    standings.note_written(said := {"JCONTOH": UNTROUBLED})

    assert await reloader.change_shard(WHOLE) == {"JCONTOH"}
    assert standings.changed_from_latest(said) == said, "and the other has perhaps said otherwise since"

    runtime = reloader.runtime
    assert runtime.owned == {"JCONTOH", "MPCONTOH"}
    assert not runtime.peer_evaluator.routes
    assert runtime.evaluator.route_health(route.name) is Health.DOWN
    assert runtime.reporter.reported_types.keys() == {"JCONTOH", ACCOUNT}, "of the other agency it knows better"
    assert runtime.prober._arrivals._missing["00000000000000aa"].route == route.name
    due = runtime.prober._schedule._entries[route.name].due
    assert due <= around.clock.now() + TAKEOVER_SPREAD, "it was due while nobody was there to run it"
    assert Scrape(reloader._metrics).value("agencies_owned") == 2


async def test_thousands_are_taken_over_bit_by_bit_and_all_in_the_end(
    reloader: Reloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = Shard(name=NAME, alive=frozenset({"kuching-1"}))
    await reloader.change_shard(nobody)
    assert reloader.runtime.owned == set()
    monkeypatch.setattr("monitor.service.reloader._MAX_GAINED", 1)

    assert await reloader.change_shard(WHOLE) == {"JCONTOH", "MPCONTOH"}
    assert len(reloader.runtime.routes) == len(reloader.runtime.configuration.registry.routes)
    assert await reloader.change_shard(WHOLE) == set()


async def test_a_reload_keeps_to_the_share_and_the_share_waits_for_a_store_that_is_away(reloader: Reloader) -> None:
    await reloader.change_shard(beside())
    assert [p for p in await reloader.reload("Siti Contoh") if p.key == "store"] == []
    assert reloader.runtime.owned == {"MPCONTOH"}

    class Away:
        async def catch_up(self) -> int:
            raise StoreUnavailable("gone")

        def __getattr__(self, name: str) -> object:
            return getattr(reloader._context.history, name)

    around = reloader._context
    reloader._context = replace(around, history=Away())  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        await reloader.change_shard(WHOLE)
    assert reloader.runtime.owned == {"MPCONTOH"}
    reloader._context = around
    assert await reloader.change_shard(WHOLE) == {"JCONTOH"}


async def test_a_silence_of_what_is_in_trouble_here_hushes_nothing_that_another_site_sees(reloader: Reloader) -> None:
    here, there, *_ = reloader.runtime.configuration.registry.routes_for("JCONTOH")
    reloader.runtime.evaluator.restore({here.name: (Health.DOWN, T0)})
    over = route_silence_lookup(reloader.runtime.failing_routes)
    found = replace(incident(), dedup_key="JCONTOH", policy=replace(incident().policy, agency="JCONTOH"))
    silence = Silence(id=1, target=here.name, starts_at=T0, ends_at=T0 + 60 * SECOND, reason="kerja", by="Siti Contoh")
    assert over(found, [silence], T0) == silence
    reloader.runtime.reporter.record_status(
        "johor", "JCONTOH", SiteStatus(failing_routes=frozenset({here.name, there.name}))
    )
    assert over(found, [silence], T0) is None


async def test_what_a_process_has_said_of_its_own_network_is_taken_back_when_it_is_gone(reloader: Reloader) -> None:
    around, runtime = reloader._context, reloader.runtime
    standings = around.history._statuses
    assert standings is not None
    broken = SiteStatus(trouble=ActiveProblem(type=IncidentType.MONITORING_FAULT, since=T0))
    spoken = ("ours/network@kuching-1", "ours/reference/rujukan-a@kuching-2", "ours/network", "JCONTOH", ACCOUNT)
    here, taken_over = f"ours/network@{NAME}", list[Collection[str]]()

    async def take_over(processes: Collection[str]) -> None:
        taken_over.append(processes)

    run = arrived(next(iter(runtime.routes.values())), T0)
    await around.history.record_run(run, "JCONTOH", {}, statuses=dict.fromkeys((*spoken, here), broken))
    await opened(reloader, "ours/network", "ours/site/johor", ACCOUNT)
    sharing = ShardManager(
        name=NAME,
        processes=Processes(around.store._database, NAME),
        history=around.history,
        reloader=reloader,
        context=around,
        clock=around.clock,
        policy=TakeoverPolicy(),
        take_over_notifications=take_over,
    )
    sharing._shard = Shard(name=NAME, alive=frozenset({NAME, "kuching-2"}))
    for now in (T0 + second * SECOND for second in range(9)):
        beats = {"kuching-1": T0, "kuching-2": now}
        sharing._update_shard([Process(name=name, started_at=T0, heartbeat_at=at) for name, at in beats.items()], now)

    await sharing._take_over_from_dead()

    said, _ = await standings.changed(None)
    assert said["putrajaya"].keys() == {here, "ours/reference/rujukan-a@kuching-2", "JCONTOH", ACCOUNT}
    assert runtime.reporter.reported_types.keys() == {"ours/network", "ours/site/johor"}, (
        "who sees that it is over ends it"
    )
    assert "ours/network" in runtime.pipeline._changed_keys
    assert taken_over == [{NAME, "kuching-1"}], "the dead, and its own earlier lives"


async def test_who_begins_beside_others_runs_a_route_when_they_would_have(reloader: Reloader) -> None:
    around, configuration = reloader._context, reloader.runtime.configuration
    share = beside()
    route = configuration.registry.routes_for("MPCONTOH")[0]
    at = around.clock.now() - route.probing.interval / 2
    await around.history.record_run(arrived(route, at), "MPCONTOH", {})
    for alive, is_resumed in ((share.alive, True), (frozenset({NAME}), False)):
        runtime = await make_runtime(configuration, around, Shard(name=NAME, alive=alive))
        assert (route.name in runtime.prober._last_runs) is is_resumed


async def test_what_others_have_documents_of_is_neither_taken_back_nor_departed(tmp_path: Path) -> None:
    office = IssuingOffice(tmp_path)
    async with in_force(office.config, ENVIRON, tmp_path / "store") as reloader:
        reloader.tries = 1
        around = reloader._context
        run = arrived(next(iter(reloader.runtime.routes.values())), T0)
        await around.history.record_run(run, "JCONTOH", {}, statuses={"JCONTOH": UNTROUBLED, "MPCONTOH": UNTROUBLED})
        both = frozenset({"JCONTOH", "MPCONTOH"})
        await reloader.change_shard(Shard(name=NAME, alive=frozenset({NAME, "kuching-1"}), known={"kuching-1": both}))
        (office.directory / JCONTOH).unlink()
        await reloader.reload("Siti Contoh")
        assert reloader.monitored_agencies == both
        standings = around.history._statuses
        assert standings is not None
        said, _ = await standings.changed(None)
        assert said["putrajaya"].keys() == both

        # The other one reloads, too.
        await reloader.change_shard(
            Shard(name=NAME, alive=frozenset({NAME, "kuching-1"}), known={"kuching-1": frozenset({"MPCONTOH"})})
        )
        assert reloader.monitored_agencies == {"MPCONTOH"}
        said, _ = await standings.changed(None)
        assert said["putrajaya"].keys() == {"MPCONTOH"}
