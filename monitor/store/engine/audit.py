"""Audit log in the database: append, read in order, verify.

The entries are a hash chain (`alerts.persistence.audit`): each contains the hash of the previous entry. The *head*
(number and hash of the last entry) is stored in its own table. A *checkpoint* is an entry that records a successful
verification of all entries before it, and contains number and hash of the previous checkpoint. The column
`content` has the hash of an entry's content. An *unreadable* entry is a row that somebody edited by hand and that
cannot be converted to an entry; functions return its number instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import URL, NullPool, Row, insert, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from alerts.persistence.audit import CHECKPOINT, ChainedEntry, ChainHead, Verifier, checkpoint, seal
from alerts.persistence.store import AuditEntry
from monitor.store.backend.postgres import PostgresServer
from monitor.store.schema.renamed import use_present_names
from monitor.store.schema.rows import attributes_of, from_row
from monitor.store.schema.tables import audit_head, audit_log, notification_incident

if TYPE_CHECKING:
    from monitor.store.backend.database import Database

#: Number of entries per batch of a verification. Hashing a batch blocks the event loop for five milliseconds.
BATCH = 200

_IS_HEAD = audit_head.c.id == 1
_HEAD = select(audit_head.c.number, audit_head.c.hash).where(_IS_HEAD)
_LOCKED_HEAD = _HEAD.with_for_update()
_ADD = insert(audit_log)
_MOVE_HEAD = update(audit_head).where(_IS_HEAD)

#: Function that begins a consistent read transaction.
ReadTransaction = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


async def append(connection: AsyncConnection, entries: Sequence[AuditEntry]) -> Sequence[ChainedEntry]:
    """Append *entries* to the audit log within the transaction of *connection*, and return the chained entries.

    Appending must be the last action of a transaction: the head stays locked until the commit, and all other writers
    wait for it. If the head were locked earlier, deadlocks would be possible.
    """
    if not entries:
        return ()
    previous = await _locked_head(connection)
    sealed: list[ChainedEntry] = []
    for entry in entries:
        sealed.append(seal(entry, previous))
        previous = ChainHead(number=sealed[-1].number, hash=sealed[-1].hash)
    await connection.execute(_ADD, [entry_values(each) for each in sealed])
    await connection.execute(_MOVE_HEAD, {"number": previous.number, "hash": previous.hash})
    return sealed


@asynccontextmanager
async def audited_write(database: Database, entry: AuditEntry) -> AsyncIterator[AsyncConnection]:
    """Begin a write transaction that appends *entry* to the audit log at its end."""
    async with database.write() as connection:
        yield connection
        await append(connection, [entry])


async def _locked_head(connection: AsyncConnection) -> ChainHead:
    """Lock the head until the end of the transaction, and return it."""
    return from_row(ChainHead, (await connection.execute(_LOCKED_HEAD)).one())


async def head(connection: AsyncConnection) -> ChainHead:
    """Return the stored head of the audit log."""
    # The last row is not the head if somebody has added rows by hand.
    row = (await connection.execute(_HEAD)).one_or_none()
    # If somebody has deleted the head by hand, return a head that matches no chain.
    return ChainHead(number=0, hash="") if row is None else from_row(ChainHead, row)


async def entries(connection: AsyncConnection, after: int = 0, limit: int = BATCH) -> Sequence[ChainedEntry | int]:
    """Return up to *limit* entries with numbers above *after*, in order; the number instead of an unreadable entry."""
    query = select(audit_log).where(audit_log.c.id > after).order_by(audit_log.c.id).limit(limit)
    try:
        return [to_entry(row) for row in await connection.execute(query)]
    except (ValueError, TypeError):
        # A row has an invalid time or JSON text. Read each row by itself to find it.
        numbers = select(audit_log.c.id).where(audit_log.c.id > after).order_by(audit_log.c.id).limit(limit)
        return [await read_entry(connection, number) for number in (await connection.execute(numbers)).scalars().all()]


async def entries_of_incident(connection: AsyncConnection, incident_id: int) -> Sequence[ChainedEntry]:
    """Return the entries about an incident and its notifications, in order."""
    notification_ids = select(notification_incident.c.notification_id).where(
        notification_incident.c.incident_id == incident_id
    )
    entries: dict[int, ChainedEntry] = {}
    for condition in (audit_log.c.incident_id == incident_id, audit_log.c.notification_id.in_(notification_ids)):
        rows = await connection.execute(select(audit_log).where(condition))
        entries |= {row.id: to_entry(row) for row in rows}
    return [entries[number] for number in sorted(entries)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainLinks:
    """Proof that certain entries belong to one chain, without the contents of the entries between them."""

    #: Entry number and content hash, in the order of the chain.
    links: Sequence[tuple[int, str]]
    #: Checkpoints, which let the proof skip the entries between two checkpoints.
    checkpoints: Sequence[ChainedEntry]


async def read_chain_links(connection: AsyncConnection, numbers: Sequence[int]) -> ChainLinks:
    """Return the proof that the entries with *numbers* (in ascending order) belong to one chain.

    Daily checkpoints shorten the proof. For two entries a year apart, it has the links of the first and last day, and
    one checkpoint for each day between.
    """
    is_checkpoint = audit_log.c.event == literal_column(f"'{CHECKPOINT}'")
    between = (audit_log.c.id > numbers[0]) & (audit_log.c.id <= numbers[-1])
    rows = await connection.execute(select(audit_log).where(is_checkpoint, between).order_by(audit_log.c.id))
    checkpoints = [to_entry(row) for row in rows]
    proof = [*await links(connection, numbers[0], numbers[0])]
    used_checkpoints: list[ChainedEntry] = []
    for first, last in pairwise(numbers):
        checkpoints_between = [each for each in checkpoints if first < each.number <= last]
        if len(checkpoints_between) > 1:
            proof += await links(connection, first + 1, checkpoints_between[0].number)
            proof += [(each.number, each.content) for each in checkpoints_between[1:]]
            used_checkpoints += checkpoints_between[1:]
        last_linked = proof[-1][0]
        proof += await links(connection, last_linked + 1, last)
    return ChainLinks(links=proof, checkpoints=used_checkpoints)


async def links(connection: AsyncConnection, first: int, last: int) -> Sequence[tuple[int, str]]:
    """Return number and content hash of the entries from *first* to *last*, inclusive."""
    query = (
        select(audit_log.c.id, audit_log.c.content).where(audit_log.c.id.between(first, last)).order_by(audit_log.c.id)
    )
    return [(row.id, row.content) for row in await connection.execute(query)]


async def hash_of(connection: AsyncConnection, number: int) -> str | None:
    """Return the hash of entry *number*; `None`: it does not exist."""
    hash_ = (await connection.execute(select(audit_log.c.hash).where(audit_log.c.id == number))).scalar_one_or_none()
    return None if hash_ is None else str(hash_)


async def verify(
    read: ReadTransaction,
    against: ChainHead | None = None,
    *,
    since: ChainHead | None = None,
    pause: timedelta = timedelta(0),
) -> Verifier:
    """Verify the chain; return the verifier with the violations.

    *read*: function that begins a consistent read transaction, such as `Database.read`. Each batch has its own
    transaction, because a server aborts transactions that last minutes. *against*: a head that was kept outside the
    database, with which the chain must agree. *since*: verify only the entries after this checkpoint. *pause*: time
    between two batches.
    """
    verifier = Verifier(since)
    after = verifier.head.number
    while True:
        async with read() as connection:
            batch = await entries(connection, after)
            _verify_batch(verifier, batch)
            if len(batch) < BATCH:
                verifier.end(await head(connection))
                if against is not None:
                    verifier.compare_kept_head(against, await hash_of(connection, against.number))
                return verifier
            after = number_of(batch[-1])
        await asyncio.sleep(pause.total_seconds())


def _verify_batch(verifier: Verifier, batch: Sequence[ChainedEntry | int]) -> None:
    for entry in batch:
        if isinstance(entry, int):
            verifier.add_unreadable(entry)
        else:
            verifier.verify(entry)


async def last_checkpoint(connection: AsyncConnection) -> ChainedEntry | None:
    """Return the newest checkpoint; `None`: there is none, or it is invalid.

    A verification that starts at a checkpoint is fast. But anybody with write access to the database can add a
    checkpoint, so a full verification must follow soon.
    """
    is_checkpoint = audit_log.c.event == literal_column(f"'{CHECKPOINT}'")
    query = select(audit_log).where(is_checkpoint).order_by(audit_log.c.id.desc()).limit(1)
    try:
        row = (await connection.execute(query)).one_or_none()
        return None if row is None else to_entry(row)
    except (ValueError, TypeError):
        return None


async def add_checkpoint(connection: AsyncConnection, verifier: Verifier, at: datetime, actor: str) -> None:
    """Verify the entries after the last one of *verifier*; if the whole chain is intact, append a checkpoint.

    The transaction of *connection* must contain nothing else, because it blocks all other appends until its end.
    """
    end = await _locked_head(connection)
    while batch := await entries(connection, verifier.head.number):
        _verify_batch(verifier, batch)
    if verifier.violations or verifier.head != end:
        return
    added = await append(connection, [checkpoint(at, actor, verifier.checkpoint)])
    _verify_batch(verifier, added)


def number_of(entry: ChainedEntry | int) -> int:
    """Return the number of a readable or an unreadable entry."""
    return entry if isinstance(entry, int) else entry.number


@asynccontextmanager
async def open_sqlite_file(path: Path) -> AsyncIterator[AsyncConnection]:
    """Open the SQLite file of a stopped service for reading. No file is changed or created.

    Raise `FileNotFoundError` if the file does not exist, and `sqlalchemy.exc.DatabaseError` if it has no audit log.
    """
    engine = create_async_engine(sqlite_read_only_url(path))
    try:
        async with engine.connect() as connection:
            # The file may be older than the present names of tables and columns: reading does not migrate it.
            await connection.run_sync(use_present_names)
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_postgres_server(server: PostgresServer) -> AsyncIterator[AsyncConnection]:
    """Open a PostgreSQL server or standby for reading, also while services use it. Nothing is written.

    Raise `sqlalchemy.exc.OperationalError` if the server is unreachable, and another `DatabaseError` if the database
    has no audit log.
    """
    engine = create_async_engine(
        server.url(), connect_args=server.arguments(), poolclass=NullPool, hide_parameters=True
    )
    try:
        async with engine.connect() as connection:
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            yield await connection.execution_options(**options)
    finally:
        await engine.dispose()


def sqlite_read_only_url(path: Path) -> URL:
    """Return the URL that opens an SQLite file for reading. Raise `FileNotFoundError` if the file does not exist."""
    if not path.is_file():
        raise FileNotFoundError(path)
    wal_file = path.with_name(f"{path.name}-wal")
    # After a clean stop the file is complete, and `immutable` makes it readable on read-only media. After a crash the
    # last changes are in the WAL file, which SQLite ignores if the file is `immutable`.
    is_complete = not wal_file.exists() or wal_file.stat().st_size == 0
    query = {"mode": "ro", "uri": "true"} | ({"immutable": "1"} if is_complete else {})
    return URL.create("sqlite+aiosqlite", database=f"file:{quote(str(path))}", query=query)


async def read_entry(connection: AsyncConnection, number: int) -> ChainedEntry | int:
    """Return an entry, or its number if it is unreadable."""
    try:
        return to_entry((await connection.execute(select(audit_log).where(audit_log.c.id == number))).one())
    except (ValueError, TypeError):
        return number


def to_entry(row: Row[Any]) -> ChainedEntry:
    """Return the entry of a row. Raise `ValueError` or `TypeError` if the row is invalid."""
    texts = (row.actor, row.event, row.previous, row.content, row.hash)
    # SQLite stores any type in any column. A row that cannot be hashed is rejected here, so that the verification
    # reports the row and continues.
    if not all(isinstance(text, str) for text in texts) or not all(
        isinstance(number, int | None) for number in (row.incident_id, row.notification_id, row.purged_by)
    ):
        raise TypeError(f"entry {row.id} has a value of the wrong type")
    return from_row(ChainedEntry, row, number=row.id)


def entry_values(entry: ChainedEntry) -> dict[str, Any]:
    """Return the values of the columns of a new entry. `purged_by` stays empty until a purge empties the entry."""
    columns = ("at", "actor", "event", "incident_id", "notification_id", "detail", "previous", "content", "hash")
    return {"id": entry.number, **attributes_of(entry, columns)}
