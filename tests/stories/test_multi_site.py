"""A hub and sites: one notification for each outage despite loss of a process, wire, clock or hub."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pantau_lab.world import AGENCIES
from tests.real.shifted_clock import ShiftedClock
from tests.stories.multi_site import multi_site

pytestmark = [pytest.mark.real, pytest.mark.site]

JCM, MDC, UCM = AGENCIES
#: Each way: 200 ms delay for a round trip, and every twentieth packet lost.
DELAY, LOSS = 0.1, 0.05
THREE_MINUTES = timedelta(minutes=3)


@pytest.fixture(autouse=True)
def root() -> None:
    if os.geteuid():
        pytest.fail("needs root: a site is cut off in a network namespace of its own")


@pytest.fixture
def clock() -> Iterator[ShiftedClock]:
    with ShiftedClock() as clock:
        yield clock


@pytest.mark.crash
async def test_three_sites_report_each_outage_once_despite_process_wire_and_hub_loss(
    tmp_path: Path,
) -> None:
    """The hub is one of the three. Both wires to it are slow and lose packets."""
    async with multi_site(tmp_path, ("johor", "kuching"), AGENCIES, processes=3) as here:
        hub, johor, kuching = here.hub, here.places["johor"], here.places["kuching"]
        jcm, mdc, ucm = (hub.world.carrier.phones[agency.duty.number] for agency in AGENCIES)
        for site in ("johor", "kuching"):
            here.cluster(site).wire.degrade(delay=DELAY, loss=LOSS, seed=15)
        for place in here.places.values():
            await asyncio.gather(*(each.wait_until_up() for each in place.alive))
        await here.until_fresh(johor=True, kuching=True)
        assert await here.replication() == {"johor": "works", "kuching": "works"}

        # A process dies at one site, and the site's others take over its agencies. Another site is cut off, and sees
        # another outage. Either is alone with its view.
        async with here.staying_fresh("kuching"):
            await kuching.services[kuching.probes(JCM)].kill()
            await kuching.break_(JCM)
            here.cluster("johor").disconnect()
            await johor.break_(MDC)
            await kuching.sees(JCM, is_down=True)
            await johor.sees(MDC, is_down=True)
            await here.until_fresh(johor=False, kuching=True)
            await here.until_told_of_site("johor", is_over=False)
            assert here.incidents() == {}

            # A second site sees it.
            await hub.break_(JCM)
            await jcm.expect_sms("AMARAN", "Ruj JCM-01")

            # The hub has that site's failed runs as evidence, and its delivered runs stay at the site.
            await here.until_evidence("JCM-01", "pusat", "kuching")
            assert here.clusters.hub.order("SELECT count(*) FROM site_run WHERE outcome = 'delivered'") == [(0,)]

        # The hub dies. Meanwhile that outage ends, another begins, and the wire is repaired.
        await hub.kill()
        for place in (hub, kuching):
            await place.repair(JCM)
            await place.break_(UCM)
        await kuching.sees(JCM, is_down=False)
        await kuching.sees(UCM, is_down=True)
        here.cluster("johor").reconnect()
        await hub.start()
        await here.until_fresh(johor=True, kuching=True)
        await jcm.expect_sms("PULIH", "JCM-01")
        await ucm.expect_sms("AMARAN", "Ruj UCM-01")
        # By now the view of the cut-off site is known, and that no other site shares it.
        await here.until_says(MDC, johor="wrong", kuching="up", pusat="up")
        assert here.incidents() == {"JCM-01": "resolved", "UCM-01": "triggered"}
        await here.until_told_of_site("johor", is_over=True)
        assert mdc.inbox == []
        assert here.unexpected() == []


@pytest.mark.crash
async def test_site_with_wrong_clock_keeps_vote_and_reports_correct_times(tmp_path: Path, clock: ShiftedClock) -> None:
    """The clocks of its services and its PostgreSQL: ahead first, and behind later. Then the other faults follow."""
    clock.set(THREE_MINUTES)
    async with multi_site(
        tmp_path, ("johor",), (JCM, MDC), processes=1, environment={"johor": clock.environment}
    ) as here:
        hub, johor = here.hub, here.places["johor"]
        jcm, mdc = (hub.world.carrier.phones[agency.duty.number] for agency in (JCM, MDC))
        for place in here.places.values():
            await place.any.wait_until_up()
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

        # The clock is set right: the certificates are so new that they were not valid three minutes ago.
        clock.set(timedelta(0))
        await here.until_offset("johor", timedelta(0))

        # Its database restarts, the wire is cut twice, the second time during replication; then the hub is killed.
        cluster = here.cluster("johor")
        await asyncio.to_thread(cluster.stop)
        await asyncio.to_thread(cluster.start)
        await here.until_fresh(johor=True)
        cluster.disconnect()
        await johor.break_(MDC)
        await johor.sees(MDC, is_down=True)
        await here.until_fresh(johor=False)
        # No wire is left. Only the hub sees the outage, and one site is no quorum.
        await hub.break_(MDC)
        await hub.sees(MDC, is_down=True)
        assert here.incidents() == {"JCM-01": "resolved"}
        cluster.reconnect()
        await asyncio.sleep(0.5)
        cluster.disconnect()
        await asyncio.sleep(0.5)
        cluster.reconnect()
        await hub.kill()
        await hub.start()
        await here.until_fresh(johor=True)
        await here.until_says(MDC, johor="wrong", pusat="wrong")
        await mdc.expect_sms("AMARAN", "Ruj MDC-01")
        assert here.incidents() == {"JCM-01": "resolved", "MDC-01": "triggered"}
        assert here.unexpected() == []
