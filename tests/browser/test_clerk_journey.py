"""Letters page in a browser: print, record posting with its day, and download the docket."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from monitor.web.page import PageLanguage
from tests.browser.browser_session import BrowserSessions
from tests.browser.running_site import MDC, RunningSite, recipients
from tests.real.playwright_browser import accessibility_violations
from tests.unit.alerts.documents.pages import text_of

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("language", PageLanguage)
async def test_letters_selected_are_printed_posted_and_listed_in_docket(
    site: RunningSite, sessions: BrowserSessions, language: PageLanguage
) -> None:
    number = await site.release_outage(MDC.code)
    clerk = await sessions.open("kerani", language=language)
    await clerk.go("/")
    await clerk.press(clerk.link("access.letters"))
    letters = clerk.page.locator("form.letter").filter(has_text=number)
    await expect(letters).to_have_count(len(recipients(MDC.code)))

    # Without a selection the page shows an error and records nothing.
    await clerk.press(clerk.button("letters.ticked_printed"))
    await clerk.expect_text("letters.none_ticked")
    assert await accessibility_violations(clerk.page) == []
    await clerk.press(clerk.link("letters.tick_all"))
    async with clerk.context.expect_event("request", lambda each: "waiting.pdf" in each.url) as asked:
        await clerk.button("letters.print_ticked").click()
    printed = await clerk.fetch((await asked.value).url.removeprefix(site.url))
    pdf_text = text_of(await printed.body())
    assert all(office.upper() in pdf_text.upper() for office in recipients(MDC.code)), pdf_text
    # The file opens in another tab, so the selection remains.
    await clerk.press(clerk.button("letters.ticked_printed"))
    kept = [each for each in await site.get("/letters") if each["incident"].startswith(number)]
    assert {each["printed_by"] for each in kept} == {f"{site.logins['kerani'].full_name} (kerani)"}

    await clerk.press(clerk.link("letters.tick_printed"))
    day = await clerk.page.locator("#together input[name=day]").input_value()
    await clerk.press(clerk.button("letters.ticked_posted"))
    await expect(letters).to_have_count(0)
    rows = clerk.page.locator("tbody tr").filter(has_text=number)
    await expect(rows).to_have_count(len(recipients(MDC.code)))
    entries = [detail for _, detail in site.audit_entries("letter dispatched") if detail.get("day") == day]
    assert len(entries) >= len(recipients(MDC.code)), site.audit_entries("letter dispatched")[-2:]
    docket = await clerk.fetch(f"/letters/docket?day={day}")
    listed = text_of(await docket.body())
    assert all(office in listed for office in recipients(MDC.code)), listed
    await site.close_incident(number)


async def test_letters_go_back_after_reorder_selects_no_other_letter(
    site: RunningSite, sessions: BrowserSessions
) -> None:
    number = await site.release_outage(MDC.code)
    clerk = await sessions.open("kerani")
    boxes = clerk.page.locator("form.letter").filter(has_text=number).get_by_role("checkbox")

    async def letters() -> list[str]:
        await expect(boxes).to_have_count(len(recipients(MDC.code)))
        found: list[str] = await boxes.evaluate_all("all => all.map(each => each.value)")
        return found

    await clerk.go("/letters")
    first, *rest = await letters()
    await boxes.first.check()
    await clerk.press(clerk.button("letters.ticked_printed"))
    await clerk.page.go_back()
    assert await letters() == [*rest, first], "what is printed comes last"
    await expect(clerk.page.locator("[name=letter]:checked")).to_have_count(0)
    await site.close_incident(number)
