"""Store the recipient's key for each incident of a bundle, because each incident has its own policy."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("notice_incident") as table:
        table.add_column(sa.Column("person", sa.String(length=64), nullable=True))
    op.execute(
        "UPDATE notice_incident SET person = "
        "(SELECT notice.person FROM notice WHERE notice.id = notice_incident.notice_id)"
    )
    with op.batch_alter_table("notice_incident") as table:
        table.alter_column("person", existing_type=sa.String(length=64), nullable=False)
