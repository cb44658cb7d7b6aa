"""Stored responses to requests with an idempotency key, so that a repeated request gets the same response even after a restart."""

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
    """The key by which a principal repeats a request."""

    #: "token 3", "user 1".
    principal: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyRecord:
    """A request that began before."""

    #: Digest of the request.
    digest: str
    started_at: datetime
    #: `None`: the request is being executed, or its outcome is unknown.
    status: int | None
    body: str | None = field(repr=False)


class TooManyKeptError(Exception):
    """The principal has the maximum number of stored requests."""


class IdempotencyRecords:
    """Stores idempotency records. Raises `StoreUnavailable` when the database is unavailable."""

    def __init__(self, database: Database, *, most: int) -> None:
        """*most*: the maximum number of stored requests of one principal."""
        self._database = database
        self._most = most

    async def begin(
        self, order: IdempotencyKey, digest: str, now: datetime, since: datetime
    ) -> IdempotencyRecord | None:
        """Record that a request begins, and delete those before *since*; return the record if the request was begun before.

        Raise `TooManyKeptError`.
        """
        try:
            async with self._database.write() as connection:
                await connection.execute(delete(idempotency_record).where(idempotency_record.c.started_at <= since))
                stored_count = select(func.count()).where(idempotency_record.c.principal == order.principal)
                row = (await connection.execute(select(idempotency_record).where(_of(order)))).one_or_none()
                if row is None:
                    if (await connection.execute(stored_count)).scalar_one() >= self._most:
                        raise TooManyKeptError
                    values = {"principal": order.principal, "key": order.key, "digest": digest, "started_at": now}
                    await connection.execute(insert(idempotency_record).values(**values))
                    return None
        # Another process has begun the same request concurrently.
        except IntegrityError:
            return IdempotencyRecord(digest=digest, started_at=now, status=None, body=None)
        return from_row(IdempotencyRecord, row)

    async def finish(self, order: IdempotencyKey, status: int, body: str) -> None:
        """Store the response to a request."""
        await self._database.change(update(idempotency_record).where(_of(order)).values(status=status, body=body))

    async def forget(self, order: IdempotencyKey) -> None:
        """Delete the record of a request that was refused."""
        await self._database.change(delete(idempotency_record).where(_of(order)))


def _of(order: IdempotencyKey) -> ColumnElement[bool]:
    return and_(idempotency_record.c.principal == order.principal, idempotency_record.c.key == order.key)
