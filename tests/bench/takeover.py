"""Time until a service takes over the agencies of another that was killed, on one PostgreSQL.

`python -m tests.bench.takeover` kills twenty times at random moments of a round, restarts the killed service, and
prints a line for each kill and a summary. The interval is ten seconds, like the longest take-over; with a longer
interval no more rounds are lost.
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
from tests.stories.running_service import FAST_TIMING, RunningService
from tests.stories.two_services import TwoServices, two_services

_INTERVAL = timedelta(seconds=10)
#: Three agencies for each service while both run.
_AGENCIES = (
    *AGENCIES,
    *(
        replace(each, code=f"B{each.code}", name=f"{each.name} Baharu", domain=f"baharu-{each.domain}")
        for each in AGENCIES
    ),
)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
#: Tolerance of a round's start, as a share of the interval.
_SLACK = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """Times in seconds since a kill."""

    #: Until the other service owns all agencies.
    owned: float
    #: Until each agency, and each route, was run by the other service.
    agencies: float
    routes: float
    #: Longest time without a run of a route beyond the interval, and rounds lost by that.
    late: float
    lost: int


async def owned(service: RunningService) -> int:
    """Return how many agencies a service owns."""
    async with service.web() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return next(int(float(line.split()[-1])) for line in lines if line.startswith("pantau_agencies_owned "))


async def kill_and_restart(both: TwoServices, victim: str) -> Takeover:
    """Kill a service, wait until the other has run everything, and restart the first."""
    stopped, survivor = both.services[victim], both.other_service(victim)
    await stopped.kill()
    at = datetime.now(UTC)
    before = {route: times[-1] for route, times in both.runs(_EPOCH, at).items()}

    async def has_all() -> bool:
        return await owned(survivor) == len(_AGENCIES)

    await survivor.until(has_all, "the other service has taken over")
    taken = datetime.now(UTC)

    async def all_are_run() -> bool:
        return both.runs(at, datetime.now(UTC)).keys() >= before.keys()

    await survivor.until(all_are_run, "every route is run again")
    # Only the other service runs, so that all later runs are its own.
    first = {route: times[0] for route, times in both.runs(at, datetime.now(UTC)).items()}
    late = max((first[route] - before[route] - _INTERVAL).total_seconds() for route in before)
    await stopped.start()

    async def both_have_some() -> bool:
        return await owned(stopped) + await owned(survivor) == len(_AGENCIES) and await owned(stopped) > 0

    await survivor.until(both_have_some, "both share again")
    return Takeover(
        owned=(taken - at).total_seconds(),
        agencies=max(_since(at, first).values()),
        routes=max((when - at).total_seconds() for when in first.values()),
        late=late,
        lost=max(0, math.ceil(late / _INTERVAL.total_seconds() - _SLACK)),
    )


def _since(at: datetime, first: Mapping[str, datetime]) -> Mapping[str, float]:
    """Return the seconds from *at* to the first run of each agency."""
    found: dict[str, float] = {}
    for route, when in first.items():
        agency = route.partition("/")[0]
        found[agency] = min(found.get(agency, math.inf), (when - at).total_seconds())
    return found


async def take_over(directory: Path, kills: int) -> None:
    """Kill the services in turn, and print the results."""
    found: list[Takeover] = []
    every = f"{_INTERVAL.total_seconds():.0f}s"
    timing = replace(FAST_TIMING, interval=every, deferral_timeout=every)
    with Postgres() as postgres:
        async with two_services(directory, postgres, timing, _AGENCIES) as both:
            for service in both.services.values():
                await service.wait_until_up()
            # Not every route has run when the service is up.
            await asyncio.sleep(_INTERVAL.total_seconds())
            for number in range(kills):
                await asyncio.sleep(random.uniform(0, _INTERVAL.total_seconds()))
                found.append(await kill_and_restart(both, ("utama", "selatan")[number % 2]))
                _print({"kill": number + 1} | asdict(found[-1]))
            incidents = [each["agency"] for each in await both.services["utama"].get("/incidents?limit=1000")]
    _print(_summary(found, incidents))


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


def _print(what: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.takeover", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(take_over(Path(place), options.kills))


if __name__ == "__main__":
    main()
