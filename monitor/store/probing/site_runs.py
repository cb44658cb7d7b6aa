"""Runs that sites publish to their hub: each run that did not deliver, and hourly counts of all runs.

A *site* probes mail; a *hub* combines the results of several sites, and receives their tables by logical replication.
The hub checks each row. A site copies its runs to the published tables later and in batches. So recording a run takes
no longer than without a hub, and a heartbeat waits for at most one batch (docs/adr/0060).
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
from monitor.store.schema.lock import LOCK_CLASS, Lock
from monitor.store.schema.tables import UtcDateTime, hour, run, site_hour, site_run
from probes.model.result import Outcome, ProbeResult

#: Maximum number of runs or hours in one batch. The hub writes a batch in some tenths of a second; the next heartbeat
#: waits for it.
MAX_BATCH_ROWS = 5000
#: Maximum age of rows that a site publishes, and the retention of its own published rows.
PUBLISHED_RETENTION = timedelta(days=8)
#: Maximum number of characters of a result in JSON. Valid results are far shorter: servers' replies are truncated.
_MAX_RESULT_LENGTH = 8000
#: Maximum number of characters of displayed texts.
_MAX_TEXT_LENGTH = 500
_FAILED = [each for each in Outcome if each is not Outcome.DELIVERED]
#: Maximum number of hourly rows of one agency at one site that are summed: a year of ten routes.
_MAX_HOURS = 200_000
#: Longer transit times are invalid.
_MAX_TRANSIT_SECONDS = 1e9

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:locks, :publishing)")
_PARTITION_EXISTS = text("SELECT to_regclass(:partition) IS NOT NULL")
#: Whether a hub's subscription is active. Temporary slots do not count: the initial copy of a table uses them.
_HAS_READER = text(
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
        """Whether a hub has subscribed to this site, which creates the site's partition of the published table."""
        if not self._database.is_shared:
            return False
        async with self._database.read() as connection:
            return bool(
                (await connection.execute(_PARTITION_EXISTS, {"partition": f'"site_run_{self._site}"'})).scalar_one()
            )

    async def is_read_by_hub(self) -> bool:
        """Whether a hub reads this site now. A lost connection is noticed after some seconds."""
        if not self._database.is_shared:
            return False
        async with self._database.read() as connection:
            return bool((await connection.execute(_HAS_READER)).scalar_one())

    async def latest_run_id(self) -> int:
        """Return the highest id of a run. Runs that are being written may have lower ids."""
        return await self._database.value(select(func.max(run.c.id))) or 0

    async def run_id_before(self, since: datetime) -> int:
        """Return an id below the ids of the failed runs that started at *since* or later.

        The id is approximate, because runs get their ids in the order in which they end.
        """
        first_ids = [
            select(run.c.id)
            .where(run.c.outcome == outcome, run.c.started_at >= since)
            .order_by(run.c.started_at)
            .limit(1)
            for outcome in _FAILED
        ]
        async with self._database.read() as connection:
            results = [(await connection.execute(each)).scalar() for each in first_ids]
        run_ids = [each for each in results if each is not None]
        return min(run_ids) - 1 if run_ids else await self.latest_run_id()

    async def publish_failed(self, after_id: int, last_id: int, now: datetime) -> int | None:
        """Publish the runs that did not deliver, with ids greater than *after_id* and up to *last_id*."""
        is_published = exists().where(
            site_run.c.site == self._site,
            site_run.c.agency == run.c.agency,
            site_run.c.started_at == run.c.started_at,
            site_run.c.token_id == run.c.token_id,
        )
        short_result = case((func.length(run.c.result) <= _MAX_RESULT_LENGTH, run.c.result), else_=literal("{}"))
        failed = (run.c.id > after_id, run.c.id <= last_id, run.c.outcome != Outcome.DELIVERED, ~is_published)
        return await self._publish(site_run, self._rows(site_run, run, now, result=short_result).where(*failed))

    async def first_hour(self, since: datetime, until: datetime) -> datetime | None:
        """Return the start of the first hour with counts from *since* to *until*, inclusive; `None`: there is none."""
        query = select(func.min(hour.c.starts_at)).where(hour.c.starts_at >= since, hour.c.starts_at <= until)
        async with self._database.read() as connection:
            first: datetime | None = (await connection.execute(query)).scalar_one()
            return first

    async def publish_hour(self, starts_at: datetime, now: datetime) -> int | None:
        """Publish the new or changed counts of the hour that starts at *starts_at*, at most `MAX_BATCH_ROWS` rows."""
        key = [each for each in hour.primary_key if each.name != "starts_at"]
        is_published = exists().where(
            site_hour.c.site == self._site,
            site_hour.c.starts_at == starts_at,
            site_hour.c.runs == hour.c.runs,
            *(site_hour.c[each.name] == each for each in key),
        )
        unpublished = self._rows(site_hour, hour, now).where(hour.c.starts_at == starts_at, ~is_published)
        return await self._publish(site_hour, unpublished.limit(MAX_BATCH_ROWS))

    def _rows(self, published: Table, own: Table, now: datetime, **columns: ColumnElement[Any]) -> Select[Any]:
        """Return a query for the rows of *own* with the columns of the table *published*.

        *columns*: values for columns that are not read from *own*.
        """
        columns |= {"site": literal(self._site), "published_at": literal(now, UtcDateTime)}
        return select(*(columns[each.name] if each.name in columns else own.c[each.name] for each in published.c))

    async def _publish(self, table: Table, rows: Select[Any]) -> int | None:
        statement = insert(table).from_select([each.name for each in table.c], rows)
        async with self._database.write() as connection:
            if not await self._lock_publishing(connection):
                return None
            # SQLAlchemy counts the rows of an INSERT only on request.
            return (await connection.execute(statement.execution_options(preserve_rowcount=True))).rowcount

    async def _lock_publishing(self, connection: AsyncConnection) -> bool:
        """Lock publishing until the transaction ends; return `False` if another process has locked it."""
        if not self._database.is_shared:
            return True
        result = await connection.execute(_TRY_LOCK, {"locks": LOCK_CLASS, "publishing": Lock.PUBLISHING})
        return bool(result.scalar_one())


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFailures:
    """Runs of a site that did not deliver, with times by the site's clock."""

    site: str
    #: The oldest first.
    results: Sequence[ProbeResult]
    #: Number of runs with invalid rows, which are left out.
    invalid: int = 0


class SiteRecords:
    """Reader of the published runs of sites, at the hub. Invalid rows are skipped and counted."""

    def __init__(self, database: Database, site: str, others: Collection[str]) -> None:
        """*site*: the hub's own site. *others*: the sites to which it subscribes."""
        self._database = database
        self._site = site
        #: The sites to which the hub subscribes.
        self.others = tuple(sorted(others))

    async def failed(self, agency: str, since: datetime, until: datetime, limit: int) -> Sequence[SiteFailures]:
        """Return the failed runs of each other site that started in a period, at most the newest *limit* of each."""
        if not self.others:
            return ()
        failures = []
        async with self._database.read() as connection:
            for site in self.others:
                rows = (await connection.execute(_select_failed(site, agency, since, until).limit(limit))).all()
                # A site may have published a run repeatedly. Its newest row comes first, and is used.
                by_key: dict[tuple[object, ...], ProbeResult | None] = {}
                for row in rows:
                    by_key.setdefault((row.token_id, row.started_at, row.route), _parse_result(row, agency))
                results = [each for each in by_key.values() if each is not None]
                failures.append(SiteFailures(site=site, results=results[::-1], invalid=len(by_key) - len(results)))
        return failures

    async def sums(self, agency: str, since: datetime) -> Sequence[SiteSums]:
        """Return the sums of each site's runs from *since* on, the hub's own first; empty if there is no other site."""
        if not self.others:
            return ()
        async with self._database.read() as connection:
            own_hours = select(hour).where(hour.c.agency == agency, hour.c.starts_at >= since).subquery()
            sums = [_to_sums(self._site, (await connection.execute(_select_sums(own_hours))).one())]
            for site in self.others:
                row = (await connection.execute(_select_sums(_latest_hours(site, agency, since)))).one()
                sums.append(_to_sums(site, row))
        return sums


def _select_failed(site: str, agency: str, since: datetime, until: datetime) -> Select[Any]:
    # An empty text is no valid JSON: the row then counts as invalid.
    short_result = case((func.length(site_run.c.result) <= _MAX_RESULT_LENGTH, site_run.c.result), else_=literal(""))
    columns = (site_run.c.token_id, site_run.c.started_at, site_run.c.route, site_run.c.duration, site_run.c.outcome)
    # Compare times in the database: a site may have published times that Python cannot represent.
    is_in_period = (site_run.c.site == site, site_run.c.agency == agency, site_run.c.started_at.between(since, until))
    newest = (site_run.c.started_at.desc(), site_run.c.token_id.desc(), site_run.c.published_at.desc())
    return select(*columns, short_result.label("result")).where(*is_in_period).order_by(*newest)


def _parse_result(row: Row[Any], agency: str) -> ProbeResult | None:
    """Return the result of a run, with limited texts; `None`: the row is invalid."""
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
        reason=_limit_text(failure.reason),
        detail=_limit_text(failure.detail),
        status=None if failure.status is None else _limit_text(failure.status)[:16],
    )
    return replace(result, failure=shortened)


def _limit_text(value: str) -> str:
    """Return a text that is safe to display: on one line, and of limited length."""
    return "".join(each if each.isprintable() else "\ufffd" for each in value[:_MAX_TEXT_LENGTH])


def _latest_hours(site: str, agency: str, since: datetime) -> FromClause:
    """Return a subquery for the latest published row of a site for each hour, route, outcome and grade.

    The latest row is the one with the most runs, because counts only increase. `published_at` decides only between rows
    with equally many runs, because the site's clock may be wrong.
    """
    is_of_site = (site_hour.c.site == site, site_hour.c.agency == agency, site_hour.c.starts_at >= since)
    key = (site_hour.c.starts_at, site_hour.c.route, site_hour.c.outcome, site_hour.c.grade)
    latest_first = (site_hour.c.runs.desc(), site_hour.c.published_at.desc())
    rank = func.row_number().over(partition_by=key, order_by=latest_first).label("rank")
    hours = select(site_hour.c.outcome, site_hour.c.runs, site_hour.c.transit, site_hour.c.slowest, rank)
    # Limit the rows: a site that publishes more hours than an agency can have must not delay the reader.
    ranked = hours.where(*is_of_site).order_by(site_hour.c.starts_at.desc()).limit(_MAX_HOURS).subquery()
    return select(ranked).where(ranked.c.rank == 1).subquery()


def _select_sums(hours: FromClause) -> Select[Any]:
    """Return a query with one row: the values of `SiteSums` in the order of its fields, without the site.

    Inconclusive runs, and rows with invalid values, do not count.
    """
    c = hours.c
    is_valid = and_(c.runs > 0, c.transit.between(0, _MAX_TRANSIT_SECONDS), c.slowest.between(0, _MAX_TRANSIT_SECONDS))
    is_timed = and_(c.outcome.in_(ARRIVED_OUTCOMES), c.transit > 0)
    return select(
        _sum_of(c.runs, is_valid),
        _sum_of(c.runs, c.outcome == Outcome.DELIVERED),
        _sum_of(c.runs, is_timed),
        _sum_of(c.transit, is_timed),
        func.max(case((is_timed, c.slowest), else_=0)),
    ).where(is_valid, or_(*(c.outcome == each for each in Outcome if each is not Outcome.INCONCLUSIVE)))


def _sum_of(column: ColumnElement[Any], where: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.sum(case((where, column), else_=0))


def _to_sums(site: str, row: Row[Any]) -> SiteSums:
    runs, delivered, timed, transit, slowest = (each or 0 for each in row)
    if not (math.isfinite(transit) and math.isfinite(slowest)):
        transit, slowest = 0.0, 0.0
    return SiteSums(
        site=site, runs=int(runs), delivered=int(delivered), timed=int(timed), transit=transit, slowest=slowest
    )
