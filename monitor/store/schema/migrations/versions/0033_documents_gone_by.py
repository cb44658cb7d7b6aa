"""Store which version of the agencies' documents each process uses, so that the other processes follow it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("process", sa.Column("documents", sa.BigInteger(), nullable=True))
