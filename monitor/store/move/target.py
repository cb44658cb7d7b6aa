"""The database on a server that a store is copied into: empty at first, blocked for services, and usable at the end."""

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

from alerts.persistence.audit import BEGINNING, ChainHead, Verifier
from alerts.persistence.store import AuditEntry
from monitor.store.backend.availability import StoreInUseError
from monitor.store.backend.postgres import PostgresServer, ServerClock, connected, migrate
from monitor.store.backend.process_lock import ProcessNameLock
from monitor.store.engine import audit
from monitor.store.move.source import StoreOrigin
from monitor.store.schema.block import BlockReason, StoreBlock
from monitor.store.schema.lock import LOCKS, NAMES, Lock
from monitor.store.schema.migrations import known
from monitor.store.schema.tables import audit_head, metadata

#: Advisory lock that prevents two copies into the same database.
_NAME = "pantau store copy"
#: Exists while the copy is incomplete. It belongs to no store's schema, and is dropped with the block.
_HALF = Table(
    "half_copy",
    MetaData(),
    Column("first", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("file", Text, nullable=False),
    Column("begun_at", DateTime(timezone=True), nullable=False),
)


class TargetRefusedError(Exception):
    """The database contains something that must not be overwritten. The message names it and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A database, locked against other copies."""

    server: PostgresServer
    clock: ServerClock
    engine: AsyncEngine

    async def is_half(self) -> bool:
        """Whether the database contains an incomplete copy."""
        async with self.transaction() as connection:
            number = await _number(connection)
            return number is not None and StoreBlock.of(number) is not None

    async def is_moved_to(self, origin: StoreOrigin) -> bool:
        """Whether the database contains all of *origin* and a service may use it."""
        async with self.transaction() as connection:
            if await _number(connection) not in known():
                return False
            return await audit.hash_of(connection, origin.head.number) == origin.head.hash

    async def begin(self, origin: StoreOrigin, file: str) -> bool:
        """Prepare the database for the copy; return whether an earlier copy is resumed; otherwise the database is empty.

        From here on no service starts on it. Raise `TargetRefusedError`, `StoreInUseError` when a service runs on it,
        or errors of the migrations.
        """
        async with self.transaction() as connection:
            number = await _number(connection)
            bar = None if number is None else StoreBlock.of(number)
            if bar is not None:
                progress = (await connection.execute(select(_HALF))).one()
                if progress.first != origin.first:
                    raise TargetRefusedError(
                        f"the {self.server} holds half a copy of another store, {progress.file}, begun on "
                        f"{progress.begun_at:%Y-%m-%d at %H:%M} UTC; finish that one, or name an empty database"
                    )
                if (progress.number, progress.hash, bar.schema) == (*_chain_head(origin.head), known()[0]):
                    return True
                # An incomplete copy of an earlier position of that store is worthless.
                await self._truncate_all(connection, bar)
            elif number is None:
                await self._require_exclusive(connection)
        await migrate(self.server)
        await self._bar(origin, file)
        return False

    async def _truncate_all(self, connection: AsyncConnection, bar: StoreBlock) -> None:
        await _truncate(connection, metadata.sorted_tables)
        await connection.execute(insert(audit_head).values(id=1, number=0, hash=BEGINNING))
        await _end_half(connection, bar.schema)

    async def _bar(self, origin: StoreOrigin, file: str) -> None:
        async with self.transaction() as connection:
            # A service takes its name before it reads the schema revision, and waits there for this lock: it is either
            # seen here, or sees the block.
            locking = text("SELECT pg_advisory_xact_lock(:locks, :migrating)")
            await connection.execute(locking, {"locks": LOCKS, "migrating": Lock.MIGRATING})
            update = text(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = :names AND granted AND database"
                " = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            if (await connection.execute(update, {"names": NAMES})).scalar_one() > 1:
                raise StoreInUseError(
                    f"a pantau service runs on the {self.server}; stop it, on whichever machine it is"
                )
            await self._require_empty(connection, origin)
            await _truncate(connection, [audit_head])
            await connection.run_sync(_HALF.create)
            progress = {"first": origin.first, "number": origin.head.number, "hash": origin.head.hash}
            await connection.execute(insert(_HALF).values(**progress, file=file, begun_at=self.clock.now()))
            bar = StoreBlock(barred=BlockReason.COPYING, schema=known()[0])
            await connection.execute(text("UPDATE alembic_version SET version_num = :bar"), {"bar": str(bar)})

    async def _require_exclusive(self, connection: AsyncConnection) -> None:
        tables = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
        if foreign := sorted(tables & set(metadata.tables)):
            raise TargetRefusedError(
                f"the {self.server} has tables of another program ({', '.join(foreign)}); give Pantau a database of its own"
            )

    async def _require_empty(self, connection: AsyncConnection, origin: StoreOrigin) -> None:
        for table in metadata.sorted_tables:
            if table is not audit_head and (await connection.execute(select(exists(select(table))))).scalar_one():
                break
        else:
            return
        head = await audit.head(connection)
        if origin.first and await audit.hash_of(connection, 1) == origin.first:
            raise TargetRefusedError(
                f"the {self.server} holds this store already, up to entry {head.number} of its journal, and a service may "
                "have gone on with it there; nothing is copied over it"
            )
        raise TargetRefusedError(
            f"the {self.server} holds another store already, with {head.number} entries in its journal (a service that was "
            "started on it made one); name an empty database, or drop that one and make it again"
        )

    async def count(self, table: Table) -> int:
        """Return the number of rows copied."""
        async with self.transaction() as connection:
            return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())

    async def follow(self) -> Verifier:
        """Verify the hash chain of its audit log from the beginning."""
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
        """Make it a usable store at the end of the block, with *entry* as the last entry of its audit log."""
        async with self.transaction() as connection:
            (added,) = await audit.append(connection, [entry])
            await _end_half(connection, known()[0])
            yield ChainHead(number=added.number, hash=added.hash)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Begin a transaction without a statement timeout: sorting or counting a year takes longer than a decision may."""
        async with self.engine.begin() as connection:
            await connection.execute(text("SET LOCAL statement_timeout = 0"))
            yield connection


@asynccontextmanager
async def taken(server: PostgresServer) -> AsyncIterator[Target]:
    """Connect to *server*, if it can be a store.

    Raise `StoreUnusableError`, or `StoreInUseError` during another copy.
    """
    clock = ServerClock()
    async with connected(server, clock) as engine:
        name = ProcessNameLock(engine, _NAME, str(server))
        try:
            await name.take()
        except StoreInUseError:
            raise StoreInUseError(
                f"another `pantau store copy` is at work on the {server}, or was until a minute ago"
            ) from None
        try:
            yield Target(server=server, clock=clock, engine=engine)
        finally:
            await name.let_go()


def _chain_head(head: ChainHead) -> tuple[int, str]:
    return head.number, head.hash


async def _number(connection: AsyncConnection) -> str | None:
    """Return the value in place of the schema revision; `None`: the database is empty."""
    if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
        return None
    return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()


async def _truncate(connection: AsyncConnection, tables: Sequence[Table]) -> None:
    """Empty tables, including the audit log, which no service has ever used."""
    for table in tables:
        await connection.execute(text(f"ALTER TABLE {table.name} DISABLE TRIGGER USER"))
    await connection.execute(text(f"TRUNCATE {', '.join(table.name for table in tables)}"))
    for table in tables:
        await connection.execute(text(f"ALTER TABLE {table.name} ENABLE TRIGGER USER"))


async def _end_half(connection: AsyncConnection, schema: str) -> None:
    await connection.run_sync(_HALF.drop)
    await connection.execute(text("UPDATE alembic_version SET version_num = :schema"), {"schema": schema})
