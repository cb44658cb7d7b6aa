"""History of runs, tokens and deferrals over restarts, and its retention."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from alerts.persistence.store import Store
from monitor.model.health import Health
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import TOKEN_MEMORY, History
from monitor.store.probing.retention import Retention, RetentionPolicy
from monitor.store.schema.tables import incident, run, token
from probes.model.result import Outcome, Phase, ProbeResult
from tests.unit.alerts.people import trigger
from tests.unit.monitor.world import MINUTE, SECOND, T0

DAY = timedelta(days=1)
KEEP = RetentionPolicy(delivered=30 * DAY, failed=365 * DAY, hourly=365 * DAY)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def history(database: Database) -> History:
    return History(database)


def ended(
    number: int, outcome: Outcome = Outcome.DELIVERED, at: datetime = T0, route: str = "JCM/internal"
) -> ProbeResult:
    return ProbeResult(
        route=route,
        token_id=f"{number:016x}",
        started_at=at,
        duration=2 * SECOND,
        outcome=outcome,
        phases={Phase.TRANSIT: SECOND},
    )


async def sent(history: History, number: int, at: datetime = T0, route: str = "JCM/internal") -> str:
    await history.record_sent_token(f"{number:016x}", route, at, at + 5 * MINUTE)
    return f"{number:016x}"


async def count(database: Database, table: str) -> int:
    async with database.read() as connection:
        found = {"run": run, "token": token, "incident": incident}[table]
        return int((await connection.execute(select(func.count()).select_from(found))).scalar_one())


@pytest.mark.parametrize(
    ("outcome", "came"),
    [
        (Outcome.DELIVERED, True),
        (Outcome.JUNK, True),
        (Outcome.CORRUPTED, True),
        (Outcome.LOST, False),
        (Outcome.BOUNCED, False),
        (Outcome.TIMEOUT, False),
        # Stopped: the run has no end.
        (None, False),
    ],
)
async def test_tokens_give_route_time_and_arrival(history: History, outcome: Outcome | None, *, came: bool) -> None:
    token_id = await sent(history, 1, T0 + SECOND)
    if outcome is not None:
        await history.record_run(ended(1, outcome), "JCM", {})
    known = (await history.tokens(T0 + MINUTE))[token_id]

    assert (known.route, known.at, known.has_arrived) == ("JCM/internal", T0 + SECOND, came)


async def test_late_arrival_counts_as_arrived(history: History) -> None:
    token_id = await sent(history, 1)
    await history.record_run(ended(1, Outcome.LOST), "JCM", {})
    await history.record_late_arrival(token_id, T0 + 10 * MINUTE)
    await history.record_late_arrival("sent by somebody else", T0)

    known = await history.tokens(T0 + 11 * MINUTE)
    assert [each.has_arrived for each in known.values()] == [True]


async def test_tokens_are_ordered_by_time(history: History) -> None:
    for number in (3, 1, 2):
        await sent(history, number, T0 + number * SECOND)
        if number == 2:
            await history.record_run(ended(2), "JCM", {})

    assert [int(token_id, 16) for token_id in await history.tokens(T0 + MINUTE)] == [1, 2, 3]


async def test_tokens_missing_are_kept_a_week_and_arrived_a_day(history: History, database: Database) -> None:
    missing, come = await sent(history, 1), await sent(history, 2)
    await history.record_run(ended(2), "JCM", {})

    async def known_after(span: timedelta) -> set[str]:
        await Retention(database).delete_expired(KEEP, T0 + span)
        found = set(await history.tokens(T0 + span))
        assert await count(database, "token") == len(found)
        return found

    assert await known_after(DAY) == {missing, come}
    assert await known_after(DAY + SECOND) == {missing}
    assert await known_after(TOKEN_MEMORY) == {missing}
    assert await known_after(TOKEN_MEMORY + SECOND) == set()


@pytest.mark.parametrize(
    ("outcomes", "since"),
    [
        ([], None),
        ([Outcome.DELIVERED], None),
        ([Outcome.DEFERRED], 0),
        ([Outcome.DEFERRED, Outcome.DEFERRED], 0),
        ([Outcome.DEFERRED, Outcome.DELIVERED], None),
        ([Outcome.DEFERRED, Outcome.JUNK, Outcome.DEFERRED], 2),
        # Only an arrival ends the deferral.
        ([Outcome.DEFERRED, Outcome.TIMEOUT, Outcome.DEFERRED], 0),
        ([Outcome.DEFERRED, Outcome.LOST], 0),
        ([Outcome.DELIVERED, Outcome.DEFERRED, Outcome.INCONCLUSIVE], 1),
    ],
)
async def test_deferrals_give_first_deferral_since_arrival(
    history: History, outcomes: list[Outcome], since: int | None
) -> None:
    for number, outcome in enumerate(outcomes):
        await history.record_run(ended(number, outcome, T0 + number * MINUTE), "JCM", {})
        await history.record_run(ended(100 + number, at=T0 + number * MINUTE, route="JCM/outbound"), "JCM", {})

    assert await history.deferrals(T0) == ({} if since is None else {"JCM/internal": T0 + since * MINUTE})
    assert await history.deferrals(T0 + DAY) == {}


async def test_record_run_stores_healths(history: History) -> None:
    await history.record_run(ended(1), "JCM", {"JCM/internal": (Health.UP, T0), "ours/network": (Health.UP, T0)})
    await history.record_run(ended(2), "JCM", {"JCM/internal": (Health.DOWN, T0 + MINUTE)})

    assert await history.healths() == {
        "JCM/internal": (Health.DOWN, T0 + MINUTE),
        "ours/network": (Health.UP, T0),
    }
    assert (await history.latest())["JCM/internal"] == ended(2)


async def test_latest_returns_last_run_of_each_route(history: History, database: Database) -> None:
    for number, route in enumerate(["JCM/b", "JCM/a", "JCM/b", "MDC/a", "JCM/a", "JCM/b"]):
        await history.record_run(ended(number, at=T0 + number * MINUTE, route=route), "JCM", {})

    found = await History(database).latest()
    assert {name: int(result.token_id, 16) for name, result in found.items()} == {"JCM/a": 4, "JCM/b": 5, "MDC/a": 3}


async def test_latest_of_agencies_returns_these_and_control_routes(history: History, database: Database) -> None:
    for number, (agency, route) in enumerate((("JCM", "JCM/a"), ("MDC", "MDC/a"), ("", "control/a/b"))):
        await history.record_run(ended(number, route=route), agency, {})

    assert set(await History(database).latest({"MDC"})) == {"MDC/a", "control/a/b"}


async def test_forget_drops_last_run_of_removed_route(history: History) -> None:
    for number, route in enumerate(("JCM/a", "JCM/b")):
        await history.record_run(ended(number, route=route), "JCM", {})

    history.forget(["JCM/a", "JCM/never-run"])

    assert set(history.known()) == {"JCM/b"}


@pytest.mark.blind
async def test_latest_is_read_once_and_then_from_memory(history: History, database: Database) -> None:
    """Defect: The last runs are read and validated at each look.

    Pantau: They are read once, at the start.
    """
    await history.record_run(ended(1), "JCM", {})
    await history.record_run(ended(2, route="JCM/outbound"), "JCM", {})
    after = History(database)
    await after.record_run(ended(3), "JCM", {})
    assert after.known() == {"JCM/internal": ended(3)}
    known = {"JCM/internal": ended(3), "JCM/outbound": ended(2, route="JCM/outbound")}
    assert await after.latest() == known

    async with database.write() as connection:
        await connection.execute(text("DELETE FROM run"))
    assert await after.latest() == known


async def test_latest_of_empty_store_is_empty(history: History) -> None:
    assert await history.latest() == {}


async def test_delete_expired_removes_runs_and_keeps_incidents(history: History, database: Database) -> None:
    store: Store = SqlStore(database)
    async with store.transaction() as uow:
        await uow.add_incidents([trigger()])
    for number in range(3):
        await history.record_run(ended(number, at=T0 - 366 * DAY), "JCM", {})
    async with database.write() as connection:
        # Thousands, as after a long time without a purge.
        await connection.execute(
            text(
                "INSERT INTO run (agency, route, token_id, started_at, duration, outcome, result) "
                "SELECT agency, route, token_id, started_at, duration, outcome, result FROM run, "
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 800) SELECT i FROM n)"
            )
        )
    await history.record_run(ended(9999), "JCM", {})

    retention = Retention(database)
    assert await retention.delete_expired(KEEP, T0) == 3 + 3 * 800
    assert await retention.delete_expired(KEEP, T0) == 0
    assert (await count(database, "run"), await count(database, "incident")) == (1, 1)


async def test_tokens_and_healths_of_routes_return_these_and_own(history: History) -> None:
    judged = dict.fromkeys(("JCM/internal", "MDC/internal", "ours/network"), (Health.DOWN, T0))
    await history.record_run(ended(1), "JCM", judged)
    for number, route in enumerate(("JCM/internal", "MDC/internal")):
        await sent(history, number + 5, route=route)

    few, many = {"MDC/internal"}, {"MDC/internal", *(f"X{number}/internal" for number in range(2000))}

    for routes in (few, many):
        assert {each.route for each in (await history.tokens(T0 + MINUTE, routes)).values()} == {"MDC/internal"}
    assert set(await history.healths(few)) == {"MDC/internal", "ours/network"}
    assert set(await history.healths(many)) == set(judged), "a query with so many names would be longer than its result"


async def test_refresh_latest_reads_runs_of_given_agencies(database: Database) -> None:
    here, elsewhere = History(database), History(database)
    await here.record_run(ended(1), "JCM", {})
    await here.latest()
    await elsewhere.record_run(ended(2, at=T0 + MINUTE), "JCM", {})
    await elsewhere.record_run(ended(3, at=T0 + MINUTE, route="MDC/internal"), "MDC", {})

    await here.refresh_latest(["MDC"])
    assert {route: int(run.token_id) for route, run in here.known().items()} == {"JCM/internal": 1, "MDC/internal": 3}

    await here.refresh_latest(["JCM", *(f"X{number}" for number in range(100))])
    assert int(here.known()["JCM/internal"].token_id) == 2
