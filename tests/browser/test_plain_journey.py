"""Whoever has no script, or no mouse, does all of it, too."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, expect

from tests.browser.guest import NARROW, Door, Guest
from tests.browser.running_site import JCM, UCM, RunningSite

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_without_a_script_an_officer_signs_in_finds_their_agency_tests_and_changes_it(
    site: RunningSite, door: Door
) -> None:
    ali = await door.admit(screen=NARROW, script=False)
    await ali.go("/?q=jcm")
    await ali.sign_in(site.logins["ali"])
    assert ali.page.url == f"{site.url}/?q=jcm"
    await ali.press(ali.page.get_by_role("link", name=JCM.code, exact=True))
    await ali.press(ali.link("trial.test_now"))
    await ali.page.get_by_label("outbound").first.check()
    await ali.press(ali.button("trial.start"))
    # The page loads itself again until it is over.
    await expect(ali.page.locator("[data-over]")).to_be_visible()
    assert [who for who, _ in site.journal("route tested")][-1] == f"{JCM.deputy.name} (ali)"

    await ali.press(ali.link("edit.title", code=JCM.code))
    form = await ali.unfold("edit.contact_add")
    await form.get_by_label(ali.say("edit.key")).fill("mastura")
    await form.get_by_label(ali.say("edit.name"), exact=True).fill("Mastura Contoh")
    await form.get_by_label(ali.say("edit.sms")).fill("+60100000199")
    await ali.press(form.get_by_role("button"))
    assert (await site.document(JCM.code))["contacts"]["mastura"]["name"] == "Mastura Contoh"


async def test_with_a_keyboard_alone_somebody_signs_in_and_takes_on_an_outage(site: RunningSite, door: Door) -> None:
    number = await site.outage()
    noc = await door.admit()
    login = site.logins["noc"]
    await noc.go("/tasks")
    # The field that comes first has the focus without anybody's doing, as soon as the page is drawn.
    await expect(noc.page.locator("[name='name']")).to_be_focused()
    await noc.page.keyboard.type(login.name)
    await noc.page.keyboard.press("Tab")
    await noc.page.keyboard.type(login.password)
    await entered(noc)
    assert await noc.path() == "/tasks"
    await tab_to(noc, noc.page.get_by_role("link", name=number, exact=True).first)
    await entered(noc)
    assert await noc.path() == f"/incidents/{number}"
    # Past all that every page begins with.
    await tab_to(noc, noc.link("say.skip"))
    await noc.page.keyboard.press("Enter")
    await tab_to(noc, noc.button("duty.acknowledge"), most=3)
    await entered(noc)
    assert (await site.ask(f"/incidents/{number}"))["acknowledged_by"] == f"{login.full_name} (noc)"
    assert (await site.ask(f"/incidents/{number}"))["agency"] == UCM.code


async def tab_to(guest: Guest, wanted: Locator, *, most: int = 60) -> None:
    """Press the key until it is reached; each stop on the way is seen to have the focus."""
    await wanted.wait_for(state="attached")
    for _ in range(most):
        await guest.page.keyboard.press("Tab")
        width, style = await guest.page.evaluate(
            "() => (({ outlineWidth, outlineStyle }) => [parseFloat(outlineWidth), outlineStyle])(getComputedStyle(document.activeElement))"
        )
        assert (width >= 2, style) == (True, "solid")
        if await wanted.evaluate("each => each === document.activeElement"):
            return
    raise AssertionError(f"not within {most} steps: {wanted}")


async def entered(guest: Guest) -> None:
    """Press Enter, which leads on."""
    async with guest.page.expect_navigation():
        await guest.page.keyboard.press("Enter")
