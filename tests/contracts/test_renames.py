"""Renaming of an agency's records on both stores. The audit log is not changed."""

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
from monitor.model.renaming import RenamedKind, Renaming
from monitor.store.admin.renames import Renames
from monitor.store.admin.tokens import TokenRecords
from monitor.store.admin.users import Users
from monitor.store.admin.wallboards import WallboardLink, WallboardLinks
from monitor.store.backend.database import Database
from monitor.store.engine.drills import Drills
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import History
from monitor.store.schema.tables import audit_log
from probes.model.result import Outcome
from tests.unit.alerts.people import MINUTE, SNAPSHOT, T0, trigger
from tests.unit.monitor.store.probing.test_history import ended

RENAMING = Renaming(kind=RenamedKind.AGENCY, old="JCM", new="JKM")
BY = "Siti Contoh"
DAY = timedelta(days=1)


async def record_runs(database: Database, *numbers: int, agency: str = "JCM") -> None:
    history = History(database)
    for number in numbers:
        result = replace(ended(number, Outcome.REJECTED, T0 + number * MINUTE), route=f"{agency}/internal")
        graded = GradedRun(token_id=result.token_id, started_at=T0, outcome=result.outcome, grade=Grade.BAD)
        judged = {f"{agency}/internal": (Health.DOWN, T0 + number * MINUTE)}
        streaks = {f"{agency}/internal": (graded,)}
        await history.record_sent_token(result.token_id, result.route, T0, T0 + MINUTE)
        await history.record_run(result, agency, judged, streaks=streaks, grade=Grade.BAD, interval=5 * MINUTE)


async def renamed(database: Database, *, is_second_pass: bool = False) -> dict[str, int]:
    return dict(await Renames(database).rename(RENAMING, by=BY, now=T0 + DAY, is_second_pass=is_second_pass))


async def entries(database: Database) -> Sequence[Any]:
    async with database.read() as connection:
        return (await connection.execute(select(audit_log).order_by(audit_log.c.id))).all()


async def test_rename_changes_all_records_and_no_audit_entry(database: Database, store: SqlStore) -> None:
    await record_runs(database, 1, 2, 3)
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
        # People quote the old number.
        assert (await uow.incident_by_number("JCM-01")) == found
        assert await uow.last_incident("JCM") is None
        assert list(await uow.detected_keys()) == ["JKM"]
        assert sorted(silence.target for silence in await uow.silences(T0 + MINUTE)) == ["JKM/internal", "UCM"]
    after = await entries(database)
    assert after[: len(before)] == before, "the audit log is not rewritten"
    general, about_incident = after[len(before) :]
    assert (general.event, general.actor, general.incident_id) == ("renamed", BY, None)
    assert {"old": "JCM", "new": "JKM", "runs": "3"}.items() <= general.detail.items()
    assert (about_incident.event, about_incident.incident_id) == ("renamed", opened.id)


async def test_rename_merges_into_records_of_new_name(database: Database) -> None:
    """The file was edited first, and the rename command came later."""
    await record_runs(database, 1, 2)
    await record_runs(database, 3, agency="JKM")
    await renamed(database)
    history = History(database)
    assert len(await history.between("JKM", T0 - DAY, T0 + DAY)) == 3
    # The health under the new name is the latest.
    assert await history.healths() == {"JKM/internal": (Health.DOWN, T0 + 3 * MINUTE)}
    find_records = await Renames(database).find_records("JKM")
    assert (find_records.since, find_records.incidents, find_records.open) == (T0.replace(minute=0), 0, None)
    assert not (await Renames(database).find_records("JCM")).has_any_record


async def test_rename_rest_adds_later_records_without_audit_entry(database: Database) -> None:
    renames = Renames(database)
    await record_runs(database, 1)
    assert not await renames.is_already_renamed(RENAMING)
    await renamed(database)
    await record_runs(database, 2)
    count = len(await entries(database))
    assert await renamed(database, is_second_pass=True) == {"routes": 1, "runs": 1, "incidents": 0}
    assert len(await entries(database)) == count
    assert await renames.is_already_renamed(RENAMING)
    assert not await renames.is_already_renamed(replace(RENAMING, new="JXM"))
    assert not await renames.has_probe_records(RENAMING)
    assert len(await History(database).between("JKM", T0 - DAY, T0 + DAY)) == 2


async def test_rename_with_open_incidents_of_both_keeps_them_apart(database: Database, store: SqlStore) -> None:
    trigger_of_new_name = replace(trigger(), dedup_key="JKM", policy=replace(SNAPSHOT, agency="JKM"))
    async with store.transaction() as uow:
        await uow.add_incidents([trigger()])
        await uow.add_incidents([trigger_of_new_name])
    assert (await renamed(database))["incidents"] == 0
    async with store.reading() as uow:
        assert {i.dedup_key: i.state for i in await uow.open_incidents()} == dict.fromkeys(
            ("JCM", "JKM"), IncidentState.TRIGGERED
        )


async def test_rename_keeps_permissions_for_agency(database: Database) -> None:
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
    await walls.add(replace(link, scope=AgencyScope(is_unrestricted=True)), "c" * 64, entry)
    await Drills(database).begin("asked", contact="JCM/all", requested_by=BY, starts_at=T0, ends_at=T0 + DAY)
    for _ in range(2):
        await renamed(database, is_second_pass=True)

    expected = {parse_assignment(each) for each in ("officer:JKM", "duty:JKM", "viewer", "clerk:UCM")}
    found = await users.find("siti")
    assert found is not None
    assert found.user.assignments == expected
    assert [set(each.assignments) for each in await tokens.all()] == [expected]
    assert [each.scope for each in await walls.list_valid(T0)] == [
        AgencyScope(is_unrestricted=True),
        AgencyScope(agencies=frozenset({"JKM", "UCM"})),
    ]
    assert [each.contact for each in await Drills(database).under_way()] == ["JKM/all"]
