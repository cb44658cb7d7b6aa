"""Monitoring faults are notified to the NOC and turn no agency red."""

from __future__ import annotations

from pathlib import Path

import pytest

from pantau_lab.mail import Fault
from pantau_lab.world import AGENCIES, REFERENCES
from tests.stories.running_service import JCM, RunningService, running_service

#: The examined agency, and another that could be blamed.
BOTH = AGENCIES[:2]


async def expect_nobody_else_notified(env: RunningService) -> None:
    """Fail if any agency is down or has an incident, or if anybody but the NOC was notified."""
    assert all("down" not in agency["health"].values() for agency in await env.get("/agencies"))
    assert [i["number"] for i in await env.get("/incidents") if i["agency"]] == []
    told = [phone.owner for phone in env.world.carrier.phones.values() if phone.inbox or phone.calls]
    assert told == [env.noc.owner]
    assert env.letters() == []


@pytest.mark.parametrize("fault", [Fault.IMAP, Fault.LOSE, Fault.REFUSE])
async def test_dead_reference_mailbox_notifies_noc_only(tmp_path: Path, fault: Fault) -> None:
    async with running_service(tmp_path, agencies=BOTH) as env:
        await env.wait_until_up()

        await env.world.network.systems[REFERENCES[0].key].break_(fault)
        await env.noc.expect_sms("peti mel", "Ruj NOC-01")
        # Long enough for several failures of each route to the dead reference.
        await _many_more_failures(env)

        await expect_nobody_else_notified(env)

        await env.world.network.systems[REFERENCES[0].key].repair()
        await env.noc.expect_sms("PULIH", "NOC-01")


async def test_dead_own_network_notifies_noc_only(tmp_path: Path) -> None:
    async with running_service(tmp_path, agencies=BOTH) as env:
        await env.wait_until_up()

        # Every server at once means that Pantau's own network fails.
        for system in env.world.network.systems.values():
            await system.break_(Fault.IMAP)
        await env.noc.expect_sms("rangkaian Pantau")
        await _many_more_failures(env)

        await expect_nobody_else_notified(env)


async def test_refused_own_password_notifies_noc_only(tmp_path: Path) -> None:
    async with running_service(tmp_path, agencies=BOTH) as env:
        await env.wait_until_up()

        (tmp_path / "secrets" / JCM.code.lower()).write_text("bukan-kata-laluan\n")
        assert (await env.control("/reload")).json()["taken"] is True
        await env.noc.expect_sms("log masuk akaun ujian")

        await expect_nobody_else_notified(env)


async def _many_more_failures(env: RunningService) -> None:
    """Wait until the routes of all agencies have failed several times more."""
    before = await env.failures()

    async def failed() -> bool:
        return await env.failures() >= before + 8 * len(BOTH)

    await env.until(failed, "every agency's routes have failed several times more")
