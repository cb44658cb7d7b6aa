"""Bundles: one SMS, call or list about several incidents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.model.notification import Facts, IncidentType, Language, Plan, Purpose
from alerts.model.policy_snapshot import AnnouncementPlan
from alerts.wording import spoken
from alerts.wording.bundle import compose_call, compose_sms
from alerts.wording.lint import SAFE_LENGTH, errors, lint, septets
from alerts.wording.release import question_texts
from tests.unit.alerts.people import MINISTRY
from tests.unit.alerts.wording.situations import JCM, OUTAGE, WORDING

KINDS = [
    *(
        (Plan.ESCALATION, purpose, incident_type)
        for purpose in (Purpose.OUTAGE, Purpose.RECOVERY)
        for incident_type in IncidentType
    ),
    (Plan.ESCALATION, Purpose.RELEASE, IncidentType.BOTH),
    *((Plan.ANNOUNCEMENT, purpose, IncidentType.BOTH) for purpose in (Purpose.OUTAGE, Purpose.RECOVERY)),
]


def agencies(count: int, kind: tuple[Plan, Purpose, IncidentType] = KINDS[0], short: str = "J{}") -> Sequence[Facts]:
    plan, purpose, incident_type = kind
    office = {n: replace(JCM, short=short.format(n)[:11], name=f"Jabatan Contoh {n}") for n in range(count)}
    facts = replace(OUTAGE, plan=plan, purpose=purpose, type=incident_type)
    return [replace(facts, office=office[n], number=f"NNN{n:02}-99"[-8:]) for n in range(count)]


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.parametrize("count", [2, 12, 1000])
def test_every_bundle_is_one_sendable_sms(
    count: int, kind: tuple[Plan, Purpose, IncidentType], language: Language
) -> None:
    facts = agencies(count, kind, "SEKTORAWAM{}")
    late = replace(facts[0], began_at=OUTAGE.began_at.replace(month=12, day=22, hour=4, minute=58))

    for response in ("", "99A") if kind[:2] == (Plan.ESCALATION, Purpose.OUTAGE) else ("",):
        text = compose_sms([late, *facts[1:]], language, WORDING, response=response).text
        assert errors(lint(text, "SEKTORAWAM")) == ()
        assert response in text
        assert septets(text) <= (SAFE_LENGTH + 7 if response else SAFE_LENGTH)


def test_bundle_sms_names_those_that_fit_and_counts_rest() -> None:
    assert compose_sms(agencies(3), Language.MALAY, WORDING, response="1A").text == (
        "RM0 J0 ICT: AMARAN. E-mel 3 agensi gagal sejak 24/11, 2.15 ptg: J0, J1, J2. Balas 1A untuk sahkan semua."
    )
    assert (
        "JABATAN00, JABATAN01 dan 38 lagi, lihat portal."
        in compose_sms(
            [replace(f, office=replace(JCM, short=f"JABATAN{n:02}")) for n, f in enumerate(agencies(40))],
            Language.MALAY,
            WORDING,
            response="1A",
        ).text
    )


@pytest.mark.parametrize(
    "incident_type",
    [IncidentType.BOTH, IncidentType.DEGRADED, IncidentType.SIGN_IN, IncidentType.MONITORING_FAULT, IncidentType.ALERT],
)
@pytest.mark.parametrize("language", Language)
def test_belated_bundle_is_one_sms_with_both_times(incident_type: IncidentType, language: Language) -> None:
    kind = Plan.ESCALATION, Purpose.RECOVERY, incident_type
    began = OUTAGE.began_at.replace(month=12, day=22, hour=4, minute=58)
    facts = [
        replace(f, first_notified_at=None, began_at=began, ended_at=began) for f in agencies(40, kind, "SEKTORAWAM{}")
    ]

    text = compose_sms(facts, language, WORDING).text

    assert errors(lint(text, "SEKTORAWAM")) == ()
    assert septets(text) <= SAFE_LENGTH
    assert text.count("22/12") == 2


def outages_of_one(count: int, kind: tuple[Plan, Purpose, IncidentType], *, belated: bool = False) -> Sequence[Facts]:
    """Return outages of one agency, ten minutes each, in sequence."""
    plan, purpose, incident_type = kind
    each = replace(OUTAGE, plan=plan, purpose=purpose, type=incident_type)
    each = replace(each, first_notified_at=None) if belated else each
    begins = [OUTAGE.began_at + n * timedelta(minutes=15) for n in range(count)]
    return [
        replace(each, number=f"JCM-{n:02}", began_at=at, ended_at=at + timedelta(minutes=10))
        for n, at in enumerate(begins, 7)
    ]


def test_bundle_sms_of_one_agency_lists_every_number_and_time() -> None:
    recovery = Plan.ESCALATION, Purpose.RECOVERY, IncidentType.BOTH

    assert compose_sms(outages_of_one(2, recovery), Language.MALAY, WORDING).text == (
        "RM0 JCM ICT: PULIH. E-mel rasmi berfungsi semula. "
        "JCM-07 (24/11, 2.15 ptg-2.25 ptg), JCM-08 (24/11, 2.30 ptg-2.40 ptg)."
    )
    assert compose_sms(outages_of_one(2, recovery, belated=True), Language.ENGLISH, WORDING).text == (
        "RM0 JCM ICT: NOTE. Official e-mail failed, now restored: "
        "JCM-07 (24/11, 2.15 pm-2.25 pm), JCM-08 (24/11, 2.30 pm-2.40 pm)."
    )


@pytest.mark.parametrize("belated", [False, True])
@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("plan", Plan)
@pytest.mark.parametrize("incident_type", [IncidentType.BOTH, IncidentType.DEGRADED, IncidentType.SIGN_IN])
def test_bundle_sms_of_one_agency_is_sendable_for_any_count(
    incident_type: IncidentType, plan: Plan, language: Language, *, belated: bool
) -> None:
    if plan is Plan.ANNOUNCEMENT and (belated or incident_type in {IncidentType.DEGRADED, IncidentType.SIGN_IN}):
        return
    late = OUTAGE.began_at.replace(month=12, day=22, hour=4, minute=58)
    facts = [
        replace(f, office=replace(JCM, short="SEKTORAWAM1"), number="NNNNN-99", began_at=late, ended_at=late)
        for f in outages_of_one(40, (plan, Purpose.RECOVERY, incident_type), belated=belated)
    ]

    text = compose_sms(facts, language, WORDING).text

    assert errors(lint(text, "SEKTORAWAM1")) == ()
    assert septets(text) <= SAFE_LENGTH
    assert "22/12" in text
    assert ("lagi" if language is Language.MALAY else "more") in text


def test_bundle_call_of_one_agency_lists_each_outage_and_instructs_once() -> None:
    facts = outages_of_one(2, (Plan.ESCALATION, Purpose.RECOVERY, IncidentType.BOTH))

    blocks = compose_call(facts, Language.MALAY, WORDING).scripts[0].blocks

    assert "Jabatan Contoh Malaysia" in compose_call(facts, Language.MALAY, WORDING).scripts[0].headline
    assert sum("berfungsi semula" in block for block in blocks) == 2
    assert sum("tamatkan tatacara" in block for block in blocks) == 1
    assert ["berfungsi semula" in block for block in blocks[:3]] == [True, True, False]
    assert any("kosong, tujuh; J, C, M, sempang, kosong, lapan" in block for block in blocks)


def test_bundle_counts_agency_with_two_incidents_once() -> None:
    assert "2 agensi" in compose_sms([*agencies(2), *agencies(2)], Language.MALAY, WORDING).text


def test_bundle_of_monitoring_faults_lists_incident_numbers() -> None:
    faults = agencies(2, (Plan.ESCALATION, Purpose.OUTAGE, IncidentType.MONITORING_FAULT))

    assert "2 insiden pemantauan" in (text := compose_sms(faults, Language.MALAY, WORDING).text)
    assert "NNN00-99, NNN01-99" in text


def test_bundle_of_alerts_lists_incident_numbers_not_mail_outages() -> None:
    alerts = agencies(2, (Plan.ESCALATION, Purpose.OUTAGE, IncidentType.ALERT))
    over = outages_of_one(2, (Plan.ESCALATION, Purpose.RECOVERY, IncidentType.ALERT))

    assert "2 AMARAN pemantauan NOC" in (text := compose_sms(alerts, Language.MALAY, WORDING).text)
    assert "NNN00-99, NNN01-99" in text
    assert "2 amaran pemantauan NOC telah tamat: JCM-07, JCM-08." in compose_sms(over, Language.MALAY, WORDING).text
    assert "Ini bukan gangguan e-mel agensi." in compose_call(alerts, Language.MALAY, WORDING).scripts[0].blocks[0]


def test_bundle_call_offers_release_only_to_permitted_person() -> None:
    waiting = agencies(12, (Plan.ESCALATION, Purpose.RELEASE, IncidentType.BOTH))
    may, may_not = (compose_call(waiting, Language.MALAY, WORDING, may_release=may).scripts[0] for may in (True, False))

    assert (may.may_release, "Tekan lima" in may.menu) == (True, True)
    assert (may_not.may_release, "Tekan lima" in may_not.menu) == (False, False)
    assert any("menunggu kebenaran" in block for block in may.blocks)
    assert ["PIN Pantau" in script.blocks[-1] for script in (may, may_not)] == [True, False]


def test_release_question_names_at_most_twenty_agencies_and_counts_recipients() -> None:
    plan = AnnouncementPlan(recipients=(MINISTRY,))
    waiting = [(each, plan) for each in agencies(22)]
    assert "Jabatan Contoh 0; Jabatan Contoh 1;" in (few := question_texts(waiting[:3], WORDING)["ms-MY"])
    assert "tiga agensi akan dihantar kepada tiga penerima, iaitu melalui tiga faks dan tiga surat" in few
    assert "lagi" not in few
    assert "Jabatan Contoh 19; dan dua lagi." in question_texts(waiting, WORDING)["ms-MY"]
    assert "and two more" in question_texts(waiting, WORDING)["en-GB"]


def test_bundle_call_states_count_and_names_at_most_six() -> None:
    malay, english = compose_call(agencies(12), Language.MALAY, WORDING).scripts

    assert any("dua belas agensi gagal" in block for block in malay.blocks)
    assert any("Jabatan Contoh 5; dan enam lagi. Senarai penuh ada di portal." in block for block in malay.blocks)
    assert any("twelve agencies" in block for block in english.blocks)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("purpose", [Purpose.OUTAGE, Purpose.RECOVERY])
@pytest.mark.parametrize("incident_type", [IncidentType.UNREACHED, IncidentType.UNRELEASED])
def test_bundle_of_undelivered_notices_lists_their_incident_numbers(
    incident_type: IncidentType, purpose: Purpose, language: Language
) -> None:
    """The texts count and name the notices, not monitoring incidents."""
    waiting = [
        replace(
            OUTAGE,
            plan=Plan.ESCALATION,
            purpose=purpose,
            type=incident_type,
            number=f"NOC-{n:02d}",
            office=replace(JCM, short="PANTAU"),
            subject=f"A{n:02d}-07 (Siti binti Contoh)",
        )
        for n in range(39)
    ]
    text = compose_sms(waiting, language, WORDING).text
    assert re.search(r"39 (?:notis|notices)", text)
    assert "A00-07, A01-07" in text
    assert not re.search(r"NOC-|Siti|pemantauan|monitoring", text)
    call = compose_call(waiting, language, WORDING).scripts[0]
    spoken_text = " ".join((call.headline, *call.blocks))
    assert not re.search(r"pemantauan|monitoring", spoken_text)
    assert spoken.letters("A00-07", language) in spoken_text


@pytest.mark.parametrize("language", Language)
def test_bundle_of_release_results_names_agencies_not_reached(language: Language) -> None:
    facts = [
        replace(OUTAGE, plan=Plan.ESCALATION, purpose=Purpose.RESULT, arrived=2, office=replace(JCM, short=f"A{n:02d}"))
        for n in range(40)
    ]
    lost = replace(facts[7], arrived=1, undelivered=("Kementerian Contoh (no. 0201)",))
    assert "80" in compose_sms(facts, language, WORDING).text
    text = compose_sms([*facts[:7], lost, *facts[8:]], language, WORDING).text
    assert "79" in text
    assert text.endswith(": A07.")
