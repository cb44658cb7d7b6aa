"""Texts of refused operations: Malay on pages, English for programs, from one table."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import monitor.service
import monitor.web
from monitor.service.errors import REJECTION_TEXTS, NotFoundError, OperationRejectedError
from monitor.web.page import PageLanguage, template_filters


def rejections() -> Iterator[tuple[str, set[str]]]:
    """Yield the key and the argument names of each rejection in the code of the service and the pages."""
    places = (Path(str(package.__file__)).parent for package in (monitor.service, monitor.web))
    for file in (each for place in places for each in place.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="OperationRejectedError" | "NotFoundError"), attr="from_text"),
                    args=[key],
                ):
                    assert isinstance(key, ast.Constant)
                    yield str(key.value), {str(each.arg) for each in node.keywords}


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_rejection_texts_match_keys_and_arguments_in_code() -> None:
    found = list(rejections())
    assert {key for key, _ in found} == set(REJECTION_TEXTS)
    for key, arguments in found:
        malay, english, *on_page = REJECTION_TEXTS[key]
        assert placeholders(english) == arguments, key
        assert placeholders(malay) <= arguments, key
        assert placeholders("".join(on_page)) <= arguments, key
        # A page names no command, unless an operator is needed.
        assert not re.search(r"`|--", (on_page or [english])[0]) or "`" in malay, key


def test_rejection_filter_uses_page_language_and_escapes_markup() -> None:
    wrong = NotFoundError.from_text("no_user", name="<b>siti")
    assert str(wrong) == "there is no user <b>siti; `pantau user list` lists them"
    malay, english = (template_filters(tongue)["rejection"] for tongue in PageLanguage)
    assert malay(wrong) == "tiada pengguna &lt;b&gt;siti"
    assert english(wrong) == "there is no user &lt;b&gt;siti"


def test_rejection_nested_text_uses_same_language() -> None:
    wrong = OperationRejectedError.from_text(
        "since_moment", wrong=OperationRejectedError.from_text("no_moment", text="tadi")
    )
    assert str(wrong).startswith("--since: 'tadi' is no date with a time")
    assert wrong.malay.startswith("waktu bermula: 'tadi' bukan tarikh dengan masa")
    assert wrong.page_text.startswith("since: 'tadi' is no date with a time")


@pytest.mark.parametrize("wrong", [OperationRejectedError("is <odd>"), ValueError("is <odd>"), "is <odd>"])
def test_rejection_filter_without_malay_text_marks_english(wrong: object) -> None:
    assert template_filters(PageLanguage.MALAY)["rejection"](wrong) == '<span lang="en">is &lt;odd&gt;</span>'
