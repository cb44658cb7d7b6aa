"""Protocol of the store. Implemented in `monitor.store`; the contract tests run with every implementation.

Each decision is taken within one transaction: read, decide, write. Unique keys make repeated writes harmless.
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
    """The database is unavailable: a full disk, a restarting server, a serialization conflict. Retry later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """An entry of the audit log: what was decided, sent or received, and by whom."""

    at: datetime
    #: "engine", a person's name, or a gateway's name.
    actor: str
    event: str
    incident_id: int | None = None
    notification_id: int | None = None
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedNotification:
    """A notification with a response code on a phone."""

    code: int
    notification_id: int
    #: When the code was last printed.
    given_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsNumber:
    """State of a number that sent SMS."""

    #: Since when its owner has opted out.
    stopped_at: datetime | None = None
    #: Number of replies to SMS without an effect, since the last one with an effect.
    unrecognised: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PinAttempt:
    """A PIN typed in a call, without its digits."""

    #: Reference of the attempt, which is the call.
    reference: str
    agency: str
    person: str
    at: datetime
    accepted: bool


class Responses(Protocol):
    """Answers by SMS and PIN, within one transaction."""

    async def code_for(self, number: str, notice: Notification, now: datetime) -> int:
        """Return the response code of a notification on a phone; the same problem keeps its code.

        The phone gets replies again from then on (`SmsNumber.puzzled`).
        """

    async def told(self, number: str) -> Sequence[CodedNotification]:
        """Return the notifications with a code on a phone, the newest first."""

    async def knows(self, number: str) -> bool:
        """Whether any SMS was addressed to this number."""

    async def sms_number(self, number: str) -> SmsNumber: ...

    async def save_sms_number(self, number: str, known: SmsNumber) -> None: ...

    async def add_pin_entry(self, entry: PinAttempt) -> None: ...

    async def pin_entries(self, agencies: Collection[str], person: str, since: datetime) -> Sequence[PinAttempt]:
        """Return the PINs typed for a person of any of these agencies since then, oldest first."""


class UnitOfWork(Protocol):
    """Reads and writes of one transaction."""

    @property
    def responses(self) -> Responses:
        """Answers of people."""

    async def active_incidents(self) -> Sequence[int]:
        """Ids of the incidents that are open or have actions due, oldest first."""

    async def incident(self, incident_id: int) -> Incident | None: ...

    async def incidents(self, ids: Collection[int]) -> Mapping[int, Incident]:
        """Return any number of incidents by id, without blocking others for long."""

    async def unreleased(self, agencies: Collection[str]) -> Sequence[Incident]:
        """Return the open incidents of these agencies without a release, oldest first; as `incidents`."""

    async def last_incident(self, dedup_key: str) -> Incident | None:
        """Return the newest incident with *dedup_key*, open or over. At most one is open, and that is the newest."""

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

    async def firing_among(self, keys: Collection[str]) -> Mapping[str, int]:
        """Return the number of firing alerts by the dedup key of their shared incident, among *keys*."""

    async def open_alerts(self) -> int:
        """Return the number of open incidents of alerts."""

    async def open_among(self, keys: Collection[str]) -> Collection[str]:
        """Return those of up to some two hundred dedup keys that have an open incident."""

    async def save_brief(self, incident: Incident) -> None:
        """Write an incident's policy after a substitute was added."""

    async def put_to_rest(self, incident_id: int) -> None:
        """Remove an incident from `active_incidents`: no action is due."""

    async def rouse(self, incident_id: int) -> None:
        """Add an incident to `active_incidents` again: an action may be due."""

    async def notices(self, incident_id: int) -> Sequence[Notification]:
        """Return all notifications of an incident with deliveries and attempts, oldest first.

        Of a bundle only the part of this incident.
        """

    async def notice(self, notification_id: int) -> Notification: ...

    async def is_decided(self, key: str) -> bool:
        """Whether the notification with this key was decided before, by itself or in a bundle."""

    async def add_notice(
        self,
        of: Incident,
        draft: NotificationDraft,
        now: datetime,
        *,
        urgency: Urgency = Urgency.FIRST,
        gathering: str | None = None,
        not_before: datetime | None = None,
    ) -> Notification | None:
        """Write a notification and return it; `None`: its key exists."""

    async def join_notice(self, notification_id: int, of: Incident, draft: NotificationDraft) -> bool:
        """Add an incident to a notification, unless a gateway call has started; return whether it was added."""

    async def lock_notice(self, notification_id: int) -> None:
        """Lock a notification until the end of the transaction: no incident joins it, and it is not sent."""

    async def leave_notice(self, notification_id: int, incident_id: int, now: datetime) -> None:
        """Remove an incident from a notification."""

    async def lead_of(self, notification_id: int) -> int | None:
        """Return the incident that sends a notification, its first; `None`: it has none any more."""

    async def gathered(self, gathering: str, since: datetime, incident_id: int) -> Sequence[BundleCandidate]:
        """Return the notifications with a bundle key since then, oldest first, for a decision about an incident."""

    async def hold(self, notification_id: int, until: datetime) -> None:
        """Delay all attempts of a notification until then."""

    async def taken_since(
        self, since: datetime, *, address: Address | None = None, gateway: str | None = None
    ) -> Sequence[datetime]:
        """Return the times of gateway calls that were accepted or are under way, oldest first.

        *address*: only to it, by any gateway; *gateway*: only by it. Refused calls do not count.
        """

    async def calls_under_way(
        self, since: datetime, telephone: Address | None = None
    ) -> Sequence[tuple[Address, datetime]]:
        """Return the calls, to one telephone or to all, that began after *since* and have no known end."""

    async def end_call(self, attempt_id: int, now: datetime) -> None:
        """Write the end of a call unless it is written: its outcome was known before."""

    async def waiting_for(self, telephone: Address) -> Sequence[int]:
        """Return the incidents whose pending notifications go to a telephone, the most urgent first."""

    async def answered(self, gateways: Sequence[str], at_most: int) -> Mapping[str, Sequence[ReceivedReceipt]]:
        """Return the latest messages that arrived by each of these gateways, including drills."""

    async def unanswered(
        self, gateway: str, after: datetime, until: datetime, at_most: int
    ) -> Sequence[MissingReceipt]:
        """Return the latest messages of a gateway between two times without a receipt."""

    async def settle(self, notification_id: int, state: NotificationState) -> None: ...

    async def is_paper_held(self) -> bool:
        """Whether paper is paused: the database may be an older copy, and nobody has confirmed it."""

    async def reopen_notice(self, notification_id: int, expires_at: datetime) -> None:
        """Reopen a settled notification until then."""

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
        """Write an attempt; return `False` without writing if the stored state ranks higher."""

    async def handle_letter(self, attempt_id: int, step: LetterStep, handling: Handling) -> Handling | None:
        """Write who printed or posted a letter; return an earlier record without writing."""

    async def handled(self, attempt_id: int) -> Mapping[LetterStep, Handling]:
        """Return who printed and posted a letter."""

    async def not_posted(self, attempt: Attempt) -> bool:
        """Write that a letter recorded as posted is in its tray; return whether it was recorded as posted."""

    async def not_withdrawn(self, notice: Notification, attempt: Attempt) -> None:
        """Write that a withdrawn attempt was sent after all; its notification counts as sent again."""

    async def attempt(self, reference: str) -> tuple[Notification, Attempt] | None: ...

    async def silences(self, now: datetime) -> Sequence[Silence]:
        """Return the silences that have not ended, oldest first."""

    async def add_silence(self, about: str, begins: datetime, ends: datetime, why: str, by: str) -> Silence:
        """Add a silence."""

    async def end_silence(self, silence_id: int, now: datetime) -> Silence | None:
        """End a silence; return it, or `None` without an active one."""

    async def first_heard(self, gateway: str, event_id: str, now: datetime) -> bool:
        """Return whether this callback is new."""

    async def orphan_calls(self, now: datetime) -> int:
        """Make the queries of all calls of dead processes due now. Return their number.

        With other engines on the store none is known to be dead: each call waits for its `query_at`.
        """

    async def move_back(self, now: datetime, latest: datetime | None = None) -> timedelta:
        """Move times after *now* back, because the clock was set back; return by how much, or zero.

        *latest*: the time without the change, if the caller was running; otherwise the audit log tells.
        """

    async def claimable(self, owner: str, now: datetime) -> Sequence[int]:
        """Return the `active_incidents` without another engine's lease, oldest first."""

    async def claim(self, incident_id: int, owner: str, now: datetime, lease: timedelta) -> bool:
        """Lease an incident to *owner* until *lease* after *now*, unless another engine has it; return whether it succeeded."""

    async def keep_claims(self, owner: str, now: datetime, lease: timedelta) -> Sequence[int]:
        """Renew the leases of *owner* and take over abandoned ones; return those, oldest first.

        Also those of *owner* that others requested, because of a new event.
        """

    async def end_claims(self, processes: Collection[str], owner: str, now: datetime) -> None:
        """End the leases of dead *processes*; those of *owner* stay."""

    async def hand_over(self, owner: str, now: datetime) -> None:
        """End all leases of *owner*: it stops, and no call is under way."""

    async def overrides(self, rotas: Collection[str], now: datetime) -> Sequence[Override]:
        """Return the overrides of these rotas that have not ended at *now*, in the order of their creation."""

    async def journal(self, entry: AuditEntry) -> None: ...


class Store(Protocol):
    """Store of incidents and notifications."""

    def transaction(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Begin a write transaction: committed at the end of the block, rolled back on an error."""

    def reading(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Begin a consistent read transaction, which waits for no writer."""
