"""Data of a docket: a list of the letters posted on a day, for the post office counter and the messenger. Pure.

The numbers of registered mail and the signatures are filled in by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from alerts.documents import phrase
from alerts.documents.incident_record import cells
from alerts.documents.phrase import stamp
from alerts.documents.printable import Json
from alerts.model.notification import Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class DocketLine:
    """A letter on the docket."""

    #: Number of its incident: "JCM-07".
    number: str
    purpose: Purpose
    #: The recipient: "Ketua Setiausaha, Kementerian Contoh".
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Docket:
    """The letters posted on a day."""

    #: The day of posting.
    on: date
    lines: Sequence[DocketLine]
    made_at: datetime
    #: Name of the clerk; "" when nobody is signed in.
    made_by: str


def docket_data(docket: Docket) -> dict[str, Json]:
    """Return the data of `docket.typ`."""
    on = f"{docket.on:%d/%m/%Y}"
    by = f", oleh {docket.made_by}" if docket.made_by else ""
    return {
        "lang": "ms",
        "title": f"Senarai surat dipos, {on}",
        "author": "Pantau",
        "heading": f"SENARAI SURAT DIPOS, {on}",
        "notes": [f"{len(docket.lines)} surat. Dijana pada {stamp(docket.made_at)}{by}."],
        "columns": ["Bil.", "No. notis", "Penerima", "Tarikh pos", "No. pos berdaftar", "Tandatangan"],
        "rows": [
            cells(
                str(number),
                f"{line.number}\n{phrase.PURPOSES[line.purpose]}",
                line.to,
                on,
                "",
                "",
            )
            for number, line in enumerate(docket.lines, start=1)
        ],
        "empty": "Tiada surat yang dicatatkan sebagai dipos pada hari ini.",
        "signatures": ["Diserahkan oleh", "Diterima oleh"],
        "fields": ["Nama", "Tarikh"],
    }
