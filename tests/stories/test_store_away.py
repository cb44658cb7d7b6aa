"""The store is away in the middle of an outage: probing and metrics go on, nothing is lost, and the notices follow."""

from __future__ import annotations

import asyncio
import re
import resource
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
import yaml

from monitor.store.backend.postgres import PostgresServer
from pantau_lab.environment import stage
from pantau_lab.mail import Fault
from tests.real.postgres import Postgres
from tests.stories.theatre import BRISK, JCM, Theatre

#: In seconds: several rounds of each route. What happens does not depend on how long it is.
AWAY = 12.0
#: How long Prometheus waits for a scrape that nobody has configured otherwise, in seconds.
SCRAPE = 10.0
#: In octets; less than SQLite's log has already, and more than the service's own.
ALMOST_NOTHING = 128 * 1024


class Shelf(Protocol):
    """The store of a service, which can be taken away and brought back."""

    @property
    def section(self) -> dict[str, object]:
        """What the settings say of it."""

    def take_away(self, play: Theatre) -> None: ...

    def bring_back(self, play: Theatre) -> None: ...

    def runs(self, play: Theatre) -> int:
        """Return how many ends of runs it holds."""


@dataclass
class FullDisk:
    """The embedded file, on a disk that takes no more."""

    section: dict[str, object] = field(default_factory=dict)

    def take_away(self, play: Theatre) -> None:
        self._limit(play, ALMOST_NOTHING)

    def bring_back(self, play: Theatre) -> None:
        self._limit(play, resource.RLIM_INFINITY)

    def _limit(self, play: Theatre, octets: int) -> None:
        assert play.service is not None
        _, most = resource.prlimit(play.service.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(play.service.pid, resource.RLIMIT_FSIZE, (octets, most))

    def runs(self, play: Theatre) -> int:
        with closing(sqlite3.connect(play.directory / "state" / "pantau.sqlite")) as connection:
            return int(connection.execute("SELECT count(*) FROM run").fetchone()[0])


@dataclass
class StoppedServer:
    """A PostgreSQL that is stopped and started again."""

    postgres: Postgres
    server: PostgresServer

    @property
    def section(self) -> dict[str, object]:
        server = self.server
        return {"store": {"url": f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}"}}

    def take_away(self, play: Theatre) -> None:
        self.postgres.stop()

    def bring_back(self, play: Theatre) -> None:
        if not self.postgres.is_running:
            self.postgres.start()

    def runs(self, play: Theatre) -> int:
        with psycopg.connect(self.postgres.address(self.server.database)) as connection:
            row = connection.execute("SELECT count(*) FROM run").fetchone()
        assert row is not None
        return int(row[0])


class FrozenServer(StoppedServer):
    """A PostgreSQL that neither answers nor refuses."""

    def take_away(self, play: Theatre) -> None:
        self.postgres.freeze()

    def bring_back(self, play: Theatre) -> None:
        self.postgres.thaw()


@pytest.fixture(
    params=[
        "full disk",
        pytest.param("stopped server", marks=pytest.mark.real),
        pytest.param("frozen server", marks=pytest.mark.real),
    ]
)
def shelf(request: pytest.FixtureRequest) -> Shelf:
    if request.param == "full disk":
        return FullDisk()
    postgres: Postgres = request.getfixturevalue("own_postgres")
    kind = StoppedServer if request.param == "stopped server" else FrozenServer
    return kind(postgres, postgres.store())


@asynccontextmanager
async def playing(directory: Path, shelf: Shelf) -> AsyncIterator[Theatre]:
    async with stage(directory, timing=BRISK, agencies=(JCM,)) as world:
        for phone in world.carrier.phones.values():
            phone.keys.clear()
        world.settings.write_text(yaml.safe_dump(yaml.safe_load(world.settings.read_text()) | shelf.section))
        play = Theatre(world=world, directory=directory)
        await play.start()
        try:
            yield play
        finally:
            shelf.bring_back(play)
            await play.stop()


async def scraped(play: Theatre, pattern: str) -> float:
    """Return the sum of the series that match, as Prometheus would see them; the answer must come at once."""
    async with play.web() as client:
        text = (await client.get("/metrics", timeout=SCRAPE)).raise_for_status().text
    return sum(float(value) for value in re.findall(rf"^{pattern}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


def outcomes(play: Theatre) -> Awaitable[float]:
    return scraped(play, "pantau_probe_outcomes_total")


def is_up(play: Theatre, *, up: bool) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return await scraped(play, "pantau_store_up") == up

    return asked


async def test_probing_goes_on_nothing_is_lost_and_the_notices_follow(tmp_path: Path, shelf: Shelf) -> None:
    async with playing(tmp_path, shelf) as play:
        await play.everybody_is_up()
        play.duty.keys = ["1"] * 9
        assert await scraped(play, "pantau_store_up") == 1

        shelf.take_away(play)
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.until(is_up(play, up=False), "it is seen that the store is away")

        async def is_shown() -> bool:
            return await scraped(play, "pantau_mail_up") == 0

        # Of a server that neither answers nor refuses each run that was being written then is given up after some twenty seconds.
        await play.until(is_shown, "the outage is seen and shown")
        before = await outcomes(play)
        await asyncio.sleep(AWAY)
        after = await outcomes(play)
        # Five routes between the agency and two references and two between these, every three seconds.
        assert after - before >= 7 * AWAY / 3 / 2, play.log()
        assert play.duty.inbox == []

        shelf.bring_back(play)
        await play.duty.expect_sms("AMARAN", "gagal")
        await play.until(is_up(play, up=True), "it is seen that the store is back")

        async def all_written() -> bool:
            counted = await outcomes(play)
            return shelf.runs(play) >= counted

        await play.until(all_written, "every run is in the store")
        await play.until_notice("fax", "outage", "delivered")
        await play.until_notice("letter", "outage", "sent")
        assert [sms.text for sms in play.duty.inbox if "gagal" in sms.text] == [play.duty.inbox[0].text]
        assert len(play.faxes()) == 1
        assert len(play.letters()) == 1
        log = play.log()
        # SQLite begins its log anew now and then, and has room again for a moment.
        assert 1 <= log.count('event="database unavailable') == log.count('event="database available again"') <= AWAY
        assert "could not be written" not in log, "nothing is lost"
        assert len(log.encode()) < ALMOST_NOTHING, "the log is not flooded"
        assert "Traceback" not in log, log
        waiting = re.findall('event="task waits for the database" task=(.*) reason', log)
        assert len(waiting) == len(set(waiting)), "each says once that it waits"


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """Run one that no other test uses: it is stopped in the middle."""
    with Postgres() as server:
        yield server
