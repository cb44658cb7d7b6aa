"""Processes of a site that share the agencies: what a run costs there, what grows with their number, and what their store takes.

`python -m tests.bench.nation` starts real services as they are installed, by files, with mail systems that cost next to nothing.
`run`: one process alone on SQLite and one of three on PostgreSQL, at the same time and with as many routes each: CPU for
each run. `growth`: a process that has a thousand agencies to itself, and one that has as many as one of ten who share ten thousand;
both have next to nothing to run, and what they take all the same is what grows. `store`: as much as one process and ten
write of their runs, without the mail. All other processes are played: they beat, and how their routes stand is in the store.
Ten thousand agencies are read in a minute, of a quiet machine.
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
from monitor.store.probing.hours import STORE, run_values
from monitor.store.probing.processes import Processes
from monitor.store.probing.statuses import SiteStatuses
from monitor.store.schema.tables import health
from probes.model.result import Outcome, ProbeResult
from tests.bench.estate import REFERENCES
from tests.bench.light import Light, light
from tests.bench.trip import cpu_of
from tests.real.postgres import Postgres

_SITE = "johor"
_MEMBERS = 3
_GROWN = 10
#: For each agency: two mailboxes, both ways with two references and inside.
_WAYS = tuple(
    f"{way}{aside}"
    for aside in ("", "/kedua")
    for way in ("internal", *(f"{way}/{name}" for way in ("outbound", "inbound") for name in REFERENCES))
)
_DAY = timedelta(days=1)
_PATIENCE = 600.0


# -- what is configured ----------------------------------------------------------------------------------------------


def _code(number: int) -> str:
    # Letters only: digits would look like a telephone number.
    return "".join(chr(ord("A") + number // 26**place % 26) for place in (2, 1, 0))


def configured(
    directory: Path, server: Light, agencies: int, interval: timedelta, store: PostgresServer | None = None
) -> Path:
    """Write settings, and a file for each of so many agencies; return the settings file."""
    (directory / "agencies").mkdir(parents=True, mode=0o700)
    server.lay(directory)
    patience = {"session_timeout": "15s", "arrival_timeout": "15s", "slow_threshold": "5s"}
    patience["deferral_timeout"] = _span(2 * max(interval, timedelta(minutes=15)))
    settings: dict[str, Any] = {
        "mode": "monitor_only",
        "listen": "127.0.0.1:0",
        "callbacks": {"listen": "127.0.0.1:0", "public_url": "http://127.0.0.1"},
        "state_dir": "state",
        "agencies": "agencies/",
        "site": _SITE,
        "process_name": _member(0),
        "probing": {"interval": _span(interval), "retry_interval": _span(interval)} | patience,
        # What they cost is none of a run's.
        "checks": dict.fromkeys(("mx", "domain", "certificate"), "off"),
        "official_suffixes": ["gov.my"],
        "mail_providers": {"ringan": {"hosts": ["127.0.0.1"], "concurrency": 1000, "account_concurrency": 1000}},
        "references": {name: server.written(f"pantau@{name}.gov.my") for name in REFERENCES},
    }
    if store is not None:
        url = f"postgresql://{store.user}@{store.host}:{store.port}/{store.database}"
        settings["store"] = {"url": url, "tls": False}
    file = directory / "pantau.yaml"
    file.write_text(_written(settings))
    for number in range(agencies):
        code = _code(number)
        domain = f"agensi-{code.lower()}.gov.my"
        boxes = {name: server.written(f"{name}@{domain}") for name in ("utama", "kedua")}
        office = {"address": ["62000 PUTRAJAYA"]}
        agency = {"agency": code, "name": f"Agensi Contoh {code}", "domains": [domain], "letterhead": office}
        (directory / "agencies" / f"{code.lower()}.yaml").write_text(_written(agency | {"mailboxes": boxes}))
    return file


def _written(document: Mapping[str, Any]) -> str:
    # It is YAML, too, and is written ten times as fast.
    return json.dumps(document)


def _span(interval: timedelta) -> str:
    return f"{interval.total_seconds():.0f}s"


def _member(number: int) -> str:
    return f"prob-{number + 1}"


# -- who is at work --------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class AtWork:
    """A service that is at work."""

    process: asyncio.subprocess.Process
    #: How many runs of agencies it has written.
    runs: Callable[[], int]
    mine: int

    def cpu(self) -> float:
        """Return the user and system time that it has used, in seconds."""
        return cpu_of(self.process.pid)

    def memory(self) -> int:
        """Return what it has in memory, in octets."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def opened(self) -> int:
        """Return how many files and connections it has open."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())


@asynccontextmanager
async def at_work(settings: Path, runs: Callable[[], int], mine: int) -> AsyncIterator[AtWork]:
    """Run the service, from when it has opened the mailboxes of *mine* agencies until the end of the block."""
    with (settings.parent / "log").open("wb") as log:
        words = ("-m", "monitor.cli", "run", "--config", str(settings))
        process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=log, stderr=log)
    it = AtWork(process=process, runs=runs, mine=mine)
    try:
        async with asyncio.timeout(_PATIENCE):
            while process.returncode is None and it.opened() < 2 * mine:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.5)
        if process.returncode is not None:
            raise RuntimeError((settings.parent / "log").read_text()[-2000:])
        yield it
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()


@asynccontextmanager
async def others(directory: Path, store: PostgresServer, names: Sequence[str]) -> AsyncIterator[None]:
    """Let so many other processes of the site be alive."""
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
    """Return whose each agency is."""
    names = [_member(number) for number in range(members)]
    found: dict[str, list[str]] = {name: [] for name in names}
    for code, name in owners([_code(number) for number in range(agencies)], names).items():
        found[name].append(code)
    return found


async def _stand(directory: Path, store: PostgresServer, codes: Collection[str]) -> None:
    """Write that all routes of these agencies are well and were run, as who probes them has."""
    now = datetime.now(UTC)
    routes = [(code, f"{code}/{way}") for code in codes for way in _WAYS]
    async with Database.open(directory / "dahulu", store, name="dahulu") as database:
        for place in range(0, len(routes), 5000):
            some = routes[place : place + 5000]
            runs = [run_values(_delivered(route, token_hex(8), now - _DAY), code) for code, route in some]
            async with database.write() as connection:
                judged = [{"subject": route, "health": Health.UP, "since": now} for _, route in some]
                await connection.execute(insert(health), judged)
                await connection.execute(STORE, runs)


def _delivered(route: str, token: str, at: datetime) -> ProbeResult:
    return ProbeResult(
        route=route, token_id=token, started_at=at, duration=timedelta(seconds=1), outcome=Outcome.DELIVERED
    )


def _counting_in_file(settings: Path) -> Callable[[], int]:
    def counted() -> int:
        with closing(sqlite3.connect(f"file:{settings.parent / 'state' / 'pantau.sqlite'}?mode=ro", uri=True)) as file:
            return int(file.execute("SELECT count(*) FROM run").fetchone()[0])

    return counted


def _counting(postgres: Postgres, store: PostgresServer) -> Callable[[], int]:
    return lambda: int(_asked(postgres, store, "SELECT count(*) FROM run"))


def _asked(postgres: Postgres, store: PostgresServer, query: str) -> Any:
    with psycopg.connect(postgres.address(store.database)) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def _commits(postgres: Postgres, store: PostgresServer) -> int:
    return int(_asked(postgres, store, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"))


# -- what a run costs ------------------------------------------------------------------------------------------------


async def run(directory: Path, *, agencies: int, seconds: float, stretches: int) -> Mapping[str, object]:
    """Let both work at the same time, with an agency's ten routes run once a minute."""
    interval = timedelta(minutes=1)
    with light() as one, light() as other, Postgres() as postgres:
        async with AsyncExitStack() as stack:
            alone = configured(directory / "satu", one, agencies, interval)
            store = postgres.store()
            shared = configured(directory / "kongsi", other, agencies * _MEMBERS, interval, store)
            shares = _shares(agencies * _MEMBERS, _MEMBERS)
            await _stand(directory, store, [code for name in [*shares][1:] for code in shares[name]])
            await stack.enter_async_context(others(directory, store, [*shares][1:]))
            single, member = await asyncio.gather(
                stack.enter_async_context(at_work(alone, _counting_in_file(alone), agencies)),
                stack.enter_async_context(at_work(shared, _counting(postgres, store), len(shares[_member(0)]))),
            )
            await asyncio.sleep(interval.total_seconds() / 2)
            found = [await _stretch((single, member), postgres, seconds) for _ in range(stretches)]
    ratios = [theirs / ours for ours, theirs, _ in found]
    return {
        "agencies": {"alone": agencies, "one of three": len(shares[_member(0)])},
        "CPU a run alone on SQLite, ms": [round(1000 * ours, 2) for ours, _, _ in found],
        "CPU a run of one of three on PostgreSQL, ms": [round(1000 * theirs, 2) for _, theirs, _ in found],
        "one of three / alone": [round(each, 3) for each in ratios],
        "median": round(median(ratios), 3),
        "PostgreSQL's CPU a run, ms": round(1000 * median(each for _, _, each in found), 2),
    }


async def _stretch(both: Sequence[AtWork], postgres: Postgres, seconds: float) -> tuple[float, float, float]:
    """Return the CPU of a run of each, and of PostgreSQL for one of the second's, in seconds."""
    used, ran, served = [each.cpu() for each in both], [each.runs() for each in both], postgres.cpu_seconds()
    await asyncio.sleep(seconds)
    taken = [each.cpu() - before for each, before in zip(both, used, strict=True)]
    served = postgres.cpu_seconds() - served
    runs = [each.runs() - before for each, before in zip(both, ran, strict=True)]
    return taken[0] / runs[0], taken[1] / runs[1], served / runs[1]


# -- what grows ------------------------------------------------------------------------------------------------------


async def growth(directory: Path, *, agencies: int, members: int, seconds: float) -> Mapping[str, object]:
    """Let one of so many work, with as many agencies of its own whoever else there is, and next to nothing to run."""
    with light() as server, Postgres() as postgres:
        store = postgres.store()
        settings = configured(directory / f"ahli-{members}", server, agencies * members, _DAY, store)
        shares = _shares(agencies * members, members)
        await _stand(directory / f"ahli-{members}", store, [code for codes in shares.values() for code in codes])
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(others(settings.parent, store, [*shares][1:]))
            mine = len(shares[_member(0)])
            it = await stack.enter_async_context(at_work(settings, _counting(postgres, store), mine))
            begun = it.cpu()
            # Until the collector has set aside what the start has made.
            await asyncio.sleep(70)
            used, ran, commits, served = it.cpu(), it.runs(), _commits(postgres, store), postgres.cpu_seconds()
            began = time.monotonic()
            await asyncio.sleep(seconds)
            took = time.monotonic() - began
            return {
                "processes": members,
                "agencies": agencies * members,
                "of its own": mine,
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
    """A process of which there is only what it writes."""

    history: History
    codes: Sequence[str]
    late: list[float] = field(default_factory=list)

    async def keep_writing(self, a_minute: float) -> None:
        """Write so many ends of runs, and their tokens, at random moments."""
        due = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            while True:
                due += random.expovariate(a_minute / 60)
                await asyncio.sleep(due - time.monotonic())
                tasks.create_task(self._write())

    async def _write(self) -> None:
        began = time.monotonic()
        code, token, now = random.choice(self.codes), token_hex(8), datetime.now(UTC)
        route = f"{code}/{random.choice(_WAYS)}"
        await self.history.record_sent_token(token, route, now, now + timedelta(minutes=1))
        await self.history.record_run(
            _delivered(route, token, now), code, {}, grade=Grade.GOOD, interval=timedelta(minutes=1)
        )
        self.late.append(time.monotonic() - began)


async def stored(directory: Path, *, members: int, a_minute: float, seconds: float) -> Mapping[str, object]:
    """Let so many processes write as many runs a minute each, of a thousand agencies each."""
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
            count, sent = _counting(postgres, store), "SELECT pg_current_wal_lsn() - '0/0'"
            ran, commits, log, served = count(), _commits(postgres, store), _asked(postgres, store, sent), 0.0
            served, used, began = postgres.cpu_seconds(), time.process_time(), time.monotonic()
            for each in writers:
                each.late.clear()
            await asyncio.sleep(seconds)
            took, served = time.monotonic() - began, postgres.cpu_seconds() - served
            used, runs = time.process_time() - used, count() - ran
            waited = sorted(each for writer in writers for each in writer.late)
            for task in writing:
                task.cancel()
            broken = [
                each
                for each in await asyncio.gather(*writing, return_exceptions=True)
                if not isinstance(each, asyncio.CancelledError)
            ]
            if broken:
                raise RuntimeError(f"some wrote no more: {broken}")
            return {
                "processes": members,
                "runs a minute": round(60 * runs / took),
                "PostgreSQL's core": round(served / took, 3),
                "PostgreSQL's CPU a run, ms": round(1000 * served / runs, 3),
                "the writers' CPU a run, ms": round(1000 * used / runs, 3),
                "transactions a second": round((_commits(postgres, store) - commits) / took),
                "log, octets a run": round(float(_asked(postgres, store, sent) - log) / runs),
                "token and end are written after, ms": {
                    "median": round(1000 * median(waited), 1),
                    "p99": round(1000 * waited[int(len(waited) * 0.99)], 1),
                },
            }


async def measure(directory: Path, wanted: argparse.Namespace) -> None:
    """Measure the parts that are wanted."""
    for part in wanted.parts or ("run", "growth", "store"):
        if part == "run":
            _say(await run(directory, agencies=wanted.agencies, seconds=wanted.seconds, stretches=wanted.stretches))
        for members in wanted.processes if part != "run" else ():
            if part == "growth":
                _say(await growth(directory, agencies=wanted.share, members=members, seconds=wanted.idle))
            else:
                rate = wanted.rate
                _say(await stored(directory, members=members, a_minute=rate, seconds=wanted.seconds))
    _say({"load of the machine": os.getloadavg()})


def _say(what: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(what, indent=2) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure."""
    asked = argparse.ArgumentParser(prog="python -m tests.bench.nation", description=__doc__)
    asked.add_argument("parts", nargs="*", metavar="part", help="run, growth, store; default: all")
    asked.add_argument("--agencies", type=int, default=500, help="run: of each of both")
    asked.add_argument("--seconds", type=float, default=20, help="run, store: of a stretch")
    asked.add_argument("--stretches", type=int, default=5)
    asked.add_argument("--share", type=int, default=1000, help="growth: agencies of a process")
    asked.add_argument("--processes", type=int, nargs="*", default=[1, _GROWN], help="growth, store")
    asked.add_argument("--idle", type=float, default=100, help="growth: seconds")
    asked.add_argument("--rate", type=float, default=10_000, help="store: runs a minute of a process")
    wanted = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="pantau-bench-") as place:
        asyncio.run(measure(Path(place), wanted))


if __name__ == "__main__":
    main()
