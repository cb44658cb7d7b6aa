"""`pantau probe` many times at once, beside the running service: nobody takes anybody else's mail."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pantau_lab.carrier.phone import PATIENCE
from pantau_lab.config_files import Timing
from pantau_lab.world import AGENCIES
from probes.model.result import Arrival
from tests.stories.living import Living, bring_to_life
from tests.stories.lookout import AGENCY, Lookout, lookout

#: The commands are what sends; nothing here is about speed.
CALM = Timing(interval="5m", session_timeout="20s", arrival_timeout="30s", slow_threshold="30s", deferral_timeout="5m")


@pytest.mark.blind
async def test_commands_at_once_on_one_agency_and_over_one_reference_lose_nobodys_mail(tmp_path: Path) -> None:
    """Defect: Concurrent `pantau probe` commands delete each other's mail, because they share a name.

    Pantau: Each has its own name and leaves foreign mail alone.
    """
    async with lookout(tmp_path, agencies=AGENCIES, timing=CALM) as watching:
        assert await ends(watching, tmp_path, [(AGENCY, "internal")] * 3) == [0] * 3, told(tmp_path)

        each_twice = [(one.code, way) for one in AGENCIES for way in ("outbound/rujukan-a", "inbound/rujukan-a")] * 2
        assert await ends(watching, tmp_path, each_twice) == [0] * 12, told(tmp_path)

        await nothing_left(watching)
        scraped = await watching.scrape()
        assert {kind: scraped.total("probe_arrivals_total", arrival=kind) for kind in Arrival} == dict.fromkeys(
            Arrival, 0
        )
        assert scraped.total("probe_runs_total", verdict="failed") == 0


async def ends(watching: Lookout, directory: Path, wanted: list[tuple[str, str]]) -> list[int]:
    """Run a command for each agency and route, all at once; return what they ended with."""
    commands: list[Living] = []
    for number, (agency, route) in enumerate(wanted):
        words = ["monitor.cli", "probe", agency, route, "--config", str(watching.world.settings), "--verbose"]
        commands.append(bring_to_life(words, directory / f"{len(wanted)}-{number}.txt"))
    async with asyncio.timeout(PATIENCE):
        return list(await asyncio.gather(*(command.wait() for command in commands)))


def told(directory: Path) -> str:
    """Return what the commands said."""
    return "\n".join(file.read_text() for file in sorted(directory.glob("*-*.txt")))


async def nothing_left(watching: Lookout) -> None:
    """Wait until no mailbox holds a message. One that could not be read for a moment is looked into a minute later."""
    systems = watching.world.network.systems.values()
    async with asyncio.timeout(PATIENCE):
        while any(system.messages(f"pantau@{system.domain}") for system in systems):  # noqa: ASYNC110 - only it can tell
            await asyncio.sleep(0.05)
