"""Commands that need no running service."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pypdf import PdfReader

from monitor.cli.operation.probe import EXIT_CODES
from probes.model.result import Outcome
from tests.unit.monitor.cli.office import IssuingOffice


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("letter-preview", "ZZZ"), "there is no agency ZZZ; there are "),
        (("letter-preview", "JCONTOH", "--purpose", "surat"), "'surat' is not one of 'outage', "),
        (("letter-preview", "JCONTOH", "--purpose", "release"), "not on paper; write --purpose outage, "),
        (("letter-preview", "JCONTOH", "--recipient", "nobody"), "has no recipient nobody; it has "),
        (("probe", "ZZZ"), "there is no agency ZZZ in the configuration"),
        (("probe", "JCONTOH", "sideways"), "has no route sideways; it has "),
    ],
)
def test_what_does_not_exist_is_said_with_what_does(office: IssuingOffice, words: tuple[str, ...], said: str) -> None:
    code, output = office.run(*words)

    assert code == 2
    assert said in output


@pytest.mark.parametrize(
    ("words", "code"), [(("letter-preview", "JCONTOH"), 2), (("probe", "JCONTOH"), 2), (("run",), os.EX_CONFIG)]
)
def test_a_bad_configuration_ends_with_two_and_the_service_as_systemd_knows_it(
    office: IssuingOffice, words: tuple[str, ...], code: int
) -> None:
    office.config.write_text("agencies: [\n")

    assert office.run(*words)[0] == code


def test_a_preview_is_written_where_it_was_asked_for(office: IssuingOffice, tmp_path: Path) -> None:
    path = tmp_path / "surat.pdf"
    code, output = office.run("letter-preview", "jcontoh", "-o", str(path))

    assert code == 0
    assert "A preview: nothing was sent." in output
    assert path.read_bytes().startswith(b"%PDF")


def test_a_preview_is_a_letter_to_the_first_or_a_fax_to_whom_it_was_asked_for(
    office: IssuingOffice, tmp_path: Path
) -> None:
    said = []
    for words in ((), ("--fax", "--recipient", "negeri")):
        path = tmp_path / "halaman.pdf"
        assert office.run("letter-preview", "JCONTOH", "-o", str(path), *words)[0] == 0
        said.append(PdfReader(path).pages[0].extract_text())

    assert ["FAKSIMILE" in each for each in said] == [False, True]
    assert ["Ketua Setiausaha" in each for each in said] == [True, False]
    assert ["Setiausaha Kerajaan Negeri" in each for each in said] == [False, True]


def test_a_preview_that_cannot_be_written_is_said_to_be(office: IssuingOffice, tmp_path: Path) -> None:
    code, output = office.run("letter-preview", "JCONTOH", "-o", str(tmp_path / "missing" / "surat.pdf"))

    assert code == 1
    assert "cannot be written: No such file or directory" in output


def test_a_probe_without_its_key_says_so(office: IssuingOffice) -> None:
    (office.state / "token.key").write_bytes(b"short")

    code, output = office.run("probe", "JCONTOH")

    assert code == 1
    assert "the key that signs probe messages cannot be used" in output


def test_every_end_of_a_probe_has_an_exit_code_of_its_own() -> None:
    assert EXIT_CODES.keys() == set(Outcome)
    assert len(set(EXIT_CODES.values())) == len(Outcome)
    assert EXIT_CODES[Outcome.DELIVERED] == 0
    assert not {1, 2} & set(EXIT_CODES.values())
