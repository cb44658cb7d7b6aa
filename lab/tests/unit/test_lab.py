"""`pantau lab` where no mail system has to run."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from pantau_lab.mail import Fault


def run(*words: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "100", "TERM": "dumb"}).invoke(app, ["lab", *words])
    return result.exit_code, result.output


def test_the_list_names_every_fault() -> None:
    code, said = run("--list")
    assert code == 0
    assert {line.split()[0] for line in said.splitlines() if line.strip()} >= set(Fault)


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tesis.txt").write_text("bab 1")
    assert run("--directory", str(tmp_path)) == (
        2,
        f"{tmp_path} holds files that are not the lab's; name another directory\n",
    )


@pytest.mark.parametrize("words", [("--break", "tarpitt"), ("--break",)])
def test_a_fault_that_does_not_exist_is_refused(words: tuple[str, ...]) -> None:
    assert run(*words)[0] == 2
