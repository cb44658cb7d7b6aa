"""Names of tables and columns in release 0.2.0, and views by which a store of it is read without a migration.

The migration 0055 renames the tables and columns. Commands that only read a store do not migrate it.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, inspect, text

#: Present table names by the names in release 0.2.0.
TABLES: Final = {
    "exercise": "drill_notification",
    "heard": "callback_event",
    "journal": "audit_log",
    "journal_head": "audit_head",
    "letter_handling": "letter_step",
    "notice": "notification",
    "notice_incident": "notification_incident",
    "pin_entry": "pin_attempt",
}

#: Present column names by the names in release 0.2.0, for each table by its present name.
COLUMNS: Final = {
    "hour": {"begins": "starts_at", "every": "interval"},
    "token": {"came_at": "arrived_at"},
    "incident": {
        "matter": "type",
        "brief": "policy",
        "present": "current_type",
        "present_since": "current_type_since",
        "wave": "restarts",
        "heard_at": "last_response_at",
        "had_by": "previous_assignee",
        "handed_on": "escalated",
        "corrected_at": "false_alarm_at",
        "corrected_by": "false_alarm_by",
        "corrected_why": "false_alarm_reason",
        "unsteady": "flapping",
        "measured": "detected",
        "declared_matter": "declared_type",
        "declared_why": "declared_reason",
        "declared_over_at": "declared_ended_at",
        "declared_over_by": "declared_ended_by",
    },
    "notification": {"wave": "restarts", "gathering": "bundle_key"},
    "notification_incident": {"wave": "restarts"},
    "silence": {"about": "target", "begins": "starts_at", "ends": "ends_at", "why": "reason"},
    "attempt": {"look_at": "query_at", "asked": "queries"},
    "sms_number": {"puzzled": "unrecognised"},
    "pin_attempt": {"proven": "accepted"},
    "process": {"beat_at": "heartbeat_at"},
    "drill": {"asked_by": "requested_by", "begins_at": "starts_at"},
    "drill_notification": {"why": "reason", "begun_at": "started_at", "look_at": "query_at"},
    "override": {"begins": "starts_at", "ends": "ends_at"},
}


def use_present_names(connection: Connection) -> None:
    """Create temporary views, so that queries of *connection* can use the present names on an older store.

    The store itself is not changed.
    """
    inspector = inspect(connection)
    tables = {*inspector.get_table_names()}
    former = {new: old for old, new in TABLES.items()}
    schema = "main" if connection.dialect.name == "sqlite" else inspector.default_schema_name
    for new in sorted({*former, *COLUMNS}):
        table = new if new in tables else former.get(new, new)
        if table not in tables:
            continue
        columns = [column["name"] for column in inspector.get_columns(table)]
        present = [_present(new, column) for column in columns]
        if table != new or columns != present:
            selected = ", ".join(f'"{old}" AS "{name}"' for old, name in zip(columns, present, strict=True))
            # A name resolves to a temporary view before it resolves to a table of the same name.
            connection.execute(text(f'CREATE TEMP VIEW "{new}" AS SELECT {selected} FROM {schema}."{table}"'))  # noqa: S608 - the names are constants


def _present(table: str, column: str) -> str:
    return "notification_id" if column == "notice_id" else COLUMNS.get(table, {}).get(column, column)
