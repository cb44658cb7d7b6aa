"""Letters that are put together leave next to nothing to the collector, which stops the whole service while it looks."""

from __future__ import annotations

import gc

from alerts.documents.render import letter
from alerts.documents.stack import merge_letters
from tests.unit.alerts.documents.pages import FACTS, MINISTRY
from tests.unit.alerts.wording.situations import WORDING


def test_a_file_of_many_letters_leaves_nothing_that_holds_itself_of_each() -> None:
    page = letter(FACTS, MINISTRY, WORDING).pdf
    merge_letters([page], "surat")
    gc.collect()
    gc.disable()
    try:
        merge_letters([page] * 4, "surat")
        few = gc.collect()
        merge_letters([page] * 12, "surat")
        many = gc.collect()
    finally:
        gc.enable()
    # A letter is read as a thousand objects.
    assert (many - few) / 8 < 120
