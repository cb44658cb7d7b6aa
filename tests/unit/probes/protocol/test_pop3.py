"""A POP3 session ends with its cause, whatever the server does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from probes.model.mailbox import Mailbox, Security
from probes.model.probe import CommandRejectedError, ProbeFailedError, ProtocolError
from probes.model.reply import Reason
from probes.model.result import Outcome, Party, Phase
from probes.protocol.pop3 import Pop3Session, open_session
from probes.run.trace import TraceRecorder
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.standin import (
    Handler,
    Trick,
    close,
    endless_line,
    garbage,
    hang,
    listening,
    mailbox,
    server,
    server_context,
)

LEG = timedelta(seconds=2)
MAIL = b"Subject: ujian\r\n\r\nbaris\r\n.titik\r\n..dua titik\r\n"


def box(port: int, security: Security = Security.IMPLICIT, secret: str = "rahsia") -> Mailbox:
    return replace(mailbox(secret=secret), imap=None, pop3=server(port, security))


@asynccontextmanager
async def session_with(standin: Pop3StandIn, secret: str = "rahsia") -> AsyncIterator[Pop3Session]:
    async with listening(standin, server_context()) as port:
        session = await open_session(box(port, secret=secret), TraceRecorder(), Party.RECIPIENT, response_timeout=LEG)
        try:
            yield session
        finally:
            session.close()


async def failure_with(standin: Handler, security: Security = Security.IMPLICIT) -> ProbeFailedError:
    tls = server_context() if security is Security.IMPLICIT else None
    async with listening(standin, tls) as port:
        with pytest.raises(ProbeFailedError) as caught:
            await open_session(box(port, security), TraceRecorder(), Party.RECIPIENT, response_timeout=LEG)
    return caught.value


@pytest.mark.parametrize(
    ("standin", "outcome", "phase", "reason"),
    [
        (hang, Outcome.TIMEOUT, Phase.CONNECT, Reason.NO_ANSWER),
        (close, Outcome.CONNECT, Phase.CONNECT, Reason.CONNECTION_CLOSED),
        (garbage, Outcome.CONNECT, Phase.CONNECT, Reason.UNEXPECTED_ANSWER),
        (endless_line, Outcome.CONNECT, Phase.CONNECT, Reason.UNEXPECTED_ANSWER),
        (Pop3StandIn(greeting="-ERR [SYS/TEMP] sibuk\r\n"), Outcome.CONNECT, Phase.CONNECT, Reason.SERVICE_REFUSED),
        (Pop3StandIn(tricks={"PASS": hang}), Outcome.TIMEOUT, Phase.AUTH, Reason.NO_ANSWER),
        (Pop3StandIn(tricks={"PASS": close}), Outcome.CONNECT, Phase.AUTH, Reason.CONNECTION_CLOSED),
        (Pop3StandIn(tricks={"PASS": "+ lagi\r\n"}), Outcome.CONNECT, Phase.AUTH, Reason.UNEXPECTED_ANSWER),
        (Pop3StandIn(tricks={"PASS": "-ERR salah\r\n"}), Outcome.AUTH, Phase.AUTH, Reason.CREDENTIALS_REFUSED),
        (Pop3StandIn(tricks={"PASS": "-ERR [AUTH] salah\r\n"}), Outcome.AUTH, Phase.AUTH, Reason.CREDENTIALS_REFUSED),
        (
            Pop3StandIn(tricks={"PASS": "-ERR [SYS/TEMP] nanti\r\n"}),
            Outcome.AUTH,
            Phase.AUTH,
            Reason.SIGN_IN_UNAVAILABLE,
        ),
        (
            Pop3StandIn(tricks={"PASS": "-ERR [IN-USE] ada orang\r\n"}),
            Outcome.INCONCLUSIVE,
            Phase.AUTH,
            Reason.MAILBOX_IN_USE,
        ),
        (Pop3StandIn(capabilities=("UIDL",)), Outcome.AUTH, Phase.AUTH, Reason.SIGN_IN_NOT_OFFERED),
    ],
)
async def test_pop3_failure_at_each_stage_has_cause(
    standin: Handler, outcome: Outcome, phase: Phase, reason: Reason
) -> None:
    failure = await failure_with(standin)
    assert (failure.outcome, failure.failure.phase, failure.failure.reason) == (outcome, phase, reason)
    assert "rahsia" not in str(failure.failure)


async def test_pop3_without_capa_uses_user_and_pass() -> None:
    standin = Pop3StandIn(tricks={"CAPA": "-ERR apa?\r\n"})
    async with session_with(standin):
        assert standin.asked == ["CAPA", "USER semakan@jabatan-contoh.gov.my", "PASS rahsia"]


async def test_pop3_sasl_only_uses_auth_plain() -> None:
    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+ \r\n")
        assert (await reader.readline()).startswith(b"AHNlbWFrYW5A")
        writer.write(b"+OK\r\n")

    async with session_with(Pop3StandIn(capabilities=("SASL PLAIN",), tricks={"AUTH": ask})):
        pass


async def test_pop3_password_with_line_break_is_not_sent() -> None:
    standin = Pop3StandIn()
    with pytest.raises(ValueError, match="one line") as caught:
        async with session_with(standin, secret="a\r\nDELE 1"):
            pass
    assert "DELE" not in str(caught.value)
    assert not any("DELE" in line for line in standin.asked)


async def test_pop3_stls_precedes_sign_in() -> None:
    standin = Pop3StandIn(capabilities=("USER", "STLS"), tls=server_context())
    async with listening(standin) as port:
        recorder = TraceRecorder()
        session = await open_session(box(port, Security.STARTTLS), recorder, Party.RECIPIENT, response_timeout=LEG)
        session.close()
    assert [line.split()[0] for line in standin.asked] == ["CAPA", "STLS", "CAPA", "USER", "PASS"]
    assert list(recorder.phases) == [Phase.DNS, Phase.CONNECT, Phase.TLS, Phase.AUTH]


@pytest.mark.parametrize(
    ("standin", "reason"),
    [
        (Pop3StandIn(), Reason.TLS_NOT_OFFERED),
        (Pop3StandIn(capabilities=("STLS",), tricks={"STLS": "-ERR rosak\r\n"}), Reason.TLS_UNAVAILABLE),
        (
            Pop3StandIn(capabilities=("STLS",), tricks={"STLS": "+OK mula\r\n+OK sudah masuk\r\n"}),
            Reason.TLS_INJECTION,
        ),
        (Pop3StandIn(capabilities=("STLS",), tls=server_context("lain.example")), Reason.CERTIFICATE_NAME_MISMATCH),
    ],
)
async def test_pop3_stls_is_never_opportunistic(standin: Pop3StandIn, reason: Reason) -> None:
    failure = await failure_with(standin, Security.STARTTLS)
    assert failure.failure.phase is Phase.TLS
    assert failure.failure.reason is reason
    assert not any(line.startswith(("USER", "PASS", "AUTH")) for line in standin.asked)


async def test_pop3_mail_is_fetched_unchanged() -> None:
    standin = Pop3StandIn()
    uids = [standin.put(MAIL), standin.put(MAIL)]
    async with session_with(standin) as session:
        assert await session.list_uids() == [(1, uids[0]), (2, uids[1])]
        assert await session.list_sizes() == {1: len(MAIL), 2: len(MAIL)}
        assert await session.count_messages() == 2
        assert await session.fetch_header(1) == b"Subject: ujian\r\n\r\n"
        assert await session.fetch_message(2, len(MAIL)) == MAIL
        await session.delete(1)
        await session.quit()
    assert list(standin.mails) == [uids[1]]


async def test_pop3_marked_mail_stays_without_quit() -> None:
    standin = Pop3StandIn()
    uid = standin.put(MAIL)
    async with session_with(standin) as session:
        await session.delete(1)
    assert list(standin.mails) == [uid]


@pytest.mark.pitfall
async def test_pop3_lines_longer_than_poplib_limit_are_read() -> None:
    """Trap: Poplib refuses long lines.

    Pantau: They are read.
    """
    standin = Pop3StandIn()
    standin.put(b"X: " + b"a" * 20_000 + b"\r\n\r\n" + b"b" * 200_000 + b"\r\n")
    async with session_with(standin) as session:
        assert len(await session.fetch_header(1)) > 20_000
        assert len(await session.fetch_message(1, 220_009) or b"") == 220_009


async def test_pop3_mail_too_large_for_probe_is_not_fetched() -> None:
    standin = Pop3StandIn()
    standin.put(MAIL)
    async with session_with(standin) as session:
        assert await session.fetch_message(1, 10_000_000) is None
        assert not any(line.startswith("RETR") for line in standin.asked)


async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"+OK\r\n")
    while True:
        writer.write(b"1 x\r\n" * 4096)
        await writer.drain()


@pytest.mark.parametrize(
    ("trick", "error"),
    [
        ("-ERR tidak\r\n", CommandRejectedError),
        ("+OK\r\nsatu x\r\n.\r\n", ProtocolError),
        (f"+OK\r\n{'9' * 5000} x\r\n.\r\n", ProtocolError),
        ("+OK\r\n\r\n.\r\n", ProtocolError),
        (flood, ProtocolError),
        (close, ConnectionResetError),
        (hang, TimeoutError),
    ],
)
async def test_pop3_bad_or_endless_list_fails(trick: Trick, error: type[Exception]) -> None:
    async with session_with(Pop3StandIn(tricks={"UIDL": trick})) as session:
        with pytest.raises(error):
            await session.list_uids()


@pytest.mark.parametrize(
    ("announced", "delay"), [("60", 60), ("", 0), ("0", 0), ("x", 0), ("9" * 5000, 0), ("99999", 600)]
)
async def test_pop3_login_delay_is_parsed_and_limited(announced: str, delay: int) -> None:
    standin = Pop3StandIn(capabilities=("USER", f"LOGIN-DELAY {announced}"))
    async with session_with(standin) as session:
        assert session.login_delay == timedelta(seconds=delay)
