"""Drills and process heartbeats on both stores."""

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
from alerts.persistence.audit import INITIAL_HASH
from monitor.store.backend.database import Database
from monitor.store.engine.drills import Drill, Drills
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.processes import Processes
from monitor.store.schema.tables import audit_log, drill_notification
from tests.real.postgres import Postgres
from tests.unit.alerts.people import MINUTE, OFFICE, SITI, T0, VOICE_SITI

CALL = DrillNotification(
    target=DrillTarget(agency="JCM", contact=SITI, office=OFFICE), address=VOICE_SITI, gateway="suara"
)
FACTS = drill_facts(OFFICE, Channel.VOICE, "LATIH-01", T0)


async def begin_drill(drills: Drills, key: str = "scheduled/1") -> Drill | None:
    return await drills.begin(key, contact="all", requested_by="schedule", starts_at=T0, ends_at=T0 + 60 * MINUTE)


async def test_drill_concurrent_begin_starts_one(database: Database) -> None:
    one, other = Drills(database), Drills(database)
    made = [each for each in await asyncio.gather(begin_drill(one), begin_drill(other)) if each is not None]
    assert [each.number for each in made] == ["LATIH-01"]
    assert await begin_drill(one) is None
    assert [each.id for each in await other.under_way()] == [made[0].id]
    await one.end(made[0], T0)
    assert await other.under_way() == []
    assert await one.last_ended() == T0


async def test_drill_notification_written_once_and_better_state_is_kept(database: Database) -> None:
    drills = Drills(database)
    drill = await begin_drill(drills)
    assert drill is not None
    both = await asyncio.gather(*(drills.write(drill, CALL, FACTS, DrillState.CALLING, T0) for _ in range(2)))
    (record,) = [each for each in both if each is not None]
    assert record.reference.startswith("d")
    assert record.number not in repr(record)

    async def record_state(state: DrillState, minutes: int) -> DrillState:
        changed = await drills.change(record.reference, state, T0 + minutes * MINUTE, provider_id="CA1")
        assert changed is not None
        return changed.state

    assert await record_state(DrillState.DELIVERED, 1) is DrillState.DELIVERED
    assert await record_state(DrillState.FAILED, 2) is DrillState.DELIVERED
    assert await record_state(DrillState.CONFIRMED, 3) is DrillState.CONFIRMED
    assert await record_state(DrillState.CONFIRMED, 4) is DrillState.CONFIRMED
    assert await drills.confirmed() == {("JCM", "siti"): T0 + 3 * MINUTE}
    async with SqlStore(database).transaction() as uow:
        # The receipt is the first report of delivery, not the later confirmation.
        answered = {"suara": [ReceivedReceipt(accepted_at=T0, received_at=T0 + MINUTE)]}
        assert await uow.latest_receipts(["suara"], 20) == answered
    assert await drills.change("d99-1-0", DrillState.FAILED, T0) is None
    async with database.read() as connection:
        events = list((await connection.execute(select(audit_log.c.event).order_by(audit_log.c.id))).scalars())
        chained = (await connection.execute(select(func.count()).select_from(audit_log))).scalar_one()
    assert events == ["drill begun", "exercise begun", "exercise delivered", "exercise confirmed"]
    assert chained == len(events)


async def test_concurrent_state_changes_keep_better_state(database: Database) -> None:
    drills = Drills(database)
    drill = await begin_drill(drills)
    assert drill is not None
    record = await drills.write(drill, CALL, FACTS, DrillState.CALLING, T0)
    assert record is not None

    async with database.write() as connection:
        await connection.execute(update(drill_notification).values(state=DrillState.CONFIRMED))
        delivered = asyncio.create_task(drills.change(record.reference, DrillState.DELIVERED, T0))
        await asyncio.wait({delivered}, timeout=0.5)
        assert not delivered.done()
    after = await delivered
    assert after is not None
    assert after.state is DrillState.CONFIRMED


async def test_audit_log_failure_is_not_taken_for_earlier_drill(database: Database) -> None:
    async with database.write() as connection:
        words = dict.fromkeys(("actor", "event", "content", "hash"), "x")
        await connection.execute(insert(audit_log).values(id=9, at=T0, detail={}, previous=INITIAL_HASH, **words))
    with pytest.raises(IntegrityError):
        await begin_drill(Drills(database))


async def test_continuity_is_that_of_newest_process_of_site(database: Database) -> None:
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
async def test_processes_on_postgresql_see_each_other_and_stopped_ones(postgres: Postgres, tmp_path: Path) -> None:
    server = postgres.store()
    async with Database.open(tmp_path, server, name="a") as one, Database.open(tmp_path, server, name="b") as other:
        first, second = Processes(one, "a"), Processes(other, "b")
        assert await first.beat(T0, T0) == []
        (seen,) = await second.beat(T0, T0 + MINUTE)
        assert (seen.name, seen.heartbeat_at, seen.stopped_at, seen.documents) == ("a", T0, None, None)
        # The documents revision is stored between two heartbeats and is kept.
        assert await first.record_documents_revision(5_000_000_000)
        await first.beat(T0, T0)
        assert [each.documents for each in await second.beat(T0, T0 + MINUTE)] == [5_000_000_000]
        assert not await Processes(one, "c").record_documents_revision(1)
        # So are the agencies with documents; they are read when their digest has changed.
        assert await first.record_agencies({"MDC": 1, "JCM": 2})
        assert not await Processes(one, "c").record_agencies(["JCM"])
        (seen,) = await second.beat(T0, T0 + MINUTE)
        assert seen.agencies_digest is not None
        assert await second.agencies_by_digest(["a", "b"]) == {seen.agencies_digest: {"JCM", "MDC"}}
        await first.record_agencies(["MDC", "JCM"])
        assert await second.others() == [seen], "the same agencies in another order"
        await second.stop(T0 + 2 * MINUTE)
        (gone,) = await first.beat(T0, T0 + 3 * MINUTE)
        assert (gone.name, gone.heartbeat_at, gone.stopped_at) == ("b", T0 + MINUTE, T0 + 2 * MINUTE)
        # refresh_heartbeat clears the stop of a process that runs again.
        (alive,) = await second.refresh_heartbeat(T0 + 4 * MINUTE)
        assert (alive.name, alive.heartbeat_at) == ("a", T0 + 3 * MINUTE)
        assert await second.others() == [alive]
        (back,) = await first.others()
        assert (back.heartbeat_at, back.stopped_at, back.started_at) == (T0 + 4 * MINUTE, None, T0)
        await second.stop(T0 + 5 * MINUTE)
        # It starts again under the same name.
        await second.beat(T0 + timedelta(hours=1), T0 + timedelta(hours=1))
        (back,) = await first.beat(T0, T0 + timedelta(hours=1))
        assert back.stopped_at is None
