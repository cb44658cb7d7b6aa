"""Two services on one PostgreSQL: when one is killed, the other completes its work."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from pantau_lab.carrier.phone import PATIENCE, Sms
from pantau_lab.faxservice.service import Fax
from pantau_lab.mail import Fault
from tests.real.postgres import Postgres
from tests.stories.running_service import FAST_TIMING, JCM, RunningService
from tests.stories.two_services import two_services

pytestmark = pytest.mark.real


@pytest.mark.crash
@pytest.mark.parametrize("moment", [Sms, Fax])
async def test_killed_process_is_taken_over_without_duplicate_paper(
    tmp_path: Path, postgres: Postgres, moment: type[Sms | Fax]
) -> None:
    async with two_services(tmp_path, postgres, replace(FAST_TIMING, release_after="3s")) as both:
        first = both.services["utama"]
        for service in both.services.values():
            await service.wait_until_up()
        first.duty.keys = ["1"] * 9
        killed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def kill(taken: object) -> None:
            """Kill the process that called, when the provider has accepted the request and not answered yet."""
            if type(taken) is moment and not killed.done():
                name = both.incident_owner()
                process = both.services[name].service
                assert process is not None
                process.kill()
                killed.set_result(name)

        first.world.carrier.on_taken = kill
        first.world.fax_service.on_taken = kill
        await first.world.network.systems[JCM.code].break_(Fault.REFUSE)
        dead = await asyncio.wait_for(killed, PATIENCE)
        left = both.other_service(dead)
        await outage_to_its_end(left, first.directory.parent)

        await first.world.network.systems[JCM.code].repair()
        await first.duty.expect_sms("PULIH")


async def outage_to_its_end(left: RunningService, directory: Path) -> None:
    """Wait until all notifications of the outage are final, and check how often each person got each."""

    async def told() -> bool:
        notices = {(n["channel"], n["purpose"], n["state"]) for n in await left.get("/notifications")}
        return {("fax", "outage", "delivered"), ("letter", "outage", "sent")} <= notices

    async def acknowledged() -> bool:
        return [i["state"] for i in await left.get("/incidents")] == ["acknowledged"]

    await left.until(told, "fax and letter are out")
    await left.until(acknowledged, "the call was acknowledged")
    outage = [sms for sms in left.duty.inbox if "gagal" in sms.text]
    assert 1 <= len(outage) <= 2
    assert len(left.faxes()) == 1, "one fax"
    assert len(list((directory / "outbox" / "letter").glob("*.pdf"))) == 1, "one letter"
    assert [i["number"] for i in await left.get("/incidents")] == ["JCM-01"]
