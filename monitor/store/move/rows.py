"""Rows of a table, copied from one store to another and compared, in the order of the primary key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, cast

import psycopg
from sqlalchemy import Connection, Row, Select, String, Table, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.backend.availability import reason_of
from monitor.store.move.target import Target

#: Maximum of rows in memory and per transaction.
BATCH = 5000


class RowRefusedError(Exception):
    """A row that SQLite holds and PostgreSQL rejects, for its length or type. The message names it."""


def count(source: Connection, table: Table) -> int:
    """Return the number of rows in the file."""
    return int(source.execute(select(func.count()).select_from(table)).scalar_one())


async def copy(source: Connection, target: Target, table: Table, tell: Callable[[int], None]) -> None:
    """Copy the missing rows of *table*; call *tell* after each batch with the number of rows copied.

    A batch is complete or absent, and batches follow the order of the key: the copied rows are always the first ones.
    Raise `RowRefusedError`, or database errors.
    """
    copied = await target.count(table)
    tell(copied)
    for batch in _batches(source, _here(table).limit(-1).offset(copied)):
        try:
            async with target.transaction() as connection:
                await _insert(connection, table, batch)
        except DBAPIError as error:
            if reason_of(error) is not None:
                raise
            raise await _refused(target, table, batch, error) from None
        copied += len(batch)
        tell(copied)


async def difference(source: Connection, target: Target, table: Table, tell: Callable[[int], None]) -> str:
    """Return the place of the first difference, in words; "" if there is none."""
    compared = 0
    async with target.transaction() as connection:
        target_rows = await connection.stream(_there(table))
        try:
            for source_rows in _batches(source, _here(table)):
                their = await target_rows.fetchmany(BATCH)
                if source_rows != their:
                    return _first_difference(table, source_rows, their)
                compared += len(source_rows)
                tell(compared)
            if extra := await target_rows.fetchmany(BATCH):
                return _first_difference(table, [], extra)
        finally:
            await target_rows.close()
    return ""


async def _insert(connection: AsyncConnection, table: Table, rows: Sequence[Row[Any]]) -> None:
    """Insert rows by COPY, as `pg_restore` does: single inserts take three times as long."""
    dialect = connection.dialect
    columns = [(c.name, c.type.dialect_impl(dialect).bind_processor(dialect)) for c in table.columns]
    names = ", ".join(dialect.identifier_preparer.quote(name) for name, _ in columns)
    driver = cast(psycopg.AsyncConnection, (await connection.get_raw_connection()).driver_connection)
    statement = f"COPY {dialect.identifier_preparer.format_table(table)} ({names}) FROM STDIN"
    try:
        async with driver.cursor() as cursor, cursor.copy(statement) as copying:
            for row in rows:
                values = (v if as_sent is None else as_sent(v) for v, (_, as_sent) in zip(row, columns, strict=True))
                await copying.write_row(tuple(values))
    except psycopg.Error as error:
        raise DBAPIError(statement, None, error, hide_parameters=True) from None


def _here(table: Table) -> Select[Any]:
    return select(table).order_by(*table.primary_key)


def _there(table: Table) -> Select[Any]:
    # SQLite compares texts by octets; a server uses the collation of a language.
    return select(table).order_by(*(c.collate("C") if isinstance(c.type, String) else c for c in table.primary_key))


def _batches(source: Connection, query: Select[Any]) -> Iterator[Sequence[Row[Any]]]:
    result = source.execution_options(stream_results=True).execute(query)
    yield from result.partitions(BATCH)


def _first_difference(table: Table, source_rows: Sequence[Row[Any]], target_rows: Sequence[Row[Any]]) -> str:
    for our, their in zip_longest(source_rows, target_rows):
        if our != their:
            row = our if our is not None else their
            problem = "is missing there" if their is None else "is there only" if our is None else "differs"
            return f"{_name(table, row)} {problem}"
    return ""


async def _refused(target: Target, table: Table, rows: Sequence[Row[Any]], error: DBAPIError) -> Exception:
    """Return the error for the row of a batch that was rejected, found by trying each."""
    for each in rows:
        try:
            async with target.transaction() as connection:
                await _insert(connection, table, [each])
                await connection.rollback()
        except DBAPIError as refused:
            if reason_of(refused) is None:
                reason = str(refused.orig).partition("\n")[0]
                return RowRefusedError(f"{_name(table, each)} cannot be kept by PostgreSQL: {reason}")
    return error


def _name(table: Table, row: Row[Any]) -> str:
    key = (str(value) for value, column in zip(row, table.columns, strict=True) if column.primary_key)
    return f"{table.name} {'/'.join(key)}"
