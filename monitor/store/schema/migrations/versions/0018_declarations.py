"""Add declared outages, and store the detected type (`measured`, later `detected`) separately."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("incident", sa.Column("measured", sa.String(16), nullable=True))
    op.add_column("incident", sa.Column("declared_matter", sa.String(16), nullable=True))
    op.add_column("incident", sa.Column("declared_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("incident", sa.Column("declared_by", sa.String(200), nullable=True))
    op.add_column("incident", sa.Column("declared_why", sa.Text(), nullable=True))
    op.add_column("incident", sa.Column("declared_over_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("incident", sa.Column("declared_over_by", sa.String(200), nullable=True))
    # Until now only the probes could open an incident.
    incident = sa.table("incident", sa.column("measured", sa.String), sa.column("matter", sa.String))
    op.execute(incident.update().values(measured=incident.c.matter))
