"""Text of calls."""

import re
from dataclasses import replace

import pytest

from alerts.model.notification import Cause, Facts, IncidentType, Language, Plan, Purpose
from alerts.wording.call import compose
from tests.unit.alerts.wording.situations import OUTAGE, WORDING, situations

MALAY, ENGLISH = Language.MALAY, Language.ENGLISH


def test_announcement_call_has_agreed_text() -> None:
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


def test_call_begins_in_language_of_person() -> None:
    scripts = compose(OUTAGE, ENGLISH, WORDING).scripts
    assert [script.language for script in scripts] == ["en-GB", "ms-MY"]


@pytest.mark.parametrize("facts", situations(), ids=lambda f: f"{f.plan}-{f.purpose}-{f.type}")
def test_call_of_every_situation_has_no_digits_and_warns_of_scams(facts: Facts) -> None:
    for script in compose(facts, MALAY, WORDING).scripts:
        lines = (script.headline, script.menu, script.invitation, *script.blocks)
        text = " ".join((*lines, script.thanks, script.already, script.over, script.goodbye))
        assert not re.search(r"[\d{}\[\]|]", text)
        assert re.search(r"tidak meminta sebarang maklumat peribadi|does not ask for any personal information", text)
        assert all((*lines, script.thanks, script.already, script.over, script.goodbye))


@pytest.mark.parametrize(
    ("incident_type", "malay", "english"),
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
def test_staff_call_states_incident_type(incident_type: IncidentType, malay: str, english: str) -> None:
    scripts = compose(replace(OUTAGE, plan=Plan.ESCALATION, type=incident_type), MALAY, WORDING).scripts
    assert malay in scripts[0].blocks[0]
    assert english in scripts[1].blocks[0]


def test_monitoring_fault_call_names_affected_part() -> None:
    facts = replace(OUTAGE, plan=Plan.ESCALATION, type=IncidentType.MONITORING_FAULT, subject="peti mel A")
    blocks = compose(facts, MALAY, WORDING).scripts[0].blocks
    assert blocks[0].endswith("Bahagian yang terjejas ialah peti mel A.")


@pytest.mark.parametrize("incident_type", [IncidentType.MONITORING_FAULT, IncidentType.ALERT])
def test_monitoring_fault_or_alert_call_says_no_agency_is_told_of_it(incident_type: IncidentType) -> None:
    malay, english = compose(replace(OUTAGE, plan=Plan.ESCALATION, type=incident_type), MALAY, WORDING).scripts
    assert "Agensi tidak dimaklumkan tentang perkara ini." in malay.blocks[1]
    assert "No agency is told of it." in english.blocks[1]


def test_recovery_call_ends_with_apology() -> None:
    script = compose(replace(OUTAGE, purpose=Purpose.RECOVERY), MALAY, WORDING).scripts[0]
    assert "telah pulih dan beroperasi seperti biasa mulai hari Selasa" in script.blocks[0]
    assert script.goodbye == "Segala kesulitan amat dikesali. Terima kasih."


RELEASE = replace(OUTAGE, plan=Plan.ESCALATION, purpose=Purpose.RELEASE)


def test_call_that_may_ask_for_pin_says_when() -> None:
    for facts in (RELEASE, replace(OUTAGE, plan=Plan.ESCALATION)):
        malay, english = compose(facts, MALAY, WORDING, may_release=True).scripts
        assert malay.blocks[-1].endswith("PIN Pantau diminta hanya jika tuan atau puan menekan lima.")
        assert english.blocks[-1].endswith("Your Pantau PIN is asked for only if you press five.")
        assert "Tekan lima" in malay.menu
        assert "PIN" not in " ".join(compose(facts, MALAY, WORDING).scripts[0].blocks)


def test_release_call_without_pin_states_where_to_release() -> None:
    blocks = compose(RELEASE, MALAY, WORDING).scripts[0].blocks
    assert "Sila benarkan pengeluarannya di konsol Pantau, atau melalui pusat operasi." in blocks
    assert not any("konsol" in block for block in compose(RELEASE, MALAY, WORDING, may_release=True).scripts[0].blocks)


@pytest.mark.parametrize("facts", situations(), ids=lambda f: f"{f.plan}-{f.purpose}-{f.type}")
def test_instruction_without_key_is_given_only_where_acknowledgement_is_needed(facts: Facts) -> None:
    script = compose(facts, MALAY, WORDING).scripts[0]
    asked = facts.plan is Plan.ESCALATION and (facts.purpose is Purpose.OUTAGE or facts.is_handover)
    assert ("Sila sahkan penerimaan di konsol Pantau" in script.unkeyed) is asked


@pytest.mark.parametrize("incident_type", [IncidentType.BOTH, IncidentType.SENDING, IncidentType.RECEIVING])
def test_call_states_declaring_person(incident_type: IncidentType) -> None:
    facts = replace(OUTAGE, plan=Plan.ESCALATION, type=incident_type, declared_by="Siti Contoh")
    malay, english = compose(facts, MALAY, WORDING).scripts
    assert malay.blocks[0].endswith(". Gangguan ini diisytiharkan oleh Siti Contoh.")
    assert english.blocks[0].endswith(". The outage was declared by Siti Contoh.")
    assert "dikesan" not in " ".join(malay.blocks)


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("incident_type", [IncidentType.BOTH, IncidentType.SENDING, IncidentType.RECEIVING])
def test_call_states_cause(cause: Cause, incident_type: IncidentType) -> None:
    facts = replace(OUTAGE, plan=Plan.ESCALATION, type=incident_type, cause=cause)
    malay, english = compose(facts, MALAY, WORDING).scripts
    assert f" Punca yang dikesan ialah {WORDING.render(MALAY, f'call.cause.{cause}')}." in malay.blocks[0]
    assert f" As far as was seen, {WORDING.render(ENGLISH, f'call.cause.{cause}')}." in english.blocks[0]
    assert "Punca" not in " ".join(compose(replace(facts, cause=None), MALAY, WORDING).scripts[0].blocks)
