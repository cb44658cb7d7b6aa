"""The port to the store. Implemented in `monitor.store`; the contract suite runs over every implementation.

All decisions are taken inside one transaction: read what is true, decide, write what follows. Unique keys make
writing the same decision twice harmless.
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
    """The store cannot be used now: a full disk, a server that restarts, a lost race. Worth another try later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One line of the journal: what was decided, sent, received, and by whom."""

    at: datetime
    #: "engine", a person's name, or a gateway's name.
    actor: str
    event: str
    incident_id: int | None = None
    notice_id: int | None = None
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedNotification:
    """A notice that a phone was sent with a response code."""

    code: int
    notice_id: int
    #: When it was printed last.
    given_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsNumber:
    """What is known of a number that SMS came from."""

    #: Since when its owner wants no more SMS.
    stopped_at: datetime | None = None
    #: How often it was answered about an SMS that did nothing, since one did something.
    puzzled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PinAttempt:
    """A PIN was typed in a call; the digits are nowhere."""

    #: Of the attempt, that is, of the call.
    reference: str
    agency: str
    person: str
    at: datetime
    proven: bool


class Responses(Protocol):
    """What people answer by SMS and by PIN, inside one transaction."""

    async def code_for(self, number: str, notice: Notification, now: datetime) -> int:
        """Return the response code for a notice on a phone; the same trouble keeps its code there.

        From then on the phone is answered again (`SmsNumber.puzzled`).
        """

    async def told(self, number: str) -> Sequence[CodedNotification]:
        """Return what a phone was told of with a code, the newest first."""

    async def knows(self, number: str) -> bool:
        """Whether an SMS was ever meant for this number."""

    async def sms_number(self, number: str) -> SmsNumber: ...

    async def save_sms_number(self, number: str, known: SmsNumber) -> None: ...

    async def add_pin_entry(self, entry: PinAttempt) -> None: ...

    async def pin_entries(self, agencies: Collection[str], person: str, since: datetime) -> Sequence[PinAttempt]:
        """Return the PINs typed for a person of any of these agencies since then, oldest first."""


class UnitOfWork(Protocol):
    """What can be read and written inside one transaction."""

    @property
    def responses(self) -> Responses:
        """What people answered."""

    async def active_incidents(self) -> Sequence[int]:
        """Ids of the incidents that are open or still owe somebody something, oldest first."""

    async def incident(self, incident_id: int) -> Incident | None: ...

    async def incidents(self, ids: Collection[int]) -> Mapping[int, Incident]:
        """Return these incidents by their ids, however many, and hold nobody up for long."""

    async def unreleased(self, agencies: Collection[str]) -> Sequence[Incident]:
        """Return the open incidents of these agencies of which nothing was released, oldest first; as `incidents`."""

    async def last_incident(self, dedup_key: str) -> Incident | None:
        """Return the newest incident about *dedup_key*, open or over. At most one is open, and that is the newest."""

    async def last_incidents(self, dedup_keys: Collection[str]) -> Mapping[str, Incident]:
        """Return the newest incident about each of some dedup keys, a hundred or two, where there is one."""

    async def add_incidents(self, events: Sequence[Trigger | Declare]) -> Sequence[Incident]:
        """Open incidents, a hundred or two, and give each its agency's next number; return them in the same order."""

    async def save_incident(self, incident: Incident) -> None: ...

    async def save_incidents(self, incidents: Sequence[Incident]) -> None:
        """Write the states of some, a hundred or two."""

    async def known_alerts(self, fingerprints: Collection[str]) -> Mapping[str, KnownAlert]:
        """Return what is known of the NOC's alerts with these fingerprints, a hundred or two."""

    async def save_alerts(self, known: Sequence[KnownAlert]) -> None:
        """Write what is known of alerts now, each once."""

    async def firing_among(self, keys: Collection[str]) -> Mapping[str, int]:
        """How many alerts fire that share an incident with one of some dedup keys, by key, where any does."""

    async def open_alerts(self) -> int:
        """How many incidents of alerts are open."""

    async def open_among(self, keys: Collection[str]) -> Collection[str]:
        """Return those of some dedup keys, a hundred or two, that have an open incident."""

    async def save_brief(self, incident: Incident) -> None:
        """Write an incident's brief, to which a stand-in was added."""

    async def put_to_rest(self, incident_id: int) -> None:
        """Nothing more is owed: leave it out of `active_incidents`."""

    async def rouse(self, incident_id: int) -> None:
        """Somebody is owed something again: put it back among the `active_incidents`."""

    async def notices(self, incident_id: int) -> Sequence[Notification]:
        """All notices of an incident with their deliveries and attempts, oldest first.

        Of a bundle only what it tells of this incident.
        """

    async def notice(self, notice_id: int) -> Notification: ...

    async def is_decided(self, key: str) -> bool:
        """Whether the notice with this key was decided on before, by itself or in a bundle."""

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
        """Write a notice and return it; `None`: its key was there."""

    async def join_notice(self, notice_id: int, of: Incident, draft: NotificationDraft) -> bool:
        """Let a notice tell of one more incident, unless a gateway is being called meanwhile; return whether it does."""

    async def lock_notice(self, notice_id: int) -> None:
        """Keep a notice as it is until the end of the transaction: nobody joins it, and nobody sends it."""

    async def leave_notice(self, notice_id: int, incident_id: int, now: datetime) -> None:
        """Let a notice tell no more of an incident."""

    async def lead_of(self, notice_id: int) -> int | None:
        """Return the incident that looks after a notice: the first of those that it tells of; `None`: of none any more."""

    async def gathered(self, gathering: str, since: datetime, incident_id: int) -> Sequence[BundleCandidate]:
        """Return the notices that were gathered under a key since then, oldest first, for a decision on an incident."""

    async def hold(self, notice_id: int, until: datetime) -> None:
        """Let no attempt of a notice begin before then."""

    async def taken_since(
        self, since: datetime, *, address: Address | None = None, gateway: str | None = None
    ) -> Sequence[datetime]:
        """Return when a gateway was called, oldest first, of what it took and of what it is being handed now.

        *address*: to it alone, by whatever gateway; *gateway*: by it alone. What a gateway refused counts for nothing.
        """

    async def calls_under_way(
        self, since: datetime, telephone: Address | None = None
    ) -> Sequence[tuple[Address, datetime]]:
        """Return the calls, to one telephone or to all, that began after *since* and whose end is not known."""

    async def end_call(self, attempt_id: int, now: datetime) -> None:
        """Write that a call has ended, if that is not written: its outcome was known before."""

    async def waiting_for(self, telephone: Address) -> Sequence[int]:
        """Return the incidents that send the notices pending to a telephone, the most urgent first."""

    async def answered(self, gateways: Sequence[str], at_most: int) -> Mapping[str, Sequence[ReceivedReceipt]]:
        """Return the latest messages that arrived by each of these gateways, notices and exercises of drills."""

    async def unanswered(
        self, gateway: str, after: datetime, until: datetime, at_most: int
    ) -> Sequence[MissingReceipt]:
        """Return the latest messages sent by a gateway after one time and until another of which nothing was heard."""

    async def settle(self, notice_id: int, state: NotificationState) -> None: ...

    async def is_paper_held(self) -> bool:
        """Whether paper waits for a person: the store may be an older copy, and nobody has confirmed it yet."""

    async def reopen_notice(self, notice_id: int, expires_at: datetime) -> None:
        """Let a settled notice be sent again, until then."""

    async def add_delivery(self, notice_id: int, address: Address) -> Delivery: ...

    async def add_attempt(
        self, delivery: Delivery, gateway: str, now: datetime, look_at: datetime, *, response: str = ""
    ) -> Attempt:
        """Record an attempt as CALLING, before the gateway is called, with a reference of its own.

        *response*: the code that its SMS asks for.
        """

    async def attempt_state(self, attempt_id: int) -> AttemptState:
        """Return how an attempt stands as written."""

    async def save_attempt(self, attempt: Attempt) -> bool:
        """Write an attempt; return `False` and write nothing if the stored state ranks higher."""

    async def handle_letter(self, attempt_id: int, step: LetterStep, handling: Handling) -> Handling | None:
        """Write who has printed or posted a letter; return who had before, and write nothing then."""

    async def handled(self, attempt_id: int) -> Mapping[LetterStep, Handling]:
        """Return who has printed and posted a letter."""

    async def not_posted(self, attempt: Attempt) -> bool:
        """Write that a letter which counts as posted lies in its tray; return whether it counted as posted."""

    async def not_withdrawn(self, notice: Notification, attempt: Attempt) -> None:
        """Write that an attempt which was withdrawn has left after all; its notice counts as sent again."""

    async def attempt(self, reference: str) -> tuple[Notification, Attempt] | None: ...

    async def silences(self, now: datetime) -> Sequence[Silence]:
        """Return the silences that have not ended, oldest first."""

    async def add_silence(self, about: str, begins: datetime, ends: datetime, why: str, by: str) -> Silence:
        """Let nobody be told about something for a while."""

    async def end_silence(self, silence_id: int, now: datetime) -> Silence | None:
        """End a silence; return it, or `None` when there is none that goes on."""

    async def first_heard(self, gateway: str, event_id: str, now: datetime) -> bool:
        """Return whether this callback is heard for the first time."""

    async def orphan_calls(self, now: datetime) -> int:
        """Make every call that a dead process left behind due for a question now. Return how many there were.

        Where other engines are at work on the store, none is known to be dead: each call waits for its `look_at`.
        """

    async def move_back(self, now: datetime, latest: datetime | None = None) -> timedelta:
        """Move what lies ahead of *now*, because the clock was set back, to before it; return by how much, or nothing.

        *latest*: what time it would be by the caller, who has seen it go on; without it the audit log says it.
        """

    async def claimable(self, owner: str, now: datetime) -> Sequence[int]:
        """Those of `active_incidents` that are not another engine's, oldest first."""

    async def claim(self, incident_id: int, owner: str, now: datetime, lease: timedelta) -> bool:
        """Make an incident *owner*'s until *lease* after *now*, if no other engine has it; return whether it is."""

    async def keep_claims(self, owner: str, now: datetime, lease: timedelta) -> Sequence[int]:
        """Renew what *owner* has and take over what others have left; return that, oldest first.

        With it come those of *owner* that others wanted to claim: they have heard something new about them.
        """

    async def end_claims(self, processes: Collection[str], owner: str, now: datetime) -> None:
        """Let others continue now what engines of *processes* have claimed, which are dead; *owner*'s own claims stay."""

    async def hand_over(self, owner: str, now: datetime) -> None:
        """Let go of all that *owner* has claimed: it stops, and no call of its is under way any more."""

    async def overrides(self, rotas: Collection[str], now: datetime) -> Sequence[Override]:
        """Return the overrides of these rotas, by name, that are not over at *now*, in the order they were made."""

    async def journal(self, entry: AuditEntry) -> None: ...


class Store(Protocol):
    """Where incidents and notices live."""

    def transaction(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Begin a writing transaction: committed at the end of the block, rolled back on an error."""

    def reading(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Give a consistent view, for those who only look: they wait for nobody who writes."""
