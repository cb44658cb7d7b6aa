"""The records of an agency follow it under another name, and the journal stays as it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from alerts.model.incident import IncidentState
from alerts.model.notification import IncidentType
from alerts.persistence.store import AuditEntry
from monitor.access.role import AgencyScope, parse_assignment
from monitor.evaluation.health_tracker import GradedRun
from monitor.model.health import Grade, Health
from monitor.model.renaming import Renamed, Renaming
from monitor.store.admin.renames import Renames
from monitor.store.admin.tokens import TokenRecords
from monitor.store.admin.users import Users
from monitor.store.admin.wallboards import WallboardLink, WallboardLinks
from monitor.store.backend.database import Database
from monitor.store.engine.drills import Drills
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.history import History
from monitor.store.schema.tables import audit_log
from probes.model.result import Outcome
from tests.unit.alerts.people import BRIEF, MINUTE, T0, trigger
from tests.unit.monitor.store.probing.test_history import ended

RENAMING = Renaming(kind=Renamed.AGENCY, old="JCM", new="JKM")
BY = "Siti Contoh"
DAY = timedelta(days=1)


async def ran(database: Database, *numbers: int, agency: str = "JCM") -> None:
    history = History(database)
    for number in numbers:
        result = replace(ended(number, Outcome.REJECTED, T0 + number * MINUTE), route=f"{agency}/internal")
        graded = GradedRun(token_id=result.token_id, started_at=T0, outcome=result.outcome, grade=Grade.BAD)
        judged = {f"{agency}/internal": (Health.DOWN, T0 + number * MINUTE)}
        streaks = {f"{agency}/internal": (graded,)}
        await history.record_sent_token(result.token_id, result.route, T0, T0 + MINUTE)
        await history.record_run(result, agency, judged, streaks=streaks, grade=Grade.BAD, interval=5 * MINUTE)


async def renamed(database: Database, *, is_rest: bool = False) -> dict[str, int]:
    return dict(await Renames(database).rename(RENAMING, by=BY, now=T0 + DAY, is_rest=is_rest))


async def entries(database: Database) -> Sequence[Any]:
    async with database.read() as connection:
        return (await connection.execute(select(audit_log).order_by(audit_log.c.id))).all()


async def test_all_that_hangs_on_the_name_follows(database: Database, store: SqlStore) -> None:
    await ran(database, 1, 2, 3)
    async with store.transaction() as uow:
        [opened] = await uow.add_incidents([trigger(IncidentType.BOTH)])
        await uow.add_silence("JCM/internal", T0, T0 + DAY, "kerja", BY)
        await uow.add_silence("UCM", T0, T0 + DAY, "kerja", BY)
    before = await entries(database)

    assert await renamed(database) == {"routes": 1, "runs": 3, "incidents": 1}

    history = History(database)
    assert {r.route for r in await history.between("JKM", T0 - DAY, T0 + DAY)} == {"JKM/internal"}
    assert await history.between("JCM", T0 - DAY, T0 + DAY) == []
    assert list(await history.latest()) == ["JKM/internal"]
    assert await history.healths() == {"JKM/internal": (Health.DOWN, T0 + 3 * MINUTE)}
    assert list(await history.streaks()) == ["JKM/internal"]
    assert {sent.route for sent in (await history.tokens(T0)).values()} == {"JKM/internal"}
    async with store.reading() as uow:
        found = await uow.last_incident("JKM")
        assert found is not None
        assert (found.id, found.number, found.policy.agency) == (opened.id, "JCM-01", "JKM")
        # People quote the number that they have been told.
        assert (await uow.incident_by_number("JCM-01")) == found
        assert await uow.last_incident("JCM") is None
        assert list(await uow.detected_keys()) == ["JKM"]
        assert sorted(silence.target for silence in await uow.silences(T0 + MINUTE)) == ["JKM/internal", "UCM"]
    after = await entries(database)
    assert after[: len(before)] == before, "the journal is never written anew"
    general, about = after[len(before) :]
    assert (general.event, general.actor, general.incident_id) == ("renamed", BY, None)
    assert {"old": "JCM", "new": "JKM", "runs": "3"}.items() <= general.detail.items()
    assert (about.event, about.incident_id) == ("renamed", opened.id)


async def test_what_is_there_under_the_new_name_is_added_to(database: Database) -> None:
    """Somebody has edited the file alone, and says later that it is the same agency."""
    await ran(database, 1, 2)
    await ran(database, 3, agency="JKM")
    await renamed(database)
    history = History(database)
    assert len(await history.between("JKM", T0 - DAY, T0 + DAY)) == 3
    # What was judged under the new name is the news.
    assert await history.healths() == {"JKM/internal": (Health.DOWN, T0 + 3 * MINUTE)}
    known = await Renames(database).known("JKM")
    assert (known.since, known.incidents, known.open) == (T0.replace(minute=0), 0, None)
    assert not (await Renames(database).known("JCM")).is_anything


async def test_what_was_written_under_the_old_name_meanwhile_follows_without_another_entry(database: Database) -> None:
    renames = Renames(database)
    await ran(database, 1)
    assert not await renames.is_already_renamed(RENAMING)
    await renamed(database)
    await ran(database, 2)
    count = len(await entries(database))
    assert await renamed(database, is_rest=True) == {"routes": 1, "runs": 1, "incidents": 0}
    assert len(await entries(database)) == count
    assert await renames.is_already_renamed(RENAMING)
    assert not await renames.is_already_renamed(replace(RENAMING, new="JXM"))
    assert not await renames.has_any(RENAMING)
    assert len(await History(database).between("JKM", T0 - DAY, T0 + DAY)) == 2


async def test_an_open_incident_of_each_stays_with_its_name(database: Database, store: SqlStore) -> None:
    theirs = replace(trigger(), dedup_key="JKM", policy=replace(BRIEF, agency="JKM"))
    async with store.transaction() as uow:
        await uow.add_incidents([trigger()])
        await uow.add_incidents([theirs])
    assert (await renamed(database))["incidents"] == 0
    async with store.reading() as uow:
        assert {i.dedup_key: i.state for i in await uow.open_incidents()} == dict.fromkeys(
            ("JCM", "JKM"), IncidentState.TRIGGERED
        )


async def test_who_may_something_for_the_agency_may_it_still(database: Database) -> None:
    users, tokens, walls = Users(database), TokenRecords(database), WallboardLinks(database)
    of_both = {parse_assignment(each) for each in ("officer:JCM", "duty:JCM", "duty:JKM", "viewer", "clerk:UCM")}
    entry = AuditEntry(at=T0, actor=BY, event="said")
    number = await users.add("siti", "Siti Contoh", entry)
    await users.assign(number, of_both, entry)
    await tokens.add("konsol", "a" * 64, of_both, T0 + DAY, entry)
    link = WallboardLink(
        name="Dinding", scope=AgencyScope(agencies={"JCM", "UCM"}), made_by=BY, made_at=T0, ends_at=T0 + DAY
    )
    await walls.add(link, "b" * 64, entry)
    await walls.add(replace(link, scope=AgencyScope(everything=True)), "c" * 64, entry)
    await Drills(database).begin("asked", contact="JCM/all", requested_by=BY, begins_at=T0, ends_at=T0 + DAY)
    for _ in range(2):
        await renamed(database, is_rest=True)

    wanted = {parse_assignment(each) for each in ("officer:JKM", "duty:JKM", "viewer", "clerk:UCM")}
    found = await users.find("siti")
    assert found is not None
    assert found.user.assignments == wanted
    assert [set(each.assignments) for each in await tokens.all()] == [wanted]
    assert [each.scope for each in await walls.at(T0)] == [
        AgencyScope(everything=True),
        AgencyScope(agencies=frozenset({"JKM", "UCM"})),
    ]
    assert [each.contact for each in await Drills(database).under_way()] == ["JKM/all"]
