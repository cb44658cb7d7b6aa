"""The operations centre: the wall, the journal, and what they say where nothing can be known any more."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from monitor.web.page import PageLanguage
from tests.browser.guest import NARROW, Door
from tests.browser.running_site import JCM, MDC, UCM, RunningSite
from tests.real.visitor import shut_out

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_screen_on_a_wall_shows_all_agencies_by_its_link_and_nothing_else(
    site: RunningSite, door: Door
) -> None:
    admin, screen = await door.admit("pentadbir"), await door.admit(screen={"width": 1920, "height": 1080})
    await admin.go("/wallboards")
    await admin.field("wall.name").fill("Dinding bilik operasi")
    await admin.press(admin.button("wall.make"))
    address = await admin.page.locator(".secret").inner_text()
    assert await shut_out(admin.page) == []
    await admin.go("/wallboards")
    await expect(admin.page.locator(".secret")).to_have_count(0)

    await screen.page.goto(address)
    assert screen.page.url == f"{site.url}/?wallboard=1"
    for agency in (JCM, MDC, UCM):
        await expect(screen.page.locator(f"#a-{agency.code}")).to_be_visible()
    await site.outage()
    await expect(screen.page.locator(f"article#a-{UCM.code}.down")).to_be_visible()
    await screen.press(screen.page.locator(f"#a-{UCM.code} a").first)
    assert await screen.path() == "/sign-in"
    assert [kept["wall"] for _, kept in site.journal("wall's link made")] == ["Dinding bilik operasi"]

    await screen.page.goto(f"{site.url}/?wallboard=1")
    await admin.press(admin.page.get_by_role("button", name=f"{admin.say('wall.revoke')}: Dinding bilik operasi"))
    await screen.is_sent_away()


@pytest.mark.parametrize("language", PageLanguage)
async def test_the_journal_is_searched_and_what_was_searched_stays_in_the_other_language(
    site: RunningSite, door: Door, language: PageLanguage
) -> None:
    noc = await door.admit("noc", language=language, screen=NARROW)
    await noc.go("/tasks")
    await noc.press(noc.link("journal.title"))
    await noc.field("journal.by").fill("pantau demo")
    await noc.field("journal.event").fill("roles given")
    await noc.press(noc.button("journal.find"))
    rows, wanted = noc.page.locator("tbody tr"), [by for by, _ in site.journal("roles given") if by == "pantau demo"]
    await expect(rows).to_have_count(len(wanted))
    await expect(rows.first).to_contain_text("pantau demo")
    other = {PageLanguage.MALAY: PageLanguage.ENGLISH, PageLanguage.ENGLISH: PageLanguage.MALAY}[language]
    await noc.press(noc.page.locator(f"a[hreflang={other}]"))
    await expect(noc.page.locator("html")).to_have_attribute("lang", other)
    await expect(rows).to_have_count(len(wanted))


async def test_a_page_whose_service_is_killed_says_so_and_does_not_stay_green(site: RunningSite, door: Door) -> None:
    wall = await door.admit("noc", screen={"width": 1920, "height": 1080})
    agency = await door.admit("noc", screen=NARROW, language=PageLanguage.ENGLISH)
    await wall.go("/?wallboard=1")
    await agency.go(f"/agencies/{JCM.code}")
    for each in (wall, agency):
        await expect(each.page.locator("#asof")).to_be_visible()
        await expect(each.page.locator("#stale")).to_be_hidden()
        # That nobody answers is the point: of what is asked after the kill, and of what was being asked.
        each.foresee("net::ERR_", "Failed to load resource: net::ERR_")
    await site.play.kill()
    try:
        for each in (wall, agency):
            await expect(each.page.locator("#stale")).to_be_visible()
            await expect(each.page.locator("#stale")).to_contain_text(each.say("say.stale"))
            assert (await each.page.title()).startswith(f"{each.say('say.stale')} · ")
            assert "grayscale(1)" in await each.page.locator("main").evaluate("each => getComputedStyle(each).filter")
    finally:
        await site.play.start()
    for each in (wall, agency):
        await expect(each.page.locator("#stale")).to_be_hidden()
