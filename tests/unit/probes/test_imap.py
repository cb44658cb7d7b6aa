"""An IMAP session ends with its cause, whatever the server does. Each known fault of aioimaplib has its test."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from probes.answer import Refused, Unreadable
from probes.imap import Session, open_session
from probes.mailbox import Security
from probes.probe import ProbeFailure
from probes.reply import Reason
from probes.result import Outcome, Party, Phase
from probes.trace import Recorder
from tests.unit.probes.standin import (
    Handler,
    ImapStandIn,
    Trick,
    hang,
    listening,
    mailbox,
    server,
    server_context,
    until,
)

LEG = timedelta(seconds=0.3)


@asynccontextmanager
async def session_with(
    standin: Handler,
    *,
    tls: ssl.SSLContext | None = None,
    security: Security = Security.IMPLICIT,
    secret: str = "rahsia",
    stir: Callable[[], None] = lambda: None,
    recorder: Recorder | None = None,
) -> AsyncIterator[Session]:
    implicit = security is Security.IMPLICIT
    async with listening(standin, (tls or server_context()) if implicit else tls) as port:
        box = mailbox(imap=server(port, security), secret=secret)
        session = await open_session(box, recorder or Recorder(), Party.RECIPIENT, stir=stir, leg=LEG)
        try:
            yield session
        finally:
            session.close()


async def failure_with(standin: Handler, *, tls: ssl.SSLContext | None = None, security: Security) -> ProbeFailure:
    async with listening(standin, tls) as port:
        box = mailbox(imap=server(port, security))
        recorder = Recorder()
        with pytest.raises((ProbeFailure, TimeoutError)) as caught:
            async with asyncio.timeout(1):
                await open_session(box, recorder, Party.RECIPIENT, stir=lambda: None, leg=LEG)
        if isinstance(caught.value, ProbeFailure):
            return caught.value
        raise AssertionError(f"hung in {recorder.where}")


async def test_the_phases_are_timed_apart() -> None:
    recorder = Recorder()
    async with session_with(ImapStandIn(), recorder=recorder):
        assert list(recorder.phases) == [Phase.DNS, Phase.CONNECT, Phase.TLS, Phase.AUTH]


async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def abort(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def half_close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()
    await asyncio.Event().wait()


async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff\x80\r\n" * 50)
    await asyncio.Event().wait()


async def endless_line(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 4096)
        await writer.drain()


async def plain_greeting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"* OK IMAP4rev1 sedia\r\n")
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("standin", "outcome", "phase", "reason"),
    [
        (plain_greeting, Outcome.TLS, Phase.TLS, Reason.TLS_NOT_SPOKEN),
        (close, Outcome.CONNECT, Phase.TLS, Reason.CONNECTION_CLOSED),
        (abort, Outcome.CONNECT, Phase.TLS, Reason.CONNECTION_CLOSED),
        (half_close, Outcome.CONNECT, Phase.TLS, Reason.CONNECTION_CLOSED),
    ],
)
async def test_a_port_without_tls_keeps_its_cause(
    standin: Handler, outcome: Outcome, phase: Phase, reason: Reason
) -> None:
    failure = await failure_with(standin, security=Security.IMPLICIT)
    assert (failure.outcome, failure.failure.phase, failure.failure.reason) == (outcome, phase, reason)


@pytest.mark.parametrize(
    ("standin", "outcome", "phase", "reason"),
    [
        (hang, Outcome.CONNECT, Phase.CONNECT, Reason.NO_ANSWER),
        (close, Outcome.CONNECT, Phase.CONNECT, Reason.CONNECTION_CLOSED),
        (abort, Outcome.CONNECT, Phase.CONNECT, Reason.CONNECTION_CLOSED),
        (garbage, Outcome.CONNECT, Phase.CONNECT, Reason.UNEXPECTED_ANSWER),
        (endless_line, Outcome.CONNECT, Phase.CONNECT, Reason.UNEXPECTED_ANSWER),
        (ImapStandIn(greeting="* BYE penuh\r\n"), Outcome.CONNECT, Phase.CONNECT, Reason.SERVICE_REFUSED),
        (ImapStandIn(tricks={"CAPABILITY": hang}), Outcome.TIMEOUT, Phase.AUTH, Reason.NO_ANSWER),
        (ImapStandIn(tricks={"CAPABILITY": "* BYE\r\n"}), Outcome.CONNECT, Phase.AUTH, Reason.CONNECTION_CLOSED),
        (ImapStandIn(tricks={"CAPABILITY": "x9 OK\r\n"}), Outcome.CONNECT, Phase.AUTH, Reason.UNEXPECTED_ANSWER),
        (ImapStandIn(tricks={"LOGIN": hang}), Outcome.TIMEOUT, Phase.AUTH, Reason.NO_ANSWER),
        (ImapStandIn(tricks={"LOGIN": close}), Outcome.CONNECT, Phase.AUTH, Reason.CONNECTION_CLOSED),
        (ImapStandIn(tricks={"LOGIN": "* BYE x\r\n"}), Outcome.CONNECT, Phase.AUTH, Reason.CONNECTION_CLOSED),
        (
            ImapStandIn(tricks={"LOGIN": "{tag} NO [AUTHENTICATIONFAILED] salah\r\n"}),
            Outcome.AUTH,
            Phase.AUTH,
            Reason.CREDENTIALS_REFUSED,
        ),
        (
            ImapStandIn(tricks={"LOGIN": "{tag} NO [UNAVAILABLE] nanti\r\n"}),
            Outcome.AUTH,
            Phase.AUTH,
            Reason.SIGN_IN_UNAVAILABLE,
        ),
        (ImapStandIn(capabilities="LOGINDISABLED"), Outcome.AUTH, Phase.AUTH, Reason.SIGN_IN_NOT_OFFERED),
    ],
)
async def test_each_stage_before_the_mailbox_ends_with_its_cause(
    standin: Handler, outcome: Outcome, phase: Phase, reason: Reason
) -> None:
    failure = await failure_with(standin, tls=server_context(), security=Security.IMPLICIT)
    assert (failure.outcome, failure.failure.phase, failure.failure.reason) == (outcome, phase, reason)
    assert failure.failure.party is Party.RECIPIENT
    assert "rahsia" not in str(failure.failure)


async def test_a_certificate_for_another_name_is_not_met_with_credentials() -> None:
    standin = ImapStandIn()
    failure = await failure_with(standin, tls=server_context("lain.example"), security=Security.IMPLICIT)
    assert (failure.outcome, failure.failure.reason) == (Outcome.TLS, Reason.CERTIFICATE_OF_ANOTHER)
    assert standin.asked == []


def starttls(before: bytes = b"") -> tuple[ImapStandIn, Handler]:
    inner = ImapStandIn(greeting="")

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK sedia\r\n")
        tag = (await reader.readline()).split()[0].decode()
        writer.write(f"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n{tag} OK\r\n".encode())
        tag = (await reader.readline()).split()[0].decode()
        writer.write(f"{tag} OK mula\r\n".encode() + before)
        await writer.start_tls(server_context())
        await inner(reader, writer)

    return inner, handler


async def test_starttls_comes_before_everything_else() -> None:
    inner, handler = starttls()
    async with session_with(handler, security=Security.STARTTLS) as session:
        assert "LOGINDISABLED" not in session.capabilities
        assert inner.asked[1].partition(" ")[2].startswith('LOGIN "semakan@')


async def test_what_was_said_in_clear_is_not_believed_after_the_handshake() -> None:
    inner, handler = starttls(before=b"* CAPABILITY IMAP4rev1 X-JAHAT\r\n")
    failure = await failure_with(handler, security=Security.STARTTLS)
    assert (failure.failure.phase, failure.failure.reason) == (Phase.TLS, Reason.UNEXPECTED_ANSWER)
    assert inner.asked == []


@pytest.mark.parametrize(
    ("standin", "reason"),
    [
        (ImapStandIn(), Reason.TLS_NOT_OFFERED),
        (ImapStandIn(greeting="* PREAUTH hai\r\n", capabilities="IMAP4rev1 STARTTLS"), Reason.TLS_NOT_OFFERED),
        (
            ImapStandIn(capabilities="IMAP4rev1 STARTTLS", tricks={"STARTTLS": "{tag} NO rosak\r\n"}),
            Reason.TLS_REFUSED,
        ),
        (ImapStandIn(capabilities="STARTTLS", tricks={"STARTTLS": "{tag} OK\r\n"}), None),
    ],
)
async def test_starttls_is_never_opportunistic(standin: ImapStandIn, reason: Reason | None) -> None:
    if reason is None:
        standin.tricks["STARTTLS"] = answer_and_stay_plain
    failure = await failure_with(standin, security=Security.STARTTLS)
    assert failure.failure.phase is Phase.TLS
    assert reason is None or failure.failure.reason is reason
    assert not any("LOGIN" in line for line in standin.asked)


async def answer_and_stay_plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"salah OK mula\r\n")


@pytest.mark.parametrize("secret", ['"petik"', "back\\slash", "ruang dan {3}", "kata laluan ñ"])
async def test_a_password_is_quoted_and_never_logged(secret: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    standin = ImapStandIn()
    async with session_with(standin, secret=secret):
        login = next(line for line in standin.asked if " LOGIN " in line)
        escaped = secret.replace("\\", "\\\\").replace('"', '\\"')
        assert login.endswith(f' "{escaped}"')
    assert secret not in caplog.text
    assert escaped not in caplog.text


async def test_a_password_with_a_line_break_never_reaches_the_wire() -> None:
    standin = ImapStandIn()
    with pytest.raises(ValueError, match="not allowed") as caught:
        async with session_with(standin, secret="a\r\nx LOGOUT"):
            pass
    assert "LOGOUT" not in str(caught.value)


async def test_fifteen_hundred_lines_at_once_are_read() -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        lines = "".join(f"* {number} FETCH (UID {number})\r\n" for number in range(1, 1501))
        writer.write(f"{lines}{tag} OK\r\n".encode())

    standin = ImapStandIn(tricks={"UID FETCH": flood})
    async with session_with(standin) as session:
        await session.select("INBOX")
        assert await session.uids_from(1) == list(range(1, 1501))


async def test_brackets_and_stars_in_a_mail_confuse_nobody() -> None:
    raw = b"Subject: * 3 EXISTS ((( {10}\r\n\r\na1 OK ) * BYE\r\n"
    standin = ImapStandIn()
    uid = standin.put(raw)
    async with session_with(standin) as session:
        await session.select("INBOX")
        (header,) = await session.headers([uid])
        assert header.content == raw[: raw.index(b"\r\n\r\n") + 4]
        assert await session.message(uid) == raw
        assert await session.message(99) is None


@pytest.mark.parametrize(
    ("trick", "error"),
    [
        (hang, TimeoutError),
        (close, ConnectionError),
        (abort, ConnectionError),
        (half_close, ConnectionError),
        (garbage, Unreadable),
        (endless_line, Unreadable),
        ("* BYE mati\r\n", ConnectionError),
        ("{tag} NO tidak\r\n", Refused),
        ("{tag} BAD apa\r\n", Refused),
        ("{tag} MUNGKIN\r\n", Unreadable),
        ("* 1 FETCH (BODY[] {50}\r\nhalf", TimeoutError),
    ],
)
@pytest.mark.parametrize(
    ("command", "ask"),
    [
        ("NOOP", lambda session: session.noop()),
        ("SELECT", lambda session: session.select("INBOX")),
        ("STATUS", lambda session: session.standing("Junk")),
        ("UID FETCH", lambda session: session.uids_from(1)),
        ("UID STORE", lambda session: session.delete([1])),
        ("LIST", lambda session: session.junk()),
    ],
)
async def test_no_command_hangs_or_loses_the_cause(
    trick: Trick, error: type[Exception], command: str, ask: Callable[[Session], Awaitable[object]]
) -> None:
    standin = ImapStandIn()
    async with session_with(standin) as session:
        await session.select("INBOX")
        standin.tricks[command] = trick
        async with asyncio.timeout(2):
            with pytest.raises(error):
                await ask(session)
            if error is not Refused:
                # Nothing can be said on it again, and nothing waits for it.
                with pytest.raises((TimeoutError, ConnectionError, Unreadable)):
                    await session.noop()


async def test_cancelling_a_command_makes_the_connection_useless() -> None:
    standin = ImapStandIn(tricks={"NOOP": hang})
    async with session_with(standin) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.noop()
        with pytest.raises(ConnectionError):
            await session.noop()


@pytest.mark.parametrize("trick", ["* BYE tidur\r\n", close, abort, half_close, garbage, "+ dengar\r\n* BYE\r\n", hang])
async def test_idle_ends_when_the_connection_does(trick: Trick) -> None:
    stirred = asyncio.Event()
    standin = ImapStandIn(tricks={"IDLE": trick})
    async with session_with(standin, stir=stirred.set) as session:
        await session.select("INBOX")
        stirred.clear()
        async with asyncio.timeout(2):
            with pytest.raises((ConnectionError, Unreadable, TimeoutError)):
                await session.idle(stirred, timedelta(minutes=5))


async def test_idle_hears_what_comes_before_it_is_confirmed() -> None:
    stirred = asyncio.Event()

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        writer.write(b"* 4 EXISTS\r\n+ dengar\r\n")
        await reader.readline()
        writer.write(f"{tag} OK\r\n".encode())

    standin = ImapStandIn(tricks={"IDLE": hasty})
    async with session_with(standin, stir=stirred.set) as session:
        await session.select("INBOX")
        await session.noop()
        stirred.clear()
        async with asyncio.timeout(2):
            await session.idle(stirred, timedelta(minutes=5))
        assert session.news
        assert await session.noop()


async def test_a_server_that_refuses_idle_is_not_asked_again() -> None:
    standin = ImapStandIn(tricks={"IDLE": "{tag} NO tak boleh\r\n"})
    async with session_with(standin) as session:
        await session.select("INBOX")
        await session.idle(asyncio.Event(), timedelta(minutes=5))
        assert not session.can_idle


async def test_idle_is_bounded() -> None:
    standin = ImapStandIn()
    async with session_with(standin) as session:
        await session.select("INBOX")
        async with asyncio.timeout(2):
            await session.idle(asyncio.Event(), timedelta(seconds=0.05))
        await session.noop()


async def test_deleting_without_uidplus_spares_what_others_have_marked() -> None:
    standin = ImapStandIn(capabilities="IMAP4rev1")
    ours, theirs = standin.put(b"a: b\r\n\r\n"), standin.put(b"c: d\r\n\r\n")
    standin.deleted = {theirs}
    async with session_with(standin) as session:
        await session.select("INBOX")
        await session.delete([ours])
        assert not any(line.endswith(" EXPUNGE") for line in standin.asked)
        assert any(line.endswith("UID SEARCH DELETED") for line in standin.asked)
        standin.deleted = set()
        await session.delete([ours])
        assert standin.asked[-1].endswith(" EXPUNGE")


async def test_closing_says_goodbye() -> None:
    standin = ImapStandIn()
    async with session_with(standin) as session:
        session.close()
        await until(lambda: standin.asked[-1].endswith(" LOGOUT"))
