"""What sites say of what they watch, on both stores: read as it was said, and written with the run that made them say so."""

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
from monitor.model.renaming import Renamed, Renaming
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
WELL = SiteStatus(up_since=T0 + timedelta(hours=1), directions={Direction.OUTBOUND: Health.UP})
NOT_CLEAR = SiteStatus(directions={Direction.OUTBOUND: Health.UNKNOWN})
OURS = SiteStatus(trouble=ActiveProblem(type=IncidentType.MONITORING_FAULT, since=T0))


def writers(database: Database, site: str = "johor") -> tuple[SiteStatuses, History]:
    standings = SiteStatuses(database, site)
    return standings, History(database, standings)


async def read(standings: SiteStatuses) -> Mapping[str, Mapping[str, SiteStatus]]:
    found, _ = await standings.changed(None)
    return found


@pytest.fixture
async def shared(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(tmp_path, postgres.store()) as database:
        yield database


def history_row(standings: SiteStatuses) -> Statement:
    return standings.statements({"UCM": DOWN})["UCM"]


async def said(history: History, number: int, **levels: SiteStatus) -> None:
    await history.record_run(ended(number), "JCM", {}, statuses=levels)


async def test_what_a_site_says_is_read_as_it_was_said(database: Database) -> None:
    standings, history = writers(database)
    _, other = writers(database, "kuching")
    levels = {"JCM": DOWN, "MDC": WELL, "UCM": NOT_CLEAR, "ours/network": OURS}
    await history.record_run(ended(1), "JCM", {}, statuses=levels)
    await said(other, 2, JCM=WELL)
    assert await read(standings) == {"johor": levels, "kuching": {"JCM": WELL}}

    await said(history, 3, JCM=WELL)
    assert await read(standings) == {"johor": levels | {"JCM": WELL}, "kuching": {"JCM": WELL}}


async def test_what_was_said_already_is_not_written_again_but_for_what_was_renamed(database: Database) -> None:
    standings, history = writers(database)
    await said(history, 1, JCM=DOWN)
    async with database.write() as connection:
        await connection.execute(delete(site_status))
    await said(history, 2, JCM=DOWN)
    assert await read(standings) == {}
    history.rename(str)
    await said(history, 3, JCM=DOWN)
    assert await read(standings) == {"johor": {"JCM": DOWN}}


async def test_mark_stale_leaves_no_agency_of_the_site_in_trouble_or_well(database: Database) -> None:
    standings, history = writers(database)
    _, other = writers(database, "kuching")
    await history.record_run(
        ended(1), "JCM", {}, statuses={"JCM": DOWN, "MDC": WELL, "UCM": NOT_CLEAR, "ours/network": OURS}
    )
    await said(other, 2, JCM=DOWN)
    await standings.reset_to_unknown()
    unclear = {
        "JCM": SiteStatus(directions=DOWN.directions, failing_routes=DOWN.failing_routes),
        "MDC": SiteStatus(directions=WELL.directions),
        "UCM": NOT_CLEAR,
        "ours/network": OURS,
    }
    assert await read(standings) == {"johor": unclear, "kuching": {"JCM": DOWN}}


async def test_what_could_not_be_stored_is_said_again(database: Database) -> None:
    standings, history = writers(database)
    with pytest.raises(ProgrammingError):
        await history.record_run(ended(1), "JCM", {"JCM/internal": (object(), T0)}, statuses={"JCM": DOWN})  # type: ignore[dict-item]
    assert await read(standings) == {}
    await said(history, 2, JCM=DOWN)
    assert await read(standings) == {"johor": {"JCM": DOWN}}


async def test_what_a_site_says_no_more_is_gone_and_that_of_others_stays(database: Database) -> None:
    standings, history = writers(database)
    for number, each in enumerate((history, writers(database, "kuching")[1])):
        await said(each, number, JCM=DOWN, MDC=WELL)
    await standings.delete({"JCM", "UCM"})
    assert await read(standings) == {"johor": {"MDC": WELL}, "kuching": {"JCM": DOWN, "MDC": WELL}}
    await said(history, 3, JCM=DOWN)
    assert (await read(standings))["johor"] == {"JCM": DOWN, "MDC": WELL}, "it has come back"


async def test_what_is_again_as_it_was_while_something_else_is_written_is_written_behind_it(database: Database) -> None:
    standings, history = writers(database)
    await said(history, 1, JCM=WELL)
    await asyncio.gather(said(history, 2, JCM=DOWN), said(history, 3, JCM=WELL))
    assert await read(standings) == {"johor": {"JCM": WELL}}


async def test_what_another_process_of_the_site_has_said_meanwhile_is_said_anew(database: Database) -> None:
    standings, history = writers(database)
    await said(history, 1, JCM=WELL)
    await said(writers(database)[1], 2, JCM=DOWN)
    history.rewrite_statuses()
    await said(history, 3, JCM=WELL)
    assert await read(standings) == {"johor": {"JCM": WELL}}


@pytest.mark.parametrize(
    "nonsense",
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
async def test_what_makes_no_sense_says_nothing_and_hides_nothing_else(
    database: Database, nonsense: dict[str, str | None]
) -> None:
    standings, history = writers(database)
    await said(history, 1, JCM=DOWN, MDC=DOWN)
    async with database.write() as connection:
        await connection.execute(update(site_status).where(site_status.c.subject == "JCM").values(**nonsense))
    assert await read(standings) == {"johor": {"JCM": UNTROUBLED, "MDC": DOWN}}


async def test_of_each_site_that_makes_no_sense_is_logged_once_a_minute(tmp_path: Path) -> None:
    clock = [5.0]
    async with Database.open(tmp_path) as database:
        for number, site in enumerate(("johor", "kuching")):
            await said(writers(database, site)[1], number, JCM=DOWN, MDC=DOWN)
        async with database.write() as connection:
            await connection.execute(update(site_status).values(type="entah"))
        standings = SiteStatuses(database, "utama", monotonic=lambda: clock[0])
        with capture_logs() as logged:
            for clock[0] in (5.0, 64.0, 65.0):
                await read(standings)
    assert [line["site"] for line in logged if "is invalid" in line["event"]] == ["johor", "kuching"] * 2


async def test_of_whom_sites_speak_is_known_without_what_they_say(database: Database) -> None:
    for site, levels in (("johor", {"JCM": DOWN, "MDC": WELL}), ("kuching", {"JCM": WELL})):
        await said(writers(database, site)[1], 1, **levels)

    assert await SiteStatuses(database, "johor").subjects_by_site() == {"johor": {"JCM", "MDC"}, "kuching": {"JCM"}}


async def test_a_site_has_one_beat_the_latest(database: Database) -> None:
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
async def test_what_was_said_otherwise_since_a_mark_is_all_that_is_read(shared: Database) -> None:
    database, (standings, history) = shared, writers(shared)
    _, other = writers(database, "kuching")
    await history.record_run(ended(1), "JCM", {}, statuses={"JCM": DOWN, "MDC": WELL})
    everything, mark = await standings.changed(None)
    assert everything == {"johor": {"JCM": DOWN, "MDC": WELL}}

    await said(other, 2, JCM=DOWN)
    await said(history, 3, MDC=DOWN)
    news, mark = await standings.changed(mark)
    assert news == {"kuching": {"JCM": DOWN}, "johor": {"MDC": DOWN}}
    assert (await standings.changed(mark))[0] == {}


@pytest.mark.real
async def test_what_is_written_while_somebody_reads_is_news_to_the_next_look(shared: Database) -> None:
    database, (standings, _) = shared, writers(shared)
    async with database.write() as connection:
        # Under way, with a number of its own, while others commit after it and before it.
        await connection.execute(text("SELECT pg_current_xact_id()"))
        await said(writers(database, "kuching")[1], 1, JCM=WELL)
        _, mark = await standings.changed(None)
        await connection.execute(*history_row(standings))
    news, _ = await standings.changed(mark)
    assert news["johor"] == {"UCM": DOWN}


@pytest.mark.real
async def test_what_was_written_right_after_a_look_is_news_though_others_begin_in_the_middle_of_the_next(
    shared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, (standings, history) = shared, writers(shared)
    _, mark = await standings.changed(None)
    await said(history, 1, JCM=DOWN)
    execute = AsyncConnection.execute

    async def beside_others(connection: AsyncConnection, statement: Any, *values: Any, **ways: Any) -> Any:
        found = await execute(connection, statement, *values, **ways)
        if "pg_current_snapshot" in str(statement):
            for _ in range(3):
                async with database.write() as other:
                    await execute(other, text("SELECT pg_current_xact_id()"))
        return found

    monkeypatch.setattr(AsyncConnection, "execute", beside_others)
    news, _ = await standings.changed(mark)
    assert news == {"johor": {"JCM": DOWN}}


async def test_what_a_site_says_follows_who_is_called_otherwise_and_others_rename_theirs(database: Database) -> None:
    standings, history = writers(database)
    await said(history, 1, JCM=DOWN, UCM=WELL)
    await said(writers(database, "kuching")[1], 2, JCM=WELL)
    renaming = Renaming(kind=Renamed.AGENCY, old="JCM", new="JKM")
    for is_rest in (False, True):
        await Renames(database, "johor").rename(renaming, by="Siti Contoh", now=T0, is_rest=is_rest)
    found = await read(standings)
    assert found["kuching"] == {"JCM": WELL}
    assert found["johor"].keys() == {"JKM", "UCM"}
    assert found["johor"]["JKM"].trouble == DOWN.trouble
    assert found["johor"]["JKM"].failing_routes == {"JKM/outbound/rujukan-a", "JKM/outbound/rujukan-b"}


async def test_a_rename_locks_tables_in_the_order_in_which_a_site_that_joins_does(tmp_path: Path) -> None:
    written = list[str]()

    def note(_: object, __: object, statement: str, *___: object) -> None:
        written.extend(re.findall(r"\bUPDATE (\w+)", statement))

    async with Database.open(tmp_path) as database:
        await said(writers(database)[1], 1, JCM=DOWN)
        event.listen(Engine, "before_cursor_execute", note)
        try:
            renaming = Renaming(kind=Renamed.AGENCY, old="JCM", new="JKM")
            await Renames(database, "johor").rename(renaming, by="Siti Contoh", now=T0)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
    assert [each for each in dict.fromkeys(written) if each in TABLES] == [
        each for each in TABLES if each != "site_heartbeat"
    ]


async def test_what_is_said_under_the_new_name_already_stays(database: Database) -> None:
    standings, history = writers(database)
    await said(history, 1, JCM=DOWN, JKM=WELL)
    renaming = Renaming(kind=Renamed.AGENCY, old="JCM", new="JKM")
    await Renames(database, "johor").rename(renaming, by="Siti Contoh", now=T0)
    assert await read(standings) == {"johor": {"JKM": WELL}}


@pytest.mark.real
@pytest.mark.parametrize("time", ["infinity", "-infinity", "294000-01-01"])
async def test_a_time_that_nobody_can_read_is_refused_where_it_would_hide_what_all_say(
    shared: Database, time: str
) -> None:
    standings, history = writers(shared)
    await said(history, 1, JCM=DOWN)
    for table, column in (("site_status", "since"), ("site_status", "up_since"), ("site_heartbeat", "at")):
        await standings.write_heartbeat(SiteHeartbeat(at=T0, monotonic=MINUTE, incarnation="a"))
        with pytest.raises(IntegrityError):
            async with shared.write() as connection:
                await connection.execute(text(f"UPDATE {table} SET {column} = '{time}'"))
    assert await read(standings) == {"johor": {"JCM": DOWN}}
