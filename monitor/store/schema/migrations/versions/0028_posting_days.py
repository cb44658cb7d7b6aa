"""Store the day on which a letter was posted, if the clerk enters it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("letter_handling", sa.Column("day", sa.Date(), nullable=True))
