"""Monitor-only mode of the service: shown everywhere, and notified after the mode change."""

from __future__ import annotations

import asyncio
from pathlib import Path

from monitor.cli.service import request
from monitor.runtime.control_socket import CONTROL_SOCKET
from pantau_lab.mail import Fault
from tests.stories.running_service import CALLED_ONCE, JCM, RunningService, running_service

BANNER = "tiada sesiapa akan dimaklumkan"


def monitor_only(settings: Path) -> None:
    settings.write_text("mode: monitor_only\n" + settings.read_text())


def notify_mode(settings: Path) -> None:
    settings.write_text(settings.read_text().replace("mode: monitor_only\n", ""))


def sent_count(env: RunningService) -> int:
    """Return the number of submissions: what providers accepted reaches people a little later."""
    carrier, faxes = env.world.carrier, env.world.fax_service.faxes
    return len(carrier.messages) + len(carrier.calls) + len(faxes) + len(env.letters())


async def text_at(env: RunningService, path: str) -> str:
    async with env.web() as client:
        return (await client.get(path)).text


async def notices_of(env: RunningService) -> list[tuple[object, ...]]:
    return [(each["id"], each["state"], each["attempts"]) for each in await env.get("/notifications")]


async def has_opened(env: RunningService) -> None:
    async def opened() -> bool:
        return any(each["state"] != "resolved" for each in await env.get("/incidents"))

    await env.until(opened, "the incident is stored and shown")


async def test_monitor_only_notifies_nobody_until_reload_to_notify(tmp_path: Path) -> None:
    async with running_service(tmp_path, prepare=monitor_only) as env:
        await env.wait_until_up()
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await has_opened(env)
        before = await env.failures()

        async def failed_on() -> bool:
            return await env.failures() >= before + 6

        await env.until(failed_on, "it has failed several times more")
        assert sent_count(env) == 0
        assert await env.get("/notifications") == []
        # On each surface.
        [incident] = await env.get("/incidents")
        assert incident["not_notified"] is True
        assert BANNER in await text_at(env, "/")
        assert "pantau_monitor_only 1.0" in await text_at(env, "/metrics")
        assert "NOBODY IS NOTIFIED" in env.log()
        answer = await asyncio.to_thread(request, tmp_path / "state" / CONTROL_SOCKET, "GET", "/incidents")
        assert answer.headers["Pantau-Mode"] == "monitor_only"
        refused = await env.control("/incidents/JCM-01/release", by="Siti Contoh")
        assert (refused.status_code, "mode: monitor_only" in refused.text) == (409, True)
        assert (await env.control("/drills", contact="all", by="Siti Contoh")).status_code == 409

        notify_mode(env.world.settings)
        assert (await env.control("/reload")).json()["taken"] is True
        await env.duty.expect_sms("RM0 JCM ICT: AMARAN", "Ruj JCM-01")
        [incident] = await env.get("/incidents")
        assert incident["not_notified"] is False

        async def banner_is_gone() -> bool:
            return BANNER not in await text_at(env, "/")

        await env.until(banner_is_gone, "the page, which is drawn every few seconds, shows no banner any more")
        assert "pantau_monitor_only 0.0" in await text_at(env, "/metrics")


async def test_notify_mode_ends_by_restart_only_and_lists_open_incidents(
    tmp_path: Path,
) -> None:
    async with running_service(tmp_path, CALLED_ONCE) as env:
        await env.wait_until_up()
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await env.duty.expect_sms("RM0 JCM ICT: AMARAN", "Ruj JCM-01")

        monitor_only(env.world.settings)
        answer = (await env.control("/reload")).json()
        assert (answer["taken"], "people are notified as before" in str(answer["problems"])) == (False, True)
        await env.duty.expect_call()

        await env.stop()
        await env.start()
        heard, notices = sent_count(env), await notices_of(env)
        assert "no more notifications of these incidents: mode is monitor_only" in env.log()
        await env.world.network.systems[JCM.code].repair()

        async def over() -> bool:
            return [each["state"] for each in await env.get("/incidents")] == ["resolved"]

        await env.until(over, "the incident is over")
        assert (sent_count(env), await notices_of(env)) == (heard, notices), "nobody hears of it"

        await env.stop()
        notify_mode(env.world.settings)
        await env.start()
        await env.duty.expect_sms("JCM-01", "PULIH")
