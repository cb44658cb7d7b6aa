"""What every store does with instants that lie ahead, because the clock was set back after they were written."""

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
from monitor.store.engine.ledger import SqlStore
from monitor.store.schema.tables import audit_log
from tests.unit.alerts.people import BRIEF, MINUTE, SECOND, SMS_SITI, T0, trigger

pytestmark = pytest.mark.blind

BACK = timedelta(hours=8)
NOW = T0 - BACK


def draft(of: Incident, at: datetime, once: str = "k") -> NotificationDraft:
    return NotificationDraft(
        incident_id=of.id,
        once=once,
        person="siti",
        language=Language.MALAY,
        facts=build_facts(of, Plan.ESCALATION, Purpose.OUTAGE, at),
        expires_at=at + 30 * MINUTE,
        addresses=(SMS_SITI,),
    )


async def told(uow: UnitOfWork, at: datetime, key: str = "JCM") -> tuple[Incident, Attempt]:
    """Open an incident at *at*, and have it told a minute later."""
    [opened] = await uow.add_incidents([trigger(at=at, brief=replace(BRIEF, agency=key))])
    added = await uow.add_notification(opened, draft(opened, at + MINUTE), at + MINUTE)
    assert added is not None
    sent = await uow.add_delivery(added.id, SMS_SITI)
    attempt = await uow.add_attempt(sent, "sms", at + MINUTE, query_at=at + 2 * MINUTE)
    await uow.save_attempt(replace(attempt, state=AttemptState.ACCEPTED, ended_at=at + 90 * SECOND))
    return opened, attempt


async def entered(uow: UnitOfWork, at: datetime) -> None:
    """Write something into the audit log."""
    await uow.add_audit_entry(AuditEntry(at=at, actor="engine", event="incident opened"))


async def stands(uow: UnitOfWork, incident_id: int) -> tuple[Incident, Notification, Attempt]:
    incident = await uow.incident(incident_id)
    (notice,) = await uow.notifications(incident_id)
    assert incident is not None
    return incident, notice, notice.attempts[-1]


def instants(value: object) -> dict[str, datetime]:
    """Return the instants of a value, by name."""
    found = {each.name: getattr(value, each.name) for each in fields(value)}  # type: ignore[arg-type]
    return {name: at for name, at in found.items() if isinstance(at, datetime)}


async def test_move_back_clock_set_back_keeps_how_long_everything_took(store: SqlStore) -> None:
    """Defect: After a clock is set back, incidents and letters begin in the future.

    Pantau: Every time of an incident, its notifications and attempts moves back by one span.
    """
    async with store.transaction() as uow:
        opened, _ = await told(uow, T0 - 20 * MINUTE)
        taken = apply(opened, Acknowledge(incident_id=opened.id, at=T0 - 9 * MINUTE, by="Siti Contoh"))
        taken = apply(taken, Release(incident_id=opened.id, at=T0 - 8 * MINUTE, by="Siti Contoh"))
        await uow.save_incident(taken)
        await entered(uow, T0)
    async with store.transaction() as uow:
        before = await stands(uow, opened.id)
        assert await uow.move_times_back(NOW) == BACK
    async with store.transaction() as uow:
        after = await stands(uow, opened.id)
    for was, becomes in zip(before, after, strict=True):
        # It is looked at again at once.
        moved = {name: NOW if name == "query_at" else at - BACK for name, at in instants(was).items()}
        assert instants(becomes) == moved
    incident = after[0]
    assert (incident.position.since, incident.began_at) == (T0 - 20 * MINUTE - BACK, T0 - 21 * MINUTE - BACK)
    assert incident.acknowledged_until == T0 - 8 * MINUTE - BACK + incident.policy.escalation.acknowledgement_timeout


async def test_move_back_after_last_entry_goes_by_latest_time_that_engine_has_seen(store: SqlStore) -> None:
    """Defect: The span to move back is too short when the last audit entry is old.

    Pantau: The latest time that the engine has seen decides.
    """
    async with store.transaction() as uow:
        opened, _ = await told(uow, T0 - 20 * MINUTE)
        await entered(uow, T0 - 19 * MINUTE)
    async with store.transaction() as uow:
        assert await uow.move_times_back(NOW, T0) == BACK
        incident, _, _ = await stands(uow, opened.id)
    assert incident.opened_at == NOW - 20 * MINUTE


async def test_move_back_leaves_what_was_written_before_the_clock_went_wrong(store: SqlStore) -> None:
    """Defect: After a clock is set back, a silence of an hour ends nine hours later.

    Pantau: The silence moves too; what was written before the wrong time stays.
    """
    right = NOW - 10 * MINUTE
    async with store.transaction() as uow:
        opened, _ = await told(uow, right)
        wrong, _ = await told(uow, T0 - 2 * MINUTE, "MDC")
        await uow.silences(NOW)
        await uow.add_silence("MDC", T0 - MINUTE, T0 + 59 * MINUTE, "baiki", "Siti Contoh")
        await entered(uow, T0)
    async with store.transaction() as uow:
        before = await stands(uow, opened.id)
        await uow.move_times_back(NOW)
        assert await stands(uow, opened.id) == before
        assert before[1].expires_at > NOW
        assert (await stands(uow, wrong.id))[0].opened_at == T0 - 2 * MINUTE - BACK
        (silence,) = await uow.silences(NOW)
    assert (silence.starts_at, silence.ends_at) == (NOW - MINUTE, NOW + 59 * MINUTE)


async def test_move_back_incident_closed_by_hand_does_not_hold_back_later_outage(store: SqlStore) -> None:
    """Defect: A closing "in the future" suppresses a new outage for eight hours.

    Pantau: The time of the closing moves back.
    """
    close = Close(incident_id=1, at=T0 - MINUTE, by="Ravi Contoh", reason="probe silap", recovered=False)
    async with store.transaction() as uow:
        opened, _ = await told(uow, T0 - 20 * MINUTE)
        closed = apply(opened, replace(close, incident_id=opened.id))
        await uow.save_incident(closed)
        await uow.deactivate_incident(opened.id)
        await entered(uow, T0)
    again = trigger(at=NOW + 40 * MINUTE)
    assert closed.state is IncidentState.RESOLVED
    async with store.transaction() as uow:
        await uow.move_times_back(NOW)
        after = await uow.incident(opened.id)
    assert after is not None
    assert is_suppressed(after, replace(again, began_at=NOW - 20 * MINUTE))
    assert not is_suppressed(after, again)


async def test_move_back_nothing_lies_ahead_changes_nothing_and_writes_nothing(
    store: SqlStore, database: Database
) -> None:
    """Defect: A clock that was always right has its store changed.

    Pantau: Where no time lies ahead, nothing is changed or written.
    """
    async with store.transaction() as uow:
        opened, _ = await told(uow, T0)
        await entered(uow, T0 + 2 * MINUTE)
        before = await stands(uow, opened.id)
        # Two engines' clocks differ.
        for now in (T0 + MINUTE, T0 + 9 * MINUTE):
            assert await uow.move_times_back(now) == timedelta(0)
        assert await stands(uow, opened.id) == before
    assert len(await database.rows(select(audit_log.c.id))) == 1


async def test_move_back_questions_and_claims_far_off_are_due_though_nothing_was_entered(store: SqlStore) -> None:
    """Defect: After a clock is set back, a gateway is not asked for eight hours about a letter.

    Pantau: A question or lease further ahead than any wait is due.
    """
    async with store.transaction() as uow:
        opened, attempt = await told(uow, NOW - 60 * MINUTE)
        await uow.save_attempt(replace(attempt, state=AttemptState.ACCEPTED, query_at=T0))
        assert await uow.claim_incident(opened.id, "mati", T0, 30 * SECOND)
        await entered(uow, NOW - 60 * MINUTE)
    async with store.transaction() as uow:
        assert await uow.move_times_back(NOW) == timedelta(0)
        assert (await stands(uow, opened.id))[2].query_at == NOW
        assert await uow.claim_incident(opened.id, "hidup", NOW, 30 * SECOND)


async def test_move_back_notice_about_future_moment_is_decided_on_anew_when_it_comes(store: SqlStore) -> None:
    """Defect: After a clock is set back, whoever comes on duty is notified at the wrong hour only.

    Pantau: The notification of a future moment is decided again when it comes.
    """
    async with store.transaction() as uow:
        opened, _ = await told(uow, T0 - 20 * MINUTE)
        handover, past = T0 - MINUTE, NOW - 5 * MINUTE
        keys = [draft(opened, T0, at.isoformat(timespec="seconds")).key for at in (handover, past)]
        for once in (handover, past):
            await uow.add_notification(opened, draft(opened, T0, once.isoformat(timespec="seconds")), T0)
        await entered(uow, T0)
    async with store.transaction() as uow:
        assert [await uow.is_notification_decided(key) for key in keys] == [True, True]
        await uow.move_times_back(NOW)
        assert [await uow.is_notification_decided(key) for key in keys] == [False, True]
        moved = draft(opened, T0, (handover - BACK).isoformat(timespec="seconds")).key
        assert await uow.is_notification_decided(moved)
        found = {notice.key for notice in await uow.notifications(opened.id)}
    assert {moved, keys[1]} <= found


async def test_move_back_pending_notice_held_in_future_may_leave_now(store: SqlStore) -> None:
    """Defect: After a clock is set back, a throttled notification waits for eight hours.

    Pantau: It is sent or throttled anew.
    """
    async with store.transaction() as uow:
        opened, _ = await told(uow, NOW - MINUTE)
        added = await uow.add_notification(opened, draft(opened, NOW, "held"), NOW)
        assert added is not None
        await uow.throttle(added.id, T0)
        await entered(uow, T0 - MINUTE)
    async with store.transaction() as uow:
        await uow.move_times_back(NOW)
        held = await uow.notification(added.id)
    assert (held.state, held.not_before) == (NotificationState.PENDING, NOW)


async def test_move_back_drill_under_way_ends_after_its_own_time(store: SqlStore, database: Database) -> None:
    """Defect: After a clock is set back, a drill lasts nine hours.

    Pantau: It ends after its own duration.
    """
    drills = Drills(database)
    await drills.begin("asked/1", contact="all", requested_by="Siti Contoh", begins_at=T0, ends_at=T0 + 60 * MINUTE)
    async with store.transaction() as uow:
        await entered(uow, T0)
    async with store.transaction() as uow:
        await uow.move_times_back(NOW)
    (drill,) = await drills.under_way()
    assert (drill.starts_at, drill.ends_at) == (NOW, NOW + 60 * MINUTE)
