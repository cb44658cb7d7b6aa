"""Sites say that mail is down, each into its own PostgreSQL, and a real hub hears it: how long until people are told, and what a cut does.

`python -m tests.bench.sites` starts the hub's service, with agencies that it does not probe itself, and three sites of which only
what they write is there: runs, standings and beats as `History` and `SiteStatuses` write them. PostgreSQL replicates them. `notice`
lets each agency be down once, by two sites of three: from the second one's commit to the SMS at the gateway. `cut` cuts one site
off for a minute (`--cut SECONDS`) while verdicts come and go at all of them, and counts what was told that no two sites said
together, and what was not told that they did. `load` lets three sites write as many runs as a full process of each makes, beat, and
change their minds now and then: what that takes at the hub, of its service and of its PostgreSQL. Must be started by root.
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
from tests.bench.light import Light, light
from tests.bench.trip import cpu_of
from tests.real.sitecluster import PASSWORD, SiteWorld, site_world
from tests.stories.theatre import JCM, Theatre, theatre

_SITES = ("johor", "kuching", "melaka")
_CUT = "johor"
_HUB = "pusat"
_SECOND = timedelta(seconds=1)
_WAYS = (Direction.OUTBOUND, Direction.INBOUND)
#: What PostgreSQL does where nobody has set it; tests do not wait so long.
_TRIES_AGAIN = "5s"
_PATIENCE = 120.0
#: How often a site tells of its runs, in seconds.
_TELLS_EVERY = 5.0


def _down() -> SiteStatus:
    trouble = ActiveProblem(type=IncidentType.BOTH, since=datetime.now(UTC) - 3 * _SECOND)
    return SiteStatus(trouble=trouble, directions=dict.fromkeys(_WAYS, Health.DOWN))


def _well() -> SiteStatus:
    return SiteStatus(up_since=datetime.now(UTC), directions=dict.fromkeys(_WAYS, Health.UP))


@dataclass(slots=True, kw_only=True)
class PlayedSite:
    """A site of which there is only what it writes."""

    history: History
    standings: SiteStatuses
    telling: SiteRunReporter

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path, store: PostgresServer, name: str) -> AsyncIterator[Self]:
        """Beat each second for as long as the block lasts."""
        async with Database.open(directory, store, name=name) as database:
            standings = SiteStatuses(database, name)
            telling = SiteRunReporter(SiteRunWriter(database, name), database.clock)
            site = cls(history=History(database, standings), standings=standings, telling=telling)
            beating = asyncio.create_task(site.keep_beating(token_hex(8)))
            try:
                yield site
            finally:
                beating.cancel()
                with suppress(asyncio.CancelledError):
                    await beating

    async def keep_beating(self, life: str) -> None:
        """Beat as a service does."""
        while True:
            monotonic = timedelta(seconds=time.monotonic())
            await self.standings.write_heartbeat(
                SiteHeartbeat(at=datetime.now(UTC), monotonic=monotonic, incarnation=life)
            )
            await asyncio.sleep(1)

    async def say(self, levels: Mapping[str, SiteStatus]) -> datetime:
        """End a run that changes how agencies stand; return when that was committed."""
        agency = next(iter(levels))
        await self._end(agency, Outcome.LOST if levels[agency].trouble else Outcome.DELIVERED, levels)
        return datetime.now(UTC)

    async def keep_telling(self) -> None:
        """Tell of runs that failed, and of all by the hour, as a service does."""
        while True:
            await self.telling.publish()
            await asyncio.sleep(_TELLS_EVERY)

    async def run(self, agency: str, outcome: Outcome = Outcome.DELIVERED) -> None:
        """Begin a run, and end one that changes nothing."""
        now = datetime.now(UTC)
        await self.history.record_sent_token(token_hex(8), f"{agency}/internal", now, now + _SECOND)
        await self._end(agency, outcome, {})

    async def _end(self, agency: str, outcome: Outcome, levels: Mapping[str, SiteStatus]) -> None:
        result = ProbeResult(
            route=f"{agency}/internal",
            token_id=token_hex(8),
            started_at=datetime.now(UTC) - _SECOND,
            duration=_SECOND,
            outcome=outcome,
        )
        await self.history.record_run(result, agency, {}, statuses=levels)


@dataclass(slots=True, kw_only=True)
class ListeningHub:
    """The hub at work, the sites that it hears, and the agencies with a phone each."""

    world: SiteWorld
    play: Theatre
    sites: dict[str, PlayedSite]
    phones: dict[str, str]
    #: Incidents that were there before what is measured.
    seen: set[str] = field(default_factory=set)

    async def asked(self, statement: str) -> list[Any]:
        """Ask the hub's store."""
        return await asyncio.to_thread(self.world.hub.order, statement)

    async def fresh(self) -> Mapping[str, bool]:
        """Return which sites have a vote, as the hub shows it."""
        async with self.play.web() as client:
            shown = (await client.get("/metrics", timeout=_PATIENCE)).text
        return {name: value == "1.0" for name, value in re.findall(r'pantau_site_fresh\{site="(\w+)"\} (\S+)', shown)}

    async def all_are_well(self) -> None:
        """Let all sites say that all is well, and wait until all is over."""
        for site in self.sites.values():
            await site.say({code: _well() for code in self.phones})
        await _until(self._is_over)
        self.seen = {row[0] for row in await self.asked("SELECT number FROM incident")}

    async def _is_over(self) -> bool:
        if await self.asked("SELECT number FROM incident WHERE resolved_at IS NULL") != []:
            return False
        return all((await self.fresh()).values())

    async def incidents(self) -> Sequence[tuple[str, bool]]:
        """Return of which agency each new incident is, and whether it has ended; "": one of ours."""
        rows = await self.asked("SELECT number, agency, resolved_at IS NOT NULL FROM incident")
        return [
            (agency if agency in self.phones else "", over) for number, agency, over in rows if number not in self.seen
        ]


async def _until(true: Any) -> float:
    began = time.perf_counter()
    async with asyncio.timeout(_PATIENCE):
        while not await true():  # noqa: ASYNC110 - others are other processes: they can only be asked
            await asyncio.sleep(0.1)
    return time.perf_counter() - began


@asynccontextmanager
async def listening(directory: Path, agencies: int) -> AsyncIterator[ListeningHub]:
    """Start a hub that hears three sites."""
    # Letters only: digits would look like a telephone number in an SMS.
    codes = ["".join(chr(ord("A") + number // 26**place % 26) for place in (2, 1, 0)) for number in range(agencies)]
    phones = {code: f"+6010{number:07}" for number, code in enumerate(codes, 50_000)}
    async with AsyncExitStack() as stack:
        world = stack.enter_context(site_world(*_SITES, in_memory=False))
        server = stack.enter_context(light())
        world.hub.order(f"ALTER SYSTEM SET wal_retrieve_retry_interval = '{_TRIES_AGAIN}'", "SELECT pg_reload_conf()")
        secret = directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o600)
        servers = {name: _join(world, name) for name in _SITES}

        def prepare(file: Path) -> None:
            settings = yaml.safe_load(file.read_text())
            there = {name: _settings_of(server, secret) for name, server in servers.items()}
            # What it probes itself is none of this: half a day from now.
            away = {"active_hours": [{"cron": f"0 {(datetime.now(UTC).hour + 12) % 24} * * *", "for": "30m"}]}
            store = {"url": f"postgresql://{world.store.user}@:{world.store.port}/pantau?host={world.store.host}"}
            settings |= {"site": _HUB, "store": store | {"tls": False}, "hub": {"quorum": 2, "sites": there}}
            settings["probing"] |= away
            file.write_text(yaml.safe_dump(settings))
            _write_agencies(file.parent / "agencies", phones, server)

        for name in (_HUB, *_SITES):
            (directory / name).mkdir()
        play = await stack.enter_async_context(theatre(directory / _HUB, prepare=prepare))
        for number in phones.values():
            play.world.carrier.phone(number)
        sites = {
            name: await stack.enter_async_context(PlayedSite.open(directory / name, world.stores[name], name))
            for name in _SITES
        }
        yield ListeningHub(world=world, play=play, sites=sites, phones=phones)


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


def _write_agencies(directory: Path, phones: Mapping[str, str], server: Light) -> None:
    """Write as many agencies as there are phones, in place of the one that is there; their mailboxes are at *server*."""
    server.lay(directory.parent)
    pattern = directory / f"{JCM.code.lower()}.yaml"
    written = pattern.read_text()
    pattern.unlink()
    for code, number in phones.items():
        agency = yaml.safe_load(written.replace(JCM.domain, f"agensi-{code.lower()}.gov.my"))
        duty = {"name": f"Pegawai {code}", "language": "ms-MY", "sms": number}
        steps = [{"after": "0s", "contacts": ["pegawai"], "channels": ["sms"]}]
        agency |= {"agency": code, "name": f"Agensi Contoh {code}", "contacts": {"pegawai": duty}}
        agency |= {"escalation": {"steps": steps}}
        agency["mailboxes"] = {"utama": server.written(f"pantau@agensi-{code.lower()}.gov.my")}
        del agency["announcement"]
        (directory / f"{code.lower()}.yaml").write_text(yaml.safe_dump(agency, allow_unicode=True))


# -- from the verdict to the notice ----------------------------------------------------------------------------------


async def notice(hub: ListeningHub) -> Mapping[str, object]:
    """Let each agency be down once, by two sites, one after the other."""
    committed: dict[str, datetime] = {}

    async def fail(code: str, at: float) -> None:
        first, second = random.sample(_SITES, 2)
        await asyncio.sleep(at)
        await hub.sites[first].say({code: _down()})
        await asyncio.sleep(random.uniform(0, 3))
        committed[code] = await hub.sites[second].say({code: _down()})

    async def all_are_told() -> bool:
        return all(hub.play.world.carrier.phones[number].inbox for number in hub.phones.values())

    codes = random.sample(sorted(hub.phones), len(hub.phones))
    await asyncio.gather(*(fail(code, number + random.random()) for number, code in enumerate(codes)))
    await _until(all_are_told)
    took = [
        (hub.play.world.carrier.phones[number].inbox[0].created_at - committed[code]).total_seconds()
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


# -- a wire that is cut ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """What a site says of an agency, in seconds after the cut; before it where that is negative."""

    at: float
    site: str
    code: str
    is_down: bool


def _script(codes: Sequence[str], seconds: float) -> tuple[list[_Turn], Mapping[str, str]]:
    """Return what is said, and what is to become of each agency: nothing, an incident, or one that has ended."""
    turns: list[_Turn] = []
    becomes: dict[str, str] = {}
    other, third = (name for name in _SITES if name != _CUT)
    # Until then the hub goes by what the site has said last; that is what `stale_after` means.
    stale = STALE_AFTER.total_seconds() + 5
    for number, code in enumerate(codes):
        early, late = sorted(random.uniform(stale, seconds - 2) for _ in range(2))
        soon = random.uniform(0, stale)
        kinds: tuple[tuple[str, tuple[tuple[float, str, bool], ...]], ...] = (
            # The one that is cut off has said it alone, and says it all the time; or it was over meanwhile.
            ("nothing", ((soon, _CUT, True),)),
            ("nothing", ((soon, _CUT, True), (early, _CUT, False))),
            # Two have said it, and never both at once.
            ("nothing", ((-5, _CUT, True), (soon, _CUT, False), (early, other, True), (late, other, False))),
            ("nothing", ((soon, other, True), (early, other, False), (late, third, True))),
            # Two say it, of whom one is not heard yet; or both are heard.
            ("open", ((soon, _CUT, True), (early, other, True))),
            ("open", ((early, third, True), (late, other, True))),
            # It was told, and ends where one of both is not heard; or it comes and goes within the cut.
            ("ended", ((-5, _CUT, True), (-5, other, True), (soon, _CUT, False), (early, other, False))),
            ("ended", ((0, other, True), (1, third, True), (early, other, False), (late, third, False))),
        )
        becomes[code], said = kinds[number % len(kinds)]
        turns += [_Turn(at=at, site=site, code=code, is_down=is_down) for at, site, is_down in said]
    return sorted(turns, key=lambda turn: turn.at), becomes


async def cut(hub: ListeningHub, seconds: float) -> Mapping[str, object]:
    """Cut a site off while verdicts come and go."""
    turns, becomes = _script(sorted(hub.phones), seconds)
    before = [turn for turn in turns if turn.at < 0]
    for turn in before:
        await hub.sites[turn.site].say({turn.code: _down()})
    await asyncio.sleep(5)
    hub.world.sites[_CUT].cut()
    began = time.perf_counter()
    for turn in turns[len(before) :]:
        await asyncio.sleep(began + turn.at - time.perf_counter())
        await hub.sites[turn.site].say({turn.code: _down() if turn.is_down else _well()})
    await asyncio.sleep(began + seconds - time.perf_counter())
    was_fresh = (await hub.fresh())[_CUT]
    hub.world.sites[_CUT].mend()
    mended = time.perf_counter()

    async def has_its_vote() -> bool:
        return (await hub.fresh())[_CUT]

    caught_up = await _until(has_its_vote)
    opened = _wanted(becomes, {"open", "ended"})

    async def all_is_told() -> bool:
        return opened <= {agency for agency, _ in await hub.incidents()}

    # Those that are lost would be waited for in vain.
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            await _until(all_is_told)
    told = time.perf_counter() - mended
    await asyncio.sleep(10)
    found = await hub.incidents()
    counted = Counter(agency for agency, _ in found if agency)
    ended = {agency for agency, over in found if over}
    false = counted - Counter(opened)
    lost = (opened - counted.keys()) | (_wanted(becomes, {"ended"}) - ended) | (_wanted(becomes, {"open"}) & ended)
    return {
        "cut, s": seconds,
        "agencies": len(becomes),
        "verdicts": len(turns),
        "the site had a vote at its end": was_fresh,
        "mended to a vote again, s": round(caught_up, 2),
        "mended to all incidents open, s": round(told, 2),
        "false incidents": sum(false.values()),
        "verdicts lost": len(lost),
        "of these": {code: _told_of(code, turns) for code in sorted(lost | false.keys())},
        "incidents of ours": sum(not agency for agency, _ in found),
    }


def _told_of(code: str, turns: Sequence[_Turn]) -> Sequence[str]:
    return [f"{turn.at:.1f} {turn.site} {'down' if turn.is_down else 'well'}" for turn in turns if turn.code == code]


def _wanted(becomes: Mapping[str, str], token_states: Collection[str]) -> set[str]:
    return {code for code, token_state in becomes.items() if token_state in token_states}


# -- what it takes to hear them --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLoad:
    """What each site writes, a minute."""

    runs: float
    #: Agencies of which it says something else than before; no other site does, so that nothing is told.
    changes: float
    #: Runs that fail, and come to the hub one by one.
    failures: float
    #: How many processes beat each second.
    processes: int


async def load(hub: ListeningHub, each: SiteLoad, seconds: float) -> Mapping[str, object]:
    """Let all sites write as much for so long, and look what the hub takes."""
    service = hub.play.service
    assert service is not None
    written: Counter[str] = Counter()
    async with asyncio.TaskGroup() as tasks:
        writing = [tasks.create_task(_write(site, sorted(hub.phones), each, written)) for site in hub.sites.values()]
        lives = [token_hex(8) for _ in range(each.processes - 1)]
        writing += [tasks.create_task(site.keep_telling()) for site in hub.sites.values()]
        writing += [tasks.create_task(site.keep_beating(life)) for site in hub.sites.values() for life in lives]
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
        "standings changed a minute": round(60 * written["changes"] / took, 1),
        "failed runs a minute": round(60 * written["failures"] / took, 1),
        "rows of standing at the hub": (await hub.asked("SELECT count(*) FROM site_status"))[0][0],
        "cores": {name: round(cores[name], 4) for name in sorted(cores)},
        "sites with a vote": sum((await hub.fresh()).values()),
        "incidents": len(await hub.incidents()),
    }


async def _write(site: PlayedSite, codes: Sequence[str], each: SiteLoad, written: Counter[str]) -> None:
    """End runs at random moments, some of which change how an agency stands."""
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
                # Few are, and each but for some minutes.
                level = _well() if code in down else _down()
                down ^= {code}
                tasks.create_task(site.say({code: level}))
            else:
                has_failed = random.random() < each.failures / each.runs
                written["failures"] += has_failed
                tasks.create_task(site.run(code, Outcome.LOST if has_failed else Outcome.DELIVERED))


async def measure(directory: Path, wanted: argparse.Namespace) -> None:
    """Start it, and measure the parts that are wanted."""
    parts = wanted.parts or ("notice", "cut")
    async with listening(directory, wanted.agencies) as hub:
        await hub.all_are_well()
        if "notice" in parts:
            _say(await notice(hub))
            await hub.all_are_well()
        if "cut" in parts:
            _say(await cut(hub, wanted.cut))
        if "load" in parts:
            each = SiteLoad(
                runs=wanted.runs, changes=wanted.changes, failures=wanted.failures, processes=wanted.processes
            )
            _say(await load(hub, each, wanted.seconds))
    _say({"load of the machine": os.getloadavg()})


def _say(what: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(what, indent=2) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure."""
    asked = argparse.ArgumentParser(prog="python -m tests.bench.sites", description=__doc__)
    asked.add_argument("parts", nargs="*", metavar="part", help="notice, cut, load; default: the first two")
    asked.add_argument("--agencies", type=int, default=80)
    asked.add_argument("--cut", type=float, default=60, metavar="SECONDS", help="of a cut; at least 45")
    asked.add_argument("--seconds", type=float, default=60, help="load: for so long")
    asked.add_argument("--runs", type=float, default=10_000, help="load: a minute, of each site")
    asked.add_argument(
        "--changes", type=float, default=10, help="load: agencies that stand otherwise a minute, of each site"
    )
    asked.add_argument("--failures", type=float, default=50, help="load: runs that fail a minute, of each site")
    asked.add_argument("--processes", type=int, default=1, help="load: that beat at each site")
    wanted = asked.parse_args()
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(measure(Path(place), wanted))


if __name__ == "__main__":
    main()
