"""Let nothing that is asked for grow with history: indexes that lead to the few rows that are meant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ABOUT_NONE = "incident_id IS NULL AND notice_id IS NULL AND purged_by IS NULL"


def upgrade() -> None:
    # Beside the tables, and not by batch mode: that would copy them, and the journal's triggers with it would be lost.
    op.drop_index("ix_incident_at_rest", "incident")
    _index_some("ix_incident_active", "incident", "id", sqlite="at_rest IS 0", postgresql="at_rest IS false")
    _index_some("ix_incident_nudged", "incident", "owner", sqlite="nudged = 1", postgresql="nudged")
    op.create_index("ix_incident_opened_at", "incident", ["opened_at"])
    op.create_index("ix_incident_resolved_at", "incident", ["resolved_at"])
    op.create_index("ix_attempt_state_look_at", "attempt", ["state", "look_at"])
    op.create_index("ix_response_code_notice_id", "response_code", ["notice_id"])
    op.create_index("ix_journal_notice_id", "journal", ["notice_id"])
    _index_some("ix_journal_about_none", "journal", "at", sqlite=_ABOUT_NONE, postgresql=_ABOUT_NONE)
    op.create_index("ix_drill_contact_ended_at", "drill", ["contact", "ended_at"])
    op.create_index("ix_drill_ended_at", "drill", ["ended_at"])
    op.drop_index("ix_exercise_contact", "exercise")
    op.create_index("ix_exercise_contact_confirmed_at", "exercise", ["agency", "contact", "confirmed_at"])
    op.create_index("ix_exercise_contact_begun_at", "exercise", ["agency", "contact", "channel", "state", "begun_at"])
    op.create_index("ix_exercise_number_confirmed_at", "exercise", ["number", "confirmed_at"])


def _index_some(name: str, table: str, column: str, *, sqlite: str, postgresql: str) -> None:
    op.create_index(name, table, [column], sqlite_where=sa.text(sqlite), postgresql_where=sa.text(postgresql))
