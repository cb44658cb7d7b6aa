"""Sessions with a fake IMAP server, and ways to break a connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from probes.model.mailbox import Security
from probes.model.probe import ProbeFailedError
from probes.model.result import Party
from probes.protocol.imap import ImapSession, open_session
from probes.run.trace import TraceRecorder
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.standin import Handler, listening, mailbox, server, server_context

LEG = timedelta(seconds=2)


@asynccontextmanager
async def session_with(
    standin: Handler,
    *,
    tls: ssl.SSLContext | None = None,
    security: Security = Security.IMPLICIT,
    secret: str = "rahsia",
    wake: Callable[[], None] = lambda: None,
    recorder: TraceRecorder | None = None,
    response_timeout: timedelta = LEG,
) -> AsyncIterator[ImapSession]:
    implicit = security is Security.IMPLICIT
    async with listening(standin, (tls or server_context()) if implicit else tls) as port:
        box = mailbox(imap=server(port, security), secret=secret)
        session = await open_session(
            box, recorder or TraceRecorder(), Party.RECIPIENT, wake=wake, response_timeout=response_timeout
        )
        try:
            yield session
        finally:
            session.close()


async def failure_with(standin: Handler, *, tls: ssl.SSLContext | None = None, security: Security) -> ProbeFailedError:
    async with listening(standin, tls) as port:
        box = mailbox(imap=server(port, security))
        recorder = TraceRecorder()
        with pytest.raises((ProbeFailedError, TimeoutError)) as caught:
            async with asyncio.timeout(HANG_TIMEOUT):
                await open_session(box, recorder, Party.RECIPIENT, wake=lambda: None, response_timeout=LEG)
        if isinstance(caught.value, ProbeFailedError):
            return caught.value
        raise AssertionError(f"hung in {recorder.location}")


async def half_close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()
    await asyncio.Event().wait()


async def plain_greeting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"* OK IMAP4rev1 sedia\r\n")
    await asyncio.Event().wait()
