"""Store when the problems of an incident's types (`matter_…`, later `type_…`) and its first outage began."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0048"
down_revision = "0045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("matter_began_at", "present_began_at", "outage_began_at"):
        op.add_column("incident", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
