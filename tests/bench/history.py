"""What a long history costs: whatever loops and people ask for, at one percent of it and at all of it, on both stores.

`python -m tests.bench.history` makes stores with as many runs, incidents and entries of the journal as asked, prints a
table of CPU (ours and the database server's) and of how long the loop was held, and deletes them again. It takes some
minutes and two gigabytes.
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
from monitor.audit.chain import Chain
from monitor.config.service.store import RetentionSettings
from monitor.metrics import Metrics
from monitor.model.health import Grade
from monitor.store.admin import purge
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine.drills import Drills
from monitor.store.engine.ledger import SqlStore
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
from tests.bench.estate import delivered
from tests.integration.alerts.station import Station
from tests.real.postgres import Postgres
from tests.unit.alerts.people import T0, trigger

ROUTES = 1000
FIVE = timedelta(minutes=5)
DAY = timedelta(days=1)
#: Incidents that a purge is asked about, whatever there is.
PURGED = 500
#: Each waits for the disk.
_CHUNK = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much there is."""

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
    # What one incident leaves behind, as the engine wrote it; the others are its copies.
    station = Station(database)
    await station.submit(trigger())
    await station.acknowledge()
    await station.submit(Resolve(dedup_key="JCM", at=T0, ended_at=T0))
    async with SqlStore(database).transaction() as uow:
        await uow.deactivate_incident(1)
    await _copy_incidents(database, size.incidents)
    await _copy_runs(database, size.runs)
    await _go_on_with_the_journal(database, size.entries, size.incidents)
    async with database.write() as connection:
        # As any database that has lived for so long.
        await connection.execute(text("ANALYZE"))


async def _copy_incidents(database: Database, number: int) -> None:
    """Put copies of the first incident, and of all that hangs on it, into the time before it."""
    tables = (incident, notification, notification_incident, delivery, attempt)
    async with database.read() as connection:
        first = {table: [dict(row) for row in (await connection.execute(select(table))).mappings()] for table in tables}

    def copies(table: Table) -> Iterator[dict[str, Any]]:
        for n in range(1, number):
            for row in first[table]:
                # Ids grow as time does, but for the first, which is the latest.
                yield _copy(table, row, n, number - n)

    for table in tables:
        await insert_all(database, table, copies(table))
        if database.is_shared and "id" in table.c:
            last = f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), (SELECT max(id) FROM {table.name}))"
            async with database.write() as connection:
                await connection.execute(text(last))


#: Entries between two checkpoints.
_CHECKED = 500
#: Between the ids of one incident's notices and the next's.
_STRIDE = 20
_APART = timedelta(minutes=10)


def _copy(table: Table, row: Mapping[str, Any], n: int, back: int) -> dict[str, Any]:
    """Return the *n*th copy of a row: *back* times ten minutes earlier, with ids and unique keys of its own."""
    copied = {name: value - back * _APART if isinstance(value, datetime) else value for name, value in row.items()}
    for name in ("number", "key", "reference"):
        if table.name != "delivery" and name in copied:
            copied[name] = f"{row[name]}/{n}"
    if table is incident:
        return copied | {"id": n + 1, "dedup_key": f"OLD{n % ROUTES}", "at_rest": True}
    moved = {name: row[name] + n * _STRIDE for name in ("id", "notification_id", "delivery_id") if name in row}
    return copied | moved | ({"incident_id": n + 1} if "incident_id" in row else {})


async def _copy_runs(database: Database, number: int) -> None:
    values = run_values(replace(delivered("x"), started_at=T0), "x")
    begins = T0 - (number // ROUTES) * FIVE

    def runs() -> Iterator[Mapping[str, Any]]:
        for n in range(number):
            code, at = n % ROUTES // 10, begins + n // ROUTES * FIVE
            told = {"agency": f"JCM{code}", "route": f"JCM{code}/outbound/{n % 10}", "token_id": f"{n:016x}"}
            yield values | told | {"started_at": at, "outcome": "lost" if n % 97 == 0 else "delivered"}

    def hours() -> Iterator[Mapping[str, Any]]:
        counted = hour_values(replace(delivered("x"), started_at=T0), "x", Grade.GOOD, FIVE)
        row = {name.removeprefix("hour_"): value for name, value in counted.items() if name.startswith("hour_")}
        for n in range(number // 12):
            code, at = n % ROUTES // 10, begins + n // ROUTES * timedelta(hours=1)
            told = {"agency": f"JCM{code}", "route": f"JCM{code}/outbound/{n % 10}"}
            yield row | told | {"starts_at": at.replace(minute=0)}

    await insert_all(database, run, runs())
    await insert_all(database, hour, hours())


async def _go_on_with_the_journal(database: Database, number: int, incidents: int) -> None:
    async with database.read() as connection:
        head = await audit.head(connection)
    began = T0 - number * timedelta(minutes=1)

    def entries() -> Iterator[Mapping[str, Any]]:
        nonlocal head
        last = ChainHead()
        for n in range(number):
            # Ten of each incident, one after the other, and one of ten about none.
            about = None if n % 10 == 9 else min(n // 10 + 1, incidents)
            entry = AuditEntry(
                at=began + n * timedelta(minutes=1),
                actor="engine",
                event="attempt written",
                incident_id=about,
                notification_id=None if about is None else about * _STRIDE,
                detail={"reference": f"p{n}-1", "gateway": "sms", "channel": "sms"},
            )
            if n % _CHECKED == _CHECKED - 1:
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
    """Of one deed: milliseconds of CPU, and the longest that it held the loop."""

    cpu: float
    held: float


@dataclass(slots=True)
class Meter:
    """Measures deeds: our CPU, and that of a database's server."""

    server: Postgres | None
    found: dict[str, Cost] = field(default_factory=dict)

    async def measure(self, what: str, deed: Callable[[], Awaitable[object]], times: int = 5) -> None:
        """Do it so many times, and note the median."""
        if times > 1:
            await deed()  # Statements are built once.
        costs = [await self._once(deed) for _ in range(times)]
        self.found[what] = Cost(cpu=median(cost.cpu for cost in costs), held=median(cost.held for cost in costs))

    async def _once(self, deed: Callable[[], Awaitable[object]]) -> Cost:
        gc.collect()
        with holding() as longest:
            began = time.process_time() + self._server_cpu()
            await deed()
            spent = time.process_time() + self._server_cpu() - began
        return Cost(cpu=1e3 * spent, held=1e3 * max(longest, default=0.0))

    def _server_cpu(self) -> float:
        return 0.0 if self.server is None else self.server.cpu_seconds()


@contextmanager
def holding() -> Iterator[list[float]]:
    """Time each of the loop's callbacks."""
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


class IssuingOffice:
    """What loops do and people ask for."""

    def __init__(self, database: Database, size: Size) -> None:
        self._database, self._size = database, size
        self._store, self._history, self._drills = SqlStore(database), History(database), Drills(database)
        self._station = Station(database)
        self._station.clock.moment = self._now = T0 + timedelta(hours=1)
        self._old_at = T0 - (size.runs // ROUTES) * FIVE + 30 * DAY

    async def start(self) -> None:
        metrics = Metrics(version="bench", now=lambda: self._now)
        await Chain(self._database, metrics, self._station.clock, "pantau@bench", timedelta(0)).verify_if_due()
        await self._history.healths()
        await self._history.deferrals(self._now - timedelta(hours=2))
        await self._history.tokens(self._now)
        async with self._store.transaction() as uow:
            await uow.requery_orphaned_calls(self._now)
            await uow.opened_since(self._now - timedelta(hours=1))
            await uow.open_incidents()

    async def look_around(self) -> None:
        async with self._store.transaction() as uow:
            await uow.renew_leases("bench", self._now, timedelta(seconds=30))
            await uow.move_times_back(self._now)
            await uow.active_incidents()
            await uow.claimable_incidents("bench", self._now)
        await self._drills.under_way()

    async def outage(self) -> None:
        clock = self._station.clock
        # Beyond what budgets and flapping look back to.
        clock.moment += timedelta(hours=4)
        opened = await self._station.submit(trigger(at=clock.moment))
        assert opened is not None
        await self._station.acknowledge(opened.id)
        await self._station.submit(Resolve(dedup_key="JCM", at=clock.moment, ended_at=clock.moment))

    async def end_of_a_run(self) -> None:
        self._now += timedelta(seconds=1)
        result = replace(delivered("JCM1/outbound/1"), started_at=self._now)
        await self._history.record_run(result, "JCM1", {}, grade=Grade.GOOD, interval=FIVE)

    async def latest(self) -> None:
        # Read once by each; asked for again it is in memory.
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
            await uow.duty.standing(self._now)
            await uow.duty.answered()
        await self._drills.confirmed()
        await self._drills.delivered()
        await self._drills.last_ended()

    async def dossier(self) -> None:
        middle = self._size.incidents // 2
        async with self._store.reading() as uow:
            await uow.notifications(middle)
        async with self._database.read() as connection:
            entries = await audit.of_incident(connection, middle)
            head = await audit.head(connection)
            await audit.read_chain_links(connection, [*(entry.number for entry in entries), head.number])
        await self._history.between("JCM1", T0 - timedelta(hours=2), T0)

    async def dry_run(self) -> None:
        # Of the oldest, as many whatever there is.
        search = purge.Search(T0 - (self._size.incidents - PURGED) * _APART)
        while not search.is_over:
            async with self._database.read() as connection:
                await search.further(connection)

    async def part_of_the_journal(self) -> None:
        verifier = Verifier(ChainHead(number=self._size.entries // 2))
        async with self._database.read() as connection:
            for entry in await audit.entries(connection, self._size.entries // 2):
                assert not isinstance(entry, int)
                verifier.verify(entry)

    async def retention(self) -> None:
        self._old_at += FIVE
        await Retention(self._database).dispose(RetentionSettings().build(), self._old_at)

    async def whole_journal(self) -> None:
        await audit.verify(self._database.read)

    async def whole_dry_run(self) -> None:
        search = purge.Search(self._now)
        while not search.is_over:
            async with self._database.read() as connection:
                await search.further(connection)


async def ask_everything(database: Database, meter: Meter, size: Size) -> None:
    """Do what loops do and people ask for, and measure it."""
    office = IssuingOffice(database, size)
    deeds: Mapping[str, Callable[[], Awaitable[object]]] = {
        "start": office.start,
        "look around (every 5 s)": office.look_around,
        "an outage, told and ended": office.outage,
        "end of a run": office.end_of_a_run,
        "latest run of each route": office.latest,
        "incidents and notices": office.lists,
        "who is on call, drills": office.on_call,
        "dossier (what it reads)": office.dossier,
        f"purge dry run, {PURGED} incidents": office.dry_run,
        "200 entries of the journal": office.part_of_the_journal,
        "retention, five minutes' worth": office.retention,
    }
    for what, deed in deeds.items():
        await meter.measure(what, deed)
    for what, deed in (("the journal, whole", office.whole_journal), ("purge dry run, whole", office.whole_dry_run)):
        await meter.measure(what, deed, times=1)


# -- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A store of one size, measured."""

    found: Mapping[str, Cost]
    #: Octets on the disk for each run, and for each hour of a route.
    octets: Mapping[str, float]


async def measured(place: Path, size: Size, server: Postgres | None) -> Filled:
    meter, where = Meter(server), None if server is None else server.store()
    async with Database.open(place, where) as database:
        began = time.perf_counter()
        await make(database, size)
        _say(f"  made in {time.perf_counter() - began:.0f} s")
        octets = await _octets(database, size)
        await ask_everything(database, meter, size)
    return Filled(found=meter.found, octets=octets)


async def _octets(database: Database, size: Size) -> Mapping[str, float]:
    if database.is_shared:
        asked = "SELECT pg_total_relation_size('{0}')"
    else:
        asked = "SELECT sum(pgsize) FROM dbstat WHERE name = '{0}' OR name LIKE 'ix_{0}_%'"
    async with database.read() as connection:
        whole = {name: (await connection.execute(text(asked.format(name)))).scalar_one() for name in ("run", "hour")}
    return {"a run": whole["run"] / size.runs, "an hour of a route": whole["hour"] / (size.runs // 12)}


def main() -> None:
    """Make, measure, print."""
    asked = argparse.ArgumentParser(prog="python -m tests.bench.history", description=__doc__)
    asked.add_argument("--runs", type=int, default=1_000_000)
    asked.add_argument("--incidents", type=int, default=100_000)
    asked.add_argument("--entries", type=int, default=1_000_000)
    asked.add_argument("--store", choices=["sqlite", "postgresql"], action="append")
    wanted = asked.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    size = Size(runs=wanted.runs, incidents=wanted.incidents, entries=wanted.entries)
    for store in wanted.store or ("sqlite", "postgresql"):
        parts = []
        for share in (0.01, 1.0):
            _say(f"{store}, {share:.0%}")
            with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
                server = stack.enter_context(Postgres()) if store == "postgresql" else None
                parts.append(asyncio.run(measured(Path(place), size.part(share), server)))
        _say(*_table(*parts))


def _table(few: Filled, many: Filled) -> Iterator[str]:
    yield f"{'':34}{'CPU ms at 1 %':>14}{'at 100 %':>12}{'held ms':>10}"
    for what, cost in few.found.items():
        more = many.found[what]
        yield f"{what:34}{cost.cpu:>14,.1f}{more.cpu:>12,.1f}{more.held:>10,.1f}"
    for what, octets in many.octets.items():
        yield f"{what:34}{octets:>26,.0f} octets"


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
