"""The document that a hub gives a site: the keys that probing needs, without telephone numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.files.document import parse_document
from monitor.config.model.registry import Agency
from monitor.config.model.site_document import SITE_KEYS, site_document
from monitor.model.document import WrittenDocument
from tests.unit.monitor.config.ministry import AGENCY

SAMPLES = sorted((Path(__file__).parents[5] / "deploy/agencies").glob("*.yaml"))
#: Keys about people and their notification.
NOT_PROBED = {"letterhead", "contacts", "rotas", "calendar", "escalation", "announcement"}


def text_for_site(text: str) -> str:
    return site_document(WrittenDocument(agency="JCONTOH", name="jcontoh.yaml", text=text)).text


def test_site_document_every_agency_key_is_classified() -> None:
    assert set(Agency.model_fields) == SITE_KEYS | NOT_PROBED
    assert not SITE_KEYS & NOT_PROBED


@pytest.mark.parametrize("text", [AGENCY, *(file.read_text() for file in SAMPLES)])
def test_site_document_has_probing_keys_only(text: str) -> None:
    before, after = (parse_document(each, "") for each in (text, text_for_site(text)))
    assert not after.problems
    assert after.data == {key: value for key, value in before.data.items() if key in SITE_KEYS}
    assert next(iter(after.data)) == "agency"


def test_site_document_has_no_telephone_numbers_and_comments() -> None:
    text = f"# Panggil 03-8000 8000\n{AGENCY}contacts:\n  siti: {{name: Siti, sms: '+1 202-555-0101'}}  # malam\n"
    given_text = text_for_site(text)
    for word in ("8000", "555-0101", "7946", "Siti", "#"):
        assert word not in given_text


def test_site_document_keeps_quoted_and_null_values() -> None:
    odd = AGENCY.replace("name: Jabatan Contoh Malaysia", "name: 'null'") + "probing: {interval: 5m}\ntime_zone: ~\n"
    before, after = (parse_document(each, "").data for each in (odd, text_for_site(odd)))
    assert after["name"] == before["name"] == "null"
    assert after["time_zone"] is None
    assert after["mailboxes"] == before["mailboxes"]
