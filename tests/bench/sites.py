"""Time to notifications when sites report outages to a real hub, and the effect of a disconnected site.

`python -m tests.bench.sites` starts the hub's service, which does not probe the agencies itself, and three simulated
sites that write runs, statuses and heartbeats with `History` and `SiteStatuses`. PostgreSQL replicates them.

- `notice`: each agency is down once at two of three sites: time from the second commit to the SMS at the gateway.
- `cut`: one site is disconnected for a minute (`--cut SECONDS`) while statuses change at all sites: counts false and
  missing incidents.
- `load`: three sites write as many runs as a full process each, heartbeats, and some changes of status: CPU of the
  hub's service and PostgreSQL.

It must be started by root.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from statistics import median, quantiles
from typing import Any, Self

import yaml

from alerts.model.notification import IncidentType
from monitor.evaluation.joint.freshness import STALE_AFTER, SiteHeartbeat
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.service.sites.site_runs import SiteRunReporter
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.probing.history import History
from monitor.store.probing.site_runs import SiteRunWriter
from monitor.store.probing.statuses import SiteStatuses
from monitor.store.sites.joining import add
from monitor.store.sites.link import SiteConnection
from probes.model.result import Outcome, ProbeResult
from tests.bench.mail_stub import MailStub, run_mail_stub
from tests.bench.trip import cpu_of
from tests.real.sitecluster import PASSWORD, SiteWorld, site_world
from tests.stories.running_service import JCM, RunningService, running_service

_SITES = ("johor", "kuching", "melaka")
_DISCONNECTED = "johor"
_HUB = "pusat"
_SECOND = timedelta(seconds=1)
_DIRECTIONS = (Direction.OUTBOUND, Direction.INBOUND)
#: PostgreSQL's default, which tests shorten.
_RETRY_INTERVAL = "5s"
_TIMEOUT = 120.0
#: Interval in seconds in which a site publishes runs.
_PUBLISH_INTERVAL = 5.0


def _down_status() -> SiteStatus:
    trouble = ActiveProblem(type=IncidentType.BOTH, since=datetime.now(UTC) - 3 * _SECOND)
    return SiteStatus(trouble=trouble, directions=dict.fromkeys(_DIRECTIONS, Health.DOWN))


def _up_status() -> SiteStatus:
    return SiteStatus(up_since=datetime.now(UTC), directions=dict.fromkeys(_DIRECTIONS, Health.UP))


@dataclass(slots=True, kw_only=True)
class SimulatedSite:
    """A site that only writes to its store."""

    history: History
    statuses_store: SiteStatuses
    run_reporter: SiteRunReporter

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path, store: PostgresServer, name: str) -> AsyncIterator[Self]:
        """Write a heartbeat each second for the duration of the block."""
        async with Database.open(directory, store, name=name) as database:
            statuses_store = SiteStatuses(database, name)
            run_reporter = SiteRunReporter(SiteRunWriter(database, name), database.clock)
            site = cls(
                history=History(database, statuses_store), statuses_store=statuses_store, run_reporter=run_reporter
            )
            beating = asyncio.create_task(site.keep_writing_heartbeats(token_hex(8)))
            try:
                yield site
            finally:
                beating.cancel()
                with suppress(asyncio.CancelledError):
                    await beating

    async def keep_writing_heartbeats(self, incarnation: str) -> None:
        """Write heartbeats like a service."""
        while True:
            monotonic = timedelta(seconds=time.monotonic())
            await self.statuses_store.write_heartbeat(
                SiteHeartbeat(at=datetime.now(UTC), monotonic=monotonic, incarnation=incarnation)
            )
            await asyncio.sleep(1)

    async def set_statuses(self, statuses: Mapping[str, SiteStatus]) -> datetime:
        """Record a run that changes statuses of agencies; return the time of its commit."""
        agency = next(iter(statuses))
        await self._record(agency, Outcome.LOST if statuses[agency].trouble else Outcome.DELIVERED, statuses)
        return datetime.now(UTC)

    async def keep_publishing(self) -> None:
        """Publish failed runs and hourly sums like a service."""
        while True:
            await self.run_reporter.publish()
            await asyncio.sleep(_PUBLISH_INTERVAL)

    async def run(self, agency: str, outcome: Outcome = Outcome.DELIVERED) -> None:
        """Record a run that changes no status."""
        now = datetime.now(UTC)
        await self.history.record_sent_token(token_hex(8), f"{agency}/internal", now, now + _SECOND)
        await self._record(agency, outcome, {})

    async def _record(self, agency: str, outcome: Outcome, statuses: Mapping[str, SiteStatus]) -> None:
        result = ProbeResult(
            route=f"{agency}/internal",
            token_id=token_hex(8),
            started_at=datetime.now(UTC) - _SECOND,
            duration=_SECOND,
            outcome=outcome,
        )
        await self.history.record_run(result, agency, {}, statuses=statuses)


@dataclass(slots=True, kw_only=True)
class ListeningHub:
    """Running hub, its sites, and agencies with a telephone each."""

    world: SiteWorld
    hub_service: RunningService
    sites: dict[str, SimulatedSite]
    phones: dict[str, str]
    #: Numbers of incidents before the measurement.
    old_incidents: set[str] = field(default_factory=set)

    async def query(self, statement: str) -> list[Any]:
        """Query the hub's store."""
        return await asyncio.to_thread(self.world.hub.order, statement)

    async def freshness(self) -> Mapping[str, bool]:
        """Return whether each site is fresh, as the hub shows it."""
        async with self.hub_service.web() as client:
            shown = (await client.get("/metrics", timeout=_TIMEOUT)).text
        return {name: value == "1.0" for name, value in re.findall(r'pantau_site_fresh\{site="(\w+)"\} (\S+)', shown)}

    async def reset(self) -> None:
        """Report all agencies as up at all sites, and wait until all incidents are resolved."""
        for site in self.sites.values():
            await site.set_statuses({code: _up_status() for code in self.phones})
        await _until(self._all_resolved)
        self.old_incidents = {row[0] for row in await self.query("SELECT number FROM incident")}

    async def _all_resolved(self) -> bool:
        if await self.query("SELECT number FROM incident WHERE resolved_at IS NULL") != []:
            return False
        return all((await self.freshness()).values())

    async def incidents(self) -> Sequence[tuple[str, bool]]:
        """Return the agency of each new incident ("" for monitoring faults), and whether it is resolved."""
        rows = await self.query("SELECT number, agency, resolved_at IS NOT NULL FROM incident")
        return [
            (agency if agency in self.phones else "", over)
            for number, agency, over in rows
            if number not in self.old_incidents
        ]


async def _until(true: Any) -> float:
    began = time.perf_counter()
    async with asyncio.timeout(_TIMEOUT):
        while not await true():  # noqa: ASYNC110 - other processes can only be polled
            await asyncio.sleep(0.1)
    return time.perf_counter() - began


@asynccontextmanager
async def open_hub(directory: Path, agencies: int) -> AsyncIterator[ListeningHub]:
    """Start a hub with three sites."""
    # Letters only: digits would look like a telephone number in an SMS.
    codes = ["".join(chr(ord("A") + number // 26**place % 26) for place in (2, 1, 0)) for number in range(agencies)]
    phones = {code: f"+6010{number:07}" for number, code in enumerate(codes, 50_000)}
    async with AsyncExitStack() as stack:
        world = stack.enter_context(site_world(*_SITES, in_memory=False))
        server = stack.enter_context(run_mail_stub())
        world.hub.order(
            f"ALTER SYSTEM SET wal_retrieve_retry_interval = '{_RETRY_INTERVAL}'", "SELECT pg_reload_conf()"
        )
        secret = directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o600)
        servers = {name: _join(world, name) for name in _SITES}

        def prepare(file: Path) -> None:
            settings = yaml.safe_load(file.read_text())
            there = {name: _settings_of(server, secret) for name, server in servers.items()}
            # The hub's own probes are half a day away.
            probing_hours = {"active_hours": [{"cron": f"0 {(datetime.now(UTC).hour + 12) % 24} * * *", "for": "30m"}]}
            store = {"url": f"postgresql://{world.store.user}@:{world.store.port}/pantau?host={world.store.host}"}
            settings |= {"site": _HUB, "store": store | {"tls": False}, "hub": {"quorum": 2, "sites": there}}
            settings["probing"] |= probing_hours
            file.write_text(yaml.safe_dump(settings))
            _write_agencies(file.parent / "agencies", phones, server)

        for name in (_HUB, *_SITES):
            (directory / name).mkdir()
        hub_service = await stack.enter_async_context(running_service(directory / _HUB, prepare=prepare))
        for number in phones.values():
            hub_service.world.carrier.phone(number)
        sites = {
            name: await stack.enter_async_context(SimulatedSite.open(directory / name, world.stores[name], name))
            for name in _SITES
        }
        yield ListeningHub(world=world, hub_service=hub_service, sites=sites, phones=phones)


def _join(world: SiteWorld, name: str) -> PostgresServer:
    server = world.sites[name].reached()
    add(SiteConnection(site=name, server=server, hub=_HUB, store=world.store))
    return server


def _settings_of(server: PostgresServer, secret: Path) -> Mapping[str, str]:
    return {
        "url": f"postgresql://{server.user}@{server.host}:{server.port}/{server.database}",
        "password_file": str(secret),
        "cert_file": str(server.cert_file),
        "key_file": str(server.key_file),
        "ca_file": str(server.ca_file),
    }


def _write_agencies(directory: Path, phones: Mapping[str, str], server: MailStub) -> None:
    """Replace the agency by one for each telephone, with mailboxes at *server*."""
    server.write_files(directory.parent)
    pattern = directory / f"{JCM.code.lower()}.yaml"
    written = pattern.read_text()
    pattern.unlink()
    for code, number in phones.items():
        agency = yaml.safe_load(written.replace(JCM.domain, f"agensi-{code.lower()}.gov.my"))
        duty = {"name": f"Pegawai {code}", "language": "ms-MY", "sms": number}
        steps = [{"after": "0s", "contacts": ["pegawai"], "channels": ["sms"]}]
        agency |= {"agency": code, "name": f"Agensi Contoh {code}", "contacts": {"pegawai": duty}}
        agency |= {"escalation": {"steps": steps}}
        agency["mailboxes"] = {"utama": server.configured(f"pantau@agensi-{code.lower()}.gov.my")}
        del agency["announcement"]
        (directory / f"{code.lower()}.yaml").write_text(yaml.safe_dump(agency, allow_unicode=True))


# -- notification ----------------------------------------------------------------------------------------------------


async def measure_notification(hub: ListeningHub) -> Mapping[str, object]:
    """Report each agency as down at two sites, one after the other."""
    committed: dict[str, datetime] = {}

    async def fail(code: str, at: float) -> None:
        first, second = random.sample(_SITES, 2)
        await asyncio.sleep(at)
        await hub.sites[first].set_statuses({code: _down_status()})
        await asyncio.sleep(random.uniform(0, 3))
        committed[code] = await hub.sites[second].set_statuses({code: _down_status()})

    async def all_are_notified() -> bool:
        return all(hub.hub_service.world.carrier.phones[number].inbox for number in hub.phones.values())

    codes = random.sample(sorted(hub.phones), len(hub.phones))
    await asyncio.gather(*(fail(code, number + random.random()) for number, code in enumerate(codes)))
    await _until(all_are_notified)
    took = [
        (hub.hub_service.world.carrier.phones[number].inbox[0].created_at - committed[code]).total_seconds()
        for code, number in hub.phones.items()
    ]
    cuts = quantiles(took, n=100, method="inclusive")
    return {
        "agencies": len(took),
        "second site's commit to the SMS at the gateway, s": {
            "least": round(min(took), 3),
            "median": round(median(took), 3),
            "p99": round(cuts[98], 3),
            "worst": round(max(took), 3),
        },
        "incidents": len(await hub.incidents()),
    }


# -- disconnection ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _StatusChange:
    """Status of an agency at a site, in seconds after the disconnection (negative: before it)."""

    at: float
    site: str
    code: str
    is_down: bool


def _script(codes: Sequence[str], seconds: float) -> tuple[list[_StatusChange], Mapping[str, str]]:
    """Return the changes, and the expected end of each agency: nothing, an open or an ended incident."""
    changes_of_status: list[_StatusChange] = []
    expected_end: dict[str, str] = {}
    other, third = (name for name in _SITES if name != _DISCONNECTED)
    # Until then the hub uses the last status of the site (`stale_after`).
    stale = STALE_AFTER.total_seconds() + 5
    for number, code in enumerate(codes):
        early, late = sorted(random.uniform(stale, seconds - 2) for _ in range(2))
        soon = random.uniform(0, stale)
        kinds: tuple[tuple[str, tuple[tuple[float, str, bool], ...]], ...] = (
            # Only the disconnected site reports it, all the time or for a while.
            ("nothing", ((soon, _DISCONNECTED, True),)),
            ("nothing", ((soon, _DISCONNECTED, True), (early, _DISCONNECTED, False))),
            # Two sites report it, never at the same time.
            (
                "nothing",
                ((-5, _DISCONNECTED, True), (soon, _DISCONNECTED, False), (early, other, True), (late, other, False)),
            ),
            ("nothing", ((soon, other, True), (early, other, False), (late, third, True))),
            # Two sites report it, one of them after it is stale, or both are connected.
            ("open", ((soon, _DISCONNECTED, True), (early, other, True))),
            ("open", ((early, third, True), (late, other, True))),
            # The incident was open and ends at one connected and one disconnected site, or starts and ends meanwhile.
            (
                "ended",
                ((-5, _DISCONNECTED, True), (-5, other, True), (soon, _DISCONNECTED, False), (early, other, False)),
            ),
            ("ended", ((0, other, True), (1, third, True), (early, other, False), (late, third, False))),
        )
        expected_end[code], states = kinds[number % len(kinds)]
        changes_of_status += [
            _StatusChange(at=at, site=site, code=code, is_down=is_down) for at, site, is_down in states
        ]
    return sorted(changes_of_status, key=lambda change: change.at), expected_end


async def measure_disconnection(hub: ListeningHub, seconds: float) -> Mapping[str, object]:
    """Disconnect a site while statuses change."""
    changes_of_status, expected_end = _script(sorted(hub.phones), seconds)
    before = [change for change in changes_of_status if change.at < 0]
    for change in before:
        await hub.sites[change.site].set_statuses({change.code: _down_status()})
    await asyncio.sleep(5)
    hub.world.sites[_DISCONNECTED].disconnect()
    began = time.perf_counter()
    for change in changes_of_status[len(before) :]:
        await asyncio.sleep(began + change.at - time.perf_counter())
        await hub.sites[change.site].set_statuses({change.code: _down_status() if change.is_down else _up_status()})
    await asyncio.sleep(began + seconds - time.perf_counter())
    was_fresh = (await hub.freshness())[_DISCONNECTED]
    hub.world.sites[_DISCONNECTED].reconnect()
    reconnected_at = time.perf_counter()

    async def is_fresh() -> bool:
        return (await hub.freshness())[_DISCONNECTED]

    caught_up = await _until(is_fresh)
    opened = _agencies_with(expected_end, {"open", "ended"})

    async def all_are_open() -> bool:
        return opened <= {agency for agency, _ in await hub.incidents()}

    # Lost incidents never open.
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            await _until(all_are_open)
    opened_after = time.perf_counter() - reconnected_at
    await asyncio.sleep(10)
    found = await hub.incidents()
    counted = Counter(agency for agency, _ in found if agency)
    ended = {agency for agency, over in found if over}
    false = counted - Counter(opened)
    lost = (
        (opened - counted.keys())
        | (_agencies_with(expected_end, {"ended"}) - ended)
        | (_agencies_with(expected_end, {"open"}) & ended)
    )
    return {
        "cut, s": seconds,
        "agencies": len(expected_end),
        "verdicts": len(changes_of_status),
        "the site had a vote at its end": was_fresh,
        "reconnection to a vote again, s": round(caught_up, 2),
        "reconnection to all incidents open, s": round(opened_after, 2),
        "false incidents": sum(false.values()),
        "verdicts lost": len(lost),
        "of these": {code: _changes_of(code, changes_of_status) for code in sorted(lost | false.keys())},
        "incidents of ours": sum(not agency for agency, _ in found),
    }


def _changes_of(code: str, changes_of_status: Sequence[_StatusChange]) -> Sequence[str]:
    return [
        f"{change.at:.1f} {change.site} {'down' if change.is_down else 'well'}"
        for change in changes_of_status
        if change.code == code
    ]


def _agencies_with(expected_end: Mapping[str, str], ends: Collection[str]) -> set[str]:
    return {code for code, end in expected_end.items() if end in ends}


# -- load ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLoad:
    """Writes of each site in a minute."""

    runs: float
    #: Agencies whose status changes at this site only, so that no incident opens.
    changes: float
    #: Failed runs, which are replicated one by one.
    failures: float
    #: Processes that write heartbeats.
    processes: int


async def measure_load(hub: ListeningHub, each: SiteLoad, seconds: float) -> Mapping[str, object]:
    """Let all sites write for a while, and measure the hub."""
    service = hub.hub_service.service
    assert service is not None
    written: Counter[str] = Counter()
    async with asyncio.TaskGroup() as tasks:
        writing = [tasks.create_task(_write(site, sorted(hub.phones), each, written)) for site in hub.sites.values()]
        lives = [token_hex(8) for _ in range(each.processes - 1)]
        writing += [tasks.create_task(site.keep_publishing()) for site in hub.sites.values()]
        writing += [
            tasks.create_task(site.keep_writing_heartbeats(incarnation))
            for site in hub.sites.values()
            for incarnation in lives
        ]
        await asyncio.sleep(15)
        written.clear()
        machines = {"the hub's PostgreSQL": hub.world.hub, **hub.world.sites}
        used = {name: cluster.cpu_seconds() for name, cluster in machines.items()}
        began, spent, own = time.monotonic(), cpu_of(service.pid), time.process_time()
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        cores = {name: (cluster.cpu_seconds() - used[name]) / took for name, cluster in machines.items()}
        cores["the hub's service"] = (cpu_of(service.pid) - spent) / took
        cores["who plays the sites"] = (time.process_time() - own) / took
        for task in writing:
            task.cancel()
    return {
        "agencies": len(hub.phones),
        "sites": len(hub.sites),
        "beats a second and site": each.processes,
        "runs a minute": round(60 * written["runs"] / took),
        "statuses changed a minute": round(60 * written["changes"] / took, 1),
        "failed runs a minute": round(60 * written["failures"] / took, 1),
        "rows of standing at the hub": (await hub.query("SELECT count(*) FROM site_status"))[0][0],
        "cores": {name: round(cores[name], 4) for name in sorted(cores)},
        "sites with a vote": sum((await hub.freshness()).values()),
        "incidents": len(await hub.incidents()),
    }


async def _write(site: SimulatedSite, codes: Sequence[str], each: SiteLoad, written: Counter[str]) -> None:
    """Record runs at random times, some of which change a status."""
    down: set[str] = set()
    due = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        while True:
            due += random.expovariate(each.runs / 60)
            await asyncio.sleep(due - time.monotonic())
            written["runs"] += 1
            code = random.choice(codes)
            if random.random() < each.changes / each.runs:
                written["changes"] += 1
                # Few agencies are down, each for some minutes.
                level = _up_status() if code in down else _down_status()
                down ^= {code}
                tasks.create_task(site.set_statuses({code: level}))
            else:
                has_failed = random.random() < each.failures / each.runs
                written["failures"] += has_failed
                tasks.create_task(site.run(code, Outcome.LOST if has_failed else Outcome.DELIVERED))


async def measure(directory: Path, options: argparse.Namespace) -> None:
    """Start the hub and measure the selected parts."""
    parts = options.parts or ("notice", "cut")
    async with open_hub(directory, options.agencies) as hub:
        await hub.reset()
        if "notice" in parts:
            _print(await measure_notification(hub))
            await hub.reset()
        if "cut" in parts:
            _print(await measure_disconnection(hub, options.cut))
        if "load" in parts:
            each = SiteLoad(
                runs=options.runs, changes=options.changes, failures=options.failures, processes=options.processes
            )
            _print(await measure_load(hub, each, options.seconds))
    _print({"load of the machine": os.getloadavg()})


def _print(what: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(what, indent=2) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sites", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help="notice, cut, load; default: the first two")
    parser.add_argument("--agencies", type=int, default=80)
    parser.add_argument("--cut", type=float, default=60, metavar="SECONDS", help="of a cut; at least 45")
    parser.add_argument("--seconds", type=float, default=60, help="load: for so long")
    parser.add_argument("--runs", type=float, default=10_000, help="load: a minute, of each site")
    parser.add_argument(
        "--changes", type=float, default=10, help="load: agencies that stand otherwise a minute, of each site"
    )
    parser.add_argument("--failures", type=float, default=50, help="load: runs that fail a minute, of each site")
    parser.add_argument("--processes", type=int, default=1, help="load: that beat at each site")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(measure(Path(place), options))


if __name__ == "__main__":
    main()
