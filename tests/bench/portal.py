"""Cost of every page and API route with two thousand agencies and a year of history.

`python -m tests.bench.portal` creates a store with the documents of the agencies, a hundred thousand incidents with
notifications, a million runs and audit entries, and a year of days. It starts the real service and requests each GET
of the table of routes (`tests.unit.monitor.web.test_access_control`) ten times as administrator, officer of one
agency, NOC and clerk. It prints milliseconds, CPU, blocking of the event loop, octets and statements, saves a
document five times, and names statements that scan a long table.

`--at DIRECTORY` keeps the store there, and uses an existing one. `--only PART` selects routes. If other work shares
the machine, "ms" includes waiting for it; "CPU ms" and "blocked" do not.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import structlog
from sqlalchemy import String, cast, event, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.documents.render import letter
from alerts.model.delivery import RANK, AttemptState, NotificationState
from alerts.persistence.store import AuditEntry
from alerts.wording.texts import load as load_wording
from monitor.access.role import parse_assignment
from monitor.app import App
from monitor.config.loading import load, stored_source
from monitor.model.day import day_of
from monitor.model.document import EditSource, WrittenDocument
from monitor.service.access.authenticator import MAX_SESSION_TIME
from monitor.service.access.secret import SessionKey
from monitor.store.admin.documents import Documents
from monitor.store.admin.users import Users, WebSession
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine import audit
from monitor.store.probing.hours import run_values
from monitor.store.schema.rows import ADDRESSEE
from monitor.store.schema.tables import (
    api_token,
    attempt,
    counter,
    day,
    delivery,
    document,
    incident,
    notification,
    notification_incident,
    portal_user,
    role_assignment,
    run,
)
from tests.bench import history
from tests.bench.fleet import delivered, files
from tests.bench.loop_delay import measure_loop_delay
from tests.real.postgres import Postgres
from tests.unit.alerts.documents.pages import FACTS
from tests.unit.alerts.people import MINISTRY
from tests.unit.monitor.cli.office import ENVIRON
from tests.unit.monitor.web.test_access_control import PATH_VALUES, TABLE

_DAY: Final = timedelta(days=1)
#: Open incidents, letters in the trays, notifications of unknown state.
_OPEN, _LETTERS, _UNKNOWN = 300, 600, 100
#: Versions of the document of the officer's agency, and of every other one.
_EDITED, _WRITTEN = 400, 5
#: Users by role.
_VIEWERS: Final = {"admin": ("admin",), "officer": ("officer:{code}",), "noc": ("noc",), "clerk": ("clerk",)}
#: Additional requests: filters, long pages, later pages.
_ADDITIONAL: Final = (
    "/?q=contoh",
    "/?state=down",
    "/audit?agency={code}",
    "/audit?event=attempt%20written",
    "/audit?before=1000",
    "/rotas?q=JA",
    "/api/v1/incidents?limit=1000",
    "/api/v1/incidents?agency={code}",
    "/api/v1/incidents?state=open",
    "/api/v1/incidents?until=2026-01-01T00:00:00Z",
    "/api/v1/notifications?limit=1000",
    "/api/v1/notifications?incident={number}",
    "/api/v1/notifications?state=failed",
    "/api/v1/agencies/{code}/days?days=400",
)
#: Limits in milliseconds, of the response and of blocking.
_MAX_MS, _MAX_BLOCKED_MS = 300.0, 20.0
#: Rows from which a table must not be scanned.
_LONG_TABLE: Final = 20_000
#: Reads lines "METHOD path cookie match [file]", sends the requests, and writes "status milliseconds octets
#: plain-octets ETag".
_VIEWER: Final = """
import gzip, http.client, sys, time
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=120)
for line in sys.stdin:
    method, path, cookie, match, file = line.rstrip("\\n").split("\\t")
    headers = {"Accept-Encoding": "gzip", "Cookie": "pantau=" + cookie, "Sec-Fetch-Site": "same-origin"}
    headers |= {"If-Match": match} if match else {}
    headers |= {"Accept": "text/html"} if not path.startswith("/api/") else {}
    body = open(file, "rb").read() if file else None
    while True:
        began = time.perf_counter()
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
            break
        except ConnectionError:  # It was open for longer than the service keeps one.
            connection.close()
    took = time.perf_counter() - began
    plain = gzip.decompress(content) if answer.getheader("Content-Encoding") == "gzip" else content
    print(answer.status, took * 1000, len(content), len(plain), answer.getheader("ETag") or "-", flush=True)
"""


# -- making it -------------------------------------------------------------------------------------------------------


def write_files(directory: Path, agencies: int, store: str) -> Path:
    """Write settings and files of agencies; return the settings file."""
    settings = files(directory, agencies)
    written = settings.read_text()
    changes = {
        r"^listen: .*$": "listen: 127.0.0.1:0",
        r"^  listen: .*$": "  listen: 127.0.0.1:0",
        r"^agencies: .*$": f"agencies: database\n{store}portal: {{}}\nmode: monitor_only",
        r"/var/spool/pantau/surat": str(directory / "surat"),
        # Mail is not probed here: its cost is measured elsewhere.
        r"^probing:$": 'probing:\n  active_hours: [{cron: "30 3 * * *", for: 30m}]',
        r"^drills:\n(  .*\n)+": "",
    }
    for pattern, instead in changes.items():
        written = re.sub(pattern, instead.replace("\\", "\\\\"), written, flags=re.MULTILINE)
    settings.write_text(written)
    (directory / "surat").mkdir(exist_ok=True)
    return settings


async def make(database: Database, settings: Path, size: history.Size, now: datetime) -> None:
    """Fill an empty store."""
    codes = await _write_documents(database, settings, now)
    await history.make(database, history.Size(runs=history.ROUTES, incidents=size.incidents, entries=size.entries))
    async with database.write() as connection:
        await _distribute_incidents(connection, codes, size.incidents)
        await _make_open(connection, min(_OPEN, len(codes)), now)
        await _write_letters(connection, settings.parent / "surat", now)
        await _make_users(connection, codes, now)
    routes = await _routes(settings, database)
    await history.insert_all(database, run, _runs(routes, size.runs, now))
    await history.insert_all(database, day, _days(codes, now, 365 if size.incidents > 10_000 else 4))
    async with database.write() as connection:
        await connection.execute(text("ANALYZE"))


async def _write_documents(database: Database, settings: Path, now: datetime) -> Sequence[str]:
    documents = Documents(database)
    options = []
    for file in sorted((settings.parent / "agencies").iterdir()):
        written = file.read_text()
        options.append(WrittenDocument(agency=file.stem.upper(), name=file.name, text=written))
    await documents.write({}, options, [], edit_source=EditSource.FILES, by="bench", now=now - 365 * _DAY)
    codes = [each.agency for each in options]
    async with database.write() as connection:
        rows = [dict(each) for each in (await connection.execute(select(document))).mappings()]
        before = []
        for row in rows:
            versions = _EDITED if row["agency"] == codes[1] else _WRITTEN
            for number in range(1, versions):
                at = now - (versions - number) * _DAY
                old = {"number": number, "text": f"{row['text']}# {number}\n", "written_at": at, "replaced_at": at}
                before.append(row | old)
            last = (document.c.agency == row["agency"]) & document.c.replaced_at.is_(None)
            await connection.execute(update(document).where(last).values(number=versions))
        await connection.execute(insert(document), before)
    return codes


async def _distribute_incidents(connection: AsyncConnection, codes: Sequence[str], incidents: int) -> None:
    """Distribute the copied incidents among the agencies."""
    snapshot = (await connection.execute(select(incident.c.policy).limit(1))).scalar_one()
    change = text(
        "UPDATE incident SET number = :number, agency = :code, dedup_key = :code, policy = :policy WHERE id = :id"
    )
    await connection.execute(text("UPDATE incident SET number = 'x' || id"))
    rows = []
    for n in range(incidents):
        code = codes[n % len(codes)]
        number = f"{code}-{n // len(codes) + 1:02}"
        rows.append({"id": n + 1, "code": code, "number": number, "policy": snapshot.replace('"JCM"', f'"{code}"')})
    for first in range(0, incidents, 10_000):
        await connection.execute(change, rows[first : first + 10_000])
    counted = [{"name": code, "next": incidents // len(codes) + 2} for code in codes]
    await connection.execute(insert(counter), counted)


async def _make_open(connection: AsyncConnection, number: int, now: datetime) -> None:
    """Make some incidents open, some notifications letters in a tray, and some of unknown state."""
    opened = {
        "state": "triggered",
        "at_rest": False,
        **dict.fromkeys(("resolved_at", "ended_at", "acknowledged_at", "acknowledged_by", "last_response_at")),
    }
    opened |= {"opened_at": now - timedelta(hours=2), "began_at": now - timedelta(hours=2), "since": now}
    newest = select(incident.c.id).order_by(incident.c.id.desc()).limit(number).scalar_subquery()
    await connection.execute(update(incident).where(incident.c.id.in_(newest)).values(**opened))
    query = select(delivery.c.id, delivery.c.notification_id).order_by(delivery.c.id.desc()).limit(_LETTERS)
    letters = (await connection.execute(query)).all()
    await connection.execute(
        update(notification)
        .where(notification.c.id.in_([each.notification_id for each in letters]))
        .values(addressee=ADDRESSEE.dump_json(MINISTRY.addressee).decode())
    )
    of_letters = delivery.c.id.in_([each.id for each in letters])
    await connection.execute(
        update(delivery).where(of_letters).values(channel="letter", number="kementerian", extension="")
    )
    queued = {"gateway": "dulang-surat", "state": AttemptState.ACCEPTED, "rank": RANK[AttemptState.ACCEPTED]}
    queued |= {"started_at": now - 2 * _DAY, "ended_at": None}
    # The reference of a copy cannot be part of a file name.
    queued |= {"reference": "d" + cast(attempt.c.delivery_id, String) + "-1"}
    mine = attempt.c.delivery_id.in_([each.id for each in letters])
    await connection.execute(update(attempt).where(mine).values(**queued))
    some = (
        select(notification.c.id).order_by(notification.c.id.desc()).offset(_LETTERS).limit(_UNKNOWN).scalar_subquery()
    )
    await connection.execute(
        update(notification).where(notification.c.id.in_(some)).values(state=NotificationState.UNKNOWN)
    )


async def _write_letters(connection: AsyncConnection, tray: Path, now: datetime) -> None:
    """Write the letters that are in the tray according to the store, all with the same content."""
    pdf = letter(FACTS, MINISTRY.addressee, load_wording()).pdf
    query = select(attempt.c.reference, delivery.c.notification_id).join(
        delivery, delivery.c.id == attempt.c.delivery_id
    )
    queued = (await connection.execute(query.where(attempt.c.gateway == "dulang-surat"))).all()
    digest_detail = {"sha256": sha256(pdf).hexdigest()}
    sent_entries = [
        AuditEntry(
            at=now,
            actor="dulang-surat",
            event="send: accepted",
            notification_id=n,
            detail={"reference": at} | digest_detail,
        )
        for at, n in queued
    ]
    await audit.append(connection, sent_entries)
    for reference, _ in queued:
        (tray / f"{now:%Y-%m-%d}_{reference}_gangguan.pdf").write_bytes(pdf)


async def _make_users(connection: AsyncConnection, codes: Sequence[str], now: datetime) -> None:
    """Create an officer and a duty officer for each agency, the measured users, and tokens."""
    names = [(f"{role}.{code.lower()}", f"{role}:{code}") for code in codes for role in ("officer", "duty")]
    names += [(f"melihat.{who}", role.format(code=codes[1])) for who, roles in _VIEWERS.items() for role in roles]
    made = {"failures": 0, "made_by": "bench", "made_at": now, "password": "!"}
    users = [
        {"id": n, "name": name, "full_name": f"Pegawai Contoh {n}", **made} for n, (name, _) in enumerate(names, 1)
    ]
    await connection.execute(insert(portal_user), users)
    given = [(n, parse_assignment(role)) for n, (_, role) in enumerate(names, 1)]
    roles = [{"user_id": n, "role": str(each.role), "agency": each.agency} for n, each in given]
    await connection.execute(insert(role_assignment), roles)
    tokens = [
        {
            "name": f"program-{n}",
            "digest": sha256(b"%d" % n).hexdigest(),
            "made_by": "bench",
            "made_at": now - 90 * _DAY,
            "ends_at": now + 90 * _DAY,
        }
        for n in range(500)
    ]
    await connection.execute(insert(api_token), tokens)


async def _routes(settings: Path, database: Database) -> Sequence[tuple[str, str]]:
    """Return the names of the routes with their agencies."""
    latest = (await Documents(database).latest()).values()
    sources = [stored_source(each.document) for each in latest if each.document is not None]
    loaded = await asyncio.to_thread(lambda: load(settings, ENVIRON, documents=sources).require_configuration())
    return [(each.name, each.agency) for each in loaded.registry.routes]


def _runs(routes: Sequence[tuple[str, str]], number: int, now: datetime) -> Iterator[Mapping[str, Any]]:
    rounds = max(1, number // len(routes))
    for back in range(rounds, 0, -1):
        at = now - back * (29 * _DAY / rounds)
        values = run_values(delivered("x"), "x")
        for place, (route, agency) in enumerate(routes):
            sent_entries = {"agency": agency, "route": route, "token_id": f"{back:08x}{place:08x}", "started_at": at}
            yield values | sent_entries


def _days(codes: Sequence[str], now: datetime, number: int) -> Iterator[Mapping[str, Any]]:
    for code in codes:
        for back in range(number):
            yield {"agency": code, "date": day_of(now - back * _DAY), "minutes": "-60w1200d60b30w90"}


# -- asking ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class RequestCost:
    """Cost of requests of a route: milliseconds, and octets."""

    status: int = 0
    took: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    #: Longest CPU time of the loop's thread without a switch, and longest delay of the loop.
    blocked: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    octets: int = 0
    plain: int = 0
    statements: int = 0
    etag: str = ""

    @property
    def p95(self) -> float:
        return quantiles(self.took, n=20, method="inclusive")[-1] if len(self.took) > 1 else self.took[0]

    @property
    def is_refused(self) -> bool:
        """Whether the user may not request it."""
        return self.status in {303, 401, 403}

    @property
    def exceeds_limit(self) -> bool:
        return not self.is_refused and (self.p95 > _MAX_MS or max(self.blocked) > _MAX_BLOCKED_MS)


@dataclass(slots=True)
class Statements:
    """Statements sent to the store, each with its last parameters."""

    sent: dict[str, Any] = field(default_factory=dict)
    count: int = 0

    def note(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        self.count += 1
        self.sent[statement] = parameters


class PortalClient:
    """Client of the running service in a process of its own."""

    def __init__(self, viewer: asyncio.subprocess.Process, statements: Statements) -> None:
        self._viewer = viewer
        self._statements = statements

    async def request(
        self, path: str, cookie: str, found: RequestCost, *, method: str = "GET", match: str = "", body: str = ""
    ) -> None:
        """Send a request, and add its cost to *found*."""
        assert self._viewer.stdin is not None
        assert self._viewer.stdout is not None
        before = self._statements.count
        with measure_loop_delay() as delays, history.measure_blocking() as blocked:
            began = time.process_time()
            self._viewer.stdin.write(f"{method}\t{path}\t{cookie}\t{match}\t{body}\n".encode())
            await self._viewer.stdin.drain()
            line = (await asyncio.wait_for(self._viewer.stdout.readline(), 120)).decode().split()
            found.cpu.append(1000 * (time.process_time() - began))
        found.status, found.etag = int(line[0]), line[4]
        found.took.append(float(line[1]))
        found.octets, found.plain = int(line[2]), int(line[3])
        found.blocked.append(1000 * blocked[0])
        found.delays.append(1000 * max(delays))
        found.statements = self._statements.count - before


async def start_sessions(database: Database, now: datetime) -> Mapping[str, str]:
    """Return a session cookie for each user."""
    users, keys = Users(database), {}
    for who in _VIEWERS:
        kept = await users.find(f"melihat.{who}")
        assert kept is not None
        key = SessionKey.new()
        session = WebSession(
            digest=key.digest,
            user=kept.user,
            started_at=now,
            seen_at=now,
            ends_at=now + MAX_SESSION_TIME,
            address="127.0.0.1",
        )
        await users.start_session(session, AuditEntry(at=now, actor="bench", event="signed in"))
        keys[who] = key.text
    return keys


@asynccontextmanager
async def run_service(settings: Path) -> AsyncIterator[tuple[App, int]]:
    """Run the service; yield it and its port."""
    app, ports = App(settings, ENVIRON), list[int]()

    def watch_log(_logger: object, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if entry.get("event") == "started":
            ports.append(int(entry["portal"].rpartition(":")[2].strip("/")))
        if method in {"error", "critical", "exception"}:
            _print(f"  {entry}")
        raise structlog.DropEvent

    structlog.configure(processors=[watch_log], wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    running = asyncio.create_task(app.run())
    try:
        while not ports:
            await asyncio.sleep(0.05)
            if running.done():
                running.result()
        yield app, ports[0]
    finally:
        app.stop()
        await running


async def measure_all(settings: Path, directory: Path, times: int, only: str, where: PostgresServer | None) -> int:
    """Start the service, request every route and print the costs; return how many exceed a limit."""
    now = datetime.now(UTC)
    async with Database.open(directory / "state", where) as database:
        keys = await start_sessions(database, now)
        names = await _names(database)
    began = time.process_time()
    async with run_service(settings) as (app, port):
        _print(f"  started with {time.process_time() - began:.1f} s of CPU")
        statements = Statements()
        event.listen(app._database._engine.sync_engine, "before_cursor_execute", statements.note)
        quiet = asyncio.subprocess.PIPE
        viewer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _VIEWER, str(port), stdin=quiet, stdout=quiet
        )
        client = PortalClient(viewer, statements)
        try:
            # The start of the service's loops is not measured.
            await asyncio.sleep(10)
            _print(_HEAD)
            if not only:
                _print(_row("nobody", "(idle for a minute)", await _measure_idle()))
            found = await _measure_routes(client, keys, names, times, only)
            if not only or only in "PUT":
                saved = await _measure_saving(client, keys["admin"], names, directory)
                found["admin", "PUT"] = saved
                _print(_row("admin", "PUT /api/v1/agencies/{code}/document", saved))
        finally:
            viewer.kill()
            await viewer.wait()
    if where is None:
        async with Database.open(directory / "state") as database:
            _print(*await _scans(database, statements))
    return sum(each.exceeds_limit for each in found.values())


async def _names(database: Database) -> Mapping[str, str]:
    """Return values of the path parameters that exist in the store."""
    async with database.read() as connection:
        code = select(role_assignment.c.agency).join(portal_user, portal_user.c.id == role_assignment.c.user_id)
        mine = code.where(portal_user.c.name == "melihat.officer").scalar_subquery()
        query = select(incident).where(incident.c.agency == mine).order_by(incident.c.id.desc()).limit(1)
        row = (await connection.execute(query)).one()
        sent_entries = select(func.max(notification_incident.c.notification_id)).where(
            notification_incident.c.incident_id == row.id
        )
        notification_id = (await connection.execute(sent_entries)).scalar_one()
        return {
            **PATH_VALUES,
            "code": row.agency,
            "number": row.number,
            "notification_id": str(notification_id),
            "name": "melihat.officer",
        }


async def _measure_routes(
    client: PortalClient, keys: Mapping[str, str], names: Mapping[str, str], times: int, only: str
) -> dict[tuple[str, str], RequestCost]:
    table = [each.removeprefix("GET ") for each in TABLE if each.startswith("GET ")]
    found: dict[tuple[str, str], RequestCost] = {}
    # The first response also imports and connects.
    await client.request("/-/healthy", keys["admin"], RequestCost())
    for path in (*table, *_ADDITIONAL):
        if only not in path:
            continue
        path_with_values = re.sub(r"\{(\w+)\}", lambda found: names[found[1]], path)
        for who, key in keys.items():
            cost = RequestCost()
            for _ in range(times):
                await client.request(path_with_values, key, cost)
                if cost.is_refused or cost.status == 404:
                    break
                # Some pages are cached for two seconds.
                await asyncio.sleep(0.25)
            found[who, path] = cost
            if not cost.is_refused:
                _print(_row(who, path, cost))
    return found


async def _measure_idle() -> RequestCost:
    """Return the cost of the service's own loops."""
    with measure_loop_delay() as delays, history.measure_blocking() as blocked:
        began = time.process_time()
        await asyncio.sleep(61)
        spent = time.process_time() - began
    return RequestCost(took=[61_000.0], cpu=[1000 * spent], blocked=[1000 * blocked[0]], delays=[1000 * max(delays)])


async def _measure_saving(client: PortalClient, key: str, names: Mapping[str, str], directory: Path) -> RequestCost:
    """Save different versions of a document."""
    path, saved, read = f"/api/v1/agencies/{names['code']}/document", RequestCost(), RequestCost()
    written = (directory / "agencies" / f"{names['code'].lower()}.yaml").read_text()
    body = directory / "document.yaml"
    await client.request(path, key, read)
    for n in range(5):
        body.write_text(f"{written}# {os.getpid()} {n}\n")
        await client.request(path, key, saved, method="PUT", match=read.etag if n == 0 else saved.etag, body=str(body))
    return saved


async def _scans(database: Database, statements: Statements) -> Iterator[str]:
    """Return the statements that scan a long table."""
    found, long = list[str](), set[str]()
    async with database.read() as connection:
        for name in (
            "incident",
            "notification",
            "notification_incident",
            "delivery",
            "attempt",
            "audit_log",
            "run",
            "day",
            "document",
        ):
            rows = (await connection.execute(text(f"SELECT count(*) FROM {name}"))).scalar_one()
            long |= {name} if rows > _LONG_TABLE else set()
        for statement, parameters in statements.sent.items():
            if not statement.startswith(("SELECT", "WITH")):
                continue
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            for step in plan.scalars(3):
                scanned = re.match(r"SCAN (\w+)", step)
                if scanned and scanned[1] in long:
                    found.append(f"  {step}: {' '.join(statement.split()).partition(' FROM ')[2][:300]}")
    return iter([f"statements: {len(statements.sent)}; that read a long table from end to end: {len(found)}", *found])


_HEAD: Final = (
    f"{'':66}{'':4}{'ms':>8}{'p95':>8}{'CPU ms':>8}{'block':>7}{'delay':>7}{'octets':>10}{'plain':>11}{'sql':>5}"
)


def _row(who: str, path: str, each: RequestCost) -> str:
    return (
        f"{path[:56]:56} {who:8} {each.status:4}{median(each.took):>8,.1f}{each.p95:>8,.1f}{median(each.cpu):>8,.1f}"
        f"{max(each.blocked):>7,.1f}{median(each.delays):>7,.1f}{each.octets:>10,}{each.plain:>11,}{each.statements:>5}"
        f"{' MISSED' if each.exceeds_limit else ''}"
    )


# -- all of it -------------------------------------------------------------------------------------------------------


@contextmanager
def _directory(at: Path | None) -> Iterator[Path]:
    if at is not None:
        at.mkdir(parents=True, exist_ok=True)
        yield at
        return
    with tempfile.TemporaryDirectory(prefix="pantau-bench-") as directory:
        yield Path(directory)


def main() -> int:
    """Create the store, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.portal", description=__doc__)
    parser.add_argument("--agencies", type=int, default=2_000)
    parser.add_argument("--incidents", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--only", default="", help="ask for the routes only that have this in them")
    parser.add_argument("--at", type=Path, help="where the store is made and kept, or is already")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    size = history.Size(runs=options.runs, incidents=options.incidents, entries=options.entries)
    with _directory(options.at) as directory:
        if options.store == "postgresql":
            with Postgres() as server:
                return _measure(directory, size, options, server.store())
        return _measure(directory, size, options, None)


def _measure(directory: Path, size: history.Size, options: argparse.Namespace, where: PostgresServer | None) -> int:
    settings = directory / "pantau.yaml"
    if where is not None or not (directory / "made").exists():
        settings = write_files(directory, options.agencies, "" if where is None else _store_setting(where))
        began = time.perf_counter()
        asyncio.run(_fill(settings, directory, size, where))
        _print(f"  made in {time.perf_counter() - began:.0f} s")
        (directory / "made").touch()
    load_before = os.getloadavg()[0]
    missed = asyncio.run(measure_all(settings, directory, options.times, options.only, where))
    _print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load_before:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after, {options.store}; over {_MAX_MS:g} ms or {_MAX_BLOCKED_MS:g} ms of the loop: {missed}"
    )
    return 1 if missed else 0


async def _fill(settings: Path, directory: Path, size: history.Size, where: PostgresServer | None) -> None:
    async with Database.open(directory / "state", where) as database:
        await make(database, settings, size, datetime.now(UTC))


def _store_setting(where: PostgresServer) -> str:
    return f"store: {{url: postgresql://{where.user}@{where.host}:{where.port}/{where.database}}}\n"


def _print(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
