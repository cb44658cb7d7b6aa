"""Sessions of a watched mailbox, in the log of a real Dovecot."""

from __future__ import annotations

import asyncio

import pytest

from probes.model.result import Outcome
from tests.integration.probes.round_trips import between
from tests.real.mailserver import REFERENCE, MailServer
from tests.timeouts import HANG_TIMEOUT

pytestmark = pytest.mark.real


@pytest.mark.pitfall
async def test_real_dovecot_counts_one_session_for_many_runs(mail_server: MailServer) -> None:
    """Trap: Sessions that are left open count.

    Pantau: A real server sees one, and sees it end.
    """
    box = mail_server.mailbox("penerima-sesi")
    async with between(mail_server.mailbox("semakan", domain=REFERENCE), box) as round_trips:
        results = await asyncio.gather(*(round_trips.run() for _ in range(5)))
    assert {result.outcome for result in results} == {Outcome.DELIVERED}

    def seen(what: str) -> list[str]:
        lines = (line for line in mail_server.log().splitlines() if box.address in line and " imap" in line)
        return [line for line in lines if what in line]

    async with asyncio.timeout(HANG_TIMEOUT):
        while not (seen("Logged in") and seen("Disconnected")):  # noqa: ASYNC110 - a file that another process writes
            await asyncio.sleep(0.05)
    assert len(seen("Logged in")) == 1
