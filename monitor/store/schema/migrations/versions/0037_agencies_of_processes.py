"""Store for which agencies each process has documents, so that another process monitors the remaining agencies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("process", sa.Column("agencies", sa.Text(), nullable=True))
    op.add_column("process", sa.Column("agencies_digest", sa.String(length=64), nullable=True))
