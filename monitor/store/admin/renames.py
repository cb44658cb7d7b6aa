"""Renaming of an agency or a mailbox in all records except the audit log, which stays as written.

Records contain such names in agency codes, route names ("JCM/outbound/rujukan-a"), rota names ("JCM/bertugas"), the
subjects of health records, and the dedup keys of incidents. Each method of `Renaming`, such as `route`, translates one
sort of name; it returns a name that does not change as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Column, Table, delete, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.persistence.store import AuditEntry
from monitor.model.day import DayTimeline
from monitor.model.renaming import RenamedKind, Renaming
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.probing.hours import add_counts
from monitor.store.schema.rows import POLICY
from monitor.store.schema.skip_scan import select_distinct
from monitor.store.schema.tables import (
    audit_log,
    day,
    drill,
    drill_notification,
    health,
    hour,
    incident,
    maintenance_notice,
    override,
    pin_attempt,
    role_assignment,
    rota_feed,
    run,
    silence,
    site_hour,
    site_run,
    site_status,
    streak,
    token,
    token_role,
    wallboard_link,
)

#: Name of the audit event, by which the former names of an agency are found in the audit log.
RENAMED = "renamed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyRecords:
    """Records under an agency's name."""

    #: Start of the first hour with probe results; `None`: the agency was never probed.
    since: datetime | None
    #: Number of incidents, open or resolved.
    incidents: int
    #: Incident number of the open incident; `None`: none is open.
    open: str | None = None

    @property
    def has_any_record(self) -> bool:
        """Whether there are any records."""
        return self.since is not None or self.incidents > 0


class Renames:
    """Renames records, each time in one transaction."""

    def __init__(self, database: Database, site: str = "") -> None:
        """*site*: the site of this service; "": there are no sites. Each site renames its own published statuses."""
        self._database = database
        self._site = site

    async def find_records(self, agency: str) -> AgencyRecords:
        """Return the records under the name (code) *agency*."""
        is_of_agency = incident.c.dedup_key == agency
        async with self._database.read() as connection:
            since = (
                await connection.execute(select(func.min(hour.c.starts_at)).where(hour.c.agency == agency))
            ).scalar()
            count = (await connection.execute(select(func.count()).where(is_of_agency))).scalar_one()
            numbers = select(incident.c.number).where(is_of_agency, incident.c.resolved_at.is_(None))
            return AgencyRecords(since=since, incidents=count, open=(await connection.execute(numbers)).scalar())

    async def has_probe_records(self, renaming: Renaming) -> bool:
        """Whether probe records exist under the old name."""
        async with self._database.read() as connection:
            subjects = (await connection.execute(select(health.c.subject))).scalars()
            return any(renaming.tracker(each) != each for each in subjects) or bool(await _routes(connection, renaming))

    async def agencies(self) -> list[str]:
        """Return all agencies that have records."""
        codes = select_distinct(hour.c.agency)
        async with self._database.read() as connection:
            agencies = set((await connection.execute(select(codes.c.agency))).scalars())
            agencies |= set((await connection.execute(select(incident.c.agency).distinct())).scalars())
        # Control routes, which probe between reference mailboxes, have no agency.
        return sorted(agencies - {""} - {None})

    async def is_already_renamed(self, renaming: Renaming) -> bool:
        """Whether the audit log has this rename. Processes may have written rows under the old name since then."""
        query = select(audit_log.c.detail).where(audit_log.c.event == RENAMED)
        return any(
            (row.detail.get("what"), row.detail.get("old"), row.detail.get("new"))
            == (str(renaming.kind), renaming.old, renaming.new)
            for row in await self._database.rows(query)
        )

    async def rename(
        self, renaming: Renaming, *, by: str, now: datetime, is_second_pass: bool = False
    ) -> Mapping[str, int]:
        """Rename all records, and append an audit entry. Return the numbers of renamed routes, runs and incidents.

        *is_second_pass*: the rename was done before, and this pass renames rows that were written under the old name
        since; it appends no audit entry.
        """
        async with self._database.exclusive() as connection:
            # Statuses come first: a joining site locks these tables in the same order, so that no deadlock occurs.
            await _move_statuses(connection, self._site, renaming)
            counts, still_open = await _rename_records(connection, self._database, renaming)
            if not is_second_pass:
                names = {"what": str(renaming.kind), "old": renaming.old, "new": renaming.new}
                entry = AuditEntry(
                    at=now, actor=by, event=RENAMED, detail=names | {n: str(c) for n, c in counts.items()}
                )
                # Each open incident also gets an entry of its own.
                incident_entries = [replace(entry, incident_id=incident_id, detail=names) for incident_id in still_open]
                await audit.append(connection, [entry, *incident_entries])
        return counts


async def _rename_records(
    connection: AsyncConnection, database: Database, renaming: Renaming
) -> tuple[dict[str, int], list[int]]:
    """Return the number of renamed records of each kind, and the ids of the open incidents among them."""
    counts = {"routes": 0, "runs": 0, "incidents": 0}
    for agency, route in await _routes(connection, renaming):
        new = {"agency": renaming.agency(agency), "route": renaming.route(route)}
        of_route = (run.c.agency == agency) & (run.c.route == route)
        counts["routes"] += 1
        counts["runs"] += (await connection.execute(update(run).where(of_route).values(new))).rowcount
        await _move_hours(connection, database, agency, route, new)
        await connection.execute(update(token).where(token.c.route == route).values(route=new["route"]))
        await _move_published(connection, agency, route, new)
    for table in (health, streak):
        await _move_subjects(connection, table, renaming)
    counts["incidents"], still_open = await _move_incidents(connection, renaming)
    await _move_each(connection, silence, silence.c.target, renaming.key)
    await _move_each(connection, override, override.c.rota, renaming.rota)
    await _move_each(connection, rota_feed, rota_feed.c.rota, renaming.rota)
    if renaming.kind is RenamedKind.AGENCY:
        await _move_days(connection, database, renaming)
        # A drill of one agency's contacts, "JCM/all", has the form of a rota's name.
        await _move_each(connection, drill, drill.c.contact, renaming.rota)
        await _move_access(connection, renaming)
        for table in (drill_notification, pin_attempt, maintenance_notice):
            column = table.c.agency
            await connection.execute(update(table).where(column == renaming.old).values({column: renaming.new}))
    return counts, still_open


async def _routes(connection: AsyncConnection, renaming: Renaming) -> list[tuple[str, str]]:
    """Return the routes that are renamed, as pairs of agency and old route name."""
    routes: set[tuple[str, str]] = set()
    for table in (hour, run):
        each = select_distinct(table.c.agency, table.c.route)
        routes |= {(row.agency, row.route) for row in await connection.execute(select(each)) if row.route is not None}
    return sorted(
        (agency, route)
        for agency, route in routes
        if (renaming.agency(agency), renaming.route(route)) != (agency, route)
    )


async def _move_hours(
    connection: AsyncConnection, database: Database, agency: str, route: str, new: Mapping[str, str]
) -> None:
    """Add the hourly totals of a route to those that exist under its new name."""
    old = (hour.c.agency == agency) & (hour.c.route == route)
    columns = [literal(new[each.name]) if each.name in new else each for each in hour.c]
    upsert = database.upsert(hour).from_select([each.name for each in hour.c], select(*columns).where(old))
    key, added = list(hour.primary_key), add_counts(upsert.excluded)
    await connection.execute(upsert.on_conflict_do_update(index_elements=key, set_=added))
    await connection.execute(delete(hour).where(old))


async def _move_published(connection: AsyncConnection, agency: str, route: str, new: Mapping[str, str]) -> None:
    """Rename the published runs and hours of a route, of all sites. Sites publish later rows under the new name."""
    for table in (site_run, site_hour):
        # The primary key begins with the site: name all sites, so that the index is used.
        sites = select_distinct(table.c.site)
        rows_of_agency = table.c.site.in_(select(sites.c.site)) & (table.c.agency == agency) & (table.c.route == route)
        await connection.execute(update(table).where(rows_of_agency).values(new))


async def _move_days(connection: AsyncConnection, database: Database, renaming: Renaming) -> None:
    """Merge each day of an agency, a timeline of minutes, into the same day under the new name."""
    days = select(day).where(day.c.agency.in_((renaming.old, renaming.new)))
    merged: dict[date, DayTimeline] = {}
    rows = (await connection.execute(days)).all()
    for row in rows:
        merged.setdefault(row.date, DayTimeline()).add(DayTimeline(row.minutes))
    values = [
        {"agency": renaming.new, "date": row.date, "minutes": str(merged[row.date])}
        for row in rows
        if row.agency == renaming.old
    ]
    if values:
        await connection.execute(database.put(day), values)
        await connection.execute(delete(day).where(day.c.agency == renaming.old))


async def _move_subjects(connection: AsyncConnection, table: Table, renaming: Renaming) -> None:
    """Rename health records (`health` or `streak`). An existing record under the new name is newer: keep it instead."""
    subjects = set((await connection.execute(select(table.c.subject))).scalars())
    for subject in subjects:
        new = renaming.tracker(subject)
        if new == subject:
            continue
        has_subject = table.c.subject == subject
        await connection.execute(
            delete(table).where(has_subject)
            if new in subjects
            else update(table).where(has_subject).values(subject=new)
        )


async def _move_statuses(connection: AsyncConnection, site: str, renaming: Renaming) -> None:
    """Rename the statuses that *site* publishes. If a status exists under the new name, delete the old one instead."""
    is_own = site_status.c.site == site
    rows = (await connection.execute(select(site_status.c.subject, site_status.c.failing_routes).where(is_own))).all()
    subjects = {row.subject for row in rows}
    for row in rows:
        new = renaming.key(row.subject)
        failing_routes = json.dumps(sorted(map(renaming.route, json.loads(row.failing_routes))))
        row_of_subject = is_own & (site_status.c.subject == row.subject)
        if new != row.subject and new in subjects:
            await connection.execute(delete(site_status).where(row_of_subject))
        elif (new, failing_routes) != (row.subject, row.failing_routes):
            await connection.execute(
                update(site_status).where(row_of_subject).values(subject=new, failing_routes=failing_routes)
            )


async def _move_incidents(connection: AsyncConnection, renaming: Renaming) -> tuple[int, list[int]]:
    """Rename incidents and their policy snapshots (the escalation policy, frozen when the incident was opened).

    Return the number of renamed incidents, and the ids of the open ones.
    """
    keys = set((await connection.execute(select(incident.c.dedup_key).distinct())).scalars())
    count, still_open = 0, []
    for key in keys:
        if (new := renaming.key(key)) == key:
            continue
        is_open = select(incident.c.id).where(incident.c.dedup_key == new, incident.c.resolved_at.is_(None))
        has_open_incident = (await connection.execute(is_open)).first() is not None
        rows = await connection.execute(
            select(incident.c.id, incident.c.policy, incident.c.resolved_at).where(incident.c.dedup_key == key)
        )
        for row in rows.all():
            if has_open_incident and row.resolved_at is None:
                # A dedup key has at most one open incident. The service closes this one as if its agency were removed.
                continue
            snapshot = POLICY.validate_json(row.policy)
            escalation = snapshot.escalation
            rotas = tuple(replace(rota, name=renaming.rota(rota.name)) for rota in escalation.rotas)
            agency = renaming.agency(snapshot.agency)
            steps = tuple(replace(step, rotas=tuple(map(renaming.rota, step.rotas))) for step in escalation.steps)
            escalation = replace(escalation, rotas=rotas, steps=steps)
            snapshot = replace(snapshot, agency=agency, escalation=escalation)
            values = {"dedup_key": new, "agency": agency, "policy": POLICY.dump_json(snapshot).decode()}
            await connection.execute(update(incident).where(incident.c.id == row.id).values(values))
            count += 1
            if row.resolved_at is None:
                still_open.append(row.id)
    return count, still_open


async def _move_access(connection: AsyncConnection, renaming: Renaming) -> None:
    """Transfer roles and wallboard links of the agency to its new code.

    None stays under the old code, because a later agency with that code is a different one.
    """
    for table, holder_column in ((role_assignment, role_assignment.c.user_id), (token_role, token_role.c.token_id)):
        assigned = select(holder_column, table.c.role).where(table.c.agency == renaming.new)
        existing = {tuple(row) for row in await connection.execute(assigned)}
        for holder, role in (
            await connection.execute(select(holder_column, table.c.role).where(table.c.agency == renaming.old))
        ).all():
            row_of_role = (holder_column == holder) & (table.c.role == role) & (table.c.agency == renaming.old)
            await connection.execute(
                delete(table).where(row_of_role)
                if (holder, role) in existing
                else update(table).where(row_of_role).values(agency=renaming.new)
            )
    for row in (await connection.execute(select(wallboard_link.c.id, wallboard_link.c.agencies))).all():
        if row.agencies is not None and renaming.old in row.agencies:
            codes = sorted(set(map(renaming.agency, row.agencies)))
            await connection.execute(update(wallboard_link).where(wallboard_link.c.id == row.id).values(agencies=codes))


async def _move_each(
    connection: AsyncConnection, table: Table, column: Column[Any], rename: Callable[[str], str]
) -> None:
    """Replace each value of *column* by the result of *rename*."""
    for name in (await connection.execute(select(column).distinct())).scalars().all():
        if (new := rename(name)) != name:
            await connection.execute(update(table).where(column == name).values({column: new}))
