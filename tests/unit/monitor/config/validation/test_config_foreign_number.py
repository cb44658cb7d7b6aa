"""Foreign telephone numbers in an agency's document: only an administrator may add one, as calls can be costly."""

from __future__ import annotations

import pytest

from monitor.config.files.document import document_from_text
from monitor.config.validation.restricted_fields import check_foreign_numbers

BEFORE = """\
agency: JCM
letterhead: {telephone: 03-0000 0100, fax: +65 6000 0000}
contacts:
  siti: {name: Siti, sms: 010-000 0101, voice: "+60 3-0000 0100"}
  ali: {name: Ali, addresses: [{mobile: 010-000 0102}, {landline: +65 6123 4567}]}
announcement:
  recipients:
    kementerian: {title: KSU, fax: +60300000201, address: [Menara 881, 62000 PUTRAJAYA]}
"""


def foreign_number_problems(was: str, becomes: str) -> list[str]:
    assert was in BEFORE
    after = document_from_text(BEFORE.replace(was, becomes), "JCM in the store")
    return [str(problem) for problem in check_foreign_numbers(document_from_text(BEFORE, "").data, after)]


@pytest.mark.parametrize(
    ("was", "becomes", "where"),
    [
        ("sms: 010-000 0101", "sms: +88213000000", "4: contacts.siti.sms"),
        ('"+60 3-0000 0100"', '"00 252 61 234567"', "4: contacts.siti.voice"),
        ("{mobile: 010-000 0102}", "{mobile: +371 21 234 567}", "5: contacts.ali.addresses[0].mobile"),
        ("+60300000201", "+870 773 111 111", "8: announcement.recipients.kementerian.fax"),
        ("{title: KSU,", "{title: KSU, voice: tel:+881612345678,", "8: announcement.recipients.kementerian.voice"),
    ],
)
def test_foreign_numbers_new_one_is_refused_at_line(was: str, becomes: str, where: str) -> None:
    (found,) = foreign_number_problems(was, becomes)
    assert found.startswith(f"JCM in the store:{where}: is a foreign number, which only an administrator may add")


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("010-000 0101", "+60 10-000 0103"),
        ("010-000 0101", "+65 6123 4567"),
        ("010-000 0101", "bukan nombor"),
        ("+65 6000 0000", "+44 20 7946 0000"),
        ("  ali:", "  lim:"),
        ("Menara 881", "+881612345678"),
    ],
)
def test_foreign_numbers_domestic_existing_or_printed_ones_are_allowed(was: str, becomes: str) -> None:
    assert foreign_number_problems(was, becomes) == []
