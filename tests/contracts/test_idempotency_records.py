"""Idempotency records on both stores."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from monitor.store.admin.idempotency import IdempotencyKey, IdempotencyRecord, IdempotencyRecords, TooManyRecordsError
from monitor.store.backend.database import Database
from monitor.store.schema.tables import idempotency_record
from tests.unit.alerts.people import T0

DAY = timedelta(days=1)
KEY = IdempotencyKey(principal="token 1", key="k 1")


async def test_idempotency_record_begun_once_and_kept_until_expiry(database: Database) -> None:
    records = IdempotencyRecords(database, most=10)
    assert await records.begin(KEY, "d", T0, T0 - DAY) is None
    under_way = IdempotencyRecord(digest="d", started_at=T0, status=None, body=None)
    assert await records.begin(KEY, "e", T0, T0 - DAY) == under_way
    await records.finish(KEY, 201, '{"a": "ü"}')
    kept = IdempotencyRecord(digest="d", started_at=T0, status=201, body='{"a": "ü"}')
    assert await IdempotencyRecords(database, most=10).begin(KEY, "d", T0 + DAY, T0 - timedelta(seconds=1)) == kept
    assert await records.begin(KEY, "e", T0 + DAY, T0) is None
    await records.forget(KEY)
    assert await records.begin(KEY, "f", T0 + DAY, T0) is None


async def test_idempotency_key_is_per_principal_and_limited(database: Database) -> None:
    records = IdempotencyRecords(database, most=2)
    for key in ("a", "b"):
        assert await records.begin(IdempotencyKey(principal="token 1", key=key), "d", T0, T0 - DAY) is None
    with pytest.raises(TooManyRecordsError):
        await records.begin(IdempotencyKey(principal="token 1", key="c"), "d", T0, T0 - DAY)
    assert await records.begin(IdempotencyKey(principal="token 2", key="a"), "d", T0, T0 - DAY) is None
    # A known key is found although the limit is reached.
    assert await records.begin(IdempotencyKey(principal="token 1", key="a"), "d", T0, T0 - DAY) is not None
    # Expired records are deleted a day later.
    assert await records.begin(IdempotencyKey(principal="token 2", key="z"), "d", T0 + DAY, T0) is None
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(idempotency_record))).scalar_one() == 1
