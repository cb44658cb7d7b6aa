"""Edits of one value in the text of a file: everything else stays unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config.files.document import parse_document
from monitor.config.files.edit import AppendItem, NotEditableError, RemoveValue, SetValue, TextEdit, edit_text

TEXT = """\
# Whose it is.
agency: JCM
name:   "Jabatan  Contoh"   # in full
domains: [jcm.gov.my, 'contoh.gov.my']

contacts:
    siti:   # the first
        name: Siti
        sms: 010-000 0101
    # Ali is away.
    ali: {name: 'Ali', voice: 03-0000 0102,
          language: en-GB}

routes:
- {direction: internal}
-   direction: outbound
    reference: rujukan-a

probing:
  interval: 5m
  # At night nobody looks.
  active_hours:
    - cron: "0 7 * * mon-fri"
      for: 12h
remark: |
  two
  lines

# The end.
"""


@pytest.mark.parametrize(
    ("edit", "was", "becomes"),
    [
        (SetValue(path=("probing", "interval"), value="10m"), "interval: 5m", "interval: 10m"),
        (SetValue(path=("name",), value="Jabatan Baharu"), '"Jabatan  Contoh"', '"Jabatan Baharu"'),
        (SetValue(path=("contacts", "ali", "name"), value="D'Cruz"), "'Ali'", "'D''Cruz'"),
        (SetValue(path=("contacts", "siti", "name"), value="Siti: dua"), "name: Siti\n", 'name: "Siti: dua"\n'),
        (
            SetValue(path=("contacts", "siti", "voice"), value="03-0000 0101"),
            "sms: 010-000 0101\n",
            "sms: 010-000 0101\n        voice: 03-0000 0101\n",
        ),
        (SetValue(path=("contacts", "ali", "fax"), value="1"), "en-GB}", "en-GB, fax: 1}"),
        (
            SetValue(path=("contacts", "budi"), value={"name": "Budi", "sms": "010-000 0103"}),
            "language: en-GB}\n",
            "language: en-GB}\n    budi:\n      name: Budi\n      sms: 010-000 0103\n",
        ),
        (
            SetValue(path=("letterhead", "signatory", "name"), value="Siti"),
            "  lines\n",
            "  lines\nletterhead:\n  signatory:\n    name: Siti\n",
        ),
        (
            AppendItem(path=("maintenance",), value={"from": "2026-12-01 22:00", "reason": "Naik taraf, semua"}),
            "  lines\n",
            '  lines\nmaintenance:\n  - {from: 2026-12-01 22:00, reason: "Naik taraf, semua"}\n',
        ),
        (AppendItem(path=("domains",), value="c.gov.my"), "'contoh.gov.my']", "'contoh.gov.my', c.gov.my]"),
        (
            AppendItem(path=("routes",), value={"direction": "inbound"}),
            "rujukan-a\n",
            "rujukan-a\n- {direction: inbound}\n",
        ),
        (RemoveValue(path=("routes", 0)), "- {direction: internal}\n", ""),
        (RemoveValue(path=("routes", 1)), "-   direction: outbound\n    reference: rujukan-a\n", ""),
        (RemoveValue(path=("routes", 1, "direction")), "direction: outbound\n    reference", "reference"),
        (RemoveValue(path=("domains", 0)), "jcm.gov.my, ", ""),
        (RemoveValue(path=("domains", 1)), ", 'contoh.gov.my'", ""),
        (RemoveValue(path=("contacts", "ali", "language")), ",\n          language: en-GB", ""),
        (
            RemoveValue(path=("contacts", "siti")),
            "    siti:   # the first\n        name: Siti\n        sms: 010-000 0101\n",
            "",
        ),
        (
            RemoveValue(path=("probing", "active_hours", 0)),
            'active_hours:\n    - cron: "0 7 * * mon-fri"\n      for: 12h\n',
            "active_hours: []\n",
        ),
        (RemoveValue(path=("remark",)), "remark: |\n  two\n  lines\n", ""),
        (RemoveValue(path=("nobody", "knows")), "", ""),
    ],
)
def test_edit_text_changes_one_value_only(edit: TextEdit, was: str, becomes: str) -> None:
    assert TEXT.count(was) == 1 or was == ""
    assert edit_text(TEXT, [edit]) == (TEXT.replace(was, becomes) if was else TEXT)


@pytest.mark.parametrize(
    ("text", "edit", "becomes"),
    [
        ("a: {}\n", SetValue(path=("a", "b"), value="1"), "a: {b: 1}\n"),
        ("a: []  # none\n", AppendItem(path=("a",), value="1"), "a: [1]  # none\n"),
        ("a: [1,]\n", AppendItem(path=("a",), value="2"), "a: [1, 2]\n"),
        ("a: [1,]\n", RemoveValue(path=("a", 0)), "a: []\n"),
        ("a:  # nothing yet\nb: 1\n", SetValue(path=("a",), value="x"), "a: x  # nothing yet\nb: 1\n"),
        ("a:\nb: 1\n", AppendItem(path=("a",), value="x"), "a: [x]\nb: 1\n"),
        ("a:\nb: 1\n", SetValue(path=("a", "c"), value="x"), "a: {c: x}\nb: 1\n"),
        ("a: 1", SetValue(path=("b",), value="2"), "a: 1\nb: 2"),
        ("a: 1\nb: 2", RemoveValue(path=("b",)), "a: 1\n"),
        ("a: >-\n  x\n  y\nb: 1\n", SetValue(path=("a",), value="z"), "a: z\nb: 1\n"),
        ("a: 1\n", SetValue(path=("b",), value="null"), 'a: 1\nb: "null"\n'),
        ("a: 1\n", SetValue(path=("b",), value=""), 'a: 1\nb: ""\n'),
        ("a: 1\n", SetValue(path=("b",), value="x\ny"), 'a: 1\nb: "x\\ny"\n'),
        ("a:\n  b: 1  # why\n  # and\nc: 1\n", RemoveValue(path=("a", "b")), "a: {}\n  # and\nc: 1\n"),
        ("é: ü\nb: {ñ: 1}\n", SetValue(path=("b", "ñ"), value="ß"), "é: ü\nb: {ñ: ß}\n"),
    ],
)
def test_edit_text_empty_value_or_missing_final_newline_is_edited(text: str, edit: TextEdit, becomes: str) -> None:
    assert edit_text(text, [edit]) == becomes


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("a: [\n", SetValue(path=("b",), value="1")),
        ("a: 1\na: 2\n", SetValue(path=("b",), value="1")),
        ("a: 1\n", RemoveValue(path=("a",))),
        ("a: 1\n", SetValue(path=("a", "b"), value="1")),
        ("a: 1\n", AppendItem(path=("a",), value="1")),
        ("a: [1]\n", SetValue(path=("a", 3), value="1")),
        ("a: [1]\n", SetValue(path=("a", 3, "b"), value="1")),
        ("a:\n  - 1\n", SetValue(path=("a",), value=["2"])),
        # The edit would have to remove the comment between the two.
        ("a:\n  - b: 1\n    # why c\n    c: 2\n", RemoveValue(path=("a", 0, "b"))),
        ("a: [1, # why\n  2]\n", RemoveValue(path=("a", 0))),
        ("a: 1\n", SetValue(path=(), value="1")),
        # The blank line at the end is part of the value.
        ("a: |+\n  x\n\n", SetValue(path=("b",), value="1")),
    ],
)
def test_edit_text_is_refused_when_other_text_would_change(text: str, edit: TextEdit) -> None:
    with pytest.raises(NotEditableError):
        edit_text(text, [edit])


DEPLOYED = [file.read_text() for file in sorted(Path("deploy/agencies").glob("*.yaml"))]
_WORDS = st.text(st.sampled_from("abcAB19 :#'\"\\-{}[],&*!|>%@`+?~.\né"), max_size=12)


def values_of(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if path:
        yield path, data
    parts = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in parts:
        yield from values_of(value, (*path, key))


def comment_lines(text: str, within: range = range(0)) -> list[str]:
    """Return the comment lines outside the range *within*."""
    lines = enumerate(text.splitlines(), start=1)
    return [line for number, line in lines if re.match(" *#", line) and number not in within]


def line_range(text: str, path: tuple[str | int, ...]) -> range:
    places = [place.line for each, place in parse_document(text, "").locations.items() if each[: len(path)] == path]
    return range(min(places), max(places) + 1)


@settings(max_examples=400, deadline=None)
@given(text=st.sampled_from([TEXT, *DEPLOYED]), data=st.data())
def test_edit_text_keeps_comments_and_other_values(text: str, data: st.DataObject) -> None:
    said = dict(values_of(parse_document(text, "").data))
    path = data.draw(st.sampled_from(sorted(said, key=str)))
    value = data.draw(_WORDS)
    edits: list[TextEdit] = [
        SetValue(path=path, value=value),
        SetValue(path=(*path, "baharu"), value=value),
        SetValue(path=(*path, "baharu"), value={"a": value, "b": [value], "c": [{"d": value}]}),
        AppendItem(path=path, value=value),
        AppendItem(path=path, value={"a": value, "b": value}),
        RemoveValue(path=path),
    ]
    edit = data.draw(st.sampled_from(edits))
    try:
        found = edit_text(text, [edit])
    except NotEditableError:
        return
    # Comments inside a removed value are removed with it.
    gone = line_range(text, path) if isinstance(edit, RemoveValue) else range(0)
    assert comment_lines(found) == comment_lines(text, gone)
    begins = next((n for n, (a, b) in enumerate(zip(text, found, strict=False)) if a != b), min(len(text), len(found)))
    same = min(len(text), len(found)) - begins
    ends = next((n for n, (a, b) in enumerate(zip(text[::-1], found[::-1], strict=False)) if a != b), same)
    # The change is one piece, and not longer than the value.
    assert len(text) - begins - min(ends, same) <= 4 + sum(
        len(str(x)) + 60 for p, x in said.items() if p[: len(path)] == path
    )
    after = dict(values_of(parse_document(found, "").data))
    if not isinstance(edit, RemoveValue):
        assert {
            p: v for p, v in said.items() if p[: len(path)] != path and path[: len(p)] != p
        }.items() <= after.items()


@settings(deadline=None)
@given(text=st.sampled_from([TEXT, *DEPLOYED]), value=_WORDS, data=st.data())
def test_edit_text_add_then_remove_restores_bytes(text: str, value: str, data: st.DataObject) -> None:
    said = dict(values_of(parse_document(text, "").data))
    path = data.draw(st.sampled_from(sorted((p for p, v in said.items() if isinstance(v, dict | list) and v), key=str)))
    there = said[path]
    adds, drops = (
        (SetValue(path=(*path, "baharu"), value=value), RemoveValue(path=(*path, "baharu")))
        if isinstance(there, dict)
        else (AppendItem(path=path, value=value), RemoveValue(path=(*path, len(there))))
    )
    assert edit_text(text, [adds, drops]) == text


def test_edit_text_can_remove_each_path_of_examples() -> None:
    refused = 0
    paths = [(text, path) for text in DEPLOYED for path, _ in values_of(parse_document(text, "").data)]
    for text, path in paths:
        try:
            edit_text(text, [RemoveValue(path=path)])
        except NotEditableError:
            refused += 1
    assert refused == 0
    assert len(paths) > 200
