"""What a page says where nothing is answered is said in Malay, too: no refusal of the portal is without its words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import FastAPI, HTTPException, Query

import monitor.web
from monitor.access.role import Permission
from monitor.model.lazy_text import lazy_text
from monitor.web.error_page import show_error_pages
from monitor.web.form import Pages
from monitor.web.page import FAULTS, PageLanguage
from monitor.web.portal import page_templates
from monitor.web.problem import answer_with_problems
from tests.unit.monitor.web.source import client

_WEB = Path(str(monitor.web.__file__)).parent
#: Programs alone are answered there; and what only they ask.
_FOR_PROGRAMS = ("api/", "command/", "callbacks.py", "serving.py", "portal.py")


#: What a reload is answered, which no page asks for.
_OF_A_RELOAD = "refused: the old configuration stays in force; see `problems`"


def _refusals() -> Iterator[tuple[str, ast.expr]]:
    """Yield where something is refused by a status, and in which words."""
    for file in sorted(_WEB.rglob("*.py")):
        place = str(file.relative_to(_WEB))
        if place.startswith(_FOR_PROGRAMS):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="HTTPException" | "problem"), args=[_, words, *_]):
                    if not (isinstance(words, ast.Constant) and words.value == _OF_A_RELOAD):
                        yield place, words
                case ast.Assign(targets=[ast.Name(id="why" | "detail")], value=ast.Constant(value=str()) as words):
                    if words.value:
                        yield place, words


def test_each_refusal_of_a_page_has_its_malay() -> None:
    found = list(_refusals())
    assert len(found) > 20
    for place, words in found:
        match words:
            case (
                ast.Constant(value=str(text))
                | ast.Call(func=ast.Name(id="lazy_text"), args=[ast.Constant(value=str(text)), *_])
            ):
                assert text in FAULTS, (place, text)
            case _:
                # In no other way is something filled in that a page could not say in another language.
                assert isinstance(words, ast.Name | ast.Attribute | ast.Call), (place, ast.unparse(words))


def test_each_permission_has_words_for_who_lacks_it() -> None:
    assert FAULTS.keys() >= {permission.replace("_", " ") for permission in Permission}


@pytest.mark.parametrize(
    ("path", "language", "told"),
    [
        ("/tiada", PageLanguage.MALAY, "tiada apa-apa di /tiada"),
        ("/tiada", PageLanguage.ENGLISH, "there is nothing at /tiada"),
        ("/lama", PageLanguage.MALAY, "tiada notis 9"),
        ("/lama", PageLanguage.ENGLISH, "there is no notice 9"),
        ("/muka?dari=x&q=lama", PageLanguage.MALAY, "nilai dari, q dalam alamat halaman ini tidak dapat difahami"),
        ("/muka?dari=x", PageLanguage.ENGLISH, "the URL has an invalid value of dari"),
        ("/lain", PageLanguage.MALAY, '<span lang="en">of another kind</span>'),
    ],
)
async def test_a_page_says_in_its_language_why_there_is_none(path: str, language: PageLanguage, told: str) -> None:
    app = FastAPI()

    @app.get("/lama")
    async def gone() -> None:
        raise HTTPException(404, lazy_text("there is no notice {notice}", notice=9))

    @app.get("/lain")
    async def other() -> None:
        raise HTTPException(404, "of another kind")

    @app.get("/muka")
    async def listed(dari: int = 0, q: Annotated[str, Query(max_length=3)] = "") -> None:
        raise HTTPException(404, f"{dari} {q}")

    answer_with_problems(app)
    show_error_pages(app, Pages(page_templates()))
    async with client(app) as browser:
        answer = await browser.get(
            f"{path}{'&' if '?' in path else '?'}lang={language}", headers={"Accept": "text/html"}
        )
        program = await browser.get("/lama")
    assert (answer.status_code, told in answer.text) == (422 if "?" in path else 404, True)
    assert program.json()["detail"] == "there is no notice 9"
