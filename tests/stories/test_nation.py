"""What sites say together is told, once, and nothing else: whatever becomes of a process, a wire, a clock or the hub."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pantau_lab.world import AGENCIES
from tests.real.otherclock import OtherClock
from tests.stories.nation import nation

pytestmark = [pytest.mark.real, pytest.mark.site]

JCM, MDC, UCM = AGENCIES
#: Each way: what is asked across the wire is answered 200 ms later. And every twentieth packet is lost, each way.
DELAY, LOSS = 0.1, 0.05
THREE_MINUTES = timedelta(minutes=3)


@pytest.fixture(autouse=True)
def root() -> None:
    if os.geteuid():
        pytest.fail("needs root: a site is cut off in a network namespace of its own")


@pytest.fixture
def clock() -> Iterator[OtherClock]:
    with OtherClock() as clock:
        yield clock


@pytest.mark.crash
async def test_three_sites_of_three_processes_lose_one_of_them_a_wire_and_the_hub_and_tell_each_outage_once(
    tmp_path: Path,
) -> None:
    """The hub is one of the three. Both wires to it are slow and lose packets."""
    async with nation(tmp_path, ("johor", "kuching"), AGENCIES, processes=3) as here:
        hub, johor, kuching = here.hub, here.places["johor"], here.places["kuching"]
        jcm, mdc, ucm = (hub.world.carrier.phones[agency.duty.number] for agency in AGENCIES)
        for site in ("johor", "kuching"):
            here.cluster(site).wire.worsen(delay=DELAY, loss=LOSS, seed=15)
        for place in here.places.values():
            await asyncio.gather(*(each.everybody_is_up() for each in place.alive))
        await here.until_fresh(johor=True, kuching=True)
        assert await here.replication() == {"johor": "works", "kuching": "works"}

        # A process dies at one site, and others there see in its place what it would have seen. Another site is cut off, and
        # sees something else. Either is alone with it.
        async with here.staying_fresh("kuching"):
            await kuching.services[kuching.probes(JCM)].kill()
            await kuching.break_(JCM)
            here.cluster("johor").cut()
            await johor.break_(MDC)
            await kuching.sees(JCM, is_down=True)
            await johor.sees(MDC, is_down=True)
            await here.until_fresh(johor=False, kuching=True)
            await here.until_told_of_site("johor", is_over=False)
            assert here.incidents() == {}

            # A second one sees it.
            await hub.break_(JCM)
            await jcm.expect_sms("AMARAN", "Ruj JCM-01")

            # What failed there is evidence here, and what was delivered there stays there.
            await here.until_evidence("JCM-01", "pusat", "kuching")
            assert here.clusters.hub.order("SELECT count(*) FROM site_run WHERE outcome = 'delivered'") == [(0,)]

        # The hub dies. That outage ends meanwhile, another begins, and the wire is mended.
        await hub.kill()
        for place in (hub, kuching):
            await place.repair(JCM)
            await place.break_(UCM)
        await kuching.sees(JCM, is_down=False)
        await kuching.sees(UCM, is_down=True)
        here.cluster("johor").mend()
        await hub.start()
        await here.until_fresh(johor=True, kuching=True)
        await jcm.expect_sms("PULIH", "JCM-01")
        await ucm.expect_sms("AMARAN", "Ruj UCM-01")
        # What the one that was cut off sees is known by now, and that it is alone with it.
        await here.until_says(MDC, johor="wrong", kuching="up", pusat="up")
        assert here.incidents() == {"JCM-01": "resolved", "UCM-01": "triggered"}
        await here.until_told_of_site("johor", is_over=True)
        assert mdc.inbox == []
        assert here.unexpected() == []


@pytest.mark.crash
async def test_a_site_whose_clock_is_three_minutes_off_and_is_set_has_its_vote_and_what_it_says_its_right_time(
    tmp_path: Path, clock: OtherClock
) -> None:
    """Its services' clock, and its PostgreSQL's: ahead first, and behind later. Then all else befalls it."""
    clock.set(THREE_MINUTES)
    async with nation(tmp_path, ("johor",), (JCM, MDC), processes=1, environment={"johor": clock.environment}) as here:
        hub, johor = here.hub, here.places["johor"]
        jcm, mdc = (hub.world.carrier.phones[agency.duty.number] for agency in (JCM, MDC))
        for place in here.places.values():
            await place.any.everybody_is_up()
        await here.until_fresh(johor=True)

        async with here.staying_fresh("johor"):
            await here.until_offset("johor", -THREE_MINUTES)
            for place in (johor, hub):
                await place.break_(JCM)
            await jcm.expect_sms("AMARAN", "Ruj JCM-01")

            clock.set(-THREE_MINUTES)
            await here.until_offset("johor", THREE_MINUTES)
            for place in (johor, hub):
                await place.repair(JCM)
            await jcm.expect_sms("PULIH", "JCM-01")
            asked = "SELECT opened_at - began_at < '1 min', began_at <= opened_at, began_at < ended_at FROM incident"
            assert here.clusters.hub.order(f"{asked} WHERE dedup_key = 'JCM'") == [(True, True, True)]

        # It goes right again: the certificates are so new that three minutes ago they were not valid yet.
        clock.set(timedelta(0))
        await here.until_offset("johor", timedelta(0))

        # Its database is started anew, the wire is cut, and again while it catches up; then the hub is killed while it does.
        cluster = here.cluster("johor")
        await asyncio.to_thread(cluster.stop)
        await asyncio.to_thread(cluster.start)
        await here.until_fresh(johor=True)
        cluster.cut()
        await johor.break_(MDC)
        await johor.sees(MDC, is_down=True)
        await here.until_fresh(johor=False)
        # No wire is left. What the hub sees is all that is seen, and one is not enough.
        await hub.break_(MDC)
        await hub.sees(MDC, is_down=True)
        assert here.incidents() == {"JCM-01": "resolved"}
        cluster.mend()
        await asyncio.sleep(0.5)
        cluster.cut()
        await asyncio.sleep(0.5)
        cluster.mend()
        await hub.kill()
        await hub.start()
        await here.until_fresh(johor=True)
        await here.until_says(MDC, johor="wrong", pusat="wrong")
        await mdc.expect_sms("AMARAN", "Ruj MDC-01")
        assert here.incidents() == {"JCM-01": "resolved", "MDC-01": "triggered"}
        assert here.unexpected() == []
