"""Cause of a refusal, by the codes and texts of servers: tables, with the source of each row. Pure.

A reply code determines what a client should do next. Whether the service fails for everyone, or for this account,
mailbox or sender only, follows from the enhanced status code (RFC 3463), the response code (RFC 5530, RFC 2449) and the
text.
"""

from __future__ import annotations

import re
from typing import Final

from probes.model.result import RefusalCause

_WORDS: Final = re.IGNORECASE | re.ASCII

#: Postgrey and Exim "Greylisted", milter-greylist "Greylisting in action", SQLgrey "Greylisted for 5 minutes".
_GREYLISTED: Final = re.compile(r"gr[ae]y-? ?list|postgrey", _WORDS)
#: With 4.7.1, for which RFC 6647 specifies no text: rspamd "Try again later", spamd "please come back later".
_COME_BACK: Final = re.compile(r"\b(?:try(?:ing)? again|come (?:back|again)|retry)\b", _WORDS)
#: Texts for a failed component of the server, with the same code: Postfix "Service unavailable - try again later" (its
#: milter), "Server configuration problem" (its policy service, 4.3.5).
_BROKEN: Final = re.compile(r"unavailable|configuration|internal|\berror\b|problem|time[- ]?d? ?out", _WORDS)
#: "operate" contains "rate", too.
_LIMITED: Final = re.compile(
    r"\b(?:rates?|limit(?:s|ed)?|throttl\w+|concurrent\w*|too (?:many|fast|quickly|much)"
    # Dovecot: mail_max_userip_connections.
    r"|maximum number of connections)\b",
    _WORDS,
)
#: Google and Exchange Online, for an account that has reached its daily limit.
_SENT: Final = re.compile(
    r"sending (?:limit|quota)|\bdaily\b.{0,30}\b(?:limit|quota)|messages per day|outbound spam|submission quota", _WORDS
)
#: 5.4.5 is Google's, the others are Exchange Online's.
_SENT_STATUS: Final = frozenset({"5.4.5", "5.7.232", "5.7.233"})
#: Exchange Online: "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded".
_SENDER_BUSY: Final = 432
#: Dovecot "Quota exceeded (mailbox for user is full)", Cyrus "Over quota", Postfix "mailbox is full".
_FULL: Final = re.compile(
    r"mailbox (?:\S+ )?(?:is )?full|(?:over|exceed(?:s|ed)?)\b.{0,20}\bquota|quota\b.{0,20}\bexceeded"
    r"|out of storage space",
    _WORDS,
)
_DISK_STATUS: Final = frozenset({"5.3.1", "4.3.1"})
_FULL_STATUS: Final = frozenset({"5.2.2", "4.2.2"})
#: Without a status: "exceeded storage allocation" (RFC 5321 4.2.3). It is also used for a message's size.
_FULL_CODE: Final = 552
_SIZE: Final = re.compile(r"\bsize\b|too (?:large|big|long)", _WORDS)
#: Postfix "Client host [...] blocked using zen.spamhaus.org", Exchange "banned sending IP", Google "low reputation".
_BLOCKED: Final = re.compile(
    r"\b(?:dns|rb|dnsb|uri?b)ls?\b|block ?lists?|black ?list|blocklisted|spamhaus|spamcop|barracudacentral|sorbs"
    r"|\bblocked using\b|\b(?:client host|sending ip|ip address|your ip)\b.{0,60}\b(?:blocked|listed|banned)\b"
    r"|\bbanned\b.{0,20}\bip\b|\b(?:low|poor|bad)\b.{0,12}\breputation\b",
    _WORDS,
)
#: Cyrus SASL reports "generic failure" when saslauthd has stopped, Courier "Temporary problem, please try again later",
#: Dovecot "Temporary authentication failure". "(reason unavailable)" is Postfix's text for a refusal without a reason.
_TEMPORARY: Final = re.compile(
    r"\btemporar(?:y|ily)\b|generic failure|\btry again later\b|internal (?:server )?error"
    r"|(?<!\(reason )\b(?:un|not )available\b",
    _WORDS,
)
#: Texts about this account only.
_OF_ACCOUNT: Final = re.compile(
    r"\block(?:ed)?\b|\bdisabled\b|\bsuspended\b|\bexpired\b|\bblocked\b|\bapp(?:lication)?(?:-specific)? password"
    r"|log ?in via your web browser|web login required",
    _WORDS,
)
#: Weak or forbidden mechanism, disabled account, transition of its password (RFC 4954 6, RFC 5248 2.4); password
#: sign-in is disabled by policy, or the account is (Exchange Online, 5.7.30 and 5.7.139).
_ACCOUNT_STATUS: Final = frozenset({"4.7.12", "5.7.9", "5.7.11", "5.7.13", "5.7.14", "5.7.30", "5.7.139"})
_ACCOUNT_CODES: Final = frozenset({525, 534, 538})
#: RFC 5530. ALERT is absent: its text is for the user, and is classified by itself.
_ACCOUNT_RESPONSES: Final = frozenset({"EXPIRED", "CONTACTADMIN", "WEBALERT"})
#: RFC 5530, RFC 2449 8.1, RFC 3206.
_SESSION_RESPONSES: Final = frozenset({"LIMIT", "INUSE", "IN-USE", "LOGIN-DELAY"})


def refusal_cause(
    code: int | None, status: str | None, text: str, *, of_sender: bool = False, of_recipient: bool = True
) -> RefusalCause | None:
    """Return the cause of a refusal of a message or an address: an SMTP reply, or a report's quotation of one.

    *of_sender*: the refusal is about the sender. *of_recipient*: it is about the recipient, or the message.
    """
    if code == _SENDER_BUSY or has_sent_all(status, text):
        return RefusalCause.SENDING_LIMIT
    is_for_now = code is None or 400 <= code < 500
    if is_for_now and _GREYLISTED.search(text):
        return RefusalCause.GREYLISTING
    if (of_sender or of_recipient) and is_full(code, status, text):
        return RefusalCause.SENDING_LIMIT if of_sender else RefusalCause.RECEIVING_LIMIT
    if is_limited(text) and (status is None or status[1:].startswith((".7.", ".2.1"))) and not _SIZE.search(text):
        return RefusalCause.RECEIVING_LIMIT if status in {"4.2.1", "5.2.1"} else RefusalCause.SENDING_LIMIT
    if is_listed(text) and (status is None or status[1:].startswith(".7.")):
        return RefusalCause.BLOCK_LIST
    if of_recipient and code in {450, 451} and status == "4.7.1" and _COME_BACK.search(text):
        return None if _BROKEN.search(text) else RefusalCause.GREYLISTING
    return None


def has_sent_all(status: str | None, text: str) -> bool:
    """Return whether the sender's account has reached its daily limit."""
    return status in _SENT_STATUS or _SENT.search(text) is not None


def is_limited(text: str) -> bool:
    """Return whether the text is about a limit of amount, frequency or rate."""
    return _LIMITED.search(text) is not None


def is_listed(text: str) -> bool:
    """Return whether the text is about a block list, or about reputation."""
    return _BLOCKED.search(text) is not None


def is_full(code: int | None, status: str | None, text: str) -> bool:
    """Return whether a mailbox is over its quota. A full disk is the server's problem (RFC 3463 3.4)."""
    bare = status is None and code == _FULL_CODE and not _SIZE.search(text)
    return status in _FULL_STATUS or bare or (status not in _DISK_STATUS and _FULL.search(text) is not None)


def sign_in_refusal(
    text: str, *, refused: bool, code: int | None = None, status: str | None = None, response: str | None = None
) -> tuple[bool, RefusalCause | None]:
    """Return whether a sign-in was refused because of the credentials, and the cause of the refusal.

    *refused*: the code is a refusal, or there is none. *code* and *status* are SMTP's, *response* is the response code
    of IMAP or POP3. A text about a temporary failure overrides the code.
    """
    has_no_code = code is None and (response or "ALERT") == "ALERT"
    limited = is_limited(text)
    if response in _SESSION_RESPONSES or (limited and (has_no_code or not refused)):
        return False, RefusalCause.SESSION_LIMIT
    if not refused:
        return False, None
    if code in _ACCOUNT_CODES or status in _ACCOUNT_STATUS or response in _ACCOUNT_RESPONSES:
        return True, RefusalCause.ACCOUNT
    if limited or _OF_ACCOUNT.search(text):
        return True, RefusalCause.ACCOUNT
    return _TEMPORARY.search(text) is None, None
