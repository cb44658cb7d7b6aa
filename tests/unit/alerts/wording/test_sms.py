"""What an SMS says in every situation, and that it always arrives."""

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
def test_every_text_is_sendable_at_its_longest(facts: Facts, language: Language) -> None:
    text = compose(facts, language, WORDING).text
    assert lint(text, "SEKTORAWAM1") == ()
    assert septets(text) <= SAFE_LENGTH


@pytest.mark.parametrize(
    ("plan", "purpose", "matter", "malay"),
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
def test_the_malay_texts_read_as_agreed(plan: Plan, purpose: Purpose, matter: IncidentType, malay: str) -> None:
    assert compose(replace(OUTAGE, plan=plan, purpose=purpose, type=matter), MALAY, WORDING).text == malay


@pytest.mark.parametrize(
    ("matter", "word"),
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
def test_an_alarm_names_what_is_wrong(matter: IncidentType, word: str) -> None:
    assert word in compose(replace(OUTAGE, plan=Plan.ESCALATION, type=matter), MALAY, WORDING).text


def own_fault(subject: str) -> str:
    facts = replace(OUTAGE, plan=Plan.ESCALATION, type=IncidentType.MONITORING_FAULT, subject=subject)
    return compose(facts, MALAY, WORDING).text


def test_our_own_fault_names_its_subject_where_carriers_allow_it() -> None:
    assert "sejak 24/11, 2.15 ptg: peti mel A. Agensi" in own_fault("peti mel A")


@pytest.mark.parametrize("subject", ["imap.rujukan.example", "peti " * 30, "peti “A”", "03-0000 3000", ""])
def test_a_subject_that_would_be_blocked_is_left_out(subject: str) -> None:
    assert "sejak 24/11, 2.15 ptg. Agensi" in own_fault(subject)


def test_the_english_text_tells_the_subject_in_english() -> None:
    facts = replace(
        OUTAGE, plan=Plan.ESCALATION, type=IncidentType.MONITORING_FAULT, subject="peti A", subject_en="mailbox A"
    )
    assert ": mailbox A." in compose(facts, ENGLISH, WORDING).text
    assert ": peti A." in compose(replace(facts, subject_en=""), ENGLISH, WORDING).text


@pytest.mark.parametrize("purpose", [p for p in Purpose if p not in {Purpose.UPDATE, Purpose.RELEASE, Purpose.DRILL}])
@pytest.mark.parametrize("language", Language)
def test_no_sms_about_an_alert_of_the_noc_says_that_mail_fails(purpose: Purpose, language: Language) -> None:
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
@pytest.mark.parametrize("matter", sorted(set(IncidentType) - OUTAGES - {IncidentType.DEGRADED, IncidentType.SIGN_IN}))
def test_who_closes_or_withdraws_what_is_no_trouble_of_mail_is_not_told_to_check_mail(
    matter: IncidentType, language: Language, by: str, purpose: Purpose
) -> None:
    facts = replace(OUTAGE, plan=Plan.ESCALATION, type=matter, purpose=purpose, by=by, number="NOC-01")
    text = compose(facts, language, WORDING).text
    assert not re.search(r"\be-(?:mel|mail)\b", text), text
    assert "NOC-01" in text


@pytest.mark.parametrize(
    "matter", [IncidentType.DEGRADED, IncidentType.SIGN_IN, IncidentType.MONITORING_FAULT, IncidentType.ALERT]
)
def test_slowness_and_our_own_faults_are_never_announced(matter: IncidentType) -> None:
    with pytest.raises(ValueError, match="never announced"):
        compose(replace(OUTAGE, type=matter), MALAY, WORDING)


def test_a_recovery_without_an_end_is_our_bug() -> None:
    with pytest.raises(ValueError, match="ended"):
        compose(replace(OUTAGE, purpose=Purpose.RECOVERY, ended_at=None), MALAY, WORDING)


def office(short: str) -> IssuingOffice:
    return replace(JCM, short=short)


def test_an_office_with_a_fitting_name_has_no_worst_case() -> None:
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
def test_an_office_whose_name_cannot_be_sent_is_found_before_an_outage(short: str, rule: Rule) -> None:
    findings = WorstCase(WORDING).find_problems(office(short))
    assert rule in {finding.problem.rule for finding in findings}
    assert findings[0].key in str(findings[0])
    with pytest.raises(UnsendableTextError, match=r"sms\.announcement\.outage\.both"):
        compose(replace(OUTAGE, office=office(short), number="NNNNN-99"), ENGLISH, WORDING)


def test_a_longer_notice_number_can_be_tried_too() -> None:
    assert WorstCase(WORDING).find_problems(JCM, number="SEKTORAWAM1-1234") == ()
    found = WorstCase(WORDING).find_problems(office("SEKTORAWAM1"), number="SEKTORAWAM1-1234")
    assert {finding.problem.rule for finding in found} == {Rule.LENGTH}


#: What carriers look for, in pieces: next to the words of a text they may become whole.
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
def test_an_office_of_which_little_is_read_is_judged_as_if_all_was_read(short: str, number: str) -> None:
    with patch.object(WorstCase, "_is_sendable", return_value=False):
        found = WORST.find_problems(office(short), number=number)

    assert WORST.find_problems(office(short), number=number) == found


@given(
    text=st.lists(st.sampled_from((*PIECES, sms._SHORT, sms._NUMBER)), max_size=9).map(" ".join),
    short=st.sampled_from((*PIECES, "akaun", "bank", "0 1")),
    number=st.sampled_from((*PIECES, "23-4")),
)
@example(text=f"akaun {sms._SHORT}:", short="bank", number="")
@example(text=f"({sms._SHORT} bank", short="akaun", number="")
@example(text=f"12 34 {sms._SHORT}", short="567", number="")
@example(text=f"{sms._SHORT} 34 567", short="12", number="")
def test_what_the_two_words_make_wrong_shows_next_to_them(text: str, short: str, number: str) -> None:
    near = [sms._fill_placeholders(each, short, number) for each in sms._placeholder_contexts(text)]

    if blocked_content(sms._fill_placeholders(text, short, number)):
        assert blocked_content(sms._without_placeholders(text)) or any(blocked_content(each) for each in near)


def test_an_office_that_is_well_is_not_read_text_by_text() -> None:
    with patch("alerts.wording.sms.lint", side_effect=lint) as looked:
        assert WORST.find_problems(JCM, number="JCM-9999") == ()

    assert looked.call_count == 1


ALARMS = [f for f in situations(LONGEST) if (f.plan, f.purpose) == (Plan.ESCALATION, Purpose.OUTAGE)]


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("facts", ALARMS, ids=lambda f: f.type)
def test_an_alarm_asks_for_its_code_and_stays_one_comfortable_segment(facts: Facts, language: Language) -> None:
    text = compose(facts, language, WORDING, response="99A").text

    assert ("Balas 99A untuk sahkan" if language is MALAY else "Reply 99A to confirm") in text
    assert lint(text, "SEKTORAWAM1") == ()
    assert septets(text) <= SAFE_LENGTH


def test_an_alarm_that_nobody_can_answer_asks_for_nothing() -> None:
    text = compose(replace(OUTAGE, plan=Plan.ESCALATION), MALAY, WORDING).text

    assert "Balas" not in text
    assert text.endswith("Sahkan gangguan dan mulakan tatacara saluran gantian. Ruj JCM-07")


def test_a_name_that_leaves_no_room_for_the_code_still_gets_its_alarm() -> None:
    long = replace(
        OUTAGE, plan=Plan.ESCALATION, office=replace(JCM, short="SEKTOR AWAM TIMUR LAUT"), number="NNNNN-9999"
    )

    assert "Balas" not in compose(replace(long, type=IncidentType.DEGRADED), MALAY, WORDING, response="999A").text


ANSWERS = ["taken", "already", "over", "corrected", "worse", "unclear", "several", "nothing"]


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("situation", ANSWERS)
def test_every_answer_to_an_officer_can_be_sent(situation: str, language: Language) -> None:
    told = {"agency": "SEKTORAWAM1", "number": "NNNNN-99", "response": "99A", "by": "Siti Nurhaliza binti Contoh"}
    text = compose_reply(situation, language, WORDING, told).text

    assert lint(text, "SEKTORAWAM1") == ()
    assert ("Siti Nurhaliza binti Contoh" in text) is (situation in {"taken", "already"})


@pytest.mark.parametrize("name", ["Siti “Contoh”", "sis.gov.my", "S" * 160])
def test_a_name_that_no_carrier_lets_through_is_left_out_of_the_answer(name: str) -> None:
    told = {"agency": "JCM", "number": "JCM-07", "by": name}

    assert compose_reply("taken", MALAY, WORDING, told).text == "RM0 JCM: JCM-07 telah disahkan. Terima kasih."


REFUSED = replace(OUTAGE, plan=Plan.ESCALATION, type=IncidentType.SENDING, cause=Cause.CONNECT)


def test_an_alarm_says_why_mail_fails_where_one_comfortable_segment_has_room() -> None:
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
@pytest.mark.parametrize("matter", [IncidentType.BOTH, IncidentType.SENDING, IncidentType.RECEIVING])
def test_no_cause_keeps_an_alarm_from_arriving(matter: IncidentType, cause: Cause, language: Language) -> None:
    for office in (JCM, replace(JCM, short="SEKTORAWAM1")):
        told = replace(REFUSED, type=matter, cause=cause, office=office)
        for response in ("", "99A"):
            assert lint(compose(told, language, WORDING, response=response).text, office.short) == ()


BY_WORD = replace(OUTAGE, plan=Plan.ESCALATION, declared_by="Siti binti Contoh")


def test_an_alarm_says_who_has_declared_what_no_probe_sees() -> None:
    assert compose(BY_WORD, MALAY, WORDING, response="1A").text == (
        "RM0 JCM ICT: AMARAN. E-mel keluar dan masuk gagal sejak 24/11, 2.15 ptg, diisytiharkan oleh Siti binti Contoh. "
        "Balas 1A untuk sahkan. Ruj JCM-07"
    )
    assert compose(BY_WORD, Language.ENGLISH, WORDING).text == (
        "RM0 JCM ICT: ALERT. Outgoing and incoming e-mail failing since 24/11, 2.15 pm, declared by Siti binti Contoh. "
        "Ref JCM-07"
    )
    assert "Siti" not in compose(replace(BY_WORD, plan=Plan.ANNOUNCEMENT), MALAY, WORDING).text


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("matter", [IncidentType.BOTH, IncidentType.SENDING, IncidentType.RECEIVING])
@pytest.mark.parametrize("name", ["Mohd Azlan bin Contoh", "Dato' Sri Haji " + "Contoh " * 12, "www.contoh.gov.my"])
def test_no_name_keeps_an_alarm_from_arriving(name: str, matter: IncidentType, language: Language) -> None:
    for office in (JCM, replace(JCM, short="SEKTORAWAM1")):
        told = replace(BY_WORD, type=matter, declared_by=name, office=office)
        for response in ("", "99A"):
            text = compose(told, language, WORDING, response=response).text
            assert errors(lint(text, office.short)) == ()
            assert (f"alas {response}" in text or f"eply {response}" in text) is bool(response), (
                "the code is worth more"
            )


def test_nobody_outside_is_told_why() -> None:
    assert "sambungan" not in compose(replace(REFUSED, plan=Plan.ANNOUNCEMENT), MALAY, WORDING).text
