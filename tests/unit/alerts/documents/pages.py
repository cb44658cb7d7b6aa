"""A fictional agency that writes letters, and functions that read its PDFs."""

from __future__ import annotations

import io
import subprocess
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree as ET

from pypdf import PdfReader

from alerts.model.gateway import PageContent
from alerts.model.notification import Addressee
from tests.unit.alerts.wording.situations import JCM, OUTAGE

OFFICE = replace(
    JCM,
    address=("Aras 5, Blok C, Kompleks Contoh", "Presint 1", "62000 PUTRAJAYA"),
    telephone="03-0000 3000",
    fax="03-0000 3001",
    hours="8.00 pagi - 5.00 petang, Isnin - Jumaat",
    hours_en="8.00 am - 5.00 pm, Monday - Friday",
    website="www.jabatan-contoh.gov.my",
    division="Bahagian Teknologi Maklumat",
    reference="JCM.100-1/9/1 Jld. 2 (15)",
    signatory_name="Aminah binti Contoh",
    signatory_post="Setiausaha Bahagian Teknologi Maklumat",
    head_title="Ketua Pengarah",
    contact_name="Encik Ramli bin Contoh",
    contact_post="Penolong Pegawai Teknologi Maklumat",
    contact_telephone="03-0000 3010",
    copies=("Timbalan Ketua Pengarah",),
)
MINISTRY = Addressee(
    title="Ketua Setiausaha",
    organisation="Kementerian Teladan Malaysia",
    address=("Aras 2, Menara Teladan", "62100 PUTRAJAYA"),
    attention="Puan Siti binti Teladan",
    fax="03-0000 4001",
)
FACTS = replace(OUTAGE, office=OFFICE)
#: Only the required data of an office.
BARE = replace(OUTAGE, office=JCM, followed_up=False)

LONG_OFFICE = replace(
    OFFICE,
    short="SEKTORAWAM1",
    name="Jabatan Pembangunan Kemahiran, Latihan dan Pengurusan Sumber Manusia Sektor Awam Persekutuan Contoh Malaysia",
    domain="pembangunan-kemahiran-sektor-awam.jabatan-contoh.gov.my",
    division="Bahagian Pengurusan Teknologi Maklumat dan Komunikasi serta Pendigitalan",
    address=(
        "Aras 1-10, Blok Menara Kembar Contoh Utara dan Selatan",
        "Kompleks Pejabat Kerajaan Persekutuan Contoh Sejahtera",
        "Presint 4, Pusat Pentadbiran Kerajaan Persekutuan",
        "62100 PUTRAJAYA",
    ),
    reference="SEKTORAWAM1.BPTMK.100-1/9/1 Jld. 12 (105)",
    signatory_name="Dato' Sri Haji Muhammad Abdul Rahman bin Tengku Abdul Contoh Al-Haj",
    contact_post="Ketua Penolong Pengarah Kanan Bahagian Pengurusan Teknologi Maklumat",
    copies=("Ketua Pengarah", "Timbalan Ketua Pengarah (Operasi)", "Fail timbul"),
    english_attachment=True,
)
LONG = replace(OUTAGE, office=LONG_OFFICE, number="NNNNN-99")
LONG_ADDRESSEE = Addressee(
    title="Ketua Pengarah dan Timbalan Ketua Pengarah (Operasi)",
    organisation="Lembaga Kemajuan dan Pembangunan Wilayah Ekonomi Pantai Timur Contoh",
    address=(
        "Tingkat 12, Menara Teladan Sejahtera Utama",
        "Jalan Teladan 12/34B, Taman Perindustrian Teladan",
        "Kawasan Perusahaan Bebas Cukai Teladan Fasa Tiga",
        "Seksyen 15",
        "40200 SHAH ALAM",
        "SELANGOR DARUL EHSAN",
    ),
    attention="Tuan Haji Muhammad Amiruddin bin Abdul Contoh",
    fax="03-0000 4001",
)

#: Millimetres in a PDF point.
_MM = 25.4 / 72


@dataclass(frozen=True, slots=True, kw_only=True)
class Print:
    """Content of a PDF."""

    sheets: int
    #: The words in reading order, on one line.
    text: str
    #: The size of the smallest text, in points.
    smallest: float


@lru_cache(256)
def read(pdf: bytes) -> Print:
    """Read a PDF. The result is cached: many situations give the same page."""
    sizes: list[float] = []

    def visit(fragment: str, _cm: object, matrix: list[float], _font: object, size: float) -> None:
        if fragment.strip():
            sizes.append(round(size * abs(matrix[0] or 1), 1))

    sheets = [sheet.extract_text(visitor_text=visit) for sheet in PdfReader(io.BytesIO(pdf)).pages]
    return Print(sheets=len(sheets), text=" ".join(" ".join(sheets).split()), smallest=min(sizes))


def text_of(pdf: bytes) -> str:
    """Return the words of a PDF in reading order, on one line."""
    return read(pdf).text


def text(page: PageContent) -> str:
    """Return the words of a page in reading order, on one line."""
    return text_of(page.pdf)


def reader(page: PageContent) -> PdfReader:
    return PdfReader(io.BytesIO(page.pdf))


def boxes(page: PageContent, tmp_path: Path) -> list[tuple[str, float, float, float, float]]:
    """Return (word, left, top, right, bottom) of the first page, in millimetres from its upper left corner."""
    pdf = tmp_path / "page.pdf"
    pdf.write_bytes(page.pdf)
    out = subprocess.run(["pdftotext", "-bbox", "-l", "1", pdf, "-"], check=True, capture_output=True).stdout
    return [
        (
            word.text or "",
            float(word.attrib["xMin"]) * _MM,
            float(word.attrib["yMin"]) * _MM,
            float(word.attrib["xMax"]) * _MM,
            float(word.attrib["yMax"]) * _MM,
        )
        for word in ET.fromstring(out).iter("{http://www.w3.org/1999/xhtml}word")
    ]
