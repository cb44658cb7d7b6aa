"""Notifications with their deliveries and attempts. Data only.

A notification is one message to one person. It has a part for each incident that it reports (several in a bundle), and
a delivery for each address that was tried. A delivery has an attempt for each request to a gateway. An attempt is
stored as CALLING before the request, so that after a crash the gateway can be queried. Notifications are exported as
JSON, so that field names never change.
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
    """State of an attempt. A state of a lower `RANK` never replaces one of a higher rank."""

    #: The request to the gateway runs, or the process died during the request.
    CALLING = "calling"
    #: The message may have been sent: the gateway is queried before it is resent.
    UNKNOWN = "unknown"
    #: A query of the gateway did not find the message, but the search is not reliable.
    NOT_FOUND = "not_found"
    #: A query of the gateway proved that it did not receive the message.
    NEVER_SENT = "never_sent"
    #: The gateway accepted the message.
    ACCEPTED = "accepted"
    #: The message left the gateway.
    SENT = "sent"
    #: The message reached the address.
    DELIVERED = "delivered"
    #: The message will not arrive.
    FAILED = "failed"
    #: The message was withdrawn before it was sent.
    WITHDRAWN = "withdrawn"


#: Order of the states in time.
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

#: States in which it is unknown whether the message was sent.
DOUBTFUL = frozenset({AttemptState.UNKNOWN, AttemptState.NOT_FOUND})


class NotificationState(StrEnum):
    """State of a notification, as pages and metrics show it."""

    #: The notification is not accepted by a gateway yet.
    PENDING = "pending"
    #: A gateway accepted the notification. Whether it arrived is unknown.
    SENT = "sent"
    #: The notification arrived at the handset, the fax machine or the post. Whether a person read it is unknown.
    DELIVERED = "delivered"
    #: The notification failed at every address.
    FAILED = "failed"
    #: Pantau cannot find out whether the notification was sent. A person finds out and sets its status.
    UNKNOWN = "unknown"
    #: The notification was cancelled before it was sent.
    WITHDRAWN = "withdrawn"


#: Final states: only a person can set another one.
SETTLED = frozenset(
    {NotificationState.DELIVERED, NotificationState.FAILED, NotificationState.UNKNOWN, NotificationState.WITHDRAWN}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request to a gateway to send the message."""

    id: int
    #: Number within the delivery, from 1.
    n: int
    #: Pantau's unique reference of the attempt, which the gateway receives.
    reference: str
    #: Name of the gateway.
    gateway: str
    state: AttemptState
    started_at: datetime
    #: When the gateway is queried next, or a retry may start. While CALLING: end of the lease, after which the gateway
    #: is queried about the result of the request.
    query_at: datetime
    #: Number of queries so far.
    queries: int = 0
    #: The provider's id of the submission; `None`: unknown.
    provider_id: str | None = None
    #: Class of the last error; `None`: no error.
    error: ErrorClass | None = None
    #: The provider's own code, or `NO_KEY`.
    code: str = ""
    #: Explanation for people.
    detail: str = ""
    #: When the attempt reached a final state; for a telephone call, when the call ended.
    ended_at: datetime | None = None
    #: Code by which the reader of the SMS acknowledges: "1A"; empty if the gateway receives no replies.
    response: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Delivery of a notification to one address."""

    id: int
    address: Address
    #: In the order of their start.
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationIncident:
    """One incident within a notification, with its position in its own escalation. A bundle has several incidents."""

    incident_id: int
    #: Key of the contact or recipient in the incident's policy. Keys of different agencies are unrelated.
    person: str
    facts: Facts
    #: Restarts of the escalation, round and step at the decision, as in `alerts.model.incident.Position`.
    restarts: int = 0
    round: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One message to one person, as stored.

    `person`, `facts`, `restarts`, `round` and `step` are those of the incident for which the notification was read from
    the database. If it was read without an incident, they are those of its first incident.
    """

    id: int
    #: Unique key of the decision (`NotificationDraft.key`), so that a repeated decision stores nothing.
    key: str
    #: Its incidents, the oldest first; empty only in a drill (test notification). An incident that is acknowledged or
    #: ends before the notification is sent is removed. If the notification was read for one incident, `parts` has only
    #: that incident.
    parts: tuple[NotificationIncident, ...]
    plan: Plan
    purpose: Purpose
    #: Key of the contact or recipient.
    person: str
    language: Language
    facts: Facts
    state: NotificationState
    created_at: datetime
    #: No attempt starts later.
    expires_at: datetime
    #: All possible addresses, in order of preference.
    addresses: tuple[Address, ...]
    #: One per address tried, in the order in which they were tried.
    deliveries: tuple[Delivery, ...] = ()
    #: Office to which a fax or letter is addressed; `None` for staff.
    addressee: Addressee | None = None
    #: As in `NotificationIncident`.
    restarts: int = 0
    round: int = 0
    step: int = 0
    #: Priority at a gateway.
    urgency: Urgency = Urgency.FIRST
    #: Number of incidents, also of those that are not in `parts`.
    incident_count: int = 1
    #: Whether `parts` begins with the first incident of the whole bundle. A bundle is sent when its first incident is
    #: processed, so that it is sent once.
    leads: bool = True
    #: No attempt starts before this time, because the notification waits for its bundle or a rate limit; `None`: no
    #: wait.
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
        """When the notification may be sent."""
        return max(self.created_at, self.not_before or self.created_at)

    @property
    def channel(self) -> Channel:
        """Channel of the address that was tried last, or else of the first address."""
        return (self.deliveries[-1].address if self.deliveries else self.addresses[0]).channel

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts so far, in order."""
        return tuple(a for d in self.deliveries for a in d.attempts)

    @property
    def may_have_arrived(self) -> bool:
        """Whether the person may have received the notification, so that they are notified of the end."""
        # NO_KEY: the call was answered without a key press. It counts as failed, but somebody may have listened.
        return any(a.state in SUBMITTED | DOUBTFUL or a.code == NO_KEY for a in self.attempts)

    @property
    def is_submitted(self) -> bool:
        """Whether a gateway has certainly accepted the notification."""
        return any(a.state in SUBMITTED or a.code == NO_KEY for a in self.attempts)

    @property
    def has_arrived(self) -> bool:
        """Whether the arrival of the notification was reported. A letter has arrived when a clerk has posted it."""
        arrived = {AttemptState.DELIVERED} | ({AttemptState.SENT} if self.channel is Channel.LETTER else set())
        return any(a.state in arrived for a in self.attempts)

    def find_delivery(self, attempt: Attempt) -> Delivery:
        """Return the delivery that has an attempt with the id of *attempt*."""
        return next(d for d in self.deliveries if any(a.id == attempt.id for a in d.attempts))

    @property
    def last_attempt(self) -> Attempt | None:
        """The latest attempt at the address that was tried last; `None` without one."""
        return self.deliveries[-1].attempts[-1] if self.deliveries and self.deliveries[-1].attempts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationDraft:
    """A notification that was decided and is to be stored. A draft with an existing key has no effect."""

    incident_id: int
    #: Key of the contact or recipient in the incident's policy.
    person: str
    language: Language
    facts: Facts
    #: No attempt starts later.
    expires_at: datetime
    #: All possible addresses, in order of preference.
    addresses: tuple[Address, ...]
    #: Office to which a fax or letter is addressed; `None` for staff.
    addressee: Addressee | None = None
    #: Restarts of the escalation, round and step, as in `alerts.model.incident.Position`. They are part of the key.
    restarts: int = 0
    round: int = 0
    step: int = 0
    #: End of the key, such as a date. It distinguishes the draft from others with the same purpose, person and step.
    key_suffix: str = ""

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
        """Unique key. A repeated decision results in the same key."""
        # A recipient gets an announcement on each of its channels, so that the key contains the channel.
        channel = self.addresses[0].channel if self.plan is Plan.ANNOUNCEMENT else ""
        key = f"{self.incident_id}/{self.plan}/{self.restarts}.{self.round}.{self.step}/{self.purpose}/{self.person}"
        return "/".join(filter(None, (key, channel, self.key_suffix)))
