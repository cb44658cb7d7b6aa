"""Processes on this database: each writes heartbeats into a row of its own, and reads the rows of the others."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.backend.database import Database
from monitor.store.schema.rows import from_row
from monitor.store.schema.tables import process

#: Columns that are read each second, without the agencies.
_SEEN = tuple(column for column in process.c if column.name not in {"agencies", "continuous_since"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process, by its latest heartbeat."""

    name: str
    started_at: datetime
    heartbeat_at: datetime
    #: When it was stopped in order; `None` for one that runs, or was killed.
    stopped_at: datetime | None = None
    #: Level of the agencies' documents that it uses: greater with each version that was written before it applied them.
    documents: int | None = None
    #: Digest of the agencies of which it has documents; `None`: the process has just started, or is an older version.
    agencies_digest: str | None = None


class Processes:
    """Reads and writes the processes. The caller handles database errors."""

    def __init__(self, database: Database, name: str) -> None:
        """*name*: the name of this process, unique on the database."""
        self._database = database
        self._name = name
        #: Since when the site has evaluated health without interruption, as far as this process knows
        #: (`continuous_since`).
        self.continuous_since: datetime | None = None

    async def continuity(self) -> tuple[datetime | None, datetime | None]:
        """Return the latest heartbeat of any process, and since when the site has evaluated health without interruption."""
        row = await self._database.row(select(func.max(process.c.heartbeat_at), func.max(process.c.continuous_since)))
        return (None, None) if row is None else (row[0], row[1])

    async def beat(self, started_at: datetime, now: datetime) -> Sequence[Process]:
        """Write a heartbeat and the start of this process; return the other processes, by name."""
        values = {"started_at": started_at, "heartbeat_at": now, "stopped_at": None}
        values["continuous_since"] = self.continuous_since
        is_other = process.c.name != self._name
        async with self._database.write() as connection:
            is_known = await connection.execute(update(process).where(~is_other).values(**values))
            if not is_known.rowcount:
                await connection.execute(insert(process).values(name=self._name, **values))
            if not self._database.is_shared:
                # A file has one process: rows with other names are of the same process under former names.
                await connection.execute(delete(process).where(is_other))
                return []
            return await self._others(connection)

    async def refresh_heartbeat(self, now: datetime) -> Sequence[Process]:
        """Write only the time of a heartbeat, which happens far more often than `beat`; return the other processes.

        A process without a first `beat` does not count yet.
        """
        values = {"heartbeat_at": now, "stopped_at": None, "continuous_since": self.continuous_since}
        async with self._database.write() as connection:
            await connection.execute(update(process).where(process.c.name == self._name).values(**values))
            return await self._others(connection)

    async def others(self) -> Sequence[Process]:
        """Return the others, by name."""
        async with self._database.read() as connection:
            return await self._others(connection)

    async def _others(self, connection: AsyncConnection) -> Sequence[Process]:
        rows = await connection.execute(select(*_SEEN).where(process.c.name != self._name).order_by(process.c.name))
        return [from_row(Process, row) for row in rows]

    async def record_documents_level(self, documents: int | None) -> bool:
        """Write the level of the documents that this process uses; return whether it has had a heartbeat."""
        return await self._write(documents=documents)

    async def record_agencies(self, agencies: Collection[str]) -> bool:
        """Write the agencies of which this process has documents; return whether it has had a heartbeat."""
        text = json.dumps(sorted(agencies))
        return await self._write(agencies=text, agencies_digest=sha256(text.encode()).hexdigest())

    async def known(self, names: Collection[str]) -> Mapping[str, frozenset[str]]:
        """Return the agencies of the processes with these *names*, by `Process.agencies_digest`."""
        query = select(process.c.agencies_digest, process.c.agencies).where(
            process.c.name.in_(names), process.c.agencies.is_not(None)
        )
        rows = await self._database.rows(query)
        return {row.agencies_digest: frozenset(json.loads(row.agencies)) for row in rows}

    async def last_beat(self) -> datetime | None:
        """Return the latest heartbeat of a process of this name; `None`: there was none."""
        query = select(process.c.heartbeat_at).where(process.c.name == self._name)
        return await self._database.value(query)

    async def stop(self, now: datetime) -> None:
        """Write that this process has stopped in order, so that nobody reports it as dead."""
        await self._write(stopped_at=now)

    async def _write(self, **values: object) -> bool:
        return await self._database.change(update(process).where(process.c.name == self._name).values(**values)) > 0
