"""Cost of a long history: requests of loops and people with one percent of it and all of it, on both stores.

`python -m tests.bench.history` creates stores with the given numbers of runs, incidents and audit entries, prints
CPU (of Pantau and the database server) and the longest block of the event loop, and deletes the stores. It takes
some minutes and two gigabytes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import structlog
from sqlalchemy import Table, insert, select, text, update

from alerts.model.event import Resolve
from alerts.persistence.audit import CHECKPOINT, ChainHead, Verifier, checkpoint, seal
from alerts.persistence.store import AuditEntry
from monitor.audit.chain import ChainMonitor
from monitor.config.service.store import RetentionSettings
from monitor.metrics import Metrics
from monitor.model.health import Grade
from monitor.store.admin import purge
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine.drills import Drills
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import History
from monitor.store.probing.hours import hour_values, run_values
from monitor.store.probing.retention import Retention
from monitor.store.schema.tables import (
    attempt,
    audit_head,
    audit_log,
    delivery,
    hour,
    incident,
    notification,
    notification_incident,
    run,
)
from tests.bench.fleet import delivered
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.real.postgres import Postgres
from tests.unit.alerts.people import T0, trigger

ROUTES = 1000
FIVE = timedelta(minutes=5)
DAY = timedelta(days=1)
#: Incidents of a purge, whatever the size of the store.
PURGED = 500
#: Rows in a transaction, each of which waits for the disk.
_CHUNK = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Size of a store."""

    runs: int
    incidents: int
    entries: int

    def part(self, share: float) -> Size:
        return Size(
            runs=int(self.runs * share), incidents=int(self.incidents * share), entries=int(self.entries * share)
        )


# -- making it -------------------------------------------------------------------------------------------------------


async def make(database: Database, size: Size) -> None:
    """Fill an empty store."""
    # The rows of one incident, as the engine writes them; the others are copies.
    engine_env = DispatcherEnv(database)
    await engine_env.submit(trigger())
    await engine_env.acknowledge()
    await engine_env.submit(Resolve(dedup_key="JCM", at=T0, ended_at=T0))
    async with SqlStore(database).transaction() as uow:
        await uow.deactivate_incident(1)
    await _copy_incidents(database, size.incidents)
    await _copy_runs(database, size.runs)
    await _extend_audit_log(database, size.entries, size.incidents)
    async with database.write() as connection:
        # As in any database of that age.
        await connection.execute(text("ANALYZE"))


async def _copy_incidents(database: Database, number: int) -> None:
    """Insert earlier copies of the first incident and its rows."""
    tables = (incident, notification, notification_incident, delivery, attempt)
    async with database.read() as connection:
        first = {table: [dict(row) for row in (await connection.execute(select(table))).mappings()] for table in tables}

    def copies(table: Table) -> Iterator[dict[str, Any]]:
        for n in range(1, number):
            for row in first[table]:
                # Ids grow with time, except the first, which is the latest.
                yield _copy(table, row, n, number - n)

    for table in tables:
        await insert_all(database, table, copies(table))
        if database.is_shared and "id" in table.c:
            last = f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), (SELECT max(id) FROM {table.name}))"
            async with database.write() as connection:
                await connection.execute(text(last))


#: Entries between two checkpoints.
_CHECKPOINT_INTERVAL = 500
#: Difference between the ids of notifications of two incidents.
_ID_STEP = 20
_INCIDENT_INTERVAL = timedelta(minutes=10)


def _copy(table: Table, row: Mapping[str, Any], n: int, back: int) -> dict[str, Any]:
    """Return the *n*th copy of a row: *back* times ten minutes earlier, with ids and unique keys of its own."""
    copied = {
        name: value - back * _INCIDENT_INTERVAL if isinstance(value, datetime) else value for name, value in row.items()
    }
    for name in ("number", "key", "reference"):
        if table.name != "delivery" and name in copied:
            copied[name] = f"{row[name]}/{n}"
    if table is incident:
        return copied | {"id": n + 1, "dedup_key": f"OLD{n % ROUTES}", "at_rest": True}
    moved = {name: row[name] + n * _ID_STEP for name in ("id", "notification_id", "delivery_id") if name in row}
    return copied | moved | ({"incident_id": n + 1} if "incident_id" in row else {})


async def _copy_runs(database: Database, number: int) -> None:
    values = run_values(replace(delivered("x"), started_at=T0), "x")
    begins = T0 - (number // ROUTES) * FIVE

    def runs() -> Iterator[Mapping[str, Any]]:
        for n in range(number):
            code, at = n % ROUTES // 10, begins + n // ROUTES * FIVE
            row_keys = {"agency": f"JCM{code}", "route": f"JCM{code}/outbound/{n % 10}", "token_id": f"{n:016x}"}
            yield values | row_keys | {"started_at": at, "outcome": "lost" if n % 97 == 0 else "delivered"}

    def hours() -> Iterator[Mapping[str, Any]]:
        counted = hour_values(replace(delivered("x"), started_at=T0), "x", Grade.GOOD, FIVE)
        row = {name.removeprefix("hour_"): value for name, value in counted.items() if name.startswith("hour_")}
        for n in range(number // 12):
            code, at = n % ROUTES // 10, begins + n // ROUTES * timedelta(hours=1)
            row_keys = {"agency": f"JCM{code}", "route": f"JCM{code}/outbound/{n % 10}"}
            yield row | row_keys | {"starts_at": at.replace(minute=0)}

    await insert_all(database, run, runs())
    await insert_all(database, hour, hours())


async def _extend_audit_log(database: Database, number: int, incidents: int) -> None:
    async with database.read() as connection:
        head = await audit.head(connection)
    began = T0 - number * timedelta(minutes=1)

    def entries() -> Iterator[Mapping[str, Any]]:
        nonlocal head
        last = ChainHead()
        for n in range(number):
            # Ten entries of each incident in turn; every tenth entry belongs to none.
            number_of_incident = None if n % 10 == 9 else min(n // 10 + 1, incidents)
            entry = AuditEntry(
                at=began + n * timedelta(minutes=1),
                actor="engine",
                event="attempt written",
                incident_id=number_of_incident,
                notification_id=None if number_of_incident is None else number_of_incident * _ID_STEP,
                detail={"reference": f"p{n}-1", "gateway": "sms", "channel": "sms"},
            )
            if n % _CHECKPOINT_INTERVAL == _CHECKPOINT_INTERVAL - 1:
                entry = checkpoint(entry.at, "pantau@bench", last)
            sealed = seal(entry, head)
            head = ChainHead(number=sealed.number, hash=sealed.hash)
            last = head if entry.event == CHECKPOINT else last
            yield audit.entry_values(sealed)

    await insert_all(database, audit_log, entries())
    async with database.write() as connection:
        await connection.execute(update(audit_head).values(number=head.number, hash=head.hash))


async def insert_all(database: Database, table: Table, rows: Iterator[Mapping[str, Any]]) -> None:
    while chunk := [row for _, row in zip(range(_CHUNK), rows, strict=False)]:
        async with database.write() as connection:
            await connection.execute(insert(table), chunk)


# -- measuring it ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of an action: CPU and longest block of the event loop, in ms."""

    cpu: float
    blocked: float


@dataclass(slots=True)
class Meter:
    """Meter of actions: CPU of this process and of the database server."""

    server: Postgres | None
    found: dict[str, Cost] = field(default_factory=dict)

    async def measure(self, what: str, action: Callable[[], Awaitable[object]], times: int = 5) -> None:
        """Run an action several times and store the median."""
        if times > 1:
            await action()  # Compiles the statements.
        costs = [await self._once(action) for _ in range(times)]
        self.found[what] = Cost(cpu=median(cost.cpu for cost in costs), blocked=median(cost.blocked for cost in costs))

    async def _once(self, action: Callable[[], Awaitable[object]]) -> Cost:
        gc.collect()
        with measure_blocking() as longest:
            began = time.process_time() + self._server_cpu()
            await action()
            spent = time.process_time() + self._server_cpu() - began
        return Cost(cpu=1e3 * spent, blocked=1e3 * max(longest, default=0.0))

    def _server_cpu(self) -> float:
        return 0.0 if self.server is None else self.server.cpu_seconds()


@contextmanager
def measure_blocking() -> Iterator[list[float]]:
    """Record the longest CPU time of a callback of the event loop."""
    run_handle, longest = asyncio.Handle._run, [0.0]

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run_handle(handle)
        longest[0] = max(longest[0], time.thread_time() - began)

    asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]
    try:
        yield longest
    finally:
        asyncio.Handle._run = run_handle  # type: ignore[method-assign]


class Actions:
    """Actions of loops and requests of people."""

    def __init__(self, database: Database, size: Size) -> None:
        self._database, self._size = database, size
        self._store, self._history, self._drills = SqlStore(database), History(database), Drills(database)
        self._engine_env = DispatcherEnv(database)
        self._engine_env.clock.moment = self._now = T0 + timedelta(hours=1)
        self._old_at = T0 - (size.runs // ROUTES) * FIVE + 30 * DAY

    async def start(self) -> None:
        metrics = Metrics(version="bench", now=lambda: self._now)
        await ChainMonitor(
            self._database, metrics, self._engine_env.clock, "pantau@bench", timedelta(0)
        ).verify_if_due()
        await self._history.healths()
        await self._history.deferrals(self._now - timedelta(hours=2))
        await self._history.tokens(self._now)
        async with self._store.transaction() as uow:
            await uow.requery_orphaned_attempts(self._now)
            await uow.opened_since(self._now - timedelta(hours=1))
            await uow.open_incidents()

    async def engine_cycle(self) -> None:
        async with self._store.transaction() as uow:
            await uow.renew_leases("bench", self._now, timedelta(seconds=30))
            await uow.move_times_back(self._now)
            await uow.active_incidents()
            await uow.claimable_incidents("bench", self._now)
        await self._drills.under_way()

    async def outage(self) -> None:
        clock = self._engine_env.clock
        # Outside of the windows of rate limits and flapping.
        clock.moment += timedelta(hours=4)
        opened = await self._engine_env.submit(trigger(at=clock.moment))
        assert opened is not None
        await self._engine_env.acknowledge(opened.id)
        await self._engine_env.submit(Resolve(dedup_key="JCM", at=clock.moment, ended_at=clock.moment))

    async def record_end_of_run(self) -> None:
        self._now += timedelta(seconds=1)
        result = replace(delivered("JCM1/outbound/1"), started_at=self._now)
        await self._history.record_run(result, "JCM1", {}, grade=Grade.GOOD, interval=FIVE)

    async def latest(self) -> None:
        # A new object, because the result is cached.
        await History(self._database).latest()

    async def lists(self) -> None:
        async with self._store.reading() as uow:
            await uow.recent_incidents(200)
            for incident_id in {each.incident_id for each in await uow.recent_notifications(200)}:
                await uow.incident(incident_id)
            await uow.open_incidents()
            await uow.silences(self._now)

    async def on_call(self) -> None:
        async with self._store.reading() as uow:
            await uow.oncall.list_overrides(self._now)
            await uow.oncall.last_confirmations()
        await self._drills.confirmed()
        await self._drills.delivered()
        await self._drills.last_ended()

    async def incident_record(self) -> None:
        middle = self._size.incidents // 2
        async with self._store.reading() as uow:
            await uow.notifications(middle)
        async with self._database.read() as connection:
            entries = await audit.entries_of_incident(connection, middle)
            head = await audit.head(connection)
            await audit.read_chain_links(connection, [*(entry.number for entry in entries), head.number])
        await self._history.between("JCM1", T0 - timedelta(hours=2), T0)

    async def purge_dry_run(self) -> None:
        # The same number of the oldest incidents for each size.
        search = purge.Search(T0 - (self._size.incidents - PURGED) * _INCIDENT_INTERVAL)
        while not search.is_over:
            async with self._database.read() as connection:
                await search.search_next(connection)

    async def verify_part(self) -> None:
        verifier = Verifier(ChainHead(number=self._size.entries // 2))
        async with self._database.read() as connection:
            for entry in await audit.entries(connection, self._size.entries // 2):
                assert not isinstance(entry, int)
                verifier.verify(entry)

    async def retention(self) -> None:
        self._old_at += FIVE
        await Retention(self._database).delete_expired(RetentionSettings().build(), self._old_at)

    async def verify_all(self) -> None:
        await audit.verify(self._database.read)

    async def whole_purge_dry_run(self) -> None:
        search = purge.Search(self._now)
        while not search.is_over:
            async with self._database.read() as connection:
                await search.search_next(connection)


async def measure_all(database: Database, meter: Meter, size: Size) -> None:
    """Measure all actions."""
    all_actions = Actions(database, size)
    actions: Mapping[str, Callable[[], Awaitable[object]]] = {
        "start": all_actions.start,
        "engine cycle (every 5 s)": all_actions.engine_cycle,
        "an outage, notified and resolved": all_actions.outage,
        "recording a run": all_actions.record_end_of_run,
        "latest run of each route": all_actions.latest,
        "incidents and notifications": all_actions.lists,
        "who is on call, drills": all_actions.on_call,
        "incident record (reading)": all_actions.incident_record,
        f"purge dry run, {PURGED} incidents": all_actions.purge_dry_run,
        "200 audit entries": all_actions.verify_part,
        "retention, five minutes' worth": all_actions.retention,
    }
    for what, action in actions.items():
        await meter.measure(what, action)
    for what, action in (
        ("all audit entries", all_actions.verify_all),
        ("purge dry run, whole", all_actions.whole_purge_dry_run),
    ):
        await meter.measure(what, action, times=1)


# -- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFigures:
    """Figures of a store of one size."""

    found: Mapping[str, Cost]
    #: Octets on disk for each run, and for each hour of a route.
    octets: Mapping[str, float]


async def measured(place: Path, size: Size, server: Postgres | None) -> StoreFigures:
    meter, where = Meter(server), None if server is None else server.store()
    async with Database.open(place, where) as database:
        began = time.perf_counter()
        await make(database, size)
        _print(f"  made in {time.perf_counter() - began:.0f} s")
        octets = await _octets(database, size)
        await measure_all(database, meter, size)
    return StoreFigures(found=meter.found, octets=octets)


async def _octets(database: Database, size: Size) -> Mapping[str, float]:
    if database.is_shared:
        query = "SELECT pg_total_relation_size('{0}')"
    else:
        query = "SELECT sum(pgsize) FROM dbstat WHERE name = '{0}' OR name LIKE 'ix_{0}_%'"
    async with database.read() as connection:
        whole = {name: (await connection.execute(text(query.format(name)))).scalar_one() for name in ("run", "hour")}
    return {"a run": whole["run"] / size.runs, "an hour of a route": whole["hour"] / (size.runs // 12)}


def main() -> None:
    """Create stores, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.history", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--incidents", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], action="append")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    size = Size(runs=options.runs, incidents=options.incidents, entries=options.entries)
    for store in options.store or ("sqlite", "postgresql"):
        parts = []
        for share in (0.01, 1.0):
            _print(f"{store}, {share:.0%}")
            with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
                server = stack.enter_context(Postgres()) if store == "postgresql" else None
                parts.append(asyncio.run(measured(Path(place), size.part(share), server)))
        _print(*_table(*parts))


def _table(small: StoreFigures, large: StoreFigures) -> Iterator[str]:
    yield f"{'':34}{'CPU ms at 1 %':>14}{'at 100 %':>12}{'block ms':>10}"
    for what, cost in small.found.items():
        more = large.found[what]
        yield f"{what:34}{cost.cpu:>14,.1f}{more.cpu:>12,.1f}{more.blocked:>10,.1f}"
    for what, octets in large.octets.items():
        yield f"{what:34}{octets:>26,.0f} octets"


def _print(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
