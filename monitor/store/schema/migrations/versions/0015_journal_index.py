"""Restrict two indexes to audit entries about an incident or a notification; others are found by other indexes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Batch mode is not used, because it copies the table and thereby loses its triggers.
    for column in ("incident_id", "notice_id"):
        where = sa.text(f"{column} IS NOT NULL")
        op.drop_index(f"ix_journal_{column}", "journal")
        op.create_index(f"ix_journal_{column}", "journal", [column], sqlite_where=where, postgresql_where=where)
