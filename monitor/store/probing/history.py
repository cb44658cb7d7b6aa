"""Probe history: runs, tokens of messages in transit, and the latest health of routes and of Pantau's own components.

A *run* sends one message over a *route*, from one mailbox to another. The message carries a *token* that identifies it.
A *site* is a place from which routes are probed; it writes *statuses*, which a *hub* reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeGuard

from sqlalchemy import ColumnElement, Row, Select, bindparam, exists, func, select, update

from monitor.evaluation.health_tracker import GradedRun
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.model.health import Grade, Health
from monitor.runtime.cooperative import yielding
from monitor.store.backend.database import Database
from monitor.store.backend.repository import Statement
from monitor.store.probing.hours import STORE_RUN, count_statement, hour_values, run_values, to_result
from monitor.store.probing.statuses import SiteStatuses
from monitor.store.probing.write_buffer import WriteBuffer
from monitor.store.schema.skip_scan import select_distinct
from monitor.store.schema.tables import health, hour, run, streak, token
from probes.model.result import Outcome, ProbeResult

#: Time after sending within which a late message is recognised by its token.
TOKEN_MEMORY = timedelta(days=7)
#: Time after sending within which a second arrival of a message is recognised as a duplicate.
DUPLICATE_MEMORY = timedelta(days=1)
#: Maximum number of tokens that are read: the newest whose messages have not arrived, and the newest others.
_MAX_TOKENS = 50_000

#: Outcomes of runs whose message arrived.
ARRIVED_OUTCOMES = frozenset({Outcome.DELIVERED, Outcome.JUNK, Outcome.CORRUPTED})
#: Outcomes that end a deferral: the time in which a route's messages are rejected temporarily (SMTP 4xx).
_ENDS_DEFERRAL = (Outcome.DELIVERED, Outcome.JUNK)

#: Rows per batch: 10,000 at once would block the event loop for a tenth of a second.
_READ_BATCH_ROWS = 200

#: Up to this many routes are queried by name; for more routes, the rows of all routes are read.
_MAX_NAMED_ROUTES = 1000
#: Up to this many agencies are queried one by one; for more, the latest runs of all agencies are read in one query.
MAX_SINGLE_AGENCIES = 50
#: Prefix of the subjects that are components of Pantau. All other subjects of health are names of routes.
_COMPONENT_PREFIX = "ours/"

# A module constant: updates of many callers share one statement, and are executed together
# (`monitor.store.backend.repository`).
_SET_ARRIVED_AT = update(token).where(token.c.id == bindparam("token_id")).values(arrived_at=bindparam("at"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SentToken:
    """Token of a message that an earlier run sent."""

    #: Name of the route.
    route: str
    #: When the message was sent.
    at: datetime
    #: Whether the message has arrived, in time or late.
    has_arrived: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HourlyTransit:
    """Transit times of an agency's arrived messages in one hour, on all routes."""

    starts_at: datetime
    #: Number of runs.
    runs: int
    #: Sum of the transit times, in seconds.
    total_seconds: float
    #: Maximum of the transit times, in seconds.
    max_seconds: float


class History:
    """Reads and writes the probe history.

    While the database is unavailable, writes are buffered, so that callers do not wait. Reads raise `StoreUnavailable`.
    """

    def __init__(self, database: Database, statuses: SiteStatuses | None = None) -> None:
        """*statuses* builds the statements that write the statuses of this site; `None`: no statuses are written."""
        self._database = database
        self._statuses = statuses
        # If the connection breaks during a commit, the commit is repeated, and may then write a token again.
        self._write_token = database.upsert(token).on_conflict_do_nothing()
        self._write_health, self._write_streak = database.put(health), database.put(streak)
        self._count_hour = count_statement(database)
        self._buffer = WriteBuffer(database.group_commit, database.availability, first=self._write_token)
        #: Latest run of each route: runs of this process, and others that were read from the database.
        self._latest: dict[str, ProbeResult] = {}
        #: Whether runs from before the start of this process were read.
        self._is_read = False

    async def keep_writing(self) -> NoReturn:
        """Write the buffered data whenever the database is available, until cancelled."""
        await self._buffer.keep_writing()

    async def catch_up(self) -> int:
        """Write as much of the buffered data as possible; return the number of writes left."""
        await self._buffer.catch_up()
        return len(self._buffer)

    async def drain(self, within: timedelta) -> None:
        """Write as much of the buffered data as possible *within* a time, before the process stops."""
        await self._buffer.drain(within)

    async def record_sent_token(self, token_id: str, route: str, sent_at: datetime, deadline: datetime) -> None:
        """Store a token before its message is sent."""
        values = {"id": token_id, "route": route, "sent_at": sent_at, "deadline": deadline}
        await self._buffer.write((self._write_token, values))

    async def record_late_arrival(self, token_id: str, seen_at: datetime) -> None:
        """Record that a message arrived after its run, or in a run that is not stored.

        A second arrival of the message is then recognised as a duplicate.
        """
        await self._buffer.write((_SET_ARRIVED_AT, {"token_id": token_id, "at": seen_at}))

    async def record_run(
        self,
        result: ProbeResult,
        agency: str,
        changed_healths: Mapping[str, tuple[Health, datetime]],
        *,
        streaks: Mapping[str, Sequence[GradedRun]] | None = None,
        grade: Grade | None = None,
        interval: timedelta = timedelta(0),
        statuses: Mapping[str, SiteStatus] | None = None,
    ) -> None:
        """Write the result of a run and the health after it, in one transaction.

        *changed_healths*: by subject, each with the time since when it holds. *streaks*: changed streaks (latest runs
        that contradict the health), by subject. *grade* and *interval*: the grade of the run and the probe
        interval of its route, if known. *statuses*: statuses of the site that may have changed, by subject; unchanged
        statuses are not written again.
        """
        self._latest[result.route] = result
        ended_at = result.started_at + result.duration
        arrivals = (
            [(_SET_ARRIVED_AT, {"token_id": result.token_id, "at": ended_at})]
            if result.outcome in ARRIVED_OUTCOMES
            else []
        )
        healths = [
            (self._write_health, {"subject": s, "health": state, "since": at})
            for s, (state, at) in changed_healths.items()
        ]
        changed_streaks = [
            (self._write_streak, {"subject": s, "runs": _runs_to_json(runs)}) for s, runs in (streaks or {}).items()
        ]
        # Levels: statements that replace a stored row completely (`WriteBuffer`).
        status_records, levels = self._statuses, dict[str, Statement]()
        if status_records is not None:
            statuses = status_records.changed_from_latest(statuses or {})
            levels.update(status_records.statements(statuses))
            # Note the statuses before the write. So a status that changes during the write is written again.
            status_records.note_written(statuses)
        try:
            await self._buffer.write(
                (self._count_hour, hour_values(result, agency, grade, interval)),
                (STORE_RUN, run_values(result, agency)),
                *arrivals,
                *healths,
                *changed_streaks,
                levels=levels,
            )
        except BaseException:
            if status_records is not None:
                status_records.note_unwritten(statuses or {})
            raise

    def rewrite_statuses(self) -> None:
        """Write all statuses of the site with the next runs, because another process may have overwritten them."""
        if self._statuses is not None:
            self._statuses.clear_latest()

    async def delete_statuses(self, has_left: Callable[[str], bool]) -> None:
        """Delete the site's statuses of subjects that were removed: a hub would count them for ever.

        *has_left*: whether a subject was removed.
        """
        if self._statuses is not None and (removed := [*filter(has_left, await self._statuses.subjects())]):
            await self._statuses.delete(removed)

    @property
    def has_unwritten(self) -> bool:
        """Whether writes are buffered."""
        return len(self._buffer) > 0

    async def tokens(self, now: datetime, routes: AbstractSet[str] | None = None) -> Mapping[str, SentToken]:
        """Return the tokens whose messages may still arrive, or arrive again, oldest first.

        *routes*: return only their tokens. Tokens of runs that were interrupted when the process stopped are included.
        """
        missing = select(token).where(token.c.arrived_at.is_(None), token.c.sent_at >= now - TOKEN_MEMORY)
        arrived = select(token).where(token.c.arrived_at.is_not(None), token.c.sent_at >= now - DUPLICATE_MEMORY)
        async with self._database.read() as connection:
            rows: list[Row[Any]] = []
            for query in (missing, arrived):
                newest = query.order_by(token.c.sent_at.desc()).limit(_MAX_TOKENS)
                if _is_few(routes):
                    # The index has no routes: read the newest tokens of all routes, and filter them.
                    limited = newest.subquery()
                    newest = select(limited).where(limited.c.route.in_(routes))
                rows += (await connection.execute(newest)).all()
        rows.sort(key=lambda row: row.sent_at)
        return {
            row.id: SentToken(route=row.route, at=row.sent_at, has_arrived=row.arrived_at is not None)
            for row in rows
            if routes is None or row.route in routes
        }

    async def healths(self, routes: AbstractSet[str] | None = None) -> Mapping[str, tuple[Health, datetime]]:
        """Return the latest health and since when it holds, by subject.

        *routes*: routes that the caller needs; others may be missing. Components of Pantau are always included.
        """
        query = select(health)
        if _is_few(routes):
            query = query.where(health.c.subject.in_(routes) | health.c.subject.startswith(_COMPONENT_PREFIX))
        healths: dict[str, tuple[Health, datetime]] = {}
        async with self._database.read() as connection:
            rows = await connection.stream(query)
            async for batch in rows.partitions(_READ_BATCH_ROWS):
                healths |= {row.subject: (Health(row.health), row.since) async for row in yielding(batch)}
        return healths

    async def streaks(self, routes: AbstractSet[str] | None = None) -> Mapping[str, Sequence[GradedRun]]:
        """Return the latest runs that contradict the health, oldest first, by subject. *routes*: see `healths`."""
        query = select(streak).where(streak.c.runs != _runs_to_json(()))
        if _is_few(routes):
            query = query.where(streak.c.subject.in_(routes) | streak.c.subject.startswith(_COMPONENT_PREFIX))
        return {row.subject: _runs_from_json(row.runs) for row in await self._database.rows(query)}

    async def deferrals(self, since: datetime) -> Mapping[str, datetime]:
        """Return the start of each route's present deferral, by route, according to the runs since *since*.

        A deferral starts with the first deferred run after which no message arrived.
        """
        # The subquery runs for deferred runs only, which are few. A GROUP BY would read and sort all runs.
        later = run.alias("later")
        has_later_arrival = exists().where(
            later.c.agency == run.c.agency,
            later.c.route == run.c.route,
            later.c.started_at >= run.c.started_at,
            later.c.outcome.in_(_ENDS_DEFERRAL),
        )
        query = (
            select(run.c.route, run.c.started_at)
            .where(run.c.started_at >= since, run.c.outcome == Outcome.DEFERRED, ~has_later_arrival)
            .order_by(run.c.started_at.desc())
        )
        # The rows are ordered from the latest to the earliest, so that the earliest of each route remains.
        return {row.route: row.started_at for row in await self._database.rows(query)}

    async def latest(self, agencies: AbstractSet[str] | None = None) -> Mapping[str, ProbeResult]:
        """Return the latest run of each route, by route. Runs from before the start are read from the database once.

        *agencies*: read only runs of their routes and of control routes (between reference mailboxes, without an
        agency); `refresh_latest` reads those of other agencies. Raise `StoreUnavailable` if the database could not be
        read yet; `known` returns the runs in memory.
        """
        if not self._is_read:
            condition = None if agencies is None else run.c.agency.in_(["", *agencies])
            for route, result in (await self._read_latest(condition=condition)).items():
                self._latest.setdefault(route, result)
            self._is_read = True
        return self._latest

    def known(self) -> Mapping[str, ProbeResult]:
        """Return the latest run of each route in memory, by route, without reading the database."""
        return self._latest

    def forget(self, routes: Iterable[str]) -> None:
        """Drop the latest runs of routes that were removed, or that another process probes from now on."""
        for route in routes:
            self._latest.pop(route, None)

    def rename(self, new_name: Callable[[str], str]) -> None:
        """Rename routes in memory, after their records were renamed. *new_name*: returns the new name of a route."""
        for route in list(self._latest):
            if (new := new_name(route)) != route:
                self._latest[new] = replace(self._latest.pop(route), route=new)
        self.rewrite_statuses()

    async def refresh_latest(self, agencies: Collection[str]) -> None:
        """Read the latest runs of *agencies*, which other processes probe, again. Raise `StoreUnavailable`."""
        for agency in agencies if len(agencies) <= MAX_SINGLE_AGENCIES else [None]:
            for route, result in (await self._read_latest(agency)).items():
                latest = self._latest.get(route)
                if latest is None or latest.started_at < result.started_at:
                    self._latest[route] = result

    async def _read_latest(
        self, agency: str | None = None, condition: ColumnElement[bool] | None = None
    ) -> Mapping[str, ProbeResult]:
        """Read the latest run of each route. *agency*: only its routes; *condition*: only runs that fulfil it."""
        # `select_distinct` scans the index and skips equal entries, because each route has thousands of runs.
        routes = select_distinct(run.c.agency, run.c.route)
        if agency is not None:
            routes = select_distinct(run.c.agency, run.c.route, index_prefix=run.c.agency == agency)
        of_route = (
            select(run.c.id)
            .where(run.c.agency == routes.c.agency, run.c.route == routes.c.route)
            .order_by(run.c.started_at.desc())
        )
        newest = select(of_route.limit(1).correlate(routes).scalar_subquery()).select_from(routes)
        query = select(run).where(run.c.id.in_(newest))
        if condition is not None:
            query = query.where(condition)
        latest: dict[str, ProbeResult] = {}
        async with self._database.read() as connection:
            rows = await connection.stream(query)
            async for batch in rows.partitions(_READ_BATCH_ROWS):
                latest |= {row.route: to_result(row) async for row in yielding(batch)}
        return latest

    async def transits(self, agency: str, since: datetime) -> Sequence[HourlyTransit]:
        """Return the transit times of an agency's messages per hour from *since* on, in any order."""
        routes = select_distinct(hour.c.route, index_prefix=hour.c.agency == agency)
        is_of_route = (hour.c.agency == agency) & (hour.c.route == routes.c.route) & (hour.c.starts_at >= since)
        has_arrived = is_of_route & (hour.c.transit > 0) & hour.c.outcome.in_(ARRIVED_OUTCOMES)
        sums = (func.sum(hour.c.runs), func.sum(hour.c.transit), func.max(hour.c.slowest))
        query = select(hour.c.starts_at, *sums).join_from(routes, hour, has_arrived).group_by(hour.c.starts_at)
        rows = await self._database.rows(query)
        return [
            HourlyTransit(starts_at=at, runs=runs, total_seconds=total, max_seconds=max_)
            for at, runs, total, max_ in rows
        ]

    async def failed(self, agency: str, since: datetime, until: datetime, limit: int) -> Sequence[ProbeResult]:
        """Return the latest *limit* runs of an agency that started in a period and did not deliver, oldest first."""
        failed = _runs(agency, since, until).where(run.c.outcome != Outcome.DELIVERED)
        newest = failed.order_by(run.c.started_at.desc(), run.c.id.desc()).limit(limit)
        rows = await self._database.rows(newest)
        return [to_result(row) for row in reversed(rows)]

    async def between(self, agency: str, since: datetime, until: datetime) -> Sequence[ProbeResult]:
        """Return an agency's runs that started in a period and are still stored, oldest first."""
        query = _runs(agency, since, until)
        rows = await self._database.rows(query)
        in_order = sorted(rows, key=lambda row: (row.started_at, row.id))
        return [to_result(row) async for row in yielding(in_order)]


def _runs(agency: str, since: datetime, until: datetime) -> Select[Any]:
    routes = select_distinct(run.c.route, index_prefix=run.c.agency == agency)
    is_of_route = (run.c.agency == agency) & (run.c.route == routes.c.route)
    return select(run).join_from(routes, run, is_of_route & run.c.started_at.between(since, until))


def _is_few(routes: AbstractSet[str] | None) -> TypeGuard[AbstractSet[str]]:
    return routes is not None and len(routes) <= _MAX_NAMED_ROUTES


def _runs_to_json(runs: Sequence[GradedRun]) -> str:
    return json.dumps([[run.token_id, run.started_at.isoformat(), run.outcome, run.grade] for run in runs])


def _runs_from_json(text: str) -> Sequence[GradedRun]:
    return [
        GradedRun(
            token_id=token_id, started_at=datetime.fromisoformat(at), outcome=Outcome(outcome), grade=Grade(grade)
        )
        for token_id, at, outcome, grade in json.loads(text)
    ]
