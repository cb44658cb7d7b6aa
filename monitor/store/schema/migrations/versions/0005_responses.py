"""Add responses by SMS and PIN, and marks of incidents as false alarms (`corrected_…`, later `false_alarm_…`)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("incident", sa.Column("corrected_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("incident", sa.Column("corrected_by", sa.String(200), nullable=True))
    op.add_column("incident", sa.Column("corrected_why", sa.Text(), nullable=True))
    op.add_column("attempt", sa.Column("response", sa.String(8), nullable=False, server_default=sa.text("''")))
    op.create_table(
        "response_code",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("number", sa.String(32), nullable=False),
        sa.Column("code", sa.Integer(), nullable=False),
        sa.Column("about", sa.String(200), nullable=False),
        sa.Column("notice_id", sa.Integer(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["notice_id"], ["notice.id"], name=op.f("fk_response_code_notice_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_response_code")),
        sa.UniqueConstraint("number", "about", name=op.f("uq_response_code_number_about")),
    )
    op.create_table(
        "sms_number",
        sa.Column("number", sa.String(32), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("puzzled", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_sms_number")),
    )
    op.create_table(
        "pin_entry",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("reference", sa.String(64), nullable=False),
        sa.Column("agency", sa.String(64), nullable=False),
        sa.Column("person", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("proven", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pin_entry")),
    )
    op.create_index("ix_pin_entry_person_at", "pin_entry", ["person", "at"])
    op.create_index("ix_delivery_number", "delivery", ["number"])
    op.create_index("ix_incident_dedup_key", "incident", ["dedup_key"])
