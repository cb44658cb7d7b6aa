"""Requests to run all routes of an agency now, from processes that may not probe it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import select

from monitor.store.backend.database import Database
from monitor.store.schema.tables import probe_request

#: Minimum interval of requests for an agency, and their lifetime: an older one came late, or no process was there.
CALL_LASTS = timedelta(minutes=1)
#: A request further in the future was written before the database clock was set back.
CALL_AHEAD = timedelta(seconds=5)


class ProbeRequests:
    """Reads and writes the requests. The caller handles database errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def place(self, agency: str, now: datetime) -> bool:
        """Request a run of the routes of an agency; return whether it was written: not if one was requested just before."""
        called = self._database.upsert(probe_request)
        is_over = (probe_request.c.requested_at <= now - CALL_LASTS) | (probe_request.c.requested_at > now + CALL_AHEAD)
        placed = called.on_conflict_do_update(
            index_elements=["agency"], set_={"requested_at": called.excluded.requested_at}, where=is_over
        ).returning(probe_request.c.agency)
        async with self._database.write() as connection:
            return (await connection.execute(placed, {"agency": agency, "requested_at": now})).first() is not None

    async def fresh(self, now: datetime) -> Mapping[str, datetime]:
        """Return the agencies that are requested now, with the times of their requests."""
        query = select(probe_request).where(
            probe_request.c.requested_at > now - CALL_LASTS, probe_request.c.requested_at <= now + CALL_AHEAD
        )
        return {row.agency: row.requested_at for row in await self._database.rows(query)}
