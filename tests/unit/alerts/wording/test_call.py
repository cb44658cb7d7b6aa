"""What a call says."""

import re
from dataclasses import replace

import pytest

from alerts.model.notification import Cause, Facts, IncidentType, Language, Plan, Purpose
from alerts.wording.call import compose
from tests.unit.alerts.wording.situations import OUTAGE, WORDING, situations

MALAY, ENGLISH = Language.MALAY, Language.ENGLISH


def test_an_announcement_reads_as_agreed() -> None:
    malay, english = compose(OUTAGE, MALAY, WORDING).scripts
    assert malay.language == "ms-MY"
    assert malay.headline == (
        "Perhatian. Ini ialah makluman automatik daripada Jabatan Contoh Malaysia. E-mel rasmi tidak dapat dihantar dan "
        "diterima sejak hari Selasa, pukul dua lima belas minit petang."
    )
    assert malay.blocks == (
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
    assert malay.menu == "Tekan satu untuk mengesahkan penerimaan. Tekan dua untuk mendengar semula."
    assert malay.goodbye == "Terima kasih."
    assert english.language == "en-GB"
    assert english.blocks[0] == (
        "The official e-mail service of Jabatan Contoh Malaysia has been disrupted since Tuesday, the twenty-fourth of "
        "November, two thousand and twenty-six, at two fifteen in the afternoon."
    )
    assert (malay.invitation, english.invitation) == ("Untuk bahasa Melayu, tekan tiga.", "For English, press three.")


def test_the_persons_language_comes_first() -> None:
    scripts = compose(OUTAGE, ENGLISH, WORDING).scripts
    assert [script.language for script in scripts] == ["en-GB", "ms-MY"]


@pytest.mark.parametrize("facts", situations(), ids=lambda f: f"{f.plan}-{f.purpose}-{f.type}")
def test_every_situation_is_spoken_without_figures_and_warns_of_scams(facts: Facts) -> None:
    for script in compose(facts, MALAY, WORDING).scripts:
        lines = (script.headline, script.menu, script.invitation, *script.blocks)
        said = " ".join((*lines, script.thanks, script.already, script.over, script.goodbye))
        assert not re.search(r"[\d{}\[\]|]", said)
        assert re.search(r"tidak meminta sebarang maklumat peribadi|does not ask for any personal information", said)
        assert all((*lines, script.thanks, script.already, script.over, script.goodbye))


@pytest.mark.parametrize(
    ("matter", "malay", "english"),
    [
        (IncidentType.BOTH, "E-mel keluar dan e-mel masuk", "Outgoing and incoming e-mail"),
        (IncidentType.SENDING, "E-mel keluar", "Outgoing e-mail"),
        (IncidentType.RECEIVING, "E-mel masuk", "Incoming e-mail"),
        (IncidentType.DEGRADED, "lambat", "slow"),
        (IncidentType.SIGN_IN, "Mungkin tiada sesiapa dapat log masuk", "Nobody may be able to sign in"),
        (IncidentType.MONITORING_FAULT, "Sebahagian sistem pemantauan", "Part of the monitoring"),
        (IncidentType.ALERT, "Sistem pemantauan pusat operasi", "The monitoring of the operations centre"),
    ],
)
def test_staff_hear_what_is_wrong(matter: IncidentType, malay: str, english: str) -> None:
    scripts = compose(replace(OUTAGE, plan=Plan.ESCALATION, type=matter), MALAY, WORDING).scripts
    assert malay in scripts[0].blocks[0]
    assert english in scripts[1].blocks[0]


def test_compose_own_fault_names_the_part() -> None:
    facts = replace(OUTAGE, plan=Plan.ESCALATION, type=IncidentType.MONITORING_FAULT, subject="peti mel A")
    blocks = compose(facts, MALAY, WORDING).scripts[0].blocks
    assert blocks[0].endswith("Bahagian yang terjejas ialah peti mel A.")


@pytest.mark.parametrize("matter", [IncidentType.MONITORING_FAULT, IncidentType.ALERT])
def test_compose_monitoring_trouble_does_not_claim_that_outages_are_not_told(matter: IncidentType) -> None:
    malay, english = compose(replace(OUTAGE, plan=Plan.ESCALATION, type=matter), MALAY, WORDING).scripts
    assert "Agensi tidak dimaklumkan tentang perkara ini." in malay.blocks[1]
    assert "No agency is told of it." in english.blocks[1]


def test_a_recovery_ends_with_regret() -> None:
    script = compose(replace(OUTAGE, purpose=Purpose.RECOVERY), MALAY, WORDING).scripts[0]
    assert "telah pulih dan beroperasi seperti biasa mulai hari Selasa" in script.blocks[0]
    assert script.goodbye == "Segala kesulitan amat dikesali. Terima kasih."


RELEASE = replace(OUTAGE, plan=Plan.ESCALATION, purpose=Purpose.RELEASE)


def test_a_call_in_which_a_pin_may_be_asked_for_does_not_deny_it() -> None:
    for facts in (RELEASE, replace(OUTAGE, plan=Plan.ESCALATION)):
        malay, english = compose(facts, MALAY, WORDING, may_release=True).scripts
        assert malay.blocks[-1].endswith("PIN Pantau diminta hanya jika tuan atau puan menekan lima.")
        assert english.blocks[-1].endswith("Your Pantau PIN is asked for only if you press five.")
        assert "Tekan lima" in malay.menu
        assert "PIN" not in " ".join(compose(facts, MALAY, WORDING).scripts[0].blocks)


def test_whoever_has_no_pin_hears_where_to_release() -> None:
    blocks = compose(RELEASE, MALAY, WORDING).scripts[0].blocks
    assert "Sila benarkan pengeluarannya di konsol Pantau, atau melalui pusat operasi." in blocks
    assert not any("konsol" in block for block in compose(RELEASE, MALAY, WORDING, may_release=True).scripts[0].blocks)


@pytest.mark.parametrize("facts", situations(), ids=lambda f: f"{f.plan}-{f.purpose}-{f.type}")
def test_how_to_confirm_without_a_key_is_said_where_somebody_has_to(facts: Facts) -> None:
    script = compose(facts, MALAY, WORDING).scripts[0]
    asked = facts.plan is Plan.ESCALATION and (facts.purpose is Purpose.OUTAGE or facts.is_handover)
    assert ("Sila sahkan penerimaan di konsol Pantau" in script.unkeyed) is asked


@pytest.mark.parametrize("matter", [IncidentType.BOTH, IncidentType.SENDING, IncidentType.RECEIVING])
def test_a_call_says_who_has_declared_what_no_probe_sees(matter: IncidentType) -> None:
    facts = replace(OUTAGE, plan=Plan.ESCALATION, type=matter, declared_by="Siti Contoh")
    malay, english = compose(facts, MALAY, WORDING).scripts
    assert malay.blocks[0].endswith(". Gangguan ini diisytiharkan oleh Siti Contoh.")
    assert english.blocks[0].endswith(". The outage was declared by Siti Contoh.")
    assert "dikesan" not in " ".join(malay.blocks)


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("matter", [IncidentType.BOTH, IncidentType.SENDING, IncidentType.RECEIVING])
def test_a_call_says_why_mail_fails(cause: Cause, matter: IncidentType) -> None:
    facts = replace(OUTAGE, plan=Plan.ESCALATION, type=matter, cause=cause)
    malay, english = compose(facts, MALAY, WORDING).scripts
    assert f" Punca yang dikesan ialah {WORDING.render(MALAY, f'call.cause.{cause}')}." in malay.blocks[0]
    assert f" As far as was seen, {WORDING.render(ENGLISH, f'call.cause.{cause}')}." in english.blocks[0]
    assert "Punca" not in " ".join(compose(replace(facts, cause=None), MALAY, WORDING).scripts[0].blocks)
