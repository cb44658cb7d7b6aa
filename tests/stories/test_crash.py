"""Kill and restart at any time: nothing is lost, and no fax or letter is sent twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from pantau_lab.carrier.phone import PATIENCE, Call, Sms
from pantau_lab.faxservice.service import Fax
from pantau_lab.mail import Fault
from tests.stories.running_service import (
    FAST_TIMING,
    JCM,
    POLL_INTERVAL,
    RunningService,
    notification_state,
    running_service,
    settled,
)

pytestmark = pytest.mark.crash

#: Notifications owed to everybody, by channel: at least one, and on paper not more.
MAX_SMS_AND_CALLS = 2


async def outage_to_its_end(env: RunningService) -> None:
    """Wait until all notifications of the outage are final, and check how often each person got each."""
    await env.until(lambda: settled(env), "everybody was told, or a person looks")
    outage = [sms for sms in env.duty.inbox if "gagal" in sms.text]
    assert 1 <= len(outage) <= MAX_SMS_AND_CALLS
    # On a slow machine the kill may interrupt the fax too: then a person decides, and it is not resent.
    assert len(env.faxes()) <= 1
    assert len(env.faxes()) == 1 or await notification_state(env, "fax") == "unknown"
    assert len(env.letters()) == 1, "one letter"
    assert [i["number"] for i in await env.get("/incidents")] == ["JCM-01"]


@pytest.mark.parametrize("moment", [Sms, Call, Fax])
async def test_kill_during_escalation_loses_nothing_and_duplicates_no_paper(
    tmp_path: Path, moment: type[Sms | Call | Fax]
) -> None:
    async with running_service(tmp_path, replace(FAST_TIMING, release_after="3s")) as env:
        await env.wait_until_up()
        env.duty.keys = ["1"] * 9
        killed = asyncio.Event()

        def kill(taken: Sms | Call | Fax) -> None:
            """Kill the service when the provider has accepted the request and not answered yet."""
            if not killed.is_set() and type(taken) is moment:
                assert env.service is not None
                env.service.kill()
                killed.set()

        env.world.carrier.on_taken = kill
        env.world.fax_service.on_taken = kill
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await asyncio.wait_for(killed.wait(), PATIENCE)
        assert env.service is not None
        await env.service.wait()

        await env.start()
        await outage_to_its_end(env)
        if moment is Fax:
            assert await notification_state(env, "fax") == "delivered", "the provider says that it has it"
        faxes = len(env.faxes())

        await env.world.network.systems[JCM.code].repair()
        await env.duty.expect_sms("PULIH")
        await env.until_notification("fax", "recovery", "delivered")
        assert len(env.faxes()) == faxes + 1, "the outage and the recovery, once each"


async def test_kill_with_letter_in_tray_does_not_queue_it_again(tmp_path: Path) -> None:
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        env.duty.keys = ["1"] * 9
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await env.until(lambda: _is_in_tray(env), "a letter lies in the tray", slow_interval=POLL_INTERVAL)
        await env.kill()

        await env.start()

        await outage_to_its_end(env)


async def _is_in_tray(env: RunningService) -> bool:
    return bool(env.letters())


async def test_kill_before_first_notification_only_delays_it(tmp_path: Path) -> None:
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await env.until(lambda: _opened(env), "an incident is open", slow_interval=POLL_INTERVAL)
        await env.kill()

        await env.start()

        sms = await env.duty.expect_sms("AMARAN", "gagal")
        assert "JCM-01" in sms.text


async def _opened(env: RunningService) -> bool:
    return 'event="incident opened"' in env.log()


async def test_restart_keeps_health_and_does_not_notify_known_outage_again(tmp_path: Path) -> None:
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        env.duty.keys = ["1"] * 9
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await env.duty.expect_sms("gagal")
        await env.duty.expect_call("gagal")
        await env.until_notification("fax", "outage", "delivered")
        # On a slow machine one route may be down before the next: then two notifications are correct.
        told = env.world.carrier.unexpected()

        await env.stop()
        await env.start()
        await env.until(lambda: _is_down(env), "the outage is known at once")
        await env.until_notification("letter", "outage", "sent")

        assert len(await env.get("/incidents")) == 1
        assert env.world.carrier.unexpected() == told
        assert len(env.faxes()) == 1


async def _is_down(env: RunningService) -> bool:
    return "down" in (await env.health()).values()
