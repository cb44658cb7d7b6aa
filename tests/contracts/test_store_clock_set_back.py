"""Correction of stored times in the future after the clock was set back, on both stores."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from alerts.decide.escalation import build_facts
from alerts.model.delivery import Attempt, AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.event import Acknowledge, Close, Release
from alerts.model.incident import Incident, IncidentState, apply, is_suppressed
from alerts.model.notification import Language, Plan, Purpose
from alerts.persistence.store import AuditEntry, UnitOfWork
from monitor.store.backend.database import Database
from monitor.store.engine.drills import Drills
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.schema.tables import audit_log
from tests.unit.alerts.people import MINUTE, SECOND, SMS_SITI, SNAPSHOT, T0, trigger

pytestmark = pytest.mark.blind

BACK = timedelta(hours=8)
NOW = T0 - BACK


def draft(of: Incident, at: datetime, key_suffix: str = "k") -> NotificationDraft:
    return NotificationDraft(
        incident_id=of.id,
        key_suffix=key_suffix,
        person="siti",
        language=Language.MALAY,
        facts=build_facts(of, Plan.ESCALATION, Purpose.OUTAGE, at),
        expires_at=at + 30 * MINUTE,
        addresses=(SMS_SITI,),
    )


async def add_notified_incident(uow: UnitOfWork, at: datetime, key: str = "JCM") -> tuple[Incident, Attempt]:
    """Open an incident at *at* with a notification that is accepted a minute later."""
    [opened] = await uow.add_incidents([trigger(at=at, snapshot=replace(SNAPSHOT, agency=key))])
    added = await uow.add_notification(opened, draft(opened, at + MINUTE), at + MINUTE)
    assert added is not None
    sent = await uow.add_delivery(added.id, SMS_SITI)
    attempt = await uow.add_attempt(sent, "sms", at + MINUTE, query_at=at + 2 * MINUTE)
    await uow.save_attempt(replace(attempt, state=AttemptState.ACCEPTED, ended_at=at + 90 * SECOND))
    return opened, attempt


async def add_audit_entry_at(uow: UnitOfWork, at: datetime) -> None:
    """Add an audit entry at *at*."""
    await uow.add_audit_entry(AuditEntry(at=at, actor="engine", event="incident opened"))


async def current(uow: UnitOfWork, incident_id: int) -> tuple[Incident, Notification, Attempt]:
    incident = await uow.incident(incident_id)
    (notice,) = await uow.notifications(incident_id)
    assert incident is not None
    return incident, notice, notice.attempts[-1]


def times(value: object) -> dict[str, datetime]:
    """Return the datetimes of a value, by field name."""
    found = {each.name: getattr(value, each.name) for each in fields(value)}  # type: ignore[arg-type]
    return {name: at for name, at in found.items() if isinstance(at, datetime)}


async def test_move_times_back_keeps_durations(store: SqlStore) -> None:
    """Defect: After a clock is set back, incidents and letters begin in the future.

    Pantau: Every time of an incident, its notifications and attempts moves back by one span.
    """
    async with store.transaction() as uow:
        opened, _ = await add_notified_incident(uow, T0 - 20 * MINUTE)
        taken = apply(opened, Acknowledge(incident_id=opened.id, at=T0 - 9 * MINUTE, by="Siti Contoh"))
        taken = apply(taken, Release(incident_id=opened.id, at=T0 - 8 * MINUTE, by="Siti Contoh"))
        await uow.save_incident(taken)
        await add_audit_entry_at(uow, T0)
    async with store.transaction() as uow:
        before = await current(uow, opened.id)
        assert await uow.move_times_back(NOW) == BACK
    async with store.transaction() as uow:
        after = await current(uow, opened.id)
    for was, becomes in zip(before, after, strict=True):
        # The attempt is due for a query at once.
        moved = {name: NOW if name == "query_at" else at - BACK for name, at in times(was).items()}
        assert times(becomes) == moved
    incident = after[0]
    assert (incident.position.since, incident.began_at) == (T0 - 20 * MINUTE - BACK, T0 - 21 * MINUTE - BACK)
    assert incident.acknowledged_until == T0 - 8 * MINUTE - BACK + incident.policy.escalation.acknowledgement_timeout


async def test_move_times_back_after_last_entry_uses_latest_time_seen(store: SqlStore) -> None:
    """Defect: The span to move back is too short when the last audit entry is old.

    Pantau: The latest time that the engine has seen decides.
    """
    async with store.transaction() as uow:
        opened, _ = await add_notified_incident(uow, T0 - 20 * MINUTE)
        await add_audit_entry_at(uow, T0 - 19 * MINUTE)
    async with store.transaction() as uow:
        assert await uow.move_times_back(NOW, T0) == BACK
        incident, _, _ = await current(uow, opened.id)
    assert incident.opened_at == NOW - 20 * MINUTE


async def test_move_times_back_leaves_times_before_wrong_clock(store: SqlStore) -> None:
    """Defect: After a clock is set back, a silence of an hour ends nine hours later.

    Pantau: The silence moves too; what was written before the wrong time stays.
    """
    before_wrong_clock = NOW - 10 * MINUTE
    async with store.transaction() as uow:
        opened, _ = await add_notified_incident(uow, before_wrong_clock)
        later_incident, _ = await add_notified_incident(uow, T0 - 2 * MINUTE, "MDC")
        await uow.silences(NOW)
        await uow.add_silence("MDC", T0 - MINUTE, T0 + 59 * MINUTE, "baiki", "Siti Contoh")
        await add_audit_entry_at(uow, T0)
    async with store.transaction() as uow:
        before = await current(uow, opened.id)
        await uow.move_times_back(NOW)
        assert await current(uow, opened.id) == before
        assert before[1].expires_at > NOW
        assert (await current(uow, later_incident.id))[0].opened_at == T0 - 2 * MINUTE - BACK
        (silence,) = await uow.silences(NOW)
    assert (silence.starts_at, silence.ends_at) == (NOW - MINUTE, NOW + 59 * MINUTE)


async def test_move_times_back_manual_closure_does_not_suppress_later_outage(store: SqlStore) -> None:
    """Defect: A closing "in the future" suppresses a new outage for eight hours.

    Pantau: The time of the closing moves back.
    """
    close = Close(incident_id=1, at=T0 - MINUTE, by="Ravi Contoh", reason="probe silap", recovered=False)
    async with store.transaction() as uow:
        opened, _ = await add_notified_incident(uow, T0 - 20 * MINUTE)
        closed = apply(opened, replace(close, incident_id=opened.id))
        await uow.save_incident(closed)
        await uow.deactivate_incident(opened.id)
        await add_audit_entry_at(uow, T0)
    again = trigger(at=NOW + 40 * MINUTE)
    assert closed.state is IncidentState.RESOLVED
    async with store.transaction() as uow:
        await uow.move_times_back(NOW)
        after = await uow.incident(opened.id)
    assert after is not None
    assert is_suppressed(after, replace(again, began_at=NOW - 20 * MINUTE))
    assert not is_suppressed(after, again)


async def test_move_times_back_without_future_times_changes_nothing(store: SqlStore, database: Database) -> None:
    """Defect: A clock that was always right has its store changed.

    Pantau: Where no time lies ahead, nothing is changed or written.
    """
    async with store.transaction() as uow:
        opened, _ = await add_notified_incident(uow, T0)
        await add_audit_entry_at(uow, T0 + 2 * MINUTE)
        before = await current(uow, opened.id)
        # The clocks of two engines differ.
        for now in (T0 + MINUTE, T0 + 9 * MINUTE):
            assert await uow.move_times_back(now) == timedelta(0)
        assert await current(uow, opened.id) == before
    assert len(await database.rows(select(audit_log.c.id))) == 1


async def test_move_times_back_far_queries_and_leases_are_due_without_entry(store: SqlStore) -> None:
    """Defect: After a clock is set back, a gateway is not asked for eight hours about a letter.

    Pantau: A question or lease further ahead than any wait is due.
    """
    async with store.transaction() as uow:
        opened, attempt = await add_notified_incident(uow, NOW - 60 * MINUTE)
        await uow.save_attempt(replace(attempt, state=AttemptState.ACCEPTED, query_at=T0))
        assert await uow.claim_incident(opened.id, "mati", T0, 30 * SECOND)
        await add_audit_entry_at(uow, NOW - 60 * MINUTE)
    async with store.transaction() as uow:
        assert await uow.move_times_back(NOW) == timedelta(0)
        assert (await current(uow, opened.id))[2].query_at == NOW
        assert await uow.claim_incident(opened.id, "hidup", NOW, 30 * SECOND)


async def test_move_times_back_future_notification_is_decided_again(store: SqlStore) -> None:
    """Defect: After a clock is set back, whoever comes on duty is notified at the wrong hour only.

    Pantau: The notification of a future moment is decided again when it comes.
    """
    async with store.transaction() as uow:
        opened, _ = await add_notified_incident(uow, T0 - 20 * MINUTE)
        handover, past = T0 - MINUTE, NOW - 5 * MINUTE
        keys = [draft(opened, T0, at.isoformat(timespec="seconds")).key for at in (handover, past)]
        for key_suffix in (handover, past):
            await uow.add_notification(opened, draft(opened, T0, key_suffix.isoformat(timespec="seconds")), T0)
        await add_audit_entry_at(uow, T0)
    async with store.transaction() as uow:
        assert [await uow.is_notification_decided(key) for key in keys] == [True, True]
        await uow.move_times_back(NOW)
        assert [await uow.is_notification_decided(key) for key in keys] == [False, True]
        moved = draft(opened, T0, (handover - BACK).isoformat(timespec="seconds")).key
        assert await uow.is_notification_decided(moved)
        found = {notice.key for notice in await uow.notifications(opened.id)}
    assert {moved, keys[1]} <= found


async def test_move_times_back_throttled_notification_may_be_sent_now(store: SqlStore) -> None:
    """Defect: After a clock is set back, a throttled notification waits for eight hours.

    Pantau: It is sent or throttled anew.
    """
    async with store.transaction() as uow:
        opened, _ = await add_notified_incident(uow, NOW - MINUTE)
        added = await uow.add_notification(opened, draft(opened, NOW, "held"), NOW)
        assert added is not None
        await uow.throttle(added.id, T0)
        await add_audit_entry_at(uow, T0 - MINUTE)
    async with store.transaction() as uow:
        await uow.move_times_back(NOW)
        held = await uow.notification(added.id)
    assert (held.state, held.not_before) == (NotificationState.PENDING, NOW)


async def test_move_times_back_drill_keeps_duration(store: SqlStore, database: Database) -> None:
    """Defect: After a clock is set back, a drill lasts nine hours.

    Pantau: It ends after its own duration.
    """
    drills = Drills(database)
    await drills.begin("asked/1", contact="all", requested_by="Siti Contoh", starts_at=T0, ends_at=T0 + 60 * MINUTE)
    async with store.transaction() as uow:
        await add_audit_entry_at(uow, T0)
    async with store.transaction() as uow:
        await uow.move_times_back(NOW)
    (drill,) = await drills.under_way()
    assert (drill.starts_at, drill.ends_at) == (NOW, NOW + 60 * MINUTE)
