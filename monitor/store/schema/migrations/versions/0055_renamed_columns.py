"""Rename columns to the field's terms, with the keys of stored policies and one state of attempts.

For columns, only names change; no row is read.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from monitor.store.schema.renamed import COLUMNS

revision = "0055"
down_revision = "0054"
branch_labels = None
depends_on = None

#: New keys of an incident's policy (of a redial and of a rota's layer), by the old ones. In JSON, a quoted text before
#: a colon is always a key.
_POLICY = {"every": "interval", "begins": "starts_on"}


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for old, new in columns.items():
            op.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{old}" TO "{new}"')
    of = sa.table("incident", sa.column("policy", sa.Text))
    written: sa.ColumnElement[str] = of.c.policy
    for old, new in _POLICY.items():
        written = sa.func.replace(written, f'"{old}":', f'"{new}":')
    op.execute(of.update().values(policy=written))
    for table in ("attempt", "drill_notification"):
        states = sa.table(table, sa.column("state", sa.Text))
        op.execute(states.update().where(states.c.state == "no_trace").values(state="not_found"))
