"""Store the current type of an incident (`present`, later `current_type`), besides the worst type."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("incident", sa.Column("present", sa.String(16), nullable=True))
    op.add_column("incident", sa.Column("present_since", sa.DateTime(timezone=True), nullable=True))
