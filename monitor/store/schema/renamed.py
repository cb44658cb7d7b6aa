"""Former names of tables, and how a store that still has them is read before it is migrated."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, inspect, text

#: Present names by the names before schema 0051.
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


def use_present_names(connection: Connection) -> None:
    """Let queries of *connection* use present names on an older store, by temporary views; the store is not changed."""
    inspector = inspect(connection)
    there = {*inspector.get_table_names()}
    for old, new in TABLES.items():
        if old in there and new not in there:
            columns = ", ".join(_renamed(column["name"]) for column in inspector.get_columns(old))
            connection.execute(text(f"CREATE TEMP VIEW {new} AS SELECT {columns} FROM {old}"))  # noqa: S608 - our own names


def _renamed(column: str) -> str:
    return f"{column} AS notification_id" if column == "notice_id" else f'"{column}"'
