"""Make the audit log (`journal`) a hash chain, and add triggers that make it append-only.

This migration defines the hash itself instead of importing it, because the hashes of old entries must not change with
the code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BEGINNING = "0" * 64

_OLD = sa.table(
    "journal",
    sa.column("id", sa.Integer),
    sa.column("at", sa.DateTime(timezone=True)),
    sa.column("actor", sa.String),
    sa.column("event", sa.String),
    sa.column("incident_id", sa.Integer),
    sa.column("notice_id", sa.Integer),
    sa.column("detail", sa.JSON),
)

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


def upgrade() -> None:
    connection = op.get_bind()
    entries = [dict(row) for row in connection.execute(sa.select(_OLD).order_by(_OLD.c.id)).mappings()]
    op.drop_table("journal")
    journal = op.create_table(
        "journal",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("event", sa.String(length=200), nullable=False),
        sa.Column("incident_id", sa.Integer(), nullable=True),
        sa.Column("notice_id", sa.Integer(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("purged_by", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal")),
        sa.UniqueConstraint("previous", name=op.f("uq_journal_previous")),
    )
    op.create_index("ix_journal_incident_id", "journal", ["incident_id"])
    head = op.create_table(
        "journal_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_head")),
    )
    if entries:
        # This entry records that the chain proves changes of the existing entries only from now on.
        entries.append(_told(len(entries)))
    chained = list(_chain(entries))
    if chained:
        op.bulk_insert(journal, chained)
    last = chained[-1] if chained else {"id": 0, "hash": _BEGINNING}
    op.bulk_insert(head, [{"id": 1, "number": last["id"], "hash": last["hash"]}])
    for statement in _POSTGRESQL if connection.dialect.name == "postgresql" else _SQLITE:
        op.execute(sa.text(statement.replace(":", r"\:")))


def _told(entries: int) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC),
        "actor": "engine",
        "event": "journal chained",
        "incident_id": None,
        "notice_id": None,
        "detail": {"entries": str(entries)},
    }


def _chain(entries: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    previous = _BEGINNING
    for number, entry in enumerate(entries, start=1):
        at = entry["at"] if entry["at"].tzinfo else entry["at"].replace(tzinfo=UTC)
        values = {
            "actor": entry["actor"],
            "at": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "detail": entry["detail"],
            "event": entry["event"],
            "incident": entry["incident_id"],
            "notice": entry["notice_id"],
            "number": number,
        }
        content = _digest(json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
        hashed = _digest(f"{previous} {content}")
        yield {**entry, "id": number, "at": at, "previous": previous, "content": content, "hash": hashed}
        previous = hashed


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
