"""Notices on their way: what is recorded of them. Data only.

Notice 1-n part (one incident it tells of), notice 1-n delivery (one address) 1-n attempt (one call of a gateway). An
attempt is recorded as CALLING before the gateway is called; what happens to the process in between decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.gateway import NO_KEY, ErrorClass
from alerts.model.notification import Addressee, Facts, Language, Plan, Purpose
from alerts.model.urgency import Urgency


class AttemptState(StrEnum):
    """How an attempt stands. Ranked by `RANK`: an earlier rank never overwrites a later one."""

    #: Stored; the gateway is being called, or the process ended during the call.
    CALLING = "calling"
    #: It may have been sent. The gateway is asked before anything is sent again.
    UNKNOWN = "unknown"
    #: The gateway does not find it and is not certain.
    NO_TRACE = "no_trace"
    #: The gateway is certain that it never received it.
    NEVER_SENT = "never_sent"
    #: The gateway accepted it.
    ACCEPTED = "accepted"
    #: It left the gateway.
    SENT = "sent"
    #: It reached the address.
    DELIVERED = "delivered"
    #: It will not arrive.
    FAILED = "failed"
    #: It was withdrawn before it left.
    WITHDRAWN = "withdrawn"


RANK: dict[AttemptState, int] = {
    AttemptState.CALLING: 0,
    AttemptState.UNKNOWN: 1,
    AttemptState.NO_TRACE: 2,
    AttemptState.NEVER_SENT: 2,
    AttemptState.ACCEPTED: 3,
    AttemptState.SENT: 4,
    AttemptState.DELIVERED: 5,
    AttemptState.FAILED: 5,
    AttemptState.WITHDRAWN: 6,
}

#: The message has left our hands, as far as anybody knows.
LEFT = frozenset({AttemptState.ACCEPTED, AttemptState.SENT, AttemptState.DELIVERED})

#: It may have left without a trace.
DOUBTFUL = frozenset({AttemptState.UNKNOWN, AttemptState.NO_TRACE})


class NotificationState(StrEnum):
    """State of a notification, as pages and metrics show it."""

    #: Decided, and not accepted by a gateway yet.
    PENDING = "pending"
    #: A gateway accepted it. It may not have arrived.
    SENT = "sent"
    #: The handset, the fax machine or the post has it. The person may not have read it.
    DELIVERED = "delivered"
    #: Every address failed.
    FAILED = "failed"
    #: Nobody can find out whether it was sent. A person sets its status.
    UNKNOWN = "unknown"
    #: It was not needed any more before it left.
    WITHDRAWN = "withdrawn"


#: Nothing more is done by itself for a notice in one of these.
SETTLED = frozenset(
    {NotificationState.DELIVERED, NotificationState.FAILED, NotificationState.UNKNOWN, NotificationState.WITHDRAWN}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of one gateway."""

    id: int
    n: int
    #: Ours, unique, known to the gateway.
    reference: str
    gateway: str
    state: AttemptState
    started_at: datetime
    #: When to look at it next: the lease while calling, the next question, the next check.
    look_at: datetime
    #: Questions asked about it so far.
    asked: int = 0
    provider_id: str | None = None
    error: ErrorClass | None = None
    code: str = ""
    detail: str = ""
    ended_at: datetime | None = None
    #: The response code that its SMS asks for: "1A"; empty where nobody answers by SMS.
    response: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A notice to one address."""

    id: int
    address: Address
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationIncident:
    """What a notice tells of one incident. A bundle has several, and each incident stands elsewhere in its plan."""

    incident_id: int
    #: Contact or recipient key in the incident's own plan. Two agencies may call one person by different keys, and two
    #: people by the same.
    person: str
    facts: Facts
    wave: int = 0
    round: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One message to one person, as stored. `key` is unique: deciding twice writes once.

    `person`, `facts`, `wave`, `round` and `step` are those of the incident by which the notice was looked up, or of its first.
    """

    id: int
    key: str
    #: What it has to tell, by incident, the oldest first; empty only in a drill. What was acknowledged or over before it left
    #: is gone. Looked up by an incident, only the part about that one.
    parts: tuple[NotificationIncident, ...]
    plan: Plan
    purpose: Purpose
    #: Contact or recipient key.
    person: str
    language: Language
    facts: Facts
    state: NotificationState
    created_at: datetime
    #: It is of no use to the person after this moment; no attempt begins later.
    expires_at: datetime
    #: All addresses it may be sent to, in order of trying.
    addresses: tuple[Address, ...]
    #: One for each address tried so far, in the same order.
    deliveries: tuple[Delivery, ...] = ()
    #: To whom a page is addressed; `None` for staff.
    addressee: Addressee | None = None
    wave: int = 0
    round: int = 0
    step: int = 0
    #: Whose turn it is at a gateway.
    urgency: Urgency = Urgency.FIRST
    #: How many incidents it tells of.
    tells_of: int = 1
    #: Whether its first part is the bundle's first: that incident looks after it, so that nothing is done twice.
    leads: bool = True
    #: Gathering more, or held by a brake: no attempt begins earlier.
    not_before: datetime | None = None

    @property
    def incident_ids(self) -> tuple[int, ...]:
        """The incidents that it tells of."""
        return tuple(part.incident_id for part in self.parts)

    @property
    def incident_id(self) -> int:
        """The first of them."""
        return self.parts[0].incident_id

    @property
    def due_at(self) -> datetime:
        """Since when it may be sent."""
        return max(self.created_at, self.not_before or self.created_at)

    @property
    def channel(self) -> Channel:
        """The channel it is on now."""
        return (self.deliveries[-1].address if self.deliveries else self.addresses[0]).channel

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts so far, in their order."""
        return tuple(a for d in self.deliveries for a in d.attempts)

    @property
    def was_told(self) -> bool:
        """Whether the person may have got it: then a recovery is owed."""
        return any(a.state in LEFT | DOUBTFUL or a.code == NO_KEY for a in self.attempts)

    @property
    def has_left(self) -> bool:
        """Whether it is known to have left for the person."""
        return any(a.state in LEFT or a.code == NO_KEY for a in self.attempts)

    @property
    def has_arrived(self) -> bool:
        """Whether it is known to have arrived, as far as its channel can tell: of a letter, that it was posted."""
        arrived = {AttemptState.DELIVERED, AttemptState.SENT if self.channel is Channel.LETTER else None}
        return any(a.state in arrived for a in self.attempts)

    def delivery_of(self, attempt: Attempt) -> Delivery:
        """Return the delivery that an attempt belongs to, however it stood when it was read."""
        return next(d for d in self.deliveries if any(a.id == attempt.id for a in d.attempts))

    @property
    def last_attempt(self) -> Attempt | None:
        """The attempt that decides how the notice stands."""
        return self.deliveries[-1].attempts[-1] if self.deliveries and self.deliveries[-1].attempts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationDraft:
    """A notice that was decided on. Written once: if its key is there already, nothing happens."""

    incident_id: int
    person: str
    language: Language
    facts: Facts
    expires_at: datetime
    addresses: tuple[Address, ...]
    addressee: Addressee | None = None
    wave: int = 0
    round: int = 0
    step: int = 0
    #: What tells it apart from others of its purpose to the same person in the same step.
    once: str = ""

    @property
    def plan(self) -> Plan:
        """The plan that it belongs to."""
        return self.facts.plan

    @property
    def purpose(self) -> Purpose:
        """Why it is sent."""
        return self.facts.purpose

    @property
    def key(self) -> str:
        """What it is: decided on anew, it has the same key."""
        # An announcement tells a recipient by each channel.
        channel = self.addresses[0].channel if self.plan is Plan.ANNOUNCEMENT else ""
        key = f"{self.incident_id}/{self.plan}/{self.wave}.{self.round}.{self.step}/{self.purpose}/{self.person}"
        return "/".join(filter(None, (key, channel, self.once)))
