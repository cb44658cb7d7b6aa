"""Known defects of aioimaplib and of alternative IMAP clients."""

from __future__ import annotations

import ast
import asyncio
import tomllib
from base64 import b64decode
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest

from probes.model.mailbox import Password, Security
from probes.model.polling import PollingPolicy
from probes.model.probe import ProtocolError
from probes.model.reply import Reason
from probes.model.result import Outcome, Party, Phase
from probes.protocol.imap import open_session
from probes.run.trace import TraceRecorder
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.imap_session import LEG, failure_with, session_with
from tests.unit.probes.standin import (
    Handler,
    ImapStandIn,
    Trick,
    abort,
    close,
    hang,
    listening,
    mailbox,
    server,
    server_context,
    until,
)
from tests.unit.probes.watchers import FOREIGN, POLLING, Counted, issue, mail, until_deleted, watching

ROOT = Path(__file__).parents[4]


@pytest.mark.pitfall
def test_licence_is_compatible_with_aioimaplib() -> None:
    """Trap: It is GPL-3.0-only and decides the licence of whoever imports it.

    Pantau: Ours is GPL-3.0-or-later.
    """
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license"]
    theirs = str(metadata("aioimaplib")["License-Expression"] or metadata("aioimaplib")["License"])
    assert "GPL-3.0" in theirs
    assert ours in {"GPL-3.0-only", "GPL-3.0-or-later"}
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.split()[:6] == ["GNU", "GENERAL", "PUBLIC", "LICENSE", "Version", "3,"]


@pytest.mark.pitfall
def test_aioimaplib_is_imported_by_one_module() -> None:
    """Trap: It has few maintainers.

    Pantau: One module would change.
    """
    users = {
        path.relative_to(ROOT).as_posix()
        for package in ("probes", "monitor", "alerts")
        for path in (ROOT / package).rglob("*.py")
        if "aioimaplib" in imported_by(path)
    }
    assert users == {"probes/protocol/imap_wire.py"}


def imported_by(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.partition(".")[0] for name in named | {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}}


@pytest.mark.pitfall
@pytest.mark.parametrize("trick", [close, abort, "* BYE mati\r\n"])
@pytest.mark.parametrize("security", Security)
async def test_imap_lost_connection_fails_waiting_command_over_any_tls(security: Security, trick: Trick) -> None:
    """Trap: A lost connection over TLS goes unnoticed.

    Pantau: It is noticed over either kind of TLS.
    """
    standin = ImapStandIn(tricks={"NOOP": trick})
    handler: Handler = standin if security is Security.IMPLICIT else upgraded(standin)
    async with (
        asyncio.timeout(HANG_TIMEOUT),
        session_with(handler, security=security, response_timeout=timedelta(minutes=1)) as session,
    ):
        with pytest.raises(ConnectionError):
            await session.noop()


def upgraded(standin: ImapStandIn) -> Handler:
    """Return a handler that upgrades to *standin* with STARTTLS."""
    standin.greeting = ""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] sedia\r\n")
        for answer in ("* CAPABILITY IMAP4rev1 STARTTLS\r\n{tag} OK\r\n", "{tag} OK mula\r\n"):
            tag = (await reader.readline()).split()[0].decode()
            writer.write(answer.replace("{tag}", tag).encode())
        await writer.start_tls(server_context())
        await standin(reader, writer)

    return handler


@pytest.mark.pitfall
async def test_imap_new_connection_continues_after_loss() -> None:
    """Trap: After a loss the same connection is tried again (Home Assistant #90881).

    Pantau: A new one continues where it stopped.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    kept = standin.put(FOREIGN)
    async with watching(standin, counted) as watcher:
        await until(lambda: bool(standin.idling))
        with watcher.expect(token) as expectation:
            await expectation.ready
            for writer in list(standin.idling):
                writer.transport.abort()
            uid = standin.put(mail(token))
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)
        await until_deleted(standin, uid)
    assert standin.connections == 2
    assert sum(" LOGIN " in line for line in standin.asked) == 2
    assert list(standin.mails) == [kept]


@pytest.mark.pitfall
async def test_imap_message_without_idle_notification_is_found() -> None:
    """Trap: Mail is seen only if IDLE reports it.

    Pantau: The mailbox is polled too while a run waits.
    """

    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        news = "* 1 EXISTS\r\n" if standin.mails else ""
        writer.write(f"{news}{tag} OK\r\n".encode())

    standin, counted, token = ImapStandIn(tricks={"NOOP": tell}), Counted(), issue()
    async with watching(standin, counted, polling=replace(POLLING, max_interval=timedelta(seconds=1))) as watcher:
        with watcher.expect(token) as expectation:
            await until(lambda: bool(standin.idling))
            # As after fifteen minutes of IDLE: no notification.
            standin.mails[standin.next_uid] = mail(token)
            standin.next_uid += 1
            assert await expectation.content == mail(token)


@pytest.mark.pitfall
async def test_imap_idle_is_restarted_before_servers_go_silent() -> None:
    """Trap: IDLE goes silent after a quarter of an hour (Home Assistant #86407).

    Pantau: It is restarted every five minutes.
    """
    assert PollingPolicy().announced_interval <= timedelta(minutes=10)
    standin = ImapStandIn()
    async with watching(standin, Counted(), polling=replace(POLLING, announced_interval=timedelta(seconds=1))):
        await until(lambda: sum(line.endswith(" IDLE") for line in standin.asked) >= 2)
    assert standin.connections == 1


@pytest.mark.pitfall
async def test_imap_large_mailbox_is_never_listed() -> None:
    """Trap: A large mailbox is listed as a whole.

    Pantau: The newest 200 are read, 25 at a time, then new mail.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    for _ in range(3000):
        standin.put(FOREIGN)
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            await expectation.ready
            standin.put(mail(token))
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)
        await until(lambda: bool(standin.idling))
    fetched = [line for line in standin.asked if "FETCH" in line]
    assert [line.partition(" ")[2] for line in fetched if "UID FETCH" not in line] == ["FETCH 2801:3000 (UID)"]
    # UID queries are small, or start at the next unread UID.
    assert all(len(line.split()[3].split(",")) <= 25 for line in fetched if "UID FETCH" in line)
    assert {line.split()[3] for line in fetched if line.endswith("(UID)") and "UID FETCH" in line} <= {
        "3001:*",
        "3002:*",
    }


@pytest.mark.pitfall
async def test_imap_lone_bracket_in_quoted_string_is_read() -> None:
    """Trap: A bracket in a quoted string spoils or hangs the answer (#51).

    Pantau: Brackets are not counted.
    """
    header = "Subject: ((( 1 ) a1 OK"
    said = f'* 1 FETCH (UID 1 RFC822.SIZE 40 BODY[HEADER]<0> "{header}")\r\n{{tag}} OK\r\n'
    standin = ImapStandIn(tricks={"UID FETCH": said})
    async with session_with(standin) as session:
        await session.select("INBOX")
        (found,) = await session.fetch_headers([1])
        assert (found.uid, found.size, found.content) == (1, 40, header.encode())


@pytest.mark.pitfall
async def test_imap_headers_are_fetched_as_literals_without_envelope() -> None:
    """Trap: ENVELOPE puts strangers' text into quoted strings (#51).

    Pantau: Headers are fetched as they are.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            standin.put(mail(token))
            expectation.request_fast_polling()
            await expectation.content
    assert any("BODY.PEEK[HEADER]" in line for line in standin.asked)
    assert not any(word in line for line in standin.asked for word in ("ENVELOPE", "BODYSTRUCTURE", "BODY["))


@pytest.mark.pitfall
async def test_imap_star_within_line_is_kept() -> None:
    """Trap: "* " is removed anywhere in a line.

    Pantau: Only at its beginning.
    """
    listed = '* LIST (\\Junk) "/" "Sarap * 2026 * lama"\r\n{tag} OK\r\n'
    standin = ImapStandIn(tricks={"LIST": listed})
    async with session_with(standin) as session:
        assert await session.list_junk_folders() == ("Sarap * 2026 * lama",)


@pytest.mark.pitfall
@pytest.mark.parametrize("said", ["zz9 OK\r\n", "{tag} MUNGKIN\r\n", "apa?\r\n", "* 1 FETCH (BODY[] {99999999999}\r\n"])
async def test_imap_unexpected_answer_ends_command_with_cause(said: str) -> None:
    """Trap: An unexpected answer ends the connection silently (Home Assistant #90817).

    Pantau: The command ends with the reason.
    """
    standin = ImapStandIn(tricks={"NOOP": said})
    async with asyncio.timeout(HANG_TIMEOUT), session_with(standin, response_timeout=timedelta(minutes=1)) as session:
        with pytest.raises(ProtocolError):
            await session.noop()


@pytest.mark.pitfall
async def test_imap_bug_while_reading_ends_waiting_command() -> None:
    """Trap: An error of the reader ends the connection silently.

    Pantau: The command ends, for a bug of ours too.
    """
    bugs: list[str] = []
    handled: list[dict[str, Any]] = []

    def wake() -> None:
        if bugs:
            raise KeyError(bugs.pop())

    asyncio.get_running_loop().set_exception_handler(lambda _, context: handled.append(context))
    standin = ImapStandIn(tricks={"IDLE": "* 3 EXISTS\r\n"})
    async with (
        asyncio.timeout(HANG_TIMEOUT),
        session_with(standin, wake=wake, response_timeout=timedelta(minutes=1)) as session,
    ):
        await session.select("INBOX")
        bugs.append("pepijat")
        with pytest.raises(ConnectionError, match="pepijat"):
            await session.idle(asyncio.Event(), timedelta(minutes=1))
    assert any(isinstance(context.get("exception"), KeyError) for context in handled)


@pytest.mark.pitfall
@pytest.mark.parametrize("at_once", [True, False])
async def test_imap_login_disabled_uses_authenticate_plain(*, at_once: bool) -> None:
    """Trap: There is no AUTHENTICATE but XOAUTH2, and some servers disable LOGIN.

    Pantau: PLAIN is used there.
    """
    said: list[bytes] = []

    async def authenticate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag, _, _, *rest = standin.asked[-1].split()
        if not rest:
            writer.write(b"+ \r\n")
            rest = [(await reader.readline()).decode().strip()]
        said.append(b64decode(rest[0]))
        writer.write(f"{tag} OK masuk\r\n".encode())

    offers = f"IMAP4rev1 LOGINDISABLED AUTH=PLAIN{' SASL-IR' if at_once else ''}"
    standin = ImapStandIn(capabilities=offers, tricks={"AUTHENTICATE PLAIN": authenticate})
    async with session_with(standin, secret="kata laluan ñ"):
        pass
    assert said == ["\0semakan@jabatan-contoh.gov.my\0kata laluan ñ".encode()]
    assert not any(" LOGIN " in line for line in standin.asked)


async def test_imap_plain_password_refused_is_not_repeated_in_detail() -> None:
    async def repeat(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag, _command, _mechanism, response = standin.asked[-1].split()
        writer.write(f"{tag} NO [AUTHENTICATIONFAILED] {response}\r\n".encode())

    standin = ImapStandIn(
        capabilities="IMAP4rev1 LOGINDISABLED AUTH=PLAIN SASL-IR", tricks={"AUTHENTICATE PLAIN": repeat}
    )
    failure = await failure_with(standin, tls=server_context(), security=Security.IMPLICIT)
    assert (failure.outcome, failure.failure.reason) == (Outcome.AUTH, Reason.CREDENTIALS_REFUSED)
    assert failure.failure.detail.endswith("***")


@pytest.mark.pitfall
@pytest.mark.parametrize(
    ("user", "written"),
    [
        ("JABATAN\\semakan", '"JABATAN\\\\semakan"'),
        ("unit semakan", '"unit semakan"'),
        ('"semakan"', '"\\"semakan\\""'),
        ("semakan{3}", '"semakan{3}"'),
    ],
)
async def test_imap_user_name_is_quoted_in_login(user: str, written: str) -> None:
    """Trap: LOGIN sends the user name unquoted.

    Pantau: It is quoted.
    """
    standin = ImapStandIn()
    async with listening(standin, server_context()) as port:
        box = replace(mailbox(imap=server(port)), login=Password(username=user, secret="rahsia"))
        (await open_session(box, TraceRecorder(), Party.RECIPIENT, response_timeout=LEG)).close()
    assert [line.partition(" LOGIN ")[2] for line in standin.asked if " LOGIN " in line] == [f'{written} "rahsia"']


@pytest.mark.pitfall
async def test_imap_folder_with_spaces_and_quotes_is_quoted() -> None:
    """Trap: SELECT sends the folder unquoted.

    Pantau: It is quoted where necessary.
    """
    standin = ImapStandIn()
    async with session_with(standin) as session:
        for folder in ("E-mel Sarap", 'dengan "petik"', "jabatan\\lama"):
            await session.select(folder)
    assert [line.partition("SELECT ")[2] for line in standin.asked if "SELECT" in line] == [
        '"E-mel Sarap"',
        '"dengan \\"petik\\""',
        '"jabatan\\\\lama"',
    ]


@pytest.mark.pitfall
async def test_imap_search_has_no_brackets_for_office_365() -> None:
    """Trap: Office 365 refuses a SEARCH with brackets, Yahoo an OR without.

    Pantau: The one search has neither.
    """
    standin = ImapStandIn(capabilities="IMAP4rev1")
    uid = standin.put(FOREIGN)
    async with session_with(standin) as session:
        await session.select("INBOX")
        await session.delete([uid])
    searches = [line.partition(" ")[2] for line in standin.asked if "SEARCH" in line]
    # Yahoo requires brackets around an OR; we send no OR.
    assert searches == ["UID SEARCH DELETED"]


@pytest.mark.pitfall
async def test_imap_earlier_idle_does_not_end_next_one() -> None:
    """Trap: What an earlier IDLE queued ends the next one (#30).

    Pantau: There is no queue.
    """
    wake_event = asyncio.Event()
    standin = ImapStandIn()
    async with session_with(standin, wake=wake_event.set) as session:
        await session.select("INBOX")
        for _ in range(2):
            wake_event.clear()
            idling = asyncio.create_task(session.idle(wake_event, timedelta(minutes=5)))
            await until(lambda: bool(standin.idling))
            standin.put(FOREIGN)
            await asyncio.wait_for(idling, HANG_TIMEOUT)
            assert await session.noop()
            wake_event.clear()
            began = asyncio.get_running_loop().time()
            await session.idle(wake_event, timedelta(seconds=0.1))
            assert asyncio.get_running_loop().time() - began >= 0.09
            assert not session.has_new_mail


@pytest.mark.pitfall
async def test_imap_exists_while_idle_ends_is_handled() -> None:
    """Trap: Updates that come while IDLE ends are dropped.

    Pantau: They are read.
    """

    async def late_news(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        writer.write(b"+ dengar\r\n")
        await reader.readline()
        writer.write(f"* 1 EXISTS\r\n{tag} OK\r\n".encode())

    standin = ImapStandIn(tricks={"IDLE": late_news, "NOOP": "{tag} OK\r\n"})
    async with session_with(standin) as session:
        await session.select("INBOX")
        await session.idle(asyncio.Event(), timedelta(seconds=0.01))
        assert await session.noop()


@pytest.mark.pitfall
@pytest.mark.parametrize("capabilities", ["IMAP4rev1 UIDPLUS", "IMAP4rev1"])
async def test_imap_messages_are_deleted_by_uid_where_supported(capabilities: str) -> None:
    """Trap: Not every command has a UID form.

    Pantau: The necessary ones do, by their own methods.
    """
    standin = ImapStandIn(capabilities=capabilities, next_uid=900)
    uid = standin.put(FOREIGN)
    async with session_with(standin) as session:
        await session.select("INBOX")
        await session.delete([uid])
    said = [line.partition(" ")[2] for line in standin.asked if "STORE" in line or "EXPUNGE" in line]
    expunge = "UID EXPUNGE 900" if "UIDPLUS" in capabilities else "EXPUNGE"
    assert said == ["UID STORE 900 +FLAGS.SILENT (\\Deleted)", expunge]
    assert standin.mails == {}


@pytest.mark.pitfall
async def test_imap_unfinished_tls_handshake_times_out() -> None:
    """Trap: IMAPClient's time-out does not cover TLS (IMAPClient #646).

    Pantau: The handshake is bounded too.
    """
    recorder = TraceRecorder()
    async with asyncio.timeout(HANG_TIMEOUT), listening(hang) as port:
        box = mailbox(imap=server(port))
        with pytest.raises(TimeoutError):
            await open_session(box, recorder, Party.RECIPIENT, response_timeout=timedelta(minutes=1), within=LEG)
    assert recorder.location == (Phase.TLS, Party.RECIPIENT)


@pytest.mark.pitfall
async def test_imap_leaving_idle_on_cut_link_times_out() -> None:
    """Trap: IMAPClient hangs when IDLE ends on a cut link (IMAPClient #449).

    Pantau: Ending it is bounded too.
    """

    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+ dengar\r\n")
        await asyncio.Event().wait()

    async with asyncio.timeout(HANG_TIMEOUT), session_with(ImapStandIn(tricks={"IDLE": deaf})) as session:
        await session.select("INBOX")
        with pytest.raises(TimeoutError):
            await session.idle(asyncio.Event(), timedelta(seconds=0.02))


@pytest.mark.pitfall
async def test_imap_open_session_has_one_deadline() -> None:
    """Trap: Each answer is in time, and all of them together are not.

    Pantau: One deadline covers the whole.
    """

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        await asyncio.sleep(0.25)  # the slow server itself
        writer.write(f"* CAPABILITY IMAP4rev1\r\n{tag} OK\r\n".encode())

    standin = ImapStandIn(tricks={"CAPABILITY": slowly, "LOGIN": slowly})
    async with asyncio.timeout(HANG_TIMEOUT), listening(standin, server_context()) as port:
        box, within = mailbox(imap=server(port)), timedelta(seconds=0.3)
        with pytest.raises(TimeoutError):
            # Each answer comes in time for itself.
            await open_session(box, TraceRecorder(), Party.RECIPIENT, response_timeout=within, within=within)
