"""What stands where a schema's number stands in a store that no service may use: half a copy, or a file left behind.

No version knows such a number, so none opens the store: not even one from before there were any.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class BlockReason(StrEnum):
    """Why no service may use a store."""

    #: It is being copied to, or was until somebody broke that off.
    COPYING = "copying"
    #: All of it was copied to another, where it goes on.
    MOVED = "moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreBlock:
    """Why a store is barred, and which schema it has."""

    barred: BlockReason
    schema: str
    #: When it was moved, and to where.
    at: datetime | None = None
    to: str = ""

    def __str__(self) -> str:
        """Return it as it is written: "copying/0021", at most 32 characters, or "moved/0021/2026-11-27T05:00:00+00:00/TO"."""
        words = (self.barred, self.schema, *(() if self.at is None else (self.at.isoformat(), self.to)))
        return "/".join(words)

    @classmethod
    def of(cls, number: str) -> StoreBlock | None:
        """Return what was written; `None` where a schema's number stands, be it one that is not known here."""
        barred, *rest = number.split("/", 3)
        match barred, rest:
            case BlockReason.COPYING, [schema]:
                return cls(barred=BlockReason.COPYING, schema=schema)
            case BlockReason.MOVED, [schema, at, to]:
                return cls(barred=BlockReason.MOVED, schema=schema, at=datetime.fromisoformat(at), to=to)
        return None

    @property
    def why(self) -> str:
        """Say why the store cannot be used, and what to do."""
        if self.at is None:
            return (
                "this store is half a copy of another: finish it with `pantau store copy`, which goes on where it was "
                "broken off"
            )
        return (
            f"this store was moved to the {self.to} on {self.at:%Y-%m-%d at %H:%M} UTC, and what has happened since is "
            "only there: name that one under `store:` in the settings (docs/how-to/operator/postgresql.md; the way back, too)"
        )
