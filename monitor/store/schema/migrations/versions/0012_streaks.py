"""Store streaks (runs that contradict the health), so that they are kept across a restart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "streak",
        sa.Column("subject", sa.String(200), primary_key=True),
        sa.Column("runs", sa.Text, nullable=False),
    )
