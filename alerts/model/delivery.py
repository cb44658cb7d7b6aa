"""Notifications with their deliveries and attempts. Data only.

A notification has one part per incident and one delivery per address tried; a delivery has one attempt per gateway
call. An attempt is stored as CALLING before the gateway is called, so that after a crash the gateway can be queried.
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
    """State of an attempt. By `RANK`, a state is never replaced by a lower one."""

    #: Stored; the gateway is being called, or the process died during the call.
    CALLING = "calling"
    #: Perhaps sent: the gateway is queried before anything is resent.
    UNKNOWN = "unknown"
    #: The gateway does not find it and is not certain.
    NOT_FOUND = "not_found"
    #: The gateway certainly did not receive it.
    NEVER_SENT = "never_sent"
    #: The gateway accepted it.
    ACCEPTED = "accepted"
    #: It left the gateway.
    SENT = "sent"
    #: It reached the address.
    DELIVERED = "delivered"
    #: It will not arrive.
    FAILED = "failed"
    #: Withdrawn before it was sent.
    WITHDRAWN = "withdrawn"


RANK: dict[AttemptState, int] = {
    AttemptState.CALLING: 0,
    AttemptState.UNKNOWN: 1,
    AttemptState.NOT_FOUND: 2,
    AttemptState.NEVER_SENT: 2,
    AttemptState.ACCEPTED: 3,
    AttemptState.SENT: 4,
    AttemptState.DELIVERED: 5,
    AttemptState.FAILED: 5,
    AttemptState.WITHDRAWN: 6,
}

#: States of a submitted message.
SUBMITTED = frozenset({AttemptState.ACCEPTED, AttemptState.SENT, AttemptState.DELIVERED})

#: States of a message that may have been sent although the gateway does not confirm it.
DOUBTFUL = frozenset({AttemptState.UNKNOWN, AttemptState.NOT_FOUND})


class NotificationState(StrEnum):
    """State of a notification, as pages and metrics show it."""

    #: Decided, and not accepted by a gateway yet.
    PENDING = "pending"
    #: A gateway accepted it. Arrival is unknown.
    SENT = "sent"
    #: It arrived at the handset, the fax machine or the post. Whether a person read it is unknown.
    DELIVERED = "delivered"
    #: Every address failed.
    FAILED = "failed"
    #: Nobody can find out whether it was sent. A person sets its status.
    UNKNOWN = "unknown"
    #: Cancelled before it was sent.
    WITHDRAWN = "withdrawn"


#: States that stay unless a person sets another one.
SETTLED = frozenset(
    {NotificationState.DELIVERED, NotificationState.FAILED, NotificationState.UNKNOWN, NotificationState.WITHDRAWN}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One gateway call."""

    id: int
    #: Number within the delivery, from 1.
    n: int
    #: Pantau's unique reference of the attempt, which the gateway receives.
    reference: str
    gateway: str
    state: AttemptState
    started_at: datetime
    #: When the gateway is queried next, or the attempt may be repeated. While CALLING: end of the lease, the time that
    #: the call may take.
    query_at: datetime
    #: Number of queries so far.
    queries: int = 0
    provider_id: str | None = None
    error: ErrorClass | None = None
    code: str = ""
    detail: str = ""
    ended_at: datetime | None = None
    #: Code by which the reader of the SMS acknowledges: "1A"; empty if the gateway receives no replies.
    response: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Delivery of a notification to one address."""

    id: int
    address: Address
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationIncident:
    """One incident within a notification, with its position in its own escalation. A bundle has several incidents."""

    incident_id: int
    #: Contact or recipient key in the incident's policy. Keys of different agencies are unrelated.
    person: str
    facts: Facts
    restarts: int = 0
    round: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One message to one person, as stored. `key` is unique, so that a repeated decision stores nothing.

    `person`, `facts`, `restarts`, `round` and `step` are those of the incident for which the notification was read from
    the database, or else of its first incident.
    """

    id: int
    key: str
    #: Its incidents, the oldest first; empty only in a drill. Incidents acknowledged or over before it was sent are
    #: removed. If the notification was read for one incident, it has only that incident's part.
    parts: tuple[NotificationIncident, ...]
    plan: Plan
    purpose: Purpose
    #: Contact or recipient key.
    person: str
    language: Language
    facts: Facts
    state: NotificationState
    created_at: datetime
    #: Expiry: no attempt starts later.
    expires_at: datetime
    #: All possible addresses, in order of preference.
    addresses: tuple[Address, ...]
    #: One per address tried, in the same order.
    deliveries: tuple[Delivery, ...] = ()
    #: Addressee of a page; `None` for staff.
    addressee: Addressee | None = None
    restarts: int = 0
    round: int = 0
    step: int = 0
    #: Priority at a gateway.
    urgency: Urgency = Urgency.FIRST
    #: Number of incidents.
    incident_count: int = 1
    #: Whether `parts` begins with the first incident of the whole bundle. A bundle is sent when its first incident is
    #: processed, so that it is sent once.
    leads: bool = True
    #: No attempt starts before this time, because the notification waits for its bundle or a rate limit.
    not_before: datetime | None = None

    @property
    def incident_ids(self) -> tuple[int, ...]:
        """Ids of its incidents."""
        return tuple(part.incident_id for part in self.parts)

    @property
    def incident_id(self) -> int:
        """Id of its first incident."""
        return self.parts[0].incident_id

    @property
    def due_at(self) -> datetime:
        """When it may be sent."""
        return max(self.created_at, self.not_before or self.created_at)

    @property
    def channel(self) -> Channel:
        """Channel of the address in use, or of the first."""
        return (self.deliveries[-1].address if self.deliveries else self.addresses[0]).channel

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts so far, in order."""
        return tuple(a for d in self.deliveries for a in d.attempts)

    @property
    def may_have_arrived(self) -> bool:
        """Whether the person may have received it, so that they are notified of the end."""
        return any(a.state in SUBMITTED | DOUBTFUL or a.code == NO_KEY for a in self.attempts)

    @property
    def is_submitted(self) -> bool:
        """Whether a gateway has certainly accepted it."""
        return any(a.state in SUBMITTED or a.code == NO_KEY for a in self.attempts)

    @property
    def has_arrived(self) -> bool:
        """Whether its arrival was reported: for a letter, that it was posted."""
        arrived = {AttemptState.DELIVERED, AttemptState.SENT if self.channel is Channel.LETTER else None}
        return any(a.state in arrived for a in self.attempts)

    def find_delivery(self, attempt: Attempt) -> Delivery:
        """Return the delivery that contains *attempt*, which is found by its id."""
        return next(d for d in self.deliveries if any(a.id == attempt.id for a in d.attempts))

    @property
    def last_attempt(self) -> Attempt | None:
        """The latest attempt, at the address in use."""
        return self.deliveries[-1].attempts[-1] if self.deliveries and self.deliveries[-1].attempts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationDraft:
    """A notification that was decided and is to be stored. A draft with an existing key has no effect."""

    incident_id: int
    person: str
    language: Language
    facts: Facts
    expires_at: datetime
    addresses: tuple[Address, ...]
    addressee: Addressee | None = None
    restarts: int = 0
    round: int = 0
    step: int = 0
    #: End of the key, which distinguishes the draft from others with the same purpose, person and step.
    once: str = ""

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self.facts.plan

    @property
    def purpose(self) -> Purpose:
        """The purpose."""
        return self.facts.purpose

    @property
    def key(self) -> str:
        """The unique key, the same for a repeated decision."""
        # An announcement is sent on each channel of a recipient.
        channel = self.addresses[0].channel if self.plan is Plan.ANNOUNCEMENT else ""
        key = f"{self.incident_id}/{self.plan}/{self.restarts}.{self.round}.{self.step}/{self.purpose}/{self.person}"
        return "/".join(filter(None, (key, channel, self.once)))
