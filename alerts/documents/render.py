"""PDF rendering with typst: PDF/A-2a for the archive and PDF/UA-1 for accessibility, in one file.

Rendering blocks for some tens of milliseconds: call these functions from a thread. The same data always give the same
bytes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import fontpkg_arimo  # type: ignore[import-untyped]  # two constants
import typst

from alerts.documents.crest import Crest
from alerts.documents.docket import Docket, docket_data
from alerts.documents.fax import fax_data
from alerts.documents.fax_list import fax_list_data
from alerts.documents.incident_record import IncidentRecord, incident_record_data
from alerts.documents.letter import letter_data
from alerts.documents.maintenance_notice import MaintenancePage
from alerts.documents.monthly_report import MonthlyReport, monthly_report_data
from alerts.documents.printable import Json, printable, printable_all
from alerts.documents.sender import sender_line
from alerts.model.gateway import PageContent
from alerts.model.notification import Addressee, Facts, IssuingOffice
from alerts.wording.texts import Wording

_STANDARDS: list[typst.PDFStandard] = ["a-2a", "ua-1"]
#: Typst writes this default value (ISO 32000-1, table 321), for which readers based on poppler report an error. It is
#: replaced by blanks of the same length, so that all offsets in the file stay valid.
_DEFAULT_SUSPECTS = b"/Suspects false"
#: Number of density steps of each template, from wide to tight spacing.
_LETTER_DENSITIES = 5
_FAX_DENSITIES = 8


def letter(facts: Facts, addressee: Addressee, wording: Wording, crest: Crest | None = None) -> PageContent:
    """Return the letter, on one page if it fits, with the English translation if the office attaches one.

    *crest*: one for which `can_render` is true. `letter_data` raises `ValueError` for an incident type of which offices
    outside are never notified.
    """
    return _letter(letter_data(facts, addressee, wording), facts.notified_at, crest)


def maintenance_letter(page: MaintenancePage, crest: Crest | None = None) -> PageContent:
    """Return the letter that announces planned maintenance."""
    return _letter(page.letter_data(), page.at, crest)


def _letter(data: dict[str, Json], at: datetime, crest: Crest | None) -> PageContent:
    for density in range(_LETTER_DENSITIES):
        sheet = _Sheet("letter.typ", data, at, density, crest)
        # The pages of the letter itself, without its translation.
        if sheet.count("own-pages") == 1:
            return sheet.page()
    # The letter needs more than one page at every density, so it gets the widest spacing.
    return _Sheet("letter.typ", data, at, 0, crest).page()


def can_render(crest: Crest) -> bool:
    """Return whether a crest can be rendered."""
    try:
        _Sheet("crest.typ", {"title": "-"}, datetime(2026, 1, 1, tzinfo=UTC), 0, crest).page()
    except typst.TypstError:
        return False
    except BaseException as error:
        # A panic in the rendering library (Rust) is not an `Exception`. It only means that the crest is unusable.
        if type(error).__name__ != "PanicException":
            raise
        return False
    return True


def fax(facts: Facts, addressee: Addressee, wording: Wording) -> PageContent:
    """Return the fax: always one page, in the largest type that fits.

    `fax_data` raises `ValueError` for an incident type of which offices outside are never notified.
    """
    return _fax(fax_data(facts, addressee, wording), facts.notified_at, facts.office)


def maintenance_fax(page: MaintenancePage) -> PageContent:
    """Return the fax page that announces planned maintenance."""
    return _fax(page.fax_data(), page.at, page.office)


def _fax(data: dict[str, Json], at: datetime, office: IssuingOffice) -> PageContent:
    for density in range(_FAX_DENSITIES):
        sheet = _Sheet("fax.typ", data, at, density)
        if sheet.count("pages") == 1:
            break
    return sheet.page(sender_line(office))


def incident_record(record: IncidentRecord, digests: Mapping[str, str], wording: Wording) -> PageContent:
    """Return the record of an incident; *digests* are the SHA-256 of the attached files, by name."""
    return _Sheet("incident_record.typ", incident_record_data(record, digests, wording), record.made_at, 0).page()


def monthly_report(report: MonthlyReport, wording: Wording) -> PageContent:
    """Return an agency's monthly report."""
    return _Sheet("monthly_report.typ", monthly_report_data(report, wording), report.made_at, 0).page()


def docket(data: Docket) -> PageContent:
    """Return the docket of a day."""
    return _Sheet("docket.typ", docket_data(data), data.made_at, 0).page()


def fax_list(facts: Sequence[Facts], addressee: Addressee, wording: Wording, operator: IssuingOffice) -> PageContent:
    """Return the list of several incidents of one plan and purpose, in the given order.

    *operator*: the office that operates Pantau, which is the sender.
    """
    at = max(each.notified_at for each in facts)
    return _Sheet("fax_list.typ", fax_list_data(facts, addressee, wording, operator), at, 0).page(sender_line(operator))


class _Sheet:
    """A typst template with its data, date, and *density*: number of the density step, 0 for the widest spacing."""

    def __init__(
        self, template: str, data: dict[str, Json], at: datetime, density: int, crest: Crest | None = None
    ) -> None:
        self._at = at
        self._title = printable(str(data["title"]))
        self._compiler = typst.Compiler(
            Path(__file__).parent / template,
            font_paths=_fonts(),
            ignore_system_fonts=True,
            sys_inputs={"data": json.dumps(printable_all({**data, "density": density}))} | _crest_input(crest),
        )

    def count(self, label: str) -> int:
        """Return the number that the template stores under a label."""
        return int(self._compiler.query(f"<{label}>", field="value", one=True))

    def page(self, sender: str = "") -> PageContent:
        """Return the rendered PDF; *sender*: the line that a fax machine prints above each page."""
        pdf = self._compiler.compile(
            format="pdf",
            pdf_standards=_STANDARDS,
            # The date of the data, so that a page does not depend on the machine's clock.
            timestamp=int(self._at.timestamp()),
        )
        if not isinstance(pdf, bytes):
            raise TypeError("typst did not return one PDF file")
        return PageContent(
            pdf=pdf.replace(_DEFAULT_SUSPECTS, b" " * len(_DEFAULT_SUSPECTS), 1),
            title=self._title,
            pages=self.count("pages"),
            sender=sender,
        )


def _crest_input(crest: Crest | None) -> dict[str, str]:
    # Typst accepts octets as numbers.
    return {} if crest is None else {"crest": json.dumps({"format": crest.format, "octets": list(crest.octets)})}


@functools.cache
def _fonts() -> typst.Fonts:
    """Return Arimo only, so that a letter is the same on every machine."""
    return typst.Fonts(
        include_system_fonts=False,
        include_embedded_fonts=False,
        font_paths=[fontpkg_arimo.ROOT / "files"],
    )
