"""Statuses and heartbeats of sites. A *site* probes mail; a *hub* reads the statuses of several sites.

The hub decides by a *quorum*: the number of sites that have to agree. A site has one status for each subject (an agency
or a component of Pantau), and writes the status when it changes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Any, NewType

import structlog
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    Row,
    Text,
    bindparam,
    case,
    delete,
    func,
    literal,
    literal_column,
    select,
    text,
    update,
)

from alerts.model.notification import Cause, IncidentType
from monitor.evaluation.joint.freshness import SiteHeartbeat
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.runtime.cooperative import yielding
from monitor.store.backend.database import Database
from monitor.store.backend.repository import Statement
from monitor.store.schema.tables import site_heartbeat, site_status

log = structlog.get_logger()

#: Position in the history of changes: a transaction id of PostgreSQL. With SQLite it is 0.
ChangeCursor = NewType("ChangeCursor", int)

#: Column values of an unknown status, which reports neither a problem nor that mail works.
_UNKNOWN_VALUES = dict.fromkeys(("type", "cause", "since", "latest", "up_since")) | {"flapping": False}

_MICROSECOND = timedelta(microseconds=1)

#: Maximum number of characters of a text that is read. An agency with 10,000 routes needs fewer, and a text of a
#: gigabyte would exhaust the hub's memory.
_MAX_TEXT_LENGTH = 1_000_000

#: Minimum interval between two log messages about invalid rows of a site.
_LOG_INTERVAL_SECONDS = 60.0

#: Id of the oldest running transaction.
_OLDEST_TRANSACTION = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")

#: Age of a row's latest change and of a cursor, in transactions: a row that is not older has changed since the cursor.
#: One query measures both ages from the same transaction. `age` takes the lower 32 bits of a transaction id.
_ROW_AGE = literal_column("age(site_status.xmin)", Integer)
_CURSOR_AGE = text("age(mod(:cursor, 4294967296)::text::xid)")


class SiteStatuses:
    """Reader of the statuses of all sites, and builder of the statements that write the statuses of one site.

    `monitor.store.probing.history` executes the statements together with the run that changed the status.
    """

    def __init__(self, database: Database, site: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """*site*: the site whose statuses are written. *monotonic* returns seconds."""
        self._database = database
        self._site = site
        self._write_status, self._write_heartbeat = database.put(site_status), database.put(site_heartbeat)
        #: Latest status of this site that was written or is being written, by subject.
        self._latest: dict[str, SiteStatus] = {}
        self._monotonic = monotonic
        #: Time of the last log message about invalid rows, in seconds of the monotonic clock, by site.
        self._logged_at: dict[str, float] = {}

    def changed_from_latest(self, statuses: Mapping[str, SiteStatus]) -> Mapping[str, SiteStatus]:
        """Return those *statuses*, by subject, that differ from the latest ones."""
        return {subject: status for subject, status in statuses.items() if self._latest.get(subject) != status}

    def statements(self, statuses: Mapping[str, SiteStatus]) -> Mapping[str, Statement]:
        """Return the statement that writes each status, by subject."""
        return {
            subject: (self._write_status, {"site": self._site, "subject": subject, **_values(status)})
            for subject, status in statuses.items()
        }

    def note_written(self, statuses: Mapping[str, SiteStatus]) -> None:
        """Record *statuses*, which are being written, as the latest ones, so that they are not written again."""
        self._latest.update(statuses)

    def note_unwritten(self, statuses: Mapping[str, SiteStatus]) -> None:
        """Forget *statuses* that could not be written, so that they are written again."""
        for subject, status in statuses.items():
            if self._latest.get(subject) is status:
                del self._latest[subject]

    def clear_latest(self) -> None:
        """Forget all latest statuses, so that they are written again. Their rows were renamed or overwritten."""
        self._latest.clear()

    async def subjects(self) -> Collection[str]:
        """Return the subjects for which this site has a status."""
        query = select(site_status.c.subject).where(site_status.c.site == self._site)
        return await self._database.values(query)

    async def subjects_by_site(self) -> Mapping[str, AbstractSet[str]]:
        """Return the subjects for which each site has a status, by site."""
        subjects_by_site: dict[str, set[str]] = {}
        rows = await self._database.rows(select(site_status.c.site, site_status.c.subject))
        async for site, subject in yielding(rows):
            subjects_by_site.setdefault(site, set()).add(subject)
        return subjects_by_site

    async def delete(self, subjects: Collection[str]) -> None:
        """Delete this site's statuses of *subjects*, which were removed from the configuration."""
        for subject in subjects:
            self._latest.pop(subject, None)
        is_own_row = (site_status.c.site == self._site) & site_status.c.subject.in_(subjects)
        await self._database.change(delete(site_status).where(is_own_row))

    async def reset_to_unknown(self) -> None:
        """Reset this site's statuses of agencies to unknown."""
        is_known = site_status.c.type.is_not(None) | site_status.c.up_since.is_not(None)
        # Subjects that start with "ours/" are components of Pantau.
        is_of_agency = (site_status.c.site == self._site) & site_status.c.subject.not_like("ours/%")
        await self._database.change(update(site_status).where(is_of_agency, is_known).values(**_UNKNOWN_VALUES))

    async def changed(self, cursor: ChangeCursor | None) -> tuple[Mapping[str, Mapping[str, SiteStatus]], ChangeCursor]:
        """Return the statuses that changed since *cursor* (`None`: all), by site and subject, and a new cursor.

        Changes are found by the transaction id that PostgreSQL stores in each row. SQLite stores none, so all statuses
        are returned. Deletions are not reported.
        """
        query, oldest_transaction = select(*map(_limit_text, site_status.c)), 0
        async with self._database.read() as connection:
            if self._database.is_shared:
                # This call reads all changes of transactions that are older than the oldest running one. The next call
                # continues with that transaction.
                oldest_transaction = (await connection.execute(_OLDEST_TRANSACTION)).scalar_one()
                if cursor is not None:
                    query = query.where(_CURSOR_AGE.bindparams(bindparam("cursor", cursor, BigInteger)) >= _ROW_AGE)
            rows = (await connection.execute(query)).all()
        by_site: dict[str, dict[str, SiteStatus]] = {}
        async for row in yielding(rows):
            by_site.setdefault(row.site, {})[row.subject] = self._read_row(row)
        return by_site, ChangeCursor(oldest_transaction)

    def _read_row(self, row: Row[Any]) -> SiteStatus:
        """Return the status in a row. If it is invalid, log it and return `UNTROUBLED`, which reports nothing."""
        try:
            return _to_status(row)
        # JSON with deeply nested brackets raises `RecursionError`.
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            now = self._monotonic()
            if now - self._logged_at.get(row.site, -_LOG_INTERVAL_SECONDS) >= _LOG_INTERVAL_SECONDS:
                self._logged_at[row.site] = now
                reason = type(error).__name__
                log.warning("site status is invalid", site=row.site, subject=row.subject[:100], reason=reason)
            return UNTROUBLED

    async def write_heartbeat(self, heartbeat: SiteHeartbeat) -> None:
        """Write a heartbeat of this site.

        Replication keeps the order of writes: a hub that has received the heartbeat has received all earlier statuses.
        """
        values = {
            "at": heartbeat.at,
            "monotonic": heartbeat.monotonic // _MICROSECOND,
            # A random value, new at each start of the process.
            "incarnation": heartbeat.incarnation,
        }
        async with self._database.write() as connection:
            await connection.execute(self._write_heartbeat, {"site": self._site, **values})

    async def heartbeats(self) -> Mapping[str, SiteHeartbeat]:
        """Return the latest heartbeat of each site."""
        return {
            row.site: SiteHeartbeat(at=row.at, monotonic=row.monotonic * _MICROSECOND, incarnation=row.incarnation)
            for row in await self._database.rows(select(site_heartbeat))
        }


def _limit_text(column: Column[Any]) -> ColumnElement[Any]:
    """Return *column*. In a text column, an invalid value replaces a text that is too long."""
    if not isinstance(column.type, Text):
        return column
    return case((func.length(column) <= _MAX_TEXT_LENGTH, column), else_=literal("")).label(column.name)


def _values(status: SiteStatus) -> dict[str, Any]:
    trouble = status.trouble  # The problem; `None`: there is none.
    return {
        "type": trouble and trouble.type,
        "cause": status.cause,
        "since": trouble and trouble.since,
        "latest": trouble and trouble.latest,
        "flapping": trouble is not None and trouble.flapping,
        "up_since": status.up_since,
        "directions": json.dumps(status.directions, sort_keys=True),
        "failing_routes": json.dumps(sorted(status.failing_routes)),
    }


def _to_status(row: Row[Any]) -> SiteStatus:
    trouble = None
    if row.type is not None:
        if row.since is None:
            raise ValueError("a status with a problem has no start time")
        trouble = ActiveProblem(type=IncidentType(row.type), since=row.since, flapping=row.flapping, latest=row.latest)
    return SiteStatus(
        trouble=trouble,
        cause=None if row.cause is None else Cause(row.cause),
        up_since=row.up_since,
        directions={Direction(direction): Health(health) for direction, health in json.loads(row.directions).items()},
        failing_routes=frozenset(_read_names(row.failing_routes)),
    )


def _read_names(text: str) -> list[str]:
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise TypeError("route names are not a list of strings")
    return names
