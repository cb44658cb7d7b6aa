"""What an error of the network means for a run: names, sockets, TLS and the mail libraries."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import aiosmtplib

from probes.model.probe import CommandRejectedError, ProbeFailedError, ProtocolError, StartTlsInjectionError, Trace
from probes.model.reply import Reason, expired, failed
from probes.model.result import Outcome, Party, Phase

#: This machine cannot open a connection, whoever the peer is.
_OURS = frozenset(
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
#: X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED; ..._HOSTNAME_MISMATCH and ..._IP_ADDRESS_MISMATCH.
_VERIFY_EXPIRED = frozenset({9, 10})
_VERIFY_OTHER_NAME = frozenset({62, 64})


@contextmanager
def stage(trace: Trace, phase: Phase, party: Party) -> Iterator[None]:
    """Time the enclosed stretch as *phase* and turn an error of the network in it into a `ProbeFailedError`."""
    with trace.phase(phase, party), told(phase, party):
        yield


@contextmanager
def told(phase: Phase, party: Party) -> Iterator[None]:
    """Turn an error of the network in the enclosed stretch into a `ProbeFailedError`.

    Cancellation passes, and with it the caller's deadline. Anything else that is not the network's is our bug and
    passes too.
    """
    try:
        yield
    except (OSError, EOFError, CommandRejectedError, ProtocolError, aiosmtplib.SMTPException) as error:
        raise failure_of(error, phase, party) from error


def failure_of(error: Exception, phase: Phase, party: Party) -> ProbeFailedError:
    """Say what *error* in *phase* means for the run."""
    if isinstance(error, TimeoutError):
        if phase is Phase.CONNECT:
            return failed(Outcome.CONNECT, Reason.NO_ANSWER, phase, party, str(error) or type(error).__name__)
        return expired(phase, party, str(error))
    outcome, reason = _meaning(error)
    # What aiosmtplib says is a tuple when it is printed.
    said = error.message if isinstance(error, aiosmtplib.SMTPException) else str(error)
    return failed(outcome, reason, phase, party, said or type(error).__name__)


def _meaning(error: Exception) -> tuple[Outcome, Reason]:
    match error:
        case socket.gaierror():
            silent = error.errno == socket.EAI_AGAIN
            return Outcome.DNS, Reason.NAME_SERVER_SILENT if silent else Reason.NAME_UNKNOWN
        case ssl.SSLCertVerificationError():
            return Outcome.TLS, _distrust(error)
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return Outcome.CONNECT, Reason.CONNECTION_CLOSED
        case ssl.SSLError():
            return Outcome.TLS, Reason.TLS_NOT_SPOKEN if _is_foreign(error) else Reason.TLS_REFUSED
        case ConnectionRefusedError():
            return Outcome.CONNECT, Reason.PORT_REFUSED
        case aiosmtplib.SMTPServerDisconnected() | ConnectionError() | EOFError():
            return Outcome.CONNECT, Reason.CONNECTION_CLOSED
        case CommandRejectedError():
            return Outcome.CONNECT, Reason.MAILBOX_REFUSED
        case StartTlsInjectionError():
            return Outcome.TLS, Reason.TLS_TAMPERED
        case ProtocolError() | aiosmtplib.SMTPException():
            return Outcome.CONNECT, Reason.UNEXPECTED_ANSWER
        case OSError() if error.errno in _OURS:
            return Outcome.INCONCLUSIVE, Reason.OUR_OWN
        case _:
            return Outcome.CONNECT, Reason.UNREACHABLE


def _distrust(error: ssl.SSLCertVerificationError) -> Reason:
    if error.verify_code in _VERIFY_EXPIRED:
        return Reason.CERTIFICATE_EXPIRED
    if error.verify_code in _VERIFY_OTHER_NAME:
        return Reason.CERTIFICATE_OF_ANOTHER
    return Reason.CERTIFICATE_UNTRUSTED


def _is_foreign(error: ssl.SSLError) -> bool:
    """Whether the peer answered our hello with something that is not TLS, such as its plain-text greeting."""
    known = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNEXPECTED_MESSAGE"}
    # Python has no name for what newer libraries say of a record that is none.
    return error.reason in known or "record layer failure" in str(error)
