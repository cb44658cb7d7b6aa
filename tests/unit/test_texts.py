"""The list of all texts is the texts."""

from __future__ import annotations

from alerts.wording.text_spec import TEXT_SPECS
from tests import texts


def test_the_list_for_a_native_reader_has_every_text_as_it_is_now() -> None:
    assert texts.DOCUMENT.read_text(encoding="utf-8") == texts.document(), "write it again: make texts"


def test_no_text_of_a_notice_is_missing_in_the_list() -> None:
    listed = {(each.language, each.channel, each.key) for each in texts.texts()}

    assert len(listed) > 2 * len(TEXT_SPECS)
