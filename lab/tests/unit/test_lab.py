"""`pantau lab` commands that need no mail system."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from pantau_lab.mail import Fault


def run(*words: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "100", "TERM": "dumb"}).invoke(app, ["lab", *words])
    return result.exit_code, result.output


def test_list_option_names_every_fault() -> None:
    code, said = run("--list")
    assert code == 0
    assert {line.split()[0] for line in said.splitlines() if line.strip()} >= set(Fault)


def test_directory_with_foreign_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tesis.txt").write_text("bab 1")
    assert run("--directory", str(tmp_path)) == (
        2,
        f"{tmp_path} holds files that are not the lab's; name another directory\n",
    )


@pytest.mark.parametrize(
    "words", [("lab", "--break", "tarpit", "--break", "tarpitt"), ("demo", "break", "JCM", "--how", "tarpitt")]
)
def test_unknown_fault_is_refused_with_remedy(words: tuple[str, ...]) -> None:
    result = CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(app, words)
    assert result.exit_code == 2
    assert f"'{words[-2]}': there is no fault 'tarpitt'; `pantau lab --list` tells which there are" in result.output


def test_break_option_requires_fault() -> None:
    assert run("--break")[0] == 2
