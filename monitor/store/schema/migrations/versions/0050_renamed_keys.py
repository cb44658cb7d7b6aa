"""Give keys of agencies' documents, and of what incidents keep of them, their present names."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from monitor.model.renamed_keys import rename_keys

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None

#: In the policy of an incident, as JSON.
_POLICY = {
    "acknowledge_for": "acknowledgement_timeout",
    "call_again": "redial",
    "offered_after": "release_offered_after",
}


def upgrade() -> None:
    connection = op.get_bind()
    rows = connection.execute(
        sa.text("SELECT agency, number, text FROM document WHERE replaced_at IS NULL AND text IS NOT NULL")
    ).all()
    for agency, number, text in rows:
        if (renamed := rename_keys(text)) != text:
            change = sa.text("UPDATE document SET text = :text WHERE agency = :agency AND number = :number")
            connection.execute(change, {"text": renamed, "agency": agency, "number": number})
    offers = connection.execute(sa.text("SELECT agency, text FROM offered_document WHERE text IS NOT NULL")).all()
    for agency, text in offers:
        if (renamed := rename_keys(text)) != text:
            change = sa.text("UPDATE offered_document SET text = :text WHERE agency = :agency")
            connection.execute(change, {"text": renamed, "agency": agency})
    incident = sa.table("incident", sa.column("brief", sa.Text))
    policy: sa.ColumnElement[str] = incident.c.brief
    for old, new in _POLICY.items():
        policy = sa.func.replace(policy, f'"{old}"', f'"{new}"')
    op.execute(incident.update().values(brief=policy))
