"""Idempotent execution of API commands by the header Idempotency-Key.

An API client that has received no response sends the command again with the same key, and gets the stored response.
"""

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

#: Retention of a response. Clients repeat a command within minutes.
RETENTION: Final = timedelta(days=1)
#: Maximum of stored responses per principal.
MAX_STORED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedResponse:
    """Response to a command."""

    status: int
    #: JSON.
    body: bytes


class IdempotencyKeyReusedError(Exception):
    """Error for a key that was sent before with another command."""


class IdempotencyStore:
    """Executor of commands that stores their responses."""

    def __init__(self, answers: IdempotencyRecords, clock: Clock, lifecycle: Lifecycle) -> None:
        self._records = answers
        self._clock = clock
        self._lifecycle = lifecycle

    async def taken(self, by: str, command: str, address: str) -> None:
        """Record in the audit log that a command was executed, with its client address."""
        try:
            await self._lifecycle.record(by, "order over the API", {"order": command, "address": address})
        except StoreUnavailable as error:
            # The command is done, and its effect has an audit entry of its own.
            log.warning("client address of a command could not be recorded in the audit log", by=by, reason=str(error))

    async def do(
        self, key: IdempotencyKey, digest: str, execute: Callable[[], Awaitable[RecordedResponse]]
    ) -> RecordedResponse:
        """Execute a command and store its response, or return the stored response. *digest*: the hash of the command.

        A rejected command may be sent again. A command that has begun and has no response is never executed again: its
        outcome is unknown. Raise `IdempotencyKeyReusedError` and `OperationRejectedError`.
        """
        now = self._clock.now()
        try:
            earlier = await self._records.begin(key, digest, now, now - RETENTION)
        except TooManyKeptError:
            raise OperationRejectedError(
                f"{MAX_STORED} orders of yours within a day bear a key; wait, or leave the key out"
            ) from None
        if earlier is not None:
            if earlier.digest != digest:
                raise IdempotencyKeyReusedError
            if earlier.status is None or earlier.body is None:
                begun_at = earlier.started_at.isoformat(timespec="seconds")
                raise OperationRejectedError(
                    f"this order was begun at {begun_at}, and whether it was carried out is not known yet: look what has become "
                    "of it, and give it anew with another key if nothing has"
                )
            return RecordedResponse(status=earlier.status, body=earlier.body.encode())
        try:
            response = await execute()
        except OperationRejectedError:
            await self._records.forget(key)
            raise
        try:
            await self._records.finish(key, response.status, response.body.decode())
        except StoreUnavailable as error:
            # The command is done, and its sender receives the response.
            log.warning("response to a command could not be stored", principal=key.principal, reason=str(error))
        return response
