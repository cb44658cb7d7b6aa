"""Make acknowledgements expire, and allow an escalation by the assignee.

Later names: `heard_at` is `last_response_at`, `had_by` is `previous_assignee`, `handed_on` is `escalated`.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("incident", sa.Column("heard_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("incident", sa.Column("reminded_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("incident", sa.Column("had_by", sa.String(200), nullable=True))
    op.add_column("incident", sa.Column("handed_on", sa.Boolean, nullable=False, server_default=sa.false()))
    incident = sa.table("incident", sa.column("state", sa.String), sa.column("heard_at", sa.DateTime(timezone=True)))
    # Existing acknowledgements expire as if they were given now, because their authors were not notified of an expiry.
    op.execute(incident.update().where(incident.c.state == "acknowledged").values(heard_at=datetime.now(UTC)))
