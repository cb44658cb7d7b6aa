"""Idempotent execution of commands: a program that has received no response sends the command again with the same key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.audit.lifecycle import Lifecycle
from monitor.service.errors import OperationRejectedError
from monitor.store.admin.idempotency import IdempotencyKey, IdempotencyRecords, TooManyKeptError

log = structlog.get_logger()

#: Retention of a response. Programs repeat a command within minutes.
KEPT_FOR: Final = timedelta(days=1)
#: Per principal, within the retention.
MOST_KEPT: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedResponse:
    """Response to a command."""

    status: int
    #: JSON.
    body: bytes


class IdempotencyKeyReusedError(Exception):
    """Error for a key that was sent with another command before."""


class IdempotencyStore:
    """Store of the executed commands."""

    def __init__(self, answers: IdempotencyRecords, clock: Clock, lifecycle: Lifecycle) -> None:
        self._answers = answers
        self._clock = clock
        self._lifecycle = lifecycle

    async def taken(self, by: str, order: str, address: str) -> None:
        """Record in the audit log that a command was executed, and its client address."""
        try:
            await self._lifecycle.told(by, "order over the API", {"order": order, "address": address})
        except StoreUnavailable as away:
            # The command is done, and its effect is in the audit log.
            log.warning("client address of a command could not be recorded in the audit log", by=by, reason=str(away))

    async def do(
        self, order: IdempotencyKey, digest: str, act: Callable[[], Awaitable[RecordedResponse]]
    ) -> RecordedResponse:
        """Return the response of *act*, or its earlier one. *digest*: of the command. Raise `IdempotencyKeyReusedError`, `OperationRejectedError`.

        A refused command may be sent again. The outcome of one that was begun and did not end is unknown: it is never
        executed a second time.
        """
        now = self._clock.now()
        try:
            before = await self._answers.begin(order, digest, now, now - KEPT_FOR)
        except TooManyKeptError:
            raise OperationRejectedError(
                f"{MOST_KEPT} orders of yours within a day bear a key; wait, or leave the key out"
            ) from None
        if before is not None:
            if before.digest != digest:
                raise IdempotencyKeyReusedError
            if before.status is None or before.body is None:
                begun = before.started_at.isoformat(timespec="seconds")
                raise OperationRejectedError(
                    f"this order was begun at {begun}, and whether it was carried out is not known yet: look what has become "
                    "of it, and give it anew with another key if nothing has"
                )
            return RecordedResponse(status=before.status, body=before.body.encode())
        try:
            answered = await act()
        except OperationRejectedError:
            await self._answers.forget(order)
            raise
        try:
            await self._answers.finish(order, answered.status, answered.body.decode())
        except StoreUnavailable as away:
            # The command is done, and its sender receives the response.
            log.warning("response to a command could not be stored", principal=order.principal, reason=str(away))
        return answered
