"""Days of agencies in the database: the state of each minute of a day. Each process adds the minutes that it has evaluated."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date

from sqlalchemy import String, bindparam, cast, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.model.day import DayTimeline
from monitor.runtime.cooperative import yielding
from monitor.store.backend.database import Database
from monitor.store.schema.rows import portions
from monitor.store.schema.tables import day

#: Number of days per transaction: a few milliseconds, during which no other process writes into a file.
AT_ONCE = 100
#: In seconds, between two transactions.
_PAUSE = 0.01

_CHANGE = (
    update(day)
    .where(day.c.agency == bindparam("of_agency"), day.c.date == bindparam("of_date"))
    .values(minutes=bindparam("minutes"))
)

#: Agency and date.
Key = tuple[str, date]


class DayRecords:
    """Reader and writer of days. The caller handles database errors."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._begin = database.upsert(day).on_conflict_do_nothing()

    async def since(self, agency: str, first: date) -> Mapping[date, DayTimeline]:
        """Return the days of an agency from *first* on, by date; unknown days are missing."""
        query = select(day.c.date, day.c.minutes).where(day.c.agency == agency, day.c.date >= first)
        rows = await self._database.rows(query)
        return {row.date: DayTimeline(row.minutes) for row in rows}

    async def gathered(self, agencies: Sequence[str], first: date) -> Mapping[str, str]:
        """Return the days of some agencies from *first* on, as one text each: "2026-11-24 w1440 2026-11-25 w60", in any order.

        A row for each of ninety days of a thousand agencies would block the event loop.
        """
        one = cast(day.c.date, String) + " " + day.c.minutes
        query = select(day.c.agency, func.aggregate_strings(one, " ").label("days")).group_by(day.c.agency)
        query = query.where(day.c.agency.in_(agencies), day.c.date >= first)
        return {row.agency: row.days for row in await self._database.rows(query)}

    async def on(self, dates: Sequence[date]) -> Mapping[Key, DayTimeline]:
        """Return the days of all agencies on some dates."""
        query = select(day).where(day.c.date.in_(dates))
        rows = await self._database.rows(query)
        return {(row.agency, row.date): DayTimeline(row.minutes) async for row in yielding(rows)}

    async def add(self, sheets: dict[Key, DayTimeline]) -> None:
        """Add *sheets* to the stored days, and remove each from *sheets* once it is stored.

        Raise `StoreUnavailable` with the rest left in it.
        """
        for number, batch in enumerate(portions(sorted(sheets), AT_ONCE)):
            if number:
                await asyncio.sleep(_PAUSE)
            async with self._database.write() as connection:
                await self._add(connection, {key: sheets[key] for key in batch})
            for key in batch:
                del sheets[key]

    async def _add(self, connection: AsyncConnection, sheets: Mapping[Key, DayTimeline]) -> None:
        key = (day.c.agency, day.c.date)
        # Locked in the order of the keys, which prevents deadlocks between two writers of the same days.
        stored = select(day).where(tuple_(*key).in_([*sheets])).order_by(*key).with_for_update()
        rows = {(row.agency, row.date): row.minutes for row in await connection.execute(stored)}
        if missing := [each for each in sheets if each not in rows]:
            begun = [{"agency": agency, "date": on, "minutes": ""} for agency, on in missing]
            await connection.execute(self._begin, begun)
            # Another process may have created some of them meanwhile.
            rows = {(row.agency, row.date): row.minutes for row in await connection.execute(stored)}
        changed = []
        for (agency, on), sheet in sheets.items():
            merged = DayTimeline(rows[agency, on])
            merged.add(sheet)
            if (text := str(merged)) != rows[agency, on]:
                changed.append({"of_agency": agency, "of_date": on, "minutes": text})
        if changed:
            await connection.execute(_CHANGE, changed)
