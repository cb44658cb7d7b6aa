"""Rename `probing.when` to `active_hours` in stored documents."""

from __future__ import annotations

from monitor.store.schema.migrations.document_keys import rename_document_keys

revision = "0053"
down_revision = "0052"
branch_labels = None
depends_on = None


def upgrade() -> None:
    rename_document_keys("desired_document")
