"""The documents contain what the machine story follows. The story itself takes too long for each run."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from tests.machine import __main__ as story
from tests.machine.documents import ROOT, commands
from tests.machine.edit import EDITS, SETTINGS, STORE_ON_SERVER, Edit

FOLLOWED = (
    (story.INSTALLING, "1. The program", "python3 -m venv /opt/pantau"),
    (story.INSTALLING, "2. Configuration and secrets", "pantau check --config"),
    (story.INSTALLING, "3. The service", "systemctl enable --now pantau"),
    ("docs/how-to/operator/backup.md", "Back up", "pantau backup"),
    ("docs/how-to/operator/backup.md", "Test a backup", "pantau audit verify --store"),
    ("docs/how-to/operator/backup.md", "Restore a backup", "pantau restore"),
    (story.INSTALLING, "Several machines: PostgreSQL", "createdb --owner pantau"),
    ("docs/how-to/operator/postgresql.md", "Estimate the time", "pantau store copy --from"),
    ("docs/how-to/operator/postgresql.md", "Move", "pantau store copy"),
    ("docs/how-to/operator/maintenance.md", "The end", "systemctl disable --now pantau"),
)


@pytest.mark.parametrize(("document", "heading", "command"), FOLLOWED)
def test_machine_story_sections_contain_valid_shell_commands(document: str, heading: str, command: str) -> None:
    blocks = commands(document, heading)
    assert any(command in block for block in blocks)
    for block in blocks:
        subprocess.run(["bash", "-n", "-c", block], check=True, timeout=10)


def test_machine_story_missing_section_is_reported() -> None:
    with pytest.raises(LookupError, match=r"has no section '9\. Nothing'"):
        commands(story.INSTALLING, "9. Nothing")
    with pytest.raises(LookupError, match="has no commands"):
        commands("docs/how-to/clerk/letters.md", "What the letter bears")


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.pattern)
def test_edit_of_shipped_configuration_replaces_exactly_one_line(edit: Edit) -> None:
    before = (ROOT / "deploy" / edit.file).read_text(encoding="utf-8")
    after = edit.apply(before)
    assert [new for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new] == [edit.line]


@pytest.mark.parametrize("text", ["", "# store:\n# store:\n"])
def test_edit_without_one_matching_line_is_refused(text: str) -> None:
    with pytest.raises(LookupError, match=r"pantau\.yaml: [02] lines match"):
        STORE_ON_SERVER[0].apply(text)


def test_edits_for_postgresql_change_the_store_alone() -> None:
    text = before = (ROOT / "deploy" / SETTINGS).read_text(encoding="utf-8")
    for edit in STORE_ON_SERVER:
        text = edit.apply(text)
    assert yaml.safe_load(text) == yaml.safe_load(before) | {
        "store": {"url": "postgresql://pantau@localhost/pantau", "password_file": "secrets/pangkalan"}
    }
