"""Add each site's statuses (`standing`, later `site_status`) and heartbeats (`beat`, later `site_heartbeat`)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "standing",
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("matter", sa.String(length=16), nullable=True),
        sa.Column("cause", sa.String(length=16), nullable=True),
        sa.Column("since", _MOMENT, nullable=True),
        sa.Column("latest", _MOMENT, nullable=True),
        sa.Column("unsteady", sa.Boolean(), nullable=False),
        sa.Column("well_since", _MOMENT, nullable=True),
        sa.Column("directions", sa.Text(), nullable=False),
        sa.Column("troubled", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "subject", name=op.f("pk_standing")),
        sqlite_with_rowid=False,
        postgresql_partition_by="LIST (site)",
    )
    op.create_table(
        "beat",
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("steady", sa.BigInteger(), nullable=False),
        sa.Column("life", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("site", name=op.f("pk_beat")),
        sqlite_with_rowid=False,
        postgresql_partition_by="LIST (site)",
    )
    if op.get_bind().dialect.name == "postgresql":
        # The rows are replicated from other databases. PostgreSQL supports times that Python's datetime does not. One
        # such row would prevent reading the statuses of all sites.
        for table, columns in (("standing", ("since", "latest", "well_since")), ("beat", ("at",))):
            within = " AND ".join(f"{each} BETWEEN '0001-01-02' AND '9999-12-30'" for each in columns)
            op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_times CHECK ({within})")
        # Partition of all sites without a partition of their own.
        for table in ("standing", "beat"):
            op.execute(f"CREATE TABLE rest_of_{table} PARTITION OF {table} DEFAULT")
