"""What every store promises about the answers to orders that bear a key."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from monitor.store.admin.idempotency import IdempotencyKey, IdempotencyRecord, IdempotencyRecords, TooManyKeptError
from monitor.store.backend.database import Database
from monitor.store.schema.tables import idempotency_record
from tests.unit.alerts.people import T0

DAY = timedelta(days=1)
ORDER = IdempotencyKey(principal="token 1", key="k 1")


async def test_an_order_is_begun_once_and_its_answer_stays_for_as_long_as_is_asked(database: Database) -> None:
    answers = IdempotencyRecords(database, most=10)
    assert await answers.begin(ORDER, "d", T0, T0 - DAY) is None
    under_way = IdempotencyRecord(digest="d", started_at=T0, status=None, body=None)
    assert await answers.begin(ORDER, "e", T0, T0 - DAY) == under_way
    await answers.finish(ORDER, 201, '{"a": "ü"}')
    kept = IdempotencyRecord(digest="d", started_at=T0, status=201, body='{"a": "ü"}')
    assert await IdempotencyRecords(database, most=10).begin(ORDER, "d", T0 + DAY, T0 - timedelta(seconds=1)) == kept
    assert await answers.begin(ORDER, "e", T0 + DAY, T0) is None
    await answers.forget(ORDER)
    assert await answers.begin(ORDER, "f", T0 + DAY, T0) is None


async def test_a_key_is_its_visitors_own_and_each_has_so_many(database: Database) -> None:
    answers = IdempotencyRecords(database, most=2)
    for key in ("a", "b"):
        assert await answers.begin(IdempotencyKey(principal="token 1", key=key), "d", T0, T0 - DAY) is None
    with pytest.raises(TooManyKeptError):
        await answers.begin(IdempotencyKey(principal="token 1", key="c"), "d", T0, T0 - DAY)
    assert await answers.begin(IdempotencyKey(principal="token 2", key="a"), "d", T0, T0 - DAY) is None
    # What was begun is found all the same.
    assert await answers.begin(IdempotencyKey(principal="token 1", key="a"), "d", T0, T0 - DAY) is not None
    # A day later there is room again, whoever comes.
    assert await answers.begin(IdempotencyKey(principal="token 2", key="z"), "d", T0 + DAY, T0) is None
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(idempotency_record))).scalar_one() == 1
