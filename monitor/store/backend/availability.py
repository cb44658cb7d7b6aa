"""Availability of the database: which errors mean that it is unavailable or in use, and since when.

The database counts as unavailable if, for example, the disk is full, the server restarts or the connection breaks. A
conflict with another transaction raises the same error, because the transaction may be repeated. All other database
errors are bugs of Pantau and are raised unchanged.
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
_SQLITE_AWAY = frozenset({3, 5, 6, 7, 8, 10, 11, 13, 14, 26})
#: Classes of PostgreSQL's SQLSTATE: connection, transaction rolled back, insufficient resources, object not in
#: prerequisite state (a lock not obtained in time), operator intervention, system error.
_POSTGRES_AWAY = frozenset({"08", "40", "53", "55", "57", "58"})
#: SQLSTATEs: the server became a standby; the server ended an idle transaction, or one that took too long.
_POSTGRES_AWAY_STATES = frozenset({"25006", "25P03", "25P04"})
#: SQLSTATE and text of the error when a standby is asked to begin a write transaction. Other errors with this state are
#: bugs.
_STANDBY = ("0A000", "during recovery")
#: Classes of conflicts with another transaction: rolled back, or a lock not obtained in time. The transaction may be
#: repeated at once.
_LOST_RACES = ("40", "55")
#: Seconds between two attempts on an unavailable database.
_TRIED_EVERY = 1.0


class StoreInUseError(Exception):
    """Another process uses the store, or uses this process's name in the store. The message says what to do."""


class TransactionConflictError(StoreUnavailable):
    """A conflict with another transaction. The database is available."""


def reason_of(error: BaseException) -> str | None:
    """Return why the database is unavailable, in one line without values; `None`: *error* does not mean that."""
    if isinstance(error, TimeoutError | PoolTimeoutError):
        return "it does not answer in time"
    if not isinstance(error, DBAPIError):
        return None
    orig = error.orig
    text = str(orig).partition("\n")[0] or type(orig).__name__
    if (code := getattr(orig, "sqlite_errorcode", None)) is not None:
        return text if code & 0xFF in _SQLITE_AWAY else None
    state = getattr(orig, "sqlstate", None)
    if state is None:
        return text if isinstance(orig, psycopg.OperationalError | psycopg.InterfaceError) else None
    is_standby = state == _STANDBY[0] and _STANDBY[1] in text
    return text if state[:2] in _POSTGRES_AWAY or state in _POSTGRES_AWAY_STATES or is_standby else None


@contextmanager
def convert_unavailable() -> Iterator[None]:
    """Convert errors of the block that mean an unavailable database to `StoreUnavailable`."""
    try:
        yield
    except Exception as error:
        if (reason := reason_of(error)) is None:
            raise
        # Omit the cause, because each caller would log forty lines of library code.
        state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
        _break_cycle(error)
        raise (TransactionConflictError if state.startswith(_LOST_RACES) else StoreUnavailable)(reason) from None


def _break_cycle(error: BaseException | None) -> None:
    """Break the reference cycle between the exceptions and the frames of SQLAlchemy's calls."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


class StoreAvailability:
    """Availability of the database. Each change is logged once, even if many callers notice it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Last failure, by the monotonic clock.
        self._failed_at = -math.inf
        #: Reason of the last failure.
        self.why = ""
        #: Since when it is unavailable; `None` while it is available.
        self.away_since: datetime | None = None
        #: Called with `False` when it becomes unavailable and with `True` when it is available again.
        self.on_change: Callable[[bool], None] = lambda there: None  # noqa: ARG005 - nobody wants to know yet

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Convert errors as `convert_unavailable` does. Raise `StoreUnavailable` at once shortly after a failure.

        An unavailable database is tried once per `_TRIED_EVERY`, not by each caller, because too many callers would
        wait for a server that hangs. Only a write proves that the database is available: a full disk can be read.
        """
        if self.away_since is not None and time.monotonic() - self._failed_at < _TRIED_EVERY:
            raise StoreUnavailable(self.why)
        try:
            with convert_unavailable():
                yield
        except TransactionConflictError:
            raise
        except StoreUnavailable as away:
            self._became_unavailable(str(away))
            raise
        self._became_available()

    def _became_unavailable(self, reason: str) -> None:
        self._failed_at, self.why = time.monotonic(), reason
        if self.away_since is None:
            self.away_since = self._clock.now()
            log.error("database unavailable; probing continues and writes are buffered", reason=reason)
            self.on_change(False)

    def _became_available(self) -> None:
        if self.away_since is not None:
            away = self._clock.now() - self.away_since
            self.away_since = None
            log.warning("database available again", unavailable_seconds=round(away.total_seconds()))
            self.on_change(True)
