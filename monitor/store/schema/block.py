"""Value in place of the schema revision in a store that no service may use: an incomplete copy, or a moved file.

No version knows such a revision, so none opens the store, not even an older one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class BlockReason(StrEnum):
    """Reasons why no service may use a store."""

    #: It is the target of a copy that runs or was interrupted.
    COPYING = "copying"
    #: It was copied completely to another store, which replaces it.
    MOVED = "moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreBlock:
    """Why a store is blocked, and its schema revision."""

    barred: BlockReason
    schema: str
    #: When it was moved, and to where.
    at: datetime | None = None
    to: str = ""

    def __str__(self) -> str:
        """Return the stored form: "copying/0021", at most 32 characters, or "moved/0021/2026-11-27T05:00:00+00:00/TO"."""
        words = (self.barred, self.schema, *(() if self.at is None else (self.at.isoformat(), self.to)))
        return "/".join(words)

    @classmethod
    def of(cls, number: str) -> StoreBlock | None:
        """Parse the stored form; `None`: it is a schema revision, known here or not."""
        barred, *rest = number.split("/", 3)
        match barred, rest:
            case BlockReason.COPYING, [schema]:
                return cls(barred=BlockReason.COPYING, schema=schema)
            case BlockReason.MOVED, [schema, at, to]:
                return cls(barred=BlockReason.MOVED, schema=schema, at=datetime.fromisoformat(at), to=to)
        return None

    @property
    def why(self) -> str:
        """Return why the store cannot be used, and the remedy."""
        if self.at is None:
            return (
                "this store is half a copy of another: finish it with `pantau store copy`, which goes on where it was "
                "broken off"
            )
        return (
            f"this store was moved to the {self.to} on {self.at:%Y-%m-%d at %H:%M} UTC, and what has happened since is "
            "only there: name that one under `store:` in the settings (docs/how-to/operator/postgresql.md; the way back, too)"
        )
