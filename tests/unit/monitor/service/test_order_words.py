"""What a person is told who orders what cannot be done: in Malay on a page, in English to programs, by one table."""

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


def said() -> Iterator[tuple[str, set[str]]]:
    """Yield each refusal that the service or a page makes by a key, with the words that it is given."""
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


def named(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_each_refusal_has_its_words_and_no_words_are_left_over() -> None:
    found = list(said())
    assert {key for key, _ in found} == set(REJECTION_TEXTS)
    for key, words in found:
        malay, english, *on_page = REJECTION_TEXTS[key]
        assert named(english) == words, key
        assert named(malay) <= words, key
        assert named("".join(on_page)) <= words, key
        # Whoever reads a page has no terminal, except where an operator is wanted.
        assert not re.search(r"`|--", (on_page or [english])[0]) or "`" in malay, key


def test_a_page_says_it_in_its_language_and_never_as_markup() -> None:
    wrong = NotFoundError.from_text("no_user", name="<b>siti")
    assert str(wrong) == "there is no user <b>siti; `pantau user list` lists them"
    malay, english = (template_filters(tongue)["rejection"] for tongue in PageLanguage)
    assert malay(wrong) == "tiada pengguna &lt;b&gt;siti"
    assert english(wrong) == "there is no user &lt;b&gt;siti"


def test_a_refusal_that_tells_of_another_tells_of_it_in_the_same_language() -> None:
    wrong = OperationRejectedError.from_text(
        "since_moment", wrong=OperationRejectedError.from_text("no_moment", text="tadi")
    )
    assert str(wrong).startswith("--since: 'tadi' is no date with a time")
    assert wrong.malay.startswith("waktu bermula: 'tadi' bukan tarikh dengan masa")
    assert wrong.page_text.startswith("since: 'tadi' is no date with a time")


@pytest.mark.parametrize("wrong", [OperationRejectedError("is <odd>"), ValueError("is <odd>"), "is <odd>"])
def test_what_has_no_malay_words_is_marked_as_english(wrong: object) -> None:
    assert template_filters(PageLanguage.MALAY)["rejection"](wrong) == '<span lang="en">is &lt;odd&gt;</span>'
