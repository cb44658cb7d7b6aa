"""Peculiarities of IMAP servers such as Gmail and Microsoft 365."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy

import pytest
from structlog.testing import capture_logs

from probes.arrival.expectation import Arrived, FolderKind
from probes.arrival.watcher import MailboxWatcher
from probes.mail.message import TOKEN_HEADER
from probes.mail.token import Token
from probes.model.probe import ProbeFailedError
from probes.model.reply import Reason
from probes.model.result import Party
from probes.protocol.imap import open_session
from probes.run.trace import TraceRecorder
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.imap_session import LEG
from tests.unit.probes.standin import ImapStandIn, Trick, listening, mailbox, server, server_context, until
from tests.unit.probes.watchers import (
    FOREIGN,
    POLLING,
    SIGNER,
    TIMEOUTS,
    Counted,
    issue,
    mail,
    running,
    until_deleted,
    watching,
)


async def expect_delivery(watcher: MailboxWatcher, standin: ImapStandIn, token: Token) -> None:
    """Wait for the message of *token*, which is put in while its run waits."""
    with watcher.expect(token) as expectation:
        await expectation.ready
        standin.put(mail(token))
        expectation.request_fast_polling()
        assert await expectation.content == mail(token)


@pytest.mark.pitfall
async def test_imap_message_shown_only_after_noop_is_found() -> None:
    """Trap: Gmail announces a message and shows it only after a NOOP.

    Pantau: NOOP precedes each look.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    arriving: dict[int, bytes] = {}

    async def show(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = standin.asked[-1].split()[0]
        standin.mails |= arriving
        writer.write(f"* {len(standin.mails)} EXISTS\r\n{tag} OK\r\n".encode())

    standin.tricks["NOOP"] = show
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            await expectation.ready
            await until(lambda: bool(standin.idling))
            # As in Gmail: the message is announced, and only NOOP shows it.
            arriving[standin.next_uid] = mail(token)
            standin.next_uid += 1
            expectation.request_fast_polling()
            assert await expectation.content == mail(token)


@pytest.mark.pitfall
@pytest.mark.parametrize("answer", ["* SEARCH\r\n{tag} OK\r\n", "{tag} NO tak boleh\r\n", "{tag} BAD apa?\r\n"])
async def test_imap_watcher_never_uses_server_search(answer: str) -> None:
    """Trap: Searching headers is unreliable.

    Pantau: New UIDs are fetched and matched locally.
    """
    standin, counted, token = ImapStandIn(tricks={"UID SEARCH": answer, "SEARCH": answer}), Counted(), issue()
    async with watching(standin, counted) as watcher:
        await expect_delivery(watcher, standin, token)
    assert not any("SEARCH" in line for line in standin.asked)
    assert any(line.endswith("UID FETCH 1:* (UID)") for line in standin.asked)


@pytest.mark.pitfall
async def test_imap_watcher_signs_in_once_for_all_polls() -> None:
    """Trap: Signing in for each look blocks accounts.

    Pantau: One sign-in serves all looks.
    """
    standin, counted = ImapStandIn(), Counted()
    async with watching(standin, counted) as watcher:
        for _ in range(20):
            await expect_delivery(watcher, standin, issue())
    assert sum(line.endswith(" NOOP") for line in standin.asked) >= 20
    assert sum(" LOGIN " in line for line in standin.asked) == 1


@pytest.mark.pitfall
async def test_imap_watcher_ended_during_idle_sends_done_and_logout() -> None:
    """Trap: LOGOUT is not understood during IDLE.

    Pantau: DONE comes first.
    """
    # No mail is new, so the watcher stays in IDLE until the end.
    standin, ended = ImapStandIn(tricks={"NOOP": "{tag} OK\r\n"}), asyncio.Event()
    received: list[bytes] = []

    async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+ dengar\r\n")
        with suppress(ConnectionError):
            received.extend([await reader.readline(), await reader.readline()])
        ended.set()

    standin.tricks["IDLE"] = idle
    async with asyncio.timeout(HANG_TIMEOUT), listening(standin, server_context()) as port:
        watcher = MailboxWatcher(
            mailbox(imap=server(port)), SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=POLLING
        )
        async with running(watcher):
            await until(lambda: any(line.endswith(" IDLE") for line in standin.asked))
        await ended.wait()
    assert [line.split()[-1:] for line in received] == [[b"DONE"], [b"LOGOUT"]]


@pytest.mark.pitfall
@pytest.mark.parametrize("command", ["NOOP", "LIST", "SELECT"])
async def test_imap_watcher_ended_during_command_sends_logout(command: str) -> None:
    """Trap: A command is under way at the end.

    Pantau: LOGOUT follows it.
    """
    received: list[bytes] = []

    async def hang_until_line(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        received.append(await reader.readline())

    standin = ImapStandIn(tricks={command: hang_until_line})
    timeouts = replace(TIMEOUTS, session=timedelta(minutes=1))
    async with asyncio.timeout(HANG_TIMEOUT), listening(standin, server_context()) as port:
        watcher = MailboxWatcher(
            mailbox(imap=server(port)), SIGNER, on_arrival=Counted(), timeouts=timeouts, polling=POLLING
        )
        async with running(watcher):
            await until(lambda: any(command in line for line in standin.asked))
        await until(lambda: bool(received))
    assert [line.split()[-1:] for line in received] == [[b"LOGOUT"]]


@pytest.mark.pitfall
async def test_imap_sign_in_refused_by_limit_sends_logout_and_is_not_wrong_password() -> None:
    """Trap: "User is authenticated but not connected" looks like a wrong password.

    Pantau: It is not, and LOGOUT is sent.
    """
    standin = ImapStandIn(tricks={"LOGIN": "{tag} NO [LIMIT] User is authenticated but not connected.\r\n"})
    async with listening(standin, server_context()) as port:
        with pytest.raises(ProbeFailedError) as caught:
            await open_session(mailbox(imap=server(port)), TraceRecorder(), Party.RECIPIENT, response_timeout=LEG)
        await until(lambda: standin.asked[-1].endswith(" LOGOUT"))
    # Too many connections say nothing about the password.
    assert caught.value.failure.reason is Reason.SIGN_IN_UNAVAILABLE
    assert not caught.value.failure.credentials_refused


def dated(date: str) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        message = message_from_bytes(raw, policy=policy.SMTP.clone(max_line_length=200))
        del message["Date"]
        message["Date"] = date
        return message.as_bytes()

    return change


@pytest.mark.pitfall
@pytest.mark.parametrize("date", ["Fri, 31 Dec 1999 23:59:59 +1400", "Sat, 1 Jan 2050 00:00:00 -1200", "semalam"])
async def test_imap_own_mail_is_recognised_without_server_or_header_dates(date: str) -> None:
    """Trap: SEARCH knows days only, and dates of mail differ by hours.

    Pantau: Only the token's time counts, in UTC.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            uid = standin.put(dated(date)(mail(token)))
            expectation.request_fast_polling()
            assert isinstance(await expectation.arrival, Arrived)
        await until_deleted(standin, uid)
    dates = ("INTERNALDATE", "SINCE", "BEFORE", " ON ", "OLDER", "YOUNGER")
    assert not any(word in line for line in standin.asked for word in dates)


@pytest.mark.pitfall
async def test_imap_configured_junk_folder_is_read_without_special_use() -> None:
    """Trap: Some servers mark no junk folder.

    Pantau: Names can be configured.
    """
    token = issue()
    standin = ImapStandIn(capabilities="IMAP4rev1 IDLE UIDPLUS", tricks={"LIST": '* LIST () "/" INBOX\r\n{tag} OK\r\n'})
    inbox, junk = standin.mails, {1: mail(token)}

    async def open_junk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        standin.mails = junk
        tag = standin.asked[-1].split()[0]
        writer.write(f"* 1 EXISTS\r\n* OK [UIDVALIDITY 9] x\r\n* OK [UIDNEXT 2] x\r\n{tag} OK\r\n".encode())

    async def open_inbox(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        standin.mails = inbox
        tag = standin.asked[-1].split()[0]
        writer.write(f"* 0 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 1] x\r\n{tag} OK\r\n".encode())

    standin.tricks |= {
        "SELECT SARAP&AOK-": open_junk,
        "SELECT INBOX": open_inbox,
        "STATUS": "* STATUS Sarap&AOk- (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 9)\r\n{tag} OK\r\n",
    }
    async with listening(standin, server_context()) as port:
        box = replace(mailbox(imap=server(port)), junk_folders=("Sarapé",))
        watcher = MailboxWatcher(box, SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=POLLING)
        async with running(watcher):
            with watcher.expect(token) as expectation:
                expectation.request_fast_polling()
                arrived_message = await expectation.arrival
    assert isinstance(arrived_message, Arrived)
    assert arrived_message.folder is FolderKind.JUNK


async def wait_for_poll(watcher: MailboxWatcher) -> None:
    """Start a run, so that the mailbox is polled; the sweep interval has passed before the next run."""
    with watcher.expect(issue()):
        await asyncio.sleep(0.03)


@pytest.mark.pitfall
@pytest.mark.parametrize(
    "tricks",
    [
        {"UID STORE": "{tag} NO [NOPERM] dalam pegangan undang-undang\r\n"},
        {"UID EXPUNGE": "{tag} NO [NOPERM] dalam pegangan undang-undang\r\n"},
        {"UID EXPUNGE": "{tag} OK\r\n"},
    ],
)
async def test_imap_own_mail_not_deletable_is_no_delivery_failure(tricks: dict[str, Trick]) -> None:
    """Trap: A legal hold keeps everything, or a server does not delete.

    Pantau: It is no fault of delivery; it is logged once and counted.
    """
    standin, counted = ImapStandIn(tricks=tricks), Counted()
    with capture_logs() as logs:
        async with watching(
            standin, counted, polling=replace(POLLING, sweep_interval=timedelta(seconds=0.02))
        ) as watcher:
            for _ in range(3):
                await expect_delivery(watcher, standin, issue())
                await watcher.wait_until_deleted()
            assert watcher.failure is None
            assert len(standin.mails) == 3
            # The number of undeleted messages is known, and logged once for all attempts.
            while watcher.undeleted_count < 3:
                await wait_for_poll(watcher)
            assert [line["event"] for line in logs] == ["probe messages cannot be deleted"]
            standin.tricks.clear()
            while watcher.undeleted_count:
                await wait_for_poll(watcher)
            assert not standin.mails
            assert [line["event"] for line in logs][1:] == ["probe messages can be deleted again"]
    # Each sweep finds them again; they are the messages already counted as arrived.
    assert counted.arrivals == []
    assert standin.connections == 1


@pytest.mark.pitfall
async def test_imap_unproven_mail_is_never_marked_or_deleted() -> None:
    """Trap: Mail that looks like ours is deleted.

    Pantau: Only the message itself with a valid token is.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    own_mail = mail(token)
    look_alikes = [
        FOREIGN,
        own_mail.replace(token.text.encode(), token.text[:-1].encode() + (b"a" if token.text[-1] != "a" else b"b")),
        f"Subject: Fwd: Semakan e-mel {token.text}\r\n\r\nApa ini?\r\n".encode(),
        f"{TOKEN_HEADER}: pantau-{'a' * 56}\r\nSubject: Semakan e-mel\r\n\r\n".encode(),
    ]
    kept = [standin.put(raw) for raw in look_alikes]
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            uid = standin.put(own_mail)
            expectation.request_fast_polling()
            await expectation.content
        await until_deleted(standin, uid)
    assert sorted(standin.mails) == kept
    stored = {line.split()[3] for line in standin.asked if "STORE" in line}
    assert stored == {str(uid)}
