"""The configuration is read again while the service runs, and a bad one changes nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

import pytest
import yaml

from pantau_lab.mail import Fault
from pantau_lab.world import AGENCIES
from tests.stories.theatre import JCM, Theatre, theatre

LINE = "pantau_config_last_reload_successful"


async def reload_success(play: Theatre) -> str:
    async with play.web() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return next(line.split()[-1] for line in lines if line.startswith(LINE))


async def test_a_bad_file_keeps_the_old_configuration_and_says_so(tmp_path: Path) -> None:
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        file = tmp_path / "agencies" / "jcm.yaml"
        good = file.read_text()
        file.write_text(good.replace("pantau@jabatan-contoh.gov.my", "pantau@gmail.com"))
        assert play.service is not None

        play.service.send_signal(signal.SIGHUP)
        await play.until(lambda: _is(play, "0.0"), "the refusal is a metric")

        assert "configuration rejected" in play.log()
        assert "private provider (circular, 3f)" in play.log()
        assert set((await play.health()).values()) == {"up"}, "the old one stays in force"

        file.write_text(good)
        async with play.web() as client:
            answer = await client.post("/-/reload")
        assert answer.json()["taken"] is True
        assert await reload_success(play) == "1.0"
        assert set((await play.health()).values()) == {"up"}, "what was proven is known after a reload"


async def test_an_agency_that_leaves_is_forgotten_and_the_others_go_on(tmp_path: Path) -> None:
    async with theatre(tmp_path, agencies=AGENCIES) as play:
        await play.everybody_is_up()
        (tmp_path / "agencies" / "jcm.yaml").unlink()
        settings = yaml.safe_load(play.world.settings.read_text())
        settings["gateways"]["sms"][0]["name"] = "sms-baharu"
        play.world.settings.write_text(yaml.safe_dump(settings))

        assert (await play.control("/reload")).json()["taken"] is True

        assert [a["agency"] for a in await play.get("/agencies")] == ["MDC", "UCM"]
        async with play.web() as client:
            text = (await client.get("/metrics")).text
        assert f'agency="{JCM.code}"' not in text
        assert 'agency="MDC"' in text


@pytest.mark.blind
async def test_an_outage_is_told_of_though_somebody_edits_another_agency_and_reloads_all_the_time(
    tmp_path: Path,
) -> None:
    """Defect: Frequent reloads cancel every run and forget failures, so an agency that lost all mail stays up.

    Pantau: A reload is a difference: what did not change continues.
    """
    async with theatre(tmp_path, agencies=AGENCIES) as play:
        await play.everybody_is_up()

        async def is_told() -> bool:
            return [each["agency"] for each in await play.get("/incidents")] == [JCM.code]

        await play.world.network.systems[JCM.code].break_(Fault.LOSE)
        async with reloading(play, "mdc.yaml"):
            await play.until(is_told, "the incident is open")

        # A message is lost when it has not come for five seconds: no run would have ended.
        assert play.log().count("configuration applied") >= 3
        assert set((await play.health("UCM")).values()) == {"up"}


@asynccontextmanager
async def reloading(play: Theatre, name: str) -> AsyncIterator[None]:
    """Edit an agency's file again and again, and reload each time, for the length of the block."""
    file = play.directory / "agencies" / name
    agency = yaml.safe_load(file.read_text())

    async def keep() -> None:
        for slow_threshold in cycle(("4s", "5s")):
            file.write_text(yaml.safe_dump(agency | {"probing": {"slow_threshold": slow_threshold}}, sort_keys=False))
            assert (await play.control("/reload")).json()["taken"] is True
            await asyncio.sleep(1.5)

    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(keep())
        yield
        keeping.cancel()


async def _is(play: Theatre, value: str) -> bool:
    return await reload_success(play) == value
