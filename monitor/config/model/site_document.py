"""The part of an agency's document that a hub sends to its sites.

A *hub* notifies people; its *sites* only probe mail, and report to it.
"""

from __future__ import annotations

from typing import Any

import yaml

from monitor.config.files.document import parse_document
from monitor.model.document import WrittenDocument

#: Keys that probing needs. The hub sends nothing else: no offices, people or telephone numbers, and no comments, which
#: may contain a telephone number.
SITE_KEYS = frozenset(
    {"agency", "name", "domains", "mailboxes", "routes", "probing", "time_zone", "maintenance", "checks"},
)


def site_document(document: WrittenDocument) -> WrittenDocument:
    """Return the part for sites of *document*, which must be free of errors."""
    data = parse_document(document.text, document.name).data
    site_data: dict[str, Any] = {key: value for key, value in data.items() if key in SITE_KEYS}
    text = yaml.safe_dump(site_data, allow_unicode=True, sort_keys=False, width=120)
    return WrittenDocument(agency=document.agency, name=document.name, text=text)
