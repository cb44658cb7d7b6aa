"""Copy and comparison of a table's rows between a SQLite file and PostgreSQL, in the order of the primary key."""

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

#: Maximum number of rows in memory and per transaction.
BATCH = 5000


class RowRefusedError(Exception):
    """PostgreSQL rejects a row of the file because of its length or type. The message names the row."""


def count(source: Connection, table: Table) -> int:
    """Return the number of rows in the file."""
    return int(source.execute(select(func.count()).select_from(table)).scalar_one())


async def copy(source: Connection, target: Target, table: Table, report: Callable[[int], None]) -> None:
    """Copy the missing rows of *table*; call *report* after each batch with the number of rows in the copy.

    Each batch is one transaction, and batches follow the order of the primary key. So the copied rows are always the
    first ones, and their number is the offset of the next batch. Raise `RowRefusedError`, or database errors.
    """
    copied = await target.count(table)
    report(copied)
    for batch in _batches(source, _select_source(table).limit(-1).offset(copied)):
        try:
            async with target.transaction() as connection:
                await _insert(connection, table, batch)
        except DBAPIError as error:
            if reason_of(error) is not None:  # The database is unavailable.
                raise
            raise await _error_for_rejected_row(target, table, batch, error) from None
        copied += len(batch)
        report(copied)


async def difference(source: Connection, target: Target, table: Table, report: Callable[[int], None]) -> str:
    """Return a description of the first difference, which names the row; "" if there is none."""
    compared = 0
    async with target.transaction() as connection:
        target_rows = await connection.stream(_select_target(table))
        try:
            for source_rows in _batches(source, _select_source(table)):
                copied_rows = await target_rows.fetchmany(BATCH)
                if source_rows != copied_rows:
                    return _first_difference(table, source_rows, copied_rows)
                compared += len(source_rows)
                report(compared)
            if extra := await target_rows.fetchmany(BATCH):
                return _first_difference(table, [], extra)
        finally:
            await target_rows.close()
    return ""


async def _insert(connection: AsyncConnection, table: Table, rows: Sequence[Row[Any]]) -> None:
    """Insert rows with COPY, as `pg_restore` does. Single inserts take three times as long."""
    dialect = connection.dialect
    names = ", ".join(dialect.identifier_preparer.quote(column.name) for column in table.columns)
    # Conversion of each column's values for the driver; `None`: values are passed unchanged.
    converters = [column.type.dialect_impl(dialect).bind_processor(dialect) for column in table.columns]
    driver = cast(psycopg.AsyncConnection, (await connection.get_raw_connection()).driver_connection)
    statement = f"COPY {dialect.identifier_preparer.format_table(table)} ({names}) FROM STDIN"
    try:
        async with driver.cursor() as cursor, cursor.copy(statement) as copying:
            for row in rows:
                pairs = zip(row, converters, strict=True)
                await copying.write_row(tuple(v if convert is None else convert(v) for v, convert in pairs))
    except psycopg.Error as error:
        raise DBAPIError(statement, None, error, hide_parameters=True) from None


def _select_source(table: Table) -> Select[Any]:
    return select(table).order_by(*table.primary_key)


def _select_target(table: Table) -> Select[Any]:
    # SQLite compares texts by bytes. PostgreSQL does so with the collation "C" only.
    return select(table).order_by(*(c.collate("C") if isinstance(c.type, String) else c for c in table.primary_key))


def _batches(source: Connection, query: Select[Any]) -> Iterator[Sequence[Row[Any]]]:
    result = source.execution_options(stream_results=True).execute(query)
    yield from result.partitions(BATCH)


def _first_difference(table: Table, source_rows: Sequence[Row[Any]], target_rows: Sequence[Row[Any]]) -> str:
    for source_row, target_row in zip_longest(source_rows, target_rows):
        if source_row == target_row:
            continue
        if target_row is None:
            return f"{_name(table, source_row)} is missing in the copy"
        if source_row is None:
            return f"{_name(table, target_row)} is only in the copy"
        return f"{_name(table, source_row)} differs"
    return ""


async def _error_for_rejected_row(
    target: Target, table: Table, rows: Sequence[Row[Any]], error: DBAPIError
) -> Exception:
    """Insert the rows of a rejected batch one by one. Return a `RowRefusedError` for the first rejected row.

    Return *error*, the error of the batch, if no row is rejected.
    """
    for each in rows:
        try:
            async with target.transaction() as connection:
                await _insert(connection, table, [each])
                await connection.rollback()
        except DBAPIError as refused:
            if reason_of(refused) is None:
                reason = str(refused.orig).partition("\n")[0]
                return RowRefusedError(f"{_name(table, each)} cannot be stored by PostgreSQL: {reason}")
    return error


def _name(table: Table, row: Row[Any]) -> str:
    """Return the table and the primary key of a row."""
    key = (str(value) for value, column in zip(row, table.columns, strict=True) if column.primary_key)
    return f"{table.name} {'/'.join(key)}"
