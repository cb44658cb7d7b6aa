"""Add published runs of sites that were not delivered, and hourly counts of all runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def _key(table: str, *columns: str) -> list[sa.PrimaryKeyConstraint]:
    # Not on PostgreSQL: a row that a site publishes twice would be rejected, and block the replication from the site.
    if op.get_bind().dialect.name == "postgresql":
        return []
    return [sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))]


def upgrade() -> None:
    op.create_table(
        "site_run",
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("agency", sa.String(length=64), nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("token_id", sa.String(length=32), nullable=False),
        sa.Column("told_at", _MOMENT, nullable=False),
        sa.Column("route", sa.String(length=200), nullable=False),
        sa.Column("duration", sa.Float(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        *_key("site_run", "site", "agency", "started_at", "token_id", "told_at"),
        sqlite_with_rowid=False,
        postgresql_partition_by="LIST (site)",
    )
    op.create_table(
        "site_hour",
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("agency", sa.String(length=64), nullable=False),
        sa.Column("begins", _MOMENT, nullable=False),
        sa.Column("route", sa.String(length=200), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("grade", sa.String(length=8), nullable=False),
        sa.Column("told_at", _MOMENT, nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("minutes", sa.BigInteger(), nullable=False),
        sa.Column("every", sa.Integer(), nullable=False),
        sa.Column("duration", sa.Float(), nullable=False),
        sa.Column("longest", sa.Float(), nullable=False),
        sa.Column("transit", sa.Float(), nullable=False),
        sa.Column("slowest", sa.Float(), nullable=False),
        *_key("site_hour", "site", "agency", "begins", "route", "outcome", "grade", "told_at"),
        sqlite_with_rowid=False,
        postgresql_partition_by="LIST (site)",
    )
    if op.get_bind().dialect.name == "postgresql":
        for table in ("site_run", "site_hour"):
            op.execute(f"CREATE TABLE rest_of_{table} PARTITION OF {table} DEFAULT")
    op.create_index("ix_site_run_of_agency", "site_run", ["site", "agency", "started_at"])
    op.create_index("ix_site_hour_of_agency", "site_hour", ["site", "agency", "begins"])
    op.create_index("ix_site_run_started_at", "site_run", ["started_at"])
    op.create_index("ix_site_hour_begins", "site_hour", ["begins"])
