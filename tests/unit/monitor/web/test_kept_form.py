"""A form that is refused because the session has ended, or the store is away, is kept in the page that says so."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from alerts.persistence.store import StoreUnavailable
from monitor.web.form import MAX_TEXT_FORM_SIZE, SECRET_FIELDS
from tests.unit.monitor.web.signed import OURS, House, house
from tests.unit.monitor.web.steps import measure, without_collector
from tests.unit.monitor.web.test_gate import NAMES, TABLE

pytestmark = pytest.mark.access

TEMPLATES = Path(__file__).parents[4] / "monitor/web/templates"
AS_A_BROWSER = {**OURS, "Accept": "text/html"}
ODD = "\"<tanda> & baris'\u2028 \\ {{ x }}"
#: Of forms that hold secrets, or nothing that is typed.
OWN = re.compile(r"/(?:sign-in|sign-out|welcome|account/)")
#: In seconds.
LONGEST_STEP = 0.05


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


def kept(page: httpx.Response) -> tuple[str, Mapping[str, str]]:
    """Return where the form of a page is sent, and its fields."""
    [form] = re.findall(r'<form method="post" action="([^"]*)" class="sheet">(.*?)</form>', page.text, re.DOTALL)
    hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form[1])
    # The first line break in it is none of the text.
    texts = re.findall(r'<textarea name="([^"]*)"[^>]*>\n(.*?)</textarea>', form[1], re.DOTALL)
    return unescape(form[0]), {unescape(name): unescape(value) for name, value in hidden + texts}


@pytest.mark.parametrize("route", [each for each in TABLE if each.startswith("POST ") and "/api/" not in each])
async def test_form_without_session_is_kept(place: House, route: str) -> None:
    path = route.removeprefix("POST ").format(**NAMES)
    sent = {"why": ODD, "text": f"baris\n{ODD}\n"}
    async with place.browser(place.app, **AS_A_BROWSER) as nobody:
        page = await nobody.post(path, data=sent)
    if page.status_code == 401 and not OWN.match(path):
        assert kept(page) == (path, sent)
        assert "form-action 'self'" in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "same-origin"
    else:
        assert OWN.match(path) or page.status_code == 404, page.status_code
        assert ODD not in unescape(page.text)


@pytest.mark.parametrize("refused", ["no session", "store away"])
async def test_kept_form_sent_again_is_done(place: House, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    officer = await place.admitted("siti", "officer:JCM")
    officer.headers.update(AS_A_BROWSER)
    # A document has no such line break.
    typed = f"{await place.site.text()}# {ODD}\n".replace("\u2028", "")
    page = await officer.get("/agencies/JCM/settings")
    [started_from] = set(re.findall(r'name="started_from" value="([^"]*)"', page.text))
    form = {"form": "text", "started_from": started_from, "text": typed}
    with monkeypatch.context() as patch:
        if refused == "store away":

            async def away(*_: object, **__: object) -> None:
                raise StoreUnavailable("disk I/O error")

            patch.setattr(place.site.editor, "save", away)
            page = await officer.post("/agencies/JCM/settings", data=form)
        else:
            async with place.browser(place.app, **AS_A_BROWSER) as nobody:
                page = await nobody.post("/agencies/JCM/settings", data=form)
    assert page.status_code == (503 if refused == "store away" else 401)
    assert "di halaman ini" in page.text
    action, fields = kept(page)
    assert (action, fields) == ("/agencies/JCM/settings", form)
    assert (await officer.post(action, data=fields)).status_code == 303
    assert await place.site.text() == typed


async def test_kept_form_repeats_no_secret_and_asks_for_it_again(place: House) -> None:
    sent = {"name": "kotak", "password": "rahsia sekali", "client_secret": ""}
    async with place.browser(place.app, **AS_A_BROWSER) as nobody:
        page = await nobody.post("/agencies/JCM/mailboxes", data=sent)
    assert "rahsia sekali" not in page.text
    assert kept(page)[1] == {"name": "kotak"}
    assert re.findall(r'type="password" name="(\w+)" required', page.text) == ["password"]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
async def test_form_from_a_strangers_page_is_not_kept(place: House, site: str) -> None:
    async with place.browser(place.app, **{**AS_A_BROWSER, "Sec-Fetch-Site": site}) as nobody:
        page = await nobody.post("/agencies/JCM/settings", data={"text": "saya\norang luar"})
    assert page.status_code == 401
    assert "orang luar" not in page.text


async def test_program_without_session_is_told_a_problem(place: House) -> None:
    async with place.browser(Accept="application/json") as program:
        answer = await program.post("/agencies/JCM/settings", data={"text": "teks"})
    assert (answer.status_code, answer.json()["detail"]) == (401, "sign in first, at /sign-in")


@pytest.mark.parametrize(
    "form",
    [
        {"text": "&\n" * ((MAX_TEXT_FORM_SIZE - 100) // 6)},
        {"text": "<" * ((MAX_TEXT_FORM_SIZE - 100) // 3)},
        {f"nama{number}": "\x00\n\u202e" * 100 for number in range(500)},
        {"text": "a" * (MAX_TEXT_FORM_SIZE + 1)},
    ],
    ids=["lines", "marks", "many fields", "too large"],
)
async def test_kept_form_large_odd_text_never_stops_the_loop(place: House, form: Mapping[str, str]) -> None:
    kind = {"content_type": "application/x-www-form-urlencoded", "sec_fetch_site": "same-origin"}
    with without_collector():
        body, path = urlencode(form).encode(), "/agencies/JCM/settings"
        answer = await measure(place.app, "POST", path, body, longest=LONGEST_STEP, **kind)
    assert answer.status == 401
    assert answer.step < LONGEST_STEP


def test_secret_fields_are_those_that_pages_hide() -> None:
    pages = [each.read_text(encoding="utf-8") for each in TEMPLATES.glob("*.html")]
    inputs = [each for text in pages for each in re.findall(r"<input [^>]*type=\"password\"[^>]*>", text)]
    names = {name for each in inputs for name in re.findall(r' name="(\w+)"', each)}
    # The old password is asked for on the page of one's own account only.
    assert names - {"old"} == set(SECRET_FIELDS)


@pytest.mark.parametrize("way", ["page left open", "kept form"])
async def test_form_of_one_user_is_not_taken_from_another(place: House, way: str) -> None:
    siti, ali = await place.admitted("siti", "officer:JCM"), await place.admitted("ali", "officer:JCM")
    before = await place.site.text()
    page = await siti.get("/agencies/JCM/settings", headers=AS_A_BROWSER)
    [form] = [
        each
        for each in re.findall(r'<form method="post"[^>]*>.*?</form>', page.text, re.DOTALL)
        if 'value="text"' in each
    ]
    typed = f"{before}# oleh Siti\n"
    fields: Mapping[str, str] = {
        **dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form)),
        "text": typed,
    }
    if way == "kept form":
        async with place.browser(place.app, **AS_A_BROWSER) as nobody:
            action, fields = kept(await nobody.post("/agencies/JCM/settings", data=fields))
    answer = await ali.post("/agencies/JCM/settings", data=fields, headers=AS_A_BROWSER)
    assert answer.status_code == 401
    assert await place.site.text() == before
    assert "siti" in answer.text
    action, fields = kept(answer)
    assert (await siti.post(action, data=fields, headers=AS_A_BROWSER)).status_code == 303
    assert await place.site.text() == typed
