"""Two services on one PostgreSQL share the agencies: one is killed, and the other probes in its place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pantau_lab.mail import Fault
from pantau_lab.world import AGENCIES
from tests.real.postgres import Postgres
from tests.stories.company import company
from tests.stories.theatre import JCM, Theatre

pytestmark = pytest.mark.real

#: `probing.takeover_timeout`, and the interval of `BRISK`.
WITHIN, INTERVAL = timedelta(seconds=10), timedelta(seconds=3)
MDC = AGENCIES[1]


async def owned(service: Theatre) -> int:
    async with service.web() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return next(int(float(line.split()[-1])) for line in lines if line.startswith("pantau_agencies_owned "))


@pytest.mark.crash
async def test_when_one_is_killed_the_other_probes_its_agencies_within_ten_seconds_and_nobody_is_told_anything_wrong(
    tmp_path: Path, postgres: Postgres
) -> None:
    async with company(tmp_path, postgres, agencies=(JCM, MDC)) as both:
        purge_set = both.who_probes(JCM)
        dead, left = both.services[purge_set], both.other_than(purge_set)
        dead.duty.keys = ["1"] * 9
        for service in both.services.values():
            await service.everybody_is_up()

        async def is_shared() -> bool:
            return (await owned(dead), await owned(left)) == (1, 1)

        await left.until(is_shared, "each agency is one's, and both show both")

        await left.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await left.duty.expect_sms("gagal")

        async def is_seen_elsewhere() -> bool:
            return "down" in (await left.health(JCM.code)).values()

        await left.until(is_seen_elsewhere, "who does not probe it shows what the other one found")
        await dead.kill()
        killed = datetime.now(UTC)

        async def has_all() -> bool:
            return await owned(left) == 2

        await left.until(has_all, "the other has taken over")
        taken = datetime.now(UTC) - killed

        async def all_are_run() -> bool:
            return both.runs(killed, datetime.now(UTC)).keys() >= earlier.keys()

        earlier = both.runs(killed - 3 * INTERVAL, killed)
        await left.until(all_are_run, "every route is run again")
        later = both.runs(killed, datetime.now(UTC))
        # A run under way when its process dies has no end that is written: at most that one is lost, and those that were
        # due while nobody knew.
        gaps = {route: later[route][0] - times[-1] for route, times in earlier.items()}
        assert taken < WITHIN
        assert max(gaps.values()) < INTERVAL + WITHIN, gaps

        await left.world.network.systems[JCM.code].repair()
        await left.duty.expect_sms("PULIH")
        incidents = await left.get("/incidents")
        assert [(each["number"], each["agency"]) for each in incidents] == [("JCM-01", JCM.code)], "and no other"
