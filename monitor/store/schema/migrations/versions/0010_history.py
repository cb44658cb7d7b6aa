"""Make the cost of queries independent of the length of the history, with hourly counts of runs and partial indexes.

No existing run is read. The table `run` is replaced by an empty table with other indexes and longer ids. The service
moves the old runs into it while it works (`monitor.store.probing.retention`).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_CHECKPOINT = "event = 'journal followed'"
_ABOUT_NONE = "incident_id IS NULL AND notice_id IS NULL AND purged_by IS NULL"
_CAME = "came_at IS NOT NULL"


def upgrade() -> None:
    _begin_runs_anew()
    op.drop_index("ix_token_sent_at", "token")
    _index_some("ix_token_came", "token", "sent_at", sqlite=_CAME, postgresql=_CAME)
    # Batch mode is not used, because it copies a table and thereby loses the triggers of the audit log.
    op.drop_index("ix_incident_at_rest", "incident")
    _index_some("ix_incident_active", "incident", "id", sqlite="at_rest IS 0", postgresql="at_rest IS false")
    _index_some("ix_incident_nudged", "incident", "owner", sqlite="nudged = 1", postgresql="nudged")
    op.create_index("ix_incident_opened_at", "incident", ["opened_at"])
    op.create_index("ix_incident_resolved_at", "incident", ["resolved_at"])
    op.create_index("ix_attempt_state_look_at", "attempt", ["state", "look_at"])
    op.create_index("ix_response_code_notice_id", "response_code", ["notice_id"])
    op.create_index("ix_journal_notice_id", "journal", ["notice_id"])
    _index_some("ix_journal_checkpoint", "journal", "id", sqlite=_CHECKPOINT, postgresql=_CHECKPOINT)
    _index_some("ix_journal_about_none", "journal", "at", sqlite=_ABOUT_NONE, postgresql=_ABOUT_NONE)
    op.create_index("ix_drill_contact_ended_at", "drill", ["contact", "ended_at"])
    op.create_index("ix_drill_ended_at", "drill", ["ended_at"])
    op.drop_index("ix_exercise_contact", "exercise")
    op.create_index("ix_exercise_contact_confirmed_at", "exercise", ["agency", "contact", "confirmed_at"])
    op.create_index("ix_exercise_contact_begun_at", "exercise", ["agency", "contact", "channel", "state", "begun_at"])
    op.create_index("ix_exercise_number_confirmed_at", "exercise", ["number", "confirmed_at"])


def _begin_runs_anew() -> None:
    op.rename_table("run", "run_before")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE run_before RENAME CONSTRAINT pk_run TO pk_run_before")
    op.create_table(
        "run",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("agency", sa.String(length=64), nullable=False),
        sa.Column("route", sa.String(length=200), nullable=False),
        sa.Column("token_id", sa.String(length=32), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duration", sa.Float(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_index("ix_run_of_route", "run", ["agency", "route", "started_at"])
    op.create_index("ix_run_of_outcome", "run", ["outcome", "started_at"])
    op.create_table(
        "hour",
        sa.Column("agency", sa.String(length=64), nullable=False),
        sa.Column("route", sa.String(length=200), nullable=False),
        sa.Column("begins", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("grade", sa.String(length=8), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("minutes", sa.BigInteger(), nullable=False),
        sa.Column("every", sa.Integer(), nullable=False),
        sa.Column("duration", sa.Float(), nullable=False),
        sa.Column("longest", sa.Float(), nullable=False),
        sa.Column("transit", sa.Float(), nullable=False),
        sa.Column("slowest", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("agency", "route", "begins", "outcome", "grade", name=op.f("pk_hour")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_hour_begins", "hour", ["begins"])


def _index_some(name: str, table: str, column: str, *, sqlite: str, postgresql: str) -> None:
    op.create_index(name, table, [column], sqlite_where=sa.text(sqlite), postgresql_where=sa.text(postgresql))
