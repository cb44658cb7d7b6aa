"""Account page in a browser: second factor, recovery codes and language."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from monitor.web.page import PageLanguage
from tests.authenticator import code_at
from tests.browser.browser_session import NARROW, BrowserSessions
from tests.browser.running_site import UCM, RunningSite
from tests.real.playwright_browser import accessibility_violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_second_factor_set_up_and_recovery_code_accepted_once(
    site: RunningSite, sessions: BrowserSessions
) -> None:
    nur = await sessions.open("nur", screen=NARROW)
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
    assert await accessibility_violations(nur.page) == []
    assert await nur.overflowing(NARROW["width"]) == []

    async def signs_in(code: str, path: str = "/account") -> None:
        await nur.press(nur.button("access.sign_out"))
        await nur.go(path)
        await nur.sign_in(login)
        assert await nur.path() == "/sign-in/code"
        await nur.field("access.one_time").fill(code)
        await nur.press(nur.button("access.sign_in"))

    # The set-up used the present code; the next one is accepted half a minute early.
    await signs_in(code_at(secret, begun + timedelta(seconds=30)))
    assert await nur.path() == "/account"
    await signs_in(codes[0])
    assert await nur.path() == "/account"
    await signs_in(codes[0])
    await nur.expect_text("access.one_time_wrong")
    await nur.field("access.one_time").fill(codes[1])
    await nur.press(nur.button("access.sign_in"))
    assert await nur.path() == "/account"
    assert len(site.audit_entries("second factor set up")) == 1, site.audit_entries("second factor set up")


async def test_language_switch_keeps_page_and_persists(sessions: BrowserSessions) -> None:
    noc = await sessions.open("noc")
    for path in (f"/agencies/{UCM.code}", "/?state=down", "/tasks", "/rotas"):
        await noc.go(f"{path}{'&' if '?' in path else '?'}lang=ms")
        await noc.press(noc.page.locator("a[hreflang=en]"))
        await expect(noc.page.locator("html")).to_have_attribute("lang", "en")
        assert noc.page.url.removeprefix(noc.site.url).startswith(path)
    noc.language = PageLanguage.ENGLISH
    await noc.go("/account")
    await noc.expect_text("access.your_roles")
    # The language also applies without a session.
    await noc.press(noc.button("access.sign_out"))
    await noc.expect_text("access.no_account")
