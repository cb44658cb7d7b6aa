"""Add calendar feeds of rotas, with the digests of their keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "rota_feed",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("rota", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("user", sa.String(length=64), nullable=False),
        sa.Column("made_at", moment, nullable=False),
        sa.Column("revoked_by", sa.String(length=200), nullable=True),
        sa.Column("revoked_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rota_feed")),
        sa.UniqueConstraint("digest", name=op.f("uq_rota_feed_digest")),
    )
    op.create_index("ix_rota_feed_rota", "rota_feed", ["rota"])
