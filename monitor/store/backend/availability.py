"""When the store cannot be used: another has it, or it is away; which errors mean that, and since when.

Away is the disk that is full, the server that restarts, the connection that broke, the transaction that lost a race
and may be repeated. Everything else that a database raises is our own bug, and passes through as it is.
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
#: The first two characters of PostgreSQL's SQLSTATE: connection, transaction rolled back, out of resources, not in a
#: state for it (a lock not had in time), stopped by an operator, error of the system.
_POSTGRES_AWAY = frozenset({"08", "40", "53", "55", "57", "58"})
#: A server that became a standby; a transaction that the server ended because we said nothing for too long.
_POSTGRES_AWAY_STATES = frozenset({"25006", "25P03", "25P04"})
#: Of a standby that is asked to begin a transaction that writes; anything else by this state is a bug of ours.
_STANDBY = ("0A000", "during recovery")
#: Another transaction was in the way, and this one may be repeated at once: rolled back, or a lock not had in time.
_LOST_RACES = ("40", "55")
#: In seconds; so often a store that is away is tried.
_TRIED_EVERY = 1.0


class StoreInUseError(Exception):
    """Another process has the store, or our name there. The message says what to do."""


class TransactionConflictError(StoreUnavailable):
    """Another transaction was in the way. The store is there."""


def reason_of(error: BaseException) -> str | None:
    """Return why the store is away, in one line without any value of ours; `None` when it is not."""
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
def raising_away() -> Iterator[None]:
    """Raise `StoreUnavailable` for an error of the block that means it."""
    try:
        yield
    except Exception as error:
        if (why := reason_of(error)) is None:
            raise
        # Without its cause: forty lines of libraries, in the log of everybody who asks meanwhile.
        state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
        _untie(error)
        raise (TransactionConflictError if state.startswith(_LOST_RACES) else StoreUnavailable)(why) from None


def _untie(error: BaseException | None) -> None:
    """Let an error and those behind it go of where they were raised: SQLAlchemy's calls hold them, and they the calls."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


class StoreAvailability:
    """Whether the store can be used. One line in the log when that changes, however many want it meanwhile."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: When it was last found away, by the clock that nobody sets.
        self._failed_at = -math.inf
        #: Why, when it was last away.
        self.why = ""
        #: Since when it is away; `None` while it is there.
        self.away_since: datetime | None = None
        #: Told when it goes away (`False`) and when it is back (`True`).
        self.on_change: Callable[[bool], None] = lambda there: None  # noqa: ARG005 - nobody wants to know yet

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Raise `StoreUnavailable` for an error of the block that means it, or at once while it is known to be away.

        While it is away it is tried now and then, and not by everybody: who waits for a server that hangs would be
        many. Only a write shows that it is back; a full disk can be read.
        """
        if self.away_since is not None and time.monotonic() - self._failed_at < _TRIED_EVERY:
            raise StoreUnavailable(self.why)
        try:
            with raising_away():
                yield
        except TransactionConflictError:
            raise
        except StoreUnavailable as away:
            self._went(str(away))
            raise
        self._came()

    def _went(self, why: str) -> None:
        self._failed_at, self.why = time.monotonic(), why
        if self.away_since is None:
            self.away_since = self._clock.now()
            log.error("the store is away; probing goes on, and what is to be written waits", why=why)
            self.on_change(False)

    def _came(self) -> None:
        if self.away_since is not None:
            away = self._clock.now() - self.away_since
            self.away_since = None
            log.warning("the store is back", away_seconds=round(away.total_seconds()))
            self.on_change(True)
