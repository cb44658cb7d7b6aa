"""Implementation of `alerts.persistence.store` on a database: the store and its unit of work.

The unit of work (reads and writes of one transaction) inherits its methods from the other modules of this package.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.model.oncall import Override
from alerts.persistence.store import AuditEntry
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine.alerts import SqlAlerts
from monitor.store.engine.attempts import SqlAttempts
from monitor.store.engine.clock_set_back import SqlSetBack
from monitor.store.engine.incidents import SqlIncidents
from monitor.store.engine.leases import SqlLeases
from monitor.store.engine.listing import SqlListing
from monitor.store.engine.oncall import SqlOnCall
from monitor.store.engine.paper.letters import SqlLetters
from monitor.store.engine.paper.restorations import SqlRestorations
from monitor.store.engine.responses import SqlResponses
from monitor.store.engine.silences import SqlSilences
from monitor.store.schema.tables import to_storable


class SqlStore:
    """`alerts.persistence.store.Store` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlUnitOfWork]:
        """Begin a write transaction, which waits for those of all other engines and excludes them.

        Its audit entries are appended to the audit log at the end of the block.
        """
        async with self._database.exclusive() as connection:
            uow = SqlUnitOfWork(connection)
            yield uow
            await uow.seal_audit_log()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqlUnitOfWork]:
        """Begin a consistent read transaction."""
        async with self._database.read() as connection:
            yield SqlUnitOfWork(connection)


class SqlUnitOfWork(SqlIncidents, SqlAlerts, SqlAttempts, SqlLetters, SqlSilences, SqlLeases, SqlSetBack):
    """`alerts.persistence.store.UnitOfWork` within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection)
        #: Audit entries, which are written at the end of the transaction.
        self._pending_entries: list[AuditEntry] = []

    @property
    def oncall(self) -> SqlOnCall:
        """On-call overrides."""
        return SqlOnCall(self._connection)

    @property
    def listing(self) -> SqlListing:
        """Queries for filtered lists."""
        return SqlListing(self._connection)

    @property
    def restorations(self) -> SqlRestorations:
        """Records of restorations of the database from a backup."""
        return SqlRestorations(self._connection)

    async def is_paper_paused(self) -> bool:
        """Whether letters and faxes are paused: the database may be an older copy, and no person has confirmed it."""
        return await self.restorations.pending() is not None

    @property
    def responses(self) -> SqlResponses:
        """Response codes, and answers by SMS and PIN."""
        return SqlResponses(self._connection)

    async def overrides(self, rotas: Collection[str], now: datetime) -> Sequence[Override]:
        """Return the overrides of these rotas that have not ended at *now*, in the order of their creation."""
        return await self.oncall.list_overrides(now, rotas)

    async def add_audit_entry(self, entry: AuditEntry) -> None:
        """Add an entry to the audit log, at the end of the transaction."""
        # `to_storable` removes what the database rejects. It is called before hashing, because the stored text must be
        # the hashed one.
        detail = {key: to_storable(str(value)) for key, value in entry.detail.items()}
        self._pending_entries.append(
            replace(entry, actor=to_storable(entry.actor, 200), event=to_storable(entry.event, 200), detail=detail)
        )

    async def last_audit_number(self) -> int:
        """Return the number of the last audit entry. It grows with each audited change."""
        return (await audit.head(self._connection)).number

    async def seal_audit_log(self) -> None:
        """Append this transaction's entries to the hash chain of the audit log. Call it last before the commit."""
        entries, self._pending_entries = self._pending_entries, []
        await audit.append(self._connection, entries)
