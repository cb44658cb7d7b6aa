"""Rename the checks `posture` and `negative` in stored documents."""

from __future__ import annotations

from monitor.store.schema.migrations.document_keys import rename_document_keys

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None


def upgrade() -> None:
    rename_document_keys("desired_document")
