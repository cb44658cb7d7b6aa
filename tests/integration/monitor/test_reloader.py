"""Which configuration is in force: with the one that ships, on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from alerts import wording
from alerts.clock import SystemClock
from alerts.incident import IncidentState
from alerts.store import StoreAway
from monitor.config.loading import Configuration, load
from monitor.config.problem import Problem, Severity
from monitor.metrics import Metrics
from monitor.proof.lifecycle import Lifecycle
from monitor.reloader import Reloader, needs_restart
from monitor.store.database import Database
from monitor.store.history import History
from monitor.store.ledger import SqlStore
from monitor.store.records import Records
from monitor.watch import Surroundings, announce, make_watch, retire
from probes.token import TokenSigner
from tests.integration.alerts.station import Station
from tests.unit.alerts.people import MINUTE, trigger
from tests.unit.monitor.cli.office import ENVIRON, Office
from tests.unit.monitor.scrape import Scrape


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


class Buggy(Reloader):
    """Fails once for a bug of ours, behind everything that is checked; or its store is away."""

    tries = 0
    away = False

    async def _take_up(self, configuration: Configuration, by: str) -> None:
        if self.away:
            await super()._take_up(configuration, by)
        self.tries += 1
        if self.tries == 1:
            raise ZeroDivisionError

    async def _record(self, configuration: Configuration, by: str) -> None:
        if self.away:
            raise StoreAway("disk full")
        await super()._record(configuration, by)


@pytest.fixture
async def reloader(office: Office, tmp_path: Path) -> AsyncIterator[Buggy]:
    async with Database.open(tmp_path / "store") as database:
        station = Station(database)
        store, clock = SqlStore(database), station.clock
        around = Surroundings(
            signer=TokenSigner(b"kunci-untuk-ujian-sahaja-32-okt!", "putrajaya-1"),
            store=store,
            history=History(database),
            alerting=station.dispatcher,
            metrics=Metrics(version="1", now=clock.now),
            clock=clock,
        )
        made = Buggy(
            office.config,
            ENVIRON,
            around=around,
            records=Records(database),
            lifecycle=Lifecycle(store, clock, "pantau@test"),
            exchange=station.exchange,
            dispatcher=station.dispatcher,
        )
        await made.begin(load(office.config, ENVIRON).accepted())
        yield made


async def test_a_bug_in_a_reload_leaves_the_old_configuration_in_force_and_the_next_signal_is_heard(
    reloader: Buggy,
) -> None:
    wanted, before = asyncio.Event(), reloader.watch
    with capture_logs() as logged:
        keeping = asyncio.create_task(reloader.keep_reloading(wanted))
        async with asyncio.timeout(60):
            for tries in (1, 2):
                wanted.set()
                while reloader.tries < tries and not keeping.done():  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.01)
    assert not keeping.done()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert reloader.watch is before
    failures = [line for line in logged if line["log_level"] == "error"]
    assert [(line["event"], line["what"]) for line in failures] == [("failed; trying again", "reload")]


async def test_while_the_store_is_away_the_old_configuration_and_its_gateways_stay(reloader: Buggy) -> None:
    before, lines = reloader.watch, list(reloader._exchange)
    reloader.away = True
    with capture_logs() as logged:
        (problem,) = await reloader.reload("Siti Contoh")
    assert (problem.key, problem.severity) == ("store", Severity.ERROR)
    assert "disk full" in problem.message
    assert [line["event"] for line in logged] == ["configuration not taken up; the old one stays in force"]
    assert reloader.watch is before
    assert list(reloader._exchange) == lines


async def test_a_reload_that_failed_is_shown_as_one(reloader: Buggy) -> None:
    def succeeded() -> float | None:
        return Scrape(reloader._metrics).value("config_reload_success")

    assert succeeded() == 1
    with pytest.raises(ZeroDivisionError):
        await reloader.reload("Siti Contoh")
    assert succeeded() == 0


async def test_a_start_knows_how_often_an_agency_has_fallen_lately_and_what_was_held_open(reloader: Buggy) -> None:
    around, configuration = reloader._around, reloader.watch.configuration
    now = around.clock.now()

    async def is_unsteady(code: str) -> bool:
        """Whether the next fall would be held open."""
        judge = (await make_watch(configuration, around)).judge
        return judge._agencies[code]._flapping.is_unsteady(now)

    async def fell(code: str, at: datetime, *, unsteady: bool = False, over: bool = True) -> None:
        async with around.store.transaction() as ledger:
            opened = await ledger.add_incident(replace(trigger(), dedup_key=code, at=at, unsteady=unsteady))
            if over:
                ended = replace(opened, state=IncidentState.RESOLVED, resolved_at=at, ended_at=at)
                await ledger.save_incident(ended)

    for minutes in (70, 40, 20):
        await fell("JCONTOH", now - minutes * MINUTE)
    assert not await is_unsteady("JCONTOH"), "the first was too long ago"
    await fell("JCONTOH", now - 10 * MINUTE)
    assert await is_unsteady("JCONTOH")
    assert not await is_unsteady("MPCONTOH")
    await fell("MPCONTOH", now - 300 * MINUTE, unsteady=True, over=False)
    assert await is_unsteady("MPCONTOH"), "it hides how often it fell since"


def test_what_left_the_configuration_is_shown_no_more(office: Office) -> None:
    before = load(office.config, ENVIRON).accepted()
    text = office.config.read_text()
    office.config.write_text(text.replace("name: sms-utama", "name: sms-baharu"))
    (office.directory / "agencies" / "majlis-contoh.yaml").unlink()
    after = load(office.config, ENVIRON).accepted()
    metrics = Metrics(version="1", now=SystemClock().now)
    for configuration in (before, after):
        announce(metrics, configuration, ())
        for channel, entries in configuration.settings.gateways.items():
            for entry in entries:
                metrics.gateway_judged(channel, entry.name, up=True)

    retire(metrics, before, after)

    scrape = Scrape(metrics)
    gateways = {labels["gateway"] for labels in scrape.labels("gateway_up")}
    assert {"sms-baharu", "suara-utama"} <= gateways
    assert "sms-utama" not in gateways
    assert {labels["agency"] for labels in scrape.labels("incidents_open")} == {"", "JCONTOH"}


# -- what is only read at the start ----------------------------------------------------------------------------------


def warned(problems: Sequence[Problem]) -> list[str]:
    assert {problem.severity for problem in problems} <= {Severity.WARNING}
    return [problem.key for problem in problems]


def test_what_is_only_read_at_the_start_is_named_when_it_has_changed(office: Office, tmp_path: Path) -> None:
    before = load(office.config, ENVIRON).accepted()
    text = office.config.read_text()
    office.config.write_text(text.replace("state: state", "state: other") + "prober: lain\n")
    after = load(office.config, ENVIRON).accepted()
    assert warned(needs_restart(before, before, office.config)) == []
    assert warned(needs_restart(before, after, office.config)) == ["state", "prober"]


def test_texts_that_were_changed_in_their_place_take_effect_at_the_next_start_too(office: Office) -> None:
    texts = office.directory / "texts"
    texts.mkdir()
    office.config.write_text(office.config.read_text() + "wording: texts\n")
    before = load(office.config, ENVIRON).accepted()
    ships = Path(wording.__file__).with_name("ms.yaml")
    (texts / "ms.yaml").write_text(ships.read_text().replace("AMARAN", "PERHATIAN"))
    after = load(office.config, ENVIRON).accepted()
    assert warned(needs_restart(before, after, office.config)) == ["wording"]
