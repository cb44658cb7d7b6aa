"""Conversion of errors of DNS, sockets, TLS and the mail libraries into failures of a run."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import aiosmtplib

from probes.model.probe import CommandRejectedError, ProbeFailedError, ProtocolError, StartTlsInjectionError, Trace
from probes.model.reply import Reason, probe_failure, timeout_failure
from probes.model.result import Outcome, Party, Phase

#: Errors whose cause is this machine and not the peer.
_LOCAL_ERRORS = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EADDRNOTAVAIL,
    }
)
#: OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_VERIFY_EXPIRED = frozenset({9, 10})
#: X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
_VERIFY_NAME_MISMATCH = frozenset({62, 64})


@contextmanager
def timed_phase(trace: Trace, phase: Phase, party: Party) -> Iterator[None]:
    """Time the enclosed block as *phase*, and convert a network error in it into a `ProbeFailedError`."""
    with trace.phase(phase, party), network_errors_as_failures(phase, party):
        yield


@contextmanager
def network_errors_as_failures(phase: Phase, party: Party) -> Iterator[None]:
    """Convert a network error in the enclosed block into a `ProbeFailedError`.

    Cancellation is not caught, so that the caller's deadline works. Any other error is a bug and is not caught, either.
    """
    try:
        yield
    except (OSError, EOFError, CommandRejectedError, ProtocolError, aiosmtplib.SMTPException) as error:
        raise failure_of(error, phase, party) from error


def failure_of(error: Exception, phase: Phase, party: Party) -> ProbeFailedError:
    """Return the run's failure for *error* in *phase*."""
    if isinstance(error, TimeoutError):
        if phase is Phase.CONNECT:
            # The port did not open. The outcome TIMEOUT is for a server that stops answering during a session.
            return probe_failure(Outcome.CONNECT, Reason.NO_ANSWER, phase, party, str(error) or type(error).__name__)
        return timeout_failure(phase, party, str(error))
    outcome, reason = _classify(error)
    # `str` would convert aiosmtplib's exceptions to the text of a tuple.
    text = error.message if isinstance(error, aiosmtplib.SMTPException) else str(error)
    return probe_failure(outcome, reason, phase, party, text or type(error).__name__)


def _classify(error: Exception) -> tuple[Outcome, Reason]:
    match error:
        case socket.gaierror():
            is_silent = error.errno == socket.EAI_AGAIN
            return Outcome.DNS, Reason.NAME_SERVER_SILENT if is_silent else Reason.NAME_UNKNOWN
        case ssl.SSLCertVerificationError():
            return Outcome.TLS, _certificate_reason(error)
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return Outcome.CONNECT, Reason.CONNECTION_CLOSED
        case ssl.SSLError():
            return Outcome.TLS, Reason.TLS_NOT_SPOKEN if _is_not_tls(error) else Reason.TLS_REFUSED
        case ConnectionRefusedError():
            return Outcome.CONNECT, Reason.PORT_REFUSED
        case aiosmtplib.SMTPServerDisconnected() | ConnectionError() | EOFError():
            return Outcome.CONNECT, Reason.CONNECTION_CLOSED
        case CommandRejectedError():
            return Outcome.CONNECT, Reason.MAILBOX_REFUSED
        case StartTlsInjectionError():
            return Outcome.TLS, Reason.TLS_INJECTION
        case ProtocolError() | aiosmtplib.SMTPException():
            return Outcome.CONNECT, Reason.UNEXPECTED_ANSWER
        case OSError() if error.errno in _LOCAL_ERRORS:
            return Outcome.INCONCLUSIVE, Reason.MONITORING_FAULT
        case _:
            return Outcome.CONNECT, Reason.UNREACHABLE


def _certificate_reason(error: ssl.SSLCertVerificationError) -> Reason:
    if error.verify_code in _VERIFY_EXPIRED:
        return Reason.CERTIFICATE_EXPIRED
    if error.verify_code in _VERIFY_NAME_MISMATCH:
        return Reason.CERTIFICATE_NAME_MISMATCH
    return Reason.CERTIFICATE_UNTRUSTED


def _is_not_tls(error: ssl.SSLError) -> bool:
    """Return whether the peer answered the TLS hello with something else, such as its plain-text greeting."""
    known = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNEXPECTED_MESSAGE"}
    # Python has no `reason` for the error of newer OpenSSL versions about an invalid record.
    return error.reason in known or "record layer failure" in str(error)
