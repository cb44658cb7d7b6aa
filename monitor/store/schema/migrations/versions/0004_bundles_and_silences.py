"""Add bundles (notifications about several incidents, which wait for each other) and silences.

Later names: `unsteady` is `flapping`, `gathering` is `bundle_key`, `notice` is `notification`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_OF_THE_NOTICE = ("key", "facts", "wave", "round", "step")


def upgrade() -> None:
    op.create_table(
        "silence",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("about", sa.String(length=200), nullable=False),
        sa.Column("begins", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends", sa.DateTime(timezone=True), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silence")),
    )
    op.create_index("ix_silence_ends", "silence", ["ends"])
    with op.batch_alter_table("incident") as table:
        table.add_column(sa.Column("unsteady", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("notice") as table:
        table.add_column(sa.Column("urgency", sa.String(length=16), nullable=False, server_default="first"))
        table.add_column(sa.Column("gathering", sa.String(length=120), nullable=True))
        table.add_column(sa.Column("not_before", sa.DateTime(timezone=True), nullable=True))
        table.create_index("ix_notice_gathering_created_at", ["gathering", "created_at"])
    op.execute("UPDATE notice SET urgency = 'announcement' WHERE plan = 'announcement'")
    op.execute("UPDATE notice SET urgency = 'recovery' WHERE purpose = 'recovery'")
    with op.batch_alter_table("notice_incident") as table:
        table.add_column(sa.Column("key", sa.String(length=300), nullable=True))
        table.add_column(sa.Column("facts", sa.Text(), nullable=True))
        for name in ("wave", "round", "step"):
            table.add_column(sa.Column(name, sa.Integer(), nullable=True))
        table.add_column(sa.Column("left_at", sa.DateTime(timezone=True), nullable=True))
    for name in _OF_THE_NOTICE:
        op.execute(
            f"UPDATE notice_incident SET {name} = "  # noqa: S608 - the names are constants
            f"(SELECT notice.{name} FROM notice WHERE notice.id = notice_incident.notice_id)"
        )
    with op.batch_alter_table("notice_incident") as table:
        for name in _OF_THE_NOTICE:
            kind = {"key": sa.String(length=300), "facts": sa.Text()}.get(name, sa.Integer())
            table.alter_column(name, existing_type=kind, nullable=False)
        table.create_unique_constraint(op.f("uq_notice_incident_key"), ["key"])
    op.create_index("ix_attempt_started_at", "attempt", ["started_at"])
