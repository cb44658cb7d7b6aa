"""Protocols of the store of incidents and notifications.

The engine takes each decision within one transaction: read, decide, write. Unique keys make repeated writes harmless.
`monitor.store` implements the protocols; the contract tests run with each supported database.

A notification has a *delivery* for each address that was tried, and a delivery has *attempts*: requests to a gateway. A
*draft* is a decided notification that is not stored yet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from alerts.decide.bundle import BundleCandidate
from alerts.decide.gateway.receipt import MissingReceipt, ReceivedReceipt
from alerts.decide.paper import Handling, LetterStep
from alerts.decide.silence import Silence
from alerts.model.alert import KnownAlert
from alerts.model.contact import Address
from alerts.model.delivery import Attempt, AttemptState, Delivery, Notification, NotificationDraft, NotificationState
from alerts.model.event import Declare, Trigger
from alerts.model.incident import Incident
from alerts.model.oncall import Override
from alerts.model.urgency import Urgency


class StoreUnavailable(Exception):
    """The database cannot be used now: a full disk, a restarting server, a conflict of transactions. Retry later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Entry of the audit log: what was decided, sent or received, and by whom."""

    at: datetime
    #: "engine", a person's name, or a gateway's name.
    actor: str
    #: What happened: "incident opened". Stored texts never change, because the audit log is a hash chain.
    event: str
    incident_id: int | None = None
    notification_id: int | None = None
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedNotification:
    """Notification that was sent to a phone with a response code.

    A response code is a number such as the 1 of "1A", which the reader sends back by SMS to acknowledge.
    """

    code: int
    notification_id: int
    #: When the code was last sent.
    given_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsNumber:
    """State of a telephone number from which SMS were received."""

    #: When its owner opted out of SMS ("STOP"); `None`: not opted out.
    stopped_at: datetime | None = None
    #: How many replies Pantau has sent to SMS that had no effect, since the last SMS that had one.
    unrecognised: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PinAttempt:
    """Attempt of a person to type a PIN in a call, stored without the digits."""

    #: Reference of the attempt by a gateway that made the call.
    reference: str
    agency: str
    #: Key of the contact.
    person: str
    at: datetime
    #: Whether the PIN was correct.
    accepted: bool


class Responses(Protocol):
    """Reads and writes about replies by SMS and PINs typed in calls, within one transaction."""

    async def assign_response_code(self, number: str, notification: Notification, now: datetime) -> int:
        """Return the response code of a notification on a phone. All notifications about a problem have the same code.

        `SmsNumber.unrecognised` of the phone is set to zero, so that its next SMS get replies.
        """

    async def coded_notifications(self, number: str) -> Sequence[CodedNotification]:
        """Return the notifications with a code on a phone, the newest first."""

    async def has_sms_to(self, number: str) -> bool:
        """Whether any SMS was addressed to this number."""

    async def sms_number(self, number: str) -> SmsNumber: ...

    async def save_sms_number(self, number: str, sms_number: SmsNumber) -> None: ...

    async def add_pin_attempt(self, attempt: PinAttempt) -> None: ...

    async def pin_attempts(self, agencies: Collection[str], person: str, since: datetime) -> Sequence[PinAttempt]:
        """Return the attempts to type the PIN of a person of these agencies since then, the oldest first."""


class UnitOfWork(Protocol):
    """Reads and writes of one transaction."""

    @property
    def responses(self) -> Responses:
        """Answers of people."""

    async def active_incidents(self) -> Sequence[int]:
        """Return the ids of the incidents that are open or have actions due, the oldest first."""

    async def incident(self, incident_id: int) -> Incident | None: ...

    async def incidents(self, ids: Collection[int]) -> Mapping[int, Incident]:
        """Return any number of incidents by id, without blocking others for long."""

    async def unreleased_incidents(self, agencies: Collection[str]) -> Sequence[Incident]:
        """Return the open incidents of these agencies whose announcement is not released, the oldest first."""

    async def last_incident(self, dedup_key: str) -> Incident | None:
        """Return the newest incident with *dedup_key*, open or not. An open incident is always the newest."""

    async def last_incidents(self, dedup_keys: Collection[str]) -> Mapping[str, Incident]:
        """Return the newest incident of each of up to some two hundred dedup keys."""

    async def add_incidents(self, events: Sequence[Trigger | Declare]) -> Sequence[Incident]:
        """Open up to some two hundred incidents with their agency's next number; return them in the same order."""

    async def save_incident(self, incident: Incident) -> None: ...

    async def save_incidents(self, incidents: Sequence[Incident]) -> None:
        """Write the states of up to some two hundred incidents."""

    async def known_alerts(self, fingerprints: Collection[str]) -> Mapping[str, KnownAlert]:
        """Return the known states of alerts with up to some two hundred fingerprints."""

    async def save_alerts(self, known: Sequence[KnownAlert]) -> None:
        """Write the known states of alerts."""

    async def count_firing_alerts(self, keys: Collection[str]) -> Mapping[str, int]:
        """Return the number of firing alerts of each incident that several alerts share, by dedup key among *keys*."""

    async def count_open_alert_incidents(self) -> int:
        """Return the number of open incidents about alerts."""

    async def open_dedup_keys(self, keys: Collection[str]) -> Collection[str]:
        """Return the dedup keys, of up to some two hundred, that have an open incident."""

    async def save_policy(self, incident: Incident) -> None:
        """Write an incident's policy. `save_incident` does not change it."""

    async def deactivate_incident(self, incident_id: int) -> None:
        """Remove an incident from `active_incidents`, because no action is due."""

    async def activate_incident(self, incident_id: int) -> None:
        """Add an incident to `active_incidents` again, because an action may be due."""

    async def notifications(self, incident_id: int) -> Sequence[Notification]:
        """Return all notifications of an incident with deliveries and attempts, oldest first.

        A notification about several incidents is returned with this one only.
        """

    async def notification(self, notification_id: int) -> Notification: ...

    async def is_notification_decided(self, key: str) -> bool:
        """Whether a notification with this key was written, or joined another notification."""

    async def add_notification(
        self,
        incident: Incident,
        draft: NotificationDraft,
        now: datetime,
        *,
        urgency: Urgency = Urgency.FIRST,
        bundle_key: str | None = None,
        not_before: datetime | None = None,
    ) -> Notification | None:
        """Write a notification and return it; `None` if one with its key exists.

        *bundle_key*: other drafts with this key may join the notification; *not_before*: when it may be sent.
        """

    async def join_notification(self, notification_id: int, incident: Incident, draft: NotificationDraft) -> bool:
        """Add an incident to an unsent notification. Return `False` if it is being sent already."""

    async def lock_notification(self, notification_id: int) -> None:
        """Lock a notification until the end of the transaction, so that no incident joins it."""

    async def leave_notification(self, notification_id: int, incident_id: int, now: datetime) -> None:
        """Remove an incident from a notification."""

    async def sending_incident(self, notification_id: int) -> int | None:
        """Return the id of the notification's first incident; `None` if it has no incident any more.

        A notification is sent when its first incident is processed, so that it is sent once.
        """

    async def bundle_candidates(self, bundle_key: str, since: datetime, incident_id: int) -> Sequence[BundleCandidate]:
        """Return the notifications with a bundle key that were created since then, the oldest first.

        Each states whether it contains the incident *incident_id*.
        """

    async def throttle(self, notification_id: int, until: datetime) -> None:
        """Delay all attempts of a notification until then, because of a rate limit."""

    async def accepted_attempt_times(
        self, since: datetime, *, address: Address | None = None, gateway: str | None = None
    ) -> Sequence[datetime]:
        """Return the start times of attempts after *since* that a gateway accepted or that are under way, oldest first.

        *address*: only attempts to this address; *gateway*: only attempts by this gateway.
        """

    async def telephone_calls_under_way(
        self, since: datetime, telephone: Address | None = None
    ) -> Sequence[tuple[Address, datetime]]:
        """Return address and start of the telephone calls that began after *since* and have no known end.

        *telephone*: only calls to this number.
        """

    async def end_telephone_call(self, attempt_id: int, now: datetime) -> None:
        """Write when a telephone call ended, unless that is written. Its outcome (a pressed key) was stored before."""

    async def incidents_waiting_for(self, telephone: Address) -> Sequence[int]:
        """Return the ids of the incidents whose pending notifications go to a telephone, the most urgent first."""

    async def latest_receipts(self, gateways: Sequence[str], at_most: int) -> Mapping[str, Sequence[ReceivedReceipt]]:
        """Return the latest delivery receipts by gateway, including those of drills (test notifications)."""

    async def missing_receipts(
        self, gateway: str, after: datetime, until: datetime, at_most: int
    ) -> Sequence[MissingReceipt]:
        """Return the latest messages of a gateway that were accepted between two times and have no receipt."""

    async def set_notification_state(self, notification_id: int, state: NotificationState) -> None: ...

    async def is_paper_paused(self) -> bool:
        """Whether letters and faxes are paused, because the database may be an older copy and nobody has checked it."""

    async def reopen_notification(self, notification_id: int, expires_at: datetime) -> None:
        """Make a notification pending again, until *expires_at*."""

    async def add_delivery(self, notification_id: int, address: Address) -> Delivery: ...

    async def add_attempt(
        self, delivery: Delivery, gateway: str, now: datetime, query_at: datetime, *, response: str = ""
    ) -> Attempt:
        """Write an attempt as CALLING with a new reference, before the gateway is called.

        *response*: the response code in its SMS.
        """

    async def attempt_state(self, attempt_id: int) -> AttemptState:
        """Return the stored state of an attempt."""

    async def save_attempt(self, attempt: Attempt) -> bool:
        """Write an attempt. Return `False` without writing if the stored state has a higher rank than the new state."""

    async def record_letter_step(self, attempt_id: int, step: LetterStep, handling: Handling) -> Handling | None:
        """Write who printed or posted a letter. If that is recorded already, write nothing and return the record."""

    async def letter_steps(self, attempt_id: int) -> Mapping[LetterStep, Handling]:
        """Return who printed and posted a letter."""

    async def undo_posting(self, attempt: Attempt) -> bool:
        """Write that a letter was not posted and is in the tray. Return `False` if it was not recorded as posted.

        The tray is the directory from which a clerk prints and posts letters.
        """

    async def undo_withdrawal(self, notification: Notification, attempt: Attempt) -> None:
        """Write that a withdrawn letter was posted after all. Its notification counts as sent."""

    async def attempt(self, reference: str) -> tuple[Notification, Attempt] | None:
        """Return the attempt with this reference (Pantau's, which the gateway received), and its notification."""

    async def silences(self, now: datetime) -> Sequence[Silence]:
        """Return the silences that have not ended, oldest first."""

    async def add_silence(self, target: str, starts_at: datetime, ends_at: datetime, reason: str, by: str) -> Silence:
        """Add a silence of *target*, the dedup key of an incident, such as an agency's code."""

    async def end_silence(self, silence_id: int, now: datetime) -> Silence | None:
        """End a silence. Return it, or `None` if it is not active."""

    async def add_callback(self, gateway: str, event_id: str, now: datetime) -> bool:
        """Record a provider's callback by its id. Return `False` if it was recorded before."""

    async def requery_orphaned_attempts(self, now: datetime) -> int:
        """Make the status queries due now for attempts that an ended process has started. Return their number.

        If several engines use the database, another running engine may have started the attempts. Then their queries
        stay due at `query_at`.
        """

    async def move_times_back(self, now: datetime, latest: datetime | None = None) -> timedelta:
        """Move stored times after *now* back, because the clock was set back. Return by how much, or zero.

        *latest*: the time that it would be now if the clock had not been set back; `None`: unknown, because the caller
        has just started. Then the time of the last audit entry is used.
        """

    async def claimable_incidents(self, owner: str, now: datetime) -> Sequence[int]:
        """Return the `active_incidents` without another engine's lease, oldest first."""

    async def claim_incident(self, incident_id: int, owner: str, now: datetime, lease: timedelta) -> bool:
        """Lease an incident to *owner* for the time *lease*. Return `False` if another engine has leased it.

        In that case the other engine's next call of `renew_leases` returns the incident, because a new event may need
        processing.
        """

    async def renew_leases(self, owner: str, now: datetime, lease: timedelta) -> Sequence[int]:
        """Renew the leases of *owner*, and take over expired leases. Return the ids of incidents to process.

        To process are the incidents that were taken over, and the incidents of *owner* that another engine tried to
        claim. The oldest come first.
        """

    async def end_leases(self, processes: Collection[str], owner: str, now: datetime) -> None:
        """End the leases of dead *processes*, except *owner*, so that other engines take over their incidents."""

    async def release_leases(self, owner: str, now: datetime) -> None:
        """End all leases of *owner*, an engine that stops. Its gateway calls have ended."""

    async def overrides(self, rotas: Collection[str], now: datetime) -> Sequence[Override]:
        """Return the overrides of these rotas that have not ended at *now*, in the order of their creation."""

    async def add_audit_entry(self, entry: AuditEntry) -> None: ...


class Store(Protocol):
    """Store of incidents and notifications."""

    def transaction(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Begin a write transaction: committed at the end of the block, rolled back on an error."""

    def reading(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Begin a consistent read transaction. It does not wait for writers."""
