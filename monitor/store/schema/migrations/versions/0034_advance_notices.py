"""Store maintenance notices in a table with an index by agency; until now only the audit log contained them.

Later names: `advance_notice` is `maintenance_notice`, `news` is `kind`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_JOURNAL = sa.table(
    "journal",
    sa.column("id", sa.Integer),
    sa.column("at", _MOMENT),
    sa.column("actor", sa.String),
    sa.column("event", sa.String),
    sa.column("detail", sa.JSON),
)
#: Number of rows per INSERT, below the maximum number of parameters of a statement.
_AT_ONCE = 50


def upgrade() -> None:
    notices = op.create_table(
        "advance_notice",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("agency", sa.String(length=64), nullable=False),
        sa.Column("number", sa.String(length=32), nullable=False),
        sa.Column("news", sa.String(length=32), nullable=False),
        sa.Column("begins", _MOMENT, nullable=False),
        sa.Column("ends", _MOMENT, nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("made_by", sa.String(length=200), nullable=False),
        sa.Column("made_at", _MOMENT, nullable=False),
        sa.Column("replaces", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_advance_notice")),
        sa.UniqueConstraint("entry", name=op.f("uq_advance_notice_entry")),
        sa.UniqueConstraint("number", name=op.f("uq_advance_notice_number")),
    )
    op.create_index("ix_advance_notice_agency_ends", "advance_notice", ["agency", "ends"])
    op.create_index("ix_advance_notice_replaces", "advance_notice", ["replaces"])
    told = (_JOURNAL.c.event == "advance notice made") | (_JOURNAL.c.event == "renamed")
    entries = op.get_bind().execute(sa.select(_JOURNAL).where(told).order_by(_JOURNAL.c.id)).all()
    rows = list(_made(entries))
    for first in range(0, len(rows), _AT_ONCE):
        op.bulk_insert(notices, rows[first : first + _AT_ONCE])


def _made(entries: Sequence[sa.Row[Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the notices in the audit log, with the present codes of renamed agencies."""
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        detail = entry.detail
        if entry.event == "renamed":
            for row in found.values():
                if detail.get("what") == "agency" and row["agency"] == detail.get("old"):
                    row["agency"] = detail.get("new")
            continue
        # Two services on one store could create the same number at once. The later notice is the valid one.
        found[detail["number"]] = {
            "entry": entry.id,
            "agency": detail["agency"],
            "number": detail["number"],
            "news": detail["news"],
            "begins": _moment(detail["from"]),
            "ends": _moment(detail["until"]),
            "why": detail["why"],
            "made_by": entry.actor,
            "made_at": _aware(entry.at),
            "replaces": detail["before"] or None,
        }
    yield from found.values()


def _moment(written: str) -> datetime:
    return datetime.fromisoformat(written).astimezone(UTC)


def _aware(at: datetime) -> datetime:
    # SQLite stores no time zone; its times are UTC.
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
