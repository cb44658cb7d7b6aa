"""Somebody's own account: a second factor that is set up, asked for and lost, and a language that stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from monitor.web.page import PageLanguage
from tests.authenticator import code_at
from tests.browser.guest import NARROW, Door
from tests.browser.running_site import UCM, RunningSite
from tests.real.visitor import shut_out

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_second_factor_is_set_up_used_and_a_recovery_code_opens_once(site: RunningSite, door: Door) -> None:
    nur = await door.admit("nur", screen=NARROW)
    login = site.logins["nur"]
    await nur.go("/account")
    await nur.press(nur.link("access.factor_set_up"))
    secret = (await nur.page.locator(".secret").inner_text()).replace(" ", "")
    assert await nur.page.locator("img.code").evaluate("each => each.naturalWidth") > 100
    begun = datetime.now(UTC)
    await nur.field("access.factor_code").fill(code_at(secret, begun))
    await nur.field("access.old_password").fill(login.password)
    await nur.press(nur.button("access.factor_on"))
    codes = await nur.page.locator(".codes code").all_inner_texts()
    assert len(codes) == 10
    assert await shut_out(nur.page) == []
    assert await nur.wider_than(NARROW["width"]) == []

    async def signs_in(code: str, path: str = "/account") -> None:
        await nur.press(nur.button("access.sign_out"))
        await nur.go(path)
        await nur.sign_in(login)
        assert await nur.path() == "/sign-in/code"
        await nur.field("access.one_time").fill(code)
        await nur.press(nur.button("access.sign_in"))

    # That of the set-up has counted; the telephone shows the next one, or is half a minute ahead.
    await signs_in(code_at(secret, begun + timedelta(seconds=30)))
    assert await nur.path() == "/account"
    await signs_in(codes[0])
    assert await nur.path() == "/account"
    await signs_in(codes[0])
    await nur.sees("access.one_time_wrong")
    await nur.field("access.one_time").fill(codes[1])
    await nur.press(nur.button("access.sign_in"))
    assert await nur.path() == "/account"
    assert len(site.journal("second factor set up")) == 1, site.journal("second factor set up")


async def test_the_language_is_switched_where_one_is_and_stays(door: Door) -> None:
    noc = await door.admit("noc")
    for path in (f"/agencies/{UCM.code}", "/?state=down", "/tasks", "/rotas"):
        await noc.go(f"{path}{'&' if '?' in path else '?'}lang=ms")
        await noc.press(noc.page.locator("a[hreflang=en]"))
        await expect(noc.page.locator("html")).to_have_attribute("lang", "en")
        assert noc.page.url.removeprefix(noc.site.url).startswith(path)
    noc.language = PageLanguage.ENGLISH
    await noc.go("/account")
    await noc.sees("access.your_roles")
    # Also where nobody has signed in.
    await noc.press(noc.button("access.sign_out"))
    await noc.sees("access.no_account")
