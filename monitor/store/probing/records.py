"""Records of the applied configuration in the database: each document as it was applied last, and its source.

A record has a kind ("agency") and a key (the agency's code).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from monitor.store.backend.database import Database
from monitor.store.schema.tables import record

#: Maximum number of keys that an audit entry names. Further keys are counted.
_MAX_NAMED_KEYS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Keys of the documents that were added, changed and removed when a configuration was applied."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def detail(self) -> dict[str, str]:
        """Return the changes as the detail of an audit entry."""
        by_change = {"added": self.added, "changed": self.changed, "removed": self.removed}
        return {change: _join_keys(keys) for change, keys in by_change.items() if keys}


def _join_keys(keys: Sequence[str]) -> str:
    remainder = f" and {len(keys) - _MAX_NAMED_KEYS} more" if len(keys) > _MAX_NAMED_KEYS else ""
    return " ".join(keys[:_MAX_NAMED_KEYS]) + remainder


class ConfigurationRecords:
    """Writer of the applied configuration. The documents contain no secrets, which stay in their files."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._write = database.put(record)

    async def apply(
        self, kind: str, documents: Mapping[str, tuple[str, str]], now: datetime, *, unchanged: Collection[str] = ()
    ) -> Applied:
        """Make the records of *kind* equal to *documents* (key -> (document, source)), in one transaction.

        *unchanged*: keys whose records stay as they are, so that *documents* need only contain the others.
        """
        is_of_kind = record.c.kind == kind
        texts = select(record.c.key, record.c.document).where(is_of_kind)
        async with self._database.exclusive() as connection:
            keys = set((await connection.execute(select(record.c.key).where(is_of_kind))).scalars())
            rows = await connection.execute(texts.where(record.c.key.in_(documents)) if unchanged else texts)
            stored = {row.key: row.document for row in rows}
            added = tuple(key for key in documents if key not in keys)
            changed = tuple(key for key, (text, _) in documents.items() if key in stored and stored[key] != text)
            removed = tuple(sorted(keys - documents.keys() - {*unchanged}))
            values = [
                {"kind": kind, "key": key, "document": document, "source": source, "applied_at": now}
                for key in (*added, *changed)
                for document, source in [documents[key]]
            ]
            if values:
                await connection.execute(self._write, values)
            if removed:
                await connection.execute(delete(record).where(is_of_kind, record.c.key.in_(removed)))
        return Applied(added=added, changed=changed, removed=removed)
