"""The clerk: what waits is printed at once, posted with its day, and handed over at the counter with a docket."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from monitor.web.page import PageLanguage
from tests.browser.guest import Door
from tests.browser.running_site import MDC, RunningSite, recipients
from tests.real.visitor import shut_out
from tests.unit.alerts.documents.pages import text_of

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("language", PageLanguage)
async def test_several_letters_are_printed_posted_with_their_day_and_stand_in_the_docket(
    site: RunningSite, door: Door, language: PageLanguage
) -> None:
    number = await site.released(MDC.code)
    clerk = await door.admit("kerani", language=language)
    await clerk.go("/")
    await clerk.press(clerk.link("access.letters"))
    letters = clerk.page.locator("form.letter").filter(has_text=number)
    await expect(letters).to_have_count(len(recipients(MDC.code)))

    # Without a tick it says so, and nothing is recorded.
    await clerk.press(clerk.button("letters.ticked_printed"))
    await clerk.sees("letters.none_ticked")
    assert await shut_out(clerk.page) == []
    await clerk.press(clerk.link("letters.tick_all"))
    async with clerk.context.expect_event("request", lambda each: "waiting.pdf" in each.url) as asked:
        await clerk.button("letters.print_ticked").click()
    printed = await clerk.fetch((await asked.value).url.removeprefix(site.url))
    said = text_of(await printed.body())
    assert all(office.upper() in said.upper() for office in recipients(MDC.code)), said
    # The file has a tab of its own: what is ticked is ticked still.
    await clerk.press(clerk.button("letters.ticked_printed"))
    kept = [each for each in await site.ask("/letters") if each["incident"].startswith(number)]
    assert {each["printed_by"] for each in kept} == {f"{site.logins['kerani'].full_name} (kerani)"}

    await clerk.press(clerk.link("letters.tick_printed"))
    day = await clerk.page.locator("#together input[name=day]").input_value()
    await clerk.press(clerk.button("letters.ticked_posted"))
    await expect(letters).to_have_count(0)
    rows = clerk.page.locator("tbody tr").filter(has_text=number)
    await expect(rows).to_have_count(len(recipients(MDC.code)))
    told = [detail for _, detail in site.journal("letter dispatched") if detail.get("day") == day]
    assert len(told) >= len(recipients(MDC.code)), site.journal("letter dispatched")[-2:]
    docket = await clerk.fetch(f"/letters/docket?day={day}")
    listed = text_of(await docket.body())
    assert all(office in listed for office in recipients(MDC.code)), listed
    await site.over(number)


async def test_who_goes_back_once_the_order_has_changed_finds_no_other_letter_ticked(
    site: RunningSite, door: Door
) -> None:
    number = await site.released(MDC.code)
    clerk = await door.admit("kerani")
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
    await site.over(number)
