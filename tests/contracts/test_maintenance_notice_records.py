"""Maintenance notices on both stores."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select

from alerts.documents.maintenance_notice import MaintenanceNotice, MaintenanceNoticeKind
from alerts.persistence.store import AuditEntry
from monitor.model.renaming import RenamedKind, Renaming
from monitor.store.admin import purge
from monitor.store.admin.maintenance_notices import NOTICE_CREATED, MaintenanceNoticeRecords
from monitor.store.admin.renames import Renames
from monitor.store.backend.database import Database
from monitor.store.schema.tables import audit_log, maintenance_notice
from tests.unit.alerts.people import T0

DAY = timedelta(days=1)
PLANNED = MaintenanceNotice(
    kind=MaintenanceNoticeKind.PLANNED,
    number="JCM-P261124-1415",
    starts_at=T0 + 7 * DAY,
    ends_at=T0 + 8 * DAY,
    reason="Naik taraf pelayan mel",
    made_at=T0,
    made_by="Siti Contoh (siti)",
)
#: The maintenance is earlier than announced.
MOVED = replace(
    PLANNED,
    kind=MaintenanceNoticeKind.CHANGED,
    number="JCM-P261124-1416",
    starts_at=T0 + 2 * DAY,
    ends_at=T0 + 3 * DAY,
    before=PLANNED,
)


async def add(records: MaintenanceNoticeRecords, agency: str, notice: MaintenanceNotice) -> bool:
    return await records.add(agency, notice, await records.of(agency, notice.made_at))


async def test_maintenance_notice_is_found_by_agency_until_work_ends(database: Database) -> None:
    records = MaintenanceNoticeRecords(database)
    assert await add(records, "JCM", PLANNED)
    assert await add(records, "MDC", replace(PLANNED, number="MDC-P261124-1415"))
    found = await records.of("JCM", T0)
    assert (found.notices, found.replaced_numbers) == ([PLANNED], frozenset())
    assert await records.find("JCM", PLANNED.number) == PLANNED
    assert await records.find("MDC", PLANNED.number) is None
    assert await records.taken([PLANNED.number, "JCM-P261124-1500"]) == {PLANNED.number}
    assert (await records.of("JCM", PLANNED.ends_at)).notices == []
    # Its pages can still be printed.
    assert await records.find("JCM", PLANNED.number) == PLANNED
    async with database.read() as connection:
        kept = (
            await connection.execute(
                select(audit_log).where(audit_log.c.event == NOTICE_CREATED).order_by(audit_log.c.id)
            )
        ).first()
        rows = (
            (await connection.execute(select(maintenance_notice.c.entry).order_by(maintenance_notice.c.id)))
            .scalars()
            .all()
        )
    assert kept is not None
    assert (kept.actor, kept.detail["from"], rows[0]) == ("Siti Contoh (siti)", PLANNED.starts_at.isoformat(), kept.id)


async def test_replaced_notice_stays_replaced_after_replacing_work_ends(database: Database) -> None:
    records = MaintenanceNoticeRecords(database)
    for each in (PLANNED, MOVED):
        assert await add(records, "JCM", each)
    found = await records.of("JCM", MOVED.ends_at)
    assert (found.notices, found.replaced_numbers) == ([PLANNED], {PLANNED.number})
    assert await records.find("JCM", MOVED.number) == MOVED


async def test_add_with_outdated_list_or_taken_number_is_refused(database: Database) -> None:
    records = MaintenanceNoticeRecords(database)
    seen = await records.of("JCM", T0)
    assert await add(records, "JCM", PLANNED)
    assert not await records.add("JCM", replace(PLANNED, number="JCM-P261124-1417"), seen)
    # Nor is a number used twice, also by another agency.
    assert not await records.add("JCMX", PLANNED, seen)
    async with database.read() as connection:
        assert (
            len((await connection.execute(select(audit_log.c.id).where(audit_log.c.event == NOTICE_CREATED))).all())
            == 1
        )


async def test_rename_agency_renames_maintenance_notices(database: Database) -> None:
    records = MaintenanceNoticeRecords(database)
    assert await add(records, "JCM", PLANNED)
    renaming = Renaming(kind=RenamedKind.AGENCY, old="JCM", new="JKM")
    await Renames(database).rename(renaming, by="Siti Contoh", now=T0, is_second_pass=False)
    assert (await records.of("JKM", T0)).notices == [PLANNED]
    assert (await records.of("JCM", T0)).notices == []


async def test_purge_deletes_maintenance_notice_with_its_entry(database: Database) -> None:
    records = MaintenanceNoticeRecords(database)
    assert await add(records, "JCM", PLANNED)
    later = replace(MOVED, made_at=T0 + DAY)
    assert await add(records, "JCM", later)
    async with database.write() as connection:
        search = purge.Search(T0 + DAY)
        purge_set = await search.search_next(connection)
        said = AuditEntry(
            at=T0 + 9 * DAY, actor="Puan Arkib Contoh", event="", detail={"authority": "ANM.600-1/7/3 (12)"}
        )
        await purge.delete_records(connection, purge_set, said)
    assert await records.find("JCM", PLANNED.number) is None
    assert await records.find("JCM", later.number) == replace(later, before=None)
