"""Properties of every PDF: archive standard, reproducible bytes, no markup injection."""

import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pypdf.generic import DictionaryObject, PdfObject, StreamObject

from alerts.documents.render import fax, fax_list, letter
from alerts.model.gateway import PageContent
from alerts.model.notification import Addressee, Facts
from alerts.wording.texts import Wording
from tests.unit.alerts.documents.pages import FACTS, MINISTRY, OFFICE, reader, text
from tests.unit.alerts.wording.situations import WORDING

HOSTILE = "#Jabatan *Contoh* _A_ $x$ \"q\" @b <c> \\n `k` // /* ~ = - + #(1+1) [d] {e} 'f'"

Render = Callable[[Facts, Addressee, Wording], PageContent]


def dictionary(value: PdfObject) -> DictionaryObject:
    found = value.get_object()
    assert isinstance(found, DictionaryObject)
    return found


def stream(value: PdfObject) -> StreamObject:
    found = value.get_object()
    assert isinstance(found, StreamObject)
    return found


def listed(facts: Facts, addressee: Addressee, wording: Wording) -> PageContent:
    return fax_list([facts], addressee, wording, facts.office)


both = pytest.mark.parametrize("render", [letter, fax])
every = pytest.mark.parametrize("render", [letter, fax, listed])


@both
def test_page_declares_pdf_standards_and_language(render: Render) -> None:
    page = render(FACTS, MINISTRY, WORDING)
    pdf = reader(page)
    root = pdf.root_object
    assert str(root["/Lang"]) == "ms-MY"
    assert dictionary(root["/MarkInfo"])["/Marked"]
    assert pdf.metadata is not None
    assert pdf.metadata.title == page.title
    assert pdf.metadata.author == "Jabatan Contoh Malaysia"
    metadata = stream(root["/Metadata"]).get_data().decode()
    for declared in (
        "<pdfaid:part>2</pdfaid:part>",
        "<pdfaid:conformance>A</pdfaid:conformance>",
        "<pdfuaid:part>1</pdfuaid:part>",
    ):
        assert declared in metadata


@every
def test_page_is_read_without_warnings(render: Render, tmp_path: Path) -> None:
    pdf = tmp_path / "page.pdf"
    pdf.write_bytes(render(FACTS, MINISTRY, WORDING).pdf)
    for program in (["pdfinfo"], ["pdftotext"]):
        asked = subprocess.run([*program, pdf], check=True, capture_output=True, text=True)
        assert asked.stderr == ""
    assert "Suspects:        no" in subprocess.run(["pdfinfo", pdf], check=True, capture_output=True, text=True).stdout


@every
def test_page_embeds_only_bundled_font(render: Render) -> None:
    sheet = reader(render(FACTS, MINISTRY, WORDING)).pages[0]
    fonts = dictionary(dictionary(sheet["/Resources"])["/Font"]).values()
    names = {str(dictionary(font)["/BaseFont"]) for font in fonts}
    # Six letters and a plus sign mark an embedded font subset.
    assert all(re.fullmatch(r"/[A-Z]{6}\+Arimo-\w+", name) for name in names)


@every
def test_page_of_same_facts_is_byte_identical(render: Render) -> None:
    first = render(FACTS, MINISTRY, WORDING)
    with ThreadPoolExecutor(4) as threads:
        others = list(threads.map(lambda _: render(FACTS, MINISTRY, WORDING), range(8)))
    assert all(other == first for other in others)
    metadata = reader(first).metadata
    assert metadata is not None
    assert metadata.creation_date == FACTS.notified_at


@both
def test_page_prints_markup_characters_in_names_verbatim(render: Render) -> None:
    office = replace(
        OFFICE,
        name=HOSTILE,
        short="J#*_",
        division=HOSTILE,
        reference=HOSTILE,
        contact_name=HOSTILE,
        signatory_name=HOSTILE,
    )
    addressee = replace(MINISTRY, title=HOSTILE, attention=HOSTILE)
    page = render(replace(FACTS, office=office, number="#*_-07"), addressee, WORDING)
    printed = "".join(text(page).split())
    assert printed.count("".join(HOSTILE.split())) >= 5
    assert "".join(HOSTILE.upper().split()) in printed
    assert page.title.endswith(HOSTILE.upper())


@every
def test_page_with_character_without_glyph_is_rendered(render: Render) -> None:
    office = replace(OFFICE, name="Jabatan 中 \u202eContoh\x07\x00 \uff21 😀\nMalaysia")
    printed = text(render(replace(FACTS, office=office), MINISTRY, WORDING))
    assert "Jabatan ? Contoh A ? Malaysia" in printed


@both
def test_address_with_line_break_is_printed_on_one_line(render: Render) -> None:
    office = replace(OFFICE, address=("Aras 5\nBlok C", "62000 PUTRAJAYA"))
    printed = text(render(replace(FACTS, office=office), MINISTRY, WORDING))
    assert "Aras 5 Blok C, 62000 PUTRAJAYA" in printed
