"""Store the state of each agency's mail in each minute of a day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "day",
        sa.Column("agency", sa.String(length=64), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("minutes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("agency", "date", name=op.f("pk_day")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_day_date", "day", ["date"])
