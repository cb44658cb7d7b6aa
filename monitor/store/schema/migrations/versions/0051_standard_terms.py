"""Rename tables to the field's terms, and with them their indexes, constraints, sequences, partitions and triggers.

Only names change. No row is read, so the duration does not depend on the number of rows.
"""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Connection

from monitor.store.schema.renamed import TABLES

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None

#: Tables that have a partition for each site on PostgreSQL.
_PARTITIONED = ("standing", "beat")

#: Tables with a column that refers to a notification.
_REFERRING = ("audit_log", "delivery", "notification_incident", "response_code")

_BY_LENGTH = "|".join(sorted(TABLES, key=len, reverse=True))
#: Name of a constraint or an index (`ix_notice_state`), a sequence (`wall_id_seq`), or a partition's constraint. The
#: groups are prefix, old table and rest.
_NAME = re.compile(rf"^((?:ix|uq|fk|pk|ck)_|rest_of_|)({_BY_LENGTH})(|_.+)$")

_MAY_BE_EMPTIED = """
    OLD.purged_by IS NULL AND NEW.purged_by > OLD.id
    AND EXISTS (SELECT 1 FROM audit_log AS purge WHERE purge.id = NEW.purged_by AND purge.event = 'records purged')
    AND OLD.event <> 'records purged'
    AND NEW.id = OLD.id AND NEW.at = OLD.at AND NEW.previous = OLD.previous AND NEW.content = OLD.content AND NEW.hash = OLD.hash
    AND NEW.actor = '' AND NEW.event = '' AND NEW.incident_id IS NULL AND NEW.notification_id IS NULL
"""

_ON_SQLITE = (
    # INSERT OR REPLACE deletes the old row without firing its DELETE trigger.
    """
    CREATE TRIGGER audit_log_is_not_replaced BEFORE INSERT ON audit_log
    WHEN EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id OR previous = NEW.previous)
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    f"""
    CREATE TRIGGER audit_log_is_not_changed BEFORE UPDATE ON audit_log
    WHEN NOT COALESCE({_MAY_BE_EMPTIED} AND NEW.detail = '{{}}', 0)
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_log_is_not_deleted BEFORE DELETE ON audit_log
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_head_is_not_deleted BEFORE DELETE ON audit_head
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
)

_ON_POSTGRESQL = (
    f"""
    CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND TG_LEVEL = 'ROW' AND TG_TABLE_NAME = 'audit_log' THEN
            IF COALESCE({_MAY_BE_EMPTIED} AND NEW.detail::text = '{{}}', FALSE) THEN
                RETURN NEW;
            END IF;
        END IF;
        RAISE EXCEPTION 'the audit log is append-only';
    END $$
    """,
    """
    CREATE TRIGGER audit_log_is_not_changed BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only()
    """,
    """
    CREATE TRIGGER audit_log_is_not_emptied BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only()
    """,
    """
    CREATE TRIGGER audit_head_is_not_deleted BEFORE DELETE ON audit_head
    FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only()
    """,
    """
    CREATE TRIGGER audit_head_is_not_emptied BEFORE TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only()
    """,
)


def upgrade() -> None:
    connection = op.get_bind()
    is_file = connection.dialect.name == "sqlite"
    _drop_guards(is_file=is_file)
    if not is_file:
        _rename_partitions(connection)
    for old, new in TABLES.items():
        op.rename_table(old, new)
    for table in _REFERRING:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN notice_id TO notification_id")
    (_rename_in_file if is_file else _rename_on_server)(connection)
    for statement in _ON_SQLITE if is_file else _ON_POSTGRESQL:
        op.execute(sa.text(statement.replace(":", r"\:")))


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


def _rename_partitions(connection: Connection) -> None:
    parts = sa.text(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = CAST(:table AS regclass)"
    )
    for table in _PARTITIONED:
        for quoted in connection.execute(parts, {"table": table}).scalars().all():
            name = quoted.replace('"', "")
            new = name.replace(table, TABLES[table], 1)
            op.execute(f'ALTER TABLE "{name}" RENAME TO "{new}"')


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
