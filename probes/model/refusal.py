"""Cause of a server's refusal, by its codes and text. The tables name the source of each entry. Pure.

An SMTP reply code tells a client what to do next. It does not show whether the service fails for everyone, or only for
this account, mailbox or sender. The enhanced status code (RFC 3463, "status" here), the response code of IMAP (RFC
5530) or POP3 (RFC 2449), and the text show it.
"""

from __future__ import annotations

import re
from typing import Final

from probes.model.result import RefusalCause

_FLAGS: Final = re.IGNORECASE | re.ASCII

#: Texts of Postgrey and Exim ("Greylisted"), milter-greylist ("Greylisting in action"), SQLgrey ("Greylisted for 5
#: minutes").
_GREYLISTED: Final = re.compile(r"gr[ae]y-? ?list|postgrey", _FLAGS)
#: Texts that mean greylisting if the status is 4.7.1: rspamd "Try again later", spamd "please come back later". RFC
#: 6647 specifies no text.
_RETRY_LATER: Final = re.compile(r"\b(?:try(?:ing)? again|come (?:back|again)|retry)\b", _FLAGS)
#: Texts of replies that have greylisting's code, but report a failed component of the server. Postfix: "Service
#: unavailable - try again later" (a milter), "Server configuration problem" (a policy service, 4.3.5).
_SERVER_FAULT: Final = re.compile(r"unavailable|configuration|internal|\berror\b|problem|time[- ]?d? ?out", _FLAGS)
#: Texts about a limit. They match whole words, because "operate" contains "rate".
_LIMIT: Final = re.compile(
    r"\b(?:rates?|limit(?:s|ed)?|throttl\w+|concurrent\w*|too (?:many|fast|quickly|much)"
    # Dovecot: mail_max_userip_connections.
    r"|maximum number of connections)\b",
    _FLAGS,
)
#: Texts of Google and Exchange Online for an account that has reached its daily limit.
_DAILY_LIMIT: Final = re.compile(
    r"sending (?:limit|quota)|\bdaily\b.{0,30}\b(?:limit|quota)|messages per day|outbound spam|submission quota", _FLAGS
)
#: Status codes for the daily limit: 5.4.5 is Google's, the others are Exchange Online's.
_DAILY_LIMIT_STATUS: Final = frozenset({"5.4.5", "5.7.232", "5.7.233"})
#: Exchange Online: "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded".
_SENDER_BUSY_CODE: Final = 432
#: Texts for a full mailbox: Dovecot "Quota exceeded (mailbox for user is full)", Cyrus "Over quota", Postfix "mailbox
#: is full".
_OVER_QUOTA: Final = re.compile(
    r"mailbox (?:\S+ )?(?:is )?full|(?:over|exceed(?:s|ed)?)\b.{0,20}\bquota|quota\b.{0,20}\bexceeded"
    r"|out of storage space",
    _FLAGS,
)
_DISK_FULL_STATUS: Final = frozenset({"5.3.1", "4.3.1"})
_OVER_QUOTA_STATUS: Final = frozenset({"5.2.2", "4.2.2"})
#: "Exceeded storage allocation" (RFC 5321 4.2.3). Servers also use the code for a message that is too large, so it
#: counts only without a status and without a text about the message's size.
_OVER_QUOTA_CODE: Final = 552
_MESSAGE_SIZE: Final = re.compile(r"\bsize\b|too (?:large|big|long)", _FLAGS)
#: Texts about block lists: Postfix "Client host [...] blocked using zen.spamhaus.org", Exchange "banned sending IP",
#: Google "low reputation".
_BLOCK_LIST: Final = re.compile(
    r"\b(?:dns|rb|dnsb|uri?b)ls?\b|block ?lists?|black ?list|blocklisted|spamhaus|spamcop|barracudacentral|sorbs"
    r"|\bblocked using\b|\b(?:client host|sending ip|ip address|your ip)\b.{0,60}\b(?:blocked|listed|banned)\b"
    r"|\bbanned\b.{0,20}\bip\b|\b(?:low|poor|bad)\b.{0,12}\breputation\b",
    _FLAGS,
)
#: Texts of temporary failures: Cyrus SASL "generic failure" when saslauthd has stopped, Courier "Temporary problem,
#: please try again later", Dovecot "Temporary authentication failure". Postfix's "(reason unavailable)" is excluded: it
#: is a permanent refusal whose reason Postfix does not know.
_TEMPORARY: Final = re.compile(
    r"\btemporar(?:y|ily)\b|generic failure|\btry again later\b|internal (?:server )?error"
    r"|(?<!\(reason )\b(?:un|not )available\b",
    _FLAGS,
)
#: Texts of refusals that concern this account only.
_ACCOUNT: Final = re.compile(
    r"\block(?:ed)?\b|\bdisabled\b|\bsuspended\b|\bexpired\b|\bblocked\b|\bapp(?:lication)?(?:-specific)? password"
    r"|log ?in via your web browser|web login required",
    _FLAGS,
)
#: Status codes for a weak or forbidden mechanism, a disabled account, and a password transition (RFC 4954 6, RFC 5248
#: 2.4). Exchange Online sends 5.7.30 if a policy disables password sign-in, and 5.7.139 if the account is disabled.
_ACCOUNT_STATUS: Final = frozenset({"4.7.12", "5.7.9", "5.7.11", "5.7.13", "5.7.14", "5.7.30", "5.7.139"})
_ACCOUNT_CODES: Final = frozenset({525, 534, 538})
#: Response codes of RFC 5530 that concern the account. ALERT is absent: it may have any meaning, so its text is
#: examined.
_ACCOUNT_RESPONSES: Final = frozenset({"EXPIRED", "CONTACTADMIN", "WEBALERT"})
#: Response codes that mean that other sessions prevent this one (RFC 5530, RFC 2449 8.1, RFC 3206).
_SESSION_RESPONSES: Final = frozenset({"LIMIT", "INUSE", "IN-USE", "LOGIN-DELAY"})


def refusal_cause(
    code: int | None, status: str | None, text: str, *, about_sender: bool = False, about_recipient: bool = True
) -> RefusalCause | None:
    """Return the cause of a refused message or address; `None` if the whole service refuses, or the cause is unknown.

    The refusal is an SMTP reply, or the reply that a delivery status notification quotes. *about_sender*: the refusal
    concerns the sender. *about_recipient*: the refusal concerns the recipient, or the message.
    """
    if code == _SENDER_BUSY_CODE or is_over_daily_limit(status, text):
        return RefusalCause.SENDING_LIMIT
    is_temporary = code is None or 400 <= code < 500
    if is_temporary and _GREYLISTED.search(text):
        return RefusalCause.GREYLISTING
    if (about_sender or about_recipient) and is_full(code, status, text):
        return RefusalCause.SENDING_LIMIT if about_sender else RefusalCause.RECEIVING_LIMIT
    # By RFC 3463, X.7.x is a policy and X.2.1 concerns the mailbox.
    if (
        mentions_limit(text)
        and (status is None or status[1:].startswith((".7.", ".2.1")))
        and not _MESSAGE_SIZE.search(text)
    ):
        return RefusalCause.RECEIVING_LIMIT if status in {"4.2.1", "5.2.1"} else RefusalCause.SENDING_LIMIT
    if mentions_block_list(text) and (status is None or status[1:].startswith(".7.")):
        return RefusalCause.BLOCK_LIST
    if about_recipient and code in {450, 451} and status == "4.7.1" and _RETRY_LATER.search(text):
        return None if _SERVER_FAULT.search(text) else RefusalCause.GREYLISTING
    return None


def is_over_daily_limit(status: str | None, text: str) -> bool:
    """Return whether the sender's account has reached its daily limit."""
    return status in _DAILY_LIMIT_STATUS or _DAILY_LIMIT.search(text) is not None


def mentions_limit(text: str) -> bool:
    """Return whether the text is about a limit of amount, frequency or rate."""
    return _LIMIT.search(text) is not None


def mentions_block_list(text: str) -> bool:
    """Return whether the text is about a block list, or about reputation."""
    return _BLOCK_LIST.search(text) is not None


def is_full(code: int | None, status: str | None, text: str) -> bool:
    """Return whether a mailbox is over its quota. A full disk, a server fault, does not count (RFC 3463 3.4)."""
    is_bare_code = status is None and code == _OVER_QUOTA_CODE and not _MESSAGE_SIZE.search(text)
    return (
        status in _OVER_QUOTA_STATUS
        or is_bare_code
        or (status not in _DISK_FULL_STATUS and _OVER_QUOTA.search(text) is not None)
    )


def sign_in_refusal(
    text: str, *, refused_by_code: bool, code: int | None = None, status: str | None = None, response: str | None = None
) -> tuple[bool, RefusalCause | None]:
    """Return whether a sign-in was refused because of the credentials, and the cause of the refusal.

    *refused_by_code*: the reply has a code that refuses the credentials, or no code. A text about a temporary failure
    overrides it. *code* and *status* are SMTP's; *response* is the response code of IMAP or POP3.
    """
    has_no_code = code is None and response in {None, "", "ALERT"}
    has_limit_text = mentions_limit(text)
    if response in _SESSION_RESPONSES or (has_limit_text and (has_no_code or not refused_by_code)):
        return False, RefusalCause.SESSION_LIMIT
    if not refused_by_code:
        return False, None
    if code in _ACCOUNT_CODES or status in _ACCOUNT_STATUS or response in _ACCOUNT_RESPONSES:
        return True, RefusalCause.ACCOUNT
    if has_limit_text or _ACCOUNT.search(text):
        return True, RefusalCause.ACCOUNT
    return _TEMPORARY.search(text) is None, None
