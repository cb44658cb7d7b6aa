"""The list of all texts matches the texts."""

from __future__ import annotations

from alerts.wording.text_spec import TEXT_SPECS
from tests import texts


def test_texts_document_matches_texts() -> None:
    assert texts.DOCUMENT.read_text(encoding="utf-8") == texts.document(), "write it again: make texts"


def test_texts_document_lists_texts_of_notifications() -> None:
    listed = {(each.language, each.channel, each.key) for each in texts.texts()}

    assert len(listed) > 2 * len(TEXT_SPECS)
