"""What of an agency's document goes to a site: what probing needs, and nobody's number."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.files.document import parse_document
from monitor.config.model.registry import Agency
from monitor.config.model.site_document import PROBED, site_document
from monitor.model.document import WrittenDocument
from tests.unit.monitor.config.ministry import AGENCY

SAMPLES = sorted((Path(__file__).parents[5] / "deploy/agencies").glob("*.yaml"))
#: Whom people are, and what they are told by.
TOLD = {"letterhead", "contacts", "rotas", "calendar", "escalation", "announcement"}


def given(text: str) -> str:
    return site_document(WrittenDocument(agency="JCONTOH", name="jcontoh.yaml", text=text)).text


def test_of_each_key_it_is_decided_whether_a_site_is_given_it() -> None:
    assert set(Agency.model_fields) == PROBED | TOLD
    assert not PROBED & TOLD


@pytest.mark.parametrize("text", [AGENCY, *(file.read_text() for file in SAMPLES)])
def test_what_a_site_is_given_says_what_the_document_says_of_probing_and_no_more(text: str) -> None:
    before, after = (parse_document(each, "") for each in (text, given(text)))
    assert not after.problems
    assert after.data == {key: value for key, value in before.data.items() if key in PROBED}
    assert next(iter(after.data)) == "agency"


def test_nobodys_number_and_no_remark_goes_down() -> None:
    text = f"# Panggil 03-8000 8000\n{AGENCY}contacts:\n  siti: {{name: Siti, sms: '+1 202-555-0101'}}  # malam\n"
    given_text = given(text)
    for told in ("8000", "555-0101", "7946", "Siti", "#"):
        assert told not in given_text


def test_what_looks_like_a_number_or_nothing_stays_what_it_was() -> None:
    odd = AGENCY.replace("name: Jabatan Contoh Malaysia", "name: 'null'") + "probing: {interval: 5m}\ntime_zone: ~\n"
    before, after = (parse_document(each, "").data for each in (odd, given(odd)))
    assert after["name"] == before["name"] == "null"
    assert after["time_zone"] is None
    assert after["mailboxes"] == before["mailboxes"]
