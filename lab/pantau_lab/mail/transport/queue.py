"""Queue of a mail system: delivery, retries, and delivery status notifications to the sender."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pantau_lab.mail.transport.queued_message import QueuedMessage, Refusal, SmtpReply
from pantau_lab.mail.transport.report import ReportedAction, report

_log = logging.getLogger(__name__)

#: Maximum number of concurrent delivery attempts.
_ATTEMPTS_AT_A_TIME = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """Retry policy. Real systems retry for days (RFC 5321 section 4.5.4.1), the lab for minutes."""

    #: Time from a temporary refusal to the next attempt.
    retry_after: timedelta = timedelta(seconds=2)
    #: Time from acceptance after which the message is returned to its sender.
    give_up_after: timedelta = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Decision to retry at this time."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Decision to give up and notify the sender."""

    refusal: Refusal


def after_refusal(refusal: Refusal, *, accepted_at: datetime, now: datetime, policy: QueuePolicy) -> Retry | Return:
    """Return what to do after a refusal: give up if it is permanent or the time is over, otherwise retry."""
    if refusal.permanent:
        return Return(refusal=refusal)
    retry_at = now + policy.retry_after
    if retry_at < accepted_at + policy.give_up_after:
        return Retry(at=retry_at)
    expired = SmtpReply(code=554, status="4.4.7", text=f"Delivery time expired; last answer: {refusal.reply}")
    return Return(refusal=replace(refusal, reply=expired))


class Queue:
    """Queue that processes each message in a task of its own, in the mail system's task group.

    *deliver* returns the refusal, or `None` if the message is delivered.
    """

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
        self._pending_tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._attempts = asyncio.Semaphore(_ATTEMPTS_AT_A_TIME)

    def __len__(self) -> int:
        return len(self._pending_tasks)

    def put(self, queued_message: QueuedMessage) -> None:
        """Queue a message."""
        task = self._tasks.create_task(self._process(queued_message))
        self._pending_tasks.add(task)
        task.add_done_callback(self._pending_tasks.discard)

    async def wait_until_empty(self) -> None:
        """Wait until the queue is empty."""
        while self._pending_tasks:
            await asyncio.wait(self._pending_tasks)

    def stop(self) -> None:
        """Drop all queued messages."""
        self._stopped = True
        for task in self._pending_tasks:
            task.cancel()

    async def _process(self, queued_message: QueuedMessage) -> None:
        try:
            await self._deliver_until_final(queued_message)
        except Exception:  # noqa: BLE001
            # A bug loses only this message, and the other systems of the lab continue.
            _log.exception("lost a message in the mail system %s", self._hostname)

    async def _deliver_until_final(self, queued_message: QueuedMessage) -> None:
        accepted_at = datetime.now(UTC)
        if queued_message.warning is not None:
            self._report(
                queued_message,
                queued_message.warning,
                accepted_at=accepted_at,
                reported_at=accepted_at,
                action=ReportedAction.DELAYED,
            )
        await asyncio.sleep(queued_message.hold.total_seconds())
        # Check `_stopped` in addition to the cancellation: in Python 3.11 `wait_for`, which the SMTP client uses, can
        # lose a cancellation that coincides with a reply.
        while (refusal := await self._attempt(queued_message)) and not self._stopped:
            now = datetime.now(UTC)
            match after_refusal(refusal, accepted_at=accepted_at, now=now, policy=self._policy):
                case Retry(at=at):
                    await asyncio.sleep((at - now).total_seconds())
                case Return(refusal=final):
                    self._report(
                        queued_message, final, accepted_at=accepted_at, reported_at=now, action=ReportedAction.FAILED
                    )
                    return

    def _report(
        self,
        queued_message: QueuedMessage,
        refusal: Refusal,
        *,
        accepted_at: datetime,
        reported_at: datetime,
        action: ReportedAction,
    ) -> None:
        if queued_message.sender:
            hostname = self._hostname
            self.put(
                report(
                    queued_message,
                    refusal,
                    hostname=hostname,
                    accepted_at=accepted_at,
                    reported_at=reported_at,
                    action=action,
                )
            )

    async def _attempt(self, queued_message: QueuedMessage) -> Refusal | None:
        if queued_message.bounce is not None:
            return queued_message.bounce
        async with self._attempts:
            return await self._deliver(queued_message)
