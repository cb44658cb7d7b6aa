"""Processes and drills on both stores: who is there, and that a drill is begun and tried once whoever is there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from alerts.decide.drill import DrillNotification, DrillState, DrillTarget, drill_facts
from alerts.decide.gateway.receipt import ReceivedReceipt
from alerts.model.channel import Channel
from alerts.persistence.audit import BEGINNING
from monitor.store.backend.database import Database
from monitor.store.engine.drills import Drill, Drills
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.processes import Processes
from monitor.store.schema.tables import audit_log, drill_notification
from tests.real.postgres import Postgres
from tests.unit.alerts.people import MINUTE, OFFICE, SITI, T0, VOICE_SITI

CALL = DrillNotification(
    target=DrillTarget(agency="JCM", contact=SITI, office=OFFICE), address=VOICE_SITI, gateway="suara"
)
TOLD = drill_facts(OFFICE, Channel.VOICE, "LATIH-01", T0)


async def begun(drills: Drills, key: str = "scheduled/1") -> Drill | None:
    return await drills.begin(key, contact="all", requested_by="schedule", begins_at=T0, ends_at=T0 + 60 * MINUTE)


async def test_a_drill_is_begun_once_by_whoever_comes_first(database: Database) -> None:
    one, other = Drills(database), Drills(database)
    made = [each for each in await asyncio.gather(begun(one), begun(other)) if each is not None]
    assert [each.number for each in made] == ["LATIH-01"]
    assert await begun(one) is None
    assert [each.id for each in await other.under_way()] == [made[0].id]
    await one.end(made[0], T0)
    assert await other.under_way() == []
    assert await one.last_ended() == T0


async def test_an_exercise_is_written_once_and_what_is_known_better_stays(database: Database) -> None:
    drills = Drills(database)
    drill = await begun(drills)
    assert drill is not None
    both = await asyncio.gather(*(drills.write(drill, CALL, TOLD, DrillState.CALLING, T0) for _ in range(2)))
    (record,) = [each for each in both if each is not None]
    assert record.reference.startswith("d")
    assert record.number not in repr(record)

    async def heard(state: DrillState, minutes: int) -> DrillState:
        changed = await drills.change(record.reference, state, T0 + minutes * MINUTE, provider_id="CA1")
        assert changed is not None
        return changed.state

    assert await heard(DrillState.DELIVERED, 1) is DrillState.DELIVERED
    assert await heard(DrillState.FAILED, 2) is DrillState.DELIVERED
    assert await heard(DrillState.CONFIRMED, 3) is DrillState.CONFIRMED
    assert await heard(DrillState.CONFIRMED, 4) is DrillState.CONFIRMED
    assert await drills.confirmed() == {("JCM", "siti"): T0 + 3 * MINUTE}
    async with SqlStore(database).transaction() as uow:
        # The key was pressed later: it arrived when it was first heard of.
        answered = {"suara": [ReceivedReceipt(accepted_at=T0, received_at=T0 + MINUTE)]}
        assert await uow.latest_receipts(["suara"], 20) == answered
    assert await drills.change("d99-1-0", DrillState.FAILED, T0) is None
    async with database.read() as connection:
        events = list((await connection.execute(select(audit_log.c.event).order_by(audit_log.c.id))).scalars())
        chained = (await connection.execute(select(func.count()).select_from(audit_log))).scalar_one()
    assert events == ["drill begun", "exercise begun", "exercise delivered", "exercise confirmed"]
    assert chained == len(events)


async def test_what_is_known_better_stays_also_when_two_are_told_at_once(database: Database) -> None:
    drills = Drills(database)
    drill = await begun(drills)
    assert drill is not None
    record = await drills.write(drill, CALL, TOLD, DrillState.CALLING, T0)
    assert record is not None

    async with database.write() as connection:
        await connection.execute(update(drill_notification).values(state=DrillState.CONFIRMED))
        delivered = asyncio.create_task(drills.change(record.reference, DrillState.DELIVERED, T0))
        await asyncio.wait({delivered}, timeout=0.5)
        assert not delivered.done()
    after = await delivered
    assert after is not None
    assert after.state is DrillState.CONFIRMED


async def test_a_journal_that_takes_nothing_is_not_taken_for_another_who_was_first(database: Database) -> None:
    async with database.write() as connection:
        words = dict.fromkeys(("actor", "event", "content", "hash"), "x")
        await connection.execute(insert(audit_log).values(id=9, at=T0, detail={}, previous=BEGINNING, **words))
    with pytest.raises(IntegrityError):
        await begun(Drills(database))


async def test_continuity_of_a_site_is_that_of_its_newest_process(database: Database) -> None:
    processes = Processes(database, "a")
    assert await processes.continuity() == (None, None)
    await processes.beat(T0, T0)
    assert await processes.continuity() == (T0, None)
    processes.continuous_since = T0
    await processes.beat(T0, T0 + MINUTE)
    assert await processes.continuity() == (T0 + MINUTE, T0)
    if database.is_shared:
        other = Processes(database, "b")
        other.continuous_since = T0 + MINUTE
        await other.beat(T0, T0)
        assert await processes.continuity() == (T0 + MINUTE, T0 + MINUTE)
        await processes.refresh_heartbeat(T0 + 2 * MINUTE)
        assert await other.continuity() == (T0 + 2 * MINUTE, T0 + MINUTE)


@pytest.mark.real
async def test_processes_on_one_postgresql_see_each_other_and_who_has_ended(postgres: Postgres, tmp_path: Path) -> None:
    server = postgres.store()
    async with Database.open(tmp_path, server, name="a") as one, Database.open(tmp_path, server, name="b") as other:
        first, second = Processes(one, "a"), Processes(other, "b")
        assert await first.beat(T0, T0) == []
        (seen,) = await second.beat(T0, T0 + MINUTE)
        assert (seen.name, seen.heartbeat_at, seen.stopped_at, seen.documents) == ("a", T0, None, None)
        # By which documents it goes is told between two beats, and stays.
        assert await first.record_documents_level(5_000_000_000)
        await first.beat(T0, T0)
        assert [each.documents for each in await second.beat(T0, T0 + MINUTE)] == [5_000_000_000]
        assert not await Processes(one, "c").record_documents_level(1)
        # So is of which agencies it has documents: what they are is read when it is another than before.
        assert await first.record_agencies({"MDC": 1, "JCM": 2})
        assert not await Processes(one, "c").record_agencies(["JCM"])
        (seen,) = await second.beat(T0, T0 + MINUTE)
        assert seen.agencies_digest is not None
        assert await second.known(["a", "b"]) == {seen.agencies_digest: {"JCM", "MDC"}}
        await first.record_agencies(["MDC", "JCM"])
        assert await second.others() == [seen], "the same in another order"
        await second.stop(T0 + 2 * MINUTE)
        (gone,) = await first.beat(T0, T0 + 3 * MINUTE)
        assert (gone.name, gone.heartbeat_at, gone.stopped_at) == ("b", T0 + MINUTE, T0 + 2 * MINUTE)
        # A sign of life is no pulse, and says that who has ended runs again.
        (alive,) = await second.refresh_heartbeat(T0 + 4 * MINUTE)
        assert (alive.name, alive.heartbeat_at) == ("a", T0 + 3 * MINUTE)
        assert await second.others() == [alive]
        (back,) = await first.others()
        assert (back.heartbeat_at, back.stopped_at, back.started_at) == (T0 + 4 * MINUTE, None, T0)
        await second.stop(T0 + 5 * MINUTE)
        # It comes back under the same name.
        await second.beat(T0 + timedelta(hours=1), T0 + timedelta(hours=1))
        (back,) = await first.beat(T0, T0 + timedelta(hours=1))
        assert back.stopped_at is None
