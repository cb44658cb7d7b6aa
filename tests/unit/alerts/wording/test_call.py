"""What a call says."""

import re
from dataclasses import replace

import pytest

from alerts.notice import Facts, Language, Matter, Plan, Purpose
from alerts.wording.call import compose
from tests.unit.alerts.wording.situations import OUTAGE, WORDING, situations

MALAY, ENGLISH = Language.MALAY, Language.ENGLISH


def test_an_announcement_reads_as_agreed() -> None:
    malay, english = compose(OUTAGE, MALAY, WORDING).scripts
    assert malay.language == "ms-MY"
    assert malay.blocks == (
        "Perhatian. Ini ialah panggilan makluman automatik daripada Jabatan Contoh Malaysia.",
        (
            "Perkhidmatan e-mel rasmi Jabatan Contoh Malaysia mengalami gangguan sejak hari Selasa, dua puluh empat November "
            "dua ribu dua puluh enam, pukul dua lima belas minit petang."
        ),
        (
            "Sehingga dimaklumkan kelak, semua urusan rasmi hendaklah dilaksanakan melalui surat, faks atau telefon sahaja. "
            "Penggunaan e-mel persendirian bagi urusan rasmi tidak dibenarkan."
        ),
        (
            "Nombor notis ini ialah J, C, M, sempang, kosong, tujuh. Panggilan ini tidak meminta sebarang maklumat peribadi, "
            "kata laluan atau bayaran."
        ),
    )
    assert malay.menu == (
        "Tekan satu untuk mengesahkan penerimaan makluman ini. Tekan dua untuk mendengarnya semula. "
        "For English, press three."
    )
    assert malay.goodbye == "Terima kasih."
    assert english.language == "en-GB"
    assert english.blocks[1] == (
        "The official e-mail service of Jabatan Contoh Malaysia has been disrupted since Tuesday, the twenty-fourth of "
        "November, two thousand and twenty-six, at two fifteen in the afternoon."
    )
    assert english.menu.endswith("Untuk Bahasa Melayu, tekan tiga.")


def test_the_persons_language_comes_first() -> None:
    scripts = compose(OUTAGE, ENGLISH, WORDING).scripts
    assert [script.language for script in scripts] == ["en-GB", "ms-MY"]


@pytest.mark.parametrize("facts", situations(), ids=lambda f: f"{f.plan}-{f.purpose}-{f.matter}")
def test_every_situation_is_spoken_without_figures_and_warns_of_scams(facts: Facts) -> None:
    for script in compose(facts, MALAY, WORDING).scripts:
        said = " ".join((*script.blocks, script.menu, script.thanks, script.already, script.over, script.goodbye))
        assert not re.search(r"[\d{}\[\]|]", said)
        assert re.search(r"tidak meminta sebarang maklumat peribadi|does not ask for any personal information", said)
        assert all((*script.blocks, script.menu, script.thanks, script.already, script.over, script.goodbye))


@pytest.mark.parametrize(
    ("matter", "malay", "english"),
    [
        (Matter.BOTH, "E-mel keluar dan e-mel masuk", "Outgoing and incoming e-mail"),
        (Matter.SENDING, "E-mel keluar", "Outgoing e-mail"),
        (Matter.RECEIVING, "E-mel masuk", "Incoming e-mail"),
        (Matter.DEGRADED, "lambat", "slow"),
        (Matter.OWN_FAULT, "Sebahagian sistem pemantauan", "Part of the monitoring"),
    ],
)
def test_staff_hear_what_is_wrong(matter: Matter, malay: str, english: str) -> None:
    scripts = compose(replace(OUTAGE, plan=Plan.ESCALATION, matter=matter), MALAY, WORDING).scripts
    assert malay in scripts[0].blocks[1]
    assert english in scripts[1].blocks[1]


def test_our_own_fault_says_that_no_outage_notice_is_issued() -> None:
    facts = replace(OUTAGE, plan=Plan.ESCALATION, matter=Matter.OWN_FAULT, subject="peti mel A")
    blocks = compose(facts, MALAY, WORDING).scripts[0].blocks
    assert blocks[1].endswith("Bahagian yang terjejas ialah peti mel A.")
    assert "Tiada notis gangguan dikeluarkan" in blocks[2]


def test_a_recovery_ends_with_regret() -> None:
    script = compose(replace(OUTAGE, purpose=Purpose.RECOVERY), MALAY, WORDING).scripts[0]
    assert "telah pulih dan beroperasi seperti biasa mulai hari Selasa" in script.blocks[1]
    assert script.goodbye == "Segala kesulitan amat dikesali. Terima kasih."
