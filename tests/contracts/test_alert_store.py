"""What becomes of the NOC's alerts on every store: told once, whatever comes twice, late, at once or after a restart."""

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
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.schema.tables import audit_log
from monitor.store.schema.tables import received_alert as table
from tests.unit.alerts.model.test_alert import AGAIN, FIRES, OVER
from tests.unit.alerts.people import BRIEF, MINUTE, SECOND, T0

NOC = replace(BRIEF, agency="")
KEY = FIRES.dedup_key


def brief(_: ReceivedAlert) -> PolicySnapshot:
    return NOC


async def take(store: SqlStore, *alerts: ReceivedAlert, at: datetime = T0 + MINUTE) -> Sequence[AlertEffect]:
    async with store.transaction() as uow:
        return (await handle_alerts(uow, alerts, brief, at)).effects


@dataclass
class Statements:
    count: int = 0

    def hear(self, *_: object) -> None:
        self.count += 1


@contextmanager
def counting() -> Iterator[Statements]:
    """Count what is said to the database: many rows at once are one."""
    statements = Statements()
    event.listen(Engine, "before_cursor_execute", statements.hear)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", statements.hear)


async def incidents(store: SqlStore) -> list[tuple[str, IncidentState]]:
    async with store.reading() as uow:
        return [(each.number, each.state) for each in reversed(await uow.recent_incidents())]


OPEN, SHUT = IncidentState.TRIGGERED, IncidentState.RESOLVED


async def test_what_fires_is_an_incident_until_it_is_over(store: SqlStore) -> None:
    assert await take(store, FIRES) == [AlertEffect.FIRES]
    async with store.reading() as uow:
        opened = await uow.last_incident(KEY)
    assert opened is not None
    assert (opened.type, opened.began_at, opened.policy.subject) == (
        IncidentType.ALERT,
        T0,
        "CakeraPenuh (web01 9100)",
    )

    assert await take(store, OVER, at=T0 + 11 * MINUTE) == [AlertEffect.IS_OVER]
    async with store.reading() as uow:
        over = await uow.last_incident(KEY)
    assert over is not None
    assert (over.state, over.ended_at) == (SHUT, OVER.ended_at)


async def test_a_webhook_that_says_all_again_or_everything_twice_opens_nothing(store: SqlStore) -> None:
    other = replace(FIRES, fingerprint="ffffffffffffffff")
    assert await take(store, FIRES, FIRES, other) == [AlertEffect.FIRES, AlertEffect.GOES_ON, AlertEffect.FIRES]
    assert await take(store, other, FIRES) == [AlertEffect.GOES_ON] * 2
    assert await take(store, OVER, FIRES, OVER, at=T0 + 11 * MINUTE) == [
        AlertEffect.IS_OVER,
        AlertEffect.LATE,
        AlertEffect.WAS_OVER,
    ]
    # Not a word of the other: that does not mean that it is over.
    assert [state for _, state in await incidents(store)] == [SHUT, OPEN]


async def test_an_end_before_its_beginning_opens_nothing_and_tells_nobody(store: SqlStore) -> None:
    assert await take(store, OVER) == [AlertEffect.WAS_OVER]
    assert await take(store, FIRES, at=T0 + 2 * MINUTE) == [AlertEffect.LATE]
    assert await incidents(store) == []


async def test_an_alertmanager_that_forgot_and_heard_anew_opens_nothing_and_its_end_ends_it(store: SqlStore) -> None:
    await take(store, FIRES)
    assert await take(store, AGAIN, at=T0 + 21 * MINUTE) == [AlertEffect.GOES_ON]
    assert await take(store, OVER, at=T0 + 22 * MINUTE) == [AlertEffect.LATE]
    assert await incidents(store) == [(f"{NOC.prefix}-01", OPEN)]
    await take(store, replace(AGAIN, ended_at=T0 + 30 * MINUTE), at=T0 + 31 * MINUTE)
    assert await incidents(store) == [(f"{NOC.prefix}-01", SHUT)]


async def test_one_that_was_called_over_and_fires_all_the_time_is_told_again(store: SqlStore) -> None:
    await take(store, FIRES)
    await take(store, OVER, at=T0 + 11 * MINUTE)
    assert await take(store, FIRES, at=T0 + 11 * MINUTE + LATE_WINDOW) == [AlertEffect.FIRES]
    assert [state for _, state in await incidents(store)] == [SHUT, OPEN]


async def test_what_a_person_has_closed_stays_closed_for_a_day_and_an_anew_begun_one_opens(store: SqlStore) -> None:
    await take(store, FIRES)
    closed_at = T0 + 5 * MINUTE
    async with store.transaction() as uow:
        opened = await uow.last_incident(KEY)
        assert opened is not None
        await handle_event(uow, Close(incident_id=opened.id, at=closed_at, by="Siti", reason="x", recovered=False))
    await take(store, FIRES, at=closed_at + MINUTE)
    await take(store, FIRES, at=closed_at + SUPPRESSION_PERIOD)
    assert [state for _, state in await incidents(store)] == [SHUT]
    await take(store, FIRES, at=closed_at + SUPPRESSION_PERIOD + SECOND)
    assert [state for _, state in await incidents(store)] == [SHUT, OPEN]


async def test_the_journal_keeps_who_brought_it_and_what_it_is(store: SqlStore, database: Database) -> None:
    await take(store, replace(FIRES, summary="Cakera\0 penuh"))
    async with database.read() as connection:
        rows = (await connection.execute(select(audit_log).order_by(audit_log.c.id))).all()
    assert [(row.actor, row.event) for row in rows] == [
        ("engine", "incident opened"),
        ("alertmanager", "alert received"),
    ]
    assert rows[1].detail == {"labels": 'alertname="CakeraPenuh", instance="web01:9100"', "summary": "Cakera  penuh"}


async def test_after_a_restart_it_is_known_what_was_heard(
    open_database: Callable[[], AbstractAsyncContextManager[Database]],
) -> None:
    async with open_database() as database:
        await take(SqlStore(database), FIRES, replace(OVER, fingerprint="ffffffffffffffff"))
    async with open_database() as database:
        store = SqlStore(database)
        late = replace(FIRES, fingerprint="ffffffffffffffff")
        assert await take(store, FIRES, late, at=T0 + 2 * MINUTE) == [AlertEffect.GOES_ON, AlertEffect.LATE]
        assert len(await incidents(store)) == 1


async def test_a_webhook_that_comes_to_two_at_once_opens_each_incident_once(store: SqlStore) -> None:
    many = [replace(FIRES, fingerprint=f"{number:016x}") for number in range(20)]
    news = await asyncio.gather(*(take(store, *alerts) for alerts in (many, many[::-1])))
    assert sorted(each for all_ in news for each in all_) == [AlertEffect.FIRES] * 20 + [AlertEffect.GOES_ON] * 20
    assert len(await incidents(store)) == 20


async def test_a_storm_takes_few_statements_and_says_what_one_by_one_would(store: SqlStore) -> None:
    """In one webhook come as many as a failed link silences: what they cost is what the loop and the database do."""
    many = [replace(FIRES, fingerprint=f"{number:016x}") for number in range(200)]
    ended = [replace(each, ended_at=T0 + 10 * MINUTE) for each in many]
    for alerts, news, at_most in (
        (many, AlertEffect.FIRES, 16),
        (many, AlertEffect.GOES_ON, 8),
        (ended, AlertEffect.IS_OVER, 30),
    ):
        with counting() as statements:
            assert await take(store, *alerts, at=T0 + 11 * MINUTE) == [news] * len(many)
        assert statements.count <= at_most
    async with store.reading() as uow:
        found = await uow.last_incidents([each.dedup_key for each in many])
    assert [found[each.dedup_key].number for each in many] == [f"NOC-{number:02}" for number in range(1, 201)]
    assert {(each.state, each.ended_at) for each in found.values()} == {(SHUT, T0 + 10 * MINUTE)}


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
        return (await handle_alerts(uow, alerts, brief, at, GROUP)).effects


async def subjects(store: SqlStore) -> list[tuple[str, str, IncidentState]]:
    async with store.reading() as uow:
        found = reversed(await uow.recent_incidents())
        return [(each.policy.subject, each.policy.subject_en, each.state) for each in found]


@pytest.mark.blind
async def test_alerts_of_a_large_group_are_one_incident_with_a_count_until_all_are_over(store: SqlStore) -> None:
    """Defect: Each alert opens an incident.

    Pantau: Alerts of a large group share one incident with a count.
    """
    alerts = storm(30)
    assert await grouped(store, alerts) == [AlertEffect.FIRES] * 30
    assert await subjects(store) == [("CakeraPenuh (30 amaran)", "CakeraPenuh (30 alerts)", OPEN)]
    async with store.reading() as uow:
        assert await unchanged_effects(uow, alerts, brief, T0 + 2 * MINUTE, GROUP) == [AlertEffect.GOES_ON] * 30

    assert await grouped(store, storm(12, first=30)) == [AlertEffect.FIRES] * 12
    assert await grouped(store, ended(alerts[:2]), T0 + 11 * MINUTE) == [AlertEffect.IS_OVER] * 2
    assert await subjects(store) == [("CakeraPenuh (40 amaran)", "CakeraPenuh (40 alerts)", OPEN)]

    await grouped(store, ended(storm(42)), T0 + 12 * MINUTE)
    assert [state for *_, state in await subjects(store)] == [SHUT]
    async with store.reading() as uow:
        (over,) = await uow.recent_incidents()
    assert over.ended_at == T0 + 10 * MINUTE
    # The next storm of the group is another incident.
    again = [replace(each, starts_at=T0 + 60 * MINUTE) for each in alerts]
    await grouped(store, again, T0 + 61 * MINUTE)
    assert [state for *_, state in await subjects(store)] == [SHUT, OPEN]


async def test_alerts_that_have_incidents_keep_them_when_their_group_is_folded(store: SqlStore) -> None:
    first = storm(2)
    await take(store, *first)
    await grouped(store, storm(30), T0 + 2 * MINUTE)
    assert [subject for subject, *_ in await subjects(store)] == ["CakeraPenuh (web01 9100)"] * 2 + [
        "CakeraPenuh (28 amaran)"
    ]
    await grouped(store, ended(first), T0 + 11 * MINUTE)
    assert [state for *_, state in await subjects(store)] == [SHUT, SHUT, OPEN]


async def test_alerts_that_share_an_incident_are_told_apart_by_plan_and_silent_with_their_agency(
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
    # One of another agency joins: what tells of it must not be silent with the first.
    async with store.transaction() as uow:
        await handle_alerts(uow, storm(1, first=60, team="net", agency="MDC"), by_team, T0 + 2 * MINUTE, GROUP)
    async with store.reading() as uow:
        found = {each.policy.policy_name: each.policy.of_agency for each in await uow.recent_incidents()}
    assert found == {"net": "", "": ""}


async def test_alerts_of_a_closed_group_stay_closed_until_another_begins(store: SqlStore) -> None:
    alerts = storm(30)
    await grouped(store, alerts)
    closed_at = T0 + 5 * MINUTE
    async with store.transaction() as uow:
        (opened,) = await uow.recent_incidents()
        await handle_event(uow, Close(incident_id=opened.id, at=closed_at, by="Siti", reason="x", recovered=False))
    await grouped(store, alerts, closed_at + MINUTE)
    assert [state for *_, state in await subjects(store)] == [SHUT]
    later = replace(storm(1, first=50)[0], starts_at=closed_at + MINUTE)
    await grouped(store, [*alerts, later], closed_at + 2 * MINUTE)
    assert [(subject, state) for subject, _, state in await subjects(store)] == [
        ("CakeraPenuh (30 amaran)", SHUT),
        ("CakeraPenuh (31 amaran)", OPEN),
    ]


@pytest.mark.blind
async def test_alerts_beyond_the_most_that_may_be_open_share_one_incident(store: SqlStore) -> None:
    """Defect: Many small groups of alerts open an incident each.

    Pantau: At most 500 incidents of alerts are open; the rest share one.
    """
    for begin in range(0, MAX_OPEN_INCIDENTS, 250):
        await take(store, *storm(250, first=begin))
    await take(store, *storm(30, first=MAX_OPEN_INCIDENTS))
    await grouped(store, storm(30, first=MAX_OPEN_INCIDENTS + 30), T0 + 2 * MINUTE)
    async with store.reading() as uow:
        assert await uow.count_open_alert_incidents() == MAX_OPEN_INCIDENTS + 1
        (rest, *_) = await uow.recent_incidents(1)
    assert rest.policy.subject == "60 amaran"
    # The first of them are over: the next has room again.
    await take(store, *ended(storm(10)), at=T0 + 11 * MINUTE)
    await take(store, *storm(1, first=MAX_OPEN_INCIDENTS + 60), at=T0 + 12 * MINUTE)
    async with store.reading() as uow:
        (newest, *_) = await uow.recent_incidents(1)
    assert newest.policy.subject == "CakeraPenuh (web01 9100)"


async def test_what_was_not_heard_of_for_a_season_is_forgotten_and_what_fires_is_not(
    store: SqlStore, database: Database
) -> None:
    day = 24 * 60 * MINUTE
    forgotten = replace(FIRES, fingerprint="ffffffffffffffff")
    await take(store, FIRES, forgotten)
    await take(store, FIRES, at=T0 + 89 * day)
    keep = RetentionPolicy(delivered=day, failed=day, hourly=day)
    await Retention(database).dispose(keep, T0 + 91 * day)
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == 1
    # Its end is its end all the same.
    assert await take(store, replace(forgotten, ended_at=T0 + 92 * day), at=T0 + 92 * day) == [AlertEffect.WAS_OVER]
    assert [state for _, state in await incidents(store)] == [OPEN, SHUT]
