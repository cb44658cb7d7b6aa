"""Files of the wrong shape: each problem has a place and a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.monitor.config.ministry import AGENCY, Ministry, second_agency


def test_base_configuration_has_no_problems(ministry: Ministry) -> None:
    assert ministry.problems() == []


def test_mistakes_of_all_files_are_reported_together(ministry: Ministry) -> None:
    ministry.write("kedua", second_agency(("after: 5m", "after: lima"), ("[rahim]", "[rahin]")))
    ministry.write("ketiga", "agency: [")
    ministry.edit("pantau", "site:", "sitte:")
    ministry.edit("jabatan", "host: smtp.gmail.com", "hosst: smtp.gmail.com, port: x")
    ministry.edit("jabatan", "pantau@jabatan-contoh.gov.my", "pantau@gmail.com")
    assert [problem.split(": ")[:2] for problem in ministry.problems()] == [
        ["pantau.yaml:3", "sitte"],
        ["agencies/jabatan.yaml:13", "mailboxes.utama.address"],
        ["agencies/jabatan.yaml:14", "mailboxes.utama.smtp.host"],
        ["agencies/jabatan.yaml:14", "mailboxes.utama.smtp.hosst"],
        ["agencies/jabatan.yaml:14", "mailboxes.utama.smtp.port"],
        ["agencies/kedua.yaml:26", "escalation.steps[1].after"],
        ["agencies/kedua.yaml:26", "escalation.steps[1].contacts[0]"],
        ["agencies/ketiga.yaml:1", "a value is missing here, or a bracket before it is not closed; write instead"],
    ]


def test_invalid_key_does_not_hide_other_problems(ministry: Ministry) -> None:
    ministry.edit("jabatan", "  utama:", "  Utama Besar:")
    ministry.edit("jabatan", "{host: smtp.gmail.com}", "{hosst: smtp.gmail.com}")
    ministry.edit("jabatan", "[jabatan-contoh.gov.my]", "[jabatan-contoh.com]")
    assert [problem.split(": ")[:2] for problem in ministry.problems()] == [
        ["agencies/jabatan.yaml:3", "domains[0]"],
        ["agencies/jabatan.yaml:12", "mailboxes.Utama Besar"],
        ["agencies/jabatan.yaml:14", "mailboxes.Utama Besar.smtp.host"],
        ["agencies/jabatan.yaml:14", "mailboxes.Utama Besar.smtp.hosst"],
    ]


def test_retention_invalid_single_duration_reports_both_values(ministry: Ministry) -> None:
    ministry.edit("pantau", "state_dir: state", "retention: 0s")
    assert [problem.split(": ")[1] for problem in ministry.problems()] == [
        "retention.delivered",
        "retention.failed",
    ]


def test_settings_syntax_error_does_not_hide_agency_problems(ministry: Ministry) -> None:
    ministry.write("pantau", "site: [")
    ministry.edit("jabatan", "after: 5m", "after: 5")
    places = [problem.split(": ")[0] for problem in ministry.problems()]
    assert places == ["pantau.yaml:1", "agencies/jabatan.yaml:26"]


def test_settings_file_missing_is_a_problem(ministry: Ministry) -> None:
    ministry.path("pantau").unlink()
    remedy = "a file of text, or another path where it is named"
    assert ministry.problems() == [f"pantau.yaml: cannot be read: No such file or directory; write instead: {remedy}"]


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "- a\n", "just words\n", "\x00", "[" * 5000, "a: b: c", "? [a]\n: b"]
)
def test_agency_file_without_keys_is_a_problem(ministry: Ministry, text: str) -> None:
    ministry.write("jabatan", text)
    assert [problem for problem in ministry.problems() if problem.startswith("agencies/jabatan.yaml")]


def test_unquoted_number_stays_text(ministry: Ministry) -> None:
    ministry.edit("jabatan", '"+44 20 7946 0103"', "+442079460103")
    registry = ministry.load().require_configuration().registry
    assert registry.agencies["JCONTOH"].contacts["siti"].voice == "+442079460103"


def test_problem_has_file_line_column_and_key(ministry: Ministry) -> None:
    ministry.edit("jabatan", "after: 5m", "after: 5")
    (problem,) = ministry.load().problems
    assert (problem.line, problem.column, problem.key) == (26, 8, "escalation.steps[1].after")
    assert Path(problem.file) == ministry.path("jabatan")
    assert AGENCY.splitlines()[problem.line - 1][problem.column - 1 :].startswith("after")
