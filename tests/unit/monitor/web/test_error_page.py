"""Error pages: every refusal of the portal has a Malay text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import FastAPI, HTTPException, Query

import monitor.web
from monitor.access.role import Permission
from monitor.model.translatable import translatable
from monitor.web.error_page import show_error_pages
from monitor.web.form import Pages
from monitor.web.page import MALAY_MESSAGES, PageLanguage
from monitor.web.portal import page_templates
from monitor.web.problem import answer_with_problems
from tests.unit.monitor.web.fake_service import client

_WEB = Path(str(monitor.web.__file__)).parent
#: Modules whose errors only programs get.
_FOR_PROGRAMS = ("api/", "command/", "callbacks.py", "serving.py", "portal.py")


#: Response of a reload, which no page requests.
_OF_A_RELOAD = "refused: the old configuration stays in force; see `problems`"


def _refusals() -> Iterator[tuple[str, ast.expr]]:
    """Yield the module and the text of each refusal."""
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


def test_page_refusals_have_malay_text() -> None:
    found = list(_refusals())
    assert len(found) > 20
    for place, words in found:
        match words:
            case (
                ast.Constant(value=str(text))
                | ast.Call(func=ast.Name(id="translatable"), args=[ast.Constant(value=str(text)), *_])
            ):
                assert text in MALAY_MESSAGES, (place, text)
            case _:
                # Other expressions could fill in untranslated text.
                assert isinstance(words, ast.Name | ast.Attribute | ast.Call), (place, ast.unparse(words))


def test_permissions_have_malay_text() -> None:
    assert MALAY_MESSAGES.keys() >= {permission.replace("_", " ") for permission in Permission}


@pytest.mark.parametrize(
    ("path", "language", "expected"),
    [
        ("/tiada", PageLanguage.MALAY, "tiada apa-apa di /tiada"),
        ("/tiada", PageLanguage.ENGLISH, "there is nothing at /tiada"),
        ("/lama", PageLanguage.MALAY, "tiada notis 9"),
        ("/lama", PageLanguage.ENGLISH, "there is no notification 9"),
        ("/muka?dari=x&q=lama", PageLanguage.MALAY, "nilai dari, q dalam alamat halaman ini tidak dapat difahami"),
        ("/muka?dari=x", PageLanguage.ENGLISH, "the URL has an invalid value of dari"),
        ("/lain", PageLanguage.MALAY, '<span lang="en">of another kind</span>'),
    ],
)
async def test_error_page_is_in_page_language(path: str, language: PageLanguage, expected: str) -> None:
    app = FastAPI()

    @app.get("/lama")
    async def gone() -> None:
        raise HTTPException(404, translatable("there is no notification {notice}", notice=9))

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
    assert (answer.status_code, expected in answer.text) == (422 if "?" in path else 404, True)
    assert program.json()["detail"] == "there is no notification 9"
