"""Which processes work on this store: each writes a row of its own, again and again, and reads the others'."""

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

#: What is read each second: not which agencies there are.
_SEEN = tuple(column for column in process.c if column.name not in {"agencies", "continuous_since"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process, as it last wrote of itself."""

    name: str
    started_at: datetime
    beat_at: datetime
    #: When it ended as it was told to; `None` for one that runs, or was killed.
    stopped_at: datetime | None = None
    #: By which versions of the agencies' documents it goes: greater with each that was written before it took them up.
    documents: int | None = None
    #: Of the agencies of which it has documents; `None`: it has not said so, as one that has just begun, or is older.
    agencies_digest: str | None = None


class Processes:
    """Reads and writes the rows. What the store raises when it is away is the caller's to handle."""

    def __init__(self, database: Database, name: str) -> None:
        """*name*: this process's own, unique among those on the store."""
        self._database = database
        self._name = name
        #: Since when the site has judged without a silence, as this process knows it (`continuous_since`).
        self.continuous_since: datetime | None = None

    async def continuity(self) -> tuple[datetime | None, datetime | None]:
        """Return when any process last wrote that it runs, and since when the site has judged without a silence."""
        found = await self._database.row(select(func.max(process.c.beat_at), func.max(process.c.continuous_since)))
        return (None, None) if found is None else (found[0], found[1])

    async def beat(self, started_at: datetime, now: datetime) -> Sequence[Process]:
        """Write that this process runs and can write; return the others, by name."""
        values = {"started_at": started_at, "beat_at": now, "stopped_at": None}
        values["continuous_since"] = self.continuous_since
        others = process.c.name != self._name
        async with self._database.write() as connection:
            known = await connection.execute(update(process).where(~others).values(**values))
            if not known.rowcount:
                await connection.execute(insert(process).values(name=self._name, **values))
            if not self._database.is_shared:
                # Its lock lets nobody else in: other names are those that this process once had.
                await connection.execute(delete(process).where(others))
                return []
            return await self._others(connection)

    async def lives(self, now: datetime) -> Sequence[Process]:
        """Write that this process is alive, which it does far more often than it proves all else; return the others.

        One that has not begun to `beat` is not there yet.
        """
        values = {"beat_at": now, "stopped_at": None, "continuous_since": self.continuous_since}
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

    async def goes_by(self, documents: int | None) -> bool:
        """Write by which versions of the agencies' documents this process goes; return whether it has beaten before."""
        return await self._write(documents=documents)

    async def knows(self, agencies: Collection[str]) -> bool:
        """Write of which agencies this process has documents; return whether it has beaten before."""
        written = json.dumps(sorted(agencies))
        return await self._write(agencies=written, agencies_digest=sha256(written.encode()).hexdigest())

    async def known(self, names: Collection[str]) -> Mapping[str, frozenset[str]]:
        """Return of which agencies the processes with these *names* have documents, by `Process.agencies_digest`."""
        query = select(process.c.agencies_digest, process.c.agencies).where(
            process.c.name.in_(names), process.c.agencies.is_not(None)
        )
        rows = await self._database.rows(query)
        return {row.agencies_digest: frozenset(json.loads(row.agencies)) for row in rows}

    async def last_beat(self) -> datetime | None:
        """Return when a process of this name last wrote that it runs; `None`: there was none."""
        query = select(process.c.beat_at).where(process.c.name == self._name)
        return await self._database.value(query)

    async def stop(self, now: datetime) -> None:
        """Write that this process ends as it was told to: nobody is to miss it."""
        await self._write(stopped_at=now)

    async def _write(self, **values: object) -> bool:
        return await self._database.change(update(process).where(process.c.name == self._name).values(**values)) > 0
