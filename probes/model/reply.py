"""What a server's refusal means. Pure.

SMTP reply codes: RFC 5321 4.2; of STARTTLS: RFC 3207 4; of sign-in: RFC 4954 6; enhanced status codes: RFC 3463 and
RFC 5248; IMAP response codes: RFC 5530.
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

#: Sign-in is refused for what we showed: disabled account, weak mechanism, wrong credentials, encryption required for it
#: (RFC 4954 6, RFC 5248 2.4).
_CREDENTIALS_CODES = frozenset({525, 534, 535, 538})
#: 4.7.12: a new mechanism wants the password to be shown once by the old one. Exchange Online refuses password sign-in as
#: a policy with 550 5.7.30, and a disabled account with 5.7.139.
_CREDENTIALS_STATUS = frozenset({"4.7.12", "5.7.8", "5.7.9", "5.7.13", "5.7.14", "5.7.30", "5.7.139"})
#: Exchange Online, of a mailbox that has too many sessions, or may not be read over IMAP.
_NOT_CONNECTED = re.compile("authenticated but not connected", re.IGNORECASE)
#: The server hangs up, whatever it was asked: it is being shut down, or has had enough of us (RFC 5321 3.8). Whom it lets
#: in no more cannot sign in, for whatever reason.
_CLOSING = 421
#: About who signs in. An alert is words for the user to read, with whatever it is about: Google's of a wrong password.
_IMAP_CREDENTIALS = frozenset(
    {"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "CONTACTADMIN", "ALERT", "WEBALERT"}
)
#: Of a mailbox that somebody else has locked, where there is no code for it (RFC 1939 5 has the first in an example).
_LOCKED = re.compile(
    r"\b(?:maildrop|mailbox|mail ?drop|spool)\b.*\b(?:lock(?:ed)?|in use|busy)\b|\block (?:the )?(?:maildrop|mailbox|spool)",
    re.IGNORECASE,
)
#: Of a folder that we may not see.
_IMAP_NOT_OURS = frozenset({"NOPERM", "NONEXISTENT"})


class Reason(StrEnum):
    """Why a run failed: the whole vocabulary, so that a reason may become a metric label."""

    NAME_UNKNOWN = "name unknown"
    NAME_SERVER_SILENT = "name server does not answer"
    PORT_REFUSED = "port refused"
    UNREACHABLE = "host unreachable"
    NO_ANSWER = "no answer"
    CONNECTION_CLOSED = "connection closed"
    #: The peer speaks, but not this protocol.
    UNEXPECTED_ANSWER = "unexpected answer"
    TLS_NOT_OFFERED = "TLS not offered"
    #: The server offers it and refuses it in words when it is asked to begin.
    TLS_UNAVAILABLE = "TLS not available"
    #: The handshake fails.
    TLS_REFUSED = "TLS refused"
    TLS_NOT_SPOKEN = "TLS not spoken"
    #: Something was said in clear, behind the permission to begin TLS, for us to believe later (CVE-2011-0411).
    TLS_TAMPERED = "something said before TLS"
    CERTIFICATE_EXPIRED = "certificate expired"
    CERTIFICATE_OF_ANOTHER = "certificate for another name"
    CERTIFICATE_UNTRUSTED = "certificate not trusted"
    CREDENTIALS_REFUSED = "credentials refused"
    SIGN_IN_UNAVAILABLE = "sign-in not available"
    SIGN_IN_NOT_OFFERED = "sign-in not offered"
    #: The authorization server gives us no access token (RFC 6749 5.2).
    TOKEN_REFUSED = "access token refused"  # noqa: S105 - a reason, not a token
    #: None could be had: that server does not answer, a file is missing, a command fails. Nothing was asked of the
    #: mail server.
    NO_TOKEN = "no access token"  # noqa: S105 - a reason, not a token
    #: It is kept by us and cannot be read, or was typed for other servers. Nothing was asked of the mail server.
    NO_SECRET = "no secret to sign in with"  # noqa: S105 - a reason, not a secret
    #: In the greeting, before anything was asked.
    SERVICE_REFUSED = "service refused"
    SENDER_REFUSED = "sender refused"
    RECIPIENT_REFUSED = "recipient refused"
    MESSAGE_REFUSED = "message refused"
    COME_AGAIN = "asked to come again"
    MAILBOX_REFUSED = "mailbox refused"
    #: Another POP3 session holds it; nobody else gets in meanwhile.
    MAILBOX_IN_USE = "mailbox in use"
    RETURNED = "returned to sender"
    #: Not by the address it was sent to, but by the mailbox behind that, which it forwards to or stands for.
    COPY_RETURNED = "forwarded copy returned"
    CHANGED = "content changed"
    #: It arrived, where no configuration tells us to look.
    FOLDER_NOT_WATCHED = "in a folder that is not watched"
    NOT_ARRIVED = "not arrived"
    #: We did not connect: the host leads to where connections do not go that others than operators name.
    OUT_OF_BOUNDS = "address not allowed"
    #: We could not look: no network here, no file handles, or a bug of ours.
    OUR_OWN = "our own fault"
    #: We stood still, and what became of the run is not known.
    OUR_LATENESS = "we were late"


class SubmissionStep(StrEnum):
    """The part of a submission that a reply answers."""

    GREETING = "greeting"
    HELLO = "hello"
    TLS = "tls"
    SIGN_IN = "sign-in"
    SENDER = "sender"
    RECIPIENT = "recipient"
    MESSAGE = "message"
    #: Taking back who writes to whom, when nothing is to be sent.
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
    # Every server grants it (RFC 5321 4.1.1.5).
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
    """Return how a run ended that did not go well; *detail* is whatever a server or the system said, at any length."""
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
    """Say what a negative SMTP reply to *step* means; *challenge* is what XOAUTH2 said before, in words."""
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
        # What aiosmtplib cannot read has none, by its own word.
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
    """Say how a run ends that is not let in; the arguments are those of `sign_in_refusal`.

    Where other sessions leave no room for ours, the mailbox may be well: that is our own arrangement, and we cannot look.
    """
    refused, cause = sign_in_refusal(text, refused=refused, code=code, status=status, response=response)
    if code is not None and code < 400:
        # A question in base64, which may hold what we have said.
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
    """Say what a refused LOGIN or AUTHENTICATE means; *challenge* is what XOAUTH2 said before, in words.

    A NO without a response code is a refusal of the credentials (RFC 3501 6.2.3); UNAVAILABLE, LIMIT, INUSE and the
    rest of RFC 5530 say that nobody, or not now, is let in. A BAD says nothing about the credentials.
    """
    code = imap_code(text)
    refused = result == "NO" and (code is None or code in _IMAP_CREDENTIALS)
    return _not_let_in(text, party, refused=refused, response=code, challenge=challenge)


def pop3_sign_in_failure(text: str, party: Party, *, challenge: str = "") -> ProbeFailedError:
    """Say what -ERR to a sign-in means (RFC 3206, RFC 2449 8); *challenge* is what XOAUTH2 said before, in words.

    Without a response code it is a refusal of the credentials. While another session holds the mailbox, or when the
    server wants us less often, the mailbox may be well: that is our own arrangement, and we cannot look.
    """
    code = imap_code(text) or ""
    ours = code in {"IN-USE", "LOGIN-DELAY"} or (not code and _LOCKED.search(text) is not None)
    said = joined(challenge, text)
    if ours:
        limit = RefusalCause.SESSION_LIMIT
        return failed(Outcome.INCONCLUSIVE, Reason.MAILBOX_IN_USE, Phase.AUTH, party, said, cause=limit)
    return _not_let_in(text, party, refused=code in {"", "AUTH"}, response=code, challenge=challenge)


def not_opened(text: str, *, anothers: bool) -> ProbeFailedError | None:
    """Say what a refusal to open the inbox means, where it is not plainly the server's: *anothers* is `not_shown`.

    One that somebody has locked may be well (RFC 5530, INUSE), as over POP3.
    """
    place, limit = (Phase.RETRIEVE, Party.RECIPIENT), RefusalCause.SESSION_LIMIT
    if imap_code(text) in {"INUSE", "LIMIT"}:
        return failed(Outcome.INCONCLUSIVE, Reason.MAILBOX_IN_USE, *place, text, cause=limit)
    if _NOT_CONNECTED.search(text):
        return failed(Outcome.INCONCLUSIVE, Reason.MAILBOX_REFUSED, *place, text, cause=limit)
    return not_shown(text) if anothers else None


def not_shown(text: str) -> ProbeFailedError:
    """Say what a refusal to open another's mailbox means, which we are to look into: nothing about the mail that comes.

    NOPERM and NONEXISTENT (RFC 5530) are about what our account may see; a server says the one to hide the other.
    """
    place = Reason.MAILBOX_REFUSED, Phase.RETRIEVE, Party.RECIPIENT
    if imap_code(text) in _IMAP_NOT_OURS:
        return failed(Outcome.AUTH, *place, text, credentials_refused=True, cause=RefusalCause.ACCOUNT)
    return failed(Outcome.CONNECT, *place, text)


def challenge_in(text: str) -> str:
    """Return in words what XOAUTH2's challenge after a refused token says (RFC 7628 3.2.2): "status 401, scope ...".

    It is JSON in base64, and the refusal that follows says less. Return "" for anything else.
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
    """Return the texts that say something, one after the other."""
    return "; ".join(text for text in texts if text.strip())


def expired(phase: Phase, party: Party, detail: str = "") -> ProbeFailedError:
    """Say what it means that a deadline passed in *phase*."""
    match phase:
        case Phase.DNS:
            return failed(Outcome.DNS, Reason.NAME_SERVER_SILENT, phase, party, detail)
        case Phase.TRANSIT:
            return failed(Outcome.LOST, Reason.NOT_ARRIVED, phase, party, detail)
        case _:
            return failed(Outcome.TIMEOUT, Reason.NO_ANSWER, phase, party, detail)


def imap_code(text: str) -> str | None:
    """Return the response code that starts *text*, such as AUTHENTICATIONFAILED, or `None`."""
    match = _IMAP_CODE.match(text)
    return match[1].upper() if match else None


def status_in(text: str) -> str | None:
    """Return the first enhanced status code in *text*, such as "5.7.1", or `None`."""
    match = _STATUS.search(text)
    return match[1] if match else None


def shortened(text: str) -> str:
    """Return *text* on one line, without control characters, at a length that a log and a portal can show."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(printable.split())
    return line if len(line) <= _DETAIL_AT_MOST else f"{line[: _DETAIL_AT_MOST - 1]}…"
