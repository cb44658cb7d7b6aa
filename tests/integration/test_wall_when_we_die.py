"""Pantau dies, hangs, cannot be scraped or write while an agency is down: what a real Prometheus then makes of wall and alerts."""

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
from tests.stories.theatre import JCM, Theatre, theatre
from tests.unit.grafana.shown import GRAFANA, panels, worded

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

#: By title: what each number on the wall, and its table, asks.
STATS = {
    panel["title"]: target["expr"]
    for panel in panels("pantau-overview")
    if panel["type"] in {"stat", "table"}
    for target in panel["targets"]
}
DOWN = "Down · Terganggu"
ALERTMANAGER = GRAFANA.parent / "deploy" / "alertmanager" / "alertmanager.yml"
#: Scrapes that have failed in a row, at one a second and not each fifteen: 30 s, and over three minutes. The tests of the
#: rules go on for hours.
SOON, FAILED = 2, 13


class Gate:
    """A port that leads to the service, unless it is shut: then it takes what is asked, and says nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.is_shut = False
        self._passing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Return the address that it has for as long as the block lasts."""
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
                if not self.is_shut:
                    writer.write(await self._answer(asked))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, asked: bytes) -> bytes:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            # One answer a connection: its end is the end of the answer.
            far_writer.write(asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            return await far_reader.read(-1)
        finally:
            far_writer.transport.abort()


class Lab:
    """The service, the gate that it is scraped through, the Prometheus that does it, and the Alertmanager that it tells."""

    def __init__(self, play: Theatre, gate: Gate, server: Prometheus, told: Alertmanager) -> None:
        self.play, self.gate, self.server, self.told = play, gate, server, told

    async def die(self, how: str) -> None:
        assert self.play.service is not None
        if how == "killed":
            await self.play.kill()
        elif how == "stopped":
            self.play.service.send_signal(signal.SIGSTOP)
        else:
            self.gate.is_shut = True

    async def live(self, how: str) -> None:
        assert self.play.service is not None
        if how == "killed":
            await self.play.start()
        elif how == "stopped":
            self.play.service.send_signal(signal.SIGCONT)
        self.gate.is_shut = False

    async def until(self, expr: str) -> None:
        """Wait until an expression has a result."""
        await self.wait_for(lambda: self.server.query(expr), expr)

    async def shows(self, title: str, number: float) -> None:
        """Wait until the wall has a number: a scrape that a busy machine answers too late leaves it without any until the next."""

        async def is_so() -> bool:
            return [float(sample["value"][1]) for sample in await self.server.query(STATS[title])] == [number]

        await self.wait_for(is_so, f"the wall shows {number} of {title}")

    async def wait_for(self, holds: Callable[[], Awaitable[object]], what: str) -> None:
        async def is_so() -> bool:
            return bool(await holds())

        await self.play.until(is_so, what)

    async def firing(self) -> set[str]:
        """Return the agencies that are alerted of as down."""
        found = await self.server.query('ALERTS{alertname="PantauMailDown",alertstate="firing"}')
        return {sample["metric"]["agency"] for sample in found}

    async def handed_on(self) -> set[str]:
        """Return the agencies that Alertmanager takes for down."""
        labels = [alert["labels"] for alert in await self.told.alerts()]
        return {each["agency"] for each in labels if each["alertname"] == "PantauMailDown"}

    async def silent_for(self, scrapes: int) -> set[str]:
        """Wait until so many scrapes have failed; return the alerts that fire then."""
        await self.until(f'count_over_time((up{{job="pantau"}} == 0)[{scrapes}s:1s]) >= {scrapes - 1}')
        return {s["metric"]["alertname"] for s in await self.server.query('ALERTS{alertstate="firing"}')}

    @asynccontextmanager
    async def never_resolved(self) -> AsyncIterator[None]:
        """Fail if at any moment of the block nothing is alerted."""
        missing: list[set[str]] = []

        async def look() -> None:
            while True:
                if (found := await self.firing()) != {JCM.code} or (found := await self.handed_on()) != {JCM.code}:
                    missing.append(found)
                # Rules are evaluated once a second, and what they say changes no more often.
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
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """All of it, when an agency is down and that is alerted."""
    directory = tmp_path_factory.mktemp("death")
    rules = directory / "pantau.rules.yml"
    # It is scraped each second and not each fifteen: what is kept, or waited, for so many scrapes is so for as many.
    shipped = (GRAFANA / "rules" / "pantau.rules.yml").read_text()
    rules.write_text(re.sub(r"for: (\d+)m", lambda span: f"for: {int(span[1]) * 4}s", shipped))
    async with theatre(tmp_path_factory.mktemp("pantau")) as play:
        gate = Gate(int(play.url.rpartition(":")[2]))
        async with (
            gate.open() as target,
            alertmanager(directory, ALERTMANAGER) as told,
            prometheus(directory, target=target, rules=[rules], tells=told.url) as server,
        ):
            here = Lab(play, gate, server, told)
            await play.everybody_is_up()
            await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
            await here.until('ALERTS{alertname="PantauMailDown",alertstate="firing"}')
            await here.wait_for(here.handed_on, "Alertmanager has heard of it")
            yield here


@pytest.mark.blind
@pytest.mark.parametrize("how", ["killed", "stopped", "blocked"])
async def test_nothing_turns_green_and_no_alert_is_resolved_when_pantau_dies_in_an_outage(lab: Lab, how: str) -> None:
    """Defect: While Pantau is dead or unreadable, the wallboard shows "down 0" in green and `PantauMailDown` resolves.

    Pantau: No number is made of nothing, and firing alerts keep firing.
    """
    async with lab.never_resolved():
        await lab.die(how)
        soon = await lab.silent_for(SOON)
        await lab.silent_for(FAILED)
        await lab.until('ALERTS{alertname="PantauDown",alertstate="firing"}')
        [alert] = [each for each in await lab.server.alerts() if each["labels"]["alertname"] == "PantauMailDown"]
        shown = {title: await lab.server.query(expr) for title, expr in STATS.items()}
        await lab.live(how)
        await lab.until('sum_over_time(up{job="pantau"}[3s]) >= 3')

    told = {title: [float(s["value"][1]) for s in samples] for title, samples in shown.items() if samples}
    assert told == {"Scraped · Dibaca": [1.0]}, "a number without anybody who could tell it"
    assert "PantauDown" not in soon
    assert alert["annotations"]["details"].startswith("Pantau cannot be read")
    await lab.shows(DOWN, 1)


@pytest.mark.blind
async def test_while_the_store_is_locked_the_outage_stays_and_the_wall_says_what_does_not_work(lab: Lab) -> None:
    """Defect: A store locked by another program resolves alerts.

    Pantau: With a real Prometheus nothing resolves, and the wallboard shows the store as unavailable.
    """
    path = lab.play.directory / "state" / "pantau.sqlite"
    panel = {each["title"]: each for each in panels("pantau-overview") if each["type"] == "stat"}

    async def says_so() -> bool:
        said = {
            title.partition(" ·")[0]: worded(float(sample["value"][1]), each["fieldConfig"]["defaults"])
            for title, each in panel.items()
            for sample in await lab.server.query(STATS[title])
        }
        told = {"Down": "1", "Database": "unavailable · tiada", "Notifications enabled": "NOBODY · TIADA"}
        return said.items() >= {title: (words, "red") for title, words in told.items()}.items()

    async with lab.never_resolved():
        with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as somebody:
            somebody.execute("BEGIN EXCLUSIVE")
            await lab.until('ALERTS{alertname="PantauStoreUnavailable",alertstate="firing"}')
            await lab.wait_for(says_so, "the wall says that it is down, and that nobody can be told")
        await lab.until("pantau_store_up == 1")


@pytest.mark.blind
async def test_an_alert_is_resolved_soon_after_a_recovery_that_pantau_has_seen(lab: Lab) -> None:
    """Defect: Alerts that survive a dead Pantau also survive the recovery.

    Pantau: The alert ends five minutes after the recovery is seen.
    """
    assert await lab.firing() == {JCM.code}
    await lab.play.world.network.systems[JCM.code].repair()
    await lab.play.everybody_is_up()

    async def over() -> bool:
        return not await lab.firing() and not await lab.handed_on()

    await lab.wait_for(over, "the alert is resolved")
    await lab.shows(DOWN, 0)
