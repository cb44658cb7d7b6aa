"""The queue of a mail system: hold, try, try again later, give up and say so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pantau_lab.mail.transport.parcel import QueuedMessage, Refusal, SmtpReply
from pantau_lab.mail.transport.report import ReportedAction, report

_log = logging.getLogger(__name__)

#: A burst opens no more connections to other systems than this at a time.
_ATTEMPTS_AT_A_TIME = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """How long a mail system keeps trying. Real ones take days (RFC 5321 section 4.5.4.1); a lab has minutes."""

    retry_after: timedelta = timedelta(seconds=2)
    give_up_after: timedelta = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Try again at this time."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Tell the sender that it will not arrive."""

    refusal: Refusal


def after_refusal(refusal: Refusal, *, accepted_at: datetime, now: datetime, policy: QueuePolicy) -> Retry | Return:
    """Decide what follows when a parcel was not taken."""
    if refusal.permanent:
        return Return(refusal=refusal)
    retry_at = now + policy.retry_after
    if retry_at < accepted_at + policy.give_up_after:
        return Retry(at=retry_at)
    expired = SmtpReply(code=554, status="4.4.7", text=f"Delivery time expired; last answer: {refusal.reply}")
    return Return(refusal=replace(refusal, reply=expired))


class Queue:
    """Carry every parcel in a task of its own, inside the group that the mail system owns."""

    def __init__(
        self,
        *,
        hostname: str,
        deliver: Callable[[QueuedMessage], Awaitable[Refusal | None]],
        policy: QueuePolicy,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._hostname = hostname
        self._deliver = deliver
        self._policy = policy
        self._tasks = tasks
        self._carried: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._attempts = asyncio.Semaphore(_ATTEMPTS_AT_A_TIME)

    def __len__(self) -> int:
        return len(self._carried)

    def put(self, parcel: QueuedMessage) -> None:
        """Take responsibility for a parcel."""
        task = self._tasks.create_task(self._carry(parcel))
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)

    async def emptied(self) -> None:
        """Wait until nothing is on its way any more."""
        while self._carried:
            await asyncio.wait(self._carried)

    def stop(self) -> None:
        """Drop what is still on its way: the lab ends and its mail with it."""
        self._stopped = True
        for task in self._carried:
            task.cancel()

    async def _carry(self, parcel: QueuedMessage) -> None:
        try:
            await self._carry_to_its_end(parcel)
        except Exception:  # noqa: BLE001
            # A bug of ours costs this parcel, not the other systems of the lab.
            _log.exception("lost a parcel in the mail system %s", self._hostname)

    async def _carry_to_its_end(self, parcel: QueuedMessage) -> None:
        accepted_at = datetime.now(UTC)
        if parcel.warning is not None:
            self._tell(parcel, parcel.warning, accepted_at=accepted_at, at=accepted_at, action=ReportedAction.DELAYED)
        await asyncio.sleep(parcel.hold.total_seconds())
        # Asked as well as cancelled: under Python 3.11 `wait_for`, which the SMTP client waits with, can lose a
        # cancellation that comes together with an answer.
        while (refusal := await self._attempt(parcel)) and not self._stopped:
            now = datetime.now(UTC)
            match after_refusal(refusal, accepted_at=accepted_at, now=now, policy=self._policy):
                case Retry(at=at):
                    await asyncio.sleep((at - now).total_seconds())
                case Return(refusal=final):
                    self._tell(parcel, final, accepted_at=accepted_at, at=now, action=ReportedAction.FAILED)
                    return

    def _tell(
        self, parcel: QueuedMessage, refusal: Refusal, *, accepted_at: datetime, at: datetime, action: ReportedAction
    ) -> None:
        if parcel.sender:
            hostname = self._hostname
            self.put(report(parcel, refusal, hostname=hostname, accepted_at=accepted_at, at=at, action=action))

    async def _attempt(self, parcel: QueuedMessage) -> Refusal | None:
        if parcel.doom is not None:
            return parcel.doom
        async with self._attempts:
            return await self._deliver(parcel)
