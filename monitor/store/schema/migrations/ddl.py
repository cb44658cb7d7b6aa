"""Statements that several migrations need: metadata with names of constraints, partial indexes, and the audit triggers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op


def new_metadata() -> sa.MetaData:
    """Return metadata that names keys and constraints as all migrations do."""
    return sa.MetaData(
        naming_convention={
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def where(condition: str, on_server: str = "") -> dict[str, Any]:
    """Return the arguments of a partial index. *on_server*: the condition on PostgreSQL, if it differs."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(on_server or condition)}


def create_audit_triggers(log: str, head: str, *, notification: str, function: str, message: str) -> None:
    """Make the tables *log* and *head* append-only, with the error *message*.

    *notification*: the column of *log* with the id of a notification. *function*: the trigger function on PostgreSQL.
    """
    # The only permitted change: a purge deletes the content of an entry and sets `purged_by` to the number of the entry
    # that records the purge.
    may_be_emptied = f"""
        OLD.purged_by IS NULL AND NEW.purged_by > OLD.id
        AND EXISTS (SELECT 1 FROM {log} AS purge WHERE purge.id = NEW.purged_by AND purge.event = 'records purged')
        AND OLD.event <> 'records purged' AND NEW.id = OLD.id AND NEW.at = OLD.at AND NEW.previous = OLD.previous
        AND NEW.content = OLD.content AND NEW.hash = OLD.hash
        AND NEW.actor = '' AND NEW.event = '' AND NEW.incident_id IS NULL AND NEW.{notification} IS NULL
    """  # noqa: S608 - the names are constants
    if op.get_bind().dialect.name == "postgresql":
        row, statement = "FOR EACH ROW", "FOR EACH STATEMENT"
        statements = [
            f"""
            CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF TG_OP = 'UPDATE' AND TG_LEVEL = 'ROW' AND TG_TABLE_NAME = '{log}' THEN
                    IF COALESCE({may_be_emptied} AND NEW.detail::text = '{{}}', FALSE) THEN
                        RETURN NEW;
                    END IF;
                END IF;
                RAISE EXCEPTION '{message}';
            END $$
            """,
            *(
                f"CREATE TRIGGER {name} BEFORE {event} {level} EXECUTE FUNCTION {function}()"
                for name, event, level in (
                    (f"{log}_is_not_changed", f"UPDATE OR DELETE ON {log}", row),
                    (f"{log}_is_not_emptied", f"TRUNCATE ON {log}", statement),
                    (f"{head}_is_not_deleted", f"DELETE ON {head}", row),
                    (f"{head}_is_not_emptied", f"TRUNCATE ON {head}", statement),
                )
            ),
        ]
    else:
        statements = [
            f"CREATE TRIGGER {name} BEFORE {event} BEGIN SELECT RAISE(ABORT, '{message}'); END"
            for name, event in (
                # INSERT OR REPLACE deletes the old row without firing its DELETE trigger.
                (
                    f"{log}_is_not_replaced",
                    f"INSERT ON {log} WHEN EXISTS (SELECT 1 FROM {log} WHERE id = NEW.id OR previous = NEW.previous)",  # noqa: S608
                ),
                (
                    f"{log}_is_not_changed",
                    f"UPDATE ON {log} WHEN NOT COALESCE({may_be_emptied} AND NEW.detail = '{{}}', 0)",
                ),
                (f"{log}_is_not_deleted", f"DELETE ON {log}"),
                (f"{head}_is_not_deleted", f"DELETE ON {head}"),
            )
        ]
    for each in statements:
        op.execute(sa.text(each.replace(":", r"\:")))
