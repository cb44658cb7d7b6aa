"""Docket: letters posted on a day, with room for handwriting."""

from __future__ import annotations

from datetime import date

from alerts.documents.docket import Docket, DocketLine
from alerts.documents.render import docket
from alerts.model.gateway import PageContent
from alerts.model.notification import Purpose
from tests.unit.alerts.documents.pages import reader, text
from tests.unit.alerts.people import T0

HOSTILE = "#Ketua *Contoh* $x$ <b>"


def page_of(*lines: DocketLine, by: str = "Kerani Contoh (kerani)") -> PageContent:
    return docket(Docket(on=date(2026, 11, 24), lines=lines, made_at=T0, made_by=by))


def line(number: int, to: str = "Ketua Setiausaha, Kementerian Contoh") -> DocketLine:
    return DocketLine(number=f"JCM-{number:02}", purpose=Purpose.OUTAGE, to=to)


def test_docket_has_row_per_letter_and_date_in_title() -> None:
    printed = text(page_of(line(1), line(2, HOSTILE)))
    assert "SENARAI SURAT DIPOS, 24/11/2026" in printed
    assert "2 surat. Dijana pada 24/11/2026 14:15:00, oleh Kerani Contoh (kerani)." in printed
    for column in ("No. notis", "Penerima", "No. pos berdaftar", "Tandatangan"):
        assert column in printed
    assert "JCM-01" in printed
    assert HOSTILE in printed


def test_docket_of_many_letters_repeats_column_headings_on_next_page() -> None:
    page = page_of(*(line(number) for number in range(40)))
    assert page.pages > 2
    assert all("No. pos berdaftar" in sheet.extract_text() for sheet in reader(page).pages[: page.pages - 1])
    assert page_of(line(1)).pages == 1


def test_docket_without_letters_or_author_says_so() -> None:
    printed = text(page_of(by=""))
    assert "Tiada surat yang dicatatkan sebagai dipos pada hari ini." in printed
    assert "Dijana pada 24/11/2026 14:15:00." in printed


def test_docket_is_pdf_a2a() -> None:
    metadata = reader(page_of(line(1))).root_object["/Metadata"].get_object().get_data().decode()  # type: ignore[union-attr]
    for declared in ("<pdfaid:part>2</pdfaid:part>", "<pdfaid:conformance>A</pdfaid:conformance>"):
        assert declared in metadata
