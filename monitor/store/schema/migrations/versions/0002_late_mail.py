"""Store when each message arrived (`came_at`, later `arrived_at`), and index runs by their start."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("token") as table:
        table.add_column(sa.Column("came_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE token SET came_at = sent_at WHERE id IN "
        "(SELECT token_id FROM run WHERE outcome IN ('delivered', 'junk', 'corrupted'))"
    )
    op.create_index(
        "ix_token_missing",
        "token",
        ["sent_at"],
        sqlite_where=sa.text("came_at IS NULL"),
        postgresql_where=sa.text("came_at IS NULL"),
    )
    op.create_index("ix_run_started_at", "run", ["started_at"])
