"""Submissions to a fake SMTP server, and ways to break a connection."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import timedelta

import pytest

from probes.model.mailbox import OAuth, Password, Security
from probes.model.probe import ProbeFailedError
from probes.model.reply import timeout_failure
from probes.model.result import Party
from probes.protocol.smtp import SubmissionResult, submit
from probes.run.trace import TraceRecorder
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.standin import Handler, listening, mailbox, server, server_context

MESSAGE = b"Subject: ujian\r\n\r\nbaris\r\n.titik\r\n..dua titik\r\n"
#: On a busy machine a process may wait for a second.
WITHIN = timedelta(seconds=2)
TO = "penerima@rujukan.example"


async def submitted_to(
    standin: Handler,
    *,
    security: Security = Security.IMPLICIT,
    tls: ssl.SSLContext | None = None,
    recorder: TraceRecorder | None = None,
    within: timedelta = WITHIN,
    login: OAuth | Password | None = None,
) -> SubmissionResult:
    recorder = recorder or TraceRecorder()
    if security is Security.IMPLICIT and tls is None:
        tls = server_context()
    async with listening(standin, tls) as port:
        box = mailbox(smtp=server(port, security))
        box = replace(box, login=login or box.login)
        try:
            return await submit(box, TO, MESSAGE, recorder, within)
        except TimeoutError as error:
            raise timeout_failure(*recorder.location, str(error)) from error


async def failure_of(standin: Handler, *, security: Security = Security.IMPLICIT) -> ProbeFailedError:
    with pytest.raises(ProbeFailedError) as caught:
        async with asyncio.timeout(HANG_TIMEOUT):
            await submitted_to(standin, security=security)
    assert caught.value.failure.party is Party.SENDER
    return caught.value


async def submitted_in_clear(standin: Handler) -> None:
    recorder = TraceRecorder()
    async with listening(standin) as port:
        try:
            await submit(mailbox(smtp=server(port)), TO, MESSAGE, recorder, WITHIN)
        except TimeoutError as error:
            raise timeout_failure(*recorder.location) from error


async def tarpit(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"250-tunggu\r\n")
        await asyncio.sleep(0.02)
