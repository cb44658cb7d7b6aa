"""Obstacles to signing in to a mailbox, for the officer who sets it up: a closed set, each with texts in both languages.

The server's reply is not included, so that nobody can use the form to read the replies of any server.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from monitor.advice.case import Case
from monitor.advice.usual import text_key
from probes.model.mailbox import Mailbox
from probes.model.probe import Route
from probes.model.reply import Reason
from probes.model.result import Party, ProbeResult


class Obstacle(StrEnum):
    """Reason why the sign-in fails; the texts of the pages contain the remedy."""

    #: The host name does not exist.
    NO_HOST = "no_host"
    #: The name servers do not answer.
    NAMES_SILENT = "names_silent"
    #: Connections to that address are not permitted.
    NOT_ALLOWED = "not_allowed"
    PORT_CLOSED = "port_closed"
    SILENT = "silent"
    #: Another service answers, or the other TLS mode is expected.
    ANOTHER_SERVICE = "another_service"
    NO_TLS = "no_tls"
    TLS_BROKEN = "tls_broken"
    OTHER_NAME = "other_name"
    EXPIRED = "expired"
    UNTRUSTED = "untrusted"
    TURNED_AWAY = "turned_away"
    #: The server accepts no passwords, or no tokens.
    NOT_THIS_WAY = "not_this_way"
    PASSWORD = "password"  # noqa: S105 - an obstacle
    APP_PASSWORD = "app_password"  # noqa: S105 - an obstacle
    #: Microsoft accepts no passwords for IMAP and POP3, and soon none for SMTP.
    MICROSOFT_PASSWORD = "microsoft_password"  # noqa: S105 - an obstacle
    SMTP_OFF = "smtp_off"
    IMAP_OFF = "imap_off"
    ACCOUNT_OFF = "account_off"
    #: The mail server rejects the token: of another account, or without the permission.
    TOKEN = "token"  # noqa: S105 - an obstacle
    #: The authorization server issues none.
    CONSENT = "consent"
    CONSENT_AWAY = "consent_away"
    #: It issues none to this application: no administrator has authorised it, or not with this scope.
    NOT_DELEGATED = "not_delegated"
    #: There is no such mailbox in that domain.
    NO_ACCOUNT = "no_account"
    #: The application's key or secret is wrong or has expired.
    KEY_REFUSED = "key_refused"
    #: The tenant, or the application in it, is unknown.
    NO_TENANT = "no_tenant"
    #: Our clock and the provider's differ.
    CLOCK = "clock"
    #: The token is valid, and the application has no access to this mailbox.
    NOT_LET_IN = "not_let_in"
    #: Temporarily refused.
    LATER = "later"
    SENDER = "sender"
    RECIPIENT = "recipient"
    FOLDER = "folder"
    OURS = "ours"


#: Obstacle of a reason, unless a frequent cause has its own.
_BY_REASON: Final[Mapping[str, Obstacle]] = {
    Reason.NAME_UNKNOWN: Obstacle.NO_HOST,
    Reason.NAME_SERVER_SILENT: Obstacle.NAMES_SILENT,
    Reason.PORT_REFUSED: Obstacle.PORT_CLOSED,
    Reason.UNREACHABLE: Obstacle.SILENT,
    Reason.NO_ANSWER: Obstacle.SILENT,
    Reason.CONNECTION_CLOSED: Obstacle.TURNED_AWAY,
    Reason.UNEXPECTED_ANSWER: Obstacle.ANOTHER_SERVICE,
    Reason.TLS_NOT_OFFERED: Obstacle.NO_TLS,
    Reason.TLS_UNAVAILABLE: Obstacle.NO_TLS,
    Reason.TLS_REFUSED: Obstacle.TLS_BROKEN,
    Reason.TLS_NOT_SPOKEN: Obstacle.ANOTHER_SERVICE,
    Reason.TLS_INJECTION: Obstacle.TLS_BROKEN,
    Reason.CERTIFICATE_EXPIRED: Obstacle.EXPIRED,
    Reason.CERTIFICATE_NAME_MISMATCH: Obstacle.OTHER_NAME,
    Reason.CERTIFICATE_UNTRUSTED: Obstacle.UNTRUSTED,
    Reason.CREDENTIALS_REFUSED: Obstacle.PASSWORD,
    Reason.SIGN_IN_UNAVAILABLE: Obstacle.LATER,
    Reason.SIGN_IN_NOT_OFFERED: Obstacle.NOT_THIS_WAY,
    Reason.TOKEN_REFUSED: Obstacle.CONSENT,
    Reason.NO_TOKEN: Obstacle.CONSENT_AWAY,
    Reason.SERVICE_REFUSED: Obstacle.TURNED_AWAY,
    Reason.SENDER_REFUSED: Obstacle.SENDER,
    Reason.RECIPIENT_REFUSED: Obstacle.RECIPIENT,
    Reason.TRY_LATER: Obstacle.LATER,
    Reason.MAILBOX_REFUSED: Obstacle.FOLDER,
    Reason.MAILBOX_IN_USE: Obstacle.LATER,
    Reason.EGRESS_DENIED: Obstacle.NOT_ALLOWED,
}
#: Obstacle of a frequent cause of a reason, by text key (`monitor.advice.usual.text_key`).
_BY_TEXT: Final[Mapping[str, Obstacle]] = {
    f"{Reason.CREDENTIALS_REFUSED}.{usual}": obstacle
    for usual, obstacle in {
        "Google's token": Obstacle.TOKEN,
        "token": Obstacle.TOKEN,
        "account disabled": Obstacle.ACCOUNT_OFF,
        "SMTP AUTH off": Obstacle.SMTP_OFF,
        "app password": Obstacle.APP_PASSWORD,
        "at Yahoo": Obstacle.APP_PASSWORD,
        # Google and Microsoft do not accept the password of the account itself.
        "at Google": Obstacle.APP_PASSWORD,
        "at Microsoft": Obstacle.MICROSOFT_PASSWORD,
    }.items()
} | {
    f"{Reason.TOKEN_REFUSED}.{usual}": obstacle
    for usual, obstacle in {
        "client secret": Obstacle.KEY_REFUSED,
        "service account": Obstacle.KEY_REFUSED,
        "unknown application": Obstacle.NO_TENANT,
        "no consent": Obstacle.NOT_DELEGATED,
        "not delegated": Obstacle.NOT_DELEGATED,
        "no such mailbox": Obstacle.NO_ACCOUNT,
        "clock": Obstacle.CLOCK,
    }.items()
}
_OFF: Final = ("not enabled", "disabled", "switched off", "turned off", "not allowed")
#: Reply of Exchange Online when the account is right and IMAP or POP3 is disabled for it.
_NOT_CONNECTED: Final = "authenticated but not connected"


def obstacle_of(mailbox: Mailbox, result: ProbeResult) -> Obstacle | None:
    """Return the obstacle of a sign-in to *mailbox*; `None`: there was none."""
    if (failure := result.failure) is None:
        return None
    case = Case(route=Route(name=mailbox.name, sender=mailbox, recipient=mailbox), result=result, failure=failure)
    if failure.reason in {Reason.CREDENTIALS_REFUSED, Reason.SIGN_IN_UNAVAILABLE}:
        if failure.party is Party.RECIPIENT and _reading_is_off(case):
            return Obstacle.IMAP_OFF
        if (found := _BY_TEXT.get(text_key(case))) is not None:
            return found
    if failure.reason == Reason.TOKEN_REFUSED:
        return _BY_TEXT.get(text_key(case), Obstacle.CONSENT)
    return plain_obstacle(failure.reason)


def plain_obstacle(reason: str) -> Obstacle:
    """Return the obstacle of a reason without regard to its cause."""
    return _BY_REASON.get(reason, Obstacle.OURS)


def _reading_is_off(case: Case) -> bool:
    return case.reply_contains(_NOT_CONNECTED) or (case.reply_contains("imap", "pop") and case.reply_contains(*_OFF))
