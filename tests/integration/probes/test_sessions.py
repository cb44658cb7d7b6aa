"""How the sessions of a watched mailbox look to the server that holds them."""

from __future__ import annotations

import asyncio

import pytest

from probes.model.result import Outcome
from tests.hanging import HANGS
from tests.integration.probes.trip import between
from tests.real.mailserver import REFERENCE, MailServer

pytestmark = pytest.mark.real


@pytest.mark.pitfall
async def test_a_real_server_counts_one_session_for_many_runs_and_none_that_is_left(mail_server: MailServer) -> None:
    """Trap: Sessions that are left open count.

    Pantau: A real server sees one, and sees it end.
    """
    box = mail_server.mailbox("penerima-sesi")
    async with between(mail_server.mailbox("semakan", domain=REFERENCE), box) as trips:
        results = await asyncio.gather(*(trips.run() for _ in range(5)))
    assert {result.outcome for result in results} == {Outcome.DELIVERED}

    def seen(what: str) -> list[str]:
        lines = (line for line in mail_server.log().splitlines() if box.address in line and " imap" in line)
        return [line for line in lines if what in line]

    async with asyncio.timeout(HANGS):
        while not (seen("Logged in") and seen("Disconnected")):  # noqa: ASYNC110 - a file that another process writes
            await asyncio.sleep(0.05)
    assert len(seen("Logged in")) == 1
