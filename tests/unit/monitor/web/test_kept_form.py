"""Kept form: the page of a missing session or unavailable database repeats the refused form."""

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
from tests.unit.monitor.web.event_loop import measure, without_collector
from tests.unit.monitor.web.portal_env import SAME_ORIGIN, PortalEnv, open_portal
from tests.unit.monitor.web.test_access_control import PATH_VALUES, TABLE

pytestmark = pytest.mark.access

TEMPLATES = Path(__file__).parents[4] / "monitor/web/templates"
BROWSER_HEADERS = {**SAME_ORIGIN, "Accept": "text/html"}
ODD = "\"<tanda> & baris'\u2028 \\ {{ x }}"
#: Forms with secrets, or without text input.
NOT_KEPT = re.compile(r"/(?:sign-in|sign-out|welcome|account/)")
#: In seconds.
LONGEST_STEP = 0.05


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path) as opened:
        yield opened


def kept_form(page: httpx.Response) -> tuple[str, Mapping[str, str]]:
    """Return the action and the fields of the kept form."""
    [form] = re.findall(r'<form method="post" action="([^"]*)" class="sheet">(.*?)</form>', page.text, re.DOTALL)
    hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form[1])
    # HTML ignores the first line break of a textarea.
    texts = re.findall(r'<textarea name="([^"]*)"[^>]*>\n(.*?)</textarea>', form[1], re.DOTALL)
    return unescape(form[0]), {unescape(name): unescape(value) for name, value in hidden + texts}


@pytest.mark.parametrize("route", [each for each in TABLE if each.startswith("POST ") and "/api/" not in each])
async def test_form_without_session_is_kept(env: PortalEnv, route: str) -> None:
    path = route.removeprefix("POST ").format(**PATH_VALUES)
    sent = {"why": ODD, "text": f"baris\n{ODD}\n"}
    async with env.browser(env.app, **BROWSER_HEADERS) as nobody:
        page = await nobody.post(path, data=sent)
    if page.status_code == 401 and not NOT_KEPT.match(path):
        assert kept_form(page) == (path, sent)
        assert "form-action 'self'" in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "same-origin"
    else:
        assert NOT_KEPT.match(path) or page.status_code == 404, page.status_code
        assert ODD not in unescape(page.text)


@pytest.mark.parametrize("refused", ["no session", "store unavailable"])
async def test_kept_form_resent_is_saved(env: PortalEnv, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    officer = await env.session_for("siti", "officer:JCM")
    officer.headers.update(BROWSER_HEADERS)
    # A document cannot contain this line break.
    typed = f"{await env.site.text()}# {ODD}\n".replace("\u2028", "")
    page = await officer.get("/agencies/JCM/settings")
    [started_from] = set(re.findall(r'name="started_from" value="([^"]*)"', page.text))
    form = {"form": "text", "started_from": started_from, "text": typed}
    with monkeypatch.context() as patch:
        if refused == "store unavailable":

            async def unavailable(*_: object, **__: object) -> None:
                raise StoreUnavailable("disk I/O error")

            patch.setattr(env.site.editor, "save", unavailable)
            page = await officer.post("/agencies/JCM/settings", data=form)
        else:
            async with env.browser(env.app, **BROWSER_HEADERS) as nobody:
                page = await nobody.post("/agencies/JCM/settings", data=form)
    assert page.status_code == (503 if refused == "store unavailable" else 401)
    assert "di halaman ini" in page.text
    action, fields = kept_form(page)
    assert (action, fields) == ("/agencies/JCM/settings", form)
    assert (await officer.post(action, data=fields)).status_code == 303
    assert await env.site.text() == typed


async def test_kept_form_omits_secrets_and_requests_them(env: PortalEnv) -> None:
    sent = {"name": "kotak", "password": "rahsia sekali", "client_secret": ""}
    async with env.browser(env.app, **BROWSER_HEADERS) as nobody:
        page = await nobody.post("/agencies/JCM/mailboxes", data=sent)
    assert "rahsia sekali" not in page.text
    assert kept_form(page)[1] == {"name": "kotak"}
    assert re.findall(r'type="password" name="(\w+)" required', page.text) == ["password"]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
async def test_form_cross_site_is_not_kept(env: PortalEnv, site: str) -> None:
    async with env.browser(env.app, **{**BROWSER_HEADERS, "Sec-Fetch-Site": site}) as nobody:
        page = await nobody.post("/agencies/JCM/settings", data={"text": "saya\norang luar"})
    assert page.status_code == 401
    assert "orang luar" not in page.text


async def test_program_without_session_gets_problem_details(env: PortalEnv) -> None:
    async with env.browser(Accept="application/json") as program:
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
async def test_kept_form_large_odd_text_never_blocks_event_loop(env: PortalEnv, form: Mapping[str, str]) -> None:
    kind = {"content_type": "application/x-www-form-urlencoded", "sec_fetch_site": "same-origin"}
    with without_collector():
        body, path = urlencode(form).encode(), "/agencies/JCM/settings"
        answer = await measure(env.app, "POST", path, body, longest=LONGEST_STEP, **kind)
    assert answer.status == 401
    assert answer.step < LONGEST_STEP


def test_secret_fields_match_password_inputs() -> None:
    pages = [each.read_text(encoding="utf-8") for each in TEMPLATES.glob("*.html")]
    inputs = [each for text in pages for each in re.findall(r"<input [^>]*type=\"password\"[^>]*>", text)]
    names = {name for each in inputs for name in re.findall(r' name="(\w+)"', each)}
    # Only the account page asks for the old password.
    assert names - {"old"} == set(SECRET_FIELDS)


@pytest.mark.parametrize("way", ["page left open", "kept form"])
async def test_form_of_one_user_is_refused_from_another(env: PortalEnv, way: str) -> None:
    siti, ali = await env.session_for("siti", "officer:JCM"), await env.session_for("ali", "officer:JCM")
    before = await env.site.text()
    page = await siti.get("/agencies/JCM/settings", headers=BROWSER_HEADERS)
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
        async with env.browser(env.app, **BROWSER_HEADERS) as nobody:
            action, fields = kept_form(await nobody.post("/agencies/JCM/settings", data=fields))
    answer = await ali.post("/agencies/JCM/settings", data=fields, headers=BROWSER_HEADERS)
    assert answer.status_code == 401
    assert await env.site.text() == before
    assert "siti" in answer.text
    action, fields = kept_form(answer)
    assert (await siti.post(action, data=fields, headers=BROWSER_HEADERS)).status_code == 303
    assert await env.site.text() == typed
