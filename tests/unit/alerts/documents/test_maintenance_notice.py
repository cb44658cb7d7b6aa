"""Letters and faxes about planned maintenance."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alerts.documents.body import Body
from alerts.documents.maintenance_notice import MaintenanceNotice, MaintenanceNoticeKind, MaintenancePage
from alerts.documents.render import maintenance_fax, maintenance_letter
from alerts.model.notification import Language
from alerts.wording.texts import load
from tests.unit.alerts.documents.pages import MINISTRY, OFFICE, text

MALAY, ENGLISH = Language.MALAY, Language.ENGLISH
PLANNED = MaintenanceNotice(
    kind=MaintenanceNoticeKind.PLANNED,
    number="JCM-P261124-1415",
    starts_at=datetime(2026, 12, 1, 14, tzinfo=UTC),
    ends_at=datetime(2026, 12, 1, 20, tzinfo=UTC),
    reason="Naik taraf pelayan mel.",
    made_at=datetime(2026, 11, 24, 6, 15, tzinfo=UTC),
)
CHANGED = replace(
    PLANNED,
    kind=MaintenanceNoticeKind.CHANGED,
    number="JCM-P261126-0900",
    starts_at=PLANNED.starts_at + timedelta(days=2),
    ends_at=PLANNED.ends_at + timedelta(days=2),
    made_at=PLANNED.made_at + timedelta(days=2),
    before=PLANNED,
)
CANCELLED = replace(CHANGED, kind=MaintenanceNoticeKind.CANCELLED, starts_at=PLANNED.starts_at, ends_at=PLANNED.ends_at)


def page(notice: MaintenanceNotice, **office: object) -> MaintenancePage:
    return MaintenancePage(
        notice=notice,
        office=replace(OFFICE, **office),  # type: ignore[arg-type]
        addressee=MINISTRY,
        wording=load(),
    )


def body_text(body: Body) -> str:
    return "\n".join([body.title, body.opening, *(each.text for each in body.paragraphs)])


def test_maintenance_letter_states_time_work_and_channels() -> None:
    body = page(PLANNED).body("letter", MALAY)
    assert (
        "dari 1 Disember 2026 (Selasa), pukul 10.00 malam, hingga 2 Disember 2026 (Rabu), pukul 4.00 pagi."
        in body_text(body)
    )
    assert "Kerja yang terlibat: Naik taraf pelayan mel. Dalam" in body_text(body)
    assert [each.label for each in body.paragraphs[1].items] == ["surat", "faks", "telefon"]
    # The warning names the paragraph of the channels; the opening is paragraph 1.
    assert "perenggan 3" in body.paragraphs[2].text


@pytest.mark.parametrize("kind", ["letter", "fax"])
@pytest.mark.parametrize("language", [MALAY, ENGLISH])
def test_maintenance_change_states_both_times_and_cancellation_only_first(kind: str, language: Language) -> None:
    first, second = ("1 Disember", "3 Disember") if language is MALAY else ("1 December", "3 December")
    changed, cancelled = body_text(page(CHANGED).body(kind, language)), body_text(page(CANCELLED).body(kind, language))
    assert first in changed
    assert second in changed
    assert first in cancelled
    assert second not in cancelled
    for each in (changed, cancelled):
        assert "JCM.100-1/9/1 Jld. 2 (JCM-P261124-1415)" in each
        assert "24 " in each


def test_maintenance_page_without_optional_data_has_no_gaps() -> None:
    bare = page(CHANGED, reference="", address=(), telephone="", fax="", contact_name="", contact_telephone="")
    printed = body_text(bare.body("letter", MALAY))
    assert "surat JCM bertarikh 24 November 2026" in printed
    assert "melalui surat, faks atau telefon sahaja." in printed
    assert "  " not in printed
    assert bare.letter_data()["reference"] == {"label": "Ruj. Kami", "value": ""}


def test_maintenance_pages_have_own_reference_and_creation_date() -> None:
    letter, fax = maintenance_letter(page(PLANNED, english_attachment=True)), maintenance_fax(page(PLANNED))
    assert (letter.pages, fax.pages) == (2, 1)
    for printed in (text(letter), text(fax)):
        assert "(JCM-P261124-1415)" in printed
        assert "24 November 2026" in printed
        assert "AMINAH BINTI CONTOH" in printed
        assert "scheduled maintenance of the official e-mail service" in " ".join(printed.split())
    assert maintenance_letter(page(PLANNED, english_attachment=True)).pdf == letter.pdf
