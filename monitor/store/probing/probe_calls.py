"""Requests to run all routes of an agency now. Any process writes them, and the process that probes the agency reads them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import select

from monitor.store.backend.database import Database
from monitor.store.schema.tables import probe_request

#: Minimum interval of requests for an agency, and their lifetime: an older request came late, or no process was running.
MAX_CALL_DURATION = timedelta(minutes=1)
#: A request further in the future was written before the database clock was set back.
CALL_AHEAD = timedelta(seconds=5)


class ProbeRequests:
    """Reader and writer of the requests. The caller handles database errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def place(self, agency: str, now: datetime) -> bool:
        """Request a run of the routes of an agency; return whether it was written: not if one was requested just before."""
        upsert = self._database.upsert(probe_request)
        is_over = (probe_request.c.requested_at <= now - MAX_CALL_DURATION) | (
            probe_request.c.requested_at > now + CALL_AHEAD
        )
        placed = upsert.on_conflict_do_update(
            index_elements=["agency"], set_={"requested_at": upsert.excluded.requested_at}, where=is_over
        ).returning(probe_request.c.agency)
        async with self._database.write() as connection:
            return (await connection.execute(placed, {"agency": agency, "requested_at": now})).first() is not None

    async def fresh(self, now: datetime) -> Mapping[str, datetime]:
        """Return the agencies that are requested now, with the times of their requests."""
        query = select(probe_request).where(
            probe_request.c.requested_at > now - MAX_CALL_DURATION, probe_request.c.requested_at <= now + CALL_AHEAD
        )
        return {row.agency: row.requested_at for row in await self._database.rows(query)}
