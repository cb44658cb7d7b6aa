"""Renaming of keys in stored agency documents (configuration files in the database), for migrations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from monitor.model.renamed_keys import rename_keys


def rename_document_keys(desired: str) -> None:
    """Rename old keys in each agency's latest document, and in the documents of the table *desired*.

    Replaced versions of a document are not changed.
    """
    connection = op.get_bind()
    rows = connection.execute(
        sa.text("SELECT agency, number, text FROM document WHERE replaced_at IS NULL AND text IS NOT NULL")
    ).all()
    for agency, number, text in rows:
        if (renamed := rename_keys(text)) != text:
            change = sa.text("UPDATE document SET text = :text WHERE agency = :agency AND number = :number")
            connection.execute(change, {"text": renamed, "agency": agency, "number": number})
    table = sa.table(desired, sa.column("agency"), sa.column("text", sa.Text))
    for agency, text in connection.execute(
        sa.select(table.c.agency, table.c.text).where(table.c.text.is_not(None))
    ).all():
        if (renamed := rename_keys(text)) != text:
            connection.execute(table.update().where(table.c.agency == agency).values(text=renamed))
