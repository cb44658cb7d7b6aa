"""The data of a docket: the letters that were posted on a day, for whoever takes them to the counter and whoever takes them there. Pure.

The number of each registered letter and a signature are written in by hand.
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
    """A letter."""

    #: Of its incident: "JCM-07".
    number: str
    purpose: Purpose
    #: "Ketua Setiausaha, Kementerian Contoh"
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Docket:
    """What was posted on a day."""

    on: date
    lines: Sequence[DocketLine]
    made_at: datetime
    #: "" when nobody signs in.
    made_by: str


def docket_data(docket: Docket) -> dict[str, Json]:
    """Return what `docket.typ` prints."""
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
