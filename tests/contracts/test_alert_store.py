"""Received Alertmanager alerts on both stores: repeated, late, concurrent, grouped, and after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import pytest
from sqlalchemy import Engine, event, func, select

from alerts.engine.alert_handler import handle_alerts, unchanged_effects
from alerts.engine.event_handler import handle_event
from alerts.model.alert import LATE_WINDOW, MAX_OPEN_INCIDENTS, AlertEffect, AlertGroup, ReceivedAlert
from alerts.model.event import Close
from alerts.model.incident import SUPPRESSION_PERIOD, IncidentState
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import PolicySnapshot
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.schema.tables import audit_log
from monitor.store.schema.tables import received_alert as table
from tests.unit.alerts.model.test_alert import AGAIN, FIRES, OVER
from tests.unit.alerts.people import MINUTE, SECOND, SNAPSHOT, T0

NOC = replace(SNAPSHOT, agency="")
KEY = FIRES.dedup_key


def snapshot(_: ReceivedAlert) -> PolicySnapshot:
    return NOC


async def handle_all(store: SqlStore, *alerts: ReceivedAlert, at: datetime = T0 + MINUTE) -> Sequence[AlertEffect]:
    async with store.transaction() as uow:
        return (await handle_alerts(uow, alerts, snapshot, at)).effects


@dataclass
class Statements:
    count: int = 0

    def record(self, *_: object) -> None:
        self.count += 1


@contextmanager
def counting() -> Iterator[Statements]:
    """Count SQL statements; an executemany counts once."""
    statements = Statements()
    event.listen(Engine, "before_cursor_execute", statements.record)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", statements.record)


async def incidents(store: SqlStore) -> list[tuple[str, IncidentState]]:
    async with store.reading() as uow:
        return [(each.number, each.state) for each in reversed(await uow.recent_incidents())]


TRIGGERED, RESOLVED = IncidentState.TRIGGERED, IncidentState.RESOLVED


async def test_firing_alert_opens_incident_until_resolved(store: SqlStore) -> None:
    assert await handle_all(store, FIRES) == [AlertEffect.FIRES]
    async with store.reading() as uow:
        opened = await uow.last_incident(KEY)
    assert opened is not None
    assert (opened.type, opened.began_at, opened.policy.subject) == (
        IncidentType.ALERT,
        T0,
        "CakeraPenuh (web01 9100)",
    )

    assert await handle_all(store, OVER, at=T0 + 11 * MINUTE) == [AlertEffect.IS_OVER]
    async with store.reading() as uow:
        over = await uow.last_incident(KEY)
    assert over is not None
    assert (over.state, over.ended_at) == (RESOLVED, OVER.ended_at)


async def test_repeated_webhook_opens_no_further_incident(store: SqlStore) -> None:
    other = replace(FIRES, fingerprint="ffffffffffffffff")
    assert await handle_all(store, FIRES, FIRES, other) == [AlertEffect.FIRES, AlertEffect.GOES_ON, AlertEffect.FIRES]
    assert await handle_all(store, other, FIRES) == [AlertEffect.GOES_ON] * 2
    assert await handle_all(store, OVER, FIRES, OVER, at=T0 + 11 * MINUTE) == [
        AlertEffect.IS_OVER,
        AlertEffect.LATE,
        AlertEffect.WAS_OVER,
    ]
    # The other alert is not mentioned: it is not resolved.
    assert [state for _, state in await incidents(store)] == [RESOLVED, TRIGGERED]


async def test_end_before_beginning_opens_nothing(store: SqlStore) -> None:
    assert await handle_all(store, OVER) == [AlertEffect.WAS_OVER]
    assert await handle_all(store, FIRES, at=T0 + 2 * MINUTE) == [AlertEffect.LATE]
    assert await incidents(store) == []


async def test_alert_restarted_by_alertmanager_continues_incident_until_its_end(store: SqlStore) -> None:
    await handle_all(store, FIRES)
    assert await handle_all(store, AGAIN, at=T0 + 21 * MINUTE) == [AlertEffect.GOES_ON]
    assert await handle_all(store, OVER, at=T0 + 22 * MINUTE) == [AlertEffect.LATE]
    assert await incidents(store) == [(f"{NOC.prefix}-01", TRIGGERED)]
    await handle_all(store, replace(AGAIN, ended_at=T0 + 30 * MINUTE), at=T0 + 31 * MINUTE)
    assert await incidents(store) == [(f"{NOC.prefix}-01", RESOLVED)]


async def test_alert_firing_after_resolved_opens_again_after_late_window(store: SqlStore) -> None:
    await handle_all(store, FIRES)
    await handle_all(store, OVER, at=T0 + 11 * MINUTE)
    assert await handle_all(store, FIRES, at=T0 + 11 * MINUTE + LATE_WINDOW) == [AlertEffect.FIRES]
    assert [state for _, state in await incidents(store)] == [RESOLVED, TRIGGERED]


async def test_closed_alert_stays_closed_for_a_day_unless_it_starts_anew(store: SqlStore) -> None:
    await handle_all(store, FIRES)
    closed_at = T0 + 5 * MINUTE
    async with store.transaction() as uow:
        opened = await uow.last_incident(KEY)
        assert opened is not None
        await handle_event(uow, Close(incident_id=opened.id, at=closed_at, by="Siti", reason="x", recovered=False))
    await handle_all(store, FIRES, at=closed_at + MINUTE)
    await handle_all(store, FIRES, at=closed_at + SUPPRESSION_PERIOD)
    assert [state for _, state in await incidents(store)] == [RESOLVED]
    await handle_all(store, FIRES, at=closed_at + SUPPRESSION_PERIOD + SECOND)
    assert [state for _, state in await incidents(store)] == [RESOLVED, TRIGGERED]


async def test_audit_log_names_alertmanager_and_labels(store: SqlStore, database: Database) -> None:
    await handle_all(store, replace(FIRES, summary="Cakera\0 penuh"))
    async with database.read() as connection:
        rows = (await connection.execute(select(audit_log).order_by(audit_log.c.id))).all()
    assert [(row.actor, row.event) for row in rows] == [
        ("engine", "incident opened"),
        ("alertmanager", "alert received"),
    ]
    assert rows[1].detail == {"labels": 'alertname="CakeraPenuh", instance="web01:9100"', "summary": "Cakera  penuh"}


async def test_received_alerts_are_known_after_restart(
    open_database: Callable[[], AbstractAsyncContextManager[Database]],
) -> None:
    async with open_database() as database:
        await handle_all(SqlStore(database), FIRES, replace(OVER, fingerprint="ffffffffffffffff"))
    async with open_database() as database:
        store = SqlStore(database)
        late = replace(FIRES, fingerprint="ffffffffffffffff")
        assert await handle_all(store, FIRES, late, at=T0 + 2 * MINUTE) == [AlertEffect.GOES_ON, AlertEffect.LATE]
        assert len(await incidents(store)) == 1


async def test_concurrent_webhooks_open_each_incident_once(store: SqlStore) -> None:
    many = [replace(FIRES, fingerprint=f"{number:016x}") for number in range(20)]
    news = await asyncio.gather(*(handle_all(store, *alerts) for alerts in (many, many[::-1])))
    assert sorted(each for all_ in news for each in all_) == [AlertEffect.FIRES] * 20 + [AlertEffect.GOES_ON] * 20
    assert len(await incidents(store)) == 20


async def test_alert_storm_takes_few_statements_with_same_effects(store: SqlStore) -> None:
    """One webhook may contain hundreds of alerts of a failed link."""
    many = [replace(FIRES, fingerprint=f"{number:016x}") for number in range(200)]
    ended = [replace(each, ended_at=T0 + 10 * MINUTE) for each in many]
    for alerts, news, at_most in (
        (many, AlertEffect.FIRES, 16),
        (many, AlertEffect.GOES_ON, 8),
        (ended, AlertEffect.IS_OVER, 30),
    ):
        with counting() as statements:
            assert await handle_all(store, *alerts, at=T0 + 11 * MINUTE) == [news] * len(many)
        assert statements.count <= at_most
    async with store.reading() as uow:
        found = await uow.last_incidents([each.dedup_key for each in many])
    assert [found[each.dedup_key].number for each in many] == [f"NOC-{number:02}" for number in range(1, 201)]
    assert {(each.state, each.ended_at) for each in found.values()} == {(RESOLVED, T0 + 10 * MINUTE)}


GROUP = AlertGroup(name='{}:{alertname="CakeraPenuh"}', shares_incident=True)


def storm(count: int, *, first: int = 0, **labels: str) -> list[ReceivedAlert]:
    known = {**FIRES.labels, **labels}
    return [replace(FIRES, fingerprint=f"{number:016x}", labels=known) for number in range(first, first + count)]


def ended(alerts: Sequence[ReceivedAlert]) -> list[ReceivedAlert]:
    return [replace(each, ended_at=T0 + 10 * MINUTE) for each in alerts]


async def grouped(
    store: SqlStore, alerts: Sequence[ReceivedAlert], at: datetime = T0 + MINUTE
) -> Sequence[AlertEffect]:
    async with store.transaction() as uow:
        return (await handle_alerts(uow, alerts, snapshot, at, GROUP)).effects


async def subjects(store: SqlStore) -> list[tuple[str, str, IncidentState]]:
    async with store.reading() as uow:
        found = reversed(await uow.recent_incidents())
        return [(each.policy.subject, each.policy.subject_en, each.state) for each in found]


@pytest.mark.blind
async def test_large_group_shares_one_incident_with_count_until_all_resolved(store: SqlStore) -> None:
    """Defect: Each alert opens an incident.

    Pantau: Alerts of a large group share one incident with a count.
    """
    alerts = storm(30)
    assert await grouped(store, alerts) == [AlertEffect.FIRES] * 30
    assert await subjects(store) == [("CakeraPenuh (30 amaran)", "CakeraPenuh (30 alerts)", TRIGGERED)]
    async with store.reading() as uow:
        assert await unchanged_effects(uow, alerts, snapshot, T0 + 2 * MINUTE, GROUP) == [AlertEffect.GOES_ON] * 30

    assert await grouped(store, storm(12, first=30)) == [AlertEffect.FIRES] * 12
    assert await grouped(store, ended(alerts[:2]), T0 + 11 * MINUTE) == [AlertEffect.IS_OVER] * 2
    assert await subjects(store) == [("CakeraPenuh (40 amaran)", "CakeraPenuh (40 alerts)", TRIGGERED)]

    await grouped(store, ended(storm(42)), T0 + 12 * MINUTE)
    assert [state for *_, state in await subjects(store)] == [RESOLVED]
    async with store.reading() as uow:
        (over,) = await uow.recent_incidents()
    assert over.ended_at == T0 + 10 * MINUTE
    # The next alerts of the group open another incident.
    again = [replace(each, starts_at=T0 + 60 * MINUTE) for each in alerts]
    await grouped(store, again, T0 + 61 * MINUTE)
    assert [state for *_, state in await subjects(store)] == [RESOLVED, TRIGGERED]


async def test_alerts_with_own_incidents_keep_them_when_group_is_shared(store: SqlStore) -> None:
    first = storm(2)
    await handle_all(store, *first)
    await grouped(store, storm(30), T0 + 2 * MINUTE)
    assert [subject for subject, *_ in await subjects(store)] == ["CakeraPenuh (web01 9100)"] * 2 + [
        "CakeraPenuh (28 amaran)"
    ]
    await grouped(store, ended(first), T0 + 11 * MINUTE)
    assert [state for *_, state in await subjects(store)] == [RESOLVED, RESOLVED, TRIGGERED]


async def test_shared_incident_separates_policies_and_follows_agency_silence(
    store: SqlStore,
) -> None:
    def by_team(alert: ReceivedAlert) -> PolicySnapshot:
        return replace(NOC, policy_name=alert.labels.get("team", ""))

    async with store.transaction() as uow:
        net, rest = storm(25, team="net", agency="JCM"), storm(25, first=25)
        await handle_alerts(uow, [*net, *rest], by_team, T0 + MINUTE, GROUP)
    async with store.reading() as uow:
        found = {each.policy.policy_name: each.policy.of_agency for each in await uow.recent_incidents()}
    assert found == {"net": "JCM", "": ""}
    # An alert of another agency joins, so a silence of the first agency no longer covers the incident.
    async with store.transaction() as uow:
        await handle_alerts(uow, storm(1, first=60, team="net", agency="MDC"), by_team, T0 + 2 * MINUTE, GROUP)
    async with store.reading() as uow:
        found = {each.policy.policy_name: each.policy.of_agency for each in await uow.recent_incidents()}
    assert found == {"net": "", "": ""}


async def test_closed_group_stays_closed_until_another_alert_starts(store: SqlStore) -> None:
    alerts = storm(30)
    await grouped(store, alerts)
    closed_at = T0 + 5 * MINUTE
    async with store.transaction() as uow:
        (opened,) = await uow.recent_incidents()
        await handle_event(uow, Close(incident_id=opened.id, at=closed_at, by="Siti", reason="x", recovered=False))
    await grouped(store, alerts, closed_at + MINUTE)
    assert [state for *_, state in await subjects(store)] == [RESOLVED]
    later = replace(storm(1, first=50)[0], starts_at=closed_at + MINUTE)
    await grouped(store, [*alerts, later], closed_at + 2 * MINUTE)
    assert [(subject, state) for subject, _, state in await subjects(store)] == [
        ("CakeraPenuh (30 amaran)", RESOLVED),
        ("CakeraPenuh (31 amaran)", TRIGGERED),
    ]


@pytest.mark.blind
async def test_alerts_above_open_incident_limit_share_one_incident(store: SqlStore) -> None:
    """Defect: Many small groups of alerts open an incident each.

    Pantau: At most 500 incidents of alerts are open; the rest share one.
    """
    for begin in range(0, MAX_OPEN_INCIDENTS, 250):
        await handle_all(store, *storm(250, first=begin))
    await handle_all(store, *storm(30, first=MAX_OPEN_INCIDENTS))
    await grouped(store, storm(30, first=MAX_OPEN_INCIDENTS + 30), T0 + 2 * MINUTE)
    async with store.reading() as uow:
        assert await uow.count_open_alert_incidents() == MAX_OPEN_INCIDENTS + 1
        (rest, *_) = await uow.recent_incidents(1)
    assert rest.policy.subject == "60 amaran"
    # The first alerts are resolved, so the next opens its own incident.
    await handle_all(store, *ended(storm(10)), at=T0 + 11 * MINUTE)
    await handle_all(store, *storm(1, first=MAX_OPEN_INCIDENTS + 60), at=T0 + 12 * MINUTE)
    async with store.reading() as uow:
        (newest, *_) = await uow.recent_incidents(1)
    assert newest.policy.subject == "CakeraPenuh (web01 9100)"


async def test_unseen_alerts_are_deleted_after_retention_firing_ones_kept(store: SqlStore, database: Database) -> None:
    day = 24 * 60 * MINUTE
    forgotten = replace(FIRES, fingerprint="ffffffffffffffff")
    await handle_all(store, FIRES, forgotten)
    await handle_all(store, FIRES, at=T0 + 89 * day)
    keep = RetentionPolicy(delivered=day, failed=day, hourly=day)
    await Retention(database).delete_expired(keep, T0 + 91 * day)
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == 1
    # The end of a deleted alert is accepted.
    assert await handle_all(store, replace(forgotten, ended_at=T0 + 92 * day), at=T0 + 92 * day) == [
        AlertEffect.WAS_OVER
    ]
    assert [state for _, state in await incidents(store)] == [TRIGGERED, RESOLVED]
