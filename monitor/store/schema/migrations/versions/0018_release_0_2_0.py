"""Create the schema of release 0.2.0."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
#: The hash chain of the audit log begins with this hash.
_BEGINNING = "0" * 64

#: Condition of the only permitted change: a purge deletes the content of an entry and sets `purged_by` to the number of
#: the entry that records the purge.
_MAY_BE_EMPTIED = """
    OLD.purged_by IS NULL AND NEW.purged_by > OLD.id
    AND EXISTS (SELECT 1 FROM journal AS purge WHERE purge.id = NEW.purged_by AND purge.event = 'records purged')
    AND OLD.event <> 'records purged'
    AND NEW.id = OLD.id AND NEW.at = OLD.at AND NEW.previous = OLD.previous AND NEW.content = OLD.content AND NEW.hash = OLD.hash
    AND NEW.actor = '' AND NEW.event = '' AND NEW.incident_id IS NULL AND NEW.notice_id IS NULL
"""

_SQLITE = (
    # INSERT OR REPLACE deletes the old row without firing its DELETE trigger.
    """
    CREATE TRIGGER journal_is_not_replaced BEFORE INSERT ON journal
    WHEN EXISTS (SELECT 1 FROM journal WHERE id = NEW.id OR previous = NEW.previous)
    BEGIN SELECT RAISE(ABORT, 'the journal is only added to'); END
    """,
    f"""
    CREATE TRIGGER journal_is_not_changed BEFORE UPDATE ON journal
    WHEN NOT COALESCE({_MAY_BE_EMPTIED} AND NEW.detail = '{{}}', 0)
    BEGIN SELECT RAISE(ABORT, 'the journal is only added to'); END
    """,
    """
    CREATE TRIGGER journal_is_not_deleted BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is only added to'); END
    """,
    """
    CREATE TRIGGER journal_head_is_not_deleted BEFORE DELETE ON journal_head
    BEGIN SELECT RAISE(ABORT, 'the journal is only added to'); END
    """,
)

_POSTGRESQL = (
    f"""
    CREATE FUNCTION journal_is_only_added_to() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND TG_LEVEL = 'ROW' AND TG_TABLE_NAME = 'journal' THEN
            IF COALESCE({_MAY_BE_EMPTIED} AND NEW.detail::text = '{{}}', FALSE) THEN
                RETURN NEW;
            END IF;
        END IF;
        RAISE EXCEPTION 'the journal is only added to';
    END $$
    """,
    """
    CREATE TRIGGER journal_is_not_changed BEFORE UPDATE OR DELETE ON journal
    FOR EACH ROW EXECUTE FUNCTION journal_is_only_added_to()
    """,
    """
    CREATE TRIGGER journal_is_not_emptied BEFORE TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION journal_is_only_added_to()
    """,
    """
    CREATE TRIGGER journal_head_is_not_deleted BEFORE DELETE ON journal_head
    FOR EACH ROW EXECUTE FUNCTION journal_is_only_added_to()
    """,
    """
    CREATE TRIGGER journal_head_is_not_emptied BEFORE TRUNCATE ON journal_head
    FOR EACH STATEMENT EXECUTE FUNCTION journal_is_only_added_to()
    """,
)

metadata = sa.MetaData(
    naming_convention={
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _where(condition: str, on_server: str = "") -> dict[str, Any]:
    """Return the arguments of a partial index. *on_server*: the condition on PostgreSQL, if it differs."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(on_server or condition)}


sa.Table(
    "counter",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("next", sa.Integer, nullable=False),
)
sa.Table(
    "drill",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("number", sa.String(32), nullable=False),
    sa.Column("asked_by", sa.String(200), nullable=False),
    sa.Column("contact", sa.String(64), nullable=False),
    sa.Column("begins_at", _MOMENT, nullable=False),
    sa.Column("ends_at", _MOMENT, nullable=False),
    sa.Column("ended_at", _MOMENT),
    sa.UniqueConstraint("key"),
    sa.Index("ix_drill_contact_ended_at", "contact", "ended_at"),
    sa.Index("ix_drill_ended_at", "ended_at"),
)
sa.Table(
    "health",
    metadata,
    sa.Column("subject", sa.String(200), primary_key=True),
    sa.Column("health", sa.String(16), nullable=False),
    sa.Column("since", _MOMENT, nullable=False),
)
sa.Table(
    "heard",
    metadata,
    sa.Column("gateway", sa.String(64), primary_key=True),
    sa.Column("event_id", sa.String(200), primary_key=True),
    sa.Column("at", _MOMENT, nullable=False),
)
sa.Table(
    "hour",
    metadata,
    sa.Column("agency", sa.String(64), primary_key=True),
    sa.Column("route", sa.String(200), primary_key=True),
    sa.Column("begins", _MOMENT, primary_key=True),
    sa.Column("outcome", sa.String(16), primary_key=True),
    sa.Column("grade", sa.String(8), primary_key=True),
    sa.Column("runs", sa.Integer, nullable=False),
    sa.Column("minutes", sa.BigInteger, nullable=False),
    sa.Column("every", sa.Integer, nullable=False),
    sa.Column("duration", sa.Float, nullable=False),
    sa.Column("longest", sa.Float, nullable=False),
    sa.Column("transit", sa.Float, nullable=False),
    sa.Column("slowest", sa.Float, nullable=False),
    sa.Index("ix_hour_begins", "begins"),
    sqlite_with_rowid=False,
)
sa.Table(
    "incident",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("dedup_key", sa.String(200), nullable=False),
    sa.Column("number", sa.String(32), nullable=False),
    sa.Column("agency", sa.String(64), nullable=False),
    sa.Column("matter", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("brief", sa.Text, nullable=False),
    sa.Column("began_at", _MOMENT, nullable=False),
    sa.Column("opened_at", _MOMENT, nullable=False),
    sa.Column("since", _MOMENT, nullable=False),
    sa.Column("present", sa.String(16)),
    sa.Column("present_since", _MOMENT),
    sa.Column("wave", sa.Integer, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("step_since", _MOMENT, nullable=False),
    sa.Column("acknowledged_at", _MOMENT),
    sa.Column("acknowledged_by", sa.String(200)),
    sa.Column("heard_at", _MOMENT),
    sa.Column("reminded_at", _MOMENT),
    sa.Column("had_by", sa.String(200)),
    sa.Column("handed_on", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("released_at", _MOMENT),
    sa.Column("released_by", sa.String(200)),
    sa.Column("resolved_at", _MOMENT),
    sa.Column("ended_at", _MOMENT),
    sa.Column("corrected_at", _MOMENT),
    sa.Column("corrected_by", sa.String(200)),
    sa.Column("corrected_why", sa.Text),
    sa.Column("unsteady", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("measured", sa.String(16)),
    sa.Column("declared_matter", sa.String(16)),
    sa.Column("declared_at", _MOMENT),
    sa.Column("declared_by", sa.String(200)),
    sa.Column("declared_why", sa.Text),
    sa.Column("declared_over_at", _MOMENT),
    sa.Column("declared_over_by", sa.String(200)),
    sa.Column("at_rest", sa.Boolean, nullable=False),
    sa.Column("owner", sa.String(200)),
    sa.Column("owned_until", _MOMENT),
    sa.Column("nudged", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("number"),
    sa.Index("ix_incident_active", "id", **_where("at_rest IS 0", "at_rest IS false")),
    sa.Index("ix_incident_dedup_key", "dedup_key"),
    sa.Index("ix_incident_nudged", "owner", **_where("nudged = 1", "nudged")),
    sa.Index("ix_incident_opened_at", "opened_at"),
    sa.Index("ix_incident_resolved_at", "resolved_at"),
    sa.Index("uq_incident_open", "dedup_key", unique=True, **_where("resolved_at IS NULL")),
)
sa.Table(
    "journal",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("event", sa.String(200), nullable=False),
    sa.Column("incident_id", sa.Integer),
    sa.Column("notice_id", sa.Integer),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("content", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("purged_by", sa.Integer),
    sa.UniqueConstraint("previous"),
    sa.Index(
        "ix_journal_about_none", "at", **_where("incident_id IS NULL AND notice_id IS NULL AND purged_by IS NULL")
    ),
    sa.Index("ix_journal_checkpoint", "id", **_where("event = 'journal followed'")),
    sa.Index("ix_journal_incident_id", "incident_id", **_where("incident_id IS NOT NULL")),
    sa.Index("ix_journal_notice_id", "notice_id", **_where("notice_id IS NOT NULL")),
)
sa.Table(
    "journal_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
sa.Table(
    "notice",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(300), nullable=False),
    sa.Column("plan", sa.String(16), nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("person", sa.String(64), nullable=False),
    sa.Column("language", sa.String(8), nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("addresses", sa.Text, nullable=False),
    sa.Column("addressee", sa.Text),
    sa.Column("wave", sa.Integer, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("urgency", sa.String(16), nullable=False, server_default="first"),
    sa.Column("gathering", sa.String(120)),
    sa.Column("not_before", _MOMENT),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("expires_at", _MOMENT, nullable=False),
    sa.UniqueConstraint("key"),
    sa.Index("ix_notice_gathering_created_at", "gathering", "created_at"),
    sa.Index("ix_notice_state", "state"),
)
sa.Table(
    "override",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rota", sa.String(100), nullable=False),
    sa.Column("contact", sa.Text, nullable=False),
    sa.Column("begins", _MOMENT, nullable=False),
    sa.Column("ends", _MOMENT, nullable=False),
    sa.Column("made_by", sa.String(200), nullable=False),
    sa.Column("made_at", _MOMENT, nullable=False),
    sa.Column("removed_by", sa.String(200)),
    sa.Column("removed_at", _MOMENT),
    sa.Index("ix_override_ends", "ends"),
)
sa.Table(
    "pin_entry",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("reference", sa.String(64), nullable=False),
    sa.Column("agency", sa.String(64), nullable=False),
    sa.Column("person", sa.String(64), nullable=False),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("proven", sa.Boolean, nullable=False),
    sa.Index("ix_pin_entry_person_at", "person", "at"),
)
sa.Table(
    "process",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("started_at", _MOMENT, nullable=False),
    sa.Column("beat_at", _MOMENT, nullable=False),
    sa.Column("stopped_at", _MOMENT),
)
sa.Table(
    "record",
    metadata,
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("applied_at", _MOMENT, nullable=False),
)
sa.Table(
    "run",
    metadata,
    sa.Column("id", _BIG_ID, primary_key=True),
    sa.Column("agency", sa.String(64), nullable=False),
    sa.Column("route", sa.String(200), nullable=False),
    sa.Column("token_id", sa.String(32), nullable=False),
    sa.Column("started_at", _MOMENT, nullable=False),
    sa.Column("duration", sa.Float, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Index("ix_run_of_outcome", "outcome", "started_at"),
    sa.Index("ix_run_of_route", "agency", "route", "started_at"),
)
sa.Table(
    "run_before",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("agency", sa.String(64), nullable=False),
    sa.Column("route", sa.String(200), nullable=False),
    sa.Column("token_id", sa.String(32), nullable=False),
    sa.Column("started_at", _MOMENT, nullable=False),
    sa.Column("duration", sa.Float, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Index("ix_run_route_started_at", "route", "started_at"),
    sa.Index("ix_run_started_at", "started_at"),
    sa.Index("ix_run_token_id", "token_id"),
)
sa.Table(
    "silence",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("about", sa.String(200), nullable=False),
    sa.Column("begins", _MOMENT, nullable=False),
    sa.Column("ends", _MOMENT, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("by", sa.String(200), nullable=False),
    sa.Index("ix_silence_ends", "ends"),
)
sa.Table(
    "sms_number",
    metadata,
    sa.Column("number", sa.String(32), primary_key=True),
    sa.Column("stopped_at", _MOMENT),
    sa.Column("puzzled", sa.Integer, nullable=False),
)
sa.Table(
    "streak",
    metadata,
    sa.Column("subject", sa.String(200), primary_key=True),
    sa.Column("runs", sa.Text, nullable=False),
)
sa.Table(
    "token",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("route", sa.String(200), nullable=False),
    sa.Column("sent_at", _MOMENT, nullable=False),
    sa.Column("deadline", _MOMENT, nullable=False),
    sa.Column("came_at", _MOMENT),
    sa.Index("ix_token_came", "sent_at", **_where("came_at IS NOT NULL")),
    sa.Index("ix_token_missing", "sent_at", **_where("came_at IS NULL")),
)
sa.Table(
    "delivery",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("notice_id", sa.Integer, sa.ForeignKey("notice.id"), nullable=False),
    sa.Column("channel", sa.String(8), nullable=False),
    sa.Column("number", sa.String(200), nullable=False),
    sa.Column("extension", sa.String(32), nullable=False),
    sa.UniqueConstraint("notice_id", "channel", "number", "extension"),
    sa.Index("ix_delivery_number", "number"),
)
sa.Table(
    "exercise",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(300), nullable=False),
    sa.Column("drill_id", sa.Integer, sa.ForeignKey("drill.id"), nullable=False),
    sa.Column("agency", sa.String(64), nullable=False),
    sa.Column("contact", sa.String(64), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("channel", sa.String(8), nullable=False),
    sa.Column("number", sa.String(200), nullable=False),
    sa.Column("extension", sa.String(32), nullable=False),
    sa.Column("gateway", sa.String(64), nullable=False),
    sa.Column("language", sa.String(8), nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("reference", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("provider_id", sa.String(200)),
    sa.Column("begun_at", _MOMENT, nullable=False),
    sa.Column("look_at", _MOMENT),
    sa.Column("delivered_at", _MOMENT),
    sa.Column("confirmed_at", _MOMENT),
    sa.UniqueConstraint("key"),
    sa.UniqueConstraint("reference"),
    sa.Index("ix_exercise_contact_begun_at", "agency", "contact", "channel", "state", "begun_at"),
    sa.Index("ix_exercise_contact_confirmed_at", "agency", "contact", "confirmed_at"),
    sa.Index("ix_exercise_drill_id", "drill_id"),
    sa.Index("ix_exercise_gateway_begun_at", "gateway", "state", "begun_at"),
    sa.Index("ix_exercise_number_confirmed_at", "number", "confirmed_at"),
)
sa.Table(
    "notice_incident",
    metadata,
    sa.Column("notice_id", sa.Integer, sa.ForeignKey("notice.id"), primary_key=True),
    sa.Column("incident_id", sa.Integer, sa.ForeignKey("incident.id"), primary_key=True),
    sa.Column("key", sa.String(300), nullable=False),
    sa.Column("person", sa.String(64), nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("wave", sa.Integer, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("left_at", _MOMENT),
    sa.UniqueConstraint("key"),
    sa.Index("ix_notice_incident_incident_id", "incident_id"),
)
sa.Table(
    "response_code",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("number", sa.String(32), nullable=False),
    sa.Column("code", sa.Integer, nullable=False),
    sa.Column("about", sa.String(200), nullable=False),
    sa.Column("notice_id", sa.Integer, sa.ForeignKey("notice.id"), nullable=False),
    sa.Column("given_at", _MOMENT, nullable=False),
    sa.UniqueConstraint("number", "about"),
    sa.Index("ix_response_code_notice_id", "notice_id"),
)
sa.Table(
    "attempt",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("delivery_id", sa.Integer, sa.ForeignKey("delivery.id"), nullable=False),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("reference", sa.String(64), nullable=False),
    sa.Column("gateway", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("started_at", _MOMENT, nullable=False),
    sa.Column("look_at", _MOMENT, nullable=False),
    sa.Column("asked", sa.Integer, nullable=False),
    sa.Column("provider_id", sa.String(200)),
    sa.Column("error", sa.String(16)),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("ended_at", _MOMENT),
    sa.Column("response", sa.String(8), nullable=False, server_default=sa.text("''")),
    sa.UniqueConstraint("delivery_id", "n"),
    sa.UniqueConstraint("reference"),
    sa.Index("ix_attempt_gateway_started_at", "gateway", "state", "started_at"),
    sa.Index("ix_attempt_started_at", "started_at"),
    sa.Index("ix_attempt_state_look_at", "state", "look_at"),
)
sa.Table(
    "letter_handling",
    metadata,
    sa.Column("attempt_id", sa.Integer, sa.ForeignKey("attempt.id"), primary_key=True),
    sa.Column("step", sa.String(16), primary_key=True),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("by", sa.String(200), nullable=False),
)


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection)
    op.bulk_insert(metadata.tables["journal_head"], [{"id": 1, "number": 0, "hash": _BEGINNING}])
    for statement in _POSTGRESQL if connection.dialect.name == "postgresql" else _SQLITE:
        op.execute(sa.text(statement.replace(":", r"\:")))
