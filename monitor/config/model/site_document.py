"""What of an agency's document a site is given, which probes and tells nobody."""

from __future__ import annotations

from typing import Any

import yaml

from monitor.config.files.document import parse_document
from monitor.model.document import WrittenDocument

#: What probing needs. All else stays at the hub, whatever it is: offices, people, their numbers, and whoever is told. So do
#: remarks, in which a number may stand, too.
PROBED = frozenset(
    {"agency", "name", "domains", "mailboxes", "routes", "probing", "time_zone", "maintenance", "checks"},
)


def site_document(document: WrittenDocument) -> WrittenDocument:
    """Return the document as a site is given it. One that the hub goes by has no errors."""
    data = parse_document(document.text, document.name).data
    probed: dict[str, Any] = {key: value for key, value in data.items() if key in PROBED}
    text = yaml.safe_dump(probed, allow_unicode=True, sort_keys=False, width=120)
    return WrittenDocument(agency=document.agency, name=document.name, text=text)
