"""What a purge takes, and what stays, on every store."""

from __future__ import annotations

from sqlalchemy import func, select

from alerts.event import Resolve
from alerts.incident import Incident, apply
from alerts.store import Entry, Ledger
from monitor.store import purge
from monitor.store.database import Database
from monitor.store.ledger import SqlStore
from monitor.store.tables import incident, notice, notice_incident
from tests.contracts.test_bundle_store import bundled, opened
from tests.unit.alerts.people import MINUTE, T0

LATER = T0 + MINUTE
SAID = Entry(at=LATER, actor="Puan Arkib Contoh", event="", detail={"authority": "ANM.600-1/7/3 (12)"})


async def end(ledger: Ledger, *incidents: Incident) -> None:
    for each in incidents:
        await ledger.save_incident(apply(each, Resolve(dedup_key=each.dedup_key, at=T0, ended_at=T0)))
        await ledger.put_to_rest(each.id)


async def found(database: Database, limit: int | None = None) -> purge.Doomed:
    async with database.read() as connection:
        return await purge.find(connection, LATER, limit)


def ids(doomed: purge.Doomed) -> list[int]:
    return [id_ for id_, _ in doomed.incidents]


async def test_an_incident_stays_as_long_as_one_that_it_shares_a_notice_with(database: Database) -> None:
    async with SqlStore(database).transaction() as ledger:
        _, (first, second) = await bundled(ledger, "a", "b")
        (third,) = await opened(ledger, "c")
        await end(ledger, first, third)
    assert ids(await found(database)) == [third.id]

    async with SqlStore(database).transaction() as ledger:
        await end(ledger, second)
    doomed = await found(database)
    assert (ids(doomed), len(doomed.notices)) == ([first.id, second.id, third.id], 1)
    async with database.write() as connection:
        await purge.carry_out(connection, doomed, SAID)
    async with database.read() as connection:
        left = [
            (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (incident, notice, notice_incident)
        ]
    assert left == [0, 0, 0]


async def test_so_many_go_at_once_and_those_that_belong_together_are_not_parted(database: Database) -> None:
    async with SqlStore(database).transaction() as ledger:
        _, pair = await bundled(ledger, "a", "b")
        single, other = await opened(ledger, "c", "d")
        await end(ledger, *pair, single, other)
        for number in range(5):
            await ledger.journal(Entry(at=T0, actor="x", event=f"{number}"))

    assert ids(await found(database, 1)) == [each.id for each in pair]
    assert ids(await found(database, 3)) == [*(each.id for each in pair), single.id]
    assert [len((await found(database, limit)).entries) for limit in (3, None)] == [3, 5]
