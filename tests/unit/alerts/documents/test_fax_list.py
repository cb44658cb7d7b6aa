"""The fax that tells of several incidents at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from alerts.documents.render import fax_list
from alerts.model.notification import Facts, IncidentType, IssuingOffice, Plan, Purpose
from tests.unit.alerts.documents.pages import FACTS, MINISTRY, OFFICE, reader, text
from tests.unit.alerts.wording.situations import WORDING


def several(count: int, **changes: object) -> Sequence[Facts]:
    told = replace(FACTS, plan=Plan.ANNOUNCEMENT, **changes)  # type: ignore[arg-type]  # whatever a test says
    if told.purpose is Purpose.RECOVERY:
        told = replace(told, ended_at=told.notified_at)
    return [
        replace(told, office=replace(OFFICE, name=f"Jabatan Contoh {n}"), number=f"J{n:02}-01") for n in range(count)
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


def test_it_says_whose_it_is_how_to_ring_them_and_who_signs_for_it() -> None:
    page = fax_list(several(2), MINISTRY, WORDING, CENTRE)
    said = text(page)

    assert said.startswith("Pusat Operasi Contoh Aras 2, Blok Contoh 62000 PUTRAJAYA Telefon")
    assert "DARIPADA / FROM : Pusat Operasi Contoh NO. TELEFON / TEL. NO. : 03-0000 9000" in said
    assert said.index("(DEVI CONTOH) Ketua Pusat Operasi") > said.index("J01-01")
    assert page.sender == "Pusat Operasi Contoh 03-0000 9001"


def test_of_a_centre_that_has_only_a_name_no_label_is_left_behind() -> None:
    said = text(fax_list(several(2), MINISTRY, WORDING, IssuingOffice(short="PUSAT", name="Pusat Operasi", domain="")))
    assert said.startswith("Pusat Operasi FAKSIMILE")
    assert "TEL. NO." not in said
    assert "()" not in said


@pytest.mark.parametrize("purpose", [Purpose.OUTAGE, Purpose.RECOVERY])
def test_it_has_a_row_for_each_agency_and_speaks_for_none_of_them(purpose: Purpose) -> None:
    page = fax_list(several(40, purpose=purpose), MINISTRY, WORDING, CENTRE)
    said = text(page)

    assert len(reader(page).pages) == page.pages > 1
    assert all(f"Jabatan Contoh {n} " in said and f"J{n:02}-01" in said for n in range(40))
    assert "SENARAI" in page.title
    assert "(40 AGENSI)" in page.title
    assert "bagi pihak agensi dalam senarai" in said
    assert f"NO. OF PAGES (INCLUDING THIS PAGE): {page.pages}" in said
    assert "Telefon 03-0000 3000 Faks 03-0000 3001" in said
    assert all(f"{n} / {page.pages}" in sheet.extract_text() for n, sheet in enumerate(reader(page).pages, start=1))


def test_an_outage_tells_what_fails_since_when() -> None:
    said = text(fax_list(several(2, type=IncidentType.SENDING), MINISTRY, WORDING, CENTRE))

    assert "Keadaan / State Sejak / Since" in said
    assert "Tidak dapat menghantar Cannot send 24/11, 2.15 ptg" in said


def test_a_recovery_does_not_say_that_anything_still_fails() -> None:
    said = text(fax_list(several(2, type=IncidentType.SENDING, purpose=Purpose.RECOVERY), MINISTRY, WORDING, CENTRE))

    assert "Gangguan yang berakhir / What had failed" in said
    assert "Pulih pada / Restored at" in said
    assert "24/11, 2.45 ptg" in said
    assert "24/11, 2.15 ptg" not in said
    assert "Keadaan" not in said


@pytest.mark.parametrize("purpose", [Purpose.OUTAGE, Purpose.RECOVERY])
def test_staff_are_told_of_incidents_and_not_that_official_mail_is_down(purpose: Purpose) -> None:
    ours = several(2, type=IncidentType.MONITORING_FAULT, purpose=purpose, subject="peti mel A", subject_en="mailbox A")
    page = fax_list([replace(each, plan=Plan.ESCALATION) for each in ours], MINISTRY, WORDING, CENTRE)
    said = text(page)

    assert page.title.startswith("SENARAI INSIDEN")
    assert page.title.endswith("(2)")
    assert "Sistem pemantauan gagal: peti mel A Monitoring failing: mailbox A" in said
    for told_outside in ("Perkhidmatan e-mel rasmi agensi", "on behalf of the agencies", "official business"):
        assert told_outside not in said


def test_an_agency_with_two_incidents_is_counted_once_and_has_two_rows() -> None:
    (one,) = several(1)
    page = fax_list([one, replace(one, number="J00-02")], MINISTRY, WORDING, CENTRE)

    assert "(1 AGENSI)" in page.title
    assert "J00-01" in text(page)
    assert "J00-02" in text(page)
