"""Availability of the database: which errors mean that it is unavailable or in use, and since when.

The database counts as unavailable (`StoreUnavailable`) if, for example, the disk is full, the server restarts or the
connection breaks. A conflict with another transaction raises the subclass `TransactionConflictError`, because a caller
may repeat the transaction in both cases. All other database errors are bugs of Pantau and are raised unchanged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable

log = structlog.get_logger()

#: SQLite's primary result codes: no permission, busy, locked, out of memory, read-only, I/O error, corrupt, disk full,
#: cannot be opened, not a database.
_SQLITE_UNAVAILABLE = frozenset({3, 5, 6, 7, 8, 10, 11, 13, 14, 26})
#: Classes of PostgreSQL's SQLSTATE: connection, transaction rolled back, insufficient resources, object not in
#: prerequisite state (a lock not obtained in time), operator intervention, system error.
_POSTGRES_UNAVAILABLE_CLASSES = frozenset({"08", "40", "53", "55", "57", "58"})
#: SQLSTATEs: the server became a standby; the server ended an idle transaction, or one that took too long.
_POSTGRES_UNAVAILABLE_STATES = frozenset({"25006", "25P03", "25P04"})
#: SQLSTATE and text of the error when a write transaction starts on a standby. Other errors with this state are bugs.
_STANDBY_STATE, _STANDBY_TEXT = "0A000", "during recovery"
#: SQLSTATE classes of conflicts with another transaction: rolled back, or a lock not obtained in time. The transaction
#: may be repeated at once.
_CONFLICT_CLASSES = ("40", "55")
#: Minimum time between two attempts on an unavailable database.
_RETRY_INTERVAL_SECONDS = 1.0


class StoreInUseError(Exception):
    """Another process uses the store, or uses the name of this process in the store. The message says what to do."""


class TransactionConflictError(StoreUnavailable):
    """A conflict with another transaction. The database is available."""


def reason_of(error: BaseException) -> str | None:
    """Return why the database is unavailable, in one line without parameter values.

    `None`: *error* does not mean that the database is unavailable.
    """
    if isinstance(error, TimeoutError | PoolTimeoutError):
        return "it does not answer in time"
    if not isinstance(error, DBAPIError):
        return None
    orig = error.orig
    text = str(orig).partition("\n")[0] or type(orig).__name__
    if (code := getattr(orig, "sqlite_errorcode", None)) is not None:
        # The low byte of an extended result code is the primary one.
        return text if code & 0xFF in _SQLITE_UNAVAILABLE else None
    state = getattr(orig, "sqlstate", None)
    if state is None:
        return text if isinstance(orig, psycopg.OperationalError | psycopg.InterfaceError) else None
    is_standby = state == _STANDBY_STATE and _STANDBY_TEXT in text
    return (
        text
        if state[:2] in _POSTGRES_UNAVAILABLE_CLASSES or state in _POSTGRES_UNAVAILABLE_STATES or is_standby
        else None
    )


@contextmanager
def convert_unavailable() -> Iterator[None]:
    """Convert errors of the block that mean an unavailable database to `StoreUnavailable`."""
    try:
        yield
    except Exception as error:
        if (reason := reason_of(error)) is None:
            raise
        # Omit the cause (`from None`), because each caller would log forty lines of library code.
        state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
        _break_cycle(error)
        raise (TransactionConflictError if state.startswith(_CONFLICT_CLASSES) else StoreUnavailable)(reason) from None


def _break_cycle(error: BaseException | None) -> None:
    """Break the reference cycle between the exceptions and the frames of SQLAlchemy's calls."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


class StoreAvailability:
    """Availability of the database, as seen by write transactions. Each change is logged once for all callers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Time of the last failure, in seconds of the monotonic clock.
        self._failed_at = -math.inf
        #: Reason of the last failure.
        self.reason = ""
        #: Start of the unavailability; `None` while the database is available.
        self.unavailable_since: datetime | None = None
        #: Called with `False` when the database becomes unavailable and with `True` when it is available again.
        self.on_change: Callable[[bool], None] = lambda _: None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Convert errors of a write transaction as `convert_unavailable` does, and record the availability.

        Within `_RETRY_INTERVAL_SECONDS` after a failure, raise `StoreUnavailable` at once, so that not all callers wait
        for a server that hangs. Reads are not recorded: a database on a full disk can still be read.
        """
        if self.unavailable_since is not None and time.monotonic() - self._failed_at < _RETRY_INTERVAL_SECONDS:
            raise StoreUnavailable(self.reason)
        try:
            with convert_unavailable():
                yield
        except TransactionConflictError:
            raise
        except StoreUnavailable as error:
            self._set_unavailable(str(error))
            raise
        self._set_available()

    def _set_unavailable(self, reason: str) -> None:
        self._failed_at, self.reason = time.monotonic(), reason
        if self.unavailable_since is None:
            self.unavailable_since = self._clock.now()
            log.error("database unavailable; probing continues and writes are buffered", reason=reason)
            self.on_change(False)

    def _set_available(self) -> None:
        if self.unavailable_since is not None:
            duration = self._clock.now() - self.unavailable_since
            self.unavailable_since = None
            log.warning("database available again", unavailable_seconds=round(duration.total_seconds()))
            self.on_change(True)
