"""Wallboard and alerts in a real Prometheus while an agency is down and Pantau is dead, hanging or unreachable."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress

import pytest
import pytest_asyncio

from pantau_lab.mail import Fault
from tests.real.prometheus import Alertmanager, Prometheus, alertmanager, prometheus
from tests.stories.running_service import JCM, RunningService, running_service
from tests.unit.grafana.dashboards import GRAFANA, displayed_value, panels

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

#: Queries of the wallboard's numbers and table, by title.
STATS = {
    panel["title"]: target["expr"]
    for panel in panels("pantau-overview")
    if panel["type"] in {"stat", "table"}
    for target in panel["targets"]
}
DOWN = "Down · Terganggu"
ALERTMANAGER = GRAFANA.parent / "deploy" / "alertmanager" / "alertmanager.yml"
#: Failed scrapes in a row, at one a second instead of every 15 s: 30 s, and over three minutes. The tests of the rules
#: cover hours.
SOON, FAILED = 2, 13


class BlockableProxy:
    """Proxy to the service. While blocked it accepts requests and does not answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.is_blocked = False
        self._passing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Yield the address of the proxy until the end of the block."""
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            yield f"http://{host}:{port}"
            for task in self._passing:
                task.cancel()
            await asyncio.gather(*self._passing, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        try:
            while asked := await reader.readuntil(b"\r\n\r\n"):
                if not self.is_blocked:
                    writer.write(await self._answer(asked))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, asked: bytes) -> bytes:
        service_reader, service_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            # One answer per connection: the end of the connection ends the answer.
            service_writer.write(asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            return await service_reader.read(-1)
        finally:
            service_writer.transport.abort()


class MonitoringLab:
    """The service, the proxy that it is scraped through, Prometheus, and Alertmanager."""

    def __init__(self, play: RunningService, proxy: BlockableProxy, server: Prometheus, told: Alertmanager) -> None:
        self.play, self.proxy, self.server, self.alertmanager_server = play, proxy, server, told

    async def break_service(self, how: str) -> None:
        assert self.play.service is not None
        if how == "killed":
            await self.play.kill()
        elif how == "stopped":
            self.play.service.send_signal(signal.SIGSTOP)
        else:
            self.proxy.is_blocked = True

    async def repair_service(self, how: str) -> None:
        assert self.play.service is not None
        if how == "killed":
            await self.play.start()
        elif how == "stopped":
            self.play.service.send_signal(signal.SIGCONT)
        self.proxy.is_blocked = False

    async def until(self, expr: str) -> None:
        """Wait until an expression has a result."""
        await self.wait_for(lambda: self.server.query(expr), expr)

    async def wait_for_number(self, title: str, number: float) -> None:
        """Wait until the wallboard has a number. After a late scrape it has none until the next one."""

        async def is_so() -> bool:
            return [float(sample["value"][1]) for sample in await self.server.query(STATS[title])] == [number]

        await self.wait_for(is_so, f"the wallboard shows {number} for {title}")

    async def wait_for(self, holds: Callable[[], Awaitable[object]], what: str) -> None:
        async def is_so() -> bool:
            return bool(await holds())

        await self.play.until(is_so, what)

    async def prometheus_down(self) -> set[str]:
        """Return the agencies with a firing alert in Prometheus."""
        found = await self.server.query('ALERTS{alertname="PantauMailDown",alertstate="firing"}')
        return {sample["metric"]["agency"] for sample in found}

    async def alertmanager_down(self) -> set[str]:
        """Return the agencies with an alert in Alertmanager."""
        labels = [alert["labels"] for alert in await self.alertmanager_server.alerts()]
        return {each["agency"] for each in labels if each["alertname"] == "PantauMailDown"}

    async def alerts_after_failed_scrapes(self, scrapes: int) -> set[str]:
        """Wait until so many scrapes have failed; return the alerts that are firing then."""
        await self.until(f'count_over_time((up{{job="pantau"}} == 0)[{scrapes}s:1s]) >= {scrapes - 1}')
        return {s["metric"]["alertname"] for s in await self.server.query('ALERTS{alertstate="firing"}')}

    @asynccontextmanager
    async def never_resolved(self) -> AsyncIterator[None]:
        """Fail if the alert is missing at any time during the block."""
        missing: list[set[str]] = []

        async def look() -> None:
            while True:
                if (found := await self.prometheus_down()) != {JCM.code} or (
                    found := await self.alertmanager_down()
                ) != {JCM.code}:
                    missing.append(found)
                # Rules are evaluated once a second.
                await asyncio.sleep(0.5)

        looking = asyncio.create_task(look())
        try:
            yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
        assert missing == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MonitoringLab]:
    """Start the lab; yield it when an agency is down and its alert is firing."""
    directory = tmp_path_factory.mktemp("death")
    rules = directory / "pantau.rules.yml"
    # Pantau is scraped each second instead of every 15 s, so durations are shortened to the same number of scrapes.
    shipped = (GRAFANA / "rules" / "pantau.rules.yml").read_text()
    rules.write_text(re.sub(r"for: (\d+)m", lambda span: f"for: {int(span[1]) * 4}s", shipped))
    async with running_service(tmp_path_factory.mktemp("pantau")) as play:
        proxy = BlockableProxy(int(play.url.rpartition(":")[2]))
        async with (
            proxy.open() as target,
            alertmanager(directory, ALERTMANAGER) as told,
            prometheus(directory, target=target, rules=[rules], alertmanager_url=told.url) as server,
        ):
            here = MonitoringLab(play, proxy, server, told)
            await play.wait_until_up()
            await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
            await here.until('ALERTS{alertname="PantauMailDown",alertstate="firing"}')
            await here.wait_for(here.alertmanager_down, "Alertmanager has the alert")
            yield here


@pytest.mark.blind
@pytest.mark.parametrize("how", ["killed", "stopped", "blocked"])
async def test_dead_pantau_shows_no_green_and_resolves_no_alert(lab: MonitoringLab, how: str) -> None:
    """Defect: While Pantau is dead or unreadable, the wallboard shows "down 0" in green and `PantauMailDown` resolves.

    Pantau: No number is made of nothing, and firing alerts keep firing.
    """
    async with lab.never_resolved():
        await lab.break_service(how)
        soon = await lab.alerts_after_failed_scrapes(SOON)
        await lab.alerts_after_failed_scrapes(FAILED)
        await lab.until('ALERTS{alertname="PantauDown",alertstate="firing"}')
        [alert] = [each for each in await lab.server.alerts() if each["labels"]["alertname"] == "PantauMailDown"]
        shown = {title: await lab.server.query(expr) for title, expr in STATS.items()}
        await lab.repair_service(how)
        await lab.until('sum_over_time(up{job="pantau"}[3s]) >= 3')

    told = {title: [float(s["value"][1]) for s in samples] for title, samples in shown.items() if samples}
    assert told == {"Scraped · Dibaca": [1.0]}, "a number without a source"
    assert "PantauDown" not in soon
    assert alert["annotations"]["details"].startswith("Pantau cannot be read")
    await lab.wait_for_number(DOWN, 1)


@pytest.mark.blind
async def test_locked_store_keeps_outage_and_wallboard_names_it(lab: MonitoringLab) -> None:
    """Defect: A store locked by another program resolves alerts.

    Pantau: With a real Prometheus nothing resolves, and the wallboard shows the store as unavailable.
    """
    path = lab.play.directory / "state" / "pantau.sqlite"
    panel = {each["title"]: each for each in panels("pantau-overview") if each["type"] == "stat"}

    async def shows_outage() -> bool:
        said = {
            title.partition(" ·")[0]: displayed_value(float(sample["value"][1]), each["fieldConfig"]["defaults"])
            for title, each in panel.items()
            for sample in await lab.server.query(STATS[title])
        }
        told = {"Down": "1", "Database": "unavailable · tiada", "Notifications enabled": "NOBODY · TIADA"}
        return said.items() >= {title: (words, "red") for title, words in told.items()}.items()

    async with lab.never_resolved():
        with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as somebody:
            somebody.execute("BEGIN EXCLUSIVE")
            await lab.until('ALERTS{alertname="PantauStoreUnavailable",alertstate="firing"}')
            await lab.wait_for(shows_outage, "the wallboard shows the outage and that nobody can be notified")
        await lab.until("pantau_store_up == 1")


@pytest.mark.blind
async def test_alert_resolves_after_recovery_is_detected(lab: MonitoringLab) -> None:
    """Defect: Alerts that survive a dead Pantau also survive the recovery.

    Pantau: The alert ends five minutes after the recovery is seen.
    """
    assert await lab.prometheus_down() == {JCM.code}
    await lab.play.world.network.systems[JCM.code].repair()
    await lab.play.wait_until_up()

    async def over() -> bool:
        return not await lab.prometheus_down() and not await lab.alertmanager_down()

    await lab.wait_for(over, "the alert is resolved")
    await lab.wait_for_number(DOWN, 0)
