"""Desired documents: agency documents that the hub (the central service) has written for this site to apply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update

from monitor.model.desired_document import DesiredDocument
from monitor.store.backend.database import Database
from monitor.store.schema.rows import from_row
from monitor.store.schema.tables import desired_document

#: Interval after which a refused document is applied again: a secret that was missing may exist by then.
RETRY_INTERVAL = timedelta(minutes=1)


class Offers:
    """Reads desired documents, and writes the results of applying them. Raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, now: datetime) -> Sequence[DesiredDocument]:
        """Return the documents that were not processed yet, and those whose refusal is older than the interval."""
        row = desired_document.c
        # A time in the future means that the clock was set back since: the document is due as well.
        retry_due = row.refusal.is_not(None) & (
            (row.processed_at < now - RETRY_INTERVAL) | (row.processed_at > now + RETRY_INTERVAL)
        )
        query = select(desired_document).where(row.processed_at.is_(None) | retry_due).order_by(row.agency)
        rows = await self._database.rows(query)
        return [from_row(DesiredDocument, each, by=each.offered_by, at=each.offered_at) for each in rows]

    async def record_results(
        self, offers: Iterable[DesiredDocument], refusals: Mapping[str, str], now: datetime
    ) -> None:
        """Record that *offers* were processed, with the reasons for refusals, by agency.

        A document that the hub has replaced meanwhile stays due.
        """
        row = desired_document.c
        async with self._database.write() as connection:
            for each in offers:
                is_unchanged = (row.agency == each.agency) & (row.offered_at == each.at)
                values = {"processed_at": now, "refusal": refusals.get(each.agency)}
                await connection.execute(update(desired_document).where(is_unchanged).values(**values))
