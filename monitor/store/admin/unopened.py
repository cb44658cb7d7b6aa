"""Queries on a store that this process need not have opened: agencies and their secrets are read before the store is opened."""

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


class DocumentsAwayError(StoreUnavailable):
    """The documents cannot be read now. The message gives the reason, and contains no secret."""


def read_unopened(directory: Path, server: PostgresServer | None, query: Select[Any], table: str) -> Sequence[Row[Any]]:
    """Return the result of a query on a store that this process need not have opened; empty if the table does not exist.

    Raise `DocumentsAwayError`.
    """
    file = directory / _FILE
    try:
        if server is None and not file.exists():
            return ()
        engine = _reading(file) if server is None else _asking(server)
        try:
            with engine.connect() as connection:
                return _rows(connection, query, table)
        finally:
            engine.dispose()
    except (DBAPIError, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error.strerror or error
        where = f"the file {file}" if server is None else str(server)
        reason = " ".join(str(cause).split())
        raise DocumentsAwayError(f"the store, {where}, cannot be read: {reason}") from None


def _rows(connection: Connection, query: Select[Any], table: str) -> Sequence[Row[Any]]:
    try:
        return connection.execute(query).all()
    except (OperationalError, ProgrammingError):
        # There is no such table, or a store from before its present name.
        connection.rollback()
    use_present_names(connection)
    return connection.execute(query).all() if inspect(connection).has_table(table) else ()


def has_store(directory: Path) -> bool:
    """Whether there is a store in *directory*; one that this user must not read counts."""
    try:
        return (directory / _FILE).exists()
    except OSError:
        return True


def _reading(file: Path) -> Engine:
    # Without a WAL file nothing is written beside the store.
    at_rest = "" if file.with_name(f"{file.name}-wal").exists() else "&immutable=1"
    uri = f"{file.absolute().as_uri()}?mode=ro{at_rest}"
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True, timeout=10), poolclass=NullPool)


def _asking(server: PostgresServer) -> Engine:
    return create_engine(server.url(), connect_args=server.arguments(), poolclass=NullPool, hide_parameters=True)
