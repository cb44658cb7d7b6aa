"""Two services on one PostgreSQL share the agencies: when one is killed, the other probes for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pantau_lab.mail import Fault
from pantau_lab.world import AGENCIES
from tests.real.postgres import Postgres
from tests.stories.running_service import JCM, RunningService
from tests.stories.two_services import two_services

pytestmark = pytest.mark.real

#: `probing.takeover_timeout`, and the interval of `FAST_TIMING`.
WITHIN, INTERVAL = timedelta(seconds=10), timedelta(seconds=3)
MDC = AGENCIES[1]


async def owned(service: RunningService) -> int:
    async with service.web() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return next(int(float(line.split()[-1])) for line in lines if line.startswith("pantau_agencies_owned "))


@pytest.mark.crash
async def test_agencies_of_killed_process_are_probed_within_ten_seconds(tmp_path: Path, postgres: Postgres) -> None:
    async with two_services(tmp_path, postgres, agencies=(JCM, MDC)) as both:
        prober = both.prober_of(JCM)
        dead, left = both.services[prober], both.other_service(prober)
        dead.duty.keys = ["1"] * 9
        for service in both.services.values():
            await service.wait_until_up()

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
        # The result of a run in a killed process is not written: at most that run is lost, and those due before the
        # takeover.
        gaps = {route: later[route][0] - times[-1] for route, times in earlier.items()}
        assert taken < WITHIN
        assert max(gaps.values()) < INTERVAL + WITHIN, gaps

        await left.world.network.systems[JCM.code].repair()
        await left.duty.expect_sms("PULIH")
        incidents = await left.get("/incidents")
        assert [(each["number"], each["agency"]) for each in incidents] == [("JCM-01", JCM.code)], "and no other"
