"""Result of one run (one execution of a probe on a route). Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Outcome(StrEnum):
    """Outcome of a run for a mail user. A run has exactly one."""

    #: The message arrived in the inbox, unchanged.
    DELIVERED = "delivered"
    #: It arrived unchanged, in the junk folder or another folder than the inbox.
    JUNK = "junk"
    #: A delivery status notification says that it will not arrive (RFC 3464).
    BOUNCED = "bounced"
    #: The submission server refused it permanently (5xx).
    REJECTED = "rejected"
    #: The submission server refused it temporarily (4xx).
    DEFERRED = "deferred"
    #: It arrived changed.
    CORRUPTED = "corrupted"
    #: It was accepted, but did not arrive before the deadline, and a final search in all folders did not find it.
    LOST = "lost"
    #: A server refused the sign-in.
    AUTH = "auth"
    #: A server offered no TLS, or its certificate was invalid or for another name.
    TLS = "tls"
    #: A server's name has no address.
    DNS = "dns"
    #: A server's port did not open, or the connection broke.
    CONNECT = "connect"
    #: A server stopped answering during a session.
    TIMEOUT = "timeout"
    #: The run could not be completed: our own defect, configuration or shutdown. It is no evidence about mail.
    INCONCLUSIVE = "inconclusive"


class Phase(StrEnum):
    """Timed part of a round trip."""

    #: Resolve the server's name.
    DNS = "dns"
    #: Open the connection.
    CONNECT = "connect"
    #: Negotiate TLS.
    TLS = "tls"
    #: Sign in.
    AUTH = "auth"
    #: Send the envelope: MAIL and RCPT.
    SUBMIT = "submit"
    #: Send the message, until the server answers for it (RFC 5321 4.1.1.4) or the connection ends.
    DATA = "data"
    #: From the server's acceptance until the message is in the mailbox.
    TRANSIT = "transit"
    #: Read the message that arrived.
    RETRIEVE = "retrieve"


class Party(StrEnum):
    """End of the route at which something happened."""

    SENDER = "sender"
    RECIPIENT = "recipient"


class Arrival(StrEnum):
    """Kind of a message with a token (signed, names a run) for which no run waits; counted apart from outcomes."""

    #: Valid token, but its run ended before the message arrived. The run changes from lost to slow.
    LATE = "late"
    #: Valid token of a message that has already arrived, or of a copy in a mailbox where it is not expected.
    DUPLICATE = "duplicate"
    #: The token is invalid. The message is ignored and never deleted.
    FORGED = "forged"
    #: Valid token with this prober's name that this process did not issue: another process uses the same name. The
    #: message is not deleted until it is old.
    PROBER_CONFLICT = "prober_conflict"


class RefusalCause(StrEnum):
    """Cause of a refusal that concerns only this account, mailbox, sender or session, and not the whole service."""

    #: The account is locked, disabled or expired, or requires another sign-in.
    ACCOUNT = "account"
    #: Other sessions of the account prevent this one, for example because one locks the mailbox.
    SESSION_LIMIT = "session limit"
    #: The sender's account has reached its limit for the present.
    SENDING_LIMIT = "sending limit"
    #: The recipient's mailbox accepts no more: it is over its quota, or has reached its limit for the present.
    RECEIVING_LIMIT = "receiving limit"
    #: The sender is on a block list.
    BLOCK_LIST = "block list"
    #: The server does not know the sender yet, so the sender must retry later (RFC 6647).
    GREYLISTING = "greylisting"


#: Present values of the renamed `probes.model.reply.Reason`s, by their former values in databases of version 0.2.0.
_FORMER_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "something said before TLS": "data injected before TLS",
        "asked to come again": "temporarily refused",
        "in a folder that is not watched": "in an unmonitored folder",
        "our own fault": "monitoring fault",
        "we were late": "prober blocked",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Place and reason of a run's failure."""

    phase: Phase
    #: End of the route whose server failed.
    party: Party
    #: A `probes.model.reply.Reason`, or a reason of a third-party kind of probe.
    reason: str
    #: Text of the server or the operating system, shortened, without secrets. Operators may see it; it never becomes a
    #: metric label.
    detail: str = ""
    #: SMTP reply code (RFC 5321) or `None`.
    code: int | None = None
    #: Enhanced status code (RFC 3463) such as "5.7.1", or `None`.
    status: str | None = None
    #: The server rejected our credentials permanently (535; IMAP AUTHENTICATIONFAILED); it may serve other accounts.
    credentials_refused: bool = False
    #: `None`: no refusal, or one that concerns the whole service as far as its text shows.
    cause: RefusalCause | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", _FORMER_REASONS.get(self.reason, self.reason))

    @property
    def summary(self) -> str:
        """Reason and detail on one line: "credentials refused (535 5.7.8 wrong password)"."""
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One relay that a message passed, by its Received header (RFC 5321 4.4)."""

    #: The relay's own name in its header. Anyone may have written it, so it never becomes a metric label.
    by: str
    #: Time since the previous relay, or for the first relay since submission. Never negative.
    delay: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Path of one message, by its trusted Received headers."""

    #: The relays, in the order in which the message passed them.
    hops: tuple[Hop, ...] = ()
    #: Lower bound of the largest difference between a relay's clock and ours, positive if the relay's is ahead; `None`
    #: if the headers show no difference.
    skew: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """Result of one run. Times are aware UTC; durations are measured with a monotonic clock."""

    #: The route's name, unique in the service: "jabatan-contoh/outbound/reference-a".
    route: str
    #: Id of the token in the sent message; 16 hex digits.
    token_id: str
    started_at: datetime
    duration: timedelta
    outcome: Outcome
    #: Durations of the finished phases.
    phases: Mapping[Phase, timedelta] = field(default_factory=dict)
    failure: Failure | None = None
    #: The submission ended without a response after the message was sent: it may or may not have been accepted.
    uncertain: bool = False
    #: Path of the message; `None` if it did not arrive.
    path: Path | None = None
    #: Harmless changes to the message by relays, such as "text as HTML only".
    rewrites: tuple[str, ...] = ()
