"""Cost of processes of a site that share agencies: of a run, of the number of processes, and of their store.

`python -m tests.bench.sharding` starts real services with configuration files and mail stubs. `run`: one process on
SQLite and one of three on PostgreSQL, at the same time with as many routes each: CPU of a run. `growth`: a process
with a thousand agencies of its own, alone and as one of ten that share ten thousand, with few runs: the cost that
grows. `store`: the writes of one and of ten processes, without mail. All other processes are simulated: they write
heartbeats, and the state of their routes is in the store. An idle machine reads ten thousand agencies in a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from statistics import median
from typing import Any

import psycopg
from sqlalchemy import insert

from monitor.model.health import Grade, Health
from monitor.planning.ownership import owners
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.probing.history import History
from monitor.store.probing.hours import STORE_RUN, run_values
from monitor.store.probing.processes import Processes
from monitor.store.probing.statuses import SiteStatuses
from monitor.store.schema.tables import health
from probes.model.result import Outcome, ProbeResult
from tests.bench.fleet import REFERENCES
from tests.bench.mail_stub import MailStub, run_mail_stub
from tests.bench.trip import cpu_of
from tests.real.postgres import Postgres

_SITE = "johor"
_MEMBERS = 3
_MANY_MEMBERS = 10
#: Routes of an agency: two mailboxes, both ways with two references and internal.
_ROUTE_SUFFIXES = tuple(
    f"{kind}{suffix}"
    for suffix in ("", "/kedua")
    for kind in ("internal", *(f"{kind}/{name}" for kind in ("outbound", "inbound") for name in REFERENCES))
)
_DAY = timedelta(days=1)
_TIMEOUT = 600.0


# -- what is configured ----------------------------------------------------------------------------------------------


def _code(number: int) -> str:
    # Letters only: digits would look like a telephone number.
    return "".join(chr(ord("A") + number // 26**place % 26) for place in (2, 1, 0))


def configured(
    directory: Path, server: MailStub, agencies: int, interval: timedelta, store: PostgresServer | None = None
) -> Path:
    """Write settings and a file for each agency; return the settings file."""
    (directory / "agencies").mkdir(parents=True, mode=0o700)
    server.write_files(directory)
    timeouts = {"session_timeout": "15s", "arrival_timeout": "15s", "slow_threshold": "5s"}
    timeouts["deferral_timeout"] = _span(2 * max(interval, timedelta(minutes=15)))
    settings: dict[str, Any] = {
        "mode": "monitor_only",
        "listen": "127.0.0.1:0",
        "callbacks": {"listen": "127.0.0.1:0", "public_url": "http://127.0.0.1"},
        "state_dir": "state",
        "agencies": "agencies/",
        "site": _SITE,
        "process_name": _member(0),
        "probing": {"interval": _span(interval), "retry_interval": _span(interval)} | timeouts,
        # Checks are not measured.
        "checks": dict.fromkeys(("mx", "domain", "certificate"), "off"),
        "official_suffixes": ["gov.my"],
        "mail_providers": {"ringan": {"hosts": ["127.0.0.1"], "concurrency": 1000, "account_concurrency": 1000}},
        "references": {name: server.configured(f"pantau@{name}.gov.my") for name in REFERENCES},
    }
    if store is not None:
        url = f"postgresql://{store.user}@{store.host}:{store.port}/{store.database}"
        settings["store"] = {"url": url, "tls": False}
    file = directory / "pantau.yaml"
    file.write_text(_as_json(settings))
    for number in range(agencies):
        code = _code(number)
        domain = f"agensi-{code.lower()}.gov.my"
        boxes = {name: server.configured(f"{name}@{domain}") for name in ("utama", "kedua")}
        office = {"address": ["62000 PUTRAJAYA"]}
        agency = {"agency": code, "name": f"Agensi Contoh {code}", "domains": [domain], "letterhead": office}
        (directory / "agencies" / f"{code.lower()}.yaml").write_text(_as_json(agency | {"mailboxes": boxes}))
    return file


def _as_json(document: Mapping[str, Any]) -> str:
    # JSON is YAML, and ten times as fast.
    return json.dumps(document)


def _span(interval: timedelta) -> str:
    return f"{interval.total_seconds():.0f}s"


def _member(number: int) -> str:
    return f"prob-{number + 1}"


# -- who is at work --------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class MeasuredService:
    """A running service."""

    process: asyncio.subprocess.Process
    #: Returns the number of stored runs.
    runs: Callable[[], int]
    owned: int

    def cpu(self) -> float:
        """Return its user and system time in seconds."""
        return cpu_of(self.process.pid)

    def memory(self) -> int:
        """Return its resident memory in octets."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def open_files(self) -> int:
        """Return the number of its open files and connections."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())


@asynccontextmanager
async def run_service(settings: Path, runs: Callable[[], int], owned: int) -> AsyncIterator[MeasuredService]:
    """Run the service for the block, once it has opened the mailboxes of *owned* agencies."""
    with (settings.parent / "log").open("wb") as log:
        words = ("-m", "monitor.cli", "run", "--config", str(settings))
        process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=log, stderr=log)
    it = MeasuredService(process=process, runs=runs, owned=owned)
    try:
        async with asyncio.timeout(_TIMEOUT):
            while process.returncode is None and it.open_files() < 2 * owned:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.5)
        if process.returncode is not None:
            raise RuntimeError((settings.parent / "log").read_text()[-2000:])
        yield it
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()


@asynccontextmanager
async def simulated_processes(directory: Path, store: PostgresServer, names: Sequence[str]) -> AsyncIterator[None]:
    """Write heartbeats of other processes of the site."""
    async with Database.open(directory / "lain", store, name="lain") as database:
        every = [Processes(database, name) for name in names]
        for each in every:
            await each.beat(datetime.now(UTC), database.clock.now())

        async def keep_beating() -> None:
            while True:
                for each in every:
                    await each.refresh_heartbeat(database.clock.now())
                await asyncio.sleep(1)

        beating = asyncio.create_task(keep_beating())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)


def _shares(agencies: int, members: int) -> Mapping[str, Sequence[str]]:
    """Return the agencies of each process."""
    names = [_member(number) for number in range(members)]
    found: dict[str, list[str]] = {name: [] for name in names}
    for code, name in owners([_code(number) for number in range(agencies)], names).items():
        found[name].append(code)
    return found


async def _write_up_state(directory: Path, store: PostgresServer, codes: Collection[str]) -> None:
    """Write that all routes of these agencies are up and have run."""
    now = datetime.now(UTC)
    routes = [(code, f"{code}/{kind}") for code in codes for kind in _ROUTE_SUFFIXES]
    async with Database.open(directory / "dahulu", store, name="dahulu") as database:
        for place in range(0, len(routes), 5000):
            some = routes[place : place + 5000]
            runs = [run_values(_delivered(route, token_hex(8), now - _DAY), code) for code, route in some]
            async with database.write() as connection:
                health_rows = [{"subject": route, "health": Health.UP, "since": now} for _, route in some]
                await connection.execute(insert(health), health_rows)
                await connection.execute(STORE_RUN, runs)


def _delivered(route: str, token: str, at: datetime) -> ProbeResult:
    return ProbeResult(
        route=route, token_id=token, started_at=at, duration=timedelta(seconds=1), outcome=Outcome.DELIVERED
    )


def _file_run_counter(settings: Path) -> Callable[[], int]:
    def counted() -> int:
        with closing(sqlite3.connect(f"file:{settings.parent / 'state' / 'pantau.sqlite'}?mode=ro", uri=True)) as file:
            return int(file.execute("SELECT count(*) FROM run").fetchone()[0])

    return counted


def _server_run_counter(postgres: Postgres, store: PostgresServer) -> Callable[[], int]:
    return lambda: int(_query(postgres, store, "SELECT count(*) FROM run"))


def _query(postgres: Postgres, store: PostgresServer, query: str) -> Any:
    with psycopg.connect(postgres.address(store.database)) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def _commits(postgres: Postgres, store: PostgresServer) -> int:
    return int(_query(postgres, store, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"))


# -- what a run costs ------------------------------------------------------------------------------------------------


async def run(directory: Path, *, agencies: int, seconds: float, periods: int) -> Mapping[str, object]:
    """Run both services at the same time, with ten routes for each agency once a minute."""
    interval = timedelta(minutes=1)
    with run_mail_stub() as one, run_mail_stub() as other, Postgres() as postgres:
        async with AsyncExitStack() as stack:
            alone = configured(directory / "satu", one, agencies, interval)
            store = postgres.store()
            shared = configured(directory / "kongsi", other, agencies * _MEMBERS, interval, store)
            shares = _shares(agencies * _MEMBERS, _MEMBERS)
            await _write_up_state(directory, store, [code for name in [*shares][1:] for code in shares[name]])
            await stack.enter_async_context(simulated_processes(directory, store, [*shares][1:]))
            single, member = await asyncio.gather(
                stack.enter_async_context(run_service(alone, _file_run_counter(alone), agencies)),
                stack.enter_async_context(
                    run_service(shared, _server_run_counter(postgres, store), len(shares[_member(0)]))
                ),
            )
            await asyncio.sleep(interval.total_seconds() / 2)
            found = [await _measure_period((single, member), postgres, seconds) for _ in range(periods)]
    ratios = [shared_cpu / alone_cpu for alone_cpu, shared_cpu, _ in found]
    return {
        "agencies": {"alone": agencies, "one of three": len(shares[_member(0)])},
        "CPU a run alone on SQLite, ms": [round(1000 * alone_cpu, 2) for alone_cpu, _, _ in found],
        "CPU a run of one of three on PostgreSQL, ms": [round(1000 * shared_cpu, 2) for _, shared_cpu, _ in found],
        "one of three / alone": [round(each, 3) for each in ratios],
        "median": round(median(ratios), 3),
        "PostgreSQL's CPU a run, ms": round(1000 * median(each for _, _, each in found), 2),
    }


async def _measure_period(
    both: Sequence[MeasuredService], postgres: Postgres, seconds: float
) -> tuple[float, float, float]:
    """Return the CPU seconds of a run in each service, and of PostgreSQL for a run of the second."""
    used, ran, served = [each.cpu() for each in both], [each.runs() for each in both], postgres.cpu_seconds()
    await asyncio.sleep(seconds)
    taken = [each.cpu() - before for each, before in zip(both, used, strict=True)]
    served = postgres.cpu_seconds() - served
    runs = [each.runs() - before for each, before in zip(both, ran, strict=True)]
    return taken[0] / runs[0], taken[1] / runs[1], served / runs[1]


# -- what grows ------------------------------------------------------------------------------------------------------


async def growth(directory: Path, *, agencies: int, members: int, seconds: float) -> Mapping[str, object]:
    """Run one of several processes with few runs and the same number of own agencies."""
    with run_mail_stub() as server, Postgres() as postgres:
        store = postgres.store()
        settings = configured(directory / f"ahli-{members}", server, agencies * members, _DAY, store)
        shares = _shares(agencies * members, members)
        await _write_up_state(
            directory / f"ahli-{members}", store, [code for codes in shares.values() for code in codes]
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(simulated_processes(settings.parent, store, [*shares][1:]))
            owned = len(shares[_member(0)])
            it = await stack.enter_async_context(run_service(settings, _server_run_counter(postgres, store), owned))
            begun = it.cpu()
            # Until the garbage collector has frozen the objects of the start.
            await asyncio.sleep(70)
            used, ran, commits, served = it.cpu(), it.runs(), _commits(postgres, store), postgres.cpu_seconds()
            began = time.monotonic()
            await asyncio.sleep(seconds)
            took = time.monotonic() - began
            return {
                "processes": members,
                "agencies": agencies * members,
                "of its own": owned,
                "CPU until its mailboxes are open, s": round(begun, 1),
                "memory, MiB": round(it.memory() / 2**20),
                "core with next to nothing to run": round((it.cpu() - used) / took, 4),
                "runs meanwhile": it.runs() - ran,
                "PostgreSQL's core": round((postgres.cpu_seconds() - served) / took, 4),
                "transactions a second": round((_commits(postgres, store) - commits) / took, 1),
            }


# -- what the store takes --------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Writer:
    """Writes of a simulated process."""

    history: History
    codes: Sequence[str]
    durations: list[float] = field(default_factory=list)

    async def keep_writing(self, a_minute: float) -> None:
        """Write results of runs and their tokens at random times."""
        due = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            while True:
                due += random.expovariate(a_minute / 60)
                await asyncio.sleep(due - time.monotonic())
                tasks.create_task(self._write())

    async def _write(self) -> None:
        began = time.monotonic()
        code, token, now = random.choice(self.codes), token_hex(8), datetime.now(UTC)
        route = f"{code}/{random.choice(_ROUTE_SUFFIXES)}"
        await self.history.record_sent_token(token, route, now, now + timedelta(minutes=1))
        await self.history.record_run(
            _delivered(route, token, now), code, {}, grade=Grade.GOOD, interval=timedelta(minutes=1)
        )
        self.durations.append(time.monotonic() - began)


async def stored(directory: Path, *, members: int, a_minute: float, seconds: float) -> Mapping[str, object]:
    """Let several processes write runs, of a thousand agencies each."""
    with Postgres() as postgres:
        store = postgres.store()
        async with AsyncExitStack() as stack:
            writers = []
            for number in range(members):
                place = directory / f"penulis-{members}-{number}"
                database = await stack.enter_async_context(Database.open(place, store, name=_member(number)))
                codes = [_code(number * 1000 + each) for each in range(1000)]
                writers.append(Writer(history=History(database, SiteStatuses(database, _SITE)), codes=codes))
            writing = [asyncio.create_task(each.keep_writing(a_minute)) for each in writers]
            await asyncio.sleep(5)
            count, sent = _server_run_counter(postgres, store), "SELECT pg_current_wal_lsn() - '0/0'"
            ran, commits, log, served = count(), _commits(postgres, store), _query(postgres, store, sent), 0.0
            served, used, began = postgres.cpu_seconds(), time.process_time(), time.monotonic()
            for each in writers:
                each.durations.clear()
            await asyncio.sleep(seconds)
            took, served = time.monotonic() - began, postgres.cpu_seconds() - served
            used, runs = time.process_time() - used, count() - ran
            sorted_durations = sorted(each for writer in writers for each in writer.durations)
            for task in writing:
                task.cancel()
            broken = [
                each
                for each in await asyncio.gather(*writing, return_exceptions=True)
                if not isinstance(each, asyncio.CancelledError)
            ]
            if broken:
                raise RuntimeError(f"writers failed: {broken}")
            return {
                "processes": members,
                "runs a minute": round(60 * runs / took),
                "PostgreSQL's core": round(served / took, 3),
                "PostgreSQL's CPU a run, ms": round(1000 * served / runs, 3),
                "the writers' CPU a run, ms": round(1000 * used / runs, 3),
                "transactions a second": round((_commits(postgres, store) - commits) / took),
                "log, octets a run": round(float(_query(postgres, store, sent) - log) / runs),
                "token and end are written after, ms": {
                    "median": round(1000 * median(sorted_durations), 1),
                    "p99": round(1000 * sorted_durations[int(len(sorted_durations) * 0.99)], 1),
                },
            }


async def measure(directory: Path, options: argparse.Namespace) -> None:
    """Measure the selected parts."""
    for part in options.parts or ("run", "growth", "store"):
        if part == "run":
            _print(await run(directory, agencies=options.agencies, seconds=options.seconds, periods=options.periods))
        for members in options.processes if part != "run" else ():
            if part == "growth":
                _print(await growth(directory, agencies=options.share, members=members, seconds=options.idle))
            else:
                rate = options.rate
                _print(await stored(directory, members=members, a_minute=rate, seconds=options.seconds))
    _print({"load of the machine": os.getloadavg()})


def _print(what: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(what, indent=2) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sharding", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help="run, growth, store; default: all")
    parser.add_argument("--agencies", type=int, default=500, help="run: of each of both")
    parser.add_argument("--seconds", type=float, default=20, help="run, store: of a stretch")
    parser.add_argument("--periods", type=int, default=5)
    parser.add_argument("--share", type=int, default=1000, help="growth: agencies of a process")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, _MANY_MEMBERS], help="growth, store")
    parser.add_argument("--idle", type=float, default=100, help="growth: seconds")
    parser.add_argument("--rate", type=float, default=10_000, help="store: runs a minute of a process")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pantau-bench-") as place:
        asyncio.run(measure(Path(place), options))


if __name__ == "__main__":
    main()
