"""What a purge takes, and what stays, on every store."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from alerts.model.event import Resolve
from alerts.model.incident import Incident, apply
from alerts.persistence.store import AuditEntry, UnitOfWork
from monitor.store.admin import purge
from monitor.store.backend.database import Database
from monitor.store.engine.ledger import SqlStore
from monitor.store.schema.tables import incident, notification, notification_incident
from tests.contracts.test_bundle_store import bundled, opened
from tests.contracts.test_store import draft
from tests.unit.alerts.people import MINUTE, T0

LATER = T0 + MINUTE
SAID = AuditEntry(at=LATER, actor="Puan Arkib Contoh", event="", detail={"authority": "ANM.600-1/7/3 (12)"})


async def end(uow: UnitOfWork, *incidents: Incident) -> None:
    for each in incidents:
        await uow.save_incident(apply(each, Resolve(dedup_key=each.dedup_key, at=T0, ended_at=T0)))
        await uow.deactivate_incident(each.id)


async def found(database: Database, limit: int | None = None) -> purge.PurgeSet:
    async with database.read() as connection:
        search = purge.Search(LATER)
        parts = [await search.further(connection, limit or 100)]
        while limit is None and not search.is_over:
            parts.append(await search.further(connection))
    return purge.PurgeSet(
        incidents=[i for part in parts for i in part.incidents],
        notices=[n for part in parts for n in part.notices],
        entries=[e for part in parts for e in part.entries],
    )


def ids(purge_set: purge.PurgeSet) -> list[int]:
    return [id_ for id_, _ in purge_set.incidents]


async def test_an_incident_stays_as_long_as_one_that_it_shares_a_notice_with(database: Database) -> None:
    async with SqlStore(database).transaction() as uow:
        _, (first, second) = await bundled(uow, "a", "b")
        (third,) = await opened(uow, "c")
        await end(uow, first, third)
    assert ids(await found(database)) == [third.id]

    async with SqlStore(database).transaction() as uow:
        await end(uow, second)
    purge_set = await found(database)
    assert (ids(purge_set), len(purge_set.notices)) == ([first.id, second.id, third.id], 1)
    async with database.write() as connection:
        await purge.carry_out(connection, purge_set, SAID)
    async with database.read() as connection:
        left = [
            (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (incident, notification, notification_incident)
        ]
    assert left == [0, 0, 0]


async def test_so_many_go_at_once_and_those_that_belong_together_are_not_parted(database: Database) -> None:
    async with SqlStore(database).transaction() as uow:
        _, pair = await bundled(uow, "a", "b")
        single, other = await opened(uow, "c", "d")
        await end(uow, *pair, single, other)
        for number in range(5):
            await uow.add_audit_entry(AuditEntry(at=T0, actor="x", event=f"{number}"))

    assert ids(await found(database, 1)) == [each.id for each in pair]
    assert ids(await found(database, 3)) == [*(each.id for each in pair), single.id]
    search = purge.Search(LATER)
    taken = []
    while not search.is_over:
        async with database.read() as connection:
            taken.append(len((await search.further(connection, 4)).entries))
    assert taken == [0, 4, 1]


@pytest.mark.blind
async def test_a_purge_reads_nothing_twice_and_a_bundle_once_wherever_it_is_met(database: Database) -> None:
    """Defect: The dry run of a purge does not end at 100,000 incidents, and each batch reads all of them again.

    Pantau: A purge reads old incidents once, in parts.
    """
    async with SqlStore(database).transaction() as uow:
        bundles = [(await bundled(uow, *(f"{n}/{m}" for m in range(3))))[1] for n in range(10)]
        singles = await opened(uow, *(f"single {n}" for n in range(10)))
        # From each bundle one, in turn: it is met in one part of the search, and the rest of it in others.
        await end(uow, *(each for row in zip(*bundles, strict=True) for each in row))
        await end(uow, *singles[:9])
        await uow.add_notification(singles[9], draft(singles[9], "open"), T0)
    search, taken, parts = purge.Search(LATER), [], 0
    while not search.is_over:
        async with database.read() as connection:
            taken += ids(await search.further(connection, 5))
        parts += 1
    assert sorted(taken) == sorted(each.id for each in (*(i for b in bundles for i in b), *singles[:9]))
    assert parts == 39 // 5 + 1
