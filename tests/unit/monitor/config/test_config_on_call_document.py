"""The examples in docs/how-to/agency-officer/on-call.md: a valid configuration with a person on call."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import yaml

from alerts.hours.calendar import State
from alerts.model.oncall import gaps, on_call
from monitor.config.loading import load
from tests.document_examples import ROOT, write_secrets, written

DOCUMENT = (ROOT / "docs/how-to/agency-officer/on-call.md").read_text(encoding="utf-8")
ROTAS, STEPS, CONTACTS, CALENDAR, GAZETTE = (
    yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
)
NOW = datetime(2026, 11, 26, 4, 0, tzinfo=UTC)


def test_on_call_document_examples_form_valid_configuration(tmp_path: Path) -> None:
    names = ("mei", "ravi", "ketua-unit")
    others = {"contacts": {name: {"name": f"{name} Contoh", "voice": "03-0000 0110"} for name in names}}
    (tmp_path / "hari-gazet.yaml").write_text(yaml.safe_dump(GAZETTE))
    path = written(tmp_path, [others], CALENDAR)
    # Sections that the document shows completely replace those of the example configuration.
    agency = tmp_path / "agencies/jabatan-contoh.yaml"
    text = yaml.safe_load(agency.read_text())
    text["contacts"] |= CONTACTS["contacts"]
    agency.write_text(yaml.safe_dump(text | ROTAS | STEPS, sort_keys=False))
    write_secrets(tmp_path, {})

    loaded = load(path, {}, now=NOW)
    assert loaded.errors == ()
    configuration = loaded.require_configuration()
    policy = configuration.registry.agencies["JCONTOH"].build_policy(configuration.settings.build_shared()).escalation
    (rota,) = policy.rotas
    assert on_call(rota, (), NOW) is not None
    assert gaps(rota, (), NOW) == ()
    assert [d.isoformat() for d in rota.calendar.workdays] == ["2026-12-11"]
    assert rota.calendar.holidays == (), "Putrajaya keeps no holiday of Selangor"
    assert len(policy.steps) == 3


def test_on_call_document_lists_each_state() -> None:
    section = DOCUMENT.partition("## Weekends")[2]
    assert [state for state in State if f"`{state}`" not in section] == []
