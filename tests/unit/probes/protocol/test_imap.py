"""An IMAP session ends with its cause. Each known defect of aioimaplib has a test."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from probes.model.mailbox import Security
from probes.model.probe import CommandRejectedError, ProtocolError
from probes.model.reply import Reason
from probes.model.result import Outcome, Party, Phase
from probes.protocol.imap import ImapSession, open_session
from probes.run.trace import TraceRecorder
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.imap_session import (
    LEG,
    failure_with,
    half_close,
    plain_greeting,
    session_with,
)
from tests.unit.probes.standin import (
    Handler,
    ImapStandIn,
    Trick,
    abort,
    close,
    endless_line,
    garbage,
    hang,
    listening,
    mailbox,
    server,
    server_context,
    until,
)


async def test_imap_phases_are_timed_separately() -> None:
    recorder = TraceRecorder()
    async with session_with(ImapStandIn(), recorder=recorder):
        assert list(recorder.phases) == [Phase.DNS, Phase.CONNECT, Phase.TLS, Phase.AUTH]


@pytest.mark.pitfall
@pytest.mark.parametrize(
    ("standin", "outcome", "phase", "reason"),
    [
        (plain_greeting, Outcome.TLS, Phase.TLS, Reason.TLS_NOT_SPOKEN),
        (close, Outcome.CONNECT, Phase.TLS, Reason.CONNECTION_CLOSED),
        (abort, Outcome.CONNECT, Phase.TLS, Reason.CONNECTION_CLOSED),
        (half_close, Outcome.CONNECT, Phase.TLS, Reason.CONNECTION_CLOSED),
    ],
)
async def test_imap_port_without_tls_fails_with_cause(
    standin: Handler, outcome: Outcome, phase: Phase, reason: Reason
) -> None:
    """Trap: TLS on a clear-text port, or the reverse, hangs without a reason (#128).

    Pantau: The port is named as the cause.
    """
    failure = await failure_with(standin, security=Security.IMPLICIT)
    assert (failure.outcome, failure.failure.phase, failure.failure.reason) == (outcome, phase, reason)


@pytest.mark.parametrize(
    ("standin", "outcome", "phase", "reason"),
    [
        (hang, Outcome.TIMEOUT, Phase.CONNECT, Reason.NO_ANSWER),
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
async def test_imap_failure_at_each_stage_has_cause(
    standin: Handler, outcome: Outcome, phase: Phase, reason: Reason
) -> None:
    failure = await failure_with(standin, tls=server_context(), security=Security.IMPLICIT)
    assert (failure.outcome, failure.failure.phase, failure.failure.reason) == (outcome, phase, reason)
    assert failure.failure.party is Party.RECIPIENT
    assert "rahsia" not in str(failure.failure)


@pytest.mark.pitfall
async def test_imap_bad_certificate_is_reported_and_no_credentials_are_sent() -> None:
    """Trap: A bad certificate hangs without a reason (#128).

    Pantau: It is named, and nothing is sent to such a server.
    """
    standin = ImapStandIn()
    failure = await failure_with(standin, tls=server_context("lain.example"), security=Security.IMPLICIT)
    assert (failure.outcome, failure.failure.reason) == (Outcome.TLS, Reason.CERTIFICATE_NAME_MISMATCH)
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


@pytest.mark.pitfall
async def test_imap_starttls_precedes_login() -> None:
    """Trap: There is no STARTTLS (#1).

    Pantau: There is, before any secret.
    """
    inner, handler = starttls()
    async with session_with(handler, security=Security.STARTTLS) as session:
        assert "LOGINDISABLED" not in session.capabilities
        assert inner.asked[1].partition(" ")[2].startswith('LOGIN "semakan@')


@pytest.mark.pitfall
async def test_imap_text_injected_before_tls_is_reported() -> None:
    """Trap: Text after the STARTTLS answer is read as sent under TLS.

    Pantau: The connection ends.
    """
    inner, handler = starttls(before=b"* CAPABILITY IMAP4rev1 X-JAHAT\r\n")
    failure = await failure_with(handler, security=Security.STARTTLS)
    assert (failure.outcome, failure.failure.phase) == (Outcome.TLS, Phase.TLS)
    assert failure.failure.reason is Reason.TLS_INJECTION
    assert inner.asked == []


@pytest.mark.parametrize(
    ("standin", "reason"),
    [
        (ImapStandIn(), Reason.TLS_NOT_OFFERED),
        (ImapStandIn(greeting="* PREAUTH hai\r\n", capabilities="IMAP4rev1 STARTTLS"), Reason.TLS_NOT_OFFERED),
        (
            ImapStandIn(capabilities="IMAP4rev1 STARTTLS", tricks={"STARTTLS": "{tag} NO rosak\r\n"}),
            Reason.TLS_UNAVAILABLE,
        ),
        (ImapStandIn(capabilities="STARTTLS", tricks={"STARTTLS": "{tag} OK\r\n"}), None),
    ],
)
async def test_imap_starttls_is_never_opportunistic(standin: ImapStandIn, reason: Reason | None) -> None:
    if reason is None:
        standin.tricks["STARTTLS"] = answer_and_stay_plain
    failure = await failure_with(standin, security=Security.STARTTLS)
    assert failure.failure.phase is Phase.TLS
    assert reason is None or failure.failure.reason is reason
    assert not any("LOGIN" in line for line in standin.asked)


async def answer_and_stay_plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"salah OK mula\r\n")


@pytest.mark.pitfall
@pytest.mark.parametrize("secret", ['"petik"', "back\\slash", "ruang dan {3}", "kata laluan ñ"])
async def test_imap_password_is_quoted_and_not_logged(secret: str, caplog: pytest.LogCaptureFixture) -> None:
    """Trap: A quoted password is written to the log.

    Pantau: Nothing that is sent is logged.
    """
    caplog.set_level(logging.DEBUG)
    standin = ImapStandIn()
    async with session_with(standin, secret=secret):
        login = next(line for line in standin.asked if " LOGIN " in line)
        escaped = secret.replace("\\", "\\\\").replace('"', '\\"')
        assert login.endswith(f' "{escaped}"')
    assert secret not in caplog.text
    assert escaped not in caplog.text


async def test_imap_password_with_line_break_is_not_sent() -> None:
    standin = ImapStandIn()
    with pytest.raises(ValueError, match="not allowed") as caught:
        async with session_with(standin, secret="a\r\nx LOGOUT"):
            pass
    assert "LOGOUT" not in str(caught.value)


@pytest.mark.pitfall
async def test_imap_fifteen_hundred_lines_at_once_are_read() -> None:
    """Trap: A thousand lines at once exceed the recursion limit (#118).

    Pantau: Lines are read in a loop.
    """

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        lines = "".join(f"* {number} FETCH (UID {number})\r\n" for number in range(1, 1501))
        writer.write(f"{lines}{tag} OK\r\n".encode())

    standin = ImapStandIn(tricks={"UID FETCH": flood})
    async with session_with(standin) as session:
        await session.select("INBOX")
        assert await session.uids_from(1) == list(range(1, 1501))


@pytest.mark.pitfall
async def test_imap_brackets_and_stars_in_mail_are_literal() -> None:
    """Trap: Content of a mail is taken for a server's answer.

    Pantau: Literals are not parsed as answers.
    """
    raw = b"Subject: * 3 EXISTS ((( {10}\r\n\r\na1 OK ) * BYE\r\n"
    standin = ImapStandIn()
    uid = standin.put(raw)
    async with session_with(standin) as session:
        await session.select("INBOX")
        (header,) = await session.fetch_headers([uid])
        assert header.content == raw[: raw.index(b"\r\n\r\n") + 4]
        assert await session.fetch_message(uid) == raw
        assert await session.fetch_message(99) is None


@pytest.mark.pitfall
@pytest.mark.parametrize(
    ("trick", "error"),
    [
        (hang, TimeoutError),
        (close, ConnectionError),
        (abort, ConnectionError),
        (half_close, ConnectionError),
        (garbage, ProtocolError),
        (endless_line, ProtocolError),
        ("* BYE mati\r\n", ConnectionError),
        ("{tag} NO tidak\r\n", CommandRejectedError),
        ("{tag} BAD apa\r\n", CommandRejectedError),
        ("{tag} MUNGKIN\r\n", ProtocolError),
        ("* 1 FETCH (BODY[] {50}\r\nhalf", TimeoutError),
    ],
)
@pytest.mark.parametrize(
    ("command", "ask"),
    [
        ("NOOP", lambda session: session.noop()),
        ("SELECT", lambda session: session.select("INBOX")),
        ("STATUS", lambda session: session.status("Junk")),
        ("UID FETCH", lambda session: session.uids_from(1)),
        ("UID STORE", lambda session: session.delete([1])),
        ("LIST", lambda session: session.list_junk_folders()),
    ],
)
async def test_imap_command_on_broken_connection_ends_with_cause(
    trick: Trick, error: type[Exception], command: str, ask: Callable[[ImapSession], Awaitable[object]]
) -> None:
    """Trap: A lost connection leaves the command waiting.

    Pantau: The command ends with the cause.
    """
    standin = ImapStandIn()
    async with session_with(standin) as session:
        await session.select("INBOX")
        standin.tricks[command] = trick
        async with asyncio.timeout(HANG_TIMEOUT):
            with pytest.raises(error):
                await ask(session)
            if error is not CommandRejectedError:
                # The connection is unusable, and no command waits on it.
                with pytest.raises((TimeoutError, ConnectionError, ProtocolError)):
                    await session.noop()


@pytest.mark.pitfall
async def test_imap_connection_is_not_reused_after_timeout() -> None:
    """Trap: After a time-out the next command of that name waits for the dead one.

    Pantau: The connection is thrown away.
    """
    standin = ImapStandIn(tricks={"NOOP": hang})
    async with session_with(standin) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.noop()
        with pytest.raises(ConnectionError):
            await session.noop()


@pytest.mark.pitfall
@pytest.mark.parametrize("trick", ["* BYE tidur\r\n", close, abort, half_close, garbage, "+ dengar\r\n* BYE\r\n", hang])
async def test_imap_idle_ends_on_bye_or_closed_connection(trick: Trick) -> None:
    """Trap: IDLE never returns after BYE or a closed connection (#110).

    Pantau: It ends at once with the cause.
    """
    wake_event = asyncio.Event()
    standin = ImapStandIn(tricks={"IDLE": trick})
    async with session_with(standin, wake=wake_event.set) as session:
        await session.select("INBOX")
        wake_event.clear()
        async with asyncio.timeout(HANG_TIMEOUT):
            with pytest.raises((ConnectionError, ProtocolError, TimeoutError)):
                await session.idle(wake_event, timedelta(minutes=5))


@pytest.mark.pitfall
async def test_imap_exists_before_idle_confirmation_is_handled() -> None:
    """Trap: Updates come before IDLE is confirmed (Webklex/php-imap #258).

    Pantau: They are handled.
    """
    wake_event = asyncio.Event()

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        writer.write(b"* 4 EXISTS\r\n+ dengar\r\n")
        await reader.readline()
        writer.write(f"{tag} OK\r\n".encode())

    standin = ImapStandIn(tricks={"IDLE": hasty})
    async with session_with(standin, wake=wake_event.set) as session:
        await session.select("INBOX")
        await session.noop()
        wake_event.clear()
        async with asyncio.timeout(HANG_TIMEOUT):
            await session.idle(wake_event, timedelta(minutes=5))
        assert session.has_new_mail
        assert await session.noop()


async def test_imap_refused_idle_is_not_repeated() -> None:
    standin = ImapStandIn(tricks={"IDLE": "{tag} NO tak boleh\r\n"})
    async with session_with(standin) as session:
        await session.select("INBOX")
        await session.idle(asyncio.Event(), timedelta(minutes=5))
        assert not session.can_idle


@pytest.mark.pitfall
async def test_imap_idle_ends_after_its_duration() -> None:
    """Trap: IDLE has no end of its own.

    Pantau: It has one.
    """
    standin = ImapStandIn()
    async with session_with(standin) as session:
        await session.select("INBOX")
        async with asyncio.timeout(HANG_TIMEOUT):
            await session.idle(asyncio.Event(), timedelta(seconds=0.05))
        await session.noop()


@pytest.mark.pitfall
async def test_imap_delete_without_uidplus_spares_mail_marked_by_others() -> None:
    """Trap: Without UIDPLUS, EXPUNGE deletes what others have marked.

    Pantau: It is not sent, and our mail stays marked.
    """
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


@pytest.mark.pitfall
async def test_imap_close_sends_logout() -> None:
    """Trap: A connection without LOGOUT counts for a while.

    Pantau: LOGOUT is sent.
    """
    standin = ImapStandIn()
    async with session_with(standin) as session:
        session.close()
        await until(lambda: standin.asked[-1].endswith(" LOGOUT"))


@pytest.mark.pitfall
async def test_imap_search_has_no_charset_for_exchange() -> None:
    """Trap: SEARCH names a character set, and Exchange refuses it (BADCHARSET).

    Pantau: It names none.
    """
    standin = ImapStandIn(capabilities="IMAP4rev1")
    uid = standin.put(b"Subject: x\r\n\r\n")
    async with session_with(standin) as session:
        await session.select("INBOX")
        await session.delete([uid])
    assert any("SEARCH" in line for line in standin.asked)
    assert not any("CHARSET" in line for line in standin.asked)


@pytest.mark.pitfall
async def test_imap_folder_without_need_is_not_quoted_for_office_365() -> None:
    """Trap: Office 365 hangs on a quoted folder with "&-" (Home-Assistant-Mail-And-Packages #1256).

    Pantau: Names are quoted only when necessary.
    """
    standin = ImapStandIn()
    async with session_with(standin) as session:
        for folder in ("Sarap &- Sampah", "R&AOk-sum&AOk-", "kongsi/pro", 'dengan "petik"'):
            await session.select(folder)
    assert [line.partition("SELECT ")[2] for line in standin.asked if "SELECT" in line] == [
        '"Sarap &- Sampah"',
        "R&AOk-sum&AOk-",
        "kongsi/pro",
        '"dengan \\"petik\\""',
    ]


@pytest.mark.pitfall
async def test_tls_context_is_shared_by_consecutive_connections() -> None:
    """Trap: With a shared TLS context every second connection stalls (Home-Assistant-Mail-And-Packages #1382).

    Pantau: It is shared, and none stalls.
    """
    async with asyncio.timeout(HANG_TIMEOUT), listening(ImapStandIn(), server_context()) as port:
        box = mailbox(imap=server(port))
        for _ in range(20):
            (await open_session(box, TraceRecorder(), Party.RECIPIENT, response_timeout=LEG)).close()


@pytest.mark.pitfall
async def test_imap_timeout_is_not_reported_as_broken_connection() -> None:
    """Trap: Python's `TimeoutError` is an `OSError`: catching one swallows the other.

    Pantau: They are told apart.
    """
    failure = await failure_with(ImapStandIn(tricks={"LOGIN": hang}), tls=server_context(), security=Security.IMPLICIT)
    assert (failure.outcome, failure.failure.reason) == (Outcome.TIMEOUT, Reason.NO_ANSWER)
