"""The letter a clerk would sign, and that fits the envelope."""

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


def test_an_outage_letter_reads_as_agreed() -> None:
    page = letter(FACTS, MINISTRY, WORDING)
    assert page.title == "PEMAKLUMAN GANGGUAN PERKHIDMATAN E-MEL RASMI JABATAN CONTOH MALAYSIA"
    assert page.pages == 1
    said = text(page)
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
    positions = [said.find(sentence) for sentence in order]
    assert -1 not in positions, order[positions.index(-1)]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("matter", "sentences"),
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
def test_a_letter_promises_only_what_the_broken_side_leaves(matter: IncidentType, sentences: list[str]) -> None:
    said = text(letter(replace(FACTS, type=matter), MINISTRY, WORDING))
    for sentence in sentences:
        assert sentence in said


@pytest.mark.parametrize("make", [letter, fax])
def test_page_promises_follow_ups_where_the_agency_has_any(make: Callable[..., PageContent]) -> None:
    """A fax promised a notice as soon as mail works again, and follow-ups came each day."""
    office = replace(OFFICE, english_attachment=True)
    for also in (
        dict[str, Any](),
        {"purpose": Purpose.UPDATE},
        {"purpose": Purpose.UPDATE, "previous_type": IncidentType.SENDING},
    ):
        if make is fax and also:
            continue  # It promises nothing more.
        said = text(make(replace(FACTS, office=office, **also), MINISTRY, WORDING))
        assert re.search(r"pada setiap hari bekerja selagi gangguan berterusan, dan sebaik sahaja perkhidmatan", said)
        assert re.search(r"on each working day while the disruption lasts, and as soon as (it|the service)", said)
        said = text(make(replace(FACTS, office=office, followed_up=False, **also), MINISTRY, WORDING))
        assert "setiap hari bekerja" not in said
        assert "each working day" not in said
        assert re.search(r"(memaklumkan tuan/puan|akan dikeluarkan) sebaik sahaja perkhidmatan", said)


def test_a_recovery_letter_tells_how_long_it_lasted() -> None:
    page = letter(replace(FACTS, purpose=Purpose.RECOVERY), MINISTRY, WORDING)
    said = text(page)
    assert page.pages == 1
    assert (
        "Dengan segala hormatnya, saya merujuk perkara di atas dan surat JCM rujukan JCM.100-1/9/1 Jld. 2 (JCM-07/1) bertarikh 24 "
        "November 2026."
    ) in said
    assert (
        "telah pulih dan beroperasi seperti biasa mulai 24 November 2026 (Selasa), pukul 5.40 petang. Gangguan tersebut "
        "berlaku selama 3 jam 25 minit, iaitu dari 24 November 2026, pukul 2.15 petang, hingga 24 November 2026, pukul 5.40 "
        "petang."
    ) in said
    assert "tidak perlu dihantar semula melalui e-mel." in said


def test_a_correction_withdraws_the_notice_by_its_number() -> None:
    said = text(letter(replace(FACTS, purpose=Purpose.CORRECTION), MINISTRY, WORDING))
    assert "bernombor JCM-07 dibatalkan. Perkhidmatan e-mel rasmi tersebut beroperasi seperti biasa." in said


@pytest.mark.parametrize("purpose", [Purpose.RECOVERY, Purpose.CORRECTION])
def test_what_follows_bears_a_reference_of_its_own_and_cites_the_first(purpose: Purpose) -> None:
    first = text(letter(replace(FACTS, enclosure=1), MINISTRY, WORDING))
    facts = next(each for each in situations(FACTS) if each.purpose is purpose and each.plan is Plan.ANNOUNCEMENT)
    facts = replace(facts, first_notified_at=FACTS.notified_at)
    assert "Ruj. Kami : JCM.100-1/9/1 Jld. 2 (JCM-07/1)" in first
    # 0: decided on before they were counted.
    for enclosure, number in ((2, 2), (3, 3), (0, 2)):
        said = text(letter(replace(facts, enclosure=enclosure), MINISTRY, WORDING))
        assert f"Ruj. Kami : JCM.100-1/9/1 Jld. 2 (JCM-07/{number})" in said
        assert "surat JCM rujukan JCM.100-1/9/1 Jld. 2 (JCM-07/1) bertarikh 24 November 2026" in said
    faxed = text(fax(replace(facts, enclosure=2), MINISTRY, WORDING))
    assert "RUJ. KAMI / OUR REF. : JCM.100-1/9/1 Jld. 2 (JCM-07/2)" in faxed
    assert "notis JCM-07 rujukan JCM.100-1/9/1 Jld. 2 (JCM-07/1) bertarikh 24 November 2026" in faxed


def test_without_a_file_a_clerk_fills_the_reference_in() -> None:
    said = text(letter(replace(FACTS, office=replace(OFFICE, reference=" ")), MINISTRY, WORDING))
    assert "Ruj. Kami : Tarikh :" in said


def test_the_translation_is_an_attachment_and_says_so() -> None:
    facts = replace(FACTS, office=replace(OFFICE, english_attachment=True))
    page = letter(facts, MINISTRY, WORDING)
    assert page.pages == 2
    attached = " ".join(reader(page).pages[1].extract_text().split())
    assert "Ruj. Kami : JCM.100-1/9/1 Jld. 2 (JCM-07/1)" in attached
    assert "Lampiran Terjemahan Bahasa Inggeris / English Translation NOTICE OF DISRUPTION" in attached
    assert "has been disrupted since 24 November 2026 (Tuesday), 2.15 pm." in attached
    assert "(b) fax : 03-0000 3001; and" in attached
    assert "(This translation is for information. The Malay text is the official text.)" in attached


def test_a_salutation_that_somebody_chose_stays() -> None:
    assert "YBhg. Datuk," in text(letter(FACTS, replace(MINISTRY, salutation="YBhg. Datuk,"), WORDING))


def test_what_is_not_known_leaves_no_label_behind() -> None:
    page = letter(BARE, Addressee(title="Pengarah", organisation="Pejabat Teladan"), WORDING)
    said = text(page)
    for label in ("Telefon", "Faks :", "Laman web", "No. Faks", "u.p.", "b.p.", "s.k.", "(a)", "Sebarang", "()", " ,"):
        assert label not in said
    assert "hendaklah dilaksanakan melalui surat, faks atau telefon sahaja. 4." in said
    assert "Ruj. Kami : Tarikh : 24 November 2026 Pengarah Pejabat Teladan Tuan/Puan," in said


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
def test_a_missing_field_changes_the_sentence_around_it(changes: dict[str, object], sentence: str) -> None:
    facts = replace(FACTS, office=replace(OFFICE, **changes))  # type: ignore[arg-type]  # one field a case
    assert sentence in text(letter(facts, MINISTRY, WORDING))


def test_a_long_letter_keeps_its_signature_with_a_paragraph_and_repeats_the_reference() -> None:
    page = letter(LONG, LONG_ADDRESSEE, WORDING)
    assert page.pages == len(reader(page).pages) == 3
    second = " ".join(reader(page).pages[1].extract_text().split())
    assert "Ruj. Kami : SEKTORAWAM1.BPTMK.100-1/9/1 Jld. 12 (NNNNN-99/1)" in second
    assert "6. Segala kesulitan amat dikesali." in second
    assert "(DATO' SRI HAJI MUHAMMAD ABDUL RAHMAN BIN TENGKU ABDUL CONTOH AL-HAJ)" in second
    assert "2/3" in second


@pytest.mark.parametrize(("facts", "addressee"), [(FACTS, MINISTRY), (LONG, LONG_ADDRESSEE)])
def test_the_address_shows_in_the_window_of_an_envelope(facts: Facts, addressee: Addressee, tmp_path: Path) -> None:
    words = boxes(letter(facts, addressee, WORDING), tmp_path)
    # What may show when the sheet drifts: nothing but the address.
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


def test_nothing_runs_off_the_paper(tmp_path: Path) -> None:
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
def test_the_longest_address_that_may_be_written_keeps_to_the_letterhead_and_the_window(
    address: tuple[str, ...], tmp_path: Path
) -> None:
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


def test_the_town_keeps_its_line_when_others_share_one() -> None:
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
def test_every_situation_can_be_a_letter(facts: Facts) -> None:
    page = letter(facts, MINISTRY, WORDING)
    assert page.pages == 1
    assert not set("{}[]|") & set(text(page))


def test_our_own_officers_read_what_they_would_have_heard() -> None:
    facts = replace(FACTS, plan=Plan.ESCALATION, type=IncidentType.MONITORING_FAULT, subject="peti mel A")
    said = text(letter(facts, Addressee(title="Ramli", organisation="Jabatan Contoh Malaysia"), WORDING))
    assert "sejak hari Selasa, 24 November 2026, pukul 2.15 petang. Bahagian yang terjejas ialah peti mel A." in said
    assert "3. Ini bukan gangguan e-mel agensi. Agensi tidak dimaklumkan tentang perkara ini." in said


def test_our_own_officers_read_why_mail_fails() -> None:
    facts = replace(FACTS, plan=Plan.ESCALATION, cause=Cause.CONNECT)
    said = text(letter(facts, Addressee(title="Ramli", organisation="Jabatan Contoh Malaysia"), WORDING))
    assert "Punca yang dikesan ialah pelayan mel menolak sambungan." in said


def test_a_drill_by_letter_speaks_of_a_letter_to_our_own_officers_too() -> None:
    drill = replace(FACTS, plan=Plan.ESCALATION, purpose=Purpose.DRILL)
    page = letter(drill, Addressee(title="Ramli", organisation="Jabatan Contoh Malaysia"), WORDING)

    assert page.title.startswith("LATIHAN SAHAJA")
    assert "Surat ini ialah sebahagian daripada latihan tersebut" in (said := text(page))
    assert "Panggilan" not in said


@pytest.mark.parametrize("matter", [IncidentType.DEGRADED, IncidentType.MONITORING_FAULT])
def test_slowness_and_our_own_faults_are_never_announced(matter: IncidentType) -> None:
    with pytest.raises(ValueError, match="never announced"):
        letter(replace(FACTS, type=matter), MINISTRY, WORDING)


def test_a_site_may_add_items_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "ms.yaml").write_text(
        "letter:\n  warning:\n    both: |-\n      Perhatian:\n      satu;\n      dua.\n", encoding="utf-8"
    )
    said = text(letter(FACTS, MINISTRY, load(tmp_path)))
    assert "4. Perhatian: (a) satu; (b) dua. 5." in said


def test_an_office_of_the_least_data_is_still_one_page() -> None:
    assert letter(replace(BARE, office=JCM), Addressee(title="", organisation="Pejabat"), WORDING).pages == 1


@pytest.mark.parametrize("purpose", [Purpose.OUTAGE, Purpose.RECOVERY, Purpose.CORRECTION])
def test_the_last_paragraph_is_set_to_both_margins_like_the_others_and_none_beyond(
    purpose: Purpose, tmp_path: Path
) -> None:
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
    # The last line of a paragraph may end where it likes.
    assert len(body) > 1
    assert [lines[top] for top in body[:-1] if lines[top] < 184.4] == []


@pytest.mark.parametrize(
    ("salutation", "greeted", "said"),
    [
        ("Tuan/Puan,", "Tuan/Puan,", "Untuk makluman tuan/puan, perkhidmatan"),
        ("", "Tuan/Puan,", "Untuk makluman tuan/puan, perkhidmatan"),
        ("Puan,", "Puan,", "Untuk makluman puan, perkhidmatan"),
        ("YBhg. Datuk,", "YBhg. Datuk,", "Untuk makluman YBhg. Datuk, perkhidmatan"),
        ("YB Dato' Sri,", "YB Dato' Sri,", "kerjasama YB Dato' Sri dalam perkara ini"),
        ("YBhg. Dato'/Tuan/Puan,", "YBhg. Dato'/Tuan/Puan,", "Untuk makluman YBhg. Dato'/tuan/puan, perkhidmatan"),
    ],
)
def test_a_letter_speaks_to_whom_it_greets(salutation: str, greeted: str, said: str) -> None:
    page = text(letter(FACTS, replace(MINISTRY, salutation=salutation), WORDING))
    assert f" {greeted} PEMAKLUMAN" in page
    assert said in page
    if "uan" not in salutation.lower() and salutation:
        assert "tuan/puan" not in page.lower()


@pytest.mark.parametrize("told", PRINTED)
@pytest.mark.parametrize("make", [letter, fax])
def test_no_page_forgets_whom_it_greets(told: str, make: Callable[..., PageContent]) -> None:
    facts = next(each for each in situations(FACTS) if occasion(each) == told and each.plan is Plan.ANNOUNCEMENT)
    page = text(make(facts, replace(MINISTRY, salutation="YBhg. Datuk,"), WORDING))
    assert "tuan" not in page.lower().replace("ramli", "")


@pytest.mark.parametrize("make", [letter, fax])
@pytest.mark.parametrize("plan", list(Plan))
def test_a_drill_on_paper_speaks_of_paper_and_not_of_a_call(plan: Plan, make: Callable[..., PageContent]) -> None:
    facts = next(each for each in situations(FACTS) if each.purpose is Purpose.DRILL and each.plan is plan)
    page = text(make(facts, MINISTRY, WORDING))
    assert "anggilan" not in page
    assert "call " not in page.replace("please call", "")
    assert ("Surat ini ialah sebahagian daripada latihan" if make is letter else "Faks ini menguji") in page
    nobodys = replace(facts, office=replace(OFFICE, domain=""))
    assert "()" not in (said := text(make(nobodys, MINISTRY, WORDING))), said
    assert "(domain )" not in said


@pytest.mark.parametrize("long", range(0, 60, 4))
def test_no_line_ends_inside_a_reference_or_a_form_of_address(long: int, tmp_path: Path) -> None:
    # The words before them are of every length, so that each would come to stand at the end of a line.
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
def test_no_title_ends_a_line_inside_a_word(
    facts: Facts, addressee: Addressee, purpose: Purpose, tmp_path: Path
) -> None:
    told = replace(facts, purpose=purpose, ended_at=facts.notified_at if purpose is Purpose.RECOVERY else None)
    told = replace(told, office=replace(told.office, english_attachment=True))
    for page in (letter(told, addressee, WORDING), fax(told, addressee, WORDING)):
        assert not any(word == "E-" for word, *_ in boxes(page, tmp_path))


@pytest.mark.parametrize("file", ["JCM.100-1/9/1", "JCM.100-1/9/1 Jld. 2", "JCM.BTM.100-1/9/1 Jld. 12"])
def test_a_file_reference_wraps_at_its_spaces_only(file: str, tmp_path: Path) -> None:
    office = replace(OFFICE, reference=file)
    for number, purpose in (("JCM-L3", Purpose.DRILL), ("JCM-107", Purpose.OUTAGE)):
        facts = replace(FACTS, office=office, number=number, purpose=purpose)
        said = {word for word, _, top, *_ in boxes(letter(facts, MINISTRY, WORDING), tmp_path) if 40 < top < 57}
        assert {*file.split(), f"({number})" if purpose is Purpose.DRILL else f"({number}/1)"} <= said


def test_a_line_of_an_address_does_not_end_between_presint_and_its_number(tmp_path: Path) -> None:
    found = boxes(letter(LONG, LONG_ADDRESSEE, WORDING), tmp_path)
    tops = [(top, next_top) for (word, _, top, *_), (_, _, next_top, *_) in pairwise(found) if word == "Presint"]
    assert tops
    assert all(abs(top - following) < 1 for top, following in tops)
