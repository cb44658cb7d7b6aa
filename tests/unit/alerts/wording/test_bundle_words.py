"""What one SMS, one call and one list say of many incidents."""

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
from alerts.wording.release import confirm
from tests.unit.alerts.people import MINISTRY
from tests.unit.alerts.wording.situations import JCM, OUTAGE, WORDING

KINDS = [
    *((Plan.ESCALATION, purpose, matter) for purpose in (Purpose.OUTAGE, Purpose.RECOVERY) for matter in IncidentType),
    (Plan.ESCALATION, Purpose.RELEASE, IncidentType.BOTH),
    *((Plan.ANNOUNCEMENT, purpose, IncidentType.BOTH) for purpose in (Purpose.OUTAGE, Purpose.RECOVERY)),
]


def agencies(count: int, kind: tuple[Plan, Purpose, IncidentType] = KINDS[0], short: str = "J{}") -> Sequence[Facts]:
    plan, purpose, matter = kind
    office = {n: replace(JCM, short=short.format(n)[:11], name=f"Jabatan Contoh {n}") for n in range(count)}
    told = replace(OUTAGE, plan=plan, purpose=purpose, type=matter)
    return [replace(told, office=office[n], number=f"NNN{n:02}-99"[-8:]) for n in range(count)]


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.parametrize("count", [2, 12, 1000])
def test_every_bundle_is_one_sms_that_arrives(
    count: int, kind: tuple[Plan, Purpose, IncidentType], language: Language
) -> None:
    facts = agencies(count, kind, "SEKTORAWAM{}")
    late = replace(facts[0], began_at=OUTAGE.began_at.replace(month=12, day=22, hour=4, minute=58))

    for response in ("", "99A") if kind[:2] == (Plan.ESCALATION, Purpose.OUTAGE) else ("",):
        text = compose_sms([late, *facts[1:]], language, WORDING, response=response).text
        assert errors(lint(text, "SEKTORAWAM")) == ()
        assert response in text
        assert septets(text) <= (SAFE_LENGTH + 7 if response else SAFE_LENGTH)


def test_an_sms_names_those_that_fit_and_counts_the_rest() -> None:
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
    "matter",
    [IncidentType.BOTH, IncidentType.DEGRADED, IncidentType.SIGN_IN, IncidentType.MONITORING_FAULT, IncidentType.ALERT],
)
@pytest.mark.parametrize("language", Language)
def test_what_was_over_before_it_was_told_is_one_sms_that_tells_both_times(
    matter: IncidentType, language: Language
) -> None:
    kind = Plan.ESCALATION, Purpose.RECOVERY, matter
    began = OUTAGE.began_at.replace(month=12, day=22, hour=4, minute=58)
    facts = [
        replace(f, first_notified_at=None, began_at=began, ended_at=began) for f in agencies(40, kind, "SEKTORAWAM{}")
    ]

    text = compose_sms(facts, language, WORDING).text

    assert errors(lint(text, "SEKTORAWAM")) == ()
    assert septets(text) <= SAFE_LENGTH
    assert text.count("22/12") == 2


def outages_of_one(count: int, kind: tuple[Plan, Purpose, IncidentType], *, belated: bool = False) -> Sequence[Facts]:
    """Return outages of one agency, each of ten minutes, one after the other."""
    plan, purpose, matter = kind
    each = replace(OUTAGE, plan=plan, purpose=purpose, type=matter)
    each = replace(each, first_notified_at=None) if belated else each
    begins = [OUTAGE.began_at + n * timedelta(minutes=15) for n in range(count)]
    return [
        replace(each, number=f"JCM-{n:02}", began_at=at, ended_at=at + timedelta(minutes=10))
        for n, at in enumerate(begins, 7)
    ]


def test_several_outages_of_one_agency_are_told_with_every_number_and_time() -> None:
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
@pytest.mark.parametrize("matter", [IncidentType.BOTH, IncidentType.DEGRADED, IncidentType.SIGN_IN])
def test_they_are_one_sms_that_arrives_however_many(
    matter: IncidentType, plan: Plan, language: Language, *, belated: bool
) -> None:
    if plan is Plan.ANNOUNCEMENT and (belated or matter in {IncidentType.DEGRADED, IncidentType.SIGN_IN}):
        return
    late = OUTAGE.began_at.replace(month=12, day=22, hour=4, minute=58)
    facts = [
        replace(f, office=replace(JCM, short="SEKTORAWAM1"), number="NNNNN-99", began_at=late, ended_at=late)
        for f in outages_of_one(40, (plan, Purpose.RECOVERY, matter), belated=belated)
    ]

    text = compose_sms(facts, language, WORDING).text

    assert errors(lint(text, "SEKTORAWAM1")) == ()
    assert septets(text) <= SAFE_LENGTH
    assert "22/12" in text
    assert ("lagi" if language is Language.MALAY else "more") in text


def test_a_call_about_several_outages_of_one_agency_tells_each_and_says_what_to_do_once() -> None:
    told = outages_of_one(2, (Plan.ESCALATION, Purpose.RECOVERY, IncidentType.BOTH))

    blocks = compose_call(told, Language.MALAY, WORDING).scripts[0].blocks

    assert "Jabatan Contoh Malaysia" in compose_call(told, Language.MALAY, WORDING).scripts[0].headline
    assert sum("berfungsi semula" in block for block in blocks) == 2
    assert sum("tamatkan tatacara" in block for block in blocks) == 1
    assert ["berfungsi semula" in block for block in blocks[:3]] == [True, True, False]
    assert any("kosong, tujuh; J, C, M, sempang, kosong, lapan" in block for block in blocks)


def test_an_agency_with_two_incidents_is_named_once() -> None:
    assert "2 agensi" in compose_sms([*agencies(2), *agencies(2)], Language.MALAY, WORDING).text


def test_what_is_our_own_is_called_by_its_number() -> None:
    ours = agencies(2, (Plan.ESCALATION, Purpose.OUTAGE, IncidentType.MONITORING_FAULT))

    assert "2 insiden pemantauan" in (text := compose_sms(ours, Language.MALAY, WORDING).text)
    assert "NNN00-99, NNN01-99" in text


def test_several_alerts_of_the_noc_are_called_by_their_numbers_and_are_no_outages_of_mail() -> None:
    alerts = agencies(2, (Plan.ESCALATION, Purpose.OUTAGE, IncidentType.ALERT))
    over = outages_of_one(2, (Plan.ESCALATION, Purpose.RECOVERY, IncidentType.ALERT))

    assert "2 AMARAN pemantauan NOC" in (text := compose_sms(alerts, Language.MALAY, WORDING).text)
    assert "NNN00-99, NNN01-99" in text
    assert "2 amaran pemantauan NOC telah tamat: JCM-07, JCM-08." in compose_sms(over, Language.MALAY, WORDING).text
    assert "Ini bukan gangguan e-mel agensi." in compose_call(alerts, Language.MALAY, WORDING).scripts[0].blocks[0]


def test_a_call_about_several_that_wait_for_their_release_offers_it_to_whoever_may() -> None:
    waiting = agencies(12, (Plan.ESCALATION, Purpose.RELEASE, IncidentType.BOTH))
    may, may_not = (compose_call(waiting, Language.MALAY, WORDING, may_release=may).scripts[0] for may in (True, False))

    assert (may.may_release, "Tekan lima" in may.menu) == (True, True)
    assert (may_not.may_release, "Tekan lima" in may_not.menu) == (False, False)
    assert any("menunggu kebenaran" in block for block in may.blocks)
    assert ["PIN Pantau" in script.blocks[-1] for script in (may, may_not)] == [True, False]


def test_all_that_would_be_released_are_read_out_and_counted_and_no_more_than_anybody_listens_to() -> None:
    plan = AnnouncementPlan(recipients=(MINISTRY,))
    told = [(each, plan) for each in agencies(22)]
    assert "Jabatan Contoh 0; Jabatan Contoh 1;" in (few := confirm(told[:3], WORDING)["ms-MY"])
    assert "tiga agensi akan dihantar kepada tiga penerima, iaitu melalui tiga faks dan tiga surat" in few
    assert "lagi" not in few
    assert "Jabatan Contoh 19; dan dua lagi." in confirm(told, WORDING)["ms-MY"]
    assert "and two more" in confirm(told, WORDING)["en-GB"]


def test_a_call_says_how_many_and_names_six_at_most_in_both_languages() -> None:
    malay, english = compose_call(agencies(12), Language.MALAY, WORDING).scripts

    assert any("dua belas agensi gagal" in block for block in malay.blocks)
    assert any("Jabatan Contoh 5; dan enam lagi. Senarai penuh ada di portal." in block for block in malay.blocks)
    assert any("twelve agencies" in block for block in english.blocks)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("purpose", [Purpose.OUTAGE, Purpose.RECOVERY])
@pytest.mark.parametrize("matter", [IncidentType.UNREACHED, IncidentType.UNRELEASED])
def test_compose_sms_notices_in_trouble_are_named_by_their_own_numbers(
    matter: IncidentType, purpose: Purpose, language: Language
) -> None:
    """The centre was told of "38 monitoring incidents, recovered" when 39 announcements waited, and of no agency."""
    waiting = [
        replace(
            OUTAGE,
            plan=Plan.ESCALATION,
            purpose=purpose,
            type=matter,
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
    said = " ".join((call.headline, *call.blocks))
    assert not re.search(r"pemantauan|monitoring", said)
    assert spoken.letters("A00-07", language) in said


@pytest.mark.parametrize("language", Language)
def test_compose_sms_results_of_releases_name_the_agencies_that_were_not_reached(language: Language) -> None:
    told = [
        replace(OUTAGE, plan=Plan.ESCALATION, purpose=Purpose.RESULT, arrived=2, office=replace(JCM, short=f"A{n:02d}"))
        for n in range(40)
    ]
    lost = replace(told[7], arrived=1, undelivered=("Kementerian Contoh (no. 0201)",))
    assert "80" in compose_sms(told, language, WORDING).text
    text = compose_sms([*told[:7], lost, *told[8:]], language, WORDING).text
    assert "79" in text
    assert text.endswith(": A07.")
