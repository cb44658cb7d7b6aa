"""What a dossier prints, and what it leaves to the data beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from alerts.documents.incident_record import IncidentRecord, Measurement, SiteFindings, incident_record_data
from alerts.model.delivery import AttemptState, Delivery, Notification, NotificationState
from alerts.model.incident import Declaration, Incident, IncidentState
from alerts.model.notification import IncidentType
from alerts.persistence.audit import ChainHead
from tests.contracts.test_store import draft
from tests.unit.alerts.people import MINUTE, SMS_SITI, T0, attempt, incident, written
from tests.unit.alerts.wording.situations import WORDING

TOLD, EVIDENCE = 0, 2


def measured(number: int) -> Measurement:
    return Measurement(
        at=T0 + number * MINUTE,
        subject="JCM/internal",
        subject_ms="dalaman",
        outcome="lost",
        outcome_ms="hilang",
        why=f"no. {number}",
        why_ms=f"no. {number}",
        transit=None,
        good=False,
        reference=f"{number}",
    )


def printed(
    of: Incident,
    notices: Sequence[Notification] = (),
    evidence: Sequence[Measurement] = (),
    sites: Sequence[SiteFindings] = (),
) -> Mapping[str, Any]:
    made = IncidentRecord(
        incident=of,
        notices=notices,
        entries=[],
        evidence=evidence,
        evidence_since=T0 - timedelta(days=365),
        delivered_since=T0 - timedelta(days=30),
        head=ChainHead(),
        made_at=T0,
        made_by="Puan Arkib Contoh",
        sites=sites,
    )
    return incident_record_data(made, {}, WORDING)


def section(
    number: int, notices: Sequence[Notification] = (), evidence: Sequence[Measurement] = ()
) -> Mapping[str, Any]:
    found: Mapping[str, Any] = printed(incident(), notices, evidence)["sections"][number]
    return found


def notice(*states: AttemptState) -> Notification:
    tries = tuple(
        replace(attempt(state, n), detail="the handset is switched off", code="30003")
        for n, state in enumerate(states, start=1)
    )
    delivery = Delivery(id=1, address=SMS_SITI, attempts=tries)
    return replace(written(draft(incident())), deliveries=(delivery,), state=NotificationState.WITHDRAWN)


def test_of_many_measurements_the_first_and_the_last_are_printed_and_the_others_counted() -> None:
    shown = section(EVIDENCE, evidence=[measured(n) for n in range(50)])

    assert [row[-1] for row in shown["rows"]] == [[f"no. {n}"] for n in (*range(20), *range(30, 50))]
    assert "10 baris di tengah tidak dicetak." in shown["notes"]


def test_forty_measurements_are_all_printed() -> None:
    shown = section(EVIDENCE, evidence=[measured(n) for n in range(40)])

    assert len(shown["rows"]) == 40
    assert not any("tidak dicetak" in note for note in shown["notes"])


def test_whom_nobody_tried_to_tell_is_named_with_the_reason() -> None:
    assert section(TOLD, [notice()])["notes"] == [
        "Tiada sesiapa dihubungi.",
        "Tidak dihubungi: Siti Contoh (ditarik balik).",
    ]


def test_only_what_came_to_nothing_has_a_reason() -> None:
    rows = section(TOLD, [notice(AttemptState.FAILED, AttemptState.DELIVERED)])["rows"]

    assert [row[-1] for row in rows] == [["tidak sampai (kod 30003)"], ["sampai ke telefon"]]


def test_what_goes_on_alike_is_one_row_of_each_route() -> None:
    runs = [replace(measured(n), why_ms="") for n in range(6)]
    other = [replace(each, subject="JCM/outbound/a", subject_ms="keluar, a") for each in runs[:3]]
    good = [replace(measured(n), outcome="delivered", outcome_ms="diterima", why_ms="") for n in (6, 7)]
    rows = section(EVIDENCE, evidence=sorted([*runs, *other, *good], key=lambda each: each.at))["rows"]
    assert [[cell[0] for cell in row] for row in rows] == [
        ["24/11/2026 14:15:00", "14:20:00", "dalaman", "6", "hilang", ""],
        ["24/11/2026 14:15:00", "14:17:00", "keluar, a", "3", "hilang", ""],
        ["24/11/2026 14:21:00", "14:22:00", "dalaman", "2", "diterima", ""],
    ]


def test_a_dossier_says_who_has_declared_an_outage_why_and_who_that_it_was_over() -> None:
    said = Declaration(type=IncidentType.BOTH, at=T0, by="Aminah Contoh", reason="mel web tidak dapat dibuka")
    over = replace(said, ended_at=T0 + MINUTE, ended_by="Ravi Contoh")
    rows = {
        declared: {
            row["label"]: row["value"] for row in printed(replace(incident(), declared=declared))["summary"]["rows"]
        }
        for declared in (None, said, over)
    }
    first = "24 November 2026 (Selasa), pukul 2.15 petang, oleh Aminah Contoh: mel web tidak dapat dibuka"
    assert (rows[said]["Diisytiharkan"], "Pengisytiharan tamat" in rows[said]) == (first, False)
    assert rows[over]["Pengisytiharan tamat"].endswith("pukul 2.16 petang, oleh Ravi Contoh")
    assert "Diisytiharkan" not in rows[None]


def test_what_ends_on_another_day_says_on_which() -> None:
    runs = [replace(measured(n), why_ms="") for n in (0, 600)]
    (row,) = section(EVIDENCE, evidence=runs)["rows"]
    assert row[1] == ["25/11/2026 00:15:00"]


def test_each_site_is_told_with_what_it_says_and_what_it_last_saw_fail() -> None:
    johor = SiteFindings(
        site="johor",
        says="wrong",
        says_ms="E-mel rasmi tidak dapat dihantar, sejak 24/11/2026 14:15:00",
        failed=[measured(n) for n in range(30)],
        last=[measured(n) for n in range(25)],
        unclear=2,
    )
    kuching = SiteFindings(site="kuching", says="up", says_ms="berfungsi", failed=[], last=[])
    shown = printed(incident(), sites=[johor, kuching])["sections"]
    assert [each["heading"] for each in shown][3:] == ["TAPAK", "PENGESAHAN"]
    rows = shown[3]["rows"]
    assert rows[0][0] == ["johor", "E-mel rasmi tidak dapat dihantar, sejak 24/11/2026 14:15:00"]
    assert rows[1] == [[""], ["24/11/2026 14:16:00"], ["dalaman"], ["hilang"], ["no. 1"]]
    assert rows[20] == [["kuching", "berfungsi"], [""], [""], ["tiada ujian yang gagal"], [""]]
    assert shown[3]["notes"][1:] == [
        "2 keputusan daripada tapak johor tidak dapat difahami.",
        "5 laluan lain tidak dicetak.",
    ]
    over = replace(incident(), resolved_at=T0, state=IncidentState.RESOLVED)
    assert "Insiden telah berakhir" in printed(over, sites=[kuching])["sections"][3]["notes"][1]
    assert len(printed(incident())["sections"]) == 4
