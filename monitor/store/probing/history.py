"""Probe history: ends of runs, tokens in transit, and the latest health of everything."""

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
from monitor.store.probing.hours import STORE, counting, hour_values, run_values, to_result
from monitor.store.probing.standings import SiteStatuses
from monitor.store.probing.write_buffer import WriteBuffer
from monitor.store.schema.skip_scan import distinct
from monitor.store.schema.tables import health, hour, run, run_before, streak, token
from probes.model.result import Outcome, ProbeResult

#: Retention of a token: late mail is recognised for this long.
TOKEN_MEMORY = timedelta(days=7)
#: Time within which a second arrival of the same mail is recognised as a duplicate.
CAME_MEMORY = timedelta(days=1)
#: Maximum of each kind that is searched after a restart, the newest: a large service sends as many in a few minutes.
_TOKENS_AT_MOST = 50_000

#: Outcomes of runs whose message arrived.
CAME = frozenset({Outcome.DELIVERED, Outcome.JUNK, Outcome.CORRUPTED})
#: Outcomes that end a deferral.
_ARRIVED = (Outcome.DELIVERED, Outcome.JUNK)

#: Ten thousand rows at once would block the event loop for a tenth of a second.
_READ_AT_ONCE = 200

#: Up to this many routes are queried by name; for more, everything is read.
_FEW = 1000
#: Up to this many agencies are queried one by one; for more, the latest runs of all are read at once.
APART = 50
#: Prefix of health subjects that are not routes.
_OURS = "ours/"

# A constant, so that the updates of many callers are executed together (`monitor.store.backend.repository`).
_CAME_AT = update(token).where(token.c.id == bindparam("token_id")).values(arrived_at=bindparam("at"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SentToken:
    """Token of an earlier run."""

    route: str
    at: datetime
    #: Its mail has arrived, in time or late.
    came: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HourlyTransit:
    """Transit times of an agency's messages in one hour, on all routes, as far as known."""

    starts_at: datetime
    runs: int
    #: In seconds: the sum, and the maximum.
    together: float
    slowest: float


class History:
    """Reads and writes the history of the probes.

    No writer waits while the database is unavailable: writes are buffered and executed when it is back.
    """

    def __init__(self, database: Database, standings: SiteStatuses | None = None) -> None:
        """*standings*: converts the site's statuses to statements; without it none are written."""
        self._database = database
        self._standings = standings
        # A commit whose connection broke may have succeeded, and is repeated.
        self._sent = database.upsert(token).on_conflict_do_nothing()
        self._evaluated, self._streak = database.put(health), database.put(streak)
        self._counted = counting(database)
        self._backlog = WriteBuffer(database.together, database.presence, first=self._sent)
        #: The latest run of each route: of those that ended here, and of earlier ones once they have been read.
        self._latest: dict[str, ProbeResult] = {}
        self._is_read = False

    async def keep_writing(self) -> NoReturn:
        """Write the buffered data whenever the database is available, until cancelled."""
        await self._backlog.keep_writing()

    async def catch_up(self) -> int:
        """Write as much of the buffered data as possible; return the number of writes left."""
        await self._backlog.catch_up()
        return len(self._backlog)

    async def drain(self, within: timedelta) -> None:
        """Write as much of the buffered data as possible *within* that time, before the end."""
        await self._backlog.drain(within)

    async def sent(self, token_id: str, route: str, sent_at: datetime, deadline: datetime) -> None:
        """Store a token before its message is sent."""
        values = {"id": token_id, "route": route, "sent_at": sent_at, "deadline": deadline}
        await self._backlog.write((self._sent, values))

    async def came_late(self, token_id: str, seen_at: datetime) -> None:
        """Record that the mail of a token arrived after its run, or in a run that does not count: a second arrival is a duplicate."""
        await self._backlog.write((_CAME_AT, {"token_id": token_id, "at": seen_at}))

    async def ended(
        self,
        result: ProbeResult,
        agency: str,
        evaluated: Mapping[str, tuple[Health, datetime]],
        *,
        streaks: Mapping[str, Sequence[GradedRun]] | None = None,
        grade: Grade | None = None,
        every: timedelta = timedelta(0),
        standings: Mapping[str, SiteStatus] | None = None,
    ) -> None:
        """Write the end of a run and the health after it, in one transaction.

        *streaks*: the changed ones, by route; *grade*: the grade of the run, and *every* the interval of its route, as
        far as known. *standings*: statuses of the site that may have changed, by subject; unchanged ones are not
        written again.
        """
        self._latest[result.route] = result
        counted = hour_values(result, agency, grade, every)
        ended_at = result.started_at + result.duration
        came = [(_CAME_AT, {"token_id": result.token_id, "at": ended_at})] if result.outcome in CAME else []
        healths = [
            (self._evaluated, {"subject": s, "health": state, "since": at}) for s, (state, at) in evaluated.items()
        ]
        latest = [(self._streak, {"subject": s, "runs": _written(runs)}) for s, runs in (streaks or {}).items()]
        says, levels = self._standings, dict[str, Statement]()
        if says is not None:
            standings = says.otherwise(standings or {})
            levels.update(says.saying(standings))
            # Before the write: a status that changes meanwhile is written after it.
            says.said(standings)
        try:
            await self._backlog.write(
                (self._counted, counted), (STORE, run_values(result, agency)), *came, *healths, *latest, levels=levels
            )
        except BaseException:
            if says is not None:
                says.unsaid(standings or {})
            raise

    def say_again(self) -> None:
        """Write the site's statuses again: another process may have written others since."""
        if self._standings is not None:
            self._standings.say_again()

    async def say_no_more(self, has_left: Callable[[str], bool]) -> None:
        """Delete the site's statuses of subjects that have left: readers would count them for ever."""
        if self._standings is not None and (left := [*filter(has_left, await self._standings.subjects())]):
            await self._standings.forget(left)

    @property
    def owes(self) -> bool:
        """Whether health data waits to be written."""
        return len(self._backlog) > 0

    async def tokens(self, now: datetime, routes: AbstractSet[str] | None = None) -> Mapping[str, SentToken]:
        """Return the tokens whose mail may still arrive, the oldest first; *routes*: only those of these routes.

        The token of a run that a stop interrupted is treated like any other: no run awaits it any more.
        """
        missing = select(token).where(token.c.arrived_at.is_(None), token.c.sent_at >= now - TOKEN_MEMORY)
        come = select(token).where(token.c.arrived_at.is_not(None), token.c.sent_at >= now - CAME_MEMORY)
        async with self._database.read() as connection:
            rows: list[Row[Any]] = []
            for query in (missing, come):
                newest = query.order_by(token.c.sent_at.desc()).limit(_TOKENS_AT_MOST)
                if _is_few(routes):
                    # A filter on the newest ones: the index has no routes, and most tokens belong to others.
                    some = newest.subquery()
                    newest = select(some).where(some.c.route.in_(routes))
                rows += (await connection.execute(newest)).all()
        rows.sort(key=lambda row: row.sent_at)
        return {
            row.id: SentToken(route=row.route, at=row.sent_at, came=row.arrived_at is not None)
            for row in rows
            if routes is None or row.route in routes
        }

    async def healths(self, routes: AbstractSet[str] | None = None) -> Mapping[str, tuple[Health, datetime]]:
        """Return the latest health of everything; *routes*: of all routes at least these, and all of our own parts."""
        query = select(health)
        if _is_few(routes):
            query = query.where(health.c.subject.in_(routes) | health.c.subject.startswith(_OURS))
        found: dict[str, tuple[Health, datetime]] = {}
        async with self._database.read() as connection:
            rows = await connection.stream(query)
            async for some in rows.partitions(_READ_AT_ONCE):
                found |= {row.subject: (Health(row.health), row.since) async for row in yielding(some)}
        return found

    async def streaks(self, routes: AbstractSet[str] | None = None) -> Mapping[str, Sequence[GradedRun]]:
        """Return the latest runs of each route that contradict its health, the oldest first; *routes*: as in `healths`."""
        query = select(streak).where(streak.c.runs != _written(()))
        if _is_few(routes):
            query = query.where(streak.c.subject.in_(routes) | streak.c.subject.startswith(_OURS))
        return {row.subject: _graded(row.runs) for row in await self._database.rows(query)}

    async def deferrals(self, since: datetime) -> Mapping[str, datetime]:
        """Return since when each route has only been deferred, from the runs since *since*."""
        # Few are deferred, and only for those the route's own runs are queried: a GROUP BY would read and sort all
        # runs.
        later = run.alias("later")
        arrived = exists().where(
            later.c.agency == run.c.agency,
            later.c.route == run.c.route,
            later.c.started_at >= run.c.started_at,
            later.c.outcome.in_(_ARRIVED),
        )
        query = (
            select(run.c.route, run.c.started_at)
            .where(run.c.started_at >= since, run.c.outcome == Outcome.DEFERRED, ~arrived)
            .order_by(run.c.started_at.desc())
        )
        return {row.route: row.started_at for row in await self._database.rows(query)}

    async def latest(self, agencies: AbstractSet[str] | None = None) -> Mapping[str, ProbeResult]:
        """Return the latest run of each route, by name; those from before the start are read from the database once.

        *agencies*: only their routes and our own; those of others are read by `look_up`. Raise `StoreUnavailable` when
        they could not be read yet; `known` has the others.
        """
        if not self._is_read:
            among = None if agencies is None else run.c.agency.in_(["", *agencies])
            for route, result in (await self._read_latest(among=among)).items():
                self._latest.setdefault(route, result)
            self._is_read = True
        return self._latest

    def known(self) -> Mapping[str, ProbeResult]:
        """Return the latest run of each route as far as it is in memory."""
        return self._latest

    def forget(self, routes: Iterable[str]) -> None:
        """Drop the latest runs of routes that have left, or that another process probes from now on."""
        for route in routes:
            self._latest.pop(route, None)

    def rename(self, called: Callable[[str], str]) -> None:
        """Rename routes in memory, after their records have been renamed."""
        for route in list(self._latest):
            if (new := called(route)) != route:
                self._latest[new] = replace(self._latest.pop(route), route=new)
        self.say_again()

    async def look_up(self, agencies: Collection[str]) -> None:
        """Read the latest runs of the routes of *agencies* again, which other processes probe.

        Raise `StoreUnavailable`.
        """
        for some in agencies if len(agencies) <= APART else [None]:
            for route, result in (await self._read_latest(some)).items():
                known = self._latest.get(route)
                if known is None or known.started_at < result.started_at:
                    self._latest[route] = result

    async def _read_latest(
        self, agency: str | None = None, among: ColumnElement[bool] | None = None
    ) -> Mapping[str, ProbeResult]:
        # A skip scan of the index: there are thousands of runs of each route.
        routes = distinct(run.c.agency, run.c.route)
        if agency is not None:
            routes = distinct(run.c.agency, run.c.route, among=run.c.agency == agency)
        of_route = (
            select(run.c.id)
            .where(run.c.agency == routes.c.agency, run.c.route == routes.c.route)
            .order_by(run.c.started_at.desc())
        )
        newest = select(of_route.limit(1).correlate(routes).scalar_subquery()).select_from(routes)
        query = select(run).where(run.c.id.in_(newest))
        if among is not None:
            query = query.where(among)
        found: dict[str, ProbeResult] = {}
        async with self._database.read() as connection:
            rows = await connection.stream(query)
            async for some in rows.partitions(_READ_AT_ONCE):
                found |= {row.route: to_result(row) async for row in yielding(some)}
        return found

    async def transits(self, agency: str, since: datetime) -> Sequence[HourlyTransit]:
        """Return the transit times per hour from *since* on, in any order."""
        routes = distinct(hour.c.route, among=hour.c.agency == agency)
        theirs = (hour.c.agency == agency) & (hour.c.route == routes.c.route) & (hour.c.starts_at >= since)
        came = theirs & (hour.c.transit > 0) & hour.c.outcome.in_(CAME)
        sums = (func.sum(hour.c.runs), func.sum(hour.c.transit), func.max(hour.c.slowest))
        query = select(hour.c.starts_at, *sums).join_from(routes, hour, came).group_by(hour.c.starts_at)
        rows = await self._database.rows(query)
        return [HourlyTransit(starts_at=at, runs=runs, together=sum_, slowest=most) for at, runs, sum_, most in rows]

    async def failed(self, agency: str, since: datetime, until: datetime, most: int) -> Sequence[ProbeResult]:
        """Return the last *most* of an agency's runs that started in a period and did not deliver, the oldest first."""
        failed = _runs(agency, since, until).where(run.c.outcome != Outcome.DELIVERED)
        newest = failed.order_by(run.c.started_at.desc(), run.c.id.desc()).limit(most)
        rows = await self._database.rows(newest)
        return [to_result(row) for row in reversed(rows)]

    async def between(self, agency: str, since: datetime, until: datetime) -> Sequence[ProbeResult]:
        """Return an agency's runs that started in a period, the oldest first, as far as they are still stored."""
        query = _runs(agency, since, until)
        # Among those that are not moved yet.
        before = select(run_before).where(
            run_before.c.started_at >= since, run_before.c.started_at <= until, run_before.c.agency == agency
        )
        async with self._database.read() as connection:
            rows = [*(await connection.execute(before)), *(await connection.execute(query))]
        in_order = sorted(rows, key=lambda row: (row.started_at, row.id))
        return [to_result(row) async for row in yielding(in_order)]


def _runs(agency: str, since: datetime, until: datetime) -> Select[Any]:
    routes = distinct(run.c.route, among=run.c.agency == agency)
    theirs = (run.c.agency == agency) & (run.c.route == routes.c.route)
    return select(run).join_from(routes, run, theirs & run.c.started_at.between(since, until))


def _is_few(routes: AbstractSet[str] | None) -> TypeGuard[AbstractSet[str]]:
    return routes is not None and len(routes) <= _FEW


def _written(runs: Sequence[GradedRun]) -> str:
    return json.dumps([[run.token_id, run.started_at.isoformat(), run.outcome, run.grade] for run in runs])


def _graded(written: str) -> Sequence[GradedRun]:
    return [
        GradedRun(
            token_id=token_id, started_at=datetime.fromisoformat(at), outcome=Outcome(outcome), grade=Grade(grade)
        )
        for token_id, at, outcome, grade in json.loads(written)
    ]
