"""Store when, by whom and why an incident was closed by hand."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("incident", sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("incident", sa.Column("closed_by", sa.String(200), nullable=True))
    op.add_column("incident", sa.Column("closed_why", sa.Text(), nullable=True))
    op.add_column("incident", sa.Column("closed_recovered", sa.Boolean(), nullable=True))
