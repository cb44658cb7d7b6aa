"""Text of SMS in every situation."""

import re
from dataclasses import replace
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alerts.model.incident import OUTAGES
from alerts.model.notification import Cause, Facts, IncidentType, IssuingOffice, Language, Plan, Purpose
from alerts.wording import sms
from alerts.wording.lint import SAFE_LENGTH, Rule, blocked_content, errors, lint, septets
from alerts.wording.sms import UnsendableTextError, WorstCase, compose, compose_reply
from tests.unit.alerts.wording.situations import JCM, OUTAGE, WORDING, situations

MALAY, ENGLISH = Language.MALAY, Language.ENGLISH
WORST = WorstCase(WORDING)
LONGEST = replace(
    OUTAGE,
    office=replace(JCM, short="SEKTORAWAM1"),
    number="NNNNN-99",
    began_at=OUTAGE.began_at.replace(hour=4, minute=58),
    notified_at=OUTAGE.began_at.replace(hour=4, minute=58),
    ended_at=OUTAGE.began_at.replace(hour=4, minute=58),
)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize(
    "facts", situations(LONGEST), ids=lambda f: f"{f.plan}-{f.purpose}-{f.type}" + "-belated" * f.is_belated
)
def test_every_sms_is_sendable_at_its_longest(facts: Facts, language: Language) -> None:
    text = compose(facts, language, WORDING).text
    assert lint(text, "SEKTORAWAM1") == ()
    assert septets(text) <= SAFE_LENGTH


@pytest.mark.parametrize(
    ("plan", "purpose", "incident_type", "malay"),
    [
        (
            Plan.ANNOUNCEMENT,
            Purpose.OUTAGE,
            IncidentType.BOTH,
            (
                "RM0 JCM: E-mel rasmi terganggu sejak 24/11, 2.15 ptg. Sila gunakan surat, faks atau telefon sahaja. "
                "E-mel persendirian dilarang. Ruj JCM-07"
            ),
        ),
        (
            Plan.ANNOUNCEMENT,
            Purpose.OUTAGE,
            IncidentType.SENDING,
            (
                "RM0 JCM: E-mel rasmi tidak dapat dihantar sejak 24/11, 2.15 ptg. Jawapan rasmi kami akan dibuat melalui "
                "surat, faks atau telefon. Ruj JCM-07"
            ),
        ),
        (
            Plan.ANNOUNCEMENT,
            Purpose.OUTAGE,
            IncidentType.RECEIVING,
            (
                "RM0 JCM: E-mel rasmi tidak dapat diterima sejak 24/11, 2.15 ptg. Sila gunakan surat, faks atau telefon bagi "
                "urusan rasmi. Ruj JCM-07"
            ),
        ),
        (
            Plan.ANNOUNCEMENT,
            Purpose.RECOVERY,
            IncidentType.SENDING,
            (
                "RM0 JCM: E-mel rasmi telah pulih pada 24/11, 5.40 ptg. Urusan rasmi melalui e-mel boleh diteruskan seperti "
                "biasa. Terima kasih. Ruj JCM-07"
            ),
        ),
        (
            Plan.ANNOUNCEMENT,
            Purpose.DRILL,
            IncidentType.BOTH,
            (
                "RM0 JCM: LATIHAN SAHAJA. Ujian notis gangguan e-mel rasmi pada 24/11, 2.45 ptg. Tiada tindakan diperlukan. "
                "Ruj JCM-07"
            ),
        ),
        (
            Plan.ANNOUNCEMENT,
            Purpose.CORRECTION,
            IncidentType.BOTH,
            (
                "RM0 JCM: PEMBETULAN. Notis gangguan e-mel JCM-07 dibatalkan. E-mel rasmi beroperasi seperti biasa. "
                "Kesulitan amat dikesali."
            ),
        ),
        (
            Plan.ESCALATION,
            Purpose.OUTAGE,
            IncidentType.SENDING,
            (
                "RM0 JCM ICT: AMARAN. E-mel keluar gagal sejak 24/11, 2.15 ptg. Sahkan gangguan dan mulakan tatacara saluran "
                "gantian. Ruj JCM-07"
            ),
        ),
    ],
)
def test_malay_sms_has_agreed_text(plan: Plan, purpose: Purpose, incident_type: IncidentType, malay: str) -> None:
    assert compose(replace(OUTAGE, plan=plan, purpose=purpose, type=incident_type), MALAY, WORDING).text == malay


@pytest.mark.parametrize(
    ("incident_type", "expected"),
    [
        (IncidentType.BOTH, "keluar dan masuk gagal"),
        (IncidentType.SENDING, "keluar gagal"),
        (IncidentType.RECEIVING, "masuk gagal"),
        (IncidentType.DEGRADED, "lambat"),
        (IncidentType.SIGN_IN, "Log masuk e-mel ditolak sejak 24/11, 2.15 ptg, mungkin bagi semua pengguna."),
        (IncidentType.MONITORING_FAULT, "Agensi tidak dimaklumkan"),
        (IncidentType.ALERT, "AMARAN pemantauan NOC sejak 24/11, 2.15 ptg. Bukan gangguan e-mel."),
    ],
)
def test_staff_sms_names_incident_type(incident_type: IncidentType, expected: str) -> None:
    assert expected in compose(replace(OUTAGE, plan=Plan.ESCALATION, type=incident_type), MALAY, WORDING).text


def monitoring_fault_text(subject: str) -> str:
    facts = replace(OUTAGE, plan=Plan.ESCALATION, type=IncidentType.MONITORING_FAULT, subject=subject)
    return compose(facts, MALAY, WORDING).text


def test_monitoring_fault_sms_names_subject() -> None:
    assert "sejak 24/11, 2.15 ptg: peti mel A. Agensi" in monitoring_fault_text("peti mel A")


@pytest.mark.parametrize("subject", ["imap.rujukan.example", "peti " * 30, "peti “A”", "03-0000 3000", ""])
def test_unsendable_subject_is_omitted(subject: str) -> None:
    assert "sejak 24/11, 2.15 ptg. Agensi" in monitoring_fault_text(subject)


def test_english_sms_has_english_subject() -> None:
    facts = replace(
        OUTAGE, plan=Plan.ESCALATION, type=IncidentType.MONITORING_FAULT, subject="peti A", subject_en="mailbox A"
    )
    assert ": mailbox A." in compose(facts, ENGLISH, WORDING).text
    assert ": peti A." in compose(replace(facts, subject_en=""), ENGLISH, WORDING).text


@pytest.mark.parametrize("purpose", [p for p in Purpose if p not in {Purpose.UPDATE, Purpose.RELEASE, Purpose.DRILL}])
@pytest.mark.parametrize("language", Language)
def test_alert_sms_does_not_mention_mail_failure(purpose: Purpose, language: Language) -> None:
    facts = replace(
        OUTAGE, plan=Plan.ESCALATION, type=IncidentType.ALERT, purpose=purpose, subject="CakeraPenuh (web01)"
    )
    text = (
        compose(facts, language, WORDING).text.replace("Bukan gangguan e-mel.", "").replace("Not an e-mail outage.", "")
    )
    assert "e-mel" not in text
    assert "e-mail" not in text


@pytest.mark.parametrize("purpose", [Purpose.CLOSED, Purpose.CORRECTION])
@pytest.mark.parametrize("by", ["", "Siti Contoh"])
@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize(
    "incident_type", sorted(set(IncidentType) - OUTAGES - {IncidentType.DEGRADED, IncidentType.SIGN_IN})
)
def test_closure_or_correction_of_other_trouble_does_not_mention_mail(
    incident_type: IncidentType, language: Language, by: str, purpose: Purpose
) -> None:
    facts = replace(OUTAGE, plan=Plan.ESCALATION, type=incident_type, purpose=purpose, by=by, number="NOC-01")
    text = compose(facts, language, WORDING).text
    assert not re.search(r"\be-(?:mel|mail)\b", text), text
    assert "NOC-01" in text


@pytest.mark.parametrize(
    "incident_type", [IncidentType.DEGRADED, IncidentType.SIGN_IN, IncidentType.MONITORING_FAULT, IncidentType.ALERT]
)
def test_slowness_fault_and_alert_are_never_announced(incident_type: IncidentType) -> None:
    with pytest.raises(ValueError, match="never announced"):
        compose(replace(OUTAGE, type=incident_type), MALAY, WORDING)


def test_recovery_without_end_raises_error() -> None:
    with pytest.raises(ValueError, match="ended"):
        compose(replace(OUTAGE, purpose=Purpose.RECOVERY, ended_at=None), MALAY, WORDING)


def office(short: str) -> IssuingOffice:
    return replace(JCM, short=short)


def test_office_with_short_name_has_no_problem() -> None:
    assert WorstCase(WORDING).find_problems(office("SEKTORAWAM1")) == ()


@pytest.mark.parametrize(
    ("short", "rule"),
    [
        ("PEMBANGUNAN WILAYAH TIMUR", Rule.LENGTH),
        ("jcm.gov.my", Rule.LINK),
        ("JCM “A”", Rule.CHARACTERS),
        ("JCM 0000000", Rule.DIGITS),
    ],
)
def test_office_with_unsendable_name_is_reported_before_outage(short: str, rule: Rule) -> None:
    findings = WorstCase(WORDING).find_problems(office(short))
    assert rule in {finding.problem.rule for finding in findings}
    assert findings[0].key in str(findings[0])
    with pytest.raises(UnsendableTextError, match=r"sms\.announcement\.outage\.both"):
        compose(replace(OUTAGE, office=office(short), number="NNNNN-99"), ENGLISH, WORDING)


def test_find_problems_accepts_longer_number() -> None:
    assert WorstCase(WORDING).find_problems(JCM, number="SEKTORAWAM1-1234") == ()
    found = WorstCase(WORDING).find_problems(office("SEKTORAWAM1"), number="SEKTORAWAM1-1234")
    assert {finding.problem.rule for finding in found} == {Rule.LENGTH}


#: Pieces of blocked content: next to the words of a text they may become complete.
PIECES = (
    "JCM",
    "0",
    "17",
    "-",
    " ",
    ".",
    "my",
    "www",
    "@",
    "/",
    "klik",
    "kata",
    "laluan",
    "akaun bank",
    "HELP",
    "é",
    "“",
    "X" * 9,
)


@given(
    short=st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
    number=st.lists(st.sampled_from(PIECES), max_size=5).map("".join),
)
def test_find_problems_fast_path_equals_full_check(short: str, number: str) -> None:
    with patch.object(WorstCase, "_is_sendable", return_value=False):
        found = WORST.find_problems(office(short), number=number)

    assert WORST.find_problems(office(short), number=number) == found


@given(
    text=st.lists(st.sampled_from((*PIECES, sms._SHORT_NAME_MARK, sms._NUMBER_MARK)), max_size=9).map(" ".join),
    short=st.sampled_from((*PIECES, "akaun", "bank", "0 1")),
    number=st.sampled_from((*PIECES, "23-4")),
)
@example(text=f"akaun {sms._SHORT_NAME_MARK}:", short="bank", number="")
@example(text=f"({sms._SHORT_NAME_MARK} bank", short="akaun", number="")
@example(text=f"12 34 {sms._SHORT_NAME_MARK}", short="567", number="")
@example(text=f"{sms._SHORT_NAME_MARK} 34 567", short="12", number="")
def test_placeholder_contexts_reveal_blocked_content(text: str, short: str, number: str) -> None:
    near = [sms._fill_placeholders(each, short, number) for each in sms._placeholder_contexts(text)]

    if blocked_content(sms._fill_placeholders(text, short, number)):
        assert blocked_content(sms._without_placeholders(text)) or any(blocked_content(each) for each in near)


def test_valid_office_is_linted_once() -> None:
    with patch("alerts.wording.sms.lint", side_effect=lint) as looked:
        assert WORST.find_problems(JCM, number="JCM-9999") == ()

    assert looked.call_count == 1


ALARMS = [f for f in situations(LONGEST) if (f.plan, f.purpose) == (Plan.ESCALATION, Purpose.OUTAGE)]


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("facts", ALARMS, ids=lambda f: f.type)
def test_staff_sms_requests_reply_code_in_one_segment(facts: Facts, language: Language) -> None:
    text = compose(facts, language, WORDING, response="99A").text

    assert ("Balas 99A untuk sahkan" if language is MALAY else "Reply 99A to confirm") in text
    assert lint(text, "SEKTORAWAM1") == ()
    assert septets(text) <= SAFE_LENGTH


def test_staff_sms_without_reply_code_requests_no_reply() -> None:
    text = compose(replace(OUTAGE, plan=Plan.ESCALATION), MALAY, WORDING).text

    assert "Balas" not in text
    assert text.endswith("Sahkan gangguan dan mulakan tatacara saluran gantian. Ruj JCM-07")


def test_staff_sms_without_room_omits_reply_code() -> None:
    long = replace(
        OUTAGE, plan=Plan.ESCALATION, office=replace(JCM, short="SEKTOR AWAM TIMUR LAUT"), number="NNNNN-9999"
    )

    assert "Balas" not in compose(replace(long, type=IncidentType.DEGRADED), MALAY, WORDING, response="999A").text


REPLIES = ["taken", "already", "over", "corrected", "worse", "unclear", "several", "nothing"]


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("situation", REPLIES)
def test_every_reply_is_sendable(situation: str, language: Language) -> None:
    values = {"agency": "SEKTORAWAM1", "number": "NNNNN-99", "response": "99A", "by": "Siti Nurhaliza binti Contoh"}
    text = compose_reply(situation, language, WORDING, values).text

    assert lint(text, "SEKTORAWAM1") == ()
    assert ("Siti Nurhaliza binti Contoh" in text) is (situation in {"taken", "already"})


@pytest.mark.parametrize("name", ["Siti “Contoh”", "sis.gov.my", "S" * 160])
def test_reply_omits_unsendable_name(name: str) -> None:
    values = {"agency": "JCM", "number": "JCM-07", "by": name}

    assert compose_reply("taken", MALAY, WORDING, values).text == "RM0 JCM: JCM-07 telah disahkan. Terima kasih."


REFUSED = replace(OUTAGE, plan=Plan.ESCALATION, type=IncidentType.SENDING, cause=Cause.CONNECT)


def test_staff_sms_states_cause_if_segment_has_room() -> None:
    assert compose(REFUSED, MALAY, WORDING, response="1A").text == (
        "RM0 JCM ICT: AMARAN. E-mel keluar gagal sejak 24/11, 2.15 ptg: sambungan ditolak. Semak dan mulakan saluran gantian. "
        "Balas 1A untuk sahkan. Ruj JCM-07"
    )
    crowded = replace(REFUSED, office=replace(JCM, short="SEKTORAWAM1"))
    text = compose(crowded, MALAY, WORDING, response="99A").text
    assert "sambungan" not in text
    assert "Balas 99A untuk sahkan" in text, "the code is worth more"


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("incident_type", [IncidentType.BOTH, IncidentType.SENDING, IncidentType.RECEIVING])
def test_staff_sms_with_any_cause_is_sendable(incident_type: IncidentType, cause: Cause, language: Language) -> None:
    for office in (JCM, replace(JCM, short="SEKTORAWAM1")):
        values = replace(REFUSED, type=incident_type, cause=cause, office=office)
        for response in ("", "99A"):
            assert lint(compose(values, language, WORDING, response=response).text, office.short) == ()


DECLARED = replace(OUTAGE, plan=Plan.ESCALATION, declared_by="Siti binti Contoh")


def test_staff_sms_states_declaring_person() -> None:
    assert compose(DECLARED, MALAY, WORDING, response="1A").text == (
        "RM0 JCM ICT: AMARAN. E-mel keluar dan masuk gagal sejak 24/11, 2.15 ptg, diisytiharkan oleh Siti binti Contoh. "
        "Balas 1A untuk sahkan. Ruj JCM-07"
    )
    assert compose(DECLARED, Language.ENGLISH, WORDING).text == (
        "RM0 JCM ICT: ALERT. Outgoing and incoming e-mail failing since 24/11, 2.15 pm, declared by Siti binti Contoh. "
        "Ref JCM-07"
    )
    assert "Siti" not in compose(replace(DECLARED, plan=Plan.ANNOUNCEMENT), MALAY, WORDING).text


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("incident_type", [IncidentType.BOTH, IncidentType.SENDING, IncidentType.RECEIVING])
@pytest.mark.parametrize("name", ["Mohd Azlan bin Contoh", "Dato' Sri Haji " + "Contoh " * 12, "www.contoh.gov.my"])
def test_staff_sms_with_any_declaring_person_is_sendable(
    name: str, incident_type: IncidentType, language: Language
) -> None:
    for office in (JCM, replace(JCM, short="SEKTORAWAM1")):
        values = replace(DECLARED, type=incident_type, declared_by=name, office=office)
        for response in ("", "99A"):
            text = compose(values, language, WORDING, response=response).text
            assert errors(lint(text, office.short)) == ()
            assert (f"alas {response}" in text or f"eply {response}" in text) is bool(response), (
                "the code is worth more"
            )


def test_announcement_sms_omits_cause() -> None:
    assert "sambungan" not in compose(replace(REFUSED, plan=Plan.ANNOUNCEMENT), MALAY, WORDING).text
