"""The ways to break a mail system on purpose."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Fault(StrEnum):
    """Fault of a mail system. Each member's docstring describes what an operator sees.

    `pantau_lab.mail.faults.effect` has the effect of each fault, and `pantau_lab.faultlab.symptom` what Pantau reports of
    it. Several faults take effect in the order of the members.
    """

    # The servers as a whole.
    DOWN = "down", "Nothing answers: every port is closed and open sessions are cut."
    SMTP = "smtp", "Nobody can send from or to the agency: its SMTP ports are closed. Reading still works."
    IMAP = "imap", "Nobody can read mail: the IMAP port is closed and open sessions are cut. Sending still works."

    # What they answer.
    REFUSE = "refuse", "Nobody can send from or to the agency: its servers answer 554 5.3.2 to every message."
    BUSY = "busy", "The SMTP servers greet everybody with 421 4.3.2, too many connections, and hang up."
    FULL = "full", "The servers' disk is full: every message is answered 452 4.3.1, come again later."
    QUOTA = "quota", "The agency's mailboxes are full: whoever writes to them is answered 552 5.2.2."
    UNKNOWN = "unknown", "The agency's servers know none of their own mailboxes: 550 5.1.1, user unknown."
    GREYLIST = "greylist", "A new pair of sender and recipient is told to come again later (450 4.7.1), for a while."

    # Signing in.
    AUTH = "auth", "Nobody can sign in to send or to read: every sign-in is answered 'temporary failure, try later'."
    PASSWORD = "password", "Every password is wrong, as after a change: 535 5.7.8 to send, a similar reply to read."
    POLICY = "policy", "Signing in to send is switched off for the whole system (550 5.7.30). Reading still works."

    # What becomes of messages.
    LOSE = "lose", "Messages are accepted, in and out, and never seen again. Nobody is told."
    SLOW = "slow", "Messages arrive whole, but late."
    WARN = "warn", "Messages arrive late, and a report tells the sender before that they are delayed (4.4.1)."
    BOUNCE = "bounce", "Messages are accepted, and a report of failed delivery comes back to the sender at once."
    BOUNCE_LATE = "bounce-late", "Messages are accepted, and a report of failed delivery comes back after a while."
    DUPLICATE = "duplicate", "Every message arrives twice."
    JUNK = "junk", "Every message that arrives at the agency is put into the junk folder."
    CUT_TAKEN = "cut-taken", "The connection breaks after the message was sent and before the answer. It was accepted."
    CUT_LOST = "cut-lost", "The connection breaks after the message was sent and before the answer. It is gone."

    # What becomes of their content.
    CORRUPT = "corrupt", "Messages arrive with letters turned into question marks and attachments that do not open."
    STRIP = "strip", "A gateway takes fields out of the header: References, and all that begin with X-."
    REWRITE = "rewrite", "A gateway gives every message a Message-ID of its own."
    FOOTER = "footer", "A gateway puts [EXTERNAL] before the subject and a disclaimer below the text."

    # TLS.
    EXPIRED = "expired", "The certificate of every server has expired."
    OTHER_NAME = "other-name", "The certificate of every server is made out to another name."
    UNTRUSTED = "untrusted", "The certificate of every server comes from an issuer whom nobody trusts."
    NO_STARTTLS = "no-starttls", "The submission server (STARTTLS) does not offer encryption. Other ports do."
    PLAIN = "plain", "The servers answer in plain text where TLS should begin."
    OLD_TLS = "old-tls", "The servers speak TLS 1.0 and 1.1 only, and no client takes that any more."
    HANDSHAKE = "handshake", "The servers take the connection and never answer the TLS handshake."

    # Reading.
    BYE = "bye", "The IMAP server greets everybody with BYE, too many connections."
    BYE_MIDDLE = "bye-middle", "The IMAP server says BYE when a folder is opened, and leaves the connection open."
    BYE_IDLE = "bye-idle", "The IMAP server says BYE to whoever has waited for news in IDLE for a while."
    SILENT_IDLE = (
        "silent-idle",
        "The IMAP server takes IDLE and never tells of anything new. A client that asks is told.",
    )
    NO_UIDPLUS = "no-uidplus", "The IMAP server has no UIDPLUS: UID EXPUNGE is answered BAD."
    BURST = "burst", "The IMAP server sends 1,500 lines at once before each answer."
    ENDLESS = "endless", "Every mail that is read from the IMAP server goes on for ever."

    # How they speak.
    GARBAGE = "garbage", "The servers answer everything with something that is neither SMTP nor IMAP."
    HALF_CLOSE = "half-close", "The servers greet, then close their side of the connection and keep the other open."
    MUTE = "mute", "The servers greet, take every command and never answer. The connection stays open."
    FLOOD = "flood", "The servers' greeting never ends."
    TARPIT = "tarpit", "The servers answer one byte at a time, with a pause after each."

    def __new__(cls, value: str, seen: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.__doc__ = seen
        return member

    @property
    def seen(self) -> str:
        """What an operator sees of the fault."""
        return str(self.__doc__)
