"""Read-only queries on a store that this process has not opened.

The service reads agencies and their secrets before it opens (and so migrates) the store. Some commands never open it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, Row, Select, create_engine, inspect
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from alerts.persistence.store import StoreUnavailable
from monitor.store.backend.postgres import PostgresServer
from monitor.store.schema.renamed import use_present_names

_FILE = "pantau.sqlite"


class StoreUnreadableError(StoreUnavailable):
    """The store cannot be read now. The message gives the reason, and contains no secret."""


def read_unopened(directory: Path, server: PostgresServer | None, query: Select[Any], table: str) -> Sequence[Row[Any]]:
    """Return the rows of *query* on *table*; empty if the store or the table does not exist.

    The store is the PostgreSQL *server*, or the SQLite file in *directory*. Raise `StoreUnreadableError`.
    """
    file = directory / _FILE
    try:
        if server is None and not file.exists():
            return ()
        engine = _sqlite_engine(file) if server is None else _postgres_engine(server)
        try:
            with engine.connect() as connection:
                return _rows(connection, query, table)
        finally:
            engine.dispose()
    except (DBAPIError, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error.strerror or error
        location = f"the file {file}" if server is None else str(server)
        reason = " ".join(str(cause).split())
        raise StoreUnreadableError(f"the store, {location}, cannot be read: {reason}") from None


def _rows(connection: Connection, query: Select[Any], table: str) -> Sequence[Row[Any]]:
    try:
        return connection.execute(query).all()
    except (OperationalError, ProgrammingError):
        # The table does not exist, or an older store has it under a former name.
        connection.rollback()
    # Temporary views give tables and columns of an older store their present names.
    use_present_names(connection)
    return connection.execute(query).all() if inspect(connection).has_table(table) else ()


def has_store(directory: Path) -> bool:
    """Whether there is a store in *directory*. A directory that this user must not read counts as one with a store."""
    try:
        return (directory / _FILE).exists()
    except OSError:
        return True


def _sqlite_engine(file: Path) -> Engine:
    # Without a WAL file no process writes to the store. Then "immutable" keeps SQLite from creating files beside it.
    immutable = "" if file.with_name(f"{file.name}-wal").exists() else "&immutable=1"
    uri = f"{file.absolute().as_uri()}?mode=ro{immutable}"
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True, timeout=10), poolclass=NullPool)


def _postgres_engine(server: PostgresServer) -> Engine:
    return create_engine(server.url(), connect_args=server.arguments(), poolclass=NullPool, hide_parameters=True)
