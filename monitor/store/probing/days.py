"""Day timelines of agencies in the database: the state of each minute of a day.

Each process adds the minutes that it has evaluated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date

from sqlalchemy import String, bindparam, cast, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.model.day import DayTimeline
from monitor.runtime.cooperative import yielding
from monitor.store.backend.database import Database
from monitor.store.schema.rows import batched
from monitor.store.schema.tables import day

#: Number of days per transaction. It takes a few milliseconds, during which other writers of a SQLite file wait.
BATCH_SIZE = 100
#: Pause between two transactions.
_PAUSE_SECONDS = 0.01

_UPDATE_MINUTES = (
    update(day)
    .where(day.c.agency == bindparam("of_agency"), day.c.date == bindparam("of_date"))
    .values(minutes=bindparam("minutes"))
)

#: Agency code and date.
Key = tuple[str, date]


class DayRecords:
    """Reader and writer of days. The caller handles database errors."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert_if_missing = database.upsert(day).on_conflict_do_nothing()

    async def since(self, agency: str, first: date) -> Mapping[date, DayTimeline]:
        """Return the days of an agency from *first* on, by date. Days that are not stored are missing."""
        query = select(day.c.date, day.c.minutes).where(day.c.agency == agency, day.c.date >= first)
        rows = await self._database.rows(query)
        return {row.date: DayTimeline(row.minutes) for row in rows}

    async def joined_days(self, agencies: Sequence[str], first: date) -> Mapping[str, str]:
        """Return the days of *agencies* from *first* on as one text per agency: "2026-11-24 w1440 2026-11-25 w60".

        Each date is followed by its minutes as stored: 1,440 minutes in the state "w" (`str` of a `DayTimeline`). The
        days are in any order. The database joins them, because reading a row for each of 90 days of 1,000 agencies
        would block the event loop.
        """
        date_and_minutes = cast(day.c.date, String) + " " + day.c.minutes
        query = select(day.c.agency, func.aggregate_strings(date_and_minutes, " ").label("days"))
        query = query.group_by(day.c.agency)
        query = query.where(day.c.agency.in_(agencies), day.c.date >= first)
        return {row.agency: row.days for row in await self._database.rows(query)}

    async def on(self, dates: Sequence[date]) -> Mapping[Key, DayTimeline]:
        """Return the timelines of all agencies on *dates*."""
        query = select(day).where(day.c.date.in_(dates))
        rows = await self._database.rows(query)
        return {(row.agency, row.date): DayTimeline(row.minutes) async for row in yielding(rows)}

    async def add(self, timelines: dict[Key, DayTimeline]) -> None:
        """Add *timelines* to the stored days, and remove each of them from *timelines* when it is stored.

        Raise `StoreUnavailable`; *timelines* then contains the timelines that are not stored.
        """
        for index, batch in enumerate(batched(sorted(timelines), BATCH_SIZE)):
            if index:
                await asyncio.sleep(_PAUSE_SECONDS)
            async with self._database.write() as connection:
                await self._add(connection, {key: timelines[key] for key in batch})
            for key in batch:
                del timelines[key]

    async def _add(self, connection: AsyncConnection, timelines: Mapping[Key, DayTimeline]) -> None:
        key = (day.c.agency, day.c.date)
        # Lock the rows in the order of their keys, so that two writers of the same days do not deadlock.
        stored = select(day).where(tuple_(*key).in_([*timelines])).order_by(*key).with_for_update()
        rows = {(row.agency, row.date): row.minutes for row in await connection.execute(stored)}
        if missing := [each for each in timelines if each not in rows]:
            empty = [{"agency": agency, "date": date_, "minutes": ""} for agency, date_ in missing]
            await connection.execute(self._insert_if_missing, empty)
            # Another process may have created some of the missing days meanwhile.
            rows = {(row.agency, row.date): row.minutes for row in await connection.execute(stored)}
        changed = []
        for (agency, date_), timeline in timelines.items():
            merged = DayTimeline(rows[agency, date_])
            merged.add(timeline)
            if (text := str(merged)) != rows[agency, date_]:
                changed.append({"of_agency": agency, "of_date": date_, "minutes": text})
        if changed:
            await connection.execute(_UPDATE_MINUTES, changed)
