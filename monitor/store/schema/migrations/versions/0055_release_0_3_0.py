"""Upgrade a store of release 0.2.0: rename tables, columns and JSON keys to the field's terms, and add new ones.

Only the runs of versions before 0.2.0 are moved. Otherwise the duration does not depend on the number of runs.
"""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Connection

from monitor.store.schema.migrations.ddl import create_audit_triggers, new_metadata, where
from monitor.store.schema.renamed import COLUMNS, TABLES

revision = "0055"
down_revision = "0018"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)

#: Tables with a column that refers to a notification.
_REFERRING = ("audit_log", "delivery", "notification_incident", "response_code")

#: New keys of a notification's facts, by the old ones. In JSON, a quoted text before a colon is always a key.
_FACTS = {
    "matter": "type",
    "unsteady": "flapping",
    "handed_on": "escalated",
    "was": "previous_type",
    "noticed_at": "notified_at",
    "first_noticed_at": "first_notified_at",
    "heard_at": "last_response_at",
}
#: New keys of an incident's policy, including those of a redial and of a rota's layer.
_POLICY = {
    "acknowledge_for": "acknowledgement_timeout",
    "call_again": "redial",
    "offered_after": "release_offered_after",
    "told_by": "policy_name",
    "every": "interval",
    "begins": "starts_on",
}

_BY_LENGTH = "|".join(sorted(TABLES, key=len, reverse=True))
#: Name of a constraint or an index (`ix_notice_state`) or a sequence (`notice_id_seq`). The groups are prefix, old table
#: and rest.
_NAME = re.compile(rf"^((?:ix|uq|fk|pk|ck)_|)({_BY_LENGTH})(|_.+)$")

metadata = new_metadata()

sa.Table(
    "api_token",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("made_by", sa.String(200), nullable=False),
    sa.Column("made_at", _MOMENT, nullable=False),
    sa.Column("ends_at", _MOMENT, nullable=False),
    sa.Column("used_at", _MOMENT),
    sa.Column("revoked_at", _MOMENT),
    sa.UniqueConstraint("digest"),
)
sa.Table(
    "day",
    metadata,
    sa.Column("agency", sa.String(64), primary_key=True),
    sa.Column("date", sa.Date, primary_key=True),
    sa.Column("minutes", sa.Text, nullable=False),
    sa.Index("ix_day_date", "date"),
    sqlite_with_rowid=False,
)
sa.Table(
    "desired_document",
    metadata,
    sa.Column("agency", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("text", sa.Text),
    sa.Column("offered_by", sa.String(200), nullable=False),
    sa.Column("offered_at", _MOMENT, nullable=False),
    sa.Column("processed_at", _MOMENT),
    sa.Column("refusal", sa.Text),
)
sa.Table(
    "document",
    metadata,
    sa.Column("agency", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("text", sa.Text),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("written_by", sa.String(200), nullable=False),
    sa.Column("written_at", _MOMENT, nullable=False),
    sa.Column("replaced_at", _MOMENT),
    sa.Index("uq_document_latest", "agency", unique=True, **where("replaced_at IS NULL")),
)
sa.Table(
    "idempotency_record",
    metadata,
    sa.Column("principal", sa.String(100), primary_key=True),
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("started_at", _MOMENT, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("body", sa.Text),
    sa.Index("ix_idempotency_record_begun_at", "started_at"),
)
sa.Table(
    "maintenance_notice",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("entry", sa.Integer, nullable=False),
    sa.Column("agency", sa.String(64), nullable=False),
    sa.Column("number", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("starts_at", _MOMENT, nullable=False),
    sa.Column("ends_at", _MOMENT, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("made_by", sa.String(200), nullable=False),
    sa.Column("made_at", _MOMENT, nullable=False),
    sa.Column("replaces", sa.String(32)),
    sa.UniqueConstraint("entry"),
    sa.UniqueConstraint("number"),
    sa.Index("ix_maintenance_notice_agency_ends", "agency", "ends_at"),
    sa.Index("ix_maintenance_notice_replaces", "replaces"),
)
sa.Table(
    "portal_user",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("full_name", sa.String(100), nullable=False),
    sa.Column("password", sa.Text),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("failed_at", _MOMENT),
    sa.Column("code_failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("code_failed_at", _MOMENT),
    sa.Column("unlocked_until", _MOMENT),
    sa.Column("made_by", sa.String(200), nullable=False),
    sa.Column("made_at", _MOMENT, nullable=False),
    sa.Column("disabled_at", _MOMENT),
    sa.Column("one_time_step", sa.Integer),
    sa.UniqueConstraint("name"),
)
sa.Table(
    "probe_request",
    metadata,
    sa.Column("agency", sa.String(64), primary_key=True),
    sa.Column("requested_at", _MOMENT, nullable=False),
)
sa.Table(
    "received_alert",
    metadata,
    sa.Column("fingerprint", sa.String(16), primary_key=True),
    sa.Column("starts_at", _MOMENT, nullable=False),
    sa.Column("ended_at", _MOMENT),
    sa.Column("received_at", _MOMENT, nullable=False),
    sa.Column("merged_into", sa.String(200)),
    sa.Index("ix_received_alert_folded_into", "merged_into", **where("merged_into IS NOT NULL")),
    sa.Index("ix_received_alert_heard_at", "received_at"),
)
sa.Table(
    "restoration",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("how", sa.String(16), nullable=False),
    sa.Column("noticed_at", _MOMENT, nullable=False),
    sa.Column("since", _MOMENT),
    sa.Column("by", sa.String(200), nullable=False),
    sa.Column("numbers", sa.JSON, nullable=False),
    sa.Column("pages", sa.JSON, nullable=False),
    sa.Column("skipped", sa.JSON(none_as_null=True)),
    sa.Column("confirmed_at", _MOMENT),
    sa.Column("confirmed_by", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
sa.Table(
    "rota_feed",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rota", sa.String(100), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("user", sa.String(64), nullable=False),
    sa.Column("made_at", _MOMENT, nullable=False),
    sa.Column("revoked_by", sa.String(200)),
    sa.Column("revoked_at", _MOMENT),
    sa.UniqueConstraint("digest"),
    sa.Index("ix_rota_feed_rota", "rota"),
)
sa.Table(
    "secret",
    metadata,
    sa.Column("purpose", sa.String(32), primary_key=True),
    sa.Column("owner", sa.String(200), primary_key=True),
    sa.Column("key_id", sa.String(16), nullable=False),
    sa.Column("ciphertext", sa.Text, nullable=False),
    sa.Column("written_by", sa.String(200), nullable=False),
    sa.Column("written_at", _MOMENT, nullable=False),
)
sa.Table(
    "site_heartbeat",
    metadata,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("monotonic", sa.BigInteger, nullable=False),
    sa.Column("incarnation", sa.String(64), nullable=False),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)
sa.Table(
    "site_hour",
    metadata,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("agency", sa.String(64), primary_key=True),
    sa.Column("starts_at", _MOMENT, primary_key=True),
    sa.Column("route", sa.String(200), primary_key=True),
    sa.Column("outcome", sa.String(16), primary_key=True),
    sa.Column("grade", sa.String(8), primary_key=True),
    sa.Column("published_at", _MOMENT, primary_key=True),
    sa.Column("runs", sa.Integer, nullable=False),
    sa.Column("minutes", sa.BigInteger, nullable=False),
    sa.Column("interval", sa.Integer, nullable=False),
    sa.Column("duration", sa.Float, nullable=False),
    sa.Column("longest", sa.Float, nullable=False),
    sa.Column("transit", sa.Float, nullable=False),
    sa.Column("slowest", sa.Float, nullable=False),
    sa.Index("ix_site_hour_begins", "starts_at"),
    sa.Index("ix_site_hour_of_agency", "site", "agency", "starts_at"),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)
sa.Table(
    "site_run",
    metadata,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("agency", sa.String(64), primary_key=True),
    sa.Column("started_at", _MOMENT, primary_key=True),
    sa.Column("token_id", sa.String(32), primary_key=True),
    sa.Column("published_at", _MOMENT, primary_key=True),
    sa.Column("route", sa.String(200), nullable=False),
    sa.Column("duration", sa.Float, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Index("ix_site_run_of_agency", "site", "agency", "started_at"),
    sa.Index("ix_site_run_started_at", "started_at"),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)
sa.Table(
    "site_status",
    metadata,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("subject", sa.String(200), primary_key=True),
    sa.Column("type", sa.String(16)),
    sa.Column("cause", sa.String(16)),
    sa.Column("since", _MOMENT),
    sa.Column("latest", _MOMENT),
    sa.Column("flapping", sa.Boolean, nullable=False),
    sa.Column("up_since", _MOMENT),
    sa.Column("directions", sa.Text, nullable=False),
    sa.Column("failing_routes", sa.Text, nullable=False),
    sqlite_with_rowid=False,
    postgresql_partition_by="LIST (site)",
)
sa.Table(
    "wallboard_link",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("agencies", sa.JSON(none_as_null=True)),
    sa.Column("made_by", sa.String(200), nullable=False),
    sa.Column("made_at", _MOMENT, nullable=False),
    sa.Column("ends_at", _MOMENT, nullable=False),
    sa.UniqueConstraint("digest"),
)
sa.Table(
    "invitation_code",
    metadata,
    sa.Column("user_id", sa.Integer, sa.ForeignKey("portal_user.id"), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("made_by", sa.String(200), nullable=False),
    sa.Column("made_at", _MOMENT, nullable=False),
    sa.Column("ends_at", _MOMENT, nullable=False),
)
sa.Table(
    "openid_identity",
    metadata,
    sa.Column("issuer", sa.String(255), primary_key=True),
    sa.Column("subject", sa.String(255), primary_key=True),
    sa.Column("user_id", sa.Integer, sa.ForeignKey("portal_user.id"), nullable=False),
    sa.Column("linked_at", _MOMENT, nullable=False),
    sa.Index("ix_openid_identity_user_id", "user_id"),
)
sa.Table(
    "pending_session",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("user_id", sa.Integer, sa.ForeignKey("portal_user.id"), nullable=False),
    sa.Column("ends_at", _MOMENT, nullable=False),
    sa.Index("ix_pending_session_user_id", "user_id"),
)
sa.Table(
    "recovery_code",
    metadata,
    sa.Column("user_id", sa.Integer, sa.ForeignKey("portal_user.id"), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
)
sa.Table(
    "role_assignment",
    metadata,
    sa.Column("user_id", sa.Integer, sa.ForeignKey("portal_user.id"), primary_key=True),
    sa.Column("role", sa.String(16), primary_key=True),
    sa.Column("agency", sa.String(64), primary_key=True),
)
sa.Table(
    "token_role",
    metadata,
    sa.Column("token_id", sa.Integer, sa.ForeignKey("api_token.id"), primary_key=True),
    sa.Column("role", sa.String(16), primary_key=True),
    sa.Column("agency", sa.String(64), primary_key=True),
)
sa.Table(
    "web_session",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("user_id", sa.Integer, sa.ForeignKey("portal_user.id"), nullable=False),
    sa.Column("started_at", _MOMENT, nullable=False),
    sa.Column("seen_at", _MOMENT, nullable=False),
    sa.Column("ends_at", _MOMENT, nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Index("ix_web_session_user_id", "user_id"),
)


def upgrade() -> None:
    connection = op.get_bind()
    is_file = connection.dialect.name == "sqlite"
    _move_old_runs()
    _drop_guards(is_file=is_file)
    for old, new in TABLES.items():
        op.rename_table(old, new)
    for table in _REFERRING:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN notice_id TO notification_id")
    for table, columns in COLUMNS.items():
        for old, new in columns.items():
            op.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{old}" TO "{new}"')
    (_rename_in_file if is_file else _rename_on_server)(connection)
    _add_columns()
    _rename_values()
    metadata.create_all(connection)
    if not is_file:
        _add_partitions()
    create_audit_triggers(
        "audit_log",
        "audit_head",
        notification="notification_id",
        function="audit_log_is_append_only",
        message="the audit log is append-only",
    )


def _move_old_runs() -> None:
    """Move the runs of versions before 0.2.0. Release 0.2.0 writes no rows to their table."""
    columns = "agency, route, token_id, started_at, duration, outcome, result"
    op.execute(f"INSERT INTO run ({columns}) SELECT {columns} FROM run_before ORDER BY id")  # noqa: S608 - constants
    op.drop_table("run_before")


def _add_columns() -> None:
    for name in ("closed_at", "type_began_at", "current_type_began_at", "outage_began_at"):
        op.add_column("incident", sa.Column(name, _MOMENT))
    op.add_column("incident", sa.Column("closed_by", sa.String(200)))
    op.add_column("incident", sa.Column("closed_reason", sa.Text))
    op.add_column("incident", sa.Column("closed_recovered", sa.Boolean))
    op.add_column("incident", sa.Column("skipped_pages", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("letter_step", sa.Column("day", sa.Date))
    op.add_column("process", sa.Column("documents", sa.BigInteger))
    op.add_column("process", sa.Column("agencies", sa.Text))
    op.add_column("process", sa.Column("agencies_digest", sa.String(64)))
    op.add_column("process", sa.Column("continuous_since", _MOMENT))
    op.create_index("ix_audit_log_actor", "audit_log", ["actor", "id"])
    op.create_index("ix_audit_log_event", "audit_log", ["event", "id"])


def _rename_values() -> None:
    for table, name, renamed_keys in (
        ("notification", "facts", _FACTS),
        ("notification_incident", "facts", _FACTS),
        ("drill_notification", "facts", _FACTS),
        ("incident", "policy", _POLICY),
    ):
        of = sa.table(table, sa.column(name, sa.Text))
        written: sa.ColumnElement[str] = of.c[name]
        for old, new in renamed_keys.items():
            written = sa.func.replace(written, f'"{old}":', f'"{new}":')
        op.execute(of.update().values({name: written}))
    for table in ("attempt", "drill_notification"):
        states = sa.table(table, sa.column("state", sa.Text))
        op.execute(states.update().where(states.c.state == "no_trace").values(state="not_found"))


def _add_partitions() -> None:
    # The rows are replicated from other databases. PostgreSQL supports times that Python's datetime does not. One such
    # row would prevent reading the statuses of all sites.
    for table, columns in (("site_status", ("since", "latest", "up_since")), ("site_heartbeat", ("at",))):
        within = " AND ".join(f"{each} BETWEEN '0001-01-02' AND '9999-12-30'" for each in columns)
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_times CHECK ({within})")
    # A row that a site publishes twice would be rejected, and block the replication from the site.
    for table in ("site_run", "site_hour"):
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT pk_{table}")
    # Partition of all sites without a partition of their own.
    for table in ("site_status", "site_heartbeat", "site_run", "site_hour"):
        op.execute(f"CREATE TABLE rest_of_{table} PARTITION OF {table} DEFAULT")


def renamed(name: str) -> str:
    """Return the new name of a constraint, an index or a sequence."""
    if (found := _NAME.match(name)) is not None:
        name = f"{found[1]}{TABLES[found[2]]}{found[3]}"
    return name.replace("notice_id", "notification_id")


def _drop_guards(*, is_file: bool) -> None:
    if not is_file:
        op.execute("DROP FUNCTION journal_is_only_added_to() CASCADE")
        return
    for trigger in (
        "journal_is_not_replaced",
        "journal_is_not_changed",
        "journal_is_not_deleted",
        "journal_head_is_not_deleted",
    ):
        op.execute(f"DROP TRIGGER {trigger}")


def _rename_on_server(connection: Connection) -> None:
    # Renaming a check constraint of a table also renames the inherited constraints of its partitions.
    constraints = connection.execute(
        sa.text(
            "SELECT conrelid::regclass::text AS of, conname AS name FROM pg_constraint"
            " WHERE connamespace = current_schema()::regnamespace AND conrelid <> 0 AND (contype <> 'c' OR coninhcount = 0)"
        )
    ).all()
    for of, name in constraints:
        if (new := renamed(name)) != name:
            op.execute(f'ALTER TABLE {of} RENAME CONSTRAINT "{name}" TO "{new}"')
    others = connection.execute(
        sa.text(
            "SELECT relkind::text AS kind, relname AS name FROM pg_class"
            " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('i', 'I', 'S')"
        )
    ).all()
    for kind, name in others:
        if (new := renamed(name)) != name:
            op.execute(f'ALTER {"SEQUENCE" if kind == "S" else "INDEX"} "{name}" RENAME TO "{new}"')


def _rename_in_file(connection: Connection) -> None:
    # SQLite has no statement to rename a constraint or an index. Its documentation describes this procedure (ALTER
    # TABLE, "Making Other Kinds Of Table Schema Changes"). It changes only the schema, and no stored row.
    entries = connection.execute(
        sa.text("SELECT rowid, type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    ).all()
    version = connection.execute(sa.text("PRAGMA schema_version")).scalar_one()
    op.execute("PRAGMA writable_schema = ON")
    for number, kind, name, sql in entries:
        new = renamed(name) if kind == "index" else name
        written = re.sub(r"\b(?:ix|uq|fk|pk|ck)_\w+", lambda found: renamed(found[0]), sql)
        if (new, written) != (name, sql):
            change = sa.text("UPDATE sqlite_schema SET name = :name, sql = :sql WHERE rowid = :number")
            connection.execute(change, {"name": new, "sql": written, "number": number})
    op.execute(f"PRAGMA schema_version = {version + 1}")
    op.execute("PRAGMA writable_schema = RESET")
