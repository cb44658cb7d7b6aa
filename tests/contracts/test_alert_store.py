"""What becomes of the NOC's alerts on every store: told once, whatever comes twice, late, at once or after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Engine, event, func, select

from alerts.engine.alert_intake import take_alerts
from alerts.engine.intake import take_in
from alerts.model.alert import LATE_FOR, News, ReceivedAlert
from alerts.model.brief import Brief
from alerts.model.event import Close
from alerts.model.incident import HOLDS_FOR, IncidentState
from alerts.model.notice import Matter
from monitor.store.backend.database import Database
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.retention import Keep, Retention
from monitor.store.schema.tables import alert as table
from monitor.store.schema.tables import journal
from tests.unit.alerts.model.test_alert import AGAIN, FIRES, OVER
from tests.unit.alerts.people import BRIEF, MINUTE, SECOND, T0

NOC = replace(BRIEF, agency="")
KEY = FIRES.dedup_key


def brief(_: ReceivedAlert) -> Brief:
    return NOC


async def take(store: SqlStore, *alerts: ReceivedAlert, at: datetime = T0 + MINUTE) -> Sequence[News]:
    async with store.transaction() as ledger:
        return (await take_alerts(ledger, alerts, brief, at)).news


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
    async with store.reading() as ledger:
        return [(each.number, each.state) for each in reversed(await ledger.recent_incidents())]


OPEN, SHUT = IncidentState.TRIGGERED, IncidentState.RESOLVED


async def test_what_fires_is_an_incident_until_it_is_over(store: SqlStore) -> None:
    assert await take(store, FIRES) == [News.FIRES]
    async with store.reading() as ledger:
        opened = await ledger.last_incident(KEY)
    assert opened is not None
    assert (opened.matter, opened.began_at, opened.brief.subject) == (Matter.ALERT, T0, "CakeraPenuh (web01 9100)")

    assert await take(store, OVER, at=T0 + 11 * MINUTE) == [News.IS_OVER]
    async with store.reading() as ledger:
        over = await ledger.last_incident(KEY)
    assert over is not None
    assert (over.state, over.ended_at) == (SHUT, OVER.ended_at)


async def test_a_webhook_that_says_all_again_or_everything_twice_opens_nothing(store: SqlStore) -> None:
    other = replace(FIRES, fingerprint="ffffffffffffffff")
    assert await take(store, FIRES, FIRES, other) == [News.FIRES, News.GOES_ON, News.FIRES]
    assert await take(store, other, FIRES) == [News.GOES_ON] * 2
    assert await take(store, OVER, FIRES, OVER, at=T0 + 11 * MINUTE) == [News.IS_OVER, News.LATE, News.WAS_OVER]
    # Not a word of the other: that does not mean that it is over.
    assert [state for _, state in await incidents(store)] == [SHUT, OPEN]


async def test_an_end_before_its_beginning_opens_nothing_and_tells_nobody(store: SqlStore) -> None:
    assert await take(store, OVER) == [News.WAS_OVER]
    assert await take(store, FIRES, at=T0 + 2 * MINUTE) == [News.LATE]
    assert await incidents(store) == []


async def test_an_alertmanager_that_forgot_and_heard_anew_opens_nothing_and_its_end_ends_it(store: SqlStore) -> None:
    await take(store, FIRES)
    assert await take(store, AGAIN, at=T0 + 21 * MINUTE) == [News.GOES_ON]
    assert await take(store, OVER, at=T0 + 22 * MINUTE) == [News.LATE]
    assert await incidents(store) == [(f"{NOC.prefix}-01", OPEN)]
    await take(store, replace(AGAIN, ended_at=T0 + 30 * MINUTE), at=T0 + 31 * MINUTE)
    assert await incidents(store) == [(f"{NOC.prefix}-01", SHUT)]


async def test_one_that_was_called_over_and_fires_all_the_time_is_told_again(store: SqlStore) -> None:
    await take(store, FIRES)
    await take(store, OVER, at=T0 + 11 * MINUTE)
    assert await take(store, FIRES, at=T0 + 11 * MINUTE + LATE_FOR) == [News.FIRES]
    assert [state for _, state in await incidents(store)] == [SHUT, OPEN]


async def test_what_a_person_has_closed_stays_closed_for_a_day_and_an_anew_begun_one_opens(store: SqlStore) -> None:
    await take(store, FIRES)
    closed_at = T0 + 5 * MINUTE
    async with store.transaction() as ledger:
        opened = await ledger.last_incident(KEY)
        assert opened is not None
        await take_in(ledger, Close(incident_id=opened.id, at=closed_at, by="Siti", why="x", recovered=False))
    await take(store, FIRES, at=closed_at + MINUTE)
    await take(store, FIRES, at=closed_at + HOLDS_FOR)
    assert [state for _, state in await incidents(store)] == [SHUT]
    await take(store, FIRES, at=closed_at + HOLDS_FOR + SECOND)
    assert [state for _, state in await incidents(store)] == [SHUT, OPEN]


async def test_the_journal_keeps_who_brought_it_and_what_it_is(store: SqlStore, database: Database) -> None:
    await take(store, replace(FIRES, summary="Cakera\0 penuh"))
    async with database.read() as connection:
        rows = (await connection.execute(select(journal).order_by(journal.c.id))).all()
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
        assert await take(store, FIRES, late, at=T0 + 2 * MINUTE) == [News.GOES_ON, News.LATE]
        assert len(await incidents(store)) == 1


async def test_a_webhook_that_comes_to_two_at_once_opens_each_incident_once(store: SqlStore) -> None:
    many = [replace(FIRES, fingerprint=f"{number:016x}") for number in range(20)]
    news = await asyncio.gather(*(take(store, *alerts) for alerts in (many, many[::-1])))
    assert sorted(each for all_ in news for each in all_) == [News.FIRES] * 20 + [News.GOES_ON] * 20
    assert len(await incidents(store)) == 20


async def test_a_storm_takes_few_statements_and_says_what_one_by_one_would(store: SqlStore) -> None:
    """In one webhook come as many as a failed link silences: what they cost is what the loop and the database do."""
    many = [replace(FIRES, fingerprint=f"{number:016x}") for number in range(200)]
    ended = [replace(each, ended_at=T0 + 10 * MINUTE) for each in many]
    for alerts, news, at_most in ((many, News.FIRES, 16), (many, News.GOES_ON, 8), (ended, News.IS_OVER, 30)):
        with counting() as statements:
            assert await take(store, *alerts, at=T0 + 11 * MINUTE) == [news] * len(many)
        assert statements.count <= at_most
    async with store.reading() as ledger:
        found = await ledger.last_incidents([each.dedup_key for each in many])
    assert [found[each.dedup_key].number for each in many] == [f"NOC-{number:02}" for number in range(1, 201)]
    assert {(each.state, each.ended_at) for each in found.values()} == {(SHUT, T0 + 10 * MINUTE)}


async def test_what_was_not_heard_of_for_a_season_is_forgotten_and_what_fires_is_not(
    store: SqlStore, database: Database
) -> None:
    day = 24 * 60 * MINUTE
    forgotten = replace(FIRES, fingerprint="ffffffffffffffff")
    await take(store, FIRES, forgotten)
    await take(store, FIRES, at=T0 + 89 * day)
    keep = Keep(delivered=day, failed=day, hourly=day)
    await Retention(database).dispose(keep, T0 + 91 * day)
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == 1
    # Its end is its end all the same.
    assert await take(store, replace(forgotten, ended_at=T0 + 92 * day), at=T0 + 92 * day) == [News.WAS_OVER]
    assert [state for _, state in await incidents(store)] == [OPEN, SHUT]
