"""Store since when a site has evaluated health without an interruption."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("process", sa.Column("continuous_since", sa.DateTime(timezone=True), nullable=True))
