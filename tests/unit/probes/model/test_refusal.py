"""Cause of a refusal, from the texts of real servers, as tables."""

from __future__ import annotations

import pytest

from probes.model.probe import ProbeFailedError
from probes.model.reply import (
    Reason,
    SubmissionStep,
    imap_sign_in_failure,
    inbox_failure,
    pop3_sign_in_failure,
    smtp_failure,
)
from probes.model.result import Outcome, Party, RefusalCause

GREETING, SENDER, RECIPIENT, MESSAGE = (
    SubmissionStep.GREETING,
    SubmissionStep.SENDER,
    SubmissionStep.RECIPIENT,
    SubmissionStep.MESSAGE,
)
GREYLISTING, RECEIVING, SENDING, BLOCKED, SESSIONS, ACCOUNT = (
    RefusalCause.GREYLISTING,
    RefusalCause.RECEIVING_LIMIT,
    RefusalCause.SENDING_LIMIT,
    RefusalCause.BLOCK_LIST,
    RefusalCause.SESSION_LIMIT,
    RefusalCause.ACCOUNT,
)


@pytest.mark.falsegreen
@pytest.mark.parametrize(
    ("step", "code", "text", "cause"),
    [
        # Postgrey, SQLgrey, milter-greylist, rspamd, Exim, Exchange.
        (
            RECIPIENT,
            450,
            "4.2.0 <a@b>: Recipient address rejected: Greylisted, see http://postgrey.example",
            GREYLISTING,
        ),
        (RECIPIENT, 450, "4.7.1 <a@b>: Greylisted for 5 minutes", GREYLISTING),
        (MESSAGE, 451, "4.7.1 Greylisting in action, please come back in 00:05:00", GREYLISTING),
        (RECIPIENT, 451, "4.7.1 Try again later", GREYLISTING),
        (RECIPIENT, 451, "greylisted, please try again", GREYLISTING),
        (SENDER, 450, "4.7.1 graylisted", GREYLISTING),
        # A policy service, a milter or a table that is dead (Postfix), a full disk, a server that ends.
        (RECIPIENT, 451, "4.3.5 <a@b>: Recipient address rejected: Server configuration problem", None),
        (RECIPIENT, 451, "4.3.0 <a@b>: Temporary lookup failure", None),
        (MESSAGE, 451, "4.7.1 Service unavailable - try again later", None),
        (MESSAGE, 451, "4.3.0 Error: queue file write error", None),
        (SENDER, 452, "4.3.1 Insufficient system storage", None),
        (MESSAGE, 452, "insufficient system storage", None),
        (RECIPIENT, 451, "4.3.5 Server configuration error", None),
        (RECIPIENT, 451, "4.3.2 Please try again later", None),
        (RECIPIENT, 450, "4.2.0 mailbox busy, come again", None),
        (GREETING, 421, "4.3.2 Service shutting down", None),
        (GREETING, 421, "4.3.2 too many connections", None),
    ],
)
def test_smtp_failure_greylisting_is_distinguished_from_server_trouble(
    step: SubmissionStep, code: int, text: str, cause: RefusalCause | None
) -> None:
    """Defect: The words of a server in trouble look like greylisting.

    Pantau: A table has the words of each, with sources.
    """
    found = smtp_failure(step, code, text)
    assert (found.outcome, found.failure.reason) == (Outcome.DEFERRED, Reason.TRY_LATER)
    assert found.failure.cause is cause


@pytest.mark.blind
@pytest.mark.parametrize(
    ("step", "code", "text", "cause"),
    [
        # Dovecot, Cyrus, Google, Exchange.
        (RECIPIENT, 552, "5.2.2 <a@b>: Recipient address rejected: Mailbox is full / Quota exceeded", RECEIVING),
        (MESSAGE, 552, "5.2.2 <a@b> Quota exceeded (mailbox for user is full)", RECEIVING),
        (RECIPIENT, 452, "4.2.2 Over quota", RECEIVING),
        (RECIPIENT, 452, "4.2.2 The recipient's inbox is out of storage space", RECEIVING),
        (RECIPIENT, 552, "requested mail action aborted: exceeded storage allocation", RECEIVING),
        (RECIPIENT, 450, "4.2.1 The user is receiving mail at a rate that prevents more", RECEIVING),
        (SENDER, 552, "5.2.2 over quota", SENDING),
        (MESSAGE, 550, "5.4.5 Daily user sending quota exceeded", SENDING),
        (MESSAGE, 554, "5.7.233 tenant exceeded", SENDING),
        (MESSAGE, 432, "4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", SENDING),
        (SENDER, 450, "4.7.1 Error: too much mail from 203.0.113.9", SENDING),
        (GREETING, 421, "4.7.0 mel Error: too many connections from 203.0.113.9", SENDING),
        (RECIPIENT, 554, "5.7.1 Client host [203.0.113.9] blocked using zen.spamhaus.org", BLOCKED),
        (RECIPIENT, 550, "5.7.606 Access denied, banned sending IP [203.0.113.9]", BLOCKED),
        (MESSAGE, 550, "5.7.1 very low reputation of the sending IP address", BLOCKED),
        # Of the service, or of the message.
        (MESSAGE, 552, "5.3.1 mailbox full of the whole system", None),
        (MESSAGE, 552, "message size exceeds fixed limit", None),
        (MESSAGE, 552, "5.3.4 Message size exceeds fixed limit", None),
        (RECIPIENT, 550, "5.1.1 user unknown", None),
        (MESSAGE, 550, "5.7.1 blocked for its content", None),
        (SENDER, 550, "5.7.1 no mail goes out today", None),
        (GREETING, 554, "5.3.2 not operating at this rate of pay", None),
    ],
)
def test_smtp_failure_cause_of_mailbox_or_sender_refusal_is_named(
    step: SubmissionStep, code: int, text: str, cause: RefusalCause | None
) -> None:
    """Defect: A full, limited or busy mailbox is an outage for staff.

    Pantau: The server's words decide what they are about.
    """
    assert smtp_failure(step, code, text).failure.cause is cause


#: Result of a refused sign-in: plain, about this account, session limit, mailbox in use, service unavailable.
PLAIN = Outcome.AUTH, Reason.CREDENTIALS_REFUSED, True, None
FREE_ACCOUNT_ATTEMPTS = Outcome.AUTH, Reason.CREDENTIALS_REFUSED, True, ACCOUNT
LIMITED = Outcome.INCONCLUSIVE, Reason.SIGN_IN_UNAVAILABLE, False, SESSIONS
IN_USE = Outcome.INCONCLUSIVE, Reason.MAILBOX_IN_USE, False, SESSIONS
UNAVAILABLE = Outcome.AUTH, Reason.SIGN_IN_UNAVAILABLE, False, None


def ending(failure: ProbeFailedError) -> object:
    told = failure.failure
    return failure.outcome, told.reason, told.credentials_refused, told.cause


@pytest.mark.falsegreen
@pytest.mark.parametrize(
    ("protocol", "text", "expected"),
    [
        # Cyrus SASL whose saslauthd is dead, Courier, Dovecot, Exim: whatever code goes before.
        ("535", "5.7.8 Error: authentication failed: generic failure", UNAVAILABLE),
        ("535", "5.7.0 temporary authentication failure", UNAVAILABLE),
        ("454", "4.7.0 Temporary authentication failure", UNAVAILABLE),
        ("435", "Unable to authenticate at present", UNAVAILABLE),
        ("imap", "Temporary problem, please try again later", UNAVAILABLE),
        ("imap", "[UNAVAILABLE] Temporary authentication failure.", UNAVAILABLE),
        ("imap", "Login failed: generic failure", UNAVAILABLE),
        ("pop3", "Temporary problem, please try again later", UNAVAILABLE),
        ("pop3", "[SYS/TEMP] Temporary authentication failure.", UNAVAILABLE),
        ("pop3", "[AUTH] Temporary authentication failure.", UNAVAILABLE),
        # Sendmail says no more of a dead saslauthd than of a wrong password.
        ("535", "5.7.0 authentication failed", PLAIN),
        ("535", "5.7.8 Error: authentication failed: authentication failure", PLAIN),
        # Postfix, where Dovecot names no reason.
        ("535", "5.7.8 Error: authentication failed: (reason unavailable)", PLAIN),
        ("imap", "[AUTHENTICATIONFAILED] Authentication failed.", PLAIN),
        ("imap", "LOGIN failed.", PLAIN),
        ("pop3", "[AUTH] Authentication failed.", PLAIN),
        ("pop3", "Login failed.", PLAIN),
        # Refusals of this account.
        ("534", "5.7.9 Application-specific password required", FREE_ACCOUNT_ATTEMPTS),
        ("525", "5.7.13 disabled", FREE_ACCOUNT_ATTEMPTS),
        ("535", "5.7.139 Authentication unsuccessful, basic authentication is disabled", FREE_ACCOUNT_ATTEMPTS),
        ("550", "5.7.30 Basic authentication is not supported", FREE_ACCOUNT_ATTEMPTS),
        ("535", "5.7.8 account temporarily locked", FREE_ACCOUNT_ATTEMPTS),
        ("535", "5.7.8 too many failed logins", FREE_ACCOUNT_ATTEMPTS),
        ("imap", "[EXPIRED] change your password", FREE_ACCOUNT_ATTEMPTS),
        ("imap", "[ALERT] Please log in via your web browser", FREE_ACCOUNT_ATTEMPTS),
        ("pop3", "[AUTH] this account is disabled", FREE_ACCOUNT_ATTEMPTS),
        # Another client holds the only allowed session.
        ("imap", "[LIMIT] Maximum number of connections from user+IP exceeded", LIMITED),
        ("imap", "[INUSE] locked", LIMITED),
        ("imap", "[ALERT] Too many simultaneous connections.", LIMITED),
        ("imap", "Maximum number of connections exceeded", LIMITED),
        ("454", "4.7.0 Too many login attempts, please try again later.", LIMITED),
        ("pop3", "[IN-USE] Mailbox is locked by another POP3 session", IN_USE),
        ("pop3", "[LOGIN-DELAY] minimum time between mail checks", IN_USE),
        ("pop3", "Maildrop already locked", IN_USE),
    ],
)
def test_sign_in_failure_distinguishes_service_from_account(protocol: str, text: str, expected: object) -> None:
    """Defect: "Temporary problem" at sign-in is a wrong password.

    Pantau: It is a fault of the service, with any code before it.
    """
    match protocol:
        case "imap":
            found = imap_sign_in_failure("NO", text, Party.RECIPIENT)
        case "pop3":
            found = pop3_sign_in_failure(text, Party.RECIPIENT)
        case code:
            found = smtp_failure(SubmissionStep.SIGN_IN, int(code), text)
    assert ending(found) == expected


@pytest.mark.blind
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[INUSE] locked by another session", Reason.MAILBOX_IN_USE),
        ("[LIMIT] too many sessions", Reason.MAILBOX_IN_USE),
        ("User is authenticated but not connected.", Reason.MAILBOX_REFUSED),
    ],
)
def test_inbox_failure_words_about_one_mailbox_are_inconclusive(text: str, reason: Reason) -> None:
    """Defect: A mailbox that cannot be opened for its own reason is an outage.

    Pantau: Such words make the run inconclusive.
    """
    found = inbox_failure(text, is_shared=False)
    assert found is not None
    assert ending(found) == (Outcome.INCONCLUSIVE, reason, False, SESSIONS)
    assert inbox_failure("[SERVERBUG] oops", is_shared=False) is None
