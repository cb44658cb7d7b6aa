"""Mail is only watched: nobody is told, it is said everywhere, and people are told once they may be."""

from __future__ import annotations

import asyncio
from pathlib import Path

from monitor.cli.service import request
from monitor.runtime.place import CONTROL_SOCKET
from pantau_lab.mail import Fault
from tests.stories.theatre import CALLED_ONCE, JCM, Theatre, theatre

BANNER = "tiada sesiapa akan dimaklumkan"


def monitor_only(settings: Path) -> None:
    settings.write_text("mode: monitor_only\n" + settings.read_text())


def tell(settings: Path) -> None:
    settings.write_text(settings.read_text().replace("mode: monitor_only\n", ""))


def told(play: Theatre) -> int:
    """Return how much has been handed over: what the providers have taken reaches people a little later."""
    carrier, faxes = play.world.carrier, play.world.fax_service.faxes
    return len(carrier.messages) + len(carrier.calls) + len(faxes) + len(play.letters())


async def text_at(play: Theatre, path: str) -> str:
    async with play.web() as client:
        return (await client.get(path)).text


async def notices_of(play: Theatre) -> list[tuple[object, ...]]:
    return [(each["id"], each["state"], each["attempts"]) for each in await play.get("/notifications")]


async def has_opened(play: Theatre) -> None:
    async def opened() -> bool:
        return any(each["state"] != "resolved" for each in await play.get("/incidents"))

    await play.until(opened, "the incident is stored and shown")


async def test_nobody_is_told_while_it_only_watches_and_the_officer_is_from_the_reload_on(tmp_path: Path) -> None:
    async with theatre(tmp_path, prepare=monitor_only) as play:
        await play.everybody_is_up()
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await has_opened(play)
        before = await play.failures()

        async def failed_on() -> bool:
            return await play.failures() >= before + 6

        await play.until(failed_on, "it has failed several times more")
        assert told(play) == 0
        assert await play.get("/notifications") == []
        # Wherever somebody looks.
        [incident] = await play.get("/incidents")
        assert incident["not_notified"] is True
        assert BANNER in await text_at(play, "/")
        assert "pantau_monitor_only 1.0" in await text_at(play, "/metrics")
        assert "NOBODY IS NOTIFIED" in play.log()
        answer = await asyncio.to_thread(request, tmp_path / "state" / CONTROL_SOCKET, "GET", "/incidents")
        assert answer.headers["Pantau-Mode"] == "monitor_only"
        refused = await play.control("/incidents/JCM-01/release", by="Siti Contoh")
        assert (refused.status_code, "mode: monitor_only" in refused.text) == (409, True)
        assert (await play.control("/drills", contact="all", by="Siti Contoh")).status_code == 409

        tell(play.world.settings)
        assert (await play.control("/reload")).json()["taken"] is True
        await play.duty.expect_sms("RM0 JCM ICT: AMARAN", "Ruj JCM-01")
        [incident] = await play.get("/incidents")
        assert incident["not_notified"] is False

        async def banner_is_gone() -> bool:
            return BANNER not in await text_at(play, "/")

        await play.until(banner_is_gone, "the page, which is drawn every few seconds, shows no banner any more")
        assert "pantau_monitor_only 0.0" in await text_at(play, "/metrics")


async def test_no_reload_ends_the_telling_and_a_restart_that_does_says_of_what_people_hear_no_more(
    tmp_path: Path,
) -> None:
    async with theatre(tmp_path, CALLED_ONCE) as play:
        await play.everybody_is_up()
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.duty.expect_sms("RM0 JCM ICT: AMARAN", "Ruj JCM-01")

        monitor_only(play.world.settings)
        answer = (await play.control("/reload")).json()
        assert (answer["taken"], "people are told as before" in str(answer["problems"])) == (False, True)
        await play.duty.expect_call()

        await play.stop()
        await play.start()
        heard, notices = told(play), await notices_of(play)
        assert "no more notifications of these incidents: mode is monitor_only" in play.log()
        await play.world.network.systems[JCM.code].repair()

        async def over() -> bool:
            return [each["state"] for each in await play.get("/incidents")] == ["resolved"]

        await play.until(over, "the incident is over")
        assert (told(play), await notices_of(play)) == (heard, notices), "nobody hears of it"

        await play.stop()
        tell(play.world.settings)
        await play.start()
        await play.duty.expect_sms("JCM-01", "PULIH")
