"""Block of a store that no service may use: an incomplete copy, or a store that was moved to another database.

A block is stored in place of Alembic's schema revision. Every version of Pantau, even an older one, refuses a store
with an unknown revision.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class BlockReason(StrEnum):
    """Reasons why no service may use a store."""

    #: The store is the target of a copy that is running or was interrupted.
    COPYING = "copying"
    #: The store was copied completely to another store, which replaces it.
    MOVED = "moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreBlock:
    """Why a store is blocked, and its schema revision."""

    reason: BlockReason
    #: Schema revision, such as "0021".
    schema: str
    #: For a moved store: when it was moved (UTC), and a description of the new store.
    moved_at: datetime | None = None
    moved_to: str = ""

    def __str__(self) -> str:
        """Return the stored form: "copying/0021" or "moved/0021/2026-11-27T05:00:00+00:00/<moved_to>".

        The first form has at most 32 characters, the length of the column. Only an SQLite file, which does not enforce
        that length, has the second form.
        """
        moved = () if self.moved_at is None else (self.moved_at.isoformat(), self.moved_to)
        parts = (self.reason, self.schema, *moved)
        return "/".join(parts)

    @classmethod
    def parse(cls, stored: str) -> StoreBlock | None:
        """Parse *stored*, the value in place of the schema revision; `None`: it is no block, but a schema revision."""
        reason, *rest = stored.split("/", 3)
        match reason, rest:
            case BlockReason.COPYING, [schema]:
                return cls(reason=BlockReason.COPYING, schema=schema)
            case BlockReason.MOVED, [schema, at, to]:
                return cls(reason=BlockReason.MOVED, schema=schema, moved_at=datetime.fromisoformat(at), moved_to=to)
        return None

    @property
    def message(self) -> str:
        """The error message: why the store cannot be used, and what to do."""
        if self.moved_at is None:
            return (
                "this store is an incomplete copy of another one: finish it with `pantau store copy`, which continues "
                "where it stopped"
            )
        return (
            f"this store was moved to the {self.moved_to} on {self.moved_at:%Y-%m-%d at %H:%M} UTC, and newer records "
            "are only there: configure that database under `store:` in the settings "
            "(docs/how-to/operator/postgresql.md, which also describes how to move back)"
        )
