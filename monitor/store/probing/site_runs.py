"""Runs that sites publish to their hub: each run that did not deliver, and hourly counts of all runs.

A *site* probes mail; a *hub* combines the results of several sites, and receives their tables by replication. The hub
checks each row. A site copies its runs to the published tables later and in parts: recording a run costs no more, and a
heartbeat waits for at most one part (docs/adr/0060).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Row,
    Select,
    Table,
    and_,
    case,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.model.site_sums import SiteSums
from monitor.store.backend.database import Database
from monitor.store.probing.history import ARRIVED_OUTCOMES
from monitor.store.probing.hours import to_result
from monitor.store.schema.lock import LOCKS, Lock
from monitor.store.schema.tables import Moment, hour, run, site_hour, site_run
from probes.model.result import Outcome, ProbeResult

#: Number of runs or hours in one part. The hub writes a part in some tenths of a second; the next heartbeat waits for
#: it.
AT_ONCE = 5000
#: Maximum age of rows that a site publishes, and the retention of its own published rows.
TOLD_MEMORY = timedelta(days=8)
#: Maximum number of characters of a result in JSON. Valid results are far shorter: servers' replies are truncated.
_RESULT_AT_MOST = 8000
#: Maximum number of characters of displayed texts.
_WORDS_AT_MOST = 500
_FAILED = [each for each in Outcome if each is not Outcome.DELIVERED]
#: Maximum number of hourly rows of one agency at one site that are summed: a year of ten routes.
_HOURS_AT_MOST = 200_000
#: In seconds; longer transit times are invalid.
_NEVER = 1e9

_TRY_TURN = text("SELECT pg_try_advisory_xact_lock(:locks, :telling)")
_PART = text("SELECT to_regclass(:part) IS NOT NULL")
#: Whether a subscription is active. The initial copy of a table uses other, temporary slots.
_READS = text(
    "SELECT EXISTS (SELECT FROM pg_replication_slots"
    " WHERE database = current_database() AND plugin = 'pgoutput' AND active AND NOT temporary)"
)


class SiteRunWriter:
    """Publisher of the runs of a site. The caller handles database errors.

    The methods that publish return the number of published rows, or `None` if another process of the site is
    publishing.
    """

    def __init__(self, database: Database, site: str) -> None:
        self._database = database
        self._site = site

    async def has_hub(self) -> bool:
        """Whether a hub has subscribed to this site. Joining creates a partition of the published table."""
        if not self._database.is_shared:
            return False
        async with self._database.read() as connection:
            return bool((await connection.execute(_PART, {"part": f'"site_run_{self._site}"'})).scalar_one())

    async def is_heard(self) -> bool:
        """Whether a hub reads this site now. A lost connection is noticed after some seconds."""
        if not self._database.is_shared:
            return False
        async with self._database.read() as connection:
            return bool((await connection.execute(_READS)).scalar_one())

    async def newest(self) -> int:
        """Return the highest number of a run. Runs that are being written may have lower numbers."""
        return await self._database.value(select(func.max(run.c.id))) or 0

    async def before(self, since: datetime) -> int:
        """Return a number below those of the failed runs that began at *since* or later.

        The number is approximate, because runs are numbered in the order in which they end.
        """
        firsts = [
            select(run.c.id)
            .where(run.c.outcome == outcome, run.c.started_at >= since)
            .order_by(run.c.started_at)
            .limit(1)
            for outcome in _FAILED
        ]
        async with self._database.read() as connection:
            found = [(await connection.execute(each)).scalar() for each in firsts]
        numbers = [each for each in found if each is not None]
        return min(numbers) - 1 if numbers else await self.newest()

    async def publish_failed(self, beyond: int, upto: int, now: datetime) -> int | None:
        """Publish the runs that did not deliver and whose numbers are after *beyond* and up to *upto*."""
        is_told = exists().where(
            site_run.c.site == self._site,
            site_run.c.agency == run.c.agency,
            site_run.c.started_at == run.c.started_at,
            site_run.c.token_id == run.c.token_id,
        )
        short_result = case((func.length(run.c.result) <= _RESULT_AT_MOST, run.c.result), else_=literal("{}"))
        failed = (run.c.id > beyond, run.c.id <= upto, run.c.outcome != Outcome.DELIVERED, ~is_told)
        return await self._publish(site_run, self._rows(site_run, run, now, result=short_result).where(*failed))

    async def first_hour(self, begins: datetime, upto: datetime) -> datetime | None:
        """Return the first hour with counts from *begins* to *upto*, inclusive; `None`: there is none."""
        counted = select(func.min(hour.c.starts_at)).where(hour.c.starts_at >= begins, hour.c.starts_at <= upto)
        async with self._database.read() as connection:
            first: datetime | None = (await connection.execute(counted)).scalar_one()
            return first

    async def publish_hour(self, begins: datetime, now: datetime) -> int | None:
        """Publish the new or changed counts of the hour that begins at *begins*, at most `AT_ONCE` rows."""
        key = [each for each in hour.primary_key if each.name != "starts_at"]
        is_told = exists().where(
            site_hour.c.site == self._site,
            site_hour.c.starts_at == begins,
            site_hour.c.runs == hour.c.runs,
            *(site_hour.c[each.name] == each for each in key),
        )
        counted = self._rows(site_hour, hour, now).where(hour.c.starts_at == begins, ~is_told)
        return await self._publish(site_hour, counted.limit(AT_ONCE))

    def _rows(self, of: Table, ours: Table, now: datetime, **columns: ColumnElement[Any]) -> Select[Any]:
        """Return the query for rows of *ours* in the form of the published table *of*; *columns* replaces columns."""
        columns |= {"site": literal(self._site), "published_at": literal(now, Moment)}
        return select(*(columns[each.name] if each.name in columns else ours.c[each.name] for each in of.c))

    async def _publish(self, table: Table, rows: Select[Any]) -> int | None:
        statement = insert(table).from_select([each.name for each in table.c], rows)
        async with self._database.write() as connection:
            if not await self._may_publish(connection):
                return None
            # SQLAlchemy counts the rows of an INSERT only on request.
            return (await connection.execute(statement.execution_options(preserve_rowcount=True))).rowcount

    async def _may_publish(self, connection: AsyncConnection) -> bool:
        if not self._database.is_shared:
            return True
        result = await connection.execute(_TRY_TURN, {"locks": LOCKS, "telling": Lock.TELLING})
        return bool(result.scalar_one())


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFailures:
    """Runs of a site that did not deliver, by its own clock, the oldest first."""

    site: str
    results: Sequence[ProbeResult]
    #: Number of invalid rows.
    unclear: int = 0


class SiteRecords:
    """Reader, at the hub, of what sites have published about an agency. Invalid rows are skipped and counted."""

    def __init__(self, database: Database, site: str, others: Collection[str]) -> None:
        """*site*: the hub's own site. *others*: the sites to which it subscribes."""
        self._database = database
        self._site = site
        self.others = tuple(sorted(others))

    async def failed(self, agency: str, since: datetime, until: datetime, most: int) -> Sequence[SiteFailures]:
        """Return the runs of each other site that began in a period, at most the newest *most* of each."""
        if not self.others:
            return ()
        failures = []
        async with self._database.read() as connection:
            for site in self.others:
                rows = (await connection.execute(_failed(site, agency, since, until).limit(most))).all()
                by_key: dict[tuple[object, ...], ProbeResult | None] = {}
                for row in rows:
                    by_key.setdefault((row.token_id, row.started_at, row.route), _understood(row, agency))
                results = [each for each in by_key.values() if each is not None]
                failures.append(SiteFailures(site=site, results=results[::-1], unclear=len(by_key) - len(results)))
        return failures

    async def sums(self, agency: str, since: datetime) -> Sequence[SiteSums]:
        """Return the sums of each site's runs from *since* on, the hub's own first; empty if there is no other site."""
        if not self.others:
            return ()
        async with self._database.read() as connection:
            own_hours = select(hour).where(hour.c.agency == agency, hour.c.starts_at >= since).subquery()
            sums = [_summed(self._site, (await connection.execute(_sums(own_hours))).one())]
            for site in self.others:
                row = (await connection.execute(_sums(_latest(site, agency, since)))).one()
                sums.append(_summed(site, row))
        return sums


def _failed(site: str, agency: str, since: datetime, until: datetime) -> Select[Any]:
    short_result = case((func.length(site_run.c.result) <= _RESULT_AT_MOST, site_run.c.result), else_=literal(""))
    columns = (site_run.c.token_id, site_run.c.started_at, site_run.c.route, site_run.c.duration, site_run.c.outcome)
    # Compare times in the database: a site may have published times that Python cannot represent.
    is_of_route = (site_run.c.site == site, site_run.c.agency == agency, site_run.c.started_at.between(since, until))
    newest = (site_run.c.started_at.desc(), site_run.c.token_id.desc(), site_run.c.published_at.desc())
    return select(*columns, short_result.label("result")).where(*is_of_route).order_by(*newest)


def _understood(row: Row[Any], agency: str) -> ProbeResult | None:
    """Return the result of a run; `None`: the row is invalid."""
    try:
        result = to_result(row)
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None
    if result.outcome is Outcome.DELIVERED or not result.route.startswith(f"{agency}/"):
        return None
    if not timedelta(0) <= result.duration <= timedelta(days=7) or not result.route.isprintable():
        return None
    failure = result.failure
    if failure is None:
        return result
    shortened = replace(
        failure,
        reason=_limited(failure.reason),
        detail=_limited(failure.detail),
        status=None if failure.status is None else _limited(failure.status)[:16],
    )
    return replace(result, failure=shortened)


def _limited(words: str) -> str:
    """Return a text that is safe to display: on one line, and of limited length."""
    return "".join(each if each.isprintable() else "\ufffd" for each in words[:_WORDS_AT_MOST])


def _latest(site: str, agency: str, since: datetime) -> FromClause:
    """Return the latest published row of each of a site's hours.

    It is the row with the most runs, because counts only increase. `published_at` does not decide, because the site's
    clock may be wrong.
    """
    is_of_site = (site_hour.c.site == site, site_hour.c.agency == agency, site_hour.c.starts_at >= since)
    of_one = (site_hour.c.starts_at, site_hour.c.route, site_hour.c.outcome, site_hour.c.grade)
    latest = (site_hour.c.runs.desc(), site_hour.c.published_at.desc())
    rank = func.row_number().over(partition_by=of_one, order_by=latest).label("place")
    counted = select(site_hour.c.outcome, site_hour.c.runs, site_hour.c.transit, site_hour.c.slowest, rank)
    # A site that publishes more hours than an agency can have must not delay the reader.
    ranked = counted.where(*is_of_site).order_by(site_hour.c.starts_at.desc()).limit(_HOURS_AT_MOST).subquery()
    return select(ranked).where(ranked.c.place == 1).subquery()


def _sums(hours: FromClause) -> Select[Any]:
    c = hours.c
    is_sane = and_(c.runs > 0, c.transit.between(0, _NEVER), c.slowest.between(0, _NEVER))
    is_timed = and_(c.outcome.in_(ARRIVED_OUTCOMES), c.transit > 0)
    return select(
        _sum_of(c.runs, is_sane),
        _sum_of(c.runs, c.outcome == Outcome.DELIVERED),
        _sum_of(c.runs, is_timed),
        _sum_of(c.transit, is_timed),
        func.max(case((is_timed, c.slowest), else_=0)),
    ).where(is_sane, or_(*(c.outcome == each for each in Outcome if each is not Outcome.INCONCLUSIVE)))


def _sum_of(column: ColumnElement[Any], where: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.sum(case((where, column), else_=0))


def _summed(site: str, row: Row[Any]) -> SiteSums:
    runs, delivered, timed, transit, slowest = (each or 0 for each in row)
    transits = (transit, slowest) if math.isfinite(transit) and math.isfinite(slowest) else (0.0, 0.0)
    return SiteSums(
        site=site, runs=int(runs), delivered=int(delivered), timed=int(timed), transit=transits[0], slowest=transits[1]
    )
