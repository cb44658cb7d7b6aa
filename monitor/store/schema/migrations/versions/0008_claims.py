"""Add leases of incidents, for engines that share a store: owner, end, and a request to wake the owner (`nudged`)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("incident") as table:
        table.add_column(sa.Column("owner", sa.String(length=200), nullable=True))
        table.add_column(sa.Column("owned_until", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("nudged", sa.Boolean(), nullable=False, server_default=sa.false()))
