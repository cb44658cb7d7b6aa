"""Takes records out of the store for good, on somebody's authority: incidents, their notices, and what the journal says.

Of the journal only the content goes; a tombstone stays for each entry, and the chain goes on as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.audit import PURGED, Sealed, tombstones_digest
from alerts.store import Entry
from monitor.store import audit
from monitor.store.tables import incident, journal, metadata, notice, notice_incident

#: Incidents, and entries about none, that go in one transaction: others want to write, too.
AT_ONCE = 200

#: Entries that never go: by them the chain is understood.
_KEPT = (PURGED, "journal chained")
#: Parameters that one statement may have.
_FEW = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """What a purge takes, in the order of the store."""

    #: Id and number of each incident.
    incidents: Sequence[tuple[int, str]]
    notices: Sequence[int]
    #: Their numbers: of a hundred thousand, the content would take longer than a server lets anybody look.
    entries: Sequence[int]

    @property
    def counts(self) -> str:
        """What a person repeats to say that they have seen it: incidents/notices/entries."""
        return f"{len(self.incidents)}/{len(self.notices)}/{len(self.entries)}"


async def find(connection: AsyncConnection, before: datetime, limit: int | None = None) -> Doomed:
    """Return what is over and done with since before *before*; at most *limit* incidents and entries about none.

    An incident goes when it was resolved before and owes nobody anything, and together with every other one that its
    notices tell of. An entry goes with its incident; one about no incident, when it is from before.
    """
    over = incident.c.at_rest.is_(True) & (incident.c.resolved_at < before)
    rows = (
        await connection.execute(select(incident.c.id, incident.c.number).where(over).order_by(incident.c.id))
    ).all()
    numbers = {row.id: row.number for row in rows}
    links = (await connection.execute(select(notice_incident.c.notice_id, notice_incident.c.incident_id))).all()
    told: dict[int, set[int]] = {}
    for link in links:
        told.setdefault(link.notice_id, set()).add(link.incident_id)
    groups = _together(numbers, told.values())
    ids: list[int] = []
    for group in groups:
        if limit is not None and ids and len(ids) + len(group) > limit:
            break
        ids += group
    doomed = frozenset(ids)
    notices = sorted(n for n, about in told.items() if about <= doomed)
    return Doomed(
        incidents=[(i, numbers[i]) for i in sorted(ids)],
        notices=notices,
        entries=await _entries(connection, before, ids, notices, limit),
    )


async def carry_out(connection: AsyncConnection, doomed: Doomed, told: Entry) -> None:
    """Take it out, and tell the journal of it: *told* says by whom and on whose authority."""
    sealed = await _sealed(connection, doomed.entries)
    detail = {
        **told.detail,
        "incidents": " ".join(number for _, number in doomed.incidents),
        "notices": str(len(doomed.notices)),
        "entries": str(len(doomed.entries)),
        "tombstones": tombstones_digest(sealed),
    }
    (purge,) = await audit.append(connection, [Entry(at=told.at, actor=told.actor, event=PURGED, detail=detail)])
    if connection.dialect.name == "sqlite":
        # What is deleted is overwritten: a purge that can be read back from the file is none.
        await connection.exec_driver_sql("PRAGMA secure_delete = ON")
    empty: dict[str, Any] = {"actor": "", "event": "", "incident_id": None, "notice_id": None, "detail": {}}
    empty["purged_by"] = purge.number
    for numbers in _some(doomed.entries):
        await connection.execute(update(journal).where(journal.c.id.in_(numbers)).values(**empty))
    for ids in _some(doomed.notices):
        await _delete(connection, {notice: notice.c.id.in_(ids)})
    for ids in _some([id_ for id_, _ in doomed.incidents]):
        await _delete(connection, {incident: incident.c.id.in_(ids)})


def _some(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield them, so many at a time as one statement may name."""
    for start in range(0, len(ids), _FEW):
        yield ids[start : start + _FEW]


def _together(over: Collection[int], told: Iterable[Collection[int]]) -> Iterator[Sequence[int]]:
    """Yield the incidents that may go, those that share notices together; not where one of them is not over."""
    group_of = {i: {i} for i in over}
    all_over = frozenset(over)
    staying: set[int] = set()
    for about in told:
        joined = set().union(*(group_of.get(i, {i}) for i in about))
        for i in joined:
            group_of[i] = joined
    for group in group_of.values():
        if not group <= all_over:
            staying |= group
    seen: set[int] = set()
    for i in sorted(over):
        if i not in seen and i not in staying:
            seen |= group_of[i]
            yield sorted(group_of[i])


async def _entries(
    connection: AsyncConnection, before: datetime, incidents: Sequence[int], notices: Sequence[int], limit: int | None
) -> Sequence[int]:
    content = journal.c.purged_by.is_(None) & journal.c.event.not_in(_KEPT)
    about_none = journal.c.incident_id.is_(None) & journal.c.notice_id.is_(None) & (journal.c.at < before)
    query = select(journal.c.id).where(content, about_none).order_by(journal.c.id).limit(limit)
    found = set((await connection.execute(query)).scalars())
    for column, ids in ((journal.c.incident_id, incidents), (journal.c.notice_id, notices)):
        for some in _some(ids):
            found |= set((await connection.execute(select(journal.c.id).where(content, column.in_(some)))).scalars())
    return sorted(found)


async def _sealed(connection: AsyncConnection, numbers: Sequence[int]) -> Sequence[Sealed]:
    found: list[Sealed] = []
    for some in _some(numbers):
        query = select(journal).where(journal.c.id.in_(some)).order_by(journal.c.id)
        found += [audit.to_sealed(row) for row in await connection.execute(query)]
    return found


async def _delete(connection: AsyncConnection, doomed: dict[Table, ColumnElement[bool]]) -> None:
    """Delete rows, and before them all that refer to them, whatever tables there are."""
    for table in metadata.sorted_tables:
        refers = [
            key.parent.in_(select(key.column).where(doomed[key.column.table]))
            for key in table.foreign_keys
            if key.column.table in doomed and table not in doomed
        ]
        if refers:
            doomed[table] = or_(*refers)
    for table in reversed(metadata.sorted_tables):
        if table in doomed:
            await connection.execute(delete(table).where(doomed[table]))
