"""A server that accepts messages and hangs up without an answer: mail arrives, senders see an error."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pantau_lab.carrier.phone import PATIENCE
from pantau_lab.mail import Fault
from tests.stories.in_process_service import AGENCY, in_process_service
from tests.stories.service_process import start_process

OUT = f"{AGENCY}/outbound/rujukan-a"


@pytest.mark.blind
async def test_server_hanging_up_after_delivery_is_never_shown_as_up(
    tmp_path: Path,
) -> None:
    """Defect: A server that accepts messages and hangs up without saying so is shown as up.

    Pantau: Its mail is degraded in metric, page, advice and exit code.
    """
    async with in_process_service(tmp_path) as env:
        await env.break_(Fault.CUT_TAKEN)
        await env.until("mail_degraded", 1, agency=AGENCY, direction="outbound")
        # Its first run may end after that of the other route.
        degraded = await env.when(lambda scraped: scraped.value("probe_success", route=OUT) is not None, "it was run")
        assert degraded.value("probe_success", route=OUT) == 1
        assert degraded.value("mail_degraded", agency=AGENCY, direction="outbound") == 1
        assert degraded.total("smtp_data_duration_seconds_count", direction="outbound") > 0
        page = (await env.client.get(env.world.url)).text
        assert "tiada jawapan walaupun mesej diterima" in page

        words = ["monitor.cli", "probe", AGENCY, "outbound/rujukan-a", "--config", str(env.world.settings)]
        async with asyncio.timeout(PATIENCE):
            code = await start_process(words, tmp_path / "kata.txt").wait()
        told = " ".join((tmp_path / "kata.txt").read_text().split())
        assert (code, "people send again" in told) == (9, True), told
        assert "No action is needed" not in told
