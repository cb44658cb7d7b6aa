"""An SMTP submission ends with its cause, is encrypted, and is never repeated."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from urllib.parse import quote

import pytest

from probes.model.mailbox import Password, Security
from probes.model.probe import ProbeFailedError
from probes.model.reply import Reason
from probes.model.result import Outcome, Phase
from probes.protocol.smtp import SubmissionResult, submit, try_submission
from probes.run.trace import TraceRecorder
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.standin import (
    Handler,
    SmtpStandIn,
    Trick,
    abort,
    close,
    hang,
    listening,
    mailbox,
    server,
    server_context,
)
from tests.unit.probes.submission import (
    MESSAGE,
    TO,
    WITHIN,
    failure_of,
    submitted_in_clear,
    submitted_to,
    tarpit,
)


async def stay_plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mula\r\n")
    await reader.read(100)
    writer.write(b"500 apa?\r\n")


async def test_smtp_message_is_submitted_unchanged() -> None:
    standin, recorder = SmtpStandIn(), TraceRecorder()
    assert await submitted_to(standin, recorder=recorder) == SubmissionResult()
    assert standin.taken == [MESSAGE.replace(b"\r\n.", b"\r\n..")]
    assert list(recorder.phases) == [Phase.DNS, Phase.CONNECT, Phase.TLS, Phase.AUTH, Phase.SUBMIT, Phase.DATA]
    assert not recorder.uncertain
    assert standin.asked[-1] == "QUIT"


async def test_smtp_dialogue_contains_no_secrets() -> None:
    recorder = TraceRecorder(keep_dialogue=True)
    standin = SmtpStandIn(extensions=("AUTH LOGIN",), tricks={"AUTH": ask_twice})
    await submitted_to(standin, recorder=recorder)
    text = "\n".join(recorder.dialogue)
    assert "C: AUTH LOGIN ***" in text
    assert "C: MAIL FROM:<semakan@jabatan-contoh.gov.my>" in text
    assert "S: 250 2.0.0 diterima" in text
    for secret in ("rahsia", "cmFoc2lh", "c2VtYWthb"):
        assert secret not in text


SECRET = "Rumah-Atap-Nipah/2026"
PLAIN = b64encode(f"\0semakan@jabatan-contoh.gov.my\0{SECRET}".encode()).decode()
ALONE = b64encode(SECRET.encode()).decode()


@pytest.mark.blind
@pytest.mark.parametrize(
    "echo",
    [
        SECRET,
        SECRET.upper(),
        f"{SECRET[:12]}...",
        f"salah {quote(SECRET, safe='')}",
        PLAIN,
        PLAIN.lower(),
        PLAIN[30:70],
        f"{PLAIN[:40]}\n{PLAIN[40:]}",
        ALONE,
        ALONE[:20],
    ],
)
@pytest.mark.parametrize("code", [535, 334, 454])
@pytest.mark.parametrize("word", ["AUTH", "MAIL"])
async def test_smtp_server_repeating_password_does_not_leak_it(word: str, code: int, echo: str) -> None:
    """Defect: A server that repeats part of the password puts it into the transcript.

    Pantau: Whatever shares eight characters in a row with it is masked.
    """
    answer = "".join(f"{code}-{line}\r\n" for line in echo.split("\n")) + f"{code} 5.7.8 salah\r\n"
    standin, recorder = SmtpStandIn(tricks={word: answer}), TraceRecorder(keep_dialogue=True)
    login = Password(username="semakan@jabatan-contoh.gov.my", secret=SECRET)
    with pytest.raises(ProbeFailedError) as caught:
        await submitted_to(standin, recorder=recorder, login=login)
    said = "\n".join([*recorder.dialogue, caught.value.failure.detail, str(caught.value)]).lower()
    for form in (SECRET, PLAIN, ALONE, quote(SECRET, safe="")):
        for start in range(len(form) - 7):
            assert form[start : start + 8].lower() not in said, said


@pytest.mark.blind
async def test_smtp_endless_sign_in_is_reported_without_base64() -> None:
    """Defect: A sign-in that goes in circles is shown as base64.

    Pantau: It is reported in words.
    """
    failure = (await failure_of(SmtpStandIn(tricks={"AUTH": "334 AHNlbWFrYW4AcmFoc2lh\r\n"}))).failure
    assert (failure.code, failure.detail) == (334, "the server sends another challenge instead of a result")


@pytest.mark.blind
@pytest.mark.parametrize("word", ["EHLO", "AUTH", "RCPT", "."])
async def test_smtp_endless_answer_is_distinguished_from_silence(word: str) -> None:
    """Defect: An endless answer is reported as silence.

    Pantau: The end says that an answer had begun.
    """

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"250-lagi\r\n")
            await asyncio.sleep(0.02)

    details = []
    for trick in (endless, hang):
        recorder = TraceRecorder()
        try:
            submitted = await submitted_to(SmtpStandIn(tricks={word: trick}), recorder=recorder)
            assert submitted.uncertain_failure is not None
            failure = submitted.uncertain_failure
        except ProbeFailedError as caught:
            failure = caught
        assert (failure.outcome, failure.failure.reason) == (Outcome.TIMEOUT, Reason.NO_ANSWER)
        details.append(failure.failure.detail)
    assert "octets of an answer without an end" in details[0]
    assert details[1] == ""


@pytest.mark.blind
async def test_smtp_unreadable_starttls_reply_is_unexpected_answer() -> None:
    """Defect: An unreadable answer to STARTTLS is a refusal of TLS.

    Pantau: It is an unexpected answer.
    """
    standin = SmtpStandIn(extensions=("STARTTLS",), tricks={"STARTTLS": "apa?\r\n"})
    failure = await failure_of(standin, security=Security.STARTTLS)
    assert (failure.outcome, failure.failure.reason) == (Outcome.CONNECT, Reason.UNEXPECTED_ANSWER)
    assert failure.failure.code is None


async def ask_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"334 UGFzc3dvcmQ6\r\n")
    assert (await reader.readline()).strip() == b"cmFoc2lh"
    writer.write(b"235 2.7.0 baik\r\n")


@pytest.mark.parametrize(
    ("standin", "outcome", "phase", "reason"),
    [
        (hang, Outcome.TIMEOUT, Phase.CONNECT, Reason.NO_ANSWER),
        (close, Outcome.CONNECT, Phase.CONNECT, Reason.CONNECTION_CLOSED),
        (abort, Outcome.CONNECT, Phase.CONNECT, Reason.CONNECTION_CLOSED),
        (tarpit, Outcome.TIMEOUT, Phase.CONNECT, Reason.NO_ANSWER),
        (SmtpStandIn(greeting="SSH-2.0-x\r\n"), Outcome.CONNECT, Phase.CONNECT, Reason.UNEXPECTED_ANSWER),
        (SmtpStandIn(greeting="554 5.7.1 pergi\r\n"), Outcome.REJECTED, Phase.CONNECT, Reason.SERVICE_REFUSED),
        (SmtpStandIn(greeting="421 4.3.2 sibuk\r\n"), Outcome.DEFERRED, Phase.CONNECT, Reason.TRY_LATER),
        (SmtpStandIn(extensions=()), Outcome.AUTH, Phase.AUTH, Reason.SIGN_IN_NOT_OFFERED),
    ],
)
async def test_smtp_failure_before_sign_in_has_cause(
    standin: Handler, outcome: Outcome, phase: Phase, reason: Reason
) -> None:
    failure = await failure_of(standin)
    assert (failure.outcome, failure.failure.phase, failure.failure.reason) == (outcome, phase, reason)


@pytest.mark.pitfall
@pytest.mark.parametrize(
    ("word", "trick", "outcome", "phase", "reason"),
    [
        ("EHLO", "550 5.7.1 tidak\r\n", Outcome.REJECTED, Phase.CONNECT, Reason.SERVICE_REFUSED),
        ("AUTH", "535 5.7.8 salah\r\n", Outcome.AUTH, Phase.AUTH, Reason.CREDENTIALS_REFUSED),
        ("AUTH", "454 4.7.0 nanti\r\n", Outcome.AUTH, Phase.AUTH, Reason.SIGN_IN_UNAVAILABLE),
        ("AUTH", "421 4.7.0 nanti\r\n", Outcome.AUTH, Phase.AUTH, Reason.SIGN_IN_UNAVAILABLE),
        ("AUTH", "550 5.7.30 basic\r\n", Outcome.AUTH, Phase.AUTH, Reason.CREDENTIALS_REFUSED),
        ("AUTH", hang, Outcome.TIMEOUT, Phase.AUTH, Reason.NO_ANSWER),
        ("AUTH", close, Outcome.CONNECT, Phase.AUTH, Reason.CONNECTION_CLOSED),
        ("MAIL", "550 5.7.1 bukan awak\r\n", Outcome.REJECTED, Phase.SUBMIT, Reason.SENDER_REFUSED),
        ("MAIL", "421 4.3.2 tutup\r\n", Outcome.DEFERRED, Phase.SUBMIT, Reason.TRY_LATER),
        ("RCPT", "550 5.1.1 tiada\r\n", Outcome.REJECTED, Phase.SUBMIT, Reason.RECIPIENT_REFUSED),
        ("RCPT", "450 4.2.0 kelabu\r\n", Outcome.DEFERRED, Phase.SUBMIT, Reason.TRY_LATER),
        ("RCPT", hang, Outcome.TIMEOUT, Phase.SUBMIT, Reason.NO_ANSWER),
        ("RCPT", tarpit, Outcome.TIMEOUT, Phase.SUBMIT, Reason.NO_ANSWER),
        ("DATA", "554 5.5.1 tidak\r\n", Outcome.REJECTED, Phase.DATA, Reason.MESSAGE_REFUSED),
        ("DATA", close, Outcome.CONNECT, Phase.DATA, Reason.CONNECTION_CLOSED),
        ("DATA", hang, Outcome.TIMEOUT, Phase.DATA, Reason.NO_ANSWER),
        (".", "554 5.7.1 spam\r\n", Outcome.REJECTED, Phase.DATA, Reason.MESSAGE_REFUSED),
        (".", "452 4.3.1 penuh\r\n", Outcome.DEFERRED, Phase.DATA, Reason.TRY_LATER),
    ],
)
async def test_smtp_temporary_and_permanent_refusals_differ_and_name_phase(
    word: str, trick: Trick, outcome: Outcome, phase: Phase, reason: Reason
) -> None:
    """Trap: "Not now" (4xx) counts as "no" (5xx).

    Pantau: Each is an outcome of its own, with its stage.
    """
    recorder = TraceRecorder()
    with pytest.raises(ProbeFailedError) as caught:
        await submitted_to(SmtpStandIn(tricks={word: trick}), recorder=recorder)
    failure = caught.value
    assert (failure.outcome, failure.failure.phase, failure.failure.reason) == (outcome, phase, reason)
    assert not recorder.uncertain
    assert phase not in recorder.phases


@pytest.mark.pitfall
@pytest.mark.parametrize(
    ("trick", "outcome"), [(hang, Outcome.TIMEOUT), (close, Outcome.CONNECT), (abort, Outcome.CONNECT)]
)
async def test_smtp_no_answer_after_data_is_uncertain_and_not_resent(trick: Trick, outcome: Outcome) -> None:
    """Trap: After DATA, silence says nothing about the message.

    Pantau: The message is searched for and never sent again.
    """
    standin, recorder = SmtpStandIn(tricks={".": trick}), TraceRecorder()
    submitted = await submitted_to(standin, recorder=recorder)
    assert submitted.uncertain_failure is not None
    assert submitted.uncertain_failure.outcome is outcome
    assert submitted.uncertain_failure.failure.phase is Phase.DATA
    assert recorder.uncertain
    assert Phase.DATA in recorder.phases
    assert len(standin.taken) == 1


@pytest.mark.parametrize(
    ("answer", "doubtful"), [("252 mungkin\r\n", False), ("354 lagi\r\n", True), ("apa?\r\n", True)]
)
async def test_smtp_ambiguous_answer_after_data_is_uncertain(answer: str, *, doubtful: bool) -> None:
    standin, recorder = SmtpStandIn(tricks={".": answer}), TraceRecorder()
    submitted = await submitted_to(standin, recorder=recorder)
    assert (submitted.uncertain_failure is not None) is recorder.uncertain is doubtful
    assert len(standin.taken) == 1


async def test_smtp_wrong_password_is_tried_once() -> None:
    standin = SmtpStandIn(tricks={"AUTH": "535 5.7.8 salah\r\n"}, extensions=("AUTH PLAIN LOGIN CRAM-MD5",))
    await failure_of(standin)
    assert sum(line.startswith("AUTH") for line in standin.asked) == 1


@pytest.mark.pitfall
@pytest.mark.parametrize("trick", [hang, close, abort, tarpit])
async def test_smtp_hanging_quit_is_bounded(trick: Trick) -> None:
    """Trap: QUIT hangs when the peer drops TLS.

    Pantau: It has a second.
    """
    began = asyncio.get_running_loop().time()
    assert await submitted_to(SmtpStandIn(tricks={"QUIT": trick}), within=timedelta(minutes=1)) == SubmissionResult()
    assert asyncio.get_running_loop().time() - began < 10


async def test_smtp_starttls_precedes_sign_in() -> None:
    standin = SmtpStandIn(extensions=("STARTTLS", "AUTH PLAIN"), tls=server_context())
    assert await submitted_to(standin, security=Security.STARTTLS) == SubmissionResult()
    words = [line.split()[0] for line in standin.asked]
    assert words == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"]


@pytest.mark.pitfall
@pytest.mark.parametrize(
    ("standin", "reason"),
    [
        (SmtpStandIn(extensions=("AUTH PLAIN",)), Reason.TLS_NOT_OFFERED),
        (SmtpStandIn(extensions=("STARTTLS",), tricks={"STARTTLS": "454 4.7.0 rosak\r\n"}), Reason.TLS_UNAVAILABLE),
        (SmtpStandIn(extensions=("STARTTLS",), tricks={"STARTTLS": stay_plain}), Reason.TLS_NOT_SPOKEN),
        (
            SmtpStandIn(extensions=("STARTTLS", "AUTH PLAIN"), tls=server_context("lain.example")),
            Reason.CERTIFICATE_NAME_MISMATCH,
        ),
    ],
)
async def test_smtp_starttls_is_never_opportunistic(standin: SmtpStandIn, reason: Reason) -> None:
    """Trap: Without an offer of STARTTLS it continues in clear text.

    Pantau: That is a failure of its own, "TLS not offered".
    """
    failure = await failure_of(standin, security=Security.STARTTLS)
    assert (failure.outcome, failure.failure.phase) == (Outcome.TLS, Phase.TLS)
    assert failure.failure.reason is reason
    assert not any(line.startswith(("AUTH", "MAIL")) for line in standin.asked)


@pytest.mark.parametrize(
    ("standin", "outcome", "reason"),
    [
        (SmtpStandIn(), Outcome.TLS, Reason.TLS_NOT_SPOKEN),
        (hang, Outcome.TIMEOUT, Reason.NO_ANSWER),
        (close, Outcome.CONNECT, Reason.CONNECTION_CLOSED),
    ],
)
async def test_smtp_port_without_tls_fails_with_cause(standin: Handler, outcome: Outcome, reason: Reason) -> None:
    with pytest.raises(ProbeFailedError) as caught:
        await submitted_in_clear(standin)
    failure = caught.value
    assert (failure.outcome, failure.failure.phase, failure.failure.reason) == (outcome, Phase.TLS, reason)


async def test_smtp_closed_port_is_connect_failure() -> None:
    closed = mailbox(smtp=server(1))
    with pytest.raises(ProbeFailedError) as caught:
        await submit(closed, TO, MESSAGE, TraceRecorder(), WITHIN)
    assert (caught.value.outcome, caught.value.failure.reason) == (Outcome.CONNECT, Reason.PORT_REFUSED)


@pytest.mark.pitfall
@pytest.mark.parametrize("make", [lambda: hang, lambda: SmtpStandIn(tricks={"AUTH": hang}), SmtpStandIn])
async def test_smtp_submission_leaves_no_task(make: Callable[[], Handler]) -> None:
    """Trap: A task continues behind the submission.

    Pantau: None does.
    """
    before = asyncio.all_tasks()
    with_error = None
    try:
        await submitted_to(make())
    except ProbeFailedError as error:
        with_error = error
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before, with_error


@pytest.mark.pitfall
async def test_smtp_multiline_banner_and_last_starttls_are_accepted() -> None:
    """Trap: Greetings have several lines, no "ESMTP", or STARTTLS last.

    Pantau: All are understood.
    """
    standin = SmtpStandIn(greeting="220-tunggu sebentar\r\n220 mel sedia\r\n", tls=server_context())
    standin.tricks["EHLO"] = _starttls_last(standin)
    assert await submitted_to(standin, security=Security.STARTTLS) == SubmissionResult()
    assert "STARTTLS" in standin.asked


def _starttls_last(standin: SmtpStandIn) -> Handler:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        last = "AUTH PLAIN" if "STARTTLS" in standin.asked else "STARTTLS"
        writer.write(f"250-mel\r\n250 {last}\r\n".encode())

    return answer


@pytest.mark.pitfall
async def test_smtp_starttls_at_implicit_tls_port_times_out_in_connect() -> None:
    """Trap: STARTTLS on port 465 times out without a reason (#180).

    Pantau: It ends in time, in its own stage, and `pantau probe --explain` names the causes.
    """
    failure = await failure_of_tls_port()
    # `pantau probe --explain` names this possibility.
    assert (failure.outcome, failure.failure.phase) == (Outcome.TIMEOUT, Phase.CONNECT)
    assert failure.failure.reason is Reason.NO_ANSWER


async def failure_of_tls_port() -> ProbeFailedError:
    with pytest.raises(ProbeFailedError) as caught:
        await submitted_to(SmtpStandIn(), security=Security.STARTTLS, tls=server_context())
    return caught.value


@pytest.mark.pitfall
@pytest.mark.parametrize("word", ["EHLO", "AUTH", "RCPT", "DATA", "."])
async def test_smtp_cancelled_session_closes_connection(word: str) -> None:
    """Trap: Cancelling skips the clean-up.

    Pantau: The connection is closed at every stage.
    """
    until_deleted = asyncio.Event()

    async def wait_for_the_end(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        reached.set()
        with suppress(ConnectionError):
            await reader.read()
        until_deleted.set()

    reached = asyncio.Event()
    smtp = SmtpStandIn(tricks={word: wait_for_the_end})
    async with asyncio.timeout(HANG_TIMEOUT), listening(smtp, server_context()) as port:
        box = mailbox(smtp=server(port))
        going = asyncio.ensure_future(submit(box, TO, MESSAGE, TraceRecorder(), timedelta(minutes=1)))
        await reached.wait()
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        await until_deleted.wait()


@pytest.mark.pitfall
@pytest.mark.parametrize("to", ["a@rujukan.example\r\nRSET", "a@rujukan.example>\nRSET"])
async def test_smtp_address_with_line_break_is_not_sent(to: str) -> None:
    """Trap: A line break in an address is a second command.

    Pantau: No such address is sent.
    """
    standin = SmtpStandIn()
    async with listening(standin, server_context()) as port:
        with suppress(ValueError, ProbeFailedError):
            await submit(mailbox(smtp=server(port)), to, MESSAGE, TraceRecorder(), WITHIN)
    assert "RSET" not in standin.asked


async def test_smtp_try_submission_resets_before_message() -> None:
    standin, recorder = SmtpStandIn(), TraceRecorder()
    async with listening(standin, server_context()) as port:
        await try_submission(mailbox(smtp=server(port)), recorder, WITHIN)
    words = [line.split()[0] for line in standin.asked]
    assert words == ["EHLO", "AUTH", "MAIL", "RCPT", "RSET", "QUIT"]
    assert standin.taken == []
