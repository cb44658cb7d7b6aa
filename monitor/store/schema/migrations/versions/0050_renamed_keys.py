"""Rename old keys in agencies' documents, and in the policies that incidents store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from monitor.store.schema.migrations.document_keys import rename_document_keys

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None

#: New keys of an incident's policy (`brief`, JSON), by the old ones.
_POLICY = {
    "acknowledge_for": "acknowledgement_timeout",
    "call_again": "redial",
    "offered_after": "release_offered_after",
}


def upgrade() -> None:
    rename_document_keys("offered_document")
    incident = sa.table("incident", sa.column("brief", sa.Text))
    policy: sa.ColumnElement[str] = incident.c.brief
    for old, new in _POLICY.items():
        policy = sa.func.replace(policy, f'"{old}"', f'"{new}"')
    op.execute(incident.update().values(brief=policy))
