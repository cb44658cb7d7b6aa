"""The part of an agency's document that a hub sends to its sites.

A *hub* notifies people; its *sites* only probe mail, and report to it.
"""

from __future__ import annotations

from typing import Any

import yaml

from monitor.config.files.document import parse_document
from monitor.model.document import WrittenDocument

#: Keys that probing needs. The hub keeps everything else, such as offices, people and telephone numbers, and also the
#: comments, which may contain a telephone number.
PROBED = frozenset(
    {"agency", "name", "domains", "mailboxes", "routes", "probing", "time_zone", "maintenance", "checks"},
)


def site_document(document: WrittenDocument) -> WrittenDocument:
    """Return the part for sites of *document*, which must be free of errors."""
    data = parse_document(document.text, document.name).data
    probed: dict[str, Any] = {key: value for key, value in data.items() if key in PROBED}
    text = yaml.safe_dump(probed, allow_unicode=True, sort_keys=False, width=120)
    return WrittenDocument(agency=document.agency, name=document.name, text=text)
