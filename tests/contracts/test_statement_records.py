"""What a monthly statement asks of the store: whatever was open in the month, and its drills."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from alerts.decide.drill import DrillNotification, DrillState, DrillTarget
from alerts.decide.escalation import build_facts
from alerts.engine.event_handler import handle_event
from alerts.model.event import Resolve
from alerts.model.notification import Plan, Purpose
from monitor.store.backend.database import Database
from monitor.store.engine.drills import Drills
from monitor.store.engine.ledger import SqlStore
from tests.unit.alerts.people import MINUTE, OFFICE, SITI, SMS_SITI, T0, incident, trigger

DAY = timedelta(days=1)
BEGIN, END = T0, T0 + 30 * DAY


async def test_incidents_of_a_month_are_those_that_were_open_in_it(store: SqlStore) -> None:
    async def lived(key: str, begins: timedelta, ends: timedelta | None) -> int:
        async with store.transaction() as uow:
            opened = await handle_event(uow, replace(trigger(), dedup_key=key, at=T0 + begins, began_at=T0 + begins))
            assert opened is not None
            if ends is not None:
                await handle_event(uow, Resolve(dedup_key=key, at=T0 + ends, ended_at=T0 + ends))
            return opened.id

    await lived("JCM", -9 * DAY, -8 * DAY)
    into = await lived("JCM", -2 * DAY, 1 * DAY)
    inside = await lived("JCM", 5 * DAY, 6 * DAY)
    await lived("MDC", 5 * DAY, 6 * DAY)
    out_of = await lived("JCM", 29 * DAY, 31 * DAY)
    await lived("JCM", 32 * DAY, None)
    async with store.reading() as uow:
        assert await uow.listing.open_during("JCM", BEGIN, END) == [into, inside, out_of]


async def test_exercises_of_a_month_are_those_that_were_begun_in_it(database: Database) -> None:
    drills = Drills(database)
    target = DrillTarget(agency="JCM", contact=SITI, office=OFFICE)
    told = build_facts(incident(), Plan.ESCALATION, Purpose.OUTAGE, T0)
    for number, begun_at in enumerate((BEGIN - MINUTE, BEGIN, END - MINUTE, END)):
        key = f"k{number}"
        begun = await drills.begin(key, contact="all", requested_by="x", begins_at=begun_at, ends_at=begun_at + DAY)
        assert begun is not None
        exercise = DrillNotification(target=target, address=SMS_SITI, gateway="sms")
        await drills.write(begun, exercise, told, DrillState.CALLING, begun_at)
    assert [each.started_at for each in await drills.during("JCM", BEGIN, END)] == [BEGIN, END - MINUTE]
    assert await drills.during("MDC", BEGIN, END) == []
