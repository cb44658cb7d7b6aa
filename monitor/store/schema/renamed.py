"""Former names of tables and columns, and views by which a store that still has them is read without a migration.

The migrations 0051 and 0055 rename the tables and columns. Commands that only read a store do not migrate it.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, inspect, text

#: Present table names by the names before migration 0051.
TABLES: Final = {
    "access_code": "invitation_code",
    "advance_notice": "maintenance_notice",
    "alert": "received_alert",
    "beat": "site_heartbeat",
    "exercise": "drill_notification",
    "half_session": "pending_session",
    "heard": "callback_event",
    "journal": "audit_log",
    "journal_head": "audit_head",
    "kept_answer": "idempotency_record",
    "kept_secret": "secret",
    "letter_handling": "letter_step",
    "notice": "notification",
    "notice_incident": "notification_incident",
    "offered_document": "desired_document",
    "pin_entry": "pin_attempt",
    "probe_call": "probe_request",
    "standing": "site_status",
    "wall": "wallboard_link",
}

#: Present column names by the names before migration 0055, for each table by its present name.
COLUMNS: Final = {
    "document": {"pen": "source"},
    "desired_document": {"looked_at": "processed_at"},
    "hour": {"begins": "starts_at", "every": "interval"},
    "token": {"came_at": "arrived_at"},
    "site_status": {"matter": "type", "unsteady": "flapping", "well_since": "up_since", "troubled": "failing_routes"},
    "site_heartbeat": {"steady": "monotonic", "life": "incarnation"},
    "site_run": {"told_at": "published_at"},
    "site_hour": {"begins": "starts_at", "every": "interval", "told_at": "published_at"},
    "incident": {
        "matter": "type",
        "brief": "policy",
        "present": "current_type",
        "present_since": "current_type_since",
        "matter_began_at": "type_began_at",
        "present_began_at": "current_type_began_at",
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
        "closed_why": "closed_reason",
        "pages_left_out": "skipped_pages",
    },
    "notification": {"wave": "restarts", "gathering": "bundle_key"},
    "notification_incident": {"wave": "restarts"},
    "silence": {"about": "target", "begins": "starts_at", "ends": "ends_at", "why": "reason"},
    "attempt": {"look_at": "query_at", "asked": "queries"},
    "sms_number": {"puzzled": "unrecognised"},
    "pin_attempt": {"proven": "accepted"},
    "received_alert": {"heard_at": "received_at", "folded_into": "merged_into"},
    "restoration": {"left_out": "skipped", "why": "reason"},
    "process": {"beat_at": "heartbeat_at"},
    "probe_request": {"called_at": "requested_at"},
    "drill": {"asked_by": "requested_by", "begins_at": "starts_at"},
    "drill_notification": {"why": "reason", "begun_at": "started_at", "look_at": "query_at"},
    "override": {"begins": "starts_at", "ends": "ends_at"},
    "web_session": {"begun_at": "started_at"},
    "invitation_code": {"way": "kind", "kept": "digest"},
    "idempotency_record": {"visitor": "principal", "begun_at": "started_at"},
    "maintenance_notice": {"news": "kind", "begins": "starts_at", "ends": "ends_at", "why": "reason"},
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
