"""Fax about several incidents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from alerts.documents.render import fax_list
from alerts.model.notification import Facts, IncidentType, IssuingOffice, Plan, Purpose
from tests.unit.alerts.documents.pages import FACTS, MINISTRY, OFFICE, reader, text
from tests.unit.alerts.wording.situations import WORDING


def several(count: int, **changes: object) -> Sequence[Facts]:
    facts = replace(FACTS, plan=Plan.ANNOUNCEMENT, **changes)  # type: ignore[arg-type]  # whatever a test says
    if facts.purpose is Purpose.RECOVERY:
        facts = replace(facts, ended_at=facts.notified_at)
    return [
        replace(facts, office=replace(OFFICE, name=f"Jabatan Contoh {n}"), number=f"J{n:02}-01") for n in range(count)
    ]


CENTRE = IssuingOffice(
    short="PUSAT",
    name="Pusat Operasi Contoh",
    domain="",
    address=("Aras 2, Blok Contoh", "62000 PUTRAJAYA"),
    telephone="03-0000 9000",
    fax="03-0000 9001",
    signatory_name="Devi Contoh",
    signatory_post="Ketua Pusat Operasi",
)


def test_fax_list_states_issuing_office_telephone_and_signatory() -> None:
    page = fax_list(several(2), MINISTRY, WORDING, CENTRE)
    printed = text(page)

    assert printed.startswith("Pusat Operasi Contoh Aras 2, Blok Contoh 62000 PUTRAJAYA Telefon")
    assert "DARIPADA / FROM : Pusat Operasi Contoh NO. TELEFON / TEL. NO. : 03-0000 9000" in printed
    assert printed.index("(DEVI CONTOH) Ketua Pusat Operasi") > printed.index("J01-01")
    assert page.sender == "Pusat Operasi Contoh 03-0000 9001"


def test_fax_list_of_office_with_name_only_omits_labels() -> None:
    printed = text(
        fax_list(several(2), MINISTRY, WORDING, IssuingOffice(short="PUSAT", name="Pusat Operasi", domain=""))
    )
    assert printed.startswith("Pusat Operasi FAKSIMILE")
    assert "TEL. NO." not in printed
    assert "()" not in printed


@pytest.mark.parametrize("purpose", [Purpose.OUTAGE, Purpose.RECOVERY])
def test_fax_list_has_row_per_agency_and_is_issued_on_their_behalf(purpose: Purpose) -> None:
    page = fax_list(several(40, purpose=purpose), MINISTRY, WORDING, CENTRE)
    printed = text(page)

    assert len(reader(page).pages) == page.pages > 1
    assert all(f"Jabatan Contoh {n} " in printed and f"J{n:02}-01" in printed for n in range(40))
    assert "SENARAI" in page.title
    assert "(40 AGENSI)" in page.title
    assert "bagi pihak agensi dalam senarai" in printed
    assert f"NO. OF PAGES (INCLUDING THIS PAGE): {page.pages}" in printed
    assert "Telefon 03-0000 3000 Faks 03-0000 3001" in printed
    assert all(f"{n} / {page.pages}" in sheet.extract_text() for n, sheet in enumerate(reader(page).pages, start=1))


def test_fax_list_of_outages_states_type_and_start() -> None:
    printed = text(fax_list(several(2, type=IncidentType.SENDING), MINISTRY, WORDING, CENTRE))

    assert "Keadaan / State Sejak / Since" in printed
    assert "Tidak dapat menghantar Cannot send 24/11, 2.15 ptg" in printed


def test_fax_list_of_recoveries_states_end_and_no_current_failure() -> None:
    printed = text(fax_list(several(2, type=IncidentType.SENDING, purpose=Purpose.RECOVERY), MINISTRY, WORDING, CENTRE))

    assert "Gangguan yang berakhir / What had failed" in printed
    assert "Pulih pada / Restored at" in printed
    assert "24/11, 2.45 ptg" in printed
    assert "24/11, 2.15 ptg" not in printed
    assert "Keadaan" not in printed


@pytest.mark.parametrize("purpose", [Purpose.OUTAGE, Purpose.RECOVERY])
def test_fax_list_to_staff_lists_incidents_without_external_wording(purpose: Purpose) -> None:
    ours = several(2, type=IncidentType.MONITORING_FAULT, purpose=purpose, subject="peti mel A", subject_en="mailbox A")
    page = fax_list([replace(each, plan=Plan.ESCALATION) for each in ours], MINISTRY, WORDING, CENTRE)
    printed = text(page)

    assert page.title.startswith("SENARAI INSIDEN")
    assert page.title.endswith("(2)")
    assert "Sistem pemantauan gagal: peti mel A Monitoring failing: mailbox A" in printed
    for told_outside in ("Perkhidmatan e-mel rasmi agensi", "on behalf of the agencies", "official business"):
        assert told_outside not in printed


def test_fax_list_counts_agency_with_two_incidents_once() -> None:
    (one,) = several(1)
    page = fax_list([one, replace(one, number="J00-02")], MINISTRY, WORDING, CENTRE)

    assert "(1 AGENSI)" in page.title
    assert "J00-01" in text(page)
    assert "J00-02" in text(page)
