"""Availability of the database: which errors mean that it is unavailable or in use, and since when.

Unavailable are a full disk, a restarting server, a broken connection, and a transaction that lost a race and may be
repeated. All other database errors are bugs of ours and are raised unchanged.
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
#: A server that became a standby; a transaction that the server ended because it was idle.
_POSTGRES_AWAY_STATES = frozenset({"25006", "25P03", "25P04"})
#: A standby that is asked to begin a write transaction; anything else with this state is a bug.
_STANDBY = ("0A000", "during recovery")
#: Conflicts with another transaction, after which this one may be repeated at once: rolled back, or a lock not obtained
#: in time.
_LOST_RACES = ("40", "55")
#: Seconds between two attempts on an unavailable database.
_TRIED_EVERY = 1.0


class StoreInUseError(Exception):
    """Another process has the store, or this process's name there. The message says what to do."""


class TransactionConflictError(StoreUnavailable):
    """A conflict with another transaction. The database is available."""


def reason_of(error: BaseException) -> str | None:
    """Return why the database is unavailable, in one line without any value; `None` when the error means something else."""
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
    """Raise `StoreUnavailable` for an error of the block that means it."""
    try:
        yield
    except Exception as error:
        if (reason := reason_of(error)) is None:
            raise
        # Without the cause: each caller would log forty lines of libraries.
        state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
        _break_cycle(error)
        raise (TransactionConflictError if state.startswith(_LOST_RACES) else StoreUnavailable)(reason) from None


def _break_cycle(error: BaseException | None) -> None:
    """Break the reference cycle of exceptions and their frames, which SQLAlchemy's calls form."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


class StoreAvailability:
    """Whether the database is available. A change is logged once, however many callers there are."""

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
        """Raise `StoreUnavailable` for an error of the block that means it, or at once while it is known to be unavailable.

        Meanwhile it is tried now and then, not by each caller: too many would wait for a server that hangs. Only a
        write proves that it is available; a full disk can be read.
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
