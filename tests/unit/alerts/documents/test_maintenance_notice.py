"""What an agency's recipients are told of planned maintenance, before it begins."""

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


def said(body: Body) -> str:
    return "\n".join([body.title, body.opening, *(each.text for each in body.paragraphs)])


def test_a_letter_says_when_the_work_is_what_is_done_and_by_which_channels_business_goes_on() -> None:
    body = page(PLANNED).body("letter", MALAY)
    assert "dari 1 Disember 2026 (Selasa), pukul 10.00 malam, hingga 2 Disember 2026 (Rabu), pukul 4.00 pagi." in said(
        body
    )
    assert "Kerja yang terlibat: Naik taraf pelayan mel. Dalam" in said(body)
    assert [each.label for each in body.paragraphs[1].items] == ["surat", "faks", "telefon"]
    # The warning names the paragraph in which they stand: the opening is the first.
    assert "perenggan 3" in body.paragraphs[2].text


@pytest.mark.parametrize("kind", ["letter", "fax"])
@pytest.mark.parametrize("language", [MALAY, ENGLISH])
def test_a_change_says_both_times_and_a_cancellation_only_the_one_that_was_told(kind: str, language: Language) -> None:
    first, second = ("1 Disember", "3 Disember") if language is MALAY else ("1 December", "3 December")
    changed, cancelled = said(page(CHANGED).body(kind, language)), said(page(CANCELLED).body(kind, language))
    assert first in changed
    assert second in changed
    assert first in cancelled
    assert second not in cancelled
    for each in (changed, cancelled):
        assert "JCM.100-1/9/1 Jld. 2 (JCM-P261124-1415)" in each
        assert "24 " in each


def test_what_has_no_file_and_no_office_telephone_leaves_no_holes() -> None:
    bare = page(CHANGED, reference="", address=(), telephone="", fax="", contact_name="", contact_telephone="")
    told = said(bare.body("letter", MALAY))
    assert "surat JCM bertarikh 24 November 2026" in told
    assert "melalui surat, faks atau telefon sahaja." in told
    assert "  " not in told
    assert bare.letter_data()["reference"] == {"label": "Ruj. Kami", "value": ""}


def test_the_pages_bear_their_own_reference_and_are_dated_when_they_were_made() -> None:
    letter, fax = maintenance_letter(page(PLANNED, english_attachment=True)), maintenance_fax(page(PLANNED))
    assert (letter.pages, fax.pages) == (2, 1)
    for printed in (text(letter), text(fax)):
        assert "(JCM-P261124-1415)" in printed
        assert "24 November 2026" in printed
        assert "AMINAH BINTI CONTOH" in printed
        assert "scheduled maintenance of the official e-mail service" in " ".join(printed.split())
    assert maintenance_letter(page(PLANNED, english_attachment=True)).pdf == letter.pdf
