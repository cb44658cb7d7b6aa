"""Portal without JavaScript, and with a keyboard only."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, expect

from tests.browser.browser_session import NARROW, BrowserSession, BrowserSessions
from tests.browser.running_site import JCM, UCM, RunningSite

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_officer_without_script_signs_in_tests_route_and_edits_settings(
    site: RunningSite, sessions: BrowserSessions
) -> None:
    ali = await sessions.open(screen=NARROW, script=False)
    await ali.go("/?q=jcm")
    await ali.sign_in(site.logins["ali"])
    assert ali.page.url == f"{site.url}/?q=jcm"
    await ali.press(ali.page.get_by_role("link", name=JCM.code, exact=True))
    await ali.press(ali.link("on_demand_run.test_now"))
    await ali.page.get_by_label("outbound").first.check()
    await ali.press(ali.button("on_demand_run.start"))
    # The page reloads until the run has ended.
    await expect(ali.page.locator("[data-over]")).to_be_visible()
    assert [who for who, _ in site.audit_entries("route tested")][-1] == f"{JCM.deputy.name} (ali)"

    await ali.press(ali.link("edit.title", code=JCM.code))
    form = await ali.expand("edit.contact_add")
    await form.get_by_label(ali.translate("edit.key")).fill("mastura")
    await form.get_by_label(ali.translate("edit.name"), exact=True).fill("Mastura Contoh")
    await form.get_by_label(ali.translate("edit.sms")).fill("+60100000199")
    await ali.press(form.get_by_role("button"))
    assert (await site.document(JCM.code))["contacts"]["mastura"]["name"] == "Mastura Contoh"


async def test_keyboard_only_user_signs_in_and_acknowledges_outage(
    site: RunningSite, sessions: BrowserSessions
) -> None:
    number = await site.wait_for_outage()
    noc = await sessions.open()
    login = site.logins["noc"]
    await noc.go("/tasks")
    # The first field is focused as soon as the page is drawn.
    await expect(noc.page.locator("[name='name']")).to_be_focused()
    await noc.page.keyboard.type(login.name)
    await noc.page.keyboard.press("Tab")
    await noc.page.keyboard.type(login.password)
    await press_enter(noc)
    assert await noc.path() == "/tasks"
    await tab_to(noc, noc.page.get_by_role("link", name=number, exact=True).first)
    await press_enter(noc)
    assert await noc.path() == f"/incidents/{number}"
    # Skip the header of the page.
    await tab_to(noc, noc.link("common.skip"))
    await noc.page.keyboard.press("Enter")
    await tab_to(noc, noc.button("duty.acknowledge"), most=3)
    await press_enter(noc)
    assert (await site.get(f"/incidents/{number}"))["acknowledged_by"] == f"{login.full_name} (noc)"
    assert (await site.get(f"/incidents/{number}"))["agency"] == UCM.code


async def tab_to(session: BrowserSession, wanted: Locator, *, most: int = 60) -> None:
    """Press Tab until an element has the focus; each stop on the way must show its focus."""
    await wanted.wait_for(state="attached")
    for _ in range(most):
        await session.page.keyboard.press("Tab")
        width, style = await session.page.evaluate(
            "() => (({ outlineWidth, outlineStyle }) => [parseFloat(outlineWidth), outlineStyle])(getComputedStyle(document.activeElement))"
        )
        assert (width >= 2, style) == (True, "solid")
        if await wanted.evaluate("each => each === document.activeElement"):
            return
    raise AssertionError(f"not within {most} steps: {wanted}")


async def press_enter(session: BrowserSession) -> None:
    """Press Enter, and wait for the next page."""
    async with session.page.expect_navigation():
        await session.page.keyboard.press("Enter")
