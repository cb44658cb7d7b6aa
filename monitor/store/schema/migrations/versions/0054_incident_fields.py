"""Rename fields in the stored JSON of incidents and notifications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None

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

#: New key of an incident's policy (`brief`), by the old one.
_POLICY = {"told_by": "policy_name"}


def upgrade() -> None:
    for table, name, renamed in (
        ("notification", "facts", _FACTS),
        ("notification_incident", "facts", _FACTS),
        ("drill_notification", "facts", _FACTS),
        ("incident", "brief", _POLICY),
    ):
        of = sa.table(table, sa.column(name, sa.Text))
        written: sa.ColumnElement[str] = of.c[name]
        for old, new in renamed.items():
            written = sa.func.replace(written, f'"{old}":', f'"{new}":')
        op.execute(of.update().values({name: written}))
