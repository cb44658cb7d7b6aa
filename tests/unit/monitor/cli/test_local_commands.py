"""Commands that work without a running service."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pypdf import PdfReader

from monitor.cli.operation.probe import EXIT_CODES
from probes.model.result import Outcome
from tests.unit.monitor.cli.office import IssuingOffice


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("letter-preview", "ZZZ"), "there is no agency ZZZ; there are "),
        (("letter-preview", "JCONTOH", "--purpose", "surat"), "'surat' is not one of 'outage', "),
        (("letter-preview", "JCONTOH", "--purpose", "release"), "not on paper; write --purpose outage, "),
        (("letter-preview", "JCONTOH", "--recipient", "nobody"), "has no recipient nobody; it has "),
        (("probe", "ZZZ"), "there is no agency ZZZ in the configuration"),
        (("probe", "JCONTOH", "sideways"), "has no route sideways; it has "),
    ],
)
def test_command_unknown_argument_lists_valid_ones(
    office: IssuingOffice, words: tuple[str, ...], expected: str
) -> None:
    code, output = office.run(*words)

    assert code == 2
    assert expected in output


@pytest.mark.parametrize(
    ("words", "code"), [(("letter-preview", "JCONTOH"), 2), (("probe", "JCONTOH"), 2), (("run",), os.EX_CONFIG)]
)
def test_command_invalid_configuration_returns_its_exit_code(
    office: IssuingOffice, words: tuple[str, ...], code: int
) -> None:
    office.config.write_text("agencies: [\n")

    assert office.run(*words)[0] == code


def test_letter_preview_is_written_to_output_path(office: IssuingOffice, tmp_path: Path) -> None:
    path = tmp_path / "surat.pdf"
    code, output = office.run("letter-preview", "jcontoh", "-o", str(path))

    assert code == 0
    assert "A preview: nothing was sent." in output
    assert path.read_bytes().startswith(b"%PDF")


def test_letter_preview_is_letter_by_default_and_fax_to_named_recipient(office: IssuingOffice, tmp_path: Path) -> None:
    pages = []
    for words in ((), ("--fax", "--recipient", "negeri")):
        path = tmp_path / "halaman.pdf"
        assert office.run("letter-preview", "JCONTOH", "-o", str(path), *words)[0] == 0
        pages.append(PdfReader(path).pages[0].extract_text())

    assert ["FAKSIMILE" in each for each in pages] == [False, True]
    assert ["Ketua Setiausaha" in each for each in pages] == [True, False]
    assert ["Setiausaha Kerajaan Negeri" in each for each in pages] == [False, True]
    assert all("JCONT-00" in each for each in pages)


def test_letter_preview_unwritable_path_is_reported(office: IssuingOffice, tmp_path: Path) -> None:
    code, output = office.run("letter-preview", "JCONTOH", "-o", str(tmp_path / "missing" / "surat.pdf"))

    assert code == 1
    assert "cannot be written: No such file or directory" in output


def test_probe_without_usable_key_is_reported(office: IssuingOffice) -> None:
    (office.state / "token.key").write_bytes(b"short")

    code, output = office.run("probe", "JCONTOH")

    assert code == 1
    assert "the key that signs probe messages cannot be used" in output


def test_probe_exit_code_is_unique_per_outcome() -> None:
    assert EXIT_CODES.keys() == set(Outcome)
    assert len(set(EXIT_CODES.values())) == len(Outcome)
    assert EXIT_CODES[Outcome.DELIVERED] == 0
    assert not {1, 2} & set(EXIT_CODES.values())
