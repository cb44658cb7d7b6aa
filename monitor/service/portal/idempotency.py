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
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.service.errors import OperationRejectedError
from monitor.store.admin.idempotency import IdempotencyKey, IdempotencyRecords, TooManyRecordsError

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
    """Executor of commands. It stores their responses, and returns a stored response to a repeated command."""

    def __init__(self, records: IdempotencyRecords, clock: Clock, lifecycle: LifecycleRecorder) -> None:
        self._records = records
        self._clock = clock
        self._lifecycle = lifecycle

    async def record_execution(self, by: str, command: str, address: str) -> None:
        """Record in the audit log that *by* has executed a command, from the client *address*."""
        try:
            await self._lifecycle.record(by, "order over the API", {"order": command, "address": address})
        except StoreUnavailable as error:
            # Do not fail: the command is done, and its effect has an audit entry of its own.
            log.warning("client address of a command could not be recorded in the audit log", by=by, reason=str(error))

    async def execute(
        self, key: IdempotencyKey, digest: str, run_command: Callable[[], Awaitable[RecordedResponse]]
    ) -> RecordedResponse:
        """Execute a command and store its response, or return the response that is stored for its key.

        *digest*: the hash of the command. A rejected command may be sent again. A command that has begun, but has no
        response, is never executed again, because its outcome is unknown. Raise `IdempotencyKeyReusedError` and
        `OperationRejectedError`.
        """
        now = self._clock.now()
        try:
            earlier = await self._records.begin(key, digest, now, now - RETENTION)
        except TooManyRecordsError:
            raise OperationRejectedError(
                f"you have sent {MAX_STORED} commands with a key within a day; wait, or omit the key"
            ) from None
        if earlier is not None:
            if earlier.digest != digest:
                raise IdempotencyKeyReusedError
            if earlier.status is None or earlier.body is None:
                started_at = earlier.started_at.isoformat(timespec="seconds")
                raise OperationRejectedError(
                    f"this command started at {started_at}, and no response to it is stored: check whether it has "
                    "taken effect; if not, send it again with another key"
                )
            return RecordedResponse(status=earlier.status, body=earlier.body.encode())
        try:
            response = await run_command()
        except OperationRejectedError:
            await self._records.forget(key)
            raise
        try:
            await self._records.finish(key, response.status, response.body.decode())
        except StoreUnavailable as error:
            # Do not fail: the command is done, and its sender receives the response.
            log.warning("response to a command could not be stored", principal=key.principal, reason=str(error))
        return response
