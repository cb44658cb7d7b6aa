"""The part of an agency's document that a site receives. A site probes and notifies nobody."""

from __future__ import annotations

from typing import Any

import yaml

from monitor.config.files.document import parse_document
from monitor.model.document import WrittenDocument

#: Keys that probing needs. All else stays at the hub: offices, people, numbers and recipients. So do comments, which
#: may contain a number.
PROBED = frozenset(
    {"agency", "name", "domains", "mailboxes", "routes", "probing", "time_zone", "maintenance", "checks"},
)


def site_document(document: WrittenDocument) -> WrittenDocument:
    """Return the document for a site. A document that the hub uses has no errors."""
    data = parse_document(document.text, document.name).data
    probed: dict[str, Any] = {key: value for key, value in data.items() if key in PROBED}
    text = yaml.safe_dump(probed, allow_unicode=True, sort_keys=False, width=120)
    return WrittenDocument(agency=document.agency, name=document.name, text=text)
