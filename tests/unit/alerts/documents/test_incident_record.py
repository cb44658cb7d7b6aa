"""Data of a printed incident record."""

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

NOTIFICATIONS, EVIDENCE = 0, 2


def measurement(number: int) -> Measurement:
    return Measurement(
        at=T0 + number * MINUTE,
        subject="JCM/internal",
        subject_ms="dalaman",
        outcome="lost",
        outcome_ms="hilang",
        reason=f"no. {number}",
        reason_ms=f"no. {number}",
        transit_seconds=None,
        is_delivered=False,
        reference=f"{number}",
    )


def printed(
    of: Incident,
    notifications: Sequence[Notification] = (),
    evidence: Sequence[Measurement] = (),
    sites: Sequence[SiteFindings] = (),
) -> Mapping[str, Any]:
    made = IncidentRecord(
        incident=of,
        notifications=notifications,
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
    number: int, notifications: Sequence[Notification] = (), evidence: Sequence[Measurement] = ()
) -> Mapping[str, Any]:
    found: Mapping[str, Any] = printed(incident(), notifications, evidence)["sections"][number]
    return found


def notice(*states: AttemptState) -> Notification:
    tries = tuple(
        replace(attempt(state, n), detail="the handset is switched off", code="30003")
        for n, state in enumerate(states, start=1)
    )
    delivery = Delivery(id=1, address=SMS_SITI, attempts=tries)
    return replace(written(draft(incident())), deliveries=(delivery,), state=NotificationState.WITHDRAWN)


def test_record_prints_first_and_last_measurements_and_counts_omitted() -> None:
    shown = section(EVIDENCE, evidence=[measurement(n) for n in range(50)])

    assert [row[-1] for row in shown["rows"]] == [[f"no. {n}"] for n in (*range(20), *range(30, 50))]
    assert "10 baris di tengah tidak dicetak." in shown["notes"]


def test_record_prints_all_of_forty_measurements() -> None:
    shown = section(EVIDENCE, evidence=[measurement(n) for n in range(40)])

    assert len(shown["rows"]) == 40
    assert not any("tidak dicetak" in note for note in shown["notes"])


def test_record_names_person_not_contacted_with_reason() -> None:
    assert section(NOTIFICATIONS, [notice()])["notes"] == [
        "Tiada sesiapa dihubungi.",
        "Tidak dihubungi: Siti Contoh (ditarik balik).",
    ]


def test_record_states_code_of_failed_attempts_only() -> None:
    rows = section(NOTIFICATIONS, [notice(AttemptState.FAILED, AttemptState.DELIVERED)])["rows"]

    assert [row[-1] for row in rows] == [["tidak sampai (kod 30003)"], ["sampai ke telefon"]]


def test_record_merges_consecutive_equal_results_per_route() -> None:
    runs = [replace(measurement(n), reason_ms="") for n in range(6)]
    other = [replace(each, subject="JCM/outbound/a", subject_ms="keluar, a") for each in runs[:3]]
    good = [replace(measurement(n), outcome="delivered", outcome_ms="diterima", reason_ms="") for n in (6, 7)]
    rows = section(EVIDENCE, evidence=sorted([*runs, *other, *good], key=lambda each: each.at))["rows"]
    assert [[cell[0] for cell in row] for row in rows] == [
        ["24/11/2026 14:15:00", "14:20:00", "dalaman", "6", "hilang", ""],
        ["24/11/2026 14:15:00", "14:17:00", "keluar, a", "3", "hilang", ""],
        ["24/11/2026 14:21:00", "14:22:00", "dalaman", "2", "diterima", ""],
    ]


def test_record_states_declaration_reason_author_and_end() -> None:
    declaration = Declaration(type=IncidentType.BOTH, at=T0, by="Aminah Contoh", reason="mel web tidak dapat dibuka")
    over = replace(declaration, ended_at=T0 + MINUTE, ended_by="Ravi Contoh")
    rows = {
        declared: {
            row["label"]: row["value"] for row in printed(replace(incident(), declared=declared))["summary"]["rows"]
        }
        for declared in (None, declaration, over)
    }
    first = "24 November 2026 (Selasa), pukul 2.15 petang, oleh Aminah Contoh: mel web tidak dapat dibuka"
    assert (rows[declaration]["Diisytiharkan"], "Pengisytiharan tamat" in rows[declaration]) == (first, False)
    assert rows[over]["Pengisytiharan tamat"].endswith("pukul 2.16 petang, oleh Ravi Contoh")
    assert "Diisytiharkan" not in rows[None]


def test_record_row_ending_on_other_day_states_date() -> None:
    runs = [replace(measurement(n), reason_ms="") for n in (0, 600)]
    (row,) = section(EVIDENCE, evidence=runs)["rows"]
    assert row[1] == ["25/11/2026 00:15:00"]


def test_record_lists_each_site_with_status_and_latest_failures() -> None:
    johor = SiteFindings(
        site="johor",
        status="wrong",
        status_ms="E-mel rasmi tidak dapat dihantar, sejak 24/11/2026 14:15:00",
        failed=[measurement(n) for n in range(30)],
        latest_failed=[measurement(n) for n in range(25)],
        implausible_count=2,
    )
    kuching = SiteFindings(site="kuching", status="up", status_ms="berfungsi", failed=[], latest_failed=[])
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
