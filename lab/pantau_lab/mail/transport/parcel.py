"""What travels inside a mail system: a message for one recipient, and the answers given about it."""

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
    """Why a parcel was not delivered. Final when the reply is a 5xx."""

    reply: SmtpReply
    #: The server of another system that said so; `None` when the refusal is our own.
    remote: str | None = None

    @property
    def permanent(self) -> bool:
        """Whether trying again is pointless."""
        return self.reply.code >= 500


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMessage:
    """One message for one recipient, on its way through one mail system."""

    #: The reverse path; empty for a message about a message (RFC 5321 section 4.5.5), which never gets an answer.
    sender: str
    recipient: str
    #: With CRLF line ends and this system's Received field.
    content: bytes
    #: How long it lies before the first attempt to deliver it.
    hold: timedelta = timedelta()
    #: Set when its failure is already decided: it is returned instead of delivered.
    doom: Refusal | None = None
    #: Set when its sender is told at once that it is delayed (RFC 3464 section 2.3.3). It is no failure.
    warning: Refusal | None = None
    #: Whether final delivery lays it among the junk.
    junk: bool = False
