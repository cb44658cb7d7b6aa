"""Statuses of each site about what it monitors, and its heartbeat: one row each, rewritten when it changes."""

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

#: A point in time, as a transaction id.
Mark = NewType("Mark", int)

#: Neither trouble nor recovery.
_UNCLEAR = dict.fromkeys(("type", "cause", "since", "latest", "up_since")) | {"flapping": False}

_MICROSECOND = timedelta(microseconds=1)

#: Maximum of characters of a text that is read: an agency with ten thousand routes has fewer, and one of a gigabyte
#: would exhaust the hub's memory.
_LONG = 1_000_000

#: In seconds, between log messages about invalid rows of a site, which may write others each second.
_LOG_EVERY = 60.0

#: The oldest running transaction.
_SNAPSHOT = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")

#: The age of a row and of a mark, in transactions: both are measured from the same transaction, because others may
#: begin between two queries.
_AGE = literal_column("age(site_status.xmin)", Integer)
_AGE_OF_MARK = text("age(mod(:mark, 4294967296)::text::xid)")


class SiteStatuses:
    """Reads the statuses of all sites, and converts those of one to statements.

    `monitor.store.probing.history` executes them together with the run that changed the status.
    """

    def __init__(self, database: Database, site: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """*site*: the one whose statuses are written; *monotonic*: returns seconds."""
        self._database = database
        self._site = site
        self._say, self._beat = database.put(site_status), database.put(site_heartbeat)
        #: Latest status by subject.
        self._said: dict[str, SiteStatus] = {}
        self._monotonic = monotonic
        #: By site: time of the last log message about invalid rows.
        self._logged: dict[str, float] = {}

    def otherwise(self, standings: Mapping[str, SiteStatus]) -> Mapping[str, SiteStatus]:
        """Return those of *standings*, by subject, that differ from the latest ones."""
        return {subject: level for subject, level in standings.items() if self._said.get(subject) != level}

    def saying(self, standings: Mapping[str, SiteStatus]) -> Mapping[str, Statement]:
        """Return the statement that writes each status, by subject."""
        return {
            subject: (self._say, {"site": self._site, "subject": subject, **_values(level)})
            for subject, level in standings.items()
        }

    def said(self, standings: Mapping[str, SiteStatus]) -> None:
        """Record statuses that are being written, so that unchanged ones are not written again."""
        self._said.update(standings)

    def unsaid(self, standings: Mapping[str, SiteStatus]) -> None:
        """Record that these were not written."""
        for subject, level in standings.items():
            if self._said.get(subject) is level:
                del self._said[subject]

    def say_again(self) -> None:
        """Reset the latest statuses: their rows were renamed, or another process has written them."""
        self._said.clear()

    async def subjects(self) -> Collection[str]:
        """Return the subjects about which the site has a status."""
        query = select(site_status.c.subject).where(site_status.c.site == self._site)
        return await self._database.values(query)

    async def spoken_of(self) -> Mapping[str, AbstractSet[str]]:
        """Return the subjects about which each site has a status, by site."""
        found: dict[str, set[str]] = {}
        rows = await self._database.rows(select(site_status.c.site, site_status.c.subject))
        async for site, subject in yielding(rows):
            found.setdefault(site, set()).add(subject)
        return found

    async def forget(self, subjects: Collection[str]) -> None:
        """Delete the statuses of *subjects*, which have left the configuration."""
        for subject in subjects:
            self._said.pop(subject, None)
        theirs = (site_status.c.site == self._site) & site_status.c.subject.in_(subjects)
        await self._database.change(delete(site_status).where(theirs))

    async def mark_stale(self) -> None:
        """Reset the site's statuses of agencies: they are unknown by now."""
        said = site_status.c.type.is_not(None) | site_status.c.up_since.is_not(None)
        of_agencies = (site_status.c.site == self._site) & site_status.c.subject.not_like("ours/%") & said
        await self._database.change(update(site_status).where(of_agencies).values(**_UNCLEAR))

    async def changed(self, mark: Mark | None) -> tuple[Mapping[str, Mapping[str, SiteStatus]], Mark]:
        """Return the statuses that changed since *mark*, by site and subject, and the new mark; `None`: all statuses.

        PostgreSQL has the transaction id of each row; a file, which no hub uses, always returns all. Deleted statuses
        are not included.
        """
        query, first = select(*map(_short, site_status.c)), 0
        async with self._database.read() as connection:
            if self._database.is_shared:
                # The previous call has seen all rows of transactions before the oldest one that ran then.
                first = (await connection.execute(_SNAPSHOT)).scalar_one()
                if mark is not None:
                    query = query.where(_AGE_OF_MARK.bindparams(bindparam("mark", mark, BigInteger)) >= _AGE)
            rows = (await connection.execute(query)).all()
        found: dict[str, dict[str, SiteStatus]] = {}
        async for row in yielding(rows):
            found.setdefault(row.site, {})[row.subject] = self._understood(row)
        return found, Mark(first)

    def _understood(self, row: Row[Any]) -> SiteStatus:
        """Return the status in a row; an invalid row of a site is an unknown status, because all are read together."""
        try:
            return _standing(row)
        # `RecursionError`: deeply nested brackets.
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            now = self._monotonic()
            if now - self._logged.get(row.site, -_LOG_EVERY) >= _LOG_EVERY:
                self._logged[row.site] = now
                why = type(error).__name__
                log.warning("site status is invalid", site=row.site, subject=row.subject[:100], reason=why)
            return UNTROUBLED

    async def beat(self, beaten: SiteHeartbeat) -> None:
        """Write a heartbeat of the site. Its readers have received every earlier status."""
        values = {"at": beaten.at, "monotonic": beaten.monotonic // _MICROSECOND, "incarnation": beaten.incarnation}
        async with self._database.write() as connection:
            await connection.execute(self._beat, {"site": self._site, **values})

    async def beats(self) -> Mapping[str, SiteHeartbeat]:
        """Return the latest heartbeat of each site."""
        return {
            row.site: SiteHeartbeat(at=row.at, monotonic=row.monotonic * _MICROSECOND, incarnation=row.incarnation)
            for row in await self._database.rows(select(site_heartbeat))
        }


def _short(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column; a text that is too long is replaced by an invalid value."""
    if not isinstance(column.type, Text):
        return column
    return case((func.length(column) <= _LONG, column), else_=literal("")).label(column.name)


def _values(level: SiteStatus) -> dict[str, Any]:
    trouble = level.trouble
    return {
        "type": trouble and trouble.type,
        "cause": level.cause,
        "since": trouble and trouble.since,
        "latest": trouble and trouble.latest,
        "flapping": trouble is not None and trouble.flapping,
        "up_since": level.up_since,
        "directions": json.dumps(level.directions, sort_keys=True),
        "failing_routes": json.dumps(sorted(level.failing_routes)),
    }


def _standing(row: Row[Any]) -> SiteStatus:
    trouble = None
    if row.type is not None:
        if row.since is None:
            raise ValueError("something is wrong, and never began")
        trouble = ActiveProblem(type=IncidentType(row.type), since=row.since, flapping=row.flapping, latest=row.latest)
    return SiteStatus(
        trouble=trouble,
        cause=None if row.cause is None else Cause(row.cause),
        up_since=row.up_since,
        directions={Direction(way): Health(health) for way, health in json.loads(row.directions).items()},
        failing_routes=frozenset(_names(row.failing_routes)),
    )


def _names(written: str) -> list[str]:
    names = json.loads(written)
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise TypeError("names are texts")
    return names
