"""An unavailable database during an outage: probing continues and notifications follow."""

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
from pantau_lab.environment import demo_environment
from pantau_lab.mail import Fault
from tests.real.postgres import Postgres
from tests.stories.running_service import FAST_TIMING, JCM, RunningService

#: In seconds, several rounds of each route. The result does not depend on it.
OUTAGE_SECONDS = 12.0
#: Default scrape time-out of Prometheus, in seconds.
SCRAPE = 10.0
#: In octets; less than SQLite's log already has, and more than the service's own.
MAX_LOG_SIZE = 128 * 1024


class StoreFault(Protocol):
    """The store of a service, which can be broken and repaired."""

    @property
    def section(self) -> dict[str, object]:
        """The store's section of the settings."""

    def break_store(self, env: RunningService) -> None: ...

    def repair_store(self, env: RunningService) -> None: ...

    def runs(self, env: RunningService) -> int:
        """Return the number of stored run results."""


@dataclass
class FullDisk:
    """The embedded file, on a full disk."""

    section: dict[str, object] = field(default_factory=dict)

    def break_store(self, env: RunningService) -> None:
        self._limit(env, MAX_LOG_SIZE)

    def repair_store(self, env: RunningService) -> None:
        self._limit(env, resource.RLIM_INFINITY)

    def _limit(self, env: RunningService, octets: int) -> None:
        assert env.service is not None
        _, most = resource.prlimit(env.service.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(env.service.pid, resource.RLIMIT_FSIZE, (octets, most))

    def runs(self, env: RunningService) -> int:
        with closing(sqlite3.connect(env.directory / "state" / "pantau.sqlite")) as connection:
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

    def break_store(self, env: RunningService) -> None:
        self.postgres.stop()

    def repair_store(self, env: RunningService) -> None:
        if not self.postgres.is_running:
            self.postgres.start()

    def runs(self, env: RunningService) -> int:
        with psycopg.connect(self.postgres.address(self.server.database)) as connection:
            row = connection.execute("SELECT count(*) FROM run").fetchone()
        assert row is not None
        return int(row[0])


class FrozenServer(StoppedServer):
    """A PostgreSQL that neither answers nor refuses."""

    def break_store(self, env: RunningService) -> None:
        self.postgres.freeze()

    def repair_store(self, env: RunningService) -> None:
        self.postgres.thaw()


@pytest.fixture(
    params=[
        "full disk",
        pytest.param("stopped server", marks=pytest.mark.real),
        pytest.param("frozen server", marks=pytest.mark.real),
    ]
)
def store_fault(request: pytest.FixtureRequest) -> StoreFault:
    if request.param == "full disk":
        return FullDisk()
    postgres: Postgres = request.getfixturevalue("own_postgres")
    kind = StoppedServer if request.param == "stopped server" else FrozenServer
    return kind(postgres, postgres.store())


@asynccontextmanager
async def service_with_store(directory: Path, store_fault: StoreFault) -> AsyncIterator[RunningService]:
    async with demo_environment(directory, timing=FAST_TIMING, agencies=(JCM,)) as world:
        for phone in world.carrier.phones.values():
            phone.keys.clear()
        world.settings.write_text(yaml.safe_dump(yaml.safe_load(world.settings.read_text()) | store_fault.section))
        env = RunningService(world=world, directory=directory)
        await env.start()
        try:
            yield env
        finally:
            store_fault.repair_store(env)
            await env.stop()


async def scraped(env: RunningService, pattern: str) -> float:
    """Return the sum of the matching series, as Prometheus reads them; the answer must come at once."""
    async with env.web() as client:
        text = (await client.get("/metrics", timeout=SCRAPE)).raise_for_status().text
    return sum(float(value) for value in re.findall(rf"^{pattern}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


def outcomes(env: RunningService) -> Awaitable[float]:
    return scraped(env, "pantau_probe_outcomes_total")


def is_up(env: RunningService, *, up: bool) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return await scraped(env, "pantau_store_up") == up

    return asked


async def test_database_unavailable_probing_continues_and_notifications_follow(
    tmp_path: Path, store_fault: StoreFault
) -> None:
    async with service_with_store(tmp_path, store_fault) as env:
        await env.wait_until_up()
        env.duty.keys = ["1"] * 9
        assert await scraped(env, "pantau_store_up") == 1

        store_fault.break_store(env)
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await env.until(is_up(env, up=False), "it is seen that the store is away")

        async def is_shown() -> bool:
            return await scraped(env, "pantau_mail_up") == 0

        # With a server that neither answers nor refuses, each run in a write is given up after some twenty seconds.
        await env.until(is_shown, "the outage is seen and shown")
        before = await outcomes(env)
        await asyncio.sleep(OUTAGE_SECONDS)
        after = await outcomes(env)
        # Five routes between the agency and two references and two between these, every three seconds.
        assert after - before >= 7 * OUTAGE_SECONDS / 3 / 2, env.log()
        assert env.duty.inbox == []

        store_fault.repair_store(env)
        await env.duty.expect_sms("AMARAN", "gagal")
        await env.until(is_up(env, up=True), "it is seen that the store is back")

        async def all_written() -> bool:
            counted = await outcomes(env)
            return store_fault.runs(env) >= counted

        await env.until(all_written, "every run is in the store")
        await env.until_notification("fax", "outage", "delivered")
        await env.until_notification("letter", "outage", "sent")
        assert [sms.text for sms in env.duty.inbox if "gagal" in sms.text] == [env.duty.inbox[0].text]
        assert len(env.faxes()) == 1
        assert len(env.letters()) == 1
        log = env.log()
        # SQLite sometimes restarts its log, and has room again for a moment.
        assert (
            1
            <= log.count('event="database unavailable')
            == log.count('event="database available again"')
            <= OUTAGE_SECONDS
        )
        assert "could not be written" not in log, "nothing is lost"
        assert len(log.encode()) < MAX_LOG_SIZE, "the log is not flooded"
        assert "Traceback" not in log, log
        waiting = re.findall('event="task waits for the database" task=(.*) reason', log)
        assert len(waiting) == len(set(waiting)), "each says once that it waits"


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """Run a server that no other test uses, because it is stopped in the middle."""
    with Postgres() as server:
        yield server
