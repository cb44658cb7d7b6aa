"""Result of one run (one execution of a probe on a route). Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


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
    #: It was accepted, had not arrived at the deadline, and a final search in all folders did not find it.
    LOST = "lost"
    #: A server refused the sign-in.
    AUTH = "auth"
    #: A server offered no trusted TLS: none, an invalid certificate or another name.
    TLS = "tls"
    #: A server's name has no address.
    DNS = "dns"
    #: A server's port did not open, or the connection broke.
    CONNECT = "connect"
    #: A server stopped answering during a session.
    TIMEOUT = "timeout"
    #: The run could not be completed: our own defect, configuration or shutdown. Says nothing about mail.
    INCONCLUSIVE = "inconclusive"


class Phase(StrEnum):
    """Part of a round trip. Each is timed."""

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
    """Message with a token that no run waits for. Counted apart from outcomes."""

    #: Valid token; its run ended before the message came. The run changes from lost to slow.
    LATE = "late"
    #: Valid token that has already arrived, or a copy in a mailbox where it is not expected.
    DUPLICATE = "duplicate"
    #: The token is invalid. The message is ignored and never deleted.
    FORGED = "forged"
    #: Valid token of this prober's name that this process did not issue: another process uses the same name. The
    #: message is not deleted until it is old.
    PROBER_CONFLICT = "prober_conflict"


class RefusalCause(StrEnum):
    """Cause of a refusal, when the server's text shows that the service as a whole is not concerned."""

    #: The account is locked, disabled or expired, or requires another sign-in.
    ACCOUNT = "account"
    #: Other sessions of the account, or one that locks its mailbox, prevent ours.
    SESSION_LIMIT = "session limit"
    #: The sender's account has reached its present limit.
    SENDING_LIMIT = "sending limit"
    #: The recipient's mailbox accepts no more: it is over its quota, or has reached its present limit.
    RECEIVING_LIMIT = "receiving limit"
    #: The sender is on a block list.
    BLOCK_LIST = "block list"
    #: The sender is not known yet, and must retry later (RFC 6647).
    GREYLISTING = "greylisting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Place and reason of a run's failure.

    `detail` is the remote server's text or the system's error text, shortened, without secrets. It may be shown to operators
    and never becomes a metric label.
    """

    phase: Phase
    party: Party
    reason: str
    detail: str = ""
    #: SMTP reply code (RFC 5321) or `None`.
    code: int | None = None
    #: Enhanced status code (RFC 3463) such as "5.7.1", or `None`.
    status: str | None = None
    #: The server rejected our credentials permanently (535; IMAP AUTHENTICATIONFAILED); it may serve other accounts.
    credentials_refused: bool = False
    #: `None`: the refusal concerns the service as a whole, as far as the text shows.
    cause: RefusalCause | None = None

    @property
    def summary(self) -> str:
        """Reason and detail on one line: "credentials refused (535 5.7.8 wrong password)"."""
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One relay that a message passed, by its Received header (RFC 5321 4.4)."""

    #: The relay's name for itself. It comes from the message: for people, never a metric label.
    by: str
    #: Time since the relay before it; of the first, since submission. Never negative.
    delay: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Path of one message, by its trusted Received headers."""

    #: In the order in which the message passed them.
    hops: tuple[Hop, ...] = ()
    #: Difference of a relay's clock from ours, at least: positive when it is ahead. `None` when the headers show none.
    skew: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """Result of one run. Times are aware UTC; spans are measured with a monotonic clock."""

    #: The route's name, unique in the service: "jabatan-contoh/outbound/reference-a".
    route: str
    #: Id of the sent token; 16 hex digits.
    token_id: str
    started_at: datetime
    duration: timedelta
    outcome: Outcome
    #: Finished phases only.
    phases: Mapping[Phase, timedelta] = field(default_factory=dict)
    failure: Failure | None = None
    #: The submission ended without a response after the message was sent: it may or may not have been accepted.
    uncertain: bool = False
    #: Path of a message that arrived; `None` when none did.
    path: Path | None = None
    #: Harmless changes by relays to a message that arrived: "text as HTML only".
    rewrites: tuple[str, ...] = ()
