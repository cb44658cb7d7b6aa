"""Two services on one PostgreSQL: one dies in the middle of its work, and the other ends it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from pantau_lab.carrier.phone import PATIENCE, Sms
from pantau_lab.faxservice.service import Fax
from pantau_lab.mail import Fault
from tests.real.postgres import Postgres
from tests.stories.company import company
from tests.stories.theatre import BRISK, JCM, Theatre

pytestmark = pytest.mark.real


@pytest.mark.crash
@pytest.mark.parametrize("moment", [Sms, Fax])
async def test_when_one_is_killed_while_it_calls_the_other_takes_over_and_doubles_no_paper(
    tmp_path: Path, postgres: Postgres, moment: type[Sms | Fax]
) -> None:
    async with company(tmp_path, postgres, replace(BRISK, release_after="3s")) as both:
        first = both.services["utama"]
        for service in both.services.values():
            await service.everybody_is_up()
        first.duty.keys = ["1"] * 9
        killed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def kill(taken: object) -> None:
            """Kill whoever made the call, when the provider has taken the order and has not answered yet."""
            if type(taken) is moment and not killed.done():
                name = both.who_is_at_it()
                process = both.services[name].service
                assert process is not None
                process.kill()
                killed.set_result(name)

        first.world.carrier.on_taken = kill
        first.world.fax_service.on_taken = kill
        await first.world.network.systems[JCM.code].break_(Fault.REFUSE)
        dead = await asyncio.wait_for(killed, PATIENCE)
        left = both.other_than(dead)
        await outage_to_its_end(left, first.directory.parent)

        await first.world.network.systems[JCM.code].repair()
        await first.duty.expect_sms("PULIH")


async def outage_to_its_end(left: Theatre, directory: Path) -> None:
    """Wait until all notices of the outage have come to an end, and check how often each person got each."""

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
