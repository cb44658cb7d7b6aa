"""Memory of merged letters. Reference cycles make the collector stop the whole service."""

from __future__ import annotations

import gc

from alerts.documents.render import letter
from alerts.documents.stack import merge_letters
from tests.unit.alerts.documents.pages import FACTS, MINISTRY
from tests.unit.alerts.wording.situations import WORDING


def test_merge_letters_leaves_few_reference_cycles() -> None:
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
    # A letter has about a thousand objects.
    assert (many - few) / 8 < 120
