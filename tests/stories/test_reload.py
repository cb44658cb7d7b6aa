"""Reloads of the configuration: a bad one changes nothing."""

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
from tests.stories.running_service import JCM, RunningService, running_service

LINE = "pantau_config_last_reload_successful"


async def reload_success(env: RunningService) -> str:
    async with env.web() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return next(line.split()[-1] for line in lines if line.startswith(LINE))


async def test_invalid_file_keeps_configuration_and_reports_failure(tmp_path: Path) -> None:
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        file = tmp_path / "agencies" / "jcm.yaml"
        good = file.read_text()
        file.write_text(good.replace("pantau@jabatan-contoh.gov.my", "pantau@gmail.com"))
        assert env.service is not None

        env.service.send_signal(signal.SIGHUP)
        await env.until(lambda: _is(env, "0.0"), "the refusal is a metric")

        assert "configuration rejected" in env.log()
        assert "private provider (circular, 3f)" in env.log()
        assert set((await env.health()).values()) == {"up"}, "the old one stays in force"

        file.write_text(good)
        async with env.web() as client:
            answer = await client.post("/-/reload")
        assert answer.json()["taken"] is True
        assert await reload_success(env) == "1.0"
        assert set((await env.health()).values()) == {"up"}, "what was proven is known after a reload"


async def test_removed_agency_disappears_and_others_continue(tmp_path: Path) -> None:
    async with running_service(tmp_path, agencies=AGENCIES) as env:
        await env.wait_until_up()
        (tmp_path / "agencies" / "jcm.yaml").unlink()
        settings = yaml.safe_load(env.world.settings.read_text())
        settings["gateways"]["sms"][0]["name"] = "sms-baharu"
        env.world.settings.write_text(yaml.safe_dump(settings))

        assert (await env.control("/reload")).json()["taken"] is True

        assert [a["agency"] for a in await env.get("/agencies")] == ["MDC", "UCM"]
        async with env.web() as client:
            text = (await client.get("/metrics")).text
        assert f'agency="{JCM.code}"' not in text
        assert 'agency="MDC"' in text


@pytest.mark.blind
async def test_outage_is_notified_despite_continual_reloads_of_another_agency(
    tmp_path: Path,
) -> None:
    """Defect: Frequent reloads cancel every run and forget failures, so an agency that lost all mail stays up.

    Pantau: A reload is a difference: what did not change continues.
    """
    async with running_service(tmp_path, agencies=AGENCIES) as env:
        await env.wait_until_up()

        async def is_told() -> bool:
            return [each["agency"] for each in await env.get("/incidents")] == [JCM.code]

        await env.world.network.systems[JCM.code].break_(Fault.LOSE)
        async with reloading(env, "mdc.yaml"):
            await env.until(is_told, "the incident is open")

        # A message is lost after five seconds: no run would have ended.
        assert env.log().count("configuration applied") >= 3
        assert set((await env.health("UCM")).values()) == {"up"}


@asynccontextmanager
async def reloading(env: RunningService, name: str) -> AsyncIterator[None]:
    """Edit an agency's file and reload repeatedly during the block."""
    file = env.directory / "agencies" / name
    agency = yaml.safe_load(file.read_text())

    async def keep() -> None:
        for slow_threshold in cycle(("4s", "5s")):
            file.write_text(yaml.safe_dump(agency | {"probing": {"slow_threshold": slow_threshold}}, sort_keys=False))
            assert (await env.control("/reload")).json()["taken"] is True
            await asyncio.sleep(1.5)

    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(keep())
        yield
        keeping.cancel()


async def _is(env: RunningService, value: str) -> bool:
    return await reload_success(env) == value
