"""How each site judges what it watches, and when it last lived: a row of each, written anew when it is otherwise."""

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
from monitor.store.schema.tables import beat, standing

log = structlog.get_logger()

#: A moment, as a transaction's number.
Mark = NewType("Mark", int)

#: What neither says that something is wrong, nor that all is well.
_UNCLEAR = dict.fromkeys(("matter", "cause", "since", "latest", "well_since")) | {"unsteady": False}

_MICROSECOND = timedelta(microseconds=1)

#: Characters of a text that is read: an agency of ten thousand routes has fewer, and one of a gigabyte would end the hub.
_LONG = 1_000_000

#: In seconds: so often it is logged of a site that it makes no sense. It may write something else each second.
_LOG_EVERY = 60.0

#: The first transaction that is under way.
_SNAPSHOT = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")

#: How many transactions ago a row was written, and how many ago a mark was: counted from the same one, which others that
#: begin between two questions would move.
_AGE = literal_column("age(standing.xmin)", Integer)
_AGE_OF_MARK = text("age(mod(:mark, 4294967296)::text::xid)")


class SiteStatuses:
    """Reads what all sites say, and writes what one does.

    What it says is written by `monitor.store.probing.history`, with the run that made it say so.
    """

    def __init__(self, database: Database, site: str, *, steady: Callable[[], float] = time.monotonic) -> None:
        """*site*: the one that is written of; *steady*: seconds."""
        self._database = database
        self._site = site
        self._say, self._beat = database.put(standing), database.put(beat)
        #: What was last said here, by subject.
        self._said: dict[str, SiteStatus] = {}
        self._steady = steady
        #: By site: when it was last logged that it makes no sense.
        self._logged: dict[str, float] = {}

    def otherwise(self, standings: Mapping[str, SiteStatus]) -> Mapping[str, SiteStatus]:
        """Return those of *standings*, by subject, that are not what was last said of it here."""
        return {subject: level for subject, level in standings.items() if self._said.get(subject) != level}

    def saying(self, standings: Mapping[str, SiteStatus]) -> Mapping[str, Statement]:
        """Return by what each is written, by subject."""
        return {
            subject: (self._say, {"site": self._site, "subject": subject, **_values(level)})
            for subject, level in standings.items()
        }

    def said(self, standings: Mapping[str, SiteStatus]) -> None:
        """Remember what is being written, so that it is not said again, and what takes its place is."""
        self._said.update(standings)

    def unsaid(self, standings: Mapping[str, SiteStatus]) -> None:
        """Take in that this was not written."""
        for subject, level in standings.items():
            if self._said.get(subject) is level:
                del self._said[subject]

    def say_again(self) -> None:
        """Forget what was said: its rows are called otherwise now, or another process has written them meanwhile."""
        self._said.clear()

    async def subjects(self) -> Collection[str]:
        """Return of what the site says anything."""
        query = select(standing.c.subject).where(standing.c.site == self._site)
        return await self._database.values(query)

    async def spoken_of(self) -> Mapping[str, AbstractSet[str]]:
        """Return of which subjects each site says anything, by site."""
        found: dict[str, set[str]] = {}
        rows = await self._database.rows(select(standing.c.site, standing.c.subject))
        async for site, subject in yielding(rows):
            found.setdefault(site, set()).add(subject)
        return found

    async def forget(self, subjects: Collection[str]) -> None:
        """Say nothing of *subjects* any more, which have left the configuration."""
        for subject in subjects:
            self._said.pop(subject, None)
        theirs = (standing.c.site == self._site) & standing.c.subject.in_(subjects)
        await self._database.change(delete(standing).where(theirs))

    async def mark_stale(self) -> None:
        """Let the site say of no agency that it is in trouble or well: nobody knows by now."""
        said = standing.c.matter.is_not(None) | standing.c.well_since.is_not(None)
        of_agencies = (standing.c.site == self._site) & standing.c.subject.not_like("ours/%") & said
        await self._database.change(update(standing).where(of_agencies).values(**_UNCLEAR))

    async def changed(self, mark: Mark | None) -> tuple[Mapping[str, Mapping[str, SiteStatus]], Mark]:
        """Return what sites say otherwise than at *mark*, by site and subject, and the mark of now; `None`: all they say.

        PostgreSQL knows by which transaction a row was written; of a file, which is no hub's, it is always all. What is said
        no more is not among it.
        """
        query, first = select(*map(_short, standing.c)), 0
        async with self._database.read() as connection:
            if self._database.is_shared:
                # All that was written by transactions before the first was under way then, `mark` has seen.
                first = (await connection.execute(_SNAPSHOT)).scalar_one()
                if mark is not None:
                    query = query.where(_AGE_OF_MARK.bindparams(bindparam("mark", mark, BigInteger)) >= _AGE)
            rows = (await connection.execute(query)).all()
        found: dict[str, dict[str, SiteStatus]] = {}
        async for row in yielding(rows):
            found.setdefault(row.site, {})[row.subject] = self._understood(row)
        return found, Mark(first)

    def _understood(self, row: Row[Any]) -> SiteStatus:
        """Return what a row says; of one that makes no sense, nothing: it is one site's, and all are read together."""
        try:
            return _standing(row)
        # The last of these: brackets within brackets within brackets.
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            now = self._steady()
            if now - self._logged.get(row.site, -_LOG_EVERY) >= _LOG_EVERY:
                self._logged[row.site] = now
                why = type(error).__name__
                log.warning("what a site says is not understood", site=row.site, subject=row.subject[:100], why=why)
            return UNTROUBLED

    async def beat(self, beaten: SiteHeartbeat) -> None:
        """Write that the site lives. Whoever reads this knows all that it has said before."""
        values = {"at": beaten.at, "steady": beaten.steady // _MICROSECOND, "life": beaten.life}
        async with self._database.write() as connection:
            await connection.execute(self._beat, {"site": self._site, **values})

    async def beats(self) -> Mapping[str, SiteHeartbeat]:
        """Return when each site last wrote that it lives."""
        return {
            row.site: SiteHeartbeat(at=row.at, steady=row.steady * _MICROSECOND, life=row.life)
            for row in await self._database.rows(select(beat))
        }


def _short(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column; of a text that is too long, nothing, which makes no sense."""
    if not isinstance(column.type, Text):
        return column
    return case((func.length(column) <= _LONG, column), else_=literal("")).label(column.name)


def _values(level: SiteStatus) -> dict[str, Any]:
    trouble = level.trouble
    return {
        "matter": trouble and trouble.matter,
        "cause": level.cause,
        "since": trouble and trouble.since,
        "latest": trouble and trouble.latest,
        "unsteady": trouble is not None and trouble.unsteady,
        "well_since": level.well_since,
        "directions": json.dumps(level.directions, sort_keys=True),
        "troubled": json.dumps(sorted(level.troubled)),
    }


def _standing(row: Row[Any]) -> SiteStatus:
    trouble = None
    if row.matter is not None:
        if row.since is None:
            raise ValueError("something is wrong, and never began")
        trouble = ActiveProblem(
            matter=IncidentType(row.matter), since=row.since, unsteady=row.unsteady, latest=row.latest
        )
    return SiteStatus(
        trouble=trouble,
        cause=None if row.cause is None else Cause(row.cause),
        well_since=row.well_since,
        directions={Direction(way): Health(health) for way, health in json.loads(row.directions).items()},
        troubled=frozenset(_names(row.troubled)),
    )


def _names(written: str) -> list[str]:
    names = json.loads(written)
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise TypeError("names are texts")
    return names
