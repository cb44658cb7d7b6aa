"""Which files are read at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monitor.config.files.document import parse_document, read_document
from monitor.config.files.regular import NotRegularFileError, read_regular


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "z.yaml")

    assert "is no regular file" in str(read_document(tmp_path / "z.yaml").problems[0])


def test_what_is_put_in_the_place_of_a_file_is_looked_at_as_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "z").symlink_to("/proc/self/maps")  # Says that it is empty, and is not.

    with pytest.raises(NotRegularFileError, match="is larger than"):
        read_regular(tmp_path / "z", 1024)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "z.yaml").write_text("x" * 600_000)

    assert "is larger than" in str(read_document(tmp_path / "z.yaml").problems[0])


def test_a_file_that_is_nested_deeply_is_refused_and_ends_nobody() -> None:
    for text in (
        "a: " + "[" * 100_000,
        "a: " + "[" * 20_000 + "]" * 20_000,
        "- " * 50_000 + "a",
        "\n".join(" " * n + "a:" for n in range(900)),
    ):
        document = parse_document(text, "z.yaml")
        assert not document.readable


def test_what_libyaml_does_not_take_is_told_in_the_words_of_the_other_parser() -> None:
    broken = parse_document("a: 1\nb: [1, 2\nc: 3\n", "z.yaml")
    [problem] = broken.problems
    assert str(problem).startswith("z.yaml:2: a [ is opened here")


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[5] / "deploy").rglob("*.yaml")), ids=lambda f: f.name)
def test_both_parsers_read_the_same_values_in_the_same_places(file: Path) -> None:
    text = file.read_text()
    # Too deep by its looks, for a comment.
    assert parse_document(text, "z.yaml") == parse_document(f"{text}\n#{'[' * 3000}\n", "z.yaml")
