"""The PostgreSQL database into which a store is moved. Services cannot use it until the copy is complete.

Until then a *block* (`StoreBlock`) is stored in place of the schema revision (Alembic), and contains it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    exists,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from alerts.persistence.audit import INITIAL_HASH, ChainHead, Verifier
from alerts.persistence.store import AuditEntry
from monitor.store.backend.availability import StoreInUseError
from monitor.store.backend.postgres import PostgresServer, ServerClock, connected, migrate
from monitor.store.backend.process_lock import ProcessNameLock
from monitor.store.engine import audit
from monitor.store.move.source import StoreOrigin
from monitor.store.schema.block import BlockReason, StoreBlock
from monitor.store.schema.lock import LOCK_CLASS, NAME_LOCK_CLASS, Lock
from monitor.store.schema.migrations import known_revisions
from monitor.store.schema.tables import audit_head, metadata

#: Process name that a copy locks, so that two copies into the same database do not run at once.
_PROCESS_NAME = "pantau store copy"
#: Describes an incomplete copy: its source, and the last entry of the source's audit log. The table is not part of the
#: store's schema. It is dropped when the copy is complete.
_INCOMPLETE_COPY = Table(
    "half_copy",
    MetaData(),
    Column("first", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("file", Text, nullable=False),
    Column("begun_at", DateTime(timezone=True), nullable=False),
)


class TargetRefusedError(Exception):
    """The database contains data that must not be overwritten. The message names the data and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The database, locked against other copies."""

    server: PostgresServer
    #: Clock of the server.
    clock: ServerClock
    engine: AsyncEngine

    async def has_incomplete_copy(self) -> bool:
        """Whether the database contains an incomplete copy."""
        async with self.transaction() as connection:
            revision = await _read_revision(connection)
            return revision is not None and StoreBlock.parse(revision) is not None

    async def has_complete_copy(self, origin: StoreOrigin) -> bool:
        """Whether the database contains all of *origin* and a service may use it."""
        async with self.transaction() as connection:
            if await _read_revision(connection) not in known_revisions():
                return False
            return await audit.hash_of(connection, origin.head.number) == origin.head.hash

    async def prepare(self, origin: StoreOrigin, file: str) -> bool:
        """Prepare the database for the copy, and block it for services. Return whether an earlier copy is resumed.

        If not, the database is empty afterwards. Raise `TargetRefusedError`, `StoreInUseError` if a service uses it, or
        errors of the migrations.
        """
        async with self.transaction() as connection:
            revision = await _read_revision(connection)
            block = None if revision is None else StoreBlock.parse(revision)
            if block is not None:
                progress = (await connection.execute(select(_INCOMPLETE_COPY))).one()
                if progress.first != origin.first:
                    raise TargetRefusedError(
                        f"the {self.server} holds an incomplete copy of another store, {progress.file}, started on "
                        f"{progress.begun_at:%Y-%m-%d at %H:%M} UTC; finish that copy, or name an empty database"
                    )
                if (progress.number, progress.hash, block.schema) == (*_chain_head(origin.head), known_revisions()[0]):
                    return True
                # The incomplete copy is out of date: its source was used since, or Pantau has a newer schema.
                await self._truncate_all(connection, block)
            elif revision is None:
                await self._refuse_foreign_tables(connection)
        await migrate(self.server)
        await self._block_database(origin, file)
        return False

    async def _truncate_all(self, connection: AsyncConnection, block: StoreBlock) -> None:
        await _truncate(connection, metadata.sorted_tables)
        await connection.execute(insert(audit_head).values(id=1, number=0, hash=INITIAL_HASH))
        await _remove_block(connection, block.schema)

    async def _block_database(self, origin: StoreOrigin, file: str) -> None:
        async with self.transaction() as connection:
            # A service locks its name, then waits for this lock, and then reads the schema revision. So either the
            # query below finds its name, or the service reads the block.
            lock_migration = text("SELECT pg_advisory_xact_lock(:locks, :migrating)")
            await connection.execute(lock_migration, {"locks": LOCK_CLASS, "migrating": Lock.MIGRATING})
            count_names = text(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = :names AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            # One of the names is that of this copy.
            if (await connection.execute(count_names, {"names": NAME_LOCK_CLASS})).scalar_one() > 1:
                raise StoreInUseError(f"a pantau service uses the {self.server}; stop it, on whichever machine it runs")
            await self._require_empty(connection, origin)
            await _truncate(connection, [audit_head])
            await connection.run_sync(_INCOMPLETE_COPY.create)
            progress = {"first": origin.first, "number": origin.head.number, "hash": origin.head.hash}
            await connection.execute(insert(_INCOMPLETE_COPY).values(**progress, file=file, begun_at=self.clock.now()))
            block = StoreBlock(reason=BlockReason.COPYING, schema=known_revisions()[0])
            await connection.execute(text("UPDATE alembic_version SET version_num = :block"), {"block": str(block)})

    async def _refuse_foreign_tables(self, connection: AsyncConnection) -> None:
        """Raise `TargetRefusedError` if a database without a schema revision has tables with the names of Pantau's."""
        tables = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
        if foreign := sorted(tables & set(metadata.tables)):
            raise TargetRefusedError(
                f"the {self.server} has tables of another program ({', '.join(foreign)}); "
                "give Pantau a database of its own"
            )

    async def _require_empty(self, connection: AsyncConnection, origin: StoreOrigin) -> None:
        for table in metadata.sorted_tables:
            # The migrations insert the row of `audit_head`.
            if table is not audit_head and (await connection.execute(select(exists(select(table))))).scalar_one():
                break
        else:
            return
        head = await audit.head(connection)
        if origin.first and await audit.hash_of(connection, 1) == origin.first:
            raise TargetRefusedError(
                f"the {self.server} holds this store already, up to entry {head.number} of its audit log, and a "
                "service may have used it there since; it is not overwritten"
            )
        raise TargetRefusedError(
            f"the {self.server} holds another store already, with {head.number} entries in its audit log (a service "
            "that was started on it creates one); name an empty database, or drop that one and create it again"
        )

    async def count(self, table: Table) -> int:
        """Return the number of rows in the copy of *table*."""
        async with self.transaction() as connection:
            return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())

    async def verify_audit_log(self) -> Verifier:
        """Verify the hash chain of the copied audit log from the beginning."""
        return await audit.verify(self.transaction)

    async def set_sequences(self) -> None:
        """Set the sequences after the copied ids, and update the server's statistics."""
        async with self.transaction() as connection:
            for table in metadata.sorted_tables:
                if (column := table.autoincrement_column) is not None:
                    last = select(func.coalesce(func.max(column), 0) + 1).scalar_subquery()
                    sequence = func.pg_get_serial_sequence(table.name, column.name)
                    await connection.execute(select(func.setval(sequence, last, False)))
                await connection.execute(text(f"ANALYZE {table.name}"))

    @asynccontextmanager
    async def complete(self, entry: AuditEntry) -> AsyncIterator[ChainHead]:
        """Append *entry* to the copied audit log; at the end of the `with` block, commit and make the store usable."""
        async with self.transaction() as connection:
            (added,) = await audit.append(connection, [entry])
            await _remove_block(connection, known_revisions()[0])
            yield ChainHead(number=added.number, hash=added.hash)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Begin a transaction without a statement timeout, because counting or sorting a year of rows takes long."""
        async with self.engine.begin() as connection:
            await connection.execute(text("SET LOCAL statement_timeout = 0"))
            yield connection


@asynccontextmanager
async def open_target(server: PostgresServer) -> AsyncIterator[Target]:
    """Connect to *server* and lock it against other copies. Disconnect at the end of the block.

    Raise `StoreUnusableError`, or `StoreInUseError` during another copy.
    """
    clock = ServerClock()
    async with connected(server, clock) as engine:
        name_lock = ProcessNameLock(engine, _PROCESS_NAME, str(server))
        try:
            await name_lock.acquire()
        except StoreInUseError:
            raise StoreInUseError(
                f"another `pantau store copy` is running on the {server}, or ran until a minute ago"
            ) from None
        try:
            yield Target(server=server, clock=clock, engine=engine)
        finally:
            await name_lock.release()


def _chain_head(head: ChainHead) -> tuple[int, str]:
    return head.number, head.hash


async def _read_revision(connection: AsyncConnection) -> str | None:
    """Return the stored schema revision, or the block in its place; `None`: the database is empty."""
    if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
        return None
    return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()


async def _truncate(connection: AsyncConnection, tables: Sequence[Table]) -> None:
    """Empty tables. Triggers, which protect the audit log from changes, are disabled: no service has used this copy."""
    for table in tables:
        await connection.execute(text(f"ALTER TABLE {table.name} DISABLE TRIGGER USER"))
    await connection.execute(text(f"TRUNCATE {', '.join(table.name for table in tables)}"))
    for table in tables:
        await connection.execute(text(f"ALTER TABLE {table.name} ENABLE TRIGGER USER"))


async def _remove_block(connection: AsyncConnection, schema: str) -> None:
    await connection.run_sync(_INCOMPLETE_COPY.drop)
    await connection.execute(text("UPDATE alembic_version SET version_num = :schema"), {"schema": schema})
