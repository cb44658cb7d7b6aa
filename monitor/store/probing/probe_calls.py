"""Of which agencies all routes are to be run at once, as somebody has asked who need not be where they are probed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import select

from monitor.store.backend.database import Database
from monitor.store.schema.tables import probe_call

#: An agency is called for no more often, and what is older is answered by nobody: it came late, or nobody was there.
CALL_LASTS = timedelta(minutes=1)
#: What is further ahead was written before the store's clock was set back.
CALL_AHEAD = timedelta(seconds=5)


class ProbeRequests:
    """Reads and writes the rows of this store. What the store raises when it is away is the caller's to handle."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def place(self, agency: str, now: datetime) -> bool:
        """Call for the routes of an agency; return whether that was written: it is not where one was just called for."""
        called = self._database.upsert(probe_call)
        is_over = (probe_call.c.called_at <= now - CALL_LASTS) | (probe_call.c.called_at > now + CALL_AHEAD)
        placed = called.on_conflict_do_update(
            index_elements=["agency"], set_={"called_at": called.excluded.called_at}, where=is_over
        ).returning(probe_call.c.agency)
        async with self._database.write() as connection:
            return (await connection.execute(placed, {"agency": agency, "called_at": now})).first() is not None

    async def fresh(self, now: datetime) -> Mapping[str, datetime]:
        """Return which agencies are called for now, with when they were."""
        query = select(probe_call).where(
            probe_call.c.called_at > now - CALL_LASTS, probe_call.c.called_at <= now + CALL_AHEAD
        )
        return {row.agency: row.called_at for row in await self._database.rows(query)}
