"""Message for one recipient in the queue of a mail system, and replies about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpReply:
    """An SMTP reply (RFC 5321 section 4.2) with an enhanced status code (RFC 3463)."""

    code: int
    #: Such as "5.7.1".
    status: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.status} {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Refusal to deliver a message. It is permanent if the reply is a 5xx."""

    reply: SmtpReply
    #: Host name of the other system's server that refused; `None` if this system itself refused.
    remote: str | None = None

    @property
    def permanent(self) -> bool:
        """Whether a retry is pointless."""
        return self.reply.code >= 500


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMessage:
    """Message for one recipient in the queue of one mail system."""

    #: Reverse path; empty for a delivery status notification, which causes no other one (RFC 5321 section 4.5.5).
    sender: str
    recipient: str
    #: Whole message with CRLF line ends and this system's Received field.
    content: bytes
    #: Time before the first attempt to deliver it.
    hold: timedelta = timedelta()
    #: Refusal with which the message is returned instead of delivered; `None`: it is delivered.
    bounce: Refusal | None = None
    #: Reason of a "delayed" notification to the sender (RFC 3464 section 2.3.3), sent at once; `None`: none is sent.
    warning: Refusal | None = None
    #: Whether it is delivered into the junk folder.
    junk: bool = False
