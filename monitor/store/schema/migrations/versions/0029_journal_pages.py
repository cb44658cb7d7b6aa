"""Add indexes to find audit entries by actor and by event without reading the whole log."""

from __future__ import annotations

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_journal_actor", "journal", ["actor", "id"])
    op.create_index("ix_journal_event", "journal", ["event", "id"])
