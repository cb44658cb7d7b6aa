"""Processing of a fax by the simulated service: dialling, redialling, and the callback at the end."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from pantau_lab.background_tasks import BackgroundTasks
from pantau_lab.faxservice.machine import FAILURES, FaxBehaviour, Machine
from pantau_lab.provider_fault import CallbackFault, SubmissionFault


def _nothing(*_: object) -> None:
    pass


def _new_id() -> str:
    return uuid.uuid4().hex[:26].upper()


@dataclass(slots=True, kw_only=True)
class Fax:
    to: str
    sender: str
    pdf: bytes = field(repr=False)
    labels: Mapping[str, str]
    header_text: str
    callback_url: str
    max_retries: int
    id: str = field(default_factory=_new_id)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    completed_at: datetime | None = None
    status: str = "QUEUED"
    retries: int = 0
    pages_sent: int | None = None
    #: errorType, errorCode, errorMessage.
    failure: tuple[str, int, str] | None = None

    @property
    def pages(self) -> int:
        # Count the page objects. `\b` excludes the type /Pages of the page tree.
        return max(1, len(re.findall(rb"/Type\s*/Page\b", self.pdf)))


@dataclass(slots=True, kw_only=True)
class FaxService:
    """Project at a simulated fax service. All machines are objects in this process."""

    project_id: str = "projek-olok-olok"
    key_id: str = "kunci"
    key_secret: str = "rahsia-olok-olok-faks"  # noqa: S105 - of a fictional service
    machines: dict[str, Machine] = field(default_factory=dict)
    #: Real time between two statuses.
    step: timedelta = timedelta()
    #: Called when all pages have arrived, with the machine, the title in the header line and the PDF.
    on_fax: Callable[[Machine, str, bytes], None] = _nothing
    #: Called when the service has accepted a fax and not yet responded. Tests then kill the customer's process.
    on_taken: Callable[[Fax], None] = _nothing
    #: Faults of the next submissions, one each.
    faults: deque[SubmissionFault] = field(default_factory=deque)
    callback_fault: CallbackFault = CallbackFault.NONE
    faxes: list[Fax] = field(default_factory=list)
    #: Failed callbacks to the customer, and exceptions of the service.
    errors: list[str] = field(default_factory=list)
    _under_way: BackgroundTasks = field(init=False)

    def __post_init__(self) -> None:
        """Share `errors` with the background tasks."""
        self._under_way = BackgroundTasks(errors=self.errors)

    def machine(self, number: str, **how: Any) -> Machine:
        """Add a machine and return it."""
        self.machines[number] = machine = Machine(number=number, **how)
        return machine

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Process faxes during the block, which is the lifespan of the app."""
        async with self._under_way.open(timeout=60):
            yield

    async def settled(self) -> None:
        """Wait until all faxes are processed."""
        await self._under_way.settled()

    async def take(self, fax: Fax) -> None:
        self.faxes.append(fax)
        self.on_taken(fax)
        before_response = self.callback_fault is CallbackFault.BEFORE_ANSWER
        await self._under_way.begin(self._transmit(fax), and_wait=before_response)

    async def _transmit(self, fax: Fax) -> None:
        for attempt in range(fax.max_retries + 1):
            fax.retries = attempt
            await asyncio.sleep(self.step.total_seconds())
            fax.status = "IN_PROGRESS"
            await asyncio.sleep(self.step.total_seconds())
            machine = self.machines.get(fax.to)
            behaviour = FaxBehaviour.DEAD if machine is None else machine.behaviour
            fax.failure = FAILURES.get(behaviour)
            fax.pages_sent = 1 if behaviour is FaxBehaviour.OUT_OF_PAPER else 0
            if fax.failure is None and machine is not None:
                fax.pages_sent = fax.pages
                machine.received.append(fax.pdf)
                self.on_fax(machine, fax.header_text, fax.pdf)
                break
        fax.status = "COMPLETED" if fax.failure is None else "FAILURE"
        fax.completed_at = datetime.now(UTC)
        await self._call_back(fax)

    async def _call_back(self, fax: Fax) -> None:
        """Post the only callback of a fax, with `callback_fault`; `REVERSED` has no effect."""
        if not fax.callback_url or self.callback_fault is CallbackFault.NEVER:
            return
        event = {"event": "FAX_COMPLETED", "eventTime": _stamp(fax.completed_at), "fax": fax_json(self, fax)}
        for _ in range(2 if self.callback_fault is CallbackFault.TWICE else 1):
            try:
                # httpx sends the user and password in the URL as basic authentication, as Sinch does.
                response = await self._under_way.client.post(fax.callback_url, json=event)
            except httpx.HTTPError as error:
                self.errors.append(f"callback of {fax.id}: {type(error).__name__}")
                continue
            if response.status_code != 200:
                self.errors.append(f"callback of {fax.id}: HTTP {response.status_code}")


def fax_json(service: FaxService, fax: Fax) -> dict[str, Any]:
    """Return the fax object of the API."""
    fields: dict[str, Any] = {
        "id": fax.id,
        "direction": "OUTBOUND",
        "to": fax.to,
        "from": fax.sender,
        "status": fax.status,
        "numberOfPages": fax.pages,
        "createTime": _stamp(fax.created_at),
        "headerText": fax.header_text,
        "labels": dict(fax.labels),
        "callbackUrl": fax.callback_url,
        "maxRetries": fax.max_retries,
        "retryCount": fax.retries,
        "projectId": service.project_id,
    }
    if fax.completed_at is not None:
        fields |= {"completedTime": _stamp(fax.completed_at), "pagesSentSuccessfully": fax.pages_sent}
    if fax.failure is not None:
        fields |= dict(zip(("errorType", "errorCode", "errorMessage"), fax.failure, strict=True))
    return fields


def _stamp(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
