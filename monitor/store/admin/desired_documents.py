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


class DesiredDocuments:
    """Reads desired documents, and records whether the site has applied or refused them. Raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, now: datetime) -> Sequence[DesiredDocument]:
        """Return the documents that were not processed yet, and those whose refusal is older than `RETRY_INTERVAL`."""
        column = desired_document.c
        # A time further in the future than the interval means that the clock was set back since: the document is due.
        retry_due = column.refusal.is_not(None) & (
            (column.processed_at < now - RETRY_INTERVAL) | (column.processed_at > now + RETRY_INTERVAL)
        )
        query = select(desired_document).where(column.processed_at.is_(None) | retry_due).order_by(column.agency)
        rows = await self._database.rows(query)
        return [from_row(DesiredDocument, each, by=each.offered_by, at=each.offered_at) for each in rows]

    async def record_results(
        self, processed: Iterable[DesiredDocument], refusals: Mapping[str, str], now: datetime
    ) -> None:
        """Record that documents were *processed*. *refusals*: by agency, why a document was refused.

        A document that the hub has replaced meanwhile stays due.
        """
        column = desired_document.c
        async with self._database.write() as connection:
            for each in processed:
                is_unchanged = (column.agency == each.agency) & (column.offered_at == each.at)
                values = {"processed_at": now, "refusal": refusals.get(each.agency)}
                await connection.execute(update(desired_document).where(is_unchanged).values(**values))
