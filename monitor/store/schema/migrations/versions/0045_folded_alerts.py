"""Store which incident an alert shares with others of its group (`folded_into`, later `merged_into`)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alert", sa.Column("folded_into", sa.String(length=200), nullable=True))
    op.create_index(
        "ix_alert_folded_into",
        "alert",
        ["folded_into"],
        sqlite_where=sa.text("folded_into IS NOT NULL"),
        postgresql_where=sa.text("folded_into IS NOT NULL"),
    )
