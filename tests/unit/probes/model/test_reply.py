"""Failures from replies and errors, as tables."""

from __future__ import annotations

import errno
import socket
import ssl

import aiosmtplib
import pytest

from probes.model.probe import CommandRejectedError, ProtocolError
from probes.model.reply import (
    Reason,
    SubmissionStep,
    find_status,
    imap_sign_in_failure,
    shorten,
    smtp_failure,
    timeout_failure,
)
from probes.model.result import Outcome, Party, Phase
from probes.protocol.cause import failure_of

SENDER, RECIPIENT = Party.SENDER, Party.RECIPIENT


@pytest.mark.parametrize(
    ("step", "code", "text", "outcome", "phase", "reason", "refused"),
    [
        (
            SubmissionStep.GREETING,
            554,
            "5.7.1 no service",
            Outcome.REJECTED,
            Phase.CONNECT,
            Reason.SERVICE_REFUSED,
            False,
        ),
        (SubmissionStep.GREETING, 421, "4.3.2 busy", Outcome.DEFERRED, Phase.CONNECT, Reason.TRY_LATER, False),
        (SubmissionStep.GREETING, 250, "hello?", Outcome.CONNECT, Phase.CONNECT, Reason.UNEXPECTED_ANSWER, False),
        (SubmissionStep.TLS, 454, "TLS not available", Outcome.TLS, Phase.TLS, Reason.TLS_UNAVAILABLE, False),
        (SubmissionStep.TLS, 502, "5.5.1 not implemented", Outcome.TLS, Phase.TLS, Reason.TLS_UNAVAILABLE, False),
        (SubmissionStep.TLS, 421, "4.3.2 closing", Outcome.DEFERRED, Phase.TLS, Reason.TRY_LATER, False),
        (SubmissionStep.HELLO, 502, "5.5.1 what?", Outcome.REJECTED, Phase.CONNECT, Reason.SERVICE_REFUSED, False),
        (SubmissionStep.HELLO, 421, "4.3.2 closing", Outcome.DEFERRED, Phase.CONNECT, Reason.TRY_LATER, False),
        (SubmissionStep.SIGN_IN, 432, "4.7.12 transition", Outcome.AUTH, Phase.AUTH, Reason.CREDENTIALS_REFUSED, True),
        (SubmissionStep.SIGN_IN, 525, "5.7.13 disabled", Outcome.AUTH, Phase.AUTH, Reason.CREDENTIALS_REFUSED, True),
        (SubmissionStep.RESET, 500, "5.5.2 what?", Outcome.REJECTED, Phase.SUBMIT, Reason.UNEXPECTED_ANSWER, False),
        (SubmissionStep.SIGN_IN, 535, "5.7.8 wrong", Outcome.AUTH, Phase.AUTH, Reason.CREDENTIALS_REFUSED, True),
        (SubmissionStep.SIGN_IN, 534, "5.7.9 too weak", Outcome.AUTH, Phase.AUTH, Reason.CREDENTIALS_REFUSED, True),
        (SubmissionStep.SIGN_IN, 538, "5.7.11 encrypt", Outcome.AUTH, Phase.AUTH, Reason.CREDENTIALS_REFUSED, True),
        (SubmissionStep.SIGN_IN, 550, "5.7.30 basic off", Outcome.AUTH, Phase.AUTH, Reason.CREDENTIALS_REFUSED, True),
        (SubmissionStep.SIGN_IN, 454, "4.7.0 later", Outcome.AUTH, Phase.AUTH, Reason.SIGN_IN_UNAVAILABLE, False),
        (SubmissionStep.SIGN_IN, 421, "4.7.0 bye", Outcome.AUTH, Phase.AUTH, Reason.SIGN_IN_UNAVAILABLE, False),
        (SubmissionStep.SIGN_IN, 503, "5.5.1 bad order", Outcome.AUTH, Phase.AUTH, Reason.SIGN_IN_UNAVAILABLE, False),
        (SubmissionStep.SENDER, 550, "5.7.1 not yours", Outcome.REJECTED, Phase.SUBMIT, Reason.SENDER_REFUSED, False),
        (
            SubmissionStep.RECIPIENT,
            550,
            "5.1.1 unknown",
            Outcome.REJECTED,
            Phase.SUBMIT,
            Reason.RECIPIENT_REFUSED,
            False,
        ),
        (SubmissionStep.RECIPIENT, 450, "4.2.0 greylisted", Outcome.DEFERRED, Phase.SUBMIT, Reason.TRY_LATER, False),
        (SubmissionStep.MESSAGE, 554, "5.7.1 spam", Outcome.REJECTED, Phase.DATA, Reason.MESSAGE_REFUSED, False),
        (SubmissionStep.MESSAGE, 452, "4.3.1 disk full", Outcome.DEFERRED, Phase.DATA, Reason.TRY_LATER, False),
    ],
)
def test_smtp_failure_by_step_and_code(
    *, step: SubmissionStep, code: int, text: str, outcome: Outcome, phase: Phase, reason: Reason, refused: bool
) -> None:
    failure = smtp_failure(step, code, text)
    assert failure.outcome is outcome
    assert failure.failure.phase is phase
    assert failure.failure.reason is reason
    assert failure.failure.code == code
    assert failure.failure.credentials_refused is refused
    assert failure.failure.detail == text


@pytest.mark.parametrize(
    ("result", "text", "refused"),
    [
        ("NO", "[AUTHENTICATIONFAILED] Authentication failed.", True),
        ("NO", "[AUTHORIZATIONFAILED] no such identity", True),
        ("NO", "[EXPIRED] change your password", True),
        ("NO", "LOGIN failed.", True),
        ("NO", "[UNAVAILABLE] backend down", False),
        ("NO", "[SERVERBUG] oops", False),
        ("BAD", "what?", False),
    ],
)
def test_imap_sign_in_failure_by_response_code(*, result: str, text: str, refused: bool) -> None:
    failure = imap_sign_in_failure(result, text, RECIPIENT)
    assert failure.outcome is Outcome.AUTH
    assert failure.failure.party is RECIPIENT
    assert failure.failure.credentials_refused is refused


def verification(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


def tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "phase", "outcome", "reason"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), Phase.DNS, Outcome.DNS, Reason.NAME_UNKNOWN),
        (socket.gaierror(socket.EAI_AGAIN, "again"), Phase.DNS, Outcome.DNS, Reason.NAME_SERVER_SILENT),
        (TimeoutError(), Phase.DNS, Outcome.DNS, Reason.NAME_SERVER_SILENT),
        (ConnectionRefusedError(111, "refused"), Phase.CONNECT, Outcome.CONNECT, Reason.PORT_REFUSED),
        (ConnectionResetError(104, "reset"), Phase.TLS, Outcome.CONNECT, Reason.CONNECTION_CLOSED),
        (OSError(errno.EHOSTUNREACH, "no route"), Phase.CONNECT, Outcome.CONNECT, Reason.UNREACHABLE),
        (OSError(errno.ENETUNREACH, "no network"), Phase.CONNECT, Outcome.INCONCLUSIVE, Reason.MONITORING_FAULT),
        (OSError(errno.EMFILE, "too many files"), Phase.CONNECT, Outcome.INCONCLUSIVE, Reason.MONITORING_FAULT),
        (TimeoutError(110, "timed out"), Phase.CONNECT, Outcome.CONNECT, Reason.NO_ANSWER),
        (TimeoutError(), Phase.AUTH, Outcome.TIMEOUT, Reason.NO_ANSWER),
        (verification(10), Phase.TLS, Outcome.TLS, Reason.CERTIFICATE_EXPIRED),
        (verification(9), Phase.TLS, Outcome.TLS, Reason.CERTIFICATE_EXPIRED),
        (verification(62), Phase.TLS, Outcome.TLS, Reason.CERTIFICATE_NAME_MISMATCH),
        (verification(64), Phase.TLS, Outcome.TLS, Reason.CERTIFICATE_NAME_MISMATCH),
        (verification(18), Phase.TLS, Outcome.TLS, Reason.CERTIFICATE_UNTRUSTED),
        (verification(20), Phase.TLS, Outcome.TLS, Reason.CERTIFICATE_UNTRUSTED),
        (tls("WRONG_VERSION_NUMBER"), Phase.TLS, Outcome.TLS, Reason.TLS_NOT_SPOKEN),
        (tls("SSLV3_ALERT_HANDSHAKE_FAILURE"), Phase.TLS, Outcome.TLS, Reason.TLS_REFUSED),
        (ssl.SSLEOFError(8, "eof"), Phase.TLS, Outcome.CONNECT, Reason.CONNECTION_CLOSED),
        (aiosmtplib.SMTPServerDisconnected("gone"), Phase.SUBMIT, Outcome.CONNECT, Reason.CONNECTION_CLOSED),
        (aiosmtplib.SMTPReadTimeoutError("slow"), Phase.SUBMIT, Outcome.TIMEOUT, Reason.NO_ANSWER),
        (aiosmtplib.SMTPResponseException(-1, "?"), Phase.CONNECT, Outcome.CONNECT, Reason.UNEXPECTED_ANSWER),
        (ProtocolError("?"), Phase.CONNECT, Outcome.CONNECT, Reason.UNEXPECTED_ANSWER),
        (CommandRejectedError("NO", "closed"), Phase.RETRIEVE, Outcome.CONNECT, Reason.MAILBOX_REFUSED),
        (EOFError("closed"), Phase.AUTH, Outcome.CONNECT, Reason.CONNECTION_CLOSED),
    ],
)
def test_network_error_failure(error: Exception, phase: Phase, outcome: Outcome, reason: Reason) -> None:
    failure = failure_of(error, phase, SENDER)
    assert (failure.outcome, failure.failure.reason) == (outcome, reason)
    assert (failure.failure.phase, failure.failure.party) == (phase, SENDER)


@pytest.mark.parametrize(
    ("phase", "outcome"),
    [
        (Phase.DNS, Outcome.DNS),
        (Phase.CONNECT, Outcome.TIMEOUT),
        (Phase.TLS, Outcome.TIMEOUT),
        (Phase.AUTH, Outcome.TIMEOUT),
        (Phase.SUBMIT, Outcome.TIMEOUT),
        (Phase.TRANSIT, Outcome.LOST),
        (Phase.RETRIEVE, Outcome.TIMEOUT),
    ],
)
def test_timeout_failure_outcome_by_phase(phase: Phase, outcome: Outcome) -> None:
    assert timeout_failure(phase, RECIPIENT).outcome is outcome


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("5.1.1 <a@b.example>: unknown", "5.1.1"),
        ("<a@b.example>: 4.2.0: busy", "4.2.0"),
        ("smtp; 550-5.7.26 unauthenticated", "5.7.26"),
        ("#5.7.1 smtp", "5.7.1"),
        ("relay 10.5.1.1 says no", None),
        ("5.\u0661.\u0662 digits of others", None),
        ("no", None),
    ],
)
def test_status_code_is_found_in_text(text: str, status: str | None) -> None:
    assert find_status(text) == status


def test_failure_detail_is_one_short_printable_line() -> None:
    assert shorten("a\r\n\tb\x00c\x1b[31m") == "a b c [31m"
    assert len(shorten("x" * 1000)) == 300
