"""What is configured, as applied: each record keeps where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update

from monitor.store.database import Database
from monitor.store.tables import record


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What an apply changed, by key."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Records:
    """The applied configuration in the store. Documents hold no secret: those stay in their files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def apply(self, kind: str, documents: Mapping[str, tuple[str, str]], now: datetime) -> Applied:
        """Make the records of *kind* equal to *documents* (key -> (document, source)), in one transaction."""
        async with self._database.exclusive() as connection:
            rows = await connection.execute(select(record.c.key, record.c.document).where(record.c.kind == kind))
            known = {row.key: row.document for row in rows}
            added = tuple(key for key in documents if key not in known)
            removed = tuple(key for key in known if key not in documents)
            changed = tuple(key for key, (text, _) in documents.items() if key in known and known[key] != text)
            for key in (*added, *changed):
                document, source = documents[key]
                values = {"document": document, "source": source, "applied_at": now}
                this = (record.c.kind == kind) & (record.c.key == key)
                if key in known:
                    await connection.execute(update(record).where(this).values(**values))
                else:
                    await connection.execute(insert(record).values(kind=kind, key=key, **values))
            for key in removed:
                await connection.execute(delete(record).where(record.c.kind == kind, record.c.key == key))
        return Applied(added=added, changed=changed, removed=removed)
