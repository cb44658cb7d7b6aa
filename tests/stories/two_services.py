"""Two services that share a PostgreSQL, each in its own process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import yaml

from monitor.planning.ownership import owners
from monitor.runtime.token_key import token_key
from monitor.store.backend.postgres import PostgresServer
from pantau_lab.config_files import Timing
from pantau_lab.environment import demo_environment
from pantau_lab.serving import claimed
from pantau_lab.world import FictionalAgency
from tests.real.postgres import Postgres
from tests.stories.running_service import FAST_TIMING, JCM, RunningService


@dataclass(slots=True, kw_only=True)
class TwoServices:
    """The demo environment, the store, and the services by their process names."""

    services: dict[str, RunningService]
    postgres: Postgres
    server: PostgresServer

    def incident_owner(self) -> str:
        """Return the process whose engine owns the first incident."""
        with psycopg.connect(self.postgres.address(self.server.database)) as connection:
            row = connection.execute("SELECT owner FROM incident ORDER BY id LIMIT 1").fetchone()
        assert row is not None
        return str(row[0]).partition("/")[0]

    def prober_of(self, agency: FictionalAgency) -> str:
        """Return the process that probes an agency while both are alive."""
        return owners([agency.code], self.services.keys())[agency.code]

    def runs(self, since: datetime, until: datetime) -> Mapping[str, Sequence[datetime]]:
        """Return the times of each route's runs in a period whose results are written."""
        # As numbers: the server writes times in its own time zone.
        query = (
            "SELECT route, array_agg(extract(epoch FROM started_at)::float8 ORDER BY started_at) FROM run"
            " WHERE agency <> '' AND started_at BETWEEN %s AND %s GROUP BY route"
        )
        with psycopg.connect(self.postgres.address(self.server.database)) as connection:
            rows = connection.execute(query, (since, until)).fetchall()
        return {route: [datetime.fromtimestamp(at, UTC) for at in times] for route, times in rows}

    def other_service(self, name: str) -> RunningService:
        """Return the other service."""
        return next(service for other, service in self.services.items() if other != name)


@asynccontextmanager
async def two_services(
    directory: Path, postgres: Postgres, timing: Timing = FAST_TIMING, agencies: Sequence[FictionalAgency] = (JCM,)
) -> AsyncIterator[TwoServices]:
    """Start two services on one database, which share *agencies*, and end both with the block."""
    server = postgres.store()
    with claimed(4) as ports:
        async with demo_environment(directory, timing=timing, agencies=agencies) as world:
            for phone in world.carrier.phones.values():
                phone.keys.clear()
            url = f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}"
            settings = yaml.safe_load(world.settings.read_text()) | {"store": {"url": url}}
            services: dict[str, RunningService] = {}
            # One key signs all tokens, because each sees the other's mail in the same mailboxes.
            key = token_key(directory / "state-utama")
            for name in ("utama", "selatan"):
                own = (directory / f"state-{name}", directory / name)
                for path in own:
                    path.mkdir(exist_ok=True, mode=0o700)
                (own[0] / "token.key").write_bytes(key)
                listen, callbacks = (f"127.0.0.1:{ports.pop()}" for _ in range(2))
                settings |= {"listen": listen, "process_name": name, "state_dir": f"state-{name}"}
                settings |= {"callbacks": {"listen": callbacks, "public_url": f"http://{callbacks}"}}
                file = directory / f"{name}.yaml"
                file.write_text(yaml.safe_dump(settings))
                services[name] = RunningService(
                    world=replace(world, settings=file, url=f"http://{listen}"),
                    directory=own[1],
                    program=("tests.stories.short_leases",),
                )
            both = TwoServices(services=services, postgres=postgres, server=server)
            try:
                for service in services.values():
                    await service.start()
                yield both
            finally:
                for service in services.values():
                    await service.stop()
