"""Classification of servers' refusals. Pure.

SMTP reply codes: RFC 5321 4.2; of STARTTLS: RFC 3207 4; of sign-in: RFC 4954 6; enhanced status codes: RFC 3463 and RFC
5248; IMAP response codes: RFC 5530.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from enum import StrEnum

from probes.model.probe import ProbeFailedError
from probes.model.refusal import refusal_cause, sign_in_refusal
from probes.model.result import Failure, Outcome, Party, Phase, RefusalCause

_DETAIL_AT_MOST = 300
_STATUS = re.compile(r"(?:^|[\s#(\[-])([245]\.\d{1,3}\.\d{1,3})(?=$|[\s)\];:,.-])", re.ASCII)
_IMAP_CODE = re.compile(r"^\s*\[([A-Z0-9/-]+)", re.ASCII | re.IGNORECASE)

#: Sign-in is refused because of the credentials: disabled account, weak mechanism, wrong password, encryption required
#: (RFC 4954 6, RFC 5248 2.4).
_CREDENTIALS_CODES = frozenset({525, 534, 535, 538})
#: 4.7.12: a new mechanism requires one sign-in with the password by the old one. Exchange Online refuses password
#: sign-in by policy with 550 5.7.30, and a disabled account with 5.7.139.
_CREDENTIALS_STATUS = frozenset({"4.7.12", "5.7.8", "5.7.9", "5.7.13", "5.7.14", "5.7.30", "5.7.139"})
#: Exchange Online, for a mailbox that has too many sessions, or may not be read over IMAP.
_NOT_CONNECTED = re.compile("authenticated but not connected", re.IGNORECASE)
#: The server disconnects, whatever the command was: it is shutting down, or refuses further commands (RFC 5321 3.8). A
#: user cannot sign in, whatever the reason.
_CLOSING = 421
#: About the account. ALERT is text for the user about anything: Google sends it for a wrong password.
_IMAP_CREDENTIALS = frozenset(
    {"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "CONTACTADMIN", "ALERT", "WEBALERT"}
)
#: For a mailbox locked by another session, when no code reports it (RFC 1939 5 has the first in an example).
_LOCKED = re.compile(
    r"\b(?:maildrop|mailbox|mail ?drop|spool)\b.*\b(?:lock(?:ed)?|in use|busy)\b|\block (?:the )?(?:maildrop|mailbox|spool)",
    re.IGNORECASE,
)
#: For a folder without read permission.
_IMAP_NOT_OURS = frozenset({"NOPERM", "NONEXISTENT"})


class Reason(StrEnum):
    """Why a run failed: a closed set, so that a reason may become a metric label."""

    NAME_UNKNOWN = "name unknown"
    NAME_SERVER_SILENT = "name server does not answer"
    PORT_REFUSED = "port refused"
    UNREACHABLE = "host unreachable"
    NO_ANSWER = "no answer"
    CONNECTION_CLOSED = "connection closed"
    #: The peer responds, but not in this protocol.
    UNEXPECTED_ANSWER = "unexpected answer"
    TLS_NOT_OFFERED = "TLS not offered"
    #: The server offers it and explicitly refuses to begin.
    TLS_UNAVAILABLE = "TLS not available"
    #: The handshake fails.
    TLS_REFUSED = "TLS refused"
    TLS_NOT_SPOKEN = "TLS not spoken"
    #: Plain text was injected after the permission to begin TLS (CVE-2011-0411).
    TLS_TAMPERED = "something said before TLS"
    CERTIFICATE_EXPIRED = "certificate expired"
    CERTIFICATE_OF_ANOTHER = "certificate for another name"
    CERTIFICATE_UNTRUSTED = "certificate not trusted"
    CREDENTIALS_REFUSED = "credentials refused"
    SIGN_IN_UNAVAILABLE = "sign-in not available"
    SIGN_IN_NOT_OFFERED = "sign-in not offered"
    #: The authorization server refuses an access token (RFC 6749 5.2).
    TOKEN_REFUSED = "access token refused"  # noqa: S105 - a reason, not a token
    #: No access token is available: the authorization server does not answer, a file is missing, a command fails. The
    #: mail server was not contacted.
    NO_TOKEN = "no access token"  # noqa: S105 - a reason, not a token
    #: The stored secret cannot be decrypted, or was entered for other servers. The mail server was not contacted.
    NO_SECRET = "no secret to sign in with"  # noqa: S105 - a reason, not a secret
    #: In the greeting, before any command.
    SERVICE_REFUSED = "service refused"
    SENDER_REFUSED = "sender refused"
    RECIPIENT_REFUSED = "recipient refused"
    MESSAGE_REFUSED = "message refused"
    COME_AGAIN = "asked to come again"
    MAILBOX_REFUSED = "mailbox refused"
    #: Another POP3 session holds it and locks it.
    MAILBOX_IN_USE = "mailbox in use"
    RETURNED = "returned to sender"
    #: Not returned by the address of the message, but by the mailbox behind it, which it forwards to or is an alias of.
    COPY_RETURNED = "forwarded copy returned"
    CHANGED = "content changed"
    #: It arrived in a folder that is not configured.
    FOLDER_NOT_WATCHED = "in a folder that is not watched"
    NOT_ARRIVED = "not arrived"
    #: The egress policy denied the connection: the host resolves to an address that is allowed to operators only.
    OUT_OF_BOUNDS = "address not allowed"
    #: The prober could not run: no network on this machine, no file handles, or a bug.
    OUR_OWN = "our own fault"
    #: The process was blocked, and the result of the run is unknown.
    OUR_LATENESS = "we were late"


class SubmissionStep(StrEnum):
    """Part of a submission that a reply answers."""

    GREETING = "greeting"
    HELLO = "hello"
    TLS = "tls"
    SIGN_IN = "sign-in"
    SENDER = "sender"
    RECIPIENT = "recipient"
    MESSAGE = "message"
    #: Resets the envelope when no message is to be sent.
    RESET = "reset"


_PHASES = {
    SubmissionStep.GREETING: Phase.CONNECT,
    SubmissionStep.HELLO: Phase.CONNECT,
    SubmissionStep.TLS: Phase.TLS,
    SubmissionStep.SIGN_IN: Phase.AUTH,
    SubmissionStep.MESSAGE: Phase.DATA,
}
_REFUSALS = {
    SubmissionStep.GREETING: Reason.SERVICE_REFUSED,
    SubmissionStep.HELLO: Reason.SERVICE_REFUSED,
    SubmissionStep.SENDER: Reason.SENDER_REFUSED,
    SubmissionStep.RECIPIENT: Reason.RECIPIENT_REFUSED,
    SubmissionStep.MESSAGE: Reason.MESSAGE_REFUSED,
    # Every server accepts it (RFC 5321 4.1.1.5).
    SubmissionStep.RESET: Reason.UNEXPECTED_ANSWER,
}
_OF_RECIPIENT = frozenset({SubmissionStep.RECIPIENT, SubmissionStep.MESSAGE})


def failed(
    outcome: Outcome,
    reason: Reason,
    phase: Phase,
    party: Party,
    detail: str = "",
    *,
    code: int | None = None,
    status: str | None = None,
    credentials_refused: bool = False,
    cause: RefusalCause | None = None,
) -> ProbeFailedError:
    """Return the error for a failed run; *detail* is the text of a server or of the system, of any length."""
    failure = Failure(
        phase=phase,
        party=party,
        reason=reason,
        detail=shortened(detail),
        code=code,
        status=status,
        credentials_refused=credentials_refused,
        cause=cause,
    )
    return ProbeFailedError(outcome, failure)


def smtp_failure(
    step: SubmissionStep, code: int, text: str, party: Party = Party.SENDER, *, challenge: str = ""
) -> ProbeFailedError:
    """Return the error for a negative SMTP reply to *step*; *challenge* is the earlier one of XOAUTH2, in words."""
    status = status_in(text)
    if step is SubmissionStep.SIGN_IN and 300 <= code < 600:
        refused = code in _CREDENTIALS_CODES or status in _CREDENTIALS_STATUS
        return _not_let_in(text, party, refused=refused, code=code, status=status, challenge=challenge)
    outcome, reason = _meaning(step, code)
    ends = {"of_sender": step is SubmissionStep.SENDER, "of_recipient": step in _OF_RECIPIENT}
    return failed(
        outcome,
        reason,
        _PHASES.get(step, Phase.SUBMIT),
        party,
        text,
        # A reply that aiosmtplib cannot parse has no code.
        code=code if 100 <= code < 600 else None,
        status=status,
        cause=refusal_cause(code, status, text, **ends) if 400 <= code < 600 else None,
    )


def _not_let_in(
    text: str,
    party: Party,
    *,
    refused: bool,
    code: int | None = None,
    status: str | None = None,
    response: str | None = None,
    challenge: str = "",
) -> ProbeFailedError:
    """Return the error for a refused sign-in; the arguments are those of `sign_in_refusal`.

    If other sessions leave no room for ours, the mailbox may work: the cause is our own setup, and the run is
    inconclusive.
    """
    refused, cause = sign_in_refusal(text, refused=refused, code=code, status=status, response=response)
    if code is not None and code < 400:
        # A challenge in base64, which may contain our secret.
        text = "it goes on asking instead of saying yes or no"
    return failed(
        Outcome.INCONCLUSIVE if cause is RefusalCause.SESSION_LIMIT else Outcome.AUTH,
        Reason.CREDENTIALS_REFUSED if refused else Reason.SIGN_IN_UNAVAILABLE,
        Phase.AUTH,
        party,
        joined(challenge, text),
        code=code,
        status=status,
        credentials_refused=refused,
        cause=cause,
    )


def _meaning(step: SubmissionStep, code: int) -> tuple[Outcome, Reason]:
    match step:
        case _ if code == _CLOSING:
            return Outcome.DEFERRED, Reason.COME_AGAIN
        case SubmissionStep.TLS if 400 <= code < 600:
            return Outcome.TLS, Reason.TLS_UNAVAILABLE
        case _ if 500 <= code < 600:
            return Outcome.REJECTED, _REFUSALS[step]
        case _ if 400 <= code < 500:
            return Outcome.DEFERRED, Reason.COME_AGAIN
        case _:
            return Outcome.CONNECT, Reason.UNEXPECTED_ANSWER


def imap_sign_in_failure(result: str, text: str, party: Party, *, challenge: str = "") -> ProbeFailedError:
    """Return the error for a refused LOGIN or AUTHENTICATE; *challenge* is that of XOAUTH2, in words.

    A NO without a response code is a refusal of the credentials (RFC 3501 6.2.3); UNAVAILABLE, LIMIT, INUSE and the
    rest of RFC 5530 mean that no sign-in is accepted, or not now. A BAD says nothing about the credentials.
    """
    code = imap_code(text)
    refused = result == "NO" and (code is None or code in _IMAP_CREDENTIALS)
    return _not_let_in(text, party, refused=refused, response=code, challenge=challenge)


def pop3_sign_in_failure(text: str, party: Party, *, challenge: str = "") -> ProbeFailedError:
    """Return the error for -ERR to a sign-in (RFC 3206, RFC 2449 8); *challenge* is that of XOAUTH2, in words.

    Without a response code it is a refusal of the credentials. While another session holds the mailbox, or when the
    server requires longer intervals, the mailbox may work: the cause is our own setup, and the run is inconclusive.
    """
    code = imap_code(text) or ""
    ours = code in {"IN-USE", "LOGIN-DELAY"} or (not code and _LOCKED.search(text) is not None)
    said = joined(challenge, text)
    if ours:
        limit = RefusalCause.SESSION_LIMIT
        return failed(Outcome.INCONCLUSIVE, Reason.MAILBOX_IN_USE, Phase.AUTH, party, said, cause=limit)
    return _not_let_in(text, party, refused=code in {"", "AUTH"}, response=code, challenge=challenge)


def not_opened(text: str, *, anothers: bool) -> ProbeFailedError | None:
    """Return the error for a refusal to select the inbox, or `None` when it is plainly the server's.

    *anothers*: another user's mailbox, see `not_shown`. A mailbox locked by another session may work (RFC 5530, INUSE),
    as over POP3.
    """
    place, limit = (Phase.RETRIEVE, Party.RECIPIENT), RefusalCause.SESSION_LIMIT
    if imap_code(text) in {"INUSE", "LIMIT"}:
        return failed(Outcome.INCONCLUSIVE, Reason.MAILBOX_IN_USE, *place, text, cause=limit)
    if _NOT_CONNECTED.search(text):
        return failed(Outcome.INCONCLUSIVE, Reason.MAILBOX_REFUSED, *place, text, cause=limit)
    return not_shown(text) if anothers else None


def not_shown(text: str) -> ProbeFailedError:
    """Return the error for a refusal to select another user's mailbox: it says nothing about delivery.

    NOPERM and NONEXISTENT (RFC 5530) concern our account's permissions; servers use the second to hide the first.
    """
    place = Reason.MAILBOX_REFUSED, Phase.RETRIEVE, Party.RECIPIENT
    if imap_code(text) in _IMAP_NOT_OURS:
        return failed(Outcome.AUTH, *place, text, credentials_refused=True, cause=RefusalCause.ACCOUNT)
    return failed(Outcome.CONNECT, *place, text)


def challenge_in(text: str) -> str:
    """Return XOAUTH2's challenge after a rejected token (RFC 7628 3.2.2) in words: "status 401, scope ...".

    It is JSON in base64, and the refusal that follows contains less. Return "" for anything else.
    """
    try:
        fields = json.loads(b64decode(text, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return ""
    if not isinstance(fields, dict):
        return ""
    said = (f"{name} {fields[name]}" for name in ("status", "scope") if isinstance(fields.get(name), str | int))
    return shortened(", ".join(said))


def joined(*texts: str) -> str:
    """Return the texts that are not empty, joined."""
    return "; ".join(text for text in texts if text.strip())


def expired(phase: Phase, party: Party, detail: str = "") -> ProbeFailedError:
    """Return the error for a deadline that expired in *phase*."""
    match phase:
        case Phase.DNS:
            return failed(Outcome.DNS, Reason.NAME_SERVER_SILENT, phase, party, detail)
        case Phase.TRANSIT:
            return failed(Outcome.LOST, Reason.NOT_ARRIVED, phase, party, detail)
        case _:
            return failed(Outcome.TIMEOUT, Reason.NO_ANSWER, phase, party, detail)


def imap_code(text: str) -> str | None:
    """Return the response code at the start of *text*, such as AUTHENTICATIONFAILED, or `None`."""
    match = _IMAP_CODE.match(text)
    return match[1].upper() if match else None


def status_in(text: str) -> str | None:
    """Return the first enhanced status code in *text*, such as "5.7.1", or `None`."""
    match = _STATUS.search(text)
    return match[1] if match else None


def shortened(text: str) -> str:
    """Return *text* on one line, without control characters, shortened for logs and the portal."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(printable.split())
    return line if len(line) <= _DETAIL_AT_MOST else f"{line[: _DETAIL_AT_MOST - 1]}…"
