"""Two services of the fictional world that share a PostgreSQL, each in a process of its own."""

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
from pantau_lab.environment import stage
from pantau_lab.serving import claimed
from pantau_lab.world import FictionalAgency
from tests.real.postgres import Postgres
from tests.stories.theatre import BRISK, JCM, Theatre


@dataclass(slots=True, kw_only=True)
class Company:
    """The world, the store, and the services by their probers' names."""

    services: dict[str, Theatre]
    postgres: Postgres
    server: PostgresServer

    def who_is_at_it(self) -> str:
        """Return the prober whose engine has the first incident."""
        with psycopg.connect(self.postgres.address(self.server.database)) as connection:
            row = connection.execute("SELECT owner FROM incident ORDER BY id LIMIT 1").fetchone()
        assert row is not None
        return str(row[0]).partition("/")[0]

    def who_probes(self, agency: FictionalAgency) -> str:
        """Return the prober whose an agency is while both are alive."""
        return owners([agency.code], self.services.keys())[agency.code]

    def runs(self, since: datetime, until: datetime) -> Mapping[str, Sequence[datetime]]:
        """Return when each route of an agency was run in a stretch of time, whose end is written."""
        # Not as times: the server writes them as its own country does.
        query = (
            "SELECT route, array_agg(extract(epoch FROM started_at)::float8 ORDER BY started_at) FROM run"
            " WHERE agency <> '' AND started_at BETWEEN %s AND %s GROUP BY route"
        )
        with psycopg.connect(self.postgres.address(self.server.database)) as connection:
            rows = connection.execute(query, (since, until)).fetchall()
        return {route: [datetime.fromtimestamp(at, UTC) for at in times] for route, times in rows}

    def other_than(self, name: str) -> Theatre:
        """Return the other service."""
        return next(service for other, service in self.services.items() if other != name)


@asynccontextmanager
async def company(
    directory: Path, postgres: Postgres, timing: Timing = BRISK, agencies: Sequence[FictionalAgency] = (JCM,)
) -> AsyncIterator[Company]:
    """Start two services on one database, which share *agencies*, and end both with the block."""
    server = postgres.store()
    with claimed(4) as ports:
        async with stage(directory, timing=timing, agencies=agencies) as world:
            for phone in world.carrier.phones.values():
                phone.keys.clear()
            url = f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}"
            settings = yaml.safe_load(world.settings.read_text()) | {"store": {"url": url}}
            services: dict[str, Theatre] = {}
            # One key signs all tokens: each sees the other's mail in the same mailboxes, and must know it.
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
                services[name] = Theatre(
                    world=replace(world, settings=file, url=f"http://{listen}"),
                    directory=own[1],
                    program=("tests.stories.hurried",),
                )
            both = Company(services=services, postgres=postgres, server=server)
            try:
                for service in services.values():
                    await service.start()
                yield both
            finally:
                for service in services.values():
                    await service.stop()
