"""Pantau processes that share this database. Each writes heartbeats into its row, and reads the rows of the others."""

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

#: Columns of `Process`, which are read each second. They do not include the long list of agencies.
_PROCESS_COLUMNS = tuple(column for column in process.c if column.name not in {"agencies", "continuous_since"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process, by its latest heartbeat."""

    name: str
    started_at: datetime
    heartbeat_at: datetime
    #: When it was shut down cleanly; `None`: it runs, or was killed.
    stopped_at: datetime | None = None
    #: Sum of the version numbers of the agencies' documents that it uses (`Documents.revision_sum`), which grows with
    #: each new version; `None`: unknown, or the documents are files.
    documents: int | None = None
    #: Digest of the list of agencies whose documents it has; `None`: the process has just started, or is an older
    #: version.
    agencies_digest: str | None = None


class Processes:
    """Reads and writes the processes. The caller handles database errors."""

    def __init__(self, database: Database, name: str) -> None:
        """*name*: the name of this process, unique on the database."""
        self._database = database
        self._name = name
        #: Since when this site (the place from which the processes probe) has evaluated health without interruption;
        #: `None`: unknown. Heartbeats write it.
        self.continuous_since: datetime | None = None

    async def continuity(self) -> tuple[datetime | None, datetime | None]:
        """Return the latest heartbeat of any process, and since when the site has evaluated health continuously."""
        row = await self._database.row(select(func.max(process.c.heartbeat_at), func.max(process.c.continuous_since)))
        return (None, None) if row is None else (row[0], row[1])

    async def beat(self, started_at: datetime, now: datetime) -> Sequence[Process]:
        """Write a heartbeat and the start of this process; return the other processes, by name."""
        values = {"started_at": started_at, "heartbeat_at": now, "stopped_at": None}
        values["continuous_since"] = self.continuous_since
        is_other = process.c.name != self._name
        async with self._database.write() as connection:
            updated = await connection.execute(update(process).where(~is_other).values(**values))
            if not updated.rowcount:
                await connection.execute(insert(process).values(name=self._name, **values))
            if not self._database.is_shared:
                # One process uses a SQLite file: rows with other names are former names of this process.
                await connection.execute(delete(process).where(is_other))
                return []
            return await self._others(connection)

    async def refresh_heartbeat(self, now: datetime) -> Sequence[Process]:
        """Write only the time of a heartbeat; return the other processes, by name.

        This method is called far more often than `beat`, and writes nothing before the first `beat`.
        """
        values = {"heartbeat_at": now, "stopped_at": None, "continuous_since": self.continuous_since}
        async with self._database.write() as connection:
            await connection.execute(update(process).where(process.c.name == self._name).values(**values))
            return await self._others(connection)

    async def others(self) -> Sequence[Process]:
        """Return the other processes, by name."""
        async with self._database.read() as connection:
            return await self._others(connection)

    async def _others(self, connection: AsyncConnection) -> Sequence[Process]:
        rows = await connection.execute(
            select(*_PROCESS_COLUMNS).where(process.c.name != self._name).order_by(process.c.name)
        )
        return [from_row(Process, row) for row in rows]

    async def record_documents_revision(self, documents: int | None) -> bool:
        """Write `Process.documents` of this process. Return `False` if it had no heartbeat yet."""
        return await self._write(documents=documents)

    async def record_agencies(self, agencies: Collection[str]) -> bool:
        """Write the agencies whose documents this process has. Return `False` if it had no heartbeat yet."""
        text = json.dumps(sorted(agencies))
        return await self._write(agencies=text, agencies_digest=sha256(text.encode()).hexdigest())

    async def agencies_by_digest(self, names: Collection[str]) -> Mapping[str, frozenset[str]]:
        """Return the list of agencies of each of the processes *names*, by its digest (`Process.agencies_digest`)."""
        query = select(process.c.agencies_digest, process.c.agencies).where(
            process.c.name.in_(names), process.c.agencies.is_not(None)
        )
        rows = await self._database.rows(query)
        return {row.agencies_digest: frozenset(json.loads(row.agencies)) for row in rows}

    async def last_heartbeat(self) -> datetime | None:
        """Return the latest heartbeat under this process's name; `None`: there was none."""
        query = select(process.c.heartbeat_at).where(process.c.name == self._name)
        return await self._database.value(query)

    async def stop(self, now: datetime) -> None:
        """Record that this process was shut down cleanly, so that it is not reported as dead."""
        await self._write(stopped_at=now)

    async def _write(self, **values: object) -> bool:
        return await self._database.change(update(process).where(process.c.name == self._name).values(**values)) > 0
