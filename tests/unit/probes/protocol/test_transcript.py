"""Transcript of a mailbox session: shown on request, masked, limited, and without foreign mail."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from probes.arrival.watcher import MailboxWatcher
from probes.model.mailbox import Mailbox
from probes.model.probe import Trace
from probes.model.result import Party
from probes.protocol.transcript import Transcript
from probes.run.trace import TraceRecorder
from tests.unit.probes.arrival.test_pop import POLLING as POP3_PACE
from tests.unit.probes.arrival.test_pop import box
from tests.unit.probes.fake_tokens import fake_tokens, login
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.standin import Handler, ImapStandIn, listening, mailbox, server, server_context, until
from tests.unit.probes.watchers import FOREIGN, POLLING, SIGNER, TIMEOUTS, Counted, issue, mail, running

SECRET = "rahsia-yang-panjang"


@asynccontextmanager
async def heard(
    standin: Handler, *, pop3: bool = False, token: str = ""
) -> AsyncIterator[tuple[MailboxWatcher, list[str]]]:
    lines: list[str] = []
    async with listening(standin, server_context()) as port:
        of: Mailbox = box(port) if pop3 else mailbox(imap=server(port), secret=SECRET)
        of = replace(of, login=login(fake_tokens(token)) if token else mailbox(secret=SECRET).login)
        polling = POP3_PACE if pop3 else POLLING
        watcher = MailboxWatcher(
            of, SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=polling, on_line=lines.append
        )
        async with running(watcher):
            yield watcher, lines


@pytest.mark.blind
async def test_transcript_imap_shows_each_line_once_without_foreign_mail() -> None:
    """Defect: `--verbose` shows no line of IMAP.

    Pantau: It shows each line once, without foreign mail.
    """
    standin = ImapStandIn()
    standin.put(FOREIGN)
    async with heard(standin) as (watcher, lines):
        token = issue()
        with watcher.expect(token) as expectation:
            await expectation.ready
            await asyncio.sleep(0.2)
            standin.put(mail(token))
            expectation.request_fast_polling()
            await expectation.content
        await watcher.wait_until_deleted()
    assert lines[:4] == [
        "IMAP S: * OK sedia",
        "IMAP C: CAPABILITY",
        "IMAP S: * CAPABILITY IMAP4rev1 IDLE UIDPLUS",
        "IMAP S: OK selesai",
    ]
    assert "IMAP C: LOGIN ***" in lines
    assert "IMAP C: SELECT INBOX" in lines
    assert any(line.startswith("IMAP C: UID FETCH") for line in lines)
    assert len(lines) == len(set(lines))
    assert "mesyuarat" not in "".join(lines)
    assert SECRET not in "".join(lines)


@pytest.mark.blind
async def test_transcript_pop3_shows_commands_without_foreign_mail() -> None:
    """Defect: `--verbose` shows no line of POP3.

    Pantau: It shows each line once, without foreign mail.
    """
    standin = Pop3StandIn()
    standin.put(FOREIGN)
    async with heard(standin, pop3=True) as (watcher, lines):
        await until(lambda: watcher.polled_at is not None)
    assert "POP3 S: +OK sedia" in lines
    assert "POP3 C: PASS ***" in lines
    assert "POP3 C: UIDL" in lines
    assert "mesyuarat" not in "".join(lines)
    assert SECRET not in "".join(lines)


def basic(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.blind
@pytest.mark.parametrize("pop3", [False, True])
@pytest.mark.parametrize("repeated", [SECRET, f"({SECRET})", basic(f"\0semakan@jabatan-contoh.gov.my\0{SECRET}")])
async def test_transcript_repeated_password_is_masked(repeated: str, *, pop3: bool) -> None:
    """Defect: A transcript of POP3 shows a password that the server repeats.

    Pantau: It is masked.
    """
    standin = (
        Pop3StandIn(tricks={"PASS": f"-ERR {repeated} salah\r\n"})
        if pop3
        else ImapStandIn(tricks={"LOGIN": f"* OK tadi {repeated}\r\n{{tag}} NO {repeated} salah\r\n"})
    )
    async with heard(standin, pop3=pop3) as (watcher, lines):
        await until(lambda: watcher.failure is not None)
    assert any("***" in line and "salah" in line for line in lines)
    assert SECRET not in "".join(lines)
    assert repeated not in "".join(lines)


@pytest.mark.blind
@pytest.mark.parametrize("pop3", [False, True])
async def test_transcript_token_and_challenge_are_masked(*, pop3: bool) -> None:
    """Defect: A transcript shows a token and the challenge after it.

    Pantau: Both are masked.
    """
    secret = "token-yang-sangat-panjang-sekali"
    challenge = basic(f'{{"status":"401","scope":"{secret}"}}')

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = "" if pop3 else standin.asked[-1].split()[0]
        if pop3 or len(standin.asked[-1].split()) == 3:
            writer.write(b"+ \r\n")
            await reader.readline()
        writer.write(f"+ {challenge}\r\n".encode())
        await reader.readline()
        writer.write(b"-ERR [AUTH] tidak\r\n" if pop3 else f"{tag} NO [AUTHENTICATIONFAILED] tidak\r\n".encode())

    standin: ImapStandIn | Pop3StandIn = (
        Pop3StandIn(capabilities=("SASL XOAUTH2",), tricks={"AUTH": ask})
        if pop3
        else ImapStandIn(capabilities="IMAP4rev1 AUTH=XOAUTH2", tricks={"AUTHENTICATE": ask})
    )
    async with heard(standin, pop3=pop3, token=secret) as (watcher, lines):
        await until(lambda: watcher.failure is not None)
    on_line = "\n".join(lines)
    assert "XOAUTH2" in on_line
    assert "S: + ***" in on_line
    assert secret not in on_line
    assert challenge not in on_line
    assert basic(secret)[:12] not in on_line


@pytest.mark.blind
def test_transcript_is_limited() -> None:
    """Defect: A transcript grows with whatever the server sends.

    Pantau: It has a limit.
    """
    lines: list[str] = []
    transcript = Transcript("IMAP", lines.append)
    transcript.add_command("LIST")
    for number in range(5000):
        transcript.add_response(f"* LIST () NIL folder-{number}")
    assert len(lines) == 21
    for number in range(5000):
        transcript.add_command(f"NOOP {number}")
        transcript.add_response("* OK \x1b[31m" + "x" * 100_000)
    assert len(lines) == 101
    assert lines[-1] == "IMAP (and so on)"
    assert max(map(len, lines)) < 320
    assert "\x1b" not in "".join(lines)


def test_trace_dialogue_is_recorded_only_on_request() -> None:
    trace: Trace = TraceRecorder()
    assert not trace.records_dialogue
    assert TraceRecorder(keep_dialogue=True).records_dialogue
    told: list[str] = []
    recorder = TraceRecorder(on_line=told.append)
    recorder.add_line(Party.RECIPIENT, "IMAP C: NOOP")
    assert (recorder.records_dialogue, told, recorder.dialogue) == (True, ["IMAP C: NOOP"], [])


def test_trace_line_has_no_control_characters() -> None:
    recorder = TraceRecorder(keep_dialogue=True)
    # As aiosmtplib decodes it: an octet that is no UTF-8 is half of a surrogate pair.
    recorder.add_line(Party.SENDER, "S: 550 \x1b[2J" + b"\xff".decode("utf-8", "surrogateescape"))
    assert recorder.dialogue == ["sender S: 550 \ufffd[2J\ufffd"]
    "".join(recorder.dialogue).encode()
