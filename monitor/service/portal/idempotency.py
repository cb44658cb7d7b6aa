"""Carries an order out once, however often a program sends it: one that has not heard the answer sends it again with the same key."""

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

#: So long an answer is kept. Whoever sends an order again does so within minutes.
KEPT_FOR: Final = timedelta(days=1)
#: Of one visitor, in that time.
MOST_KEPT: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedResponse:
    """What an order was answered."""

    status: int
    #: JSON.
    body: bytes


class IdempotencyKeyReusedError(Exception):
    """The key was sent with another order before."""


class IdempotencyStore:
    """Knows which orders it has carried out."""

    def __init__(self, answers: IdempotencyRecords, clock: Clock, lifecycle: Lifecycle) -> None:
        self._answers = answers
        self._clock = clock
        self._lifecycle = lifecycle

    async def taken(self, by: str, order: str, address: str) -> None:
        """Write into the journal that an order was carried out, and where it came from."""
        try:
            await self._lifecycle.told(by, "order over the API", {"order": order, "address": address})
        except StoreUnavailable as away:
            # It is done, and is in the journal by what it did.
            log.warning("where an order came from is not in the journal", by=by, why=str(away))

    async def do(
        self, order: IdempotencyKey, digest: str, act: Callable[[], Awaitable[RecordedResponse]]
    ) -> RecordedResponse:
        """Return what *act* answers, or has answered before. *digest*: of the order. Raise `IdempotencyKeyReusedError`, `OperationRejectedError`.

        What is refused may be sent again. Of what was begun, and has not come to its end, nobody knows whether it was done:
        that is never carried out a second time.
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
                begun = before.begun_at.isoformat(timespec="seconds")
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
            # It is done, and whoever gave it hears so.
            log.warning("the answer to an order was not kept", principal=order.visitor, why=str(away))
        return answered
