"""Two real services share agencies on one PostgreSQL, and one after the other is killed: how long until the other probes in its place.

`python -m tests.bench.takeover` kills twenty times, at a random moment of a round, starts again what it has killed, and prints a
line for each, then what all of them come to. The interval is ten seconds, as long as a take-over may last: where it is longer,
no more rounds are lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from pantau_lab.world import AGENCIES
from tests.real.postgres import Postgres
from tests.stories.company import Company, company
from tests.stories.theatre import BRISK, Theatre

_INTERVAL = timedelta(seconds=10)
#: Three that are the one's while both live, and three that are the other's.
_AGENCIES = (
    *AGENCIES,
    *(
        replace(each, code=f"B{each.code}", name=f"{each.name} Baharu", domain=f"baharu-{each.domain}")
        for each in AGENCIES
    ),
)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
#: Rounds begin some time early or late, which is no round lost.
_SLACK = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """What came of one kill, in seconds since it."""

    #: Until the other one says that all are its own.
    owned: float
    #: Until each agency, and each route, was run by the other one.
    agencies: float
    routes: float
    #: The longest that a route went without a run, beyond the interval; and how many of its rounds were lost by that.
    late: float
    lost: int


async def owned(service: Theatre) -> int:
    """Return how many agencies a service says are its own."""
    async with service.web() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return next(int(float(line.split()[-1])) for line in lines if line.startswith("pantau_agencies_owned "))


async def killed(both: Company, purge_set: str) -> Takeover:
    """Kill a service, follow the other one until it has run everything, and start the first again."""
    dead, left = both.services[purge_set], both.other_than(purge_set)
    await dead.kill()
    at = datetime.now(UTC)
    before = {route: times[-1] for route, times in both.runs(_EPOCH, at).items()}

    async def has_all() -> bool:
        return await owned(left) == len(_AGENCIES)

    await left.until(has_all, "the other one has taken over")
    taken = datetime.now(UTC)

    async def all_are_run() -> bool:
        return both.runs(at, datetime.now(UTC)).keys() >= before.keys()

    await left.until(all_are_run, "every route is run again")
    # Nobody else lives: what has begun since is the other one's.
    first = {route: times[0] for route, times in both.runs(at, datetime.now(UTC)).items()}
    late = max((first[route] - before[route] - _INTERVAL).total_seconds() for route in before)
    await dead.start()

    async def both_have_some() -> bool:
        return await owned(dead) + await owned(left) == len(_AGENCIES) and await owned(dead) > 0

    await left.until(both_have_some, "they share again")
    return Takeover(
        owned=(taken - at).total_seconds(),
        agencies=max(_since(at, first).values()),
        routes=max((when - at).total_seconds() for when in first.values()),
        late=late,
        lost=max(0, math.ceil(late / _INTERVAL.total_seconds() - _SLACK)),
    )


def _since(at: datetime, first: Mapping[str, datetime]) -> Mapping[str, float]:
    """Return how long after *at* each agency was run first, on any of its routes."""
    found: dict[str, float] = {}
    for route, when in first.items():
        agency = route.partition("/")[0]
        found[agency] = min(found.get(agency, math.inf), (when - at).total_seconds())
    return found


async def take_over(directory: Path, kills: int) -> None:
    """Kill so many times, by turns, and print what came of it."""
    found: list[Takeover] = []
    every = f"{_INTERVAL.total_seconds():.0f}s"
    timing = replace(BRISK, interval=every, deferral_timeout=every)
    with Postgres() as postgres:
        async with company(directory, postgres, timing, _AGENCIES) as both:
            for service in both.services.values():
                await service.everybody_is_up()
            # Mail is proven before each route has been run.
            await asyncio.sleep(_INTERVAL.total_seconds())
            for number in range(kills):
                await asyncio.sleep(random.uniform(0, _INTERVAL.total_seconds()))
                found.append(await killed(both, ("utama", "selatan")[number % 2]))
                _say({"kill": number + 1} | asdict(found[-1]))
            incidents = [each["agency"] for each in await both.services["utama"].get("/incidents?limit=1000")]
    _say(_summary(found, incidents))


def _summary(found: Sequence[Takeover], incidents: Sequence[str]) -> Mapping[str, object]:
    codes = {agency.code for agency in _AGENCIES}
    return {
        "kills": len(found),
        "agencies run by the other one, s": _spread([each.agencies for each in found]),
        "routes run by the other one, s": _spread([each.routes for each in found]),
        "routes without a run beyond the interval, s": _spread([each.late for each in found]),
        "rounds lost a route, at most": max(each.lost for each in found),
        "false incidents": sum(agency in codes for agency in incidents),
        "incidents of ours": sum(agency not in codes for agency in incidents),
        "load of the machine": os.getloadavg(),
    }


def _spread(seconds: Sequence[float]) -> Mapping[str, float]:
    return {"median": round(median(seconds), 2), "worst": round(max(seconds), 2)}


def _say(what: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure."""
    asked = argparse.ArgumentParser(prog="python -m tests.bench.takeover", description=__doc__)
    asked.add_argument("--kills", type=int, default=20)
    wanted = asked.parse_args()
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(take_over(Path(place), wanted.kills))


if __name__ == "__main__":
    main()
