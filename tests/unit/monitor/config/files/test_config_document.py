"""Files that the document reader refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monitor.config.files.document import parse_document, read_document
from monitor.config.files.regular import NotRegularFileError, read_regular


def test_read_document_named_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "z.yaml")

    assert "is no regular file" in str(read_document(tmp_path / "z.yaml").problems[0])


def test_read_regular_checks_opened_file_not_its_reported_size(tmp_path: Path) -> None:
    (tmp_path / "z").symlink_to("/proc/self/maps")  # Its reported size is zero, but it has content.

    with pytest.raises(NotRegularFileError, match="is larger than"):
        read_regular(tmp_path / "z", 1024)


def test_read_document_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "z.yaml").write_text("x" * 600_000)

    assert "is larger than" in str(read_document(tmp_path / "z.yaml").problems[0])


def test_parse_document_deeply_nested_is_refused() -> None:
    for text in (
        "a: " + "[" * 100_000,
        "a: " + "[" * 20_000 + "]" * 20_000,
        "- " * 50_000 + "a",
        "\n".join(" " * n + "a:" for n in range(900)),
    ):
        document = parse_document(text, "z.yaml")
        assert not document.readable


def test_parse_document_syntax_error_uses_python_parser_message() -> None:
    broken = parse_document("a: 1\nb: [1, 2\nc: 3\n", "z.yaml")
    [problem] = broken.problems
    assert str(problem).startswith("z.yaml:2: a [ is opened here")


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[5] / "deploy").rglob("*.yaml")), ids=lambda f: f.name)
def test_parsers_return_equal_values_and_locations(file: Path) -> None:
    text = file.read_text()
    # The comment makes the text look too deeply nested for the C parser.
    assert parse_document(text, "z.yaml") == parse_document(f"{text}\n#{'[' * 3000}\n", "z.yaml")
