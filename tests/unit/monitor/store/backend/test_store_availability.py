"""Errors that mean that the database is unavailable, and notification of changes."""

from __future__ import annotations

import math
import sqlite3

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from alerts.persistence.clock import SystemClock
from alerts.persistence.store import StoreUnavailable
from monitor.store.backend.availability import (
    StoreAvailability,
    TransactionConflictError,
    convert_unavailable,
    reason_of,
)

FULL = "database or disk is full"


def of_sqlite(code: int, text: str = FULL) -> DBAPIError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return DBAPIError("INSERT INTO x VALUES (?)", ("kata-laluan-contoh",), error)


def of_postgresql(state: str, text: str = "it is so") -> DBAPIError:
    return DBAPIError("INSERT INTO x VALUES (%s)", ("kata-laluan-contoh",), errors.lookup(state)(text))


@pytest.mark.parametrize(
    "error",
    [
        *map(of_sqlite, (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)),
        *map(of_sqlite, (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)),
        # The lower byte is the error, the rest is detail: an error during fsync.
        of_sqlite(sqlite3.SQLITE_IOERR | 4 << 8),
        *map(of_postgresql, ("08006", "40001", "53100", "53300", "55P03", "57P01", "58030", "25006", "25P03")),
        of_postgresql("0A000", "cannot set transaction read-write mode during recovery"),
        # A broken connection has no SQLSTATE.
        DBAPIError("SELECT 1", (), psycopg.OperationalError("server closed the connection unexpectedly")),
        TimeoutError(),
        PoolTimeoutError(),
    ],
    ids=repr,
)
def test_reason_of_temporary_error_is_text_without_secrets(error: Exception) -> None:
    reason = reason_of(error)

    assert reason
    assert "\n" not in reason
    assert "kata-laluan" not in reason


@pytest.mark.parametrize(
    "error",
    [
        *map(of_sqlite, (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE)),
        *map(of_postgresql, ("23505", "42P01", "25P02", "22001", "0A000")),
        DBAPIError("SELECT 1", (), psycopg.ProgrammingError("the query has 0 placeholders")),
        ValueError("2026-11-24 has no time zone"),
    ],
    ids=repr,
)
def test_reason_of_programming_error_is_none(error: Exception) -> None:
    assert reason_of(error) is None
    with pytest.raises(type(error)), convert_unavailable():
        raise error


def fail(availability: StoreAvailability, error: Exception) -> None:
    with pytest.raises(StoreUnavailable), availability.writing():
        raise error


def test_store_availability_conflict_is_no_outage() -> None:
    availability = StoreAvailability(SystemClock())
    for state in ("40001", "40P01", "55P03"):
        with pytest.raises(TransactionConflictError), availability.writing():
            raise of_postgresql(state)
    assert availability.unavailable_since is None


def test_store_availability_outage_limits_attempts_and_ends_with_write() -> None:
    availability = StoreAvailability(SystemClock())
    told: list[bool] = []
    availability.on_change = told.append
    for _ in range(2):
        fail(availability, of_sqlite(sqlite3.SQLITE_FULL))
    since = availability.unavailable_since
    assert (told, since is None) == ([False], False)

    written = []
    with pytest.raises(StoreUnavailable, match=FULL), availability.writing():
        written.append("too early")
    # A while later.
    availability._failed_at = -math.inf
    fail(availability, of_sqlite(sqlite3.SQLITE_FULL))
    assert (told, availability.unavailable_since) == ([False], since)
    availability._failed_at = -math.inf
    with availability.writing():
        written.append("in time")

    assert written == ["in time"]
    assert (told, availability.unavailable_since) == ([False, True], None)
