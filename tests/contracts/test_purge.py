"""Purges on both stores: which records are deleted, and which stay."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from alerts.model.event import Resolve
from alerts.model.incident import Incident, apply
from alerts.persistence.store import AuditEntry, UnitOfWork
from monitor.store.admin import purge
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.schema.tables import incident, notification, notification_incident
from tests.contracts.test_bundle_store import add_bundle, open_incidents
from tests.contracts.test_store import draft
from tests.unit.alerts.people import MINUTE, T0

LATER = T0 + MINUTE
ENTRY = AuditEntry(at=LATER, actor="Puan Arkib Contoh", event="", detail={"authority": "ANM.600-1/7/3 (12)"})


async def end(uow: UnitOfWork, *incidents: Incident) -> None:
    for each in incidents:
        await uow.save_incident(apply(each, Resolve(dedup_key=each.dedup_key, at=T0, ended_at=T0)))
        await uow.deactivate_incident(each.id)


async def search_purge_set(database: Database, limit: int | None = None) -> purge.PurgeSet:
    async with database.read() as connection:
        search = purge.Search(LATER)
        parts = [await search.search_next(connection, limit or 100)]
        while limit is None and not search.is_over:
            parts.append(await search.search_next(connection))
    return purge.PurgeSet(
        incidents=[i for part in parts for i in part.incidents],
        notification_ids=[n for part in parts for n in part.notification_ids],
        entry_ids=[e for part in parts for e in part.entry_ids],
    )


def ids(purge_set: purge.PurgeSet) -> list[int]:
    return [id_ for id_, _ in purge_set.incidents]


async def test_purge_keeps_incident_sharing_notification_with_kept_one(database: Database) -> None:
    async with SqlStore(database).transaction() as uow:
        _, (first, second) = await add_bundle(uow, "a", "b")
        (third,) = await open_incidents(uow, "c")
        await end(uow, first, third)
    assert ids(await search_purge_set(database)) == [third.id]

    async with SqlStore(database).transaction() as uow:
        await end(uow, second)
    purge_set = await search_purge_set(database)
    assert (ids(purge_set), len(purge_set.notification_ids)) == ([first.id, second.id, third.id], 1)
    async with database.write() as connection:
        await purge.delete_records(connection, purge_set, ENTRY)
    async with database.read() as connection:
        left = [
            (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (incident, notification, notification_incident)
        ]
    assert left == [0, 0, 0]


async def test_search_next_limits_count_and_keeps_bundles_together(database: Database) -> None:
    async with SqlStore(database).transaction() as uow:
        _, pair = await add_bundle(uow, "a", "b")
        single, other = await open_incidents(uow, "c", "d")
        await end(uow, *pair, single, other)
        for number in range(5):
            await uow.add_audit_entry(AuditEntry(at=T0, actor="x", event=f"{number}"))

    assert ids(await search_purge_set(database, 1)) == [each.id for each in pair]
    assert ids(await search_purge_set(database, 3)) == [*(each.id for each in pair), single.id]
    search = purge.Search(LATER)
    taken = []
    while not search.is_over:
        async with database.read() as connection:
            taken.append(len((await search.search_next(connection, 4)).entry_ids))
    assert taken == [0, 4, 1]


@pytest.mark.blind
async def test_purge_search_reads_each_record_once(database: Database) -> None:
    """Defect: The dry run of a purge does not end at 100,000 incidents, and each batch reads all of them again.

    Pantau: A purge reads old incidents once, in parts.
    """
    async with SqlStore(database).transaction() as uow:
        bundles = [(await add_bundle(uow, *(f"{n}/{m}" for m in range(3))))[1] for n in range(10)]
        singles = await open_incidents(uow, *(f"single {n}" for n in range(10)))
        # End one incident of each bundle in turn, so that different parts of the search meet the same bundle.
        await end(uow, *(each for row in zip(*bundles, strict=True) for each in row))
        await end(uow, *singles[:9])
        await uow.add_notification(singles[9], draft(singles[9], "open"), T0)
    search, taken, parts = purge.Search(LATER), [], 0
    while not search.is_over:
        async with database.read() as connection:
            taken += ids(await search.search_next(connection, 5))
        parts += 1
    assert sorted(taken) == sorted(each.id for each in (*(i for b in bundles for i in b), *singles[:9]))
    assert parts == 39 // 5 + 1
