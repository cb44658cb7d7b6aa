"""Count failed one-time codes separately from failed passwords, and store until when a user is exempt from delays."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("portal_user", sa.Column("code_failures", sa.Integer, nullable=False, server_default="0"))
    for name in ("code_failed_at", "unlocked_until"):
        op.add_column("portal_user", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
