"""Known defects of aiosmtplib and of submission servers."""

from __future__ import annotations

import asyncio
import re
import tomllib
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import pytest

from probes.model.mailbox import AccessToken, OAuth, Security
from probes.model.probe import ProbeFailedError
from probes.model.reply import Reason
from probes.model.result import Outcome, Phase
from probes.protocol.smtp import SubmissionResult, submit
from probes.run.trace import TraceRecorder
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.fake_tokens import USER, FakeTokens
from tests.unit.probes.standin import (
    Handler,
    SmtpStandIn,
    Trick,
    hang,
    listening,
    mailbox,
    server,
    server_context,
)
from tests.unit.probes.submission import MESSAGE, TO, WITHIN, failure_of, submitted_to, tarpit

ROOT = Path(__file__).parents[4]
#: First release without the injections of commands and replies (GHSA-v3q9-hj7j-63hq, GHSA-vxj7-4xrp-5vr4).
SAFE = (5, 1, 2)


def numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", release)[:3])


@pytest.mark.pitfall
def test_aiosmtplib_requirement_excludes_vulnerable_releases() -> None:
    """Trap: Releases before 5.1.2 allow injection of commands and replies.

    Pantau: None of them can be installed.
    """
    required = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    (lowest,) = [line.partition(">=")[2].partition(",")[0] for line in required if line.startswith("aiosmtplib")]
    locked = [
        release
        for lock in (ROOT / "requirements").glob("*.txt")
        for release in re.findall(r"^aiosmtplib==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(locked) >= 2
    assert min(map(numbers, [lowest, version("aiosmtplib"), *locked])) >= SAFE


async def inject(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mula\r\n250-mel\r\n250 AUTH LOGIN\r\n")
    await writer.start_tls(server_context())


@pytest.mark.pitfall
async def test_smtp_text_injected_before_tls_is_ignored() -> None:
    """Trap: Text after the STARTTLS answer is read as sent under TLS.

    Pantau: It is dropped.
    """
    standin = SmtpStandIn(extensions=("STARTTLS", "AUTH PLAIN"), tricks={"STARTTLS": inject})
    assert await submitted_to(standin, security=Security.STARTTLS, within=timedelta(seconds=2)) == SubmissionResult()
    assert [line.split()[1] for line in standin.asked if line.startswith("AUTH")] == ["PLAIN"]


@pytest.mark.pitfall
@pytest.mark.parametrize(
    ("tricks", "phase"),
    [
        ({"EHLO": "250-mel\r\n250 AUTH PLAIN\r\n250 lebih\r\n"}, Phase.AUTH),
        ({"AUTH": "235 2.7.0 masuk\r\n250 lebih\r\n", "MAIL": "550 5.7.1 tidak\r\n"}, Phase.SUBMIT),
        ({"MAIL": "250 2.1.0 baik\r\n250 lebih\r\n", "RCPT": "550 5.1.1 tiada\r\n"}, Phase.SUBMIT),
        ({"RCPT": "250 2.1.5 baik\r\n354 lebih\r\n", "DATA": "451 4.3.0 nanti\r\n"}, Phase.DATA),
        ({"DATA": "354 teruskan\r\n250 2.0.0 lebih\r\n"}, Phase.DATA),
    ],
)
async def test_smtp_unrequested_reply_ends_session(tricks: dict[str, Trick], phase: Phase) -> None:
    """Trap: An unrequested reply is taken for the next one.

    Pantau: The session ends.
    """
    standin, recorder = SmtpStandIn(tricks=tricks), TraceRecorder()
    with pytest.raises(ProbeFailedError) as caught:
        await submitted_to(standin, recorder=recorder)
    failure = caught.value
    assert (failure.outcome, failure.failure.reason) == (Outcome.CONNECT, Reason.UNEXPECTED_ANSWER)
    assert failure.failure.phase is phase
    assert not recorder.uncertain
    assert standin.taken == []


async def endless_line(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"2" * 4096)
        await writer.drain()


async def endless_lines(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"250-lagi\r\n" * 400)
        await writer.drain()


@pytest.mark.pitfall
@pytest.mark.parametrize("flood", [endless_line, endless_lines])
@pytest.mark.parametrize("word", ["", "EHLO", "AUTH", "RCPT", "."])
async def test_smtp_endless_reply_is_limited(word: str, flood: Handler) -> None:
    """Trap: Replies have no bound.

    Pantau: They have one.
    """
    standin: Handler = SmtpStandIn(tricks={word: flood}) if word else flood
    recorder = TraceRecorder()
    try:
        submitted = await submitted_to(standin, recorder=recorder, within=timedelta(seconds=9))
        failure = submitted.uncertain_failure
    except ProbeFailedError as caught:
        failure = caught
    assert failure is not None
    assert failure.failure.reason is Reason.UNEXPECTED_ANSWER or failure.failure.reason is Reason.SIGN_IN_UNAVAILABLE


@pytest.mark.pitfall
@pytest.mark.parametrize("trick", [hang, tarpit])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2"])
async def test_smtp_sign_in_mechanism_is_bounded_in_time(mechanism: str, trick: Handler) -> None:
    """Trap: CRAM-MD5 ignores the time-out.

    Pantau: The deadline covers every mechanism.
    """

    async def challenge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if mechanism in {"LOGIN", "CRAM-MD5"}:
            writer.write(b"334 PDEyMy40NTZAbWVsPg==\r\n")
            await reader.readline()
        await trick(reader, writer)

    standin = SmtpStandIn(extensions=(f"AUTH {mechanism}",), tricks={"AUTH": challenge})
    login = OAuth(username=USER, tokens=FakeTokens([AccessToken(secret="tanda")])) if mechanism == "XOAUTH2" else None
    with pytest.raises(ProbeFailedError) as caught:
        async with asyncio.timeout(HANG_TIMEOUT):
            await submitted_to(standin, login=login)
    failure = caught.value
    assert (failure.outcome, failure.failure.phase) == (Outcome.TIMEOUT, Phase.AUTH)
    assert standin.asked[-1].split()[:2] == ["AUTH", mechanism]


@pytest.mark.pitfall
async def test_smtp_access_token_is_sent_only_with_xoauth2_offered() -> None:
    """Trap: XOAUTH2 needs a server that offers it.

    Pantau: No other gets the token.
    """
    standin = SmtpStandIn(extensions=("AUTH PLAIN LOGIN",))
    with pytest.raises(ProbeFailedError) as caught:
        await submitted_to(standin, login=OAuth(username=USER, tokens=FakeTokens([AccessToken(secret="tanda")])))
    assert caught.value.failure.reason is Reason.SIGN_IN_NOT_OFFERED
    assert not any(line.startswith("AUTH") for line in standin.asked)


@pytest.mark.pitfall
async def test_smtp_slow_server_has_one_deadline_for_all_lines() -> None:
    """Trap: The time-out covers each operation, not all.

    Pantau: One deadline covers the whole.
    """

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = standin.asked[-1].partition(" ")[0]
        await asyncio.sleep(WITHIN.total_seconds() / 3)  # the slow server itself
        writer.write(standin._usual(word).encode())

    standin = SmtpStandIn(tricks=dict.fromkeys(("EHLO", "AUTH", "MAIL", "RCPT"), drip))
    began = asyncio.get_running_loop().time()
    failure = await failure_of(standin)
    assert (failure.outcome, failure.failure.reason) == (Outcome.TIMEOUT, Reason.NO_ANSWER)
    assert asyncio.get_running_loop().time() - began < WITHIN.total_seconds() + 5


@pytest.mark.pitfall
async def test_smtp_cancelled_submission_does_not_block_next() -> None:
    """Trap: A lock is held from `connect()` to `close()`, and cancelling leaves it.

    Pantau: The next submission does not wait.
    """
    stuck = asyncio.Event()

    async def stick(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del standin.tricks["AUTH"]
        stuck.set()
        await hang(reader, writer)

    standin = SmtpStandIn(tricks={"AUTH": stick})
    async with asyncio.timeout(HANG_TIMEOUT), listening(standin, server_context()) as port:
        box = mailbox(smtp=server(port))
        first = asyncio.create_task(submit(box, TO, MESSAGE, TraceRecorder(), timedelta(minutes=1)))
        await stuck.wait()
        first.cancel()
        assert await submit(box, TO, MESSAGE, TraceRecorder(), timedelta(seconds=2)) == SubmissionResult()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert len(standin.taken) == 1


@pytest.mark.pitfall
async def test_smtp_each_message_has_own_connection_concurrently() -> None:
    """Trap: One client cannot send two messages concurrently, or connect twice (#15, #243).

    Pantau: Each message has its own.
    """
    standin, met, all_met, connections = SmtpStandIn(), 0, asyncio.Event(), 0

    async def wait_for_all(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        met += 1
        if met == 8:
            all_met.set()
        await all_met.wait()
        writer.write(b"250 2.1.0 baik\r\n")

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await standin(reader, writer)

    standin.tricks["MAIL"] = wait_for_all
    async with asyncio.timeout(HANG_TIMEOUT), listening(counted, server_context()) as port:
        box = mailbox(smtp=server(port))
        sending = (submit(box, TO, MESSAGE, TraceRecorder(), timedelta(minutes=1)) for _ in range(8))
        assert await asyncio.gather(*sending) == [SubmissionResult()] * 8
    assert connections == 8
    assert len(standin.taken) == 8


@pytest.mark.pitfall
@pytest.mark.parametrize(
    ("word", "slow"), [("EHLO", Phase.CONNECT), ("AUTH", Phase.AUTH), ("RCPT", Phase.SUBMIT), (".", Phase.DATA)]
)
async def test_smtp_slow_step_is_timed_in_own_phase(word: str, slow: Phase) -> None:
    """Trap: `send()` hides what took long.

    Pantau: Each phase is timed.
    """

    async def slowly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)  # the slow server itself
        writer.write(standin._usual(word).encode())

    standin, recorder = SmtpStandIn(tricks={word: slowly}), TraceRecorder()
    began = asyncio.get_running_loop().time()
    assert await submitted_to(standin, recorder=recorder, within=timedelta(seconds=HANG_TIMEOUT)) == SubmissionResult()
    lasted = timedelta(seconds=asyncio.get_running_loop().time() - began)
    assert list(recorder.phases) == [Phase.DNS, Phase.CONNECT, Phase.TLS, Phase.AUTH, Phase.SUBMIT, Phase.DATA]
    assert recorder.phases[slow] >= timedelta(seconds=0.2)
    # On a busy machine other phases may be slow too; together they take at most the elapsed time.
    assert sum(recorder.phases.values(), timedelta()) <= lasted


@pytest.mark.pitfall
@pytest.mark.parametrize("text", ["5.1.1 <penerima@rujukan.example> tiada: lihat kes 8812", "5.1.1 tiada di sini", ""])
async def test_smtp_refusal_has_code_and_reason_whatever_text(text: str) -> None:
    """Trap: Replies of servers are hard to count.

    Pantau: Code, status and our reason are separate from the words.
    """
    failure = (await failure_of(SmtpStandIn(tricks={"RCPT": f"550 {text}\r\n"}))).failure
    assert failure.reason is Reason.RECIPIENT_REFUSED
    assert failure.code == 550
    assert failure.status == ("5.1.1" if text else None)
    # The server's text is kept separately, for people.
    assert failure.detail == text


async def in_pieces(writer: asyncio.StreamWriter, *pieces: bytes) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)  # so that the pieces are sent separately


@pytest.mark.pitfall
@pytest.mark.parametrize(
    "pieces",
    [
        (b"250-mel\r\n250-SIZE 1000\r\n250-AUTH PL", b"AIN\r\n250 8BITMIME\r\n"),
        (b"250-mel\r\n", b"250-AUTH PLAIN\r\n", b"250 8BITMIME\r\n"),
        (b"25", b"0-mel\r", b"\n250", b" AUTH PLAIN", b"\r", b"\n"),
        (b"250-mel\r\n250-AUTH PLAIN\r\n250", b" 8BITMIME\r\n"),
    ],
)
async def test_smtp_reply_in_pieces_is_read_to_end(pieces: tuple[bytes, ...]) -> None:
    """Trap: Replies are read as packets happen to cut them.

    Pantau: They are read to their end.
    """

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await in_pieces(writer, *pieces)

    standin = SmtpStandIn(tricks={"EHLO": answer})
    assert await submitted_to(standin, within=timedelta(seconds=3)) == SubmissionResult()
    assert [line.split()[0] for line in standin.asked] == ["EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"]
