"""Fax: cover and notice, in both languages, on one black and white page."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alerts.documents.fax import fax_data
from alerts.documents.render import fax
from alerts.model.gateway import MAX_SENDER_LENGTH
from alerts.model.notification import Addressee, Facts, IncidentType, Plan, Purpose
from tests.unit.alerts.documents.pages import (
    BARE,
    FACTS,
    LONG,
    LONG_ADDRESSEE,
    MINISTRY,
    OFFICE,
    boxes,
    read,
    text,
)
from tests.unit.alerts.wording.situations import WORDING, situations


def test_fax_of_outage_has_agreed_text() -> None:
    page = fax(FACTS, MINISTRY, WORDING)
    assert page.title == "GANGGUAN PERKHIDMATAN E-MEL RASMI JABATAN CONTOH MALAYSIA"
    printed = text(page)
    order = [
        "FAKSIMILE / FACSIMILE",
        "KEPADA / TO : Ketua Setiausaha, Kementerian Teladan Malaysia",
        "u.p. / ATTN. : Puan Siti binti Teladan",
        "NO. FAKS / FAX NO. : 03-0000 4001",
        "DARIPADA / FROM : Bahagian Teknologi Maklumat, Jabatan Contoh Malaysia",
        "NO. TELEFON / TEL. NO. : 03-0000 3000 NO. FAKS / FAX NO.: 03-0000 3001",
        "RUJ. KAMI / OUR REF. : JCM.100-1/9/1 Jld. 2 (JCM-07/1)",
        "NO. NOTIS / NOTICE NO. : JCM-07",
        "TARIKH DAN MASA / DATE AND TIME: 24 November 2026, 2.45 petang",
        "BIL. MUKA SURAT (TERMASUK MUKA INI) / NO. OF PAGES (INCLUDING THIS PAGE): 1",
        "PERINGKAT KESELAMATAN / CLASSIFICATION: TERBUKA / OPEN",
        "X SEGERA URGENT UNTUK TINDAKAN FOR ACTION X UNTUK MAKLUMAN FOR INFORMATION",
        "PERKARA: GANGGUAN PERKHIDMATAN E-MEL RASMI JABATAN CONTOH MALAYSIA",
        (
            "1. Dimaklumkan bahawa perkhidmatan e-mel rasmi Jabatan Contoh Malaysia (jabatan-contoh.gov.my) mengalami gangguan "
            "mulai 24 November 2026 (Selasa), pukul 2.15 petang. Sepanjang tempoh ini, e-mel rasmi tidak dapat dihantar dan "
            "diterima."
        ),
        (
            "2. Sehingga dimaklumkan kelak, segala urusan rasmi dengan JCM hendaklah dilaksanakan melalui saluran rasmi yang "
            "berikut sahaja: Surat : Aras 5, Blok C, Kompleks Contoh, Presint 1, 62000 PUTRAJAYA Faks : 03-0000 3001 "
            "Telefon : 03-0000 3000 (8.00 pagi - 5.00 petang, Isnin - Jumaat)"
        ),
        "3. Penggunaan alamat e-mel persendirian bagi urusan rasmi tidak dibenarkan.",
        (
            "4. Notis susulan akan dikeluarkan pada setiap hari bekerja selagi gangguan berterusan, dan sebaik sahaja "
            "perkhidmatan pulih. Segala kesulitan amat dikesali."
        ),
        "SUBJECT: DISRUPTION OF THE OFFICIAL E-MAIL SERVICE OF JABATAN CONTOH MALAYSIA",
        "has been disrupted since 24 November 2026 (Tuesday), 2.15 pm.",
        "(AMINAH BINTI CONTOH) Setiausaha Bahagian Teknologi Maklumat, b.p. Ketua Pengarah",
        "Jika faks ini tidak jelas atau tidak lengkap, sila hubungi 03-0000 3000.",
        "If this fax is unclear or incomplete, please call 03-0000 3000.",
        "AKUAN PENERIMAAN / ACKNOWLEDGEMENT (sila tandatangani dan fakskan semula / please sign and fax back):",
        "Nama / Name: Jawatan / Post: Tarikh / Date:",
    ]
    positions = [printed.find(sentence) for sentence in order]
    assert -1 not in positions, order[positions.index(-1)]
    assert positions == sorted(positions)


def test_fax_of_recovery_is_not_urgent_and_cites_first_notice() -> None:
    printed = text(fax(replace(FACTS, purpose=Purpose.RECOVERY), MINISTRY, WORDING))
    assert "SEGERA URGENT UNTUK TINDAKAN FOR ACTION X UNTUK MAKLUMAN" in printed
    assert "X SEGERA" not in printed
    assert (
        "1. Dengan hormatnya notis JCM-07 rujukan JCM.100-1/9/1 Jld. 2 (JCM-07/1) bertarikh 24 November 2026 dirujuk."
        in printed
    )
    assert "telah pulih dan beroperasi seperti biasa mulai 24 November 2026 (Selasa), pukul 5.40 petang." in printed
    assert "1. We refer to our notice JCM-07, ref. JCM.100-1/9/1 Jld. 2 (JCM-07/1), dated 24 November 2026." in printed


def test_fax_of_correction_is_urgent() -> None:
    printed = text(fax(replace(FACTS, purpose=Purpose.CORRECTION), MINISTRY, WORDING))
    assert "X SEGERA" in printed
    assert "Dimaklumkan bahawa notis tersebut dibatalkan." in printed


def test_fax_to_own_staff_requests_action() -> None:
    facts = replace(FACTS, plan=Plan.ESCALATION, type=IncidentType.DEGRADED)
    printed = text(fax(facts, Addressee(title="Ramli", organisation="JCM"), WORDING))
    assert "X SEGERA URGENT X UNTUK TINDAKAN FOR ACTION UNTUK MAKLUMAN" in printed


def test_fax_without_optional_data_omits_labels() -> None:
    printed = text(fax(BARE, Addressee(title="Pengarah", organisation="Pejabat Teladan"), WORDING))
    for label in ("ATTN.", "NO. FAKS", "NO. TELEFON", "RUJ. KAMI", "Jika faks", "Surat :", "()"):
        assert label not in printed
    assert "hendaklah dilaksanakan melalui surat, faks atau telefon sahaja. 3." in printed


@pytest.mark.parametrize(
    "facts", [*situations(FACTS), *situations(LONG)], ids=lambda f: f"{f.number}-{f.plan}-{f.purpose}-{f.type}"
)
def test_fax_of_every_situation_is_one_page_of_readable_size(facts: Facts) -> None:
    page = fax(facts, LONG_ADDRESSEE, WORDING)
    assert page.pages == read(page.pdf).sheets == 1
    assert not set("{}[]|") & set(text(page))
    assert read(page.pdf).smallest >= 11


def test_fax_with_very_long_name_is_set_smaller_on_one_page() -> None:
    office = replace(OFFICE, name="Jabatan Contoh Malaysia " * 18)
    page = fax(replace(FACTS, office=office), LONG_ADDRESSEE, WORDING)
    assert page.pages == read(page.pdf).sheets == 1


def test_fax_text_stays_within_page_margins(tmp_path: Path) -> None:
    for facts in (FACTS, LONG):
        words = boxes(fax(facts, LONG_ADDRESSEE, WORDING), tmp_path)
        assert all(left >= 14 and right <= 196 and top >= 8 and bottom <= 289 for _, left, top, right, bottom in words)


def test_fax_is_black_and_white(tmp_path: Path) -> None:
    pdf = tmp_path / "fax.pdf"
    pdf.write_bytes(fax(FACTS, MINISTRY, WORDING).pdf)
    subprocess.run(
        ["pdftoppm", "-r", "204", "-gray", "-aa", "no", "-aaVector", "no", pdf, tmp_path / "fax"], check=True
    )
    (image,) = tmp_path.glob("fax*.pgm")
    pixels = image.read_bytes().split(b"\n", 3)[3]
    # No grey: a fax machine would print it as dots.
    assert set(pixels) == {0, 255}


def test_fax_data_has_value_for_every_field() -> None:
    data = fax_data(replace(FACTS, type=IncidentType.SENDING), MINISTRY, WORDING)
    for rows in (data["fields"], data["remarks"]):
        assert isinstance(rows, list)
        assert all(field["value"] for row in rows for field in row)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "Jabatan Contoh Malaysia 03-0000 3001"),
        ({"fax": ""}, "Jabatan Contoh Malaysia 03-0000 3000"),
        ({"fax": "", "telephone": ""}, "Jabatan Contoh Malaysia"),
        ({"name": "Jabatan Contoh Pembangunan Wilayah Malaysia"}, "JCM 03-0000 3001"),
        ({"fax": "03-0000 3001, 03-0000 3002 dan 03-0000 3003 (24 jam)"}, "Jabatan Contoh Malaysia"),
        ({"name": "Jabatan \u202eContoh\n"}, "Jabatan Contoh 03-0000 3001"),
    ],
)
def test_fax_sender_line_has_name_and_number_uncut(changes: dict[str, Any], line: str) -> None:
    page = fax(replace(FACTS, office=replace(OFFICE, **changes)), MINISTRY, WORDING)
    assert page.sender == line
    assert len(line) <= MAX_SENDER_LENGTH


def test_fax_sender_line_of_longest_name_uses_short_name() -> None:
    assert fax(LONG, LONG_ADDRESSEE, WORDING).sender == "SEKTORAWAM1 03-0000 3001"
