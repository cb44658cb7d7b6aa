"""Letter: text, layout and envelope window."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from alerts.documents.letter import letter_data
from alerts.documents.render import fax, letter
from alerts.model.gateway import PageContent
from alerts.model.notification import Addressee, Cause, Facts, IncidentType, Plan, Purpose
from alerts.wording.key import occasion
from alerts.wording.text_spec import PRINTED
from alerts.wording.texts import load
from monitor.config.agency.letterhead import check_postal
from monitor.config.files.document import Document
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Severity
from tests.unit.alerts.documents.pages import (
    BARE,
    FACTS,
    LONG,
    LONG_ADDRESSEE,
    LONG_OFFICE,
    MINISTRY,
    OFFICE,
    boxes,
    reader,
    text,
)
from tests.unit.alerts.wording.situations import JCM, WORDING, situations


def test_letter_of_outage_has_agreed_text() -> None:
    page = letter(FACTS, MINISTRY, WORDING)
    assert page.title == "PEMAKLUMAN GANGGUAN PERKHIDMATAN E-MEL RASMI JABATAN CONTOH MALAYSIA"
    assert page.pages == 1
    printed = text(page)
    order = [
        "Jabatan Contoh Malaysia Bahagian Teknologi Maklumat Aras 5, Blok C, Kompleks Contoh Presint 1 62000 PUTRAJAYA",
        "Telefon : 03-0000 3000",
        "Faks : 03-0000 3001",
        "Laman web : www.jabatan-contoh.gov.my",
        "Ruj. Kami : JCM.100-1/9/1 Jld. 2 (JCM-07/1)",
        "Tarikh : 24 November 2026",
        "Ketua Setiausaha Kementerian Teladan Malaysia Aras 2, Menara Teladan 62100 PUTRAJAYA",
        "No. Faks : 03-0000 4001",
        "(u.p.: Puan Siti binti Teladan)",
        "Tuan/Puan,",
        "PEMAKLUMAN GANGGUAN PERKHIDMATAN E-MEL RASMI JABATAN CONTOH MALAYSIA",
        "Dengan segala hormatnya, saya merujuk perkara di atas.",
        (
            "2. Untuk makluman tuan/puan, perkhidmatan e-mel rasmi Jabatan Contoh Malaysia (domain jabatan-contoh.gov.my) "
            "mengalami gangguan mulai 24 November 2026 (Selasa), pukul 2.15 petang. Sepanjang tempoh ini, e-mel rasmi tidak "
            "dapat dihantar dan diterima."
        ),
        (
            "3. Selaras dengan Surat Arahan Ketua Pengarah MAMPU bertarikh 1 Jun 2007 bertajuk "
            '"Langkah-langkah Mengenai Penggunaan Mel Elektronik di Agensi-agensi Kerajaan", segala urusan rasmi dengan JCM '
            "sepanjang tempoh gangguan hendaklah dilaksanakan melalui saluran rasmi yang berikut sahaja:"
        ),
        "(a) surat : Aras 5, Blok C, Kompleks Contoh, Presint 1, 62000 PUTRAJAYA;",
        "(b) faks : 03-0000 3001; dan",
        "(c) telefon : 03-0000 3000 (8.00 pagi - 5.00 petang, Isnin - Jumaat).",
        (
            "4. Penggunaan alamat e-mel persendirian bagi urusan rasmi tidak dibenarkan. E-mel yang dihantar kepada JCM dalam "
            "tempoh gangguan mungkin lewat diterima atau tidak diterima. Sehubungan dengan itu, dokumen yang penting atau yang "
            "memerlukan tindakan segera hendaklah dihantar melalui saluran di perenggan 3."
        ),
        (
            "5. JCM sedang mengambil tindakan pemulihan dan akan memaklumkan tuan/puan perkembangannya pada setiap hari bekerja "
            "selagi gangguan berterusan, dan sebaik sahaja perkhidmatan e-mel rasmi pulih. Sebarang pertanyaan boleh diajukan "
            "kepada Encik Ramli bin Contoh, Penolong Pegawai Teknologi Maklumat, di talian 03-0000 3010."
        ),
        (
            "6. Segala kesulitan amat dikesali. Perhatian dan kerjasama tuan/puan dalam perkara ini amat dihargai dan didahului "
            "dengan ucapan terima kasih."
        ),
        "Sekian, terima kasih.",
        '"MALAYSIA MADANI" "BERKHIDMAT UNTUK NEGARA"',
        "Saya yang menjalankan amanah,",
        "(AMINAH BINTI CONTOH) Setiausaha Bahagian Teknologi Maklumat b.p. Ketua Pengarah Jabatan Contoh Malaysia",
        "s.k. Timbalan Ketua Pengarah",
        "No. Notis: JCM-07",
    ]
    positions = [printed.find(sentence) for sentence in order]
    assert -1 not in positions, order[positions.index(-1)]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("incident_type", "sentences"),
    [
        (
            IncidentType.SENDING,
            [
                "JCM tidak dapat menghantar e-mel rasmi. E-mel yang dihantar kepada JCM masih dapat diterima.",
                "urusan rasmi daripada JCM sepanjang tempoh gangguan akan dilaksanakan melalui surat, faks atau telefon",
                "Jawapan JCM kepada e-mel yang diterima dalam tempoh gangguan akan dibuat melalui surat, faks atau telefon.",
            ],
        ),
        (
            IncidentType.RECEIVING,
            [
                "JCM tidak dapat menerima e-mel. E-mel yang dihantar kepada JCM mungkin lewat diterima atau tidak diterima.",
                "dokumen yang penting atau yang memerlukan tindakan segera hendaklah dihantar",
            ],
        ),
    ],
)
def test_letter_of_one_direction_states_only_affected_direction(
    incident_type: IncidentType, sentences: list[str]
) -> None:
    printed = text(letter(replace(FACTS, type=incident_type), MINISTRY, WORDING))
    for sentence in sentences:
        assert sentence in printed


@pytest.mark.parametrize("make", [letter, fax])
def test_page_promises_daily_updates_only_where_enabled(make: Callable[..., PageContent]) -> None:
    """Follow-ups are promised exactly where they are sent."""
    office = replace(OFFICE, english_attachment=True)
    for also in (
        dict[str, Any](),
        {"purpose": Purpose.UPDATE},
        {"purpose": Purpose.UPDATE, "previous_type": IncidentType.SENDING},
    ):
        if make is fax and also:
            continue  # A fax makes no further promise.
        printed = text(make(replace(FACTS, office=office, **also), MINISTRY, WORDING))
        assert re.search(
            r"pada setiap hari bekerja selagi gangguan berterusan, dan sebaik sahaja perkhidmatan", printed
        )
        assert re.search(r"on each working day while the disruption lasts, and as soon as (it|the service)", printed)
        printed = text(make(replace(FACTS, office=office, followed_up=False, **also), MINISTRY, WORDING))
        assert "setiap hari bekerja" not in printed
        assert "each working day" not in printed
        assert re.search(r"(memaklumkan tuan/puan|akan dikeluarkan) sebaik sahaja perkhidmatan", printed)


def test_letter_of_recovery_states_duration() -> None:
    page = letter(replace(FACTS, purpose=Purpose.RECOVERY), MINISTRY, WORDING)
    printed = text(page)
    assert page.pages == 1
    assert (
        "Dengan segala hormatnya, saya merujuk perkara di atas dan surat JCM rujukan JCM.100-1/9/1 Jld. 2 (JCM-07/1) bertarikh 24 "
        "November 2026."
    ) in printed
    assert (
        "telah pulih dan beroperasi seperti biasa mulai 24 November 2026 (Selasa), pukul 5.40 petang. Gangguan tersebut "
        "berlaku selama 3 jam 25 minit, iaitu dari 24 November 2026, pukul 2.15 petang, hingga 24 November 2026, pukul 5.40 "
        "petang."
    ) in printed
    assert "tidak perlu dihantar semula melalui e-mel." in printed


def test_letter_of_correction_withdraws_notice_by_number() -> None:
    printed = text(letter(replace(FACTS, purpose=Purpose.CORRECTION), MINISTRY, WORDING))
    assert "bernombor JCM-07 dibatalkan. Perkhidmatan e-mel rasmi tersebut beroperasi seperti biasa." in printed


@pytest.mark.parametrize("purpose", [Purpose.RECOVERY, Purpose.CORRECTION])
def test_following_page_has_own_reference_and_cites_first(purpose: Purpose) -> None:
    first = text(letter(replace(FACTS, enclosure=1), MINISTRY, WORDING))
    facts = next(each for each in situations(FACTS) if each.purpose is purpose and each.plan is Plan.ANNOUNCEMENT)
    facts = replace(facts, first_notified_at=FACTS.notified_at)
    assert "Ruj. Kami : JCM.100-1/9/1 Jld. 2 (JCM-07/1)" in first
    # 0: created before pages were counted.
    for enclosure, number in ((2, 2), (3, 3), (0, 2)):
        printed = text(letter(replace(facts, enclosure=enclosure), MINISTRY, WORDING))
        assert f"Ruj. Kami : JCM.100-1/9/1 Jld. 2 (JCM-07/{number})" in printed
        assert "surat JCM rujukan JCM.100-1/9/1 Jld. 2 (JCM-07/1) bertarikh 24 November 2026" in printed
    faxed = text(fax(replace(facts, enclosure=2), MINISTRY, WORDING))
    assert "RUJ. KAMI / OUR REF. : JCM.100-1/9/1 Jld. 2 (JCM-07/2)" in faxed
    assert "notis JCM-07 rujukan JCM.100-1/9/1 Jld. 2 (JCM-07/1) bertarikh 24 November 2026" in faxed


def test_letter_without_file_reference_leaves_reference_blank() -> None:
    printed = text(letter(replace(FACTS, office=replace(OFFICE, reference=" ")), MINISTRY, WORDING))
    assert "Ruj. Kami : Tarikh :" in printed


def test_letter_translation_is_marked_attachment() -> None:
    facts = replace(FACTS, office=replace(OFFICE, english_attachment=True))
    page = letter(facts, MINISTRY, WORDING)
    assert page.pages == 2
    attached = " ".join(reader(page).pages[1].extract_text().split())
    assert "Ruj. Kami : JCM.100-1/9/1 Jld. 2 (JCM-07/1)" in attached
    assert "Lampiran Terjemahan Bahasa Inggeris / English Translation NOTICE OF DISRUPTION" in attached
    assert "has been disrupted since 24 November 2026 (Tuesday), 2.15 pm." in attached
    assert "(b) fax : 03-0000 3001; and" in attached
    assert "(This translation is for information. The Malay text is the official text.)" in attached


def test_letter_keeps_configured_salutation() -> None:
    assert "YBhg. Datuk," in text(letter(FACTS, replace(MINISTRY, salutation="YBhg. Datuk,"), WORDING))


def test_letter_without_optional_data_omits_labels() -> None:
    page = letter(BARE, Addressee(title="Pengarah", organisation="Pejabat Teladan"), WORDING)
    printed = text(page)
    for label in ("Telefon", "Faks :", "Laman web", "No. Faks", "u.p.", "b.p.", "s.k.", "(a)", "Sebarang", "()", " ,"):
        assert label not in printed
    assert "hendaklah dilaksanakan melalui surat, faks atau telefon sahaja. 4." in printed
    assert "Ruj. Kami : Tarikh : 24 November 2026 Pengarah Pejabat Teladan Tuan/Puan," in printed


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"contact_name": ""}, "pulih. Sebarang pertanyaan boleh diajukan di talian 03-0000 3010."),
        ({"contact_post": ""}, "kepada Encik Ramli bin Contoh di talian 03-0000 3010."),
        ({"contact_telephone": ""}, "Penolong Pegawai Teknologi Maklumat, di talian 03-0000 3000."),
        ({"contact_telephone": "", "telephone": ""}, "bin Contoh, Penolong Pegawai Teknologi Maklumat. 6."),
        ({"hours": ""}, "(c) telefon : 03-0000 3000."),
        ({"fax": ""}, "62000 PUTRAJAYA; dan (b) telefon :"),
        ({"fax": "", "telephone": ""}, "(a) surat : Aras 5, Blok C, Kompleks Contoh, Presint 1, 62000 PUTRAJAYA. 4."),
        ({"head_title": "setiausaha bahagian teknologi maklumat"}, "Maklumat Jabatan Contoh Malaysia s.k."),
        ({"unsigned": True}, "Surat ini ialah cetakan komputer dan tidak memerlukan tandatangan."),
        ({"slogans": ('"SEHATI"',)}, 'Sekian, terima kasih. "SEHATI" Saya yang'),
    ],
)
def test_letter_missing_field_changes_surrounding_sentence(changes: dict[str, object], sentence: str) -> None:
    facts = replace(FACTS, office=replace(OFFICE, **changes))  # type: ignore[arg-type]  # one field a case
    assert sentence in text(letter(facts, MINISTRY, WORDING))


def test_long_letter_keeps_signature_with_paragraph_and_repeats_reference() -> None:
    page = letter(LONG, LONG_ADDRESSEE, WORDING)
    assert page.pages == len(reader(page).pages) == 3
    second = " ".join(reader(page).pages[1].extract_text().split())
    assert "Ruj. Kami : SEKTORAWAM1.BPTMK.100-1/9/1 Jld. 12 (NNNNN-99/1)" in second
    assert "6. Segala kesulitan amat dikesali." in second
    assert "(DATO' SRI HAJI MUHAMMAD ABDUL RAHMAN BIN TENGKU ABDUL CONTOH AL-HAJ)" in second
    assert "2/3" in second


@pytest.mark.parametrize(("facts", "addressee"), [(FACTS, MINISTRY), (LONG, LONG_ADDRESSEE)])
def test_letter_address_fits_envelope_window(facts: Facts, addressee: Addressee, tmp_path: Path) -> None:
    words = boxes(letter(facts, addressee, WORDING), tmp_path)
    # The sheet may drift in the envelope: only the address may show.
    seen = [word for word in words if word[1] < 110 and word[2] < 92 and word[4] > 44]
    shown = " ".join(word[0] for word in seen)
    assert shown.startswith(addressee.title)
    assert shown.endswith(f"(u.p.: {addressee.attention})")
    assert min(left for _, left, *_ in seen) == pytest.approx(25, abs=0.2)
    assert min(top for _, _, top, *_ in seen) == pytest.approx(57, abs=0.3)
    assert max(right for *_, right, _ in seen) <= 100
    assert max(bottom for *_, bottom in seen) <= 79.5
    reference = next(word for word in words if word[0] == "Ruj.")
    assert reference[1] >= 115
    assert next(top for word, _, top, *_ in words if word == "Tuan/Puan,") >= 94


def test_letter_text_stays_within_page_margins(tmp_path: Path) -> None:
    words = boxes(letter(LONG, LONG_ADDRESSEE, WORDING), tmp_path)
    assert all(left >= 24.5 and right <= 186 and top >= 8 and bottom <= 292 for _, left, top, right, bottom in words)


@pytest.mark.parametrize(
    "address",
    [
        (*["ARAS 9, KOMPLEKS CONTOH UTAR"] * 9, "62000 PUTRAJAYA"),
        (*["MENARA CONTOH UTARA DAN SELATAN, JALAN TELADAN SEJAHTERA DUA"] * 4, "62000 PUTRAJAYA"),
        ("MENARA CONTOH UTARA DAN SELATAN, JALAN TELADAN 2, " * 5 + "KAMPUNG BARU DUA, 62000 PUTRAJAYA",),
        ("KOMPLEKS" * 5, "62000 PUTRAJAYA"),
    ],
)
def test_letter_longest_valid_address_fits_letterhead_and_window(address: tuple[str, ...], tmp_path: Path) -> None:
    check_postal(address, findings := Findings(Document(file="jcontoh.yaml", data={})))
    assert not [each for each in findings.problems if each.severity is Severity.ERROR]
    facts = replace(LONG, office=replace(LONG_OFFICE, address=address))
    for addressee in (LONG_ADDRESSEE, MINISTRY):
        words = boxes(letter(facts, replace(addressee, address=address), WORDING), tmp_path)
        rule = next(top for word, _, top, *_ in words if word == "Ruj.")
        assert all(bottom < rule for _, _, top, _, bottom in words if top < 42)
        window = [(right, bottom) for _, left, top, right, bottom in words if left < 100 and 57 <= top < 92]
        assert max(right for right, _ in window) <= 101
        assert max(bottom for _, bottom in window) <= 80


def test_letter_town_keeps_own_line_when_address_lines_are_joined() -> None:
    data = letter_data(FACTS, LONG_ADDRESSEE, WORDING)
    choices = data["addresses"]
    assert isinstance(choices, list)
    assert [choice[-1] for choice in choices[1:]] == ["40200 SHAH ALAM, SELANGOR DARUL EHSAN"] * (len(choices) - 1)
    assert choices[2][2:] == [
        *LONG_ADDRESSEE.address[:2],
        "Kawasan Perusahaan Bebas Cukai Teladan Fasa Tiga, Seksyen 15",
        "40200 SHAH ALAM, SELANGOR DARUL EHSAN",
    ]


@pytest.mark.parametrize("facts", situations(FACTS), ids=lambda f: f"{f.plan}-{f.purpose}-{f.type}")
def test_letter_of_every_situation_is_one_page(facts: Facts) -> None:
    page = letter(facts, MINISTRY, WORDING)
    assert page.pages == 1
    assert not set("{}[]|") & set(text(page))


def test_letter_to_own_staff_of_monitoring_fault_states_affected_part() -> None:
    facts = replace(FACTS, plan=Plan.ESCALATION, type=IncidentType.MONITORING_FAULT, subject="peti mel A")
    printed = text(letter(facts, Addressee(title="Ramli", organisation="Jabatan Contoh Malaysia"), WORDING))
    assert "sejak hari Selasa, 24 November 2026, pukul 2.15 petang. Bahagian yang terjejas ialah peti mel A." in printed
    assert "3. Ini bukan gangguan e-mel agensi. Agensi tidak dimaklumkan tentang perkara ini." in printed


def test_letter_to_own_staff_states_cause() -> None:
    facts = replace(FACTS, plan=Plan.ESCALATION, cause=Cause.CONNECT)
    printed = text(letter(facts, Addressee(title="Ramli", organisation="Jabatan Contoh Malaysia"), WORDING))
    assert "Punca yang dikesan ialah pelayan mel menolak sambungan." in printed


def test_letter_of_drill_to_own_staff_mentions_letter_not_call() -> None:
    drill = replace(FACTS, plan=Plan.ESCALATION, purpose=Purpose.DRILL)
    page = letter(drill, Addressee(title="Ramli", organisation="Jabatan Contoh Malaysia"), WORDING)

    assert page.title.startswith("LATIHAN SAHAJA")
    assert "Surat ini ialah sebahagian daripada latihan tersebut" in (printed := text(page))
    assert "Panggilan" not in printed


@pytest.mark.parametrize("incident_type", [IncidentType.DEGRADED, IncidentType.MONITORING_FAULT])
def test_slowness_and_monitoring_fault_are_never_announced(incident_type: IncidentType) -> None:
    with pytest.raises(ValueError, match="never announced"):
        letter(replace(FACTS, type=incident_type), MINISTRY, WORDING)


def test_wording_override_may_add_list_items(tmp_path: Path) -> None:
    (tmp_path / "ms.yaml").write_text(
        "letter:\n  warning:\n    both: |-\n      Perhatian:\n      satu;\n      dua.\n", encoding="utf-8"
    )
    printed = text(letter(FACTS, MINISTRY, load(tmp_path)))
    assert "4. Perhatian: (a) satu; (b) dua. 5." in printed


def test_letter_of_office_with_least_data_is_one_page() -> None:
    assert letter(replace(BARE, office=JCM), Addressee(title="", organisation="Pejabat"), WORDING).pages == 1


@pytest.mark.parametrize("purpose", [Purpose.OUTAGE, Purpose.RECOVERY, Purpose.CORRECTION])
def test_letter_last_paragraph_is_justified_within_margins(purpose: Purpose, tmp_path: Path) -> None:
    facts = next(each for each in situations() if each.purpose is purpose and each.plan is Plan.ANNOUNCEMENT)
    page = letter(replace(facts, office=OFFICE), MINISTRY, WORDING)
    words = boxes(page, tmp_path)
    lines: dict[int, float] = {}
    for _, _, top, right, _ in words:
        lines[round(top)] = max(right, lines.get(round(top), 0))
    assert max(lines.values()) <= 185.1
    closing = next(top for word, left, top, *_ in words if word == "Sekian,")
    number = max(top for word, left, top, *_ in words if re.fullmatch(r"\d\.", word) and top < closing)
    body = sorted(top for top in lines if number - 1 <= top < closing - 1)
    # The last line of a paragraph may end anywhere.
    assert len(body) > 1
    assert [lines[top] for top in body[:-1] if lines[top] < 184.4] == []


@pytest.mark.parametrize(
    ("salutation", "greeted", "expected"),
    [
        ("Tuan/Puan,", "Tuan/Puan,", "Untuk makluman tuan/puan, perkhidmatan"),
        ("", "Tuan/Puan,", "Untuk makluman tuan/puan, perkhidmatan"),
        ("Puan,", "Puan,", "Untuk makluman puan, perkhidmatan"),
        ("YBhg. Datuk,", "YBhg. Datuk,", "Untuk makluman YBhg. Datuk, perkhidmatan"),
        ("YB Dato' Sri,", "YB Dato' Sri,", "kerjasama YB Dato' Sri dalam perkara ini"),
        ("YBhg. Dato'/Tuan/Puan,", "YBhg. Dato'/Tuan/Puan,", "Untuk makluman YBhg. Dato'/tuan/puan, perkhidmatan"),
    ],
)
def test_letter_text_uses_salutation(salutation: str, greeted: str, expected: str) -> None:
    page = text(letter(FACTS, replace(MINISTRY, salutation=salutation), WORDING))
    assert f" {greeted} PEMAKLUMAN" in page
    assert expected in page
    if "uan" not in salutation.lower() and salutation:
        assert "tuan/puan" not in page.lower()


@pytest.mark.parametrize("kind", PRINTED)
@pytest.mark.parametrize("make", [letter, fax])
def test_page_with_title_salutation_does_not_use_tuan(kind: str, make: Callable[..., PageContent]) -> None:
    facts = next(each for each in situations(FACTS) if occasion(each) == kind and each.plan is Plan.ANNOUNCEMENT)
    page = text(make(facts, replace(MINISTRY, salutation="YBhg. Datuk,"), WORDING))
    assert "tuan" not in page.lower().replace("ramli", "")


@pytest.mark.parametrize("make", [letter, fax])
@pytest.mark.parametrize("plan", list(Plan))
def test_drill_page_mentions_paper_not_call(plan: Plan, make: Callable[..., PageContent]) -> None:
    facts = next(each for each in situations(FACTS) if each.purpose is Purpose.DRILL and each.plan is plan)
    page = text(make(facts, MINISTRY, WORDING))
    assert "anggilan" not in page
    assert "call " not in page.replace("please call", "")
    assert ("Surat ini ialah sebahagian daripada latihan" if make is letter else "Faks ini menguji") in page
    nobodys = replace(facts, office=replace(OFFICE, domain=""))
    assert "()" not in (printed := text(make(nobodys, MINISTRY, WORDING))), printed
    assert "(domain )" not in printed


@pytest.mark.parametrize("long", range(0, 60, 4))
def test_letter_line_does_not_break_inside_reference_or_form_of_address(long: int, tmp_path: Path) -> None:
    # The preceding words have every length, so that each pair reaches the end of a line.
    office = replace(OFFICE, reference="JCM.100-1/9/1", contact_post="x" * (long + 1))
    facts = replace(FACTS, office=office, purpose=Purpose.RECOVERY, ended_at=FACTS.notified_at)
    for salutation, words in (("Tuan/Puan,", ["tuan/puan"]), ("YBhg. Datuk,", ["YBhg.", "Datuk"])):
        found = boxes(letter(facts, replace(MINISTRY, salutation=salutation), WORDING), tmp_path)
        below = [word for word in found if word[2] > 95]
        for together in (words, ["JCM.100-1/9/1", "(JCM-07/1)"]):
            if len(together) == 1:
                assert not any(word.endswith("tuan/") for word, *_ in below)
                continue
            for (word, _, top, *_), (following, _, next_top, *_) in pairwise(below):
                if word == together[0] and following.startswith(together[1]):
                    assert abs(top - next_top) < 1, (word, following)


@pytest.mark.parametrize(
    "purpose", [Purpose.OUTAGE, Purpose.UPDATE, Purpose.RECOVERY, Purpose.CORRECTION, Purpose.DRILL]
)
@pytest.mark.parametrize(("facts", "addressee"), [(FACTS, MINISTRY), (LONG, LONG_ADDRESSEE)])
def test_title_line_does_not_break_inside_word(
    facts: Facts, addressee: Addressee, purpose: Purpose, tmp_path: Path
) -> None:
    changed = replace(facts, purpose=purpose, ended_at=facts.notified_at if purpose is Purpose.RECOVERY else None)
    changed = replace(changed, office=replace(changed.office, english_attachment=True))
    for page in (letter(changed, addressee, WORDING), fax(changed, addressee, WORDING)):
        assert not any(word == "E-" for word, *_ in boxes(page, tmp_path))


@pytest.mark.parametrize("file", ["JCM.100-1/9/1", "JCM.100-1/9/1 Jld. 2", "JCM.BTM.100-1/9/1 Jld. 12"])
def test_file_reference_wraps_at_spaces_only(file: str, tmp_path: Path) -> None:
    office = replace(OFFICE, reference=file)
    for number, purpose in (("JCM-L3", Purpose.DRILL), ("JCM-107", Purpose.OUTAGE)):
        facts = replace(FACTS, office=office, number=number, purpose=purpose)
        printed = {word for word, _, top, *_ in boxes(letter(facts, MINISTRY, WORDING), tmp_path) if 40 < top < 57}
        assert {*file.split(), f"({number})" if purpose is Purpose.DRILL else f"({number}/1)"} <= printed


def test_address_line_does_not_break_between_presint_and_number(tmp_path: Path) -> None:
    found = boxes(letter(LONG, LONG_ADDRESSEE, WORDING), tmp_path)
    tops = [(top, next_top) for (word, _, top, *_), (_, _, next_top, *_) in pairwise(found) if word == "Presint"]
    assert tops
    assert all(abs(top - following) < 1 for top, following in tops)
