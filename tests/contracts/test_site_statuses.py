"""Site statuses and heartbeats on both stores: round trip, change marks, renaming and validation."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, event, text, update
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from alerts.model.notification import Cause, IncidentType
from monitor.evaluation.joint.freshness import SiteHeartbeat
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.model.health import Health
from monitor.model.renaming import RenamedKind, Renaming
from monitor.model.route import Direction
from monitor.store.admin.renames import Renames
from monitor.store.backend.database import Database
from monitor.store.backend.repository import Statement
from monitor.store.probing.history import History
from monitor.store.probing.statuses import SiteStatuses
from monitor.store.schema.tables import site_status
from monitor.store.sites.partition import TABLES
from tests.real.postgres import Postgres
from tests.unit.alerts.people import MINUTE, T0
from tests.unit.monitor.store.probing.test_history import ended

DOWN = SiteStatus(
    trouble=ActiveProblem(type=IncidentType.SENDING, since=T0, flapping=True, latest=T0 + MINUTE),
    cause=Cause.AUTH,
    directions={Direction.OUTBOUND: Health.DOWN, Direction.INBOUND: Health.UP},
    failing_routes=frozenset({"JCM/outbound/rujukan-a", "JCM/outbound/rujukan-b"}),
)
UP = SiteStatus(up_since=T0 + timedelta(hours=1), directions={Direction.OUTBOUND: Health.UP})
UNKNOWN = SiteStatus(directions={Direction.OUTBOUND: Health.UNKNOWN})
FAULT = SiteStatus(trouble=ActiveProblem(type=IncidentType.MONITORING_FAULT, since=T0))


def writers(database: Database, site: str = "johor") -> tuple[SiteStatuses, History]:
    statuses = SiteStatuses(database, site)
    return statuses, History(database, statuses)


async def read(statuses: SiteStatuses) -> Mapping[str, Mapping[str, SiteStatus]]:
    found, _ = await statuses.changed(None)
    return found


@pytest.fixture
async def shared(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(tmp_path, postgres.store()) as database:
        yield database


def ucm_statement(statuses: SiteStatuses) -> Statement:
    return statuses.statements({"UCM": DOWN})["UCM"]


async def record_statuses(history: History, number: int, **statuses_by_subject: SiteStatus) -> None:
    await history.record_run(ended(number), "JCM", {}, statuses=statuses_by_subject)


async def test_site_status_round_trip(database: Database) -> None:
    statuses, history = writers(database)
    _, other = writers(database, "kuching")
    statuses_by_subject = {"JCM": DOWN, "MDC": UP, "UCM": UNKNOWN, "ours/network": FAULT}
    await history.record_run(ended(1), "JCM", {}, statuses=statuses_by_subject)
    await record_statuses(other, 2, JCM=UP)
    assert await read(statuses) == {"johor": statuses_by_subject, "kuching": {"JCM": UP}}

    await record_statuses(history, 3, JCM=UP)
    assert await read(statuses) == {"johor": statuses_by_subject | {"JCM": UP}, "kuching": {"JCM": UP}}


async def test_unchanged_status_is_not_rewritten_except_after_rename(database: Database) -> None:
    statuses, history = writers(database)
    await record_statuses(history, 1, JCM=DOWN)
    async with database.write() as connection:
        await connection.execute(delete(site_status))
    await record_statuses(history, 2, JCM=DOWN)
    assert await read(statuses) == {}
    history.rename(str)
    await record_statuses(history, 3, JCM=DOWN)
    assert await read(statuses) == {"johor": {"JCM": DOWN}}


async def test_reset_to_unknown_clears_trouble_and_up_of_site_only(database: Database) -> None:
    statuses, history = writers(database)
    _, other = writers(database, "kuching")
    await history.record_run(
        ended(1), "JCM", {}, statuses={"JCM": DOWN, "MDC": UP, "UCM": UNKNOWN, "ours/network": FAULT}
    )
    await record_statuses(other, 2, JCM=DOWN)
    await statuses.reset_to_unknown()
    unknown = {
        "JCM": SiteStatus(directions=DOWN.directions, failing_routes=DOWN.failing_routes),
        "MDC": SiteStatus(directions=UP.directions),
        "UCM": UNKNOWN,
        "ours/network": FAULT,
    }
    assert await read(statuses) == {"johor": unknown, "kuching": {"JCM": DOWN}}


async def test_status_not_stored_is_written_again(database: Database) -> None:
    statuses, history = writers(database)
    with pytest.raises(ProgrammingError):
        await history.record_run(ended(1), "JCM", {"JCM/internal": (object(), T0)}, statuses={"JCM": DOWN})  # type: ignore[dict-item]
    assert await read(statuses) == {}
    await record_statuses(history, 2, JCM=DOWN)
    assert await read(statuses) == {"johor": {"JCM": DOWN}}


async def test_delete_removes_statuses_of_own_site_only(database: Database) -> None:
    statuses, history = writers(database)
    for number, each in enumerate((history, writers(database, "kuching")[1])):
        await record_statuses(each, number, JCM=DOWN, MDC=UP)
    await statuses.delete({"JCM", "UCM"})
    assert await read(statuses) == {"johor": {"MDC": UP}, "kuching": {"JCM": DOWN, "MDC": UP}}
    await record_statuses(history, 3, JCM=DOWN)
    assert (await read(statuses))["johor"] == {"JCM": DOWN, "MDC": UP}, "the subject has returned"


async def test_concurrent_status_writes_keep_order(database: Database) -> None:
    statuses, history = writers(database)
    await record_statuses(history, 1, JCM=UP)
    await asyncio.gather(record_statuses(history, 2, JCM=DOWN), record_statuses(history, 3, JCM=UP))
    assert await read(statuses) == {"johor": {"JCM": UP}}


async def test_rewrite_statuses_overwrites_those_of_other_process(database: Database) -> None:
    statuses, history = writers(database)
    await record_statuses(history, 1, JCM=UP)
    await record_statuses(writers(database)[1], 2, JCM=DOWN)
    history.rewrite_statuses()
    await record_statuses(history, 3, JCM=UP)
    assert await read(statuses) == {"johor": {"JCM": UP}}


@pytest.mark.parametrize(
    "invalid",
    [
        {"type": "entah"},
        {"since": None},
        {"directions": "[1]"},
        {"directions": "{"},
        {"directions": 9000 * "["},
        {"failing_routes": "1"},
        {"failing_routes": '[1, "JCM/internal"]'},
        {"failing_routes": '{"JCM/internal": 1}'},
        {"failing_routes": f'["{"x" * 1_000_000}"]'},
    ],
    ids=lambda each: "-".join(f"{name}={value!s:.20}" for name, value in each.items()),
)
async def test_invalid_status_is_untroubled_and_hides_no_other(
    database: Database, invalid: dict[str, str | None]
) -> None:
    statuses, history = writers(database)
    await record_statuses(history, 1, JCM=DOWN, MDC=DOWN)
    async with database.write() as connection:
        await connection.execute(update(site_status).where(site_status.c.subject == "JCM").values(**invalid))
    assert await read(statuses) == {"johor": {"JCM": UNTROUBLED, "MDC": DOWN}}


async def test_invalid_status_is_logged_once_a_minute_per_site(tmp_path: Path) -> None:
    clock = [5.0]
    async with Database.open(tmp_path) as database:
        for number, site in enumerate(("johor", "kuching")):
            await record_statuses(writers(database, site)[1], number, JCM=DOWN, MDC=DOWN)
        async with database.write() as connection:
            await connection.execute(update(site_status).values(type="entah"))
        statuses = SiteStatuses(database, "utama", monotonic=lambda: clock[0])
        with capture_logs() as logged:
            for clock[0] in (5.0, 64.0, 65.0):
                await read(statuses)
    assert [line["site"] for line in logged if "is invalid" in line["event"]] == ["johor", "kuching"] * 2


async def test_subjects_by_site_returns_subjects_only(database: Database) -> None:
    for site, statuses_by_subject in (("johor", {"JCM": DOWN, "MDC": UP}), ("kuching", {"JCM": UP})):
        await record_statuses(writers(database, site)[1], 1, **statuses_by_subject)

    assert await SiteStatuses(database, "johor").subjects_by_site() == {"johor": {"JCM", "MDC"}, "kuching": {"JCM"}}


async def test_heartbeats_returns_latest_per_site(database: Database) -> None:
    johor, kuching = (SiteStatuses(database, site) for site in ("johor", "kuching"))
    for after in (0, 1):
        await johor.write_heartbeat(SiteHeartbeat(at=T0 + after * MINUTE, monotonic=after * MINUTE, incarnation="a"))
    there = SiteHeartbeat(at=T0, monotonic=timedelta(days=90, microseconds=7), incarnation="b")
    await kuching.write_heartbeat(there)
    assert await johor.heartbeats() == {
        "johor": SiteHeartbeat(at=T0 + MINUTE, monotonic=MINUTE, incarnation="a"),
        "kuching": there,
    }


@pytest.mark.real
async def test_changed_returns_only_statuses_since_mark(shared: Database) -> None:
    database, (statuses, history) = shared, writers(shared)
    _, other = writers(database, "kuching")
    await history.record_run(ended(1), "JCM", {}, statuses={"JCM": DOWN, "MDC": UP})
    everything, mark = await statuses.changed(None)
    assert everything == {"johor": {"JCM": DOWN, "MDC": UP}}

    await record_statuses(other, 2, JCM=DOWN)
    await record_statuses(history, 3, MDC=DOWN)
    changes, mark = await statuses.changed(mark)
    assert changes == {"kuching": {"JCM": DOWN}, "johor": {"MDC": DOWN}}
    assert (await statuses.changed(mark))[0] == {}


@pytest.mark.real
async def test_status_committed_during_read_is_in_next_changed(shared: Database) -> None:
    database, (statuses, _) = shared, writers(shared)
    async with database.write() as connection:
        # This transaction has an id, and other transactions commit while it is open.
        await connection.execute(text("SELECT pg_current_xact_id()"))
        await record_statuses(writers(database, "kuching")[1], 1, JCM=UP)
        _, mark = await statuses.changed(None)
        await connection.execute(*ucm_statement(statuses))
    changes, _ = await statuses.changed(mark)
    assert changes["johor"] == {"UCM": DOWN}


@pytest.mark.real
async def test_status_written_after_read_is_in_next_changed_despite_concurrent_writes(
    shared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, (statuses, history) = shared, writers(shared)
    _, mark = await statuses.changed(None)
    await record_statuses(history, 1, JCM=DOWN)
    execute = AsyncConnection.execute

    async def beside_others(connection: AsyncConnection, statement: Any, *values: Any, **ways: Any) -> Any:
        found = await execute(connection, statement, *values, **ways)
        if "pg_current_snapshot" in str(statement):
            for _ in range(3):
                async with database.write() as other:
                    await execute(other, text("SELECT pg_current_xact_id()"))
        return found

    monkeypatch.setattr(AsyncConnection, "execute", beside_others)
    changes, _ = await statuses.changed(mark)
    assert changes == {"johor": {"JCM": DOWN}}


async def test_rename_agency_renames_own_statuses_only(database: Database) -> None:
    statuses, history = writers(database)
    await record_statuses(history, 1, JCM=DOWN, UCM=UP)
    await record_statuses(writers(database, "kuching")[1], 2, JCM=UP)
    renaming = Renaming(kind=RenamedKind.AGENCY, old="JCM", new="JKM")
    for is_second_pass in (False, True):
        await Renames(database, "johor").rename(renaming, by="Siti Contoh", now=T0, is_second_pass=is_second_pass)
    found = await read(statuses)
    assert found["kuching"] == {"JCM": UP}
    assert found["johor"].keys() == {"JKM", "UCM"}
    assert found["johor"]["JKM"].trouble == DOWN.trouble
    assert found["johor"]["JKM"].failing_routes == {"JKM/outbound/rujukan-a", "JKM/outbound/rujukan-b"}


async def test_rename_locks_tables_in_order_of_joining_site(tmp_path: Path) -> None:
    written = list[str]()

    def note(_: object, __: object, statement: str, *___: object) -> None:
        written.extend(re.findall(r"\bUPDATE (\w+)", statement))

    async with Database.open(tmp_path) as database:
        await record_statuses(writers(database)[1], 1, JCM=DOWN)
        event.listen(Engine, "before_cursor_execute", note)
        try:
            renaming = Renaming(kind=RenamedKind.AGENCY, old="JCM", new="JKM")
            await Renames(database, "johor").rename(renaming, by="Siti Contoh", now=T0)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
    assert [each for each in dict.fromkeys(written) if each in TABLES] == [
        each for each in TABLES if each != "site_heartbeat"
    ]


async def test_rename_keeps_status_of_new_name(database: Database) -> None:
    statuses, history = writers(database)
    await record_statuses(history, 1, JCM=DOWN, JKM=UP)
    renaming = Renaming(kind=RenamedKind.AGENCY, old="JCM", new="JKM")
    await Renames(database, "johor").rename(renaming, by="Siti Contoh", now=T0)
    assert await read(statuses) == {"johor": {"JKM": UP}}


@pytest.mark.real
@pytest.mark.parametrize("time", ["infinity", "-infinity", "294000-01-01"])
async def test_out_of_range_time_is_refused_by_database(shared: Database, time: str) -> None:
    statuses, history = writers(shared)
    await record_statuses(history, 1, JCM=DOWN)
    for table, column in (("site_status", "since"), ("site_status", "up_since"), ("site_heartbeat", "at")):
        await statuses.write_heartbeat(SiteHeartbeat(at=T0, monotonic=MINUTE, incarnation="a"))
        with pytest.raises(IntegrityError):
            async with shared.write() as connection:
                await connection.execute(text(f"UPDATE {table} SET {column} = '{time}'"))
    assert await read(statuses) == {"johor": {"JCM": DOWN}}
