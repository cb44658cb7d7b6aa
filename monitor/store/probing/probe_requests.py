"""Requests to run all routes of an agency now: written by any process, read by the process that probes the agency."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import select

from monitor.store.backend.database import Database
from monitor.store.schema.tables import probe_request

#: Lifetime of a request, and minimum interval between two requests for an agency. A request that is older, because it
#: was delayed or no process was running, is ignored.
REQUEST_LIFETIME = timedelta(minutes=1)
#: A request that is further in the future is ignored: it was written before the database clock was set back.
MAX_FUTURE_SKEW = timedelta(seconds=5)


class ProbeRequests:
    """Reads and writes the requests. The caller handles database errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, agency: str, now: datetime) -> bool:
        """Request a run of all routes of an agency. Return `False` if an unexpired request exists already."""
        upsert = self._database.upsert(probe_request)
        is_expired = (probe_request.c.requested_at <= now - REQUEST_LIFETIME) | (
            probe_request.c.requested_at > now + MAX_FUTURE_SKEW
        )
        statement = upsert.on_conflict_do_update(
            index_elements=["agency"], set_={"requested_at": upsert.excluded.requested_at}, where=is_expired
        ).returning(probe_request.c.agency)
        async with self._database.write() as connection:
            return (await connection.execute(statement, {"agency": agency, "requested_at": now})).first() is not None

    async def list_current(self, now: datetime) -> Mapping[str, datetime]:
        """Return the unexpired requests: the time of the request, by agency."""
        query = select(probe_request).where(
            probe_request.c.requested_at > now - REQUEST_LIFETIME, probe_request.c.requested_at <= now + MAX_FUTURE_SKEW
        )
        return {row.agency: row.requested_at for row in await self._database.rows(query)}
