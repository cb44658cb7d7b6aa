"""Limits for large mail over POP3."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from probes.model.result import Party
from probes.protocol.pop3 import open_session
from probes.run.trace import TraceRecorder
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.standin import listening, mailbox, server, server_context

pytestmark = pytest.mark.pitfall


async def test_pop3_large_mail_is_truncated() -> None:
    """Trap: A large mail is kept during its run.

    Pantau: Only what is examined is kept.
    """
    standin = Pop3StandIn()
    standin.put(b"X-A: " + (b"a" * 70 + b"\r\n ") * 20_000 + b"\r\n\r\n" + b"isi\r\n" * 10_000)
    async with listening(standin, server_context()) as port, asyncio.timeout(20):
        box = replace(mailbox(), imap=None, pop3=server(port))
        session = await open_session(box, TraceRecorder(), Party.RECIPIENT, response_timeout=timedelta(seconds=10))
        try:
            assert len(await session.fetch_header(1)) == 64 * 1024
            # The reported size is small.
            whole = await session.fetch_message(1, 100)
        finally:
            session.close()
    assert whole is not None
    assert len(whole) == 256 * 1024
