"""Obstacles to signing in to a mailbox, for the officer who sets it up in the portal.

The set is closed, and each obstacle has texts in both languages. They do not contain the server's reply: otherwise the
form would show the replies of any server that its user enters.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from monitor.advice.case import Case
from monitor.advice.known_cause import text_key
from probes.model.mailbox import Mailbox
from probes.model.probe import Route
from probes.model.reply import Reason
from probes.model.result import Party, ProbeResult


class Obstacle(StrEnum):
    """Reason why the sign-in fails. The value is the key of the texts that pages show, with the remedy."""

    #: The host name does not exist.
    NO_HOST = "no_host"
    #: The name servers do not answer.
    NAME_SERVER_SILENT = "names_silent"
    #: Our egress policy denies connections to that address.
    EGRESS_DENIED = "not_allowed"
    PORT_CLOSED = "port_closed"
    #: The host is unreachable, or does not answer.
    SILENT = "silent"
    #: Another service answers, or the server expects the other TLS mode (implicit or STARTTLS).
    ANOTHER_SERVICE = "another_service"
    #: The server does not offer TLS, or refuses to begin it.
    NO_TLS = "no_tls"
    #: The TLS handshake fails.
    TLS_BROKEN = "tls_broken"
    #: The certificate is for another name.
    NAME_MISMATCH = "other_name"
    #: The certificate has expired.
    EXPIRED = "expired"
    #: The certificate's authority is not trusted.
    UNTRUSTED = "untrusted"
    #: The server refuses the service, or closes the connection.
    SERVICE_REFUSED = "turned_away"
    #: The server accepts no passwords, or no tokens.
    SIGN_IN_METHOD = "not_this_way"
    #: The password is wrong.
    PASSWORD = "password"  # noqa: S105 - an obstacle
    #: The provider requires an app password in place of the account's password.
    APP_PASSWORD = "app_password"  # noqa: S105 - an obstacle
    #: Microsoft accepts no passwords for IMAP and POP3, and soon none for SMTP.
    MICROSOFT_PASSWORD = "microsoft_password"  # noqa: S105 - an obstacle
    #: SMTP AUTH is disabled for the account.
    SMTP_OFF = "smtp_off"
    #: IMAP or POP3 is disabled for the account.
    IMAP_OFF = "imap_off"
    #: The account is disabled.
    ACCOUNT_OFF = "account_off"
    #: The mail server rejects the access token: it is of another account, or lacks the permission.
    TOKEN = "token"  # noqa: S105 - an obstacle
    #: The authorization server refuses to issue an access token.
    CONSENT = "consent"
    #: No access token is available: the authorization server does not answer, or a file or command fails.
    NO_TOKEN = "consent_away"  # noqa: S105 - an obstacle
    #: The authorization server refuses this application: no administrator has authorised it for this scope.
    NOT_DELEGATED = "not_delegated"
    #: The mailbox does not exist in the service account's domain.
    NO_ACCOUNT = "no_account"
    #: The application's key or secret is wrong or has expired.
    KEY_REFUSED = "key_refused"
    #: The tenant, or the application in it, is unknown.
    NO_TENANT = "no_tenant"
    #: Our clock and the provider's differ.
    CLOCK = "clock"
    #: The token is valid, and the application has no access to this mailbox.
    NO_MAILBOX_ACCESS = "not_let_in"
    #: Temporarily refused.
    TEMPORARY = "later"
    #: The server refuses the sender's address.
    SENDER = "sender"
    #: The server refuses the recipient's address.
    RECIPIENT = "recipient"
    #: The server refuses to open the mailbox.
    FOLDER = "folder"
    #: A fault of Pantau or its machine prevents the sign-in.
    MONITORING_FAULT = "ours"


#: Obstacle by the failure's reason. For refused credentials and tokens, `_BY_TEXT` takes precedence.
_BY_REASON: Final[Mapping[str, Obstacle]] = {
    Reason.NAME_UNKNOWN: Obstacle.NO_HOST,
    Reason.NAME_SERVER_SILENT: Obstacle.NAME_SERVER_SILENT,
    Reason.PORT_REFUSED: Obstacle.PORT_CLOSED,
    Reason.UNREACHABLE: Obstacle.SILENT,
    Reason.NO_ANSWER: Obstacle.SILENT,
    Reason.CONNECTION_CLOSED: Obstacle.SERVICE_REFUSED,
    Reason.UNEXPECTED_ANSWER: Obstacle.ANOTHER_SERVICE,
    Reason.TLS_NOT_OFFERED: Obstacle.NO_TLS,
    Reason.TLS_UNAVAILABLE: Obstacle.NO_TLS,
    Reason.TLS_REFUSED: Obstacle.TLS_BROKEN,
    Reason.TLS_NOT_SPOKEN: Obstacle.ANOTHER_SERVICE,
    Reason.TLS_INJECTION: Obstacle.TLS_BROKEN,
    Reason.CERTIFICATE_EXPIRED: Obstacle.EXPIRED,
    Reason.CERTIFICATE_NAME_MISMATCH: Obstacle.NAME_MISMATCH,
    Reason.CERTIFICATE_UNTRUSTED: Obstacle.UNTRUSTED,
    Reason.CREDENTIALS_REFUSED: Obstacle.PASSWORD,
    Reason.SIGN_IN_UNAVAILABLE: Obstacle.TEMPORARY,
    Reason.SIGN_IN_NOT_OFFERED: Obstacle.SIGN_IN_METHOD,
    Reason.TOKEN_REFUSED: Obstacle.CONSENT,
    Reason.NO_TOKEN: Obstacle.NO_TOKEN,
    Reason.SERVICE_REFUSED: Obstacle.SERVICE_REFUSED,
    Reason.SENDER_REFUSED: Obstacle.SENDER,
    Reason.RECIPIENT_REFUSED: Obstacle.RECIPIENT,
    Reason.TRY_LATER: Obstacle.TEMPORARY,
    Reason.MAILBOX_REFUSED: Obstacle.FOLDER,
    Reason.MAILBOX_IN_USE: Obstacle.TEMPORARY,
    Reason.EGRESS_DENIED: Obstacle.EGRESS_DENIED,
}
#: Obstacle by a known cause of the reason, as text key "reason.cause" (`monitor.advice.known_cause.text_key`).
_BY_TEXT: Final[Mapping[str, Obstacle]] = {
    f"{Reason.CREDENTIALS_REFUSED}.{cause}": obstacle
    for cause, obstacle in {
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
    f"{Reason.TOKEN_REFUSED}.{cause}": obstacle
    for cause, obstacle in {
        "client secret": Obstacle.KEY_REFUSED,
        "service account": Obstacle.KEY_REFUSED,
        "unknown application": Obstacle.NO_TENANT,
        "no consent": Obstacle.NOT_DELEGATED,
        "not delegated": Obstacle.NOT_DELEGATED,
        "no such mailbox": Obstacle.NO_ACCOUNT,
        "clock": Obstacle.CLOCK,
    }.items()
}
_DISABLED_TEXTS: Final = ("not enabled", "disabled", "switched off", "turned off", "not allowed")
#: Reply of Exchange Online when the credentials are right and IMAP or POP3 is disabled for the account.
_NOT_CONNECTED_TEXT: Final = "authenticated but not connected"


def obstacle_of(mailbox: Mailbox, result: ProbeResult) -> Obstacle | None:
    """Return the obstacle of a sign-in to *mailbox*; `None`: there was none."""
    if (failure := result.failure) is None:
        return None
    # A sign-in has no route, so the mailbox takes the place of both ends.
    case = Case(route=Route(name=mailbox.name, sender=mailbox, recipient=mailbox), result=result, failure=failure)
    if failure.reason in {Reason.CREDENTIALS_REFUSED, Reason.SIGN_IN_UNAVAILABLE}:
        if failure.party is Party.RECIPIENT and _is_reading_disabled(case):
            return Obstacle.IMAP_OFF
        if (found := _BY_TEXT.get(text_key(case))) is not None:
            return found
    if failure.reason == Reason.TOKEN_REFUSED:
        return _BY_TEXT.get(text_key(case), Obstacle.CONSENT)
    return obstacle_by_reason(failure.reason)


def obstacle_by_reason(reason: str) -> Obstacle:
    """Return the obstacle of a failure's reason, whatever the known cause is."""
    return _BY_REASON.get(reason, Obstacle.MONITORING_FAULT)


def _is_reading_disabled(case: Case) -> bool:
    return case.reply_contains(_NOT_CONNECTED_TEXT) or (
        case.reply_contains("imap", "pop") and case.reply_contains(*_DISABLED_TEXTS)
    )
