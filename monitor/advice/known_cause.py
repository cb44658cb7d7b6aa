"""Known causes of each failure reason, and the conditions that identify them. Each has a text of its own. Pure.

The reason and the name of a cause form the key of the text in `en.yaml` and `ms.yaml`: "no answer.port 25". The text
says what the name of a cause means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum

from monitor.advice.case import Case
from probes.model.mailbox import Security
from probes.model.reply import Reason
from probes.model.result import Outcome, Phase, RefusalCause

#: Name, in place of a cause, for cases that match no known cause of their reason: "no answer.otherwise".
OTHERWISE = "otherwise"
#: Key of the text for a reason that is not a `Reason`, but comes from a third-party kind of probe.
UNKNOWN_REASON = "another reason"

#: Reasons that replace the text of the outcome (`ended.<outcome>`) by a text of their own (`ended.<reason>`).
REASONS_WITH_OUTCOME_TEXT = (Reason.MAILBOX_REFUSED, Reason.FOLDER_NOT_WATCHED)

_REASONS = frozenset(Reason)
_SMTP_AUTH_OFF = ("smtpclientauthentication is disabled", "basic authentication is disabled", "5.7.30")
_APP_PASSWORD = ("application-specific password", "app password", "application password")


class ArrivalKind(StrEnum):
    """How an unchanged message arrived. The value is part of the key of its text."""

    NORMAL = "well"
    SLOW = "slow"
    JUNK = "junk"
    #: Junk on a forwarded route: forwarding may have caused it.
    FORWARDED_TO_JUNK = "junk, forwarded"
    #: The sender's server never confirmed that it accepted the message.
    UNCONFIRMED = "unanswered"
    #: The sender's server confirmed that it accepted the message, but late.
    CONFIRMED_LATE = "answered late"


def text_key(case: Case) -> str:
    """Return the key of the text that explains *case*."""
    reason = case.failure.reason
    if reason not in _REASONS:
        return UNKNOWN_REASON
    if reason not in KNOWN_CAUSES:
        return reason
    cause = next((name for name, matches in KNOWN_CAUSES[reason].items() if matches(case)), OTHERWISE)
    return f"{reason}.{cause}"


def failure_text_keys() -> Iterator[str]:
    """Yield the keys of all texts about failures."""
    for reason in Reason:
        if reason in KNOWN_CAUSES:
            yield from (f"{reason}.{name}" for name in (*KNOWN_CAUSES[reason], OTHERWISE))
        else:
            yield reason
    yield UNKNOWN_REASON


def _is_uncertain(case: Case) -> bool:
    """Whether the connection failed or timed out after the message was sent, so that it may have been accepted."""
    return case.result.uncertain


def _is_before_greeting(case: Case) -> bool:
    return case.failure.phase in {Phase.CONNECT, Phase.TLS}


def _is_unopened(case: Case) -> bool:
    """Whether the TCP connection was not established."""
    return case.failure.phase is Phase.CONNECT and case.result.outcome is Outcome.CONNECT


def _is_plain_on_tls_port(case: Case) -> bool:
    """Whether a port for implicit TLS was used in plain text: each side waits for the other to begin."""
    has_timed_out = case.failure.phase is Phase.CONNECT and case.result.outcome is Outcome.TIMEOUT
    return has_timed_out and case.server is not None and case.server.security is Security.STARTTLS


def _uses_port(case: Case, *ports: int) -> bool:
    return case.server is not None and case.server.port in ports


def _is_greylisted(case: Case) -> bool:
    return case.failure.cause is RefusalCause.GREYLISTING


def _is_busy(case: Case) -> bool:
    """Whether the server limits its clients. A 421 without status 4.7.x is a shutdown (`Case.is_closing`)."""
    return case.is_limited() or (case.failure.code == 421 and case.has_status("4.7."))


def _is_throttled(case: Case) -> bool:
    return _is_busy(case) or case.has_sent_too_much()


def _is_sender_address_denied(case: Case) -> bool:
    # Exchange Online refuses the sender's address only after it has received the message.
    return case.has_status("5.7.60", "5.2.252") or case.reply_contains("send as this sender", "sendasdenied")


#: By reason: the name of each known cause, and its condition. The first cause whose condition holds is used.
KNOWN_CAUSES: Mapping[str, Mapping[str, Callable[[Case], bool]]] = {
    Reason.NO_ANSWER: {
        "uncertain": _is_uncertain,
        "port 25": lambda case: _is_unopened(case) and _uses_port(case, 25),
        "not opened": _is_unopened,
        "TLS expected": _is_plain_on_tls_port,
        "unfinished answer": lambda case: case.reply_contains("without an end"),
        "during TLS": lambda case: case.failure.phase is Phase.TLS,
    },
    Reason.CONNECTION_CLOSED: {"uncertain": _is_uncertain, "before greeting": _is_before_greeting},
    Reason.UNEXPECTED_ANSWER: {
        "endless answer": lambda case: case.reply_contains("response too long", "does not stop talking")
    },
    Reason.SERVICE_REFUSED: {
        "greeting not understood": Case.is_not_understood,
        "takes no mail": lambda case: case.failure.code == 521 or case.is_closing(),
    },
    Reason.TLS_NOT_SPOKEN: {"STARTTLS port": lambda case: _uses_port(case, 25, 110, 143, 587)},
    Reason.TOKEN_REFUSED: {
        "client secret": lambda case: case.reply_contains(
            "aadsts7000215", "aadsts7000222", "aadsts7000216", "invalid_client"
        ),
        "no consent": lambda case: case.reply_contains("aadsts65001", "aadsts90094", "consent"),
        "unknown application": lambda case: case.reply_contains(
            "aadsts700016", "aadsts90002", "aadsts900023", "aadsts500011"
        ),
        # Google's replies for a service account (RFC 7523). "clock" is first: that reply says "Invalid JWT", too.
        "clock": lambda case: case.reply_contains("reasonable timeframe"),
        "not delegated": lambda case: case.reply_contains("unauthorized_client"),
        "no such mailbox": lambda case: case.reply_contains("invalid email or user id"),
        "service account": lambda case: case.reply_contains("invalid jwt", "account not found"),
        "refresh token": lambda case: case.reply_contains(
            "aadsts700082", "aadsts50173", "aadsts70008", "invalid_grant"
        ),
    },
    Reason.CREDENTIALS_REFUSED: {
        "Google's token": lambda case: case.uses_token() and case.mail_provider == "Google",
        "token": Case.uses_token,
        "password sign-in required": lambda case: case.has_status("4.7.12"),
        "account disabled": lambda case: case.failure.code == 525 or case.has_status("5.7.13"),
        "SMTP AUTH off": lambda case: case.has_status("5.7.30", "5.7.139") or case.reply_contains(*_SMTP_AUTH_OFF),
        "app password": lambda case: case.failure.code == 534 or case.reply_contains(*_APP_PASSWORD),
        "at Yahoo": lambda case: case.mail_provider == "Yahoo",
        "at Google": lambda case: case.mail_provider == "Google",
        "at Microsoft": lambda case: case.mail_provider == "Microsoft",
    },
    Reason.SIGN_IN_UNAVAILABLE: {
        "too many": lambda case: _is_busy(case) or case.reply_contains("[inuse]"),
        "closing": Case.is_closing,
        "endless challenges": lambda case: case.failure.code is not None and 300 <= case.failure.code < 400,
        "not understood": Case.is_not_understood,
    },
    Reason.SIGN_IN_NOT_OFFERED: {"for a token": Case.uses_token},
    Reason.SENDER_REFUSED: {
        "sending limit": Case.has_sent_too_much,
        "sign-in not passed on": lambda case: (
            case.failure.code == 530 or case.reply_contains("authentication required", "must issue a starttls")
        ),
        "no such domain": lambda case: case.has_status("5.1.7", "5.1.8"),
        "full": Case.is_full,
    },
    Reason.RECIPIENT_REFUSED: {
        "sending limit": Case.has_sent_too_much,
        "no server": lambda case: case.has_status("5.1.2", "5.1.10", "5.4.4", "5.4.14") or case.failure.code == 556,
        "no such mailbox": Case.is_unknown_mailbox,
        "full": Case.is_full,
        "switched off": lambda case: case.has_status("5.2.1"),
        "block list": Case.is_blocked,
        "relaying": lambda case: case.reply_contains("relay") or case.failure.code == 554,
    },
    Reason.MESSAGE_REFUSED: {
        "sending limit": Case.has_sent_too_much,
        "another's address": _is_sender_address_denied,
        "full": Case.is_full,
        "too large": lambda case: case.has_status("5.3.4", "5.2.3"),
        "loop": lambda case: case.has_status("5.4.6") or case.reply_contains("loop", "too many hops"),
        "closing": Case.is_closing,
        "not understood": Case.is_not_understood,
        "not authenticated": lambda case: (
            case.has_status("5.7.26", "5.7.25", "5.7.27") or case.reply_contains("dmarc", "spf", "dkim")
        ),
    },
    Reason.TRY_LATER: {
        "limit": _is_throttled,
        "full": Case.is_full,
        "greylisted": _is_greylisted,
        "closing": Case.is_closing,
    },
    Reason.RETURNED: {
        "no such mailbox": Case.is_unknown_mailbox,
        "full": Case.is_full,
        "no server": lambda case: case.has_status("5.1.2", "5.4.4", "5.4.6", "5.4.14") or case.reply_contains("loop"),
        "unreachable": lambda case: case.has_status("4.", "5.4."),
        "block list": lambda case: case.failure.cause is RefusalCause.BLOCK_LIST,
        "policy": lambda case: (
            case.has_status("5.7.") or case.reply_contains("spam", "blocked", "blocklist", "blacklist", "policy")
        ),
        "takes no mail": lambda case: case.has_status("5.3."),
        "conversion": lambda case: case.has_status("5.6."),
    },
    Reason.COPY_RETURNED: {"inside the agency": Case.is_recipient_in_agency},
    Reason.CONTENT_CHANGED: {
        "non-ASCII characters": lambda case: case.reply_contains("outside ascii"),
        "attachment": lambda case: case.reply_contains("attachment"),
    },
    Reason.NOT_ARRIVED: {
        "public address": Case.uses_public_address,
        "by POP3": lambda case: case.protocol == "pop3",
    },
    Reason.MAILBOX_REFUSED: {
        "not connected": lambda case: case.reply_contains("authenticated but not connected"),
        "no permission": lambda case: case.failure.credentials_refused,
        "by POP3": lambda case: case.protocol == "pop3",
    },
    Reason.MONITORING_FAULT: {
        "no connection": lambda case: case.failure.phase in {Phase.DNS, Phase.CONNECT, Phase.TLS}
    },
}
