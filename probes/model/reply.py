"""Classification of mail servers' refusals, by protocol, as failures of a run (one execution of a probe). Pure.

SMTP reply codes are in RFC 5321 4.2, those to STARTTLS in RFC 3207 4, and those to a sign-in in RFC 4954 6. Enhanced
status codes are in RFC 3463 and RFC 5248, IMAP response codes in RFC 5530.
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

#: Characters of `Failure.detail`.
_MAX_DETAIL = 300
_STATUS_CODE = re.compile(r"(?:^|[\s#(\[-])([245]\.\d{1,3}\.\d{1,3})(?=$|[\s)\];:,.-])", re.ASCII)
_IMAP_CODE = re.compile(r"^\s*\[([A-Z0-9/-]+)", re.ASCII | re.IGNORECASE)

#: Reply codes that refuse the credentials: disabled account, weak mechanism, wrong password, encryption required (RFC
#: 4954 6, RFC 5248 2.4).
_CREDENTIALS_CODES = frozenset({525, 534, 535, 538})
#: Enhanced status codes that refuse the credentials. With 4.7.12 the server requires one sign-in by password before it
#: accepts a new mechanism. Exchange Online sends 550 5.7.30 if a policy disables password sign-in, and 5.7.139 if the
#: account is disabled.
_CREDENTIALS_STATUS = frozenset({"4.7.12", "5.7.8", "5.7.9", "5.7.13", "5.7.14", "5.7.30", "5.7.139"})
#: Text of Exchange Online for a mailbox that has too many sessions, or for which IMAP is disabled.
_NOT_CONNECTED_TEXT = re.compile("authenticated but not connected", re.IGNORECASE)
#: Reply code with which a server ends the connection after any command, because it shuts down or refuses further
#: commands (RFC 5321 3.8).
_CLOSING_CODE = 421
#: IMAP response codes that refuse the credentials or the account. ALERT may have any meaning; Google sends it for a
#: wrong password.
_IMAP_CREDENTIALS = frozenset(
    {"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "CONTACTADMIN", "ALERT", "WEBALERT"}
)
#: Texts of servers without response codes for a mailbox that another session locks. RFC 1939 5 has "maildrop already
#: locked" as an example.
_LOCKED_TEXT = re.compile(
    r"\b(?:maildrop|mailbox|mail ?drop|spool)\b.*\b(?:lock(?:ed)?|in use|busy)\b|\block (?:the )?(?:maildrop|mailbox|spool)",
    re.IGNORECASE,
)
#: Response codes for a folder that the account has no permission to read.
_IMAP_NO_ACCESS = frozenset({"NOPERM", "NONEXISTENT"})


class Reason(StrEnum):
    """Reason why a run failed, stored with the run. The set is closed, so that a reason may become a metric label."""

    NAME_UNKNOWN = "name unknown"
    NAME_SERVER_SILENT = "name server does not answer"
    PORT_REFUSED = "port refused"
    UNREACHABLE = "host unreachable"
    NO_ANSWER = "no answer"
    CONNECTION_CLOSED = "connection closed"
    #: The peer answers, but not in the expected protocol.
    UNEXPECTED_ANSWER = "unexpected answer"
    TLS_NOT_OFFERED = "TLS not offered"
    #: The server offers TLS and refuses to begin.
    TLS_UNAVAILABLE = "TLS not available"
    #: The handshake fails.
    TLS_REFUSED = "TLS refused"
    #: The peer answers the handshake with something other than TLS.
    TLS_NOT_SPOKEN = "TLS not spoken"
    #: Plain text was injected after the response to STARTTLS (CVE-2011-0411).
    TLS_INJECTION = "data injected before TLS"
    CERTIFICATE_EXPIRED = "certificate expired"
    CERTIFICATE_NAME_MISMATCH = "certificate for another name"
    CERTIFICATE_UNTRUSTED = "certificate not trusted"
    CREDENTIALS_REFUSED = "credentials refused"
    #: The server accepts no sign-in at present; the credentials were not refused.
    SIGN_IN_UNAVAILABLE = "sign-in not available"
    #: The server does not offer a mechanism for the mailbox's login.
    SIGN_IN_NOT_OFFERED = "sign-in not offered"
    #: The authorization server refuses an access token (RFC 6749 5.2).
    TOKEN_REFUSED = "access token refused"  # noqa: S105 - a reason, not a token
    #: No access token is available: the authorization server does not answer, a file is missing, a command fails. The
    #: mail server was not contacted.
    NO_TOKEN = "no access token"  # noqa: S105 - a reason, not a token
    #: The stored secret cannot be decrypted, or was entered for other servers. The mail server was not contacted.
    NO_SECRET = "no secret to sign in with"  # noqa: S105 - a reason, not a secret
    #: The server refuses in its greeting, or after EHLO.
    SERVICE_REFUSED = "service refused"
    SENDER_REFUSED = "sender refused"
    RECIPIENT_REFUSED = "recipient refused"
    MESSAGE_REFUSED = "message refused"
    #: The server refuses temporarily (4xx) or shuts down (421).
    TRY_LATER = "temporarily refused"
    #: The server refuses to open the mailbox's inbox, after the sign-in.
    MAILBOX_REFUSED = "mailbox refused"
    #: Another session uses the mailbox and locks it.
    MAILBOX_IN_USE = "mailbox in use"
    #: A bounce reports that the message was not delivered.
    RETURNED = "returned to sender"
    #: A bounce about the mailbox to which the message's address forwards, or of which the address is an alias.
    COPY_RETURNED = "forwarded copy returned"
    #: The message arrived, but its content was changed on the way.
    CONTENT_CHANGED = "content changed"
    #: The message arrived in a folder that is not configured.
    FOLDER_NOT_WATCHED = "in an unmonitored folder"
    #: The message did not arrive before the deadline.
    NOT_ARRIVED = "not arrived"
    #: The egress policy denied the connection: only operators may configure a host with such an address.
    EGRESS_DENIED = "address not allowed"
    #: The prober could not run: no network on this machine, no file handles, or a bug.
    MONITORING_FAULT = "monitoring fault"
    #: This process was blocked, so the result of the run is unknown.
    PROCESS_BLOCKED = "prober blocked"


class SubmissionStep(StrEnum):
    """Step of a submission to which the server replies."""

    GREETING = "greeting"
    HELLO = "hello"
    TLS = "tls"
    SIGN_IN = "sign-in"
    SENDER = "sender"
    RECIPIENT = "recipient"
    MESSAGE = "message"
    #: RSET: resets the envelope after a check that sends no message.
    RESET = "reset"


_PHASE_BY_STEP = {
    SubmissionStep.GREETING: Phase.CONNECT,
    SubmissionStep.HELLO: Phase.CONNECT,
    SubmissionStep.TLS: Phase.TLS,
    SubmissionStep.SIGN_IN: Phase.AUTH,
    SubmissionStep.MESSAGE: Phase.DATA,
}
_REASON_BY_STEP = {
    SubmissionStep.GREETING: Reason.SERVICE_REFUSED,
    SubmissionStep.HELLO: Reason.SERVICE_REFUSED,
    SubmissionStep.SENDER: Reason.SENDER_REFUSED,
    SubmissionStep.RECIPIENT: Reason.RECIPIENT_REFUSED,
    SubmissionStep.MESSAGE: Reason.MESSAGE_REFUSED,
    # Every server must accept RSET (RFC 5321 4.1.1.5).
    SubmissionStep.RESET: Reason.UNEXPECTED_ANSWER,
}
#: Steps whose refusal may concern the recipient.
_RECIPIENT_STEPS = frozenset({SubmissionStep.RECIPIENT, SubmissionStep.MESSAGE})


def probe_failure(
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
    """Return the error for a failed run. *detail*: text of a server or of the system, of any length."""
    failure = Failure(
        phase=phase,
        party=party,
        reason=reason,
        detail=shorten(detail),
        code=code,
        status=status,
        credentials_refused=credentials_refused,
        cause=cause,
    )
    return ProbeFailedError(outcome, failure)


def smtp_failure(
    step: SubmissionStep, code: int, text: str, party: Party = Party.SENDER, *, challenge: str = ""
) -> ProbeFailedError:
    """Return the error for a negative SMTP reply to *step*.

    *challenge* is the text that `read_challenge` returned for an XOAUTH2 challenge before this reply.
    """
    status = find_status(text)
    if step is SubmissionStep.SIGN_IN and 300 <= code < 600:
        refused_by_code = code in _CREDENTIALS_CODES or status in _CREDENTIALS_STATUS
        return _sign_in_failure(
            text, party, refused_by_code=refused_by_code, code=code, status=status, challenge=challenge
        )
    outcome, reason = _classify(step, code)
    about = {"about_sender": step is SubmissionStep.SENDER, "about_recipient": step in _RECIPIENT_STEPS}
    return probe_failure(
        outcome,
        reason,
        _PHASE_BY_STEP.get(step, Phase.SUBMIT),
        party,
        text,
        # A reply that aiosmtplib cannot parse has no valid code.
        code=code if 100 <= code < 600 else None,
        status=status,
        cause=refusal_cause(code, status, text, **about) if 400 <= code < 600 else None,
    )


def _sign_in_failure(
    text: str,
    party: Party,
    *,
    refused_by_code: bool,
    code: int | None = None,
    status: str | None = None,
    response: str | None = None,
    challenge: str = "",
) -> ProbeFailedError:
    """Return the error for a refused sign-in.

    *refused_by_code*: the reply has a code that refuses the credentials, or no code. *code* and *status* are SMTP's;
    *response* is the response code of IMAP or POP3. *challenge*: the text that `read_challenge` returned.

    If other sessions of the account prevent the sign-in, the cause is our own setup. The mailbox may work, so the run
    is inconclusive.
    """
    credentials_refused, cause = sign_in_refusal(
        text, refused_by_code=refused_by_code, code=code, status=status, response=response
    )
    if code is not None and code < 400:
        # The text is a challenge in base64, which may contain our secret.
        text = "the server sends another challenge instead of a result"
    return probe_failure(
        Outcome.INCONCLUSIVE if cause is RefusalCause.SESSION_LIMIT else Outcome.AUTH,
        Reason.CREDENTIALS_REFUSED if credentials_refused else Reason.SIGN_IN_UNAVAILABLE,
        Phase.AUTH,
        party,
        join_texts(challenge, text),
        code=code,
        status=status,
        credentials_refused=credentials_refused,
        cause=cause,
    )


def _classify(step: SubmissionStep, code: int) -> tuple[Outcome, Reason]:
    match step:
        case _ if code == _CLOSING_CODE:
            return Outcome.DEFERRED, Reason.TRY_LATER
        case SubmissionStep.TLS if 400 <= code < 600:
            return Outcome.TLS, Reason.TLS_UNAVAILABLE
        case _ if 500 <= code < 600:
            return Outcome.REJECTED, _REASON_BY_STEP[step]
        case _ if 400 <= code < 500:
            return Outcome.DEFERRED, Reason.TRY_LATER
        case _:
            return Outcome.CONNECT, Reason.UNEXPECTED_ANSWER


def imap_sign_in_failure(result: str, text: str, party: Party, *, challenge: str = "") -> ProbeFailedError:
    """Return the error for a refused LOGIN or AUTHENTICATE. *challenge* is the text from `read_challenge`, if any.

    A NO without a response code refuses the credentials (RFC 3501 6.2.3). With UNAVAILABLE, LIMIT, INUSE and most other
    codes of RFC 5530, the server accepts no sign-in at present. A BAD does not refuse the credentials.
    """
    code = response_code(text)
    refused_by_code = result == "NO" and (code is None or code in _IMAP_CREDENTIALS)
    return _sign_in_failure(text, party, refused_by_code=refused_by_code, response=code, challenge=challenge)


def pop3_sign_in_failure(text: str, party: Party, *, challenge: str = "") -> ProbeFailedError:
    """Return the error for -ERR to a sign-in (RFC 3206, RFC 2449 8).

    *challenge* is the text from `read_challenge`, if any.

    An -ERR without a response code refuses the credentials. If another session uses the mailbox, or the server requires
    longer intervals between sign-ins, the cause is our own setup. The mailbox may work, so the run is inconclusive.
    """
    code = response_code(text) or ""
    is_in_use = code in {"IN-USE", "LOGIN-DELAY"} or (not code and _LOCKED_TEXT.search(text) is not None)
    detail = join_texts(challenge, text)
    if is_in_use:
        limit = RefusalCause.SESSION_LIMIT
        return probe_failure(Outcome.INCONCLUSIVE, Reason.MAILBOX_IN_USE, Phase.AUTH, party, detail, cause=limit)
    return _sign_in_failure(text, party, refused_by_code=code in {"", "AUTH"}, response=code, challenge=challenge)


def inbox_failure(text: str, *, is_shared: bool) -> ProbeFailedError | None:
    """Return the error for a refusal to select the inbox; `None` if the refusal means a fault of the server.

    *is_shared*: the mailbox is another user's (see `shared_mailbox_failure`). A mailbox that another session locks (RFC
    5530, INUSE) may work, so the run is inconclusive.
    """
    location, limit = (Phase.RETRIEVE, Party.RECIPIENT), RefusalCause.SESSION_LIMIT
    if response_code(text) in {"INUSE", "LIMIT"}:
        return probe_failure(Outcome.INCONCLUSIVE, Reason.MAILBOX_IN_USE, *location, text, cause=limit)
    if _NOT_CONNECTED_TEXT.search(text):
        return probe_failure(Outcome.INCONCLUSIVE, Reason.MAILBOX_REFUSED, *location, text, cause=limit)
    return shared_mailbox_failure(text) if is_shared else None


def shared_mailbox_failure(text: str) -> ProbeFailedError:
    """Return the error for a refusal to select another user's mailbox. The refusal is no evidence about delivery.

    NOPERM and NONEXISTENT (RFC 5530) mean that our account has no permission: some servers send NONEXISTENT to hide
    that the mailbox exists.
    """
    reason_and_location = Reason.MAILBOX_REFUSED, Phase.RETRIEVE, Party.RECIPIENT
    if response_code(text) in _IMAP_NO_ACCESS:
        return probe_failure(
            Outcome.AUTH, *reason_and_location, text, credentials_refused=True, cause=RefusalCause.ACCOUNT
        )
    return probe_failure(Outcome.CONNECT, *reason_and_location, text)


def read_challenge(text: str) -> str:
    """Return the challenge that a server sends for a rejected XOAUTH2 token, as text: "status 401, scope ...".

    The challenge (RFC 7628 3.2.2) is JSON in base64, and has more details than the refusal that follows it. Return ""
    for any other text.
    """
    try:
        fields = json.loads(b64decode(text, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return ""
    if not isinstance(fields, dict):
        return ""
    values = (f"{name} {fields[name]}" for name in ("status", "scope") if isinstance(fields.get(name), str | int))
    return shorten(", ".join(values))


def join_texts(*texts: str) -> str:
    """Join *texts* with "; ", without the blank ones."""
    return "; ".join(text for text in texts if text.strip())


def timeout_failure(phase: Phase, party: Party, detail: str = "") -> ProbeFailedError:
    """Return the error for a timeout in *phase*."""
    match phase:
        case Phase.DNS:
            return probe_failure(Outcome.DNS, Reason.NAME_SERVER_SILENT, phase, party, detail)
        case Phase.TRANSIT:
            return probe_failure(Outcome.LOST, Reason.NOT_ARRIVED, phase, party, detail)
        case _:
            return probe_failure(Outcome.TIMEOUT, Reason.NO_ANSWER, phase, party, detail)


def response_code(text: str) -> str | None:
    """Return the response code at the start of *text*, such as AUTHENTICATIONFAILED, or `None`."""
    match = _IMAP_CODE.match(text)
    return match[1].upper() if match else None


def find_status(text: str) -> str | None:
    """Return the first enhanced status code in *text*, such as "5.7.1", or `None`."""
    match = _STATUS_CODE.search(text)
    return match[1] if match else None


def shorten(text: str) -> str:
    """Return *text* on one line, without control characters, shortened for logs and the portal."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(printable.split())
    return line if len(line) <= _MAX_DETAIL else f"{line[: _MAX_DETAIL - 1]}…"
