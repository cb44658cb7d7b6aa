"""Index only the journal's entries that are about an incident or a notice: who looks for the others goes by neither."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Beside the table, and not by batch mode: that would copy it, and its triggers would be lost.
    for column in ("incident_id", "notice_id"):
        where = sa.text(f"{column} IS NOT NULL")
        op.drop_index(f"ix_journal_{column}", "journal")
        op.create_index(f"ix_journal_{column}", "journal", [column], sqlite_where=where, postgresql_where=where)
