"""Add indexes to find the latest receipts of a gateway, including those of drills."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("exercise", sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_attempt_gateway_started_at", "attempt", ["gateway", "state", "started_at"])
    op.create_index("ix_exercise_gateway_begun_at", "exercise", ["gateway", "state", "begun_at"])
