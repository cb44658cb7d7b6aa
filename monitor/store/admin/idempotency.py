"""Stored responses to requests with an idempotency key. A repeated request gets the stored response."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from monitor.store.backend.database import Database
from monitor.store.schema.rows import from_row
from monitor.store.schema.tables import idempotency_record


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """The key with which a principal marks a request, and all its repetitions."""

    #: Kind and id of the client: "token 3", "user 1".
    principal: str
    #: Value of the request's `Idempotency-Key` header.
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyRecord:
    """A request that was received before, with its response."""

    #: Digest of the request, by which the caller notices that a key is reused for another request.
    digest: str
    started_at: datetime
    #: HTTP status of the response; `None`: the request is being executed, or its outcome is unknown.
    status: int | None
    #: Body of the response; `None` if the status is `None`.
    body: str | None = field(repr=False)


class TooManyRecordsError(Exception):
    """The principal has the maximum number of stored requests."""


class IdempotencyRecords:
    """Reads and writes idempotency records. Raises `StoreUnavailable` when the database is unavailable."""

    def __init__(self, database: Database, *, most: int) -> None:
        """*most*: the maximum number of stored requests of one principal."""
        self._database = database
        self._most = most

    async def begin(
        self, request: IdempotencyKey, digest: str, now: datetime, since: datetime
    ) -> IdempotencyRecord | None:
        """Record that a request starts. Return its record if it was received before, otherwise `None`.

        Delete all records of requests that started at *since* or earlier. Raise `TooManyRecordsError`.
        """
        try:
            async with self._database.write() as connection:
                await connection.execute(delete(idempotency_record).where(idempotency_record.c.started_at <= since))
                stored_count = select(func.count()).where(idempotency_record.c.principal == request.principal)
                row = (await connection.execute(select(idempotency_record).where(_of(request)))).one_or_none()
                if row is None:
                    if (await connection.execute(stored_count)).scalar_one() >= self._most:
                        raise TooManyRecordsError
                    values = {"principal": request.principal, "key": request.key, "digest": digest, "started_at": now}
                    await connection.execute(insert(idempotency_record).values(**values))
                    return None
        except IntegrityError:
            # Another process has inserted the same request concurrently.
            return IdempotencyRecord(digest=digest, started_at=now, status=None, body=None)
        return from_row(IdempotencyRecord, row)

    async def finish(self, request: IdempotencyKey, status: int, body: str) -> None:
        """Store the response to a request."""
        await self._database.change(update(idempotency_record).where(_of(request)).values(status=status, body=body))

    async def forget(self, request: IdempotencyKey) -> None:
        """Delete the record of a request that was refused."""
        await self._database.change(delete(idempotency_record).where(_of(request)))


def _of(request: IdempotencyKey) -> ColumnElement[bool]:
    return and_(idempotency_record.c.principal == request.principal, idempotency_record.c.key == request.key)
