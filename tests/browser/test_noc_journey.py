"""Operations centre pages in a browser: wallboard, audit log, and a page whose service is gone."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from monitor.web.page import PageLanguage
from tests.browser.browser_session import NARROW, BrowserSessions
from tests.browser.running_site import JCM, MDC, UCM, RunningSite
from tests.real.playwright_browser import accessibility_violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_wallboard_link_shows_all_agencies_and_no_other_page(
    site: RunningSite, sessions: BrowserSessions
) -> None:
    admin, screen = await sessions.open("pentadbir"), await sessions.open(screen={"width": 1920, "height": 1080})
    await admin.go("/wallboards")
    await admin.field("wallboards.name").fill("Dinding bilik operasi")
    await admin.press(admin.button("wallboards.make"))
    address = await admin.page.locator(".secret").inner_text()
    assert await accessibility_violations(admin.page) == []
    await admin.go("/wallboards")
    await expect(admin.page.locator(".secret")).to_have_count(0)

    await screen.page.goto(address)
    assert screen.page.url == f"{site.url}/?wallboard=1"
    for agency in (JCM, MDC, UCM):
        await expect(screen.page.locator(f"#a-{agency.code}")).to_be_visible()
    await site.wait_for_outage()
    await expect(screen.page.locator(f"article#a-{UCM.code}.down")).to_be_visible()
    await screen.press(screen.page.locator(f"#a-{UCM.code} a").first)
    assert await screen.path() == "/sign-in"
    assert [kept["wall"] for _, kept in site.audit_entries("wall's link made")] == ["Dinding bilik operasi"]

    await screen.page.goto(f"{site.url}/?wallboard=1")
    await admin.press(
        admin.page.get_by_role("button", name=f"{admin.translate('wallboards.revoke')}: Dinding bilik operasi")
    )
    await screen.expect_sign_in()


@pytest.mark.parametrize("language", PageLanguage)
async def test_audit_log_filter_survives_language_switch(
    site: RunningSite, sessions: BrowserSessions, language: PageLanguage
) -> None:
    noc = await sessions.open("noc", language=language, screen=NARROW)
    await noc.go("/tasks")
    await noc.press(noc.link("audit_log.title"))
    await noc.field("audit_log.by").fill("pantau demo")
    await noc.field("audit_log.event").fill("roles given")
    await noc.press(noc.button("audit_log.find"))
    rows, wanted = (
        noc.page.locator("tbody tr"),
        [by for by, _ in site.audit_entries("roles given") if by == "pantau demo"],
    )
    await expect(rows).to_have_count(len(wanted))
    await expect(rows.first).to_contain_text("pantau demo")
    other = {PageLanguage.MALAY: PageLanguage.ENGLISH, PageLanguage.ENGLISH: PageLanguage.MALAY}[language]
    await noc.press(noc.page.locator(f"a[hreflang={other}]"))
    await expect(noc.page.locator("html")).to_have_attribute("lang", other)
    await expect(rows).to_have_count(len(wanted))


async def test_page_of_killed_service_is_marked_stale(site: RunningSite, sessions: BrowserSessions) -> None:
    wall = await sessions.open("noc", screen={"width": 1920, "height": 1080})
    agency = await sessions.open("noc", screen=NARROW, language=PageLanguage.ENGLISH)
    await wall.go("/?wallboard=1")
    await agency.go(f"/agencies/{JCM.code}")
    for each in (wall, agency):
        await expect(each.page.locator("#asof")).to_be_visible()
        await expect(each.page.locator("#stale")).to_be_hidden()
        # No response is expected, neither to new requests nor to those in progress.
        each.allow_errors("net::ERR_", "Failed to load resource: net::ERR_")
    await site.play.kill()
    try:
        for each in (wall, agency):
            await expect(each.page.locator("#stale")).to_be_visible()
            await expect(each.page.locator("#stale")).to_contain_text(each.translate("common.stale"))
            assert (await each.page.title()).startswith(f"{each.translate('common.stale')} · ")
            assert "grayscale(1)" in await each.page.locator("main").evaluate("each => getComputedStyle(each).filter")
    finally:
        await site.play.start()
    for each in (wall, agency):
        await expect(each.page.locator("#stale")).to_be_hidden()
