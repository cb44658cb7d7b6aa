"""A server that takes messages and hangs up instead of saying so: mail arrives, and whoever sends sees an error."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pantau_lab.carrier.phone import PATIENCE
from pantau_lab.mail import Fault
from tests.stories.living import bring_to_life
from tests.stories.lookout import AGENCY, lookout

OUT = f"{AGENCY}/outbound/rujukan-a"


@pytest.mark.blind
async def test_mail_that_arrives_though_the_server_hung_up_on_its_sender_is_never_shown_to_be_well(
    tmp_path: Path,
) -> None:
    """Defect: A server that accepts messages and hangs up without saying so is shown as up.

    Pantau: Its mail is degraded in metric, page, advice and exit code.
    """
    async with lookout(tmp_path) as watching:
        await watching.break_(Fault.CUT_TAKEN)
        await watching.until("mail_degraded", 1, agency=AGENCY, direction="outbound")
        # Its own first run may end after that of the route beside it.
        degraded = await watching.when(
            lambda scraped: scraped.value("probe_success", route=OUT) is not None, "it was run"
        )
        assert degraded.value("probe_success", route=OUT) == 1
        assert degraded.value("mail_degraded", agency=AGENCY, direction="outbound") == 1
        assert degraded.total("smtp_data_duration_seconds_count", direction="outbound") > 0
        page = (await watching.client.get(watching.world.url)).text
        assert "tiada jawapan walaupun mesej diterima" in page

        words = ["monitor.cli", "probe", AGENCY, "outbound/rujukan-a", "--config", str(watching.world.settings)]
        async with asyncio.timeout(PATIENCE):
            code = await bring_to_life(words, tmp_path / "kata.txt").wait()
        told = " ".join((tmp_path / "kata.txt").read_text().split())
        assert (code, "people send again" in told) == (9, True), told
        assert "Nothing is to be done" not in told
