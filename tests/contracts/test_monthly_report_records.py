"""Queries of the monthly report: incidents that were open in the month, and its drills."""

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
from monitor.store.engine.unit_of_work import SqlStore
from tests.unit.alerts.people import MINUTE, OFFICE, SITI, SMS_SITI, T0, incident, trigger

DAY = timedelta(days=1)
BEGIN, END = T0, T0 + 30 * DAY


async def test_open_during_returns_incidents_open_in_month(store: SqlStore) -> None:
    async def add_incident(key: str, begins: timedelta, ends: timedelta | None) -> int:
        async with store.transaction() as uow:
            opened = await handle_event(uow, replace(trigger(), dedup_key=key, at=T0 + begins, began_at=T0 + begins))
            assert opened is not None
            if ends is not None:
                await handle_event(uow, Resolve(dedup_key=key, at=T0 + ends, ended_at=T0 + ends))
            return opened.id

    await add_incident("JCM", -9 * DAY, -8 * DAY)
    from_before = await add_incident("JCM", -2 * DAY, 1 * DAY)
    inside = await add_incident("JCM", 5 * DAY, 6 * DAY)
    await add_incident("MDC", 5 * DAY, 6 * DAY)
    until_after = await add_incident("JCM", 29 * DAY, 31 * DAY)
    await add_incident("JCM", 32 * DAY, None)
    async with store.reading() as uow:
        assert await uow.listing.open_during("JCM", BEGIN, END) == [from_before, inside, until_after]


async def test_drills_during_returns_notifications_begun_in_month(database: Database) -> None:
    drills = Drills(database)
    target = DrillTarget(agency="JCM", contact=SITI, office=OFFICE)
    facts = build_facts(incident(), Plan.ESCALATION, Purpose.OUTAGE, T0)
    for number, begun_at in enumerate((BEGIN - MINUTE, BEGIN, END - MINUTE, END)):
        key = f"k{number}"
        begun = await drills.begin(key, contact="all", requested_by="x", starts_at=begun_at, ends_at=begun_at + DAY)
        assert begun is not None
        drill_notification = DrillNotification(target=target, address=SMS_SITI, gateway="sms")
        await drills.write(begun, drill_notification, facts, DrillState.CALLING, begun_at)
    assert [each.started_at for each in await drills.during("JCM", BEGIN, END)] == [BEGIN, END - MINUTE]
    assert await drills.during("MDC", BEGIN, END) == []
