"""Concurrent `pantau probe` commands beside the service leave each other's mail alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pantau_lab.carrier.phone import PATIENCE
from pantau_lab.config_files import Timing
from pantau_lab.world import AGENCIES
from probes.model.result import Arrival
from tests.stories.in_process_service import AGENCY, InProcessService, in_process_service
from tests.stories.service_process import ServiceProcess, start_process

#: Only the commands send mail; speed does not matter.
NO_SCHEDULED_RUNS = Timing(
    interval="5m", session_timeout="20s", arrival_timeout="30s", slow_threshold="30s", deferral_timeout="5m"
)


@pytest.mark.blind
async def test_concurrent_probe_commands_lose_no_mail(tmp_path: Path) -> None:
    """Defect: Concurrent `pantau probe` commands delete each other's mail, because they share a name.

    Pantau: Each has its own name and leaves foreign mail alone.
    """
    async with in_process_service(tmp_path, agencies=AGENCIES, timing=NO_SCHEDULED_RUNS) as env:
        assert await run_commands(env, tmp_path, [(AGENCY, "internal")] * 3) == [0] * 3, told(tmp_path)

        each_twice = [(one.code, way) for one in AGENCIES for way in ("outbound/rujukan-a", "inbound/rujukan-a")] * 2
        assert await run_commands(env, tmp_path, each_twice) == [0] * 12, told(tmp_path)

        await nothing_left(env)
        scraped = await env.scrape()
        assert {kind: scraped.total("probe_arrivals_total", arrival=kind) for kind in Arrival} == dict.fromkeys(
            Arrival, 0
        )
        assert scraped.total("probe_runs_total", verdict="failed") == 0


async def run_commands(env: InProcessService, directory: Path, wanted: list[tuple[str, str]]) -> list[int]:
    """Run a command for each agency and route, all at once; return their exit codes."""
    commands: list[ServiceProcess] = []
    for number, (agency, route) in enumerate(wanted):
        words = ["monitor.cli", "probe", agency, route, "--config", str(env.world.settings), "--verbose"]
        commands.append(start_process(words, directory / f"{len(wanted)}-{number}.txt"))
    async with asyncio.timeout(PATIENCE):
        return list(await asyncio.gather(*(command.wait() for command in commands)))


def told(directory: Path) -> str:
    """Return the output of the commands."""
    return "\n".join(file.read_text() for file in sorted(directory.glob("*-*.txt")))


async def nothing_left(env: InProcessService) -> None:
    """Wait until no mailbox has a message. An unreadable one is retried a minute later."""
    systems = env.world.network.systems.values()
    async with asyncio.timeout(PATIENCE):
        while any(system.message_count(f"pantau@{system.domain}") for system in systems):  # noqa: ASYNC110 - only it can tell
            await asyncio.sleep(0.05)
