"""The port to the store. Implemented in `monitor.store`; the contract suite runs over every implementation.

All decisions are taken inside one transaction: read what is true, decide, write what follows. Unique keys make
writing the same decision twice harmless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from alerts.contact import Address
from alerts.delivery import Attempt, Delivery, Draft, Notice, NoticeState
from alerts.event import Trigger
from alerts.incident import Incident


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the journal: what was decided, sent, received, and by whom."""

    at: datetime
    #: "engine", a person's name, or a gateway's name.
    actor: str
    event: str
    incident_id: int | None = None
    notice_id: int | None = None
    detail: Mapping[str, str] = field(default_factory=dict)


class Ledger(Protocol):
    """What can be read and written inside one transaction."""

    async def active_incidents(self) -> Sequence[int]:
        """Ids of the incidents that are open or still owe somebody something, oldest first."""

    async def incident(self, incident_id: int) -> Incident | None: ...

    async def open_incident(self, dedup_key: str) -> Incident | None:
        """Return the open incident about *dedup_key*; there is at most one."""

    async def add_incident(self, event: Trigger) -> Incident:
        """Open an incident and give it the agency's next number."""

    async def save_incident(self, incident: Incident) -> None: ...

    async def put_to_rest(self, incident_id: int) -> None:
        """Nothing more is owed: leave it out of `active_incidents`."""

    async def notices(self, incident_id: int) -> Sequence[Notice]:
        """All notices of an incident with their deliveries and attempts, oldest first."""

    async def notice(self, notice_id: int) -> Notice: ...

    async def add_notice(self, incident: Incident, draft: Draft, now: datetime) -> bool:
        """Write a notice; return whether it is new (`False`: its key was there)."""

    async def settle(self, notice_id: int, state: NoticeState) -> None: ...

    async def add_delivery(self, notice_id: int, address: Address) -> None: ...

    async def add_attempt(self, delivery: Delivery, gateway: str, now: datetime, look_at: datetime) -> Attempt:
        """Record an attempt as CALLING, before the gateway is called, with a reference of its own."""

    async def save_attempt(self, attempt: Attempt) -> bool:
        """Write an attempt; return `False` and write nothing if the stored state ranks higher."""

    async def attempt(self, reference: str) -> tuple[Notice, Attempt] | None: ...

    async def first_heard(self, gateway: str, event_id: str, now: datetime) -> bool:
        """Return whether this callback is heard for the first time."""

    async def orphan_calls(self, now: datetime) -> int:
        """Make every call that a dead process left behind due for a question now. Return how many there were."""

    async def journal(self, entry: Entry) -> None: ...


class Store(Protocol):
    """Where incidents and notices live."""

    def transaction(self) -> AbstractAsyncContextManager[Ledger]:
        """Begin a writing transaction: committed at the end of the block, rolled back on an error."""
