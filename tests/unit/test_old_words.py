"""Old names are not used again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import old_words

PAIRS = {
    "OldThing": "NewThing",
    "class Door": "class Entrance",
    "pantau old-order": "pantau new-command",
    "monitor.oldroom.oldpart": "monitor.newroom.newpart",
    "/api/v1/oldthings": "/api/v1/newthings",
    "/oldpage": "/newpage",
    "pantau_old_metric": "pantau_new_metric",
}
#: One file of each kind that the repository has.
KINDS = sorted({Path(name).suffix or Path(name).name for name in old_words.tracked()} - {".png"})


def found(tmp_path: Path, name: str, text: str) -> list[str]:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return list(map(str, old_words.find(tmp_path, [name], PAIRS)))


def test_old_words_repository_has_none() -> None:
    assert list(map(str, old_words.find(old_words.ROOT, old_words.tracked(), old_words.read()))) == []


def test_old_words_list_names_each_once_and_no_new_name() -> None:
    lines = [line for line in old_words.PAIRS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    pairs = [line.split("\t") for line in lines]
    assert [line for line in pairs if len(line) != 2 or not all(line)] == []
    assert len({old for old, _ in pairs}) == len(pairs) > 500
    assert {old for old, _ in pairs} & {new for _, new in pairs} == set()


@pytest.mark.parametrize("kind", KINDS)
def test_old_words_in_each_kind_of_file_is_found_with_line_and_new_word(tmp_path: Path, kind: str) -> None:
    name = f"a{kind}" if kind.startswith(".") else kind
    assert found(tmp_path, name, "first\nthen `pantau_old_metric` and more\n") == [
        f"{name}:2: 'pantau_old_metric' is an old name; write 'pantau_new_metric'"
    ]


@pytest.mark.parametrize(
    ("text", "old"),
    [
        ("x: OldThing | None", "OldThing"),
        ("class Door:", "class Door"),
        ("from monitor.oldroom.oldpart import part", "monitor.oldroom.oldpart"),
        ("see `monitor/oldroom/oldpart.py`", "monitor.oldroom.oldpart"),
        ("GET /api/v1/oldthings/12", "/api/v1/oldthings"),
        ('href="/oldpage"', "/oldpage"),
        ("run `pantau old-order JCM-01`", "pantau old-order"),
        ("É pantau_old_metric", "pantau_old_metric"),
    ],
)
def test_old_words_whole_word_is_found(tmp_path: Path, text: str, old: str) -> None:
    assert found(tmp_path, "a.md", text) == [f"a.md:1: {old!r} is an old name; write {PAIRS[old]!r}"]


@pytest.mark.parametrize(
    "text",
    [
        "MyOldThing OldThings",
        "class Doorway:",
        "pantau old-order-foot",
        "/api/v1/oldthings-of-today",
        "https://example.test/oldpages",
        "pantau_old_metric_total",
        "the door",
    ],
)
def test_old_words_within_another_word_is_not_found(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, "a.md", text) == []


def test_old_words_exempt_file_is_not_read(tmp_path: Path) -> None:
    assert found(tmp_path, "CHANGELOG.md", "`OldThing` is `NewThing`.") == []
