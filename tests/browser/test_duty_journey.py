"""A duty officer with a telephone, from a call of a user to the end of the incident."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from monitor.web.page import PageLanguage
from tests.browser.guest import NARROW, Door
from tests.browser.running_site import JCM, RunningSite
from tests.real.visitor import shut_out

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("language", PageLanguage)
async def test_an_outage_is_declared_taken_on_released_and_closed_from_a_telephone(
    site: RunningSite, door: Door, language: PageLanguage
) -> None:
    siti = await door.admit("siti", language=language, screen=NARROW)
    by = site.logins["siti"].full_name
    await siti.go("/tasks")
    form = await siti.unfold("duty.declare")
    # Whoever is on duty for one agency need not write its code.
    await expect(form.get_by_label(siti.say("duty.agency"))).to_have_value(JCM.code)
    await form.get_by_label(siti.say("duty.both")).check()
    await form.get_by_label(siti.say("duty.why")).fill("Tiga orang menelefon")
    await siti.press(form.get_by_role("button"))
    await siti.sees("duty_said.declared")
    [incident] = [each for each in await site.ask(f"/incidents?agency={JCM.code}") if each["state"] != "resolved"]
    number, here = incident["number"], f"/incidents/{incident['number']}"
    assert incident["declared_by"].startswith(by)

    async def now() -> Any:
        return await site.ask(here)

    await siti.go("/tasks")
    await siti.press(siti.page.get_by_role("link", name=number, exact=True).first)
    assert await siti.path() == here
    await siti.press(siti.button("duty.acknowledge"))
    await siti.sees("duty_said.acknowledged")
    assert (await now())["acknowledged_by"].startswith(by)

    await siti.field("duty.remark_text").fill("Pembekal dihubungi")
    await siti.press(siti.button("duty.remark_save"))
    await expect(siti.page.get_by_text("Pembekal dihubungi")).to_be_visible()
    assert [who for who, said in site.journal("remark") if said.get("text") == "Pembekal dihubungi"][-1].startswith(by)

    form = await siti.unfold("duty.hand_on")
    await siti.press(form.get_by_role("button"))
    await siti.sees("duty_said.handed_on")
    assert (await now())["escalated"] is True

    for button in (siti.button("duty.acknowledge"), siti.link("duty.release")):
        assert await button.evaluate("each => each.getBoundingClientRect().height") >= 44, "large enough for a thumb"
    await siti.press(siti.link("duty.release"))
    pages = siti.page.get_by_role("link", name=siti.say("duty.look_at_page"))
    assert await pages.count() == 2
    for place in range(2):
        page = await siti.fetch(await pages.nth(place).get_attribute("href") or "")
        assert (await page.body()).startswith(b"%PDF")
    await siti.press(siti.button("duty.release_now", count=2))
    await siti.sees("duty_said.released")
    assert (await now())["released_by"].startswith(by)

    form = await siti.unfold("duty.close")
    await form.get_by_label(siti.say("duty.why")).fill("Diuji dengan peti mel sendiri")
    await form.get_by_label(siti.say("duty.recovered_yes")).check()
    await siti.press(form.get_by_role("button"))
    await siti.sees("duty_said.closed")
    over = await now()
    assert (over["state"], over["recovered"], over["closed_by"].startswith(by)) == ("resolved", True, True)
    assert await siti.wider_than(NARROW["width"]) == []


async def test_a_silence_begins_and_ends_on_a_telephone_and_a_form_that_is_refused_keeps_what_was_typed(
    site: RunningSite, door: Door
) -> None:
    siti = await door.admit("siti", screen=NARROW)
    await siti.go("/tasks")
    form = await siti.unfold("duty.silence")
    await form.get_by_label(siti.say("duty.about")).fill("TIADA")
    await form.get_by_label(siti.say("duty.silence_why")).fill("Pelayan ditukar malam ini")
    await siti.press(form.get_by_role("button"))
    await expect(siti.page.get_by_role("alert")).to_contain_text("TIADA")
    form = siti.unfolded("duty.silence")
    await expect(form.get_by_label(siti.say("duty.silence_why"))).to_have_value("Pelayan ditukar malam ini")
    assert await shut_out(siti.page) == []

    await form.get_by_label(siti.say("duty.about")).fill(JCM.code)
    await form.get_by_label(siti.say("duty.lasts")).select_option("1h")
    await siti.press(form.get_by_role("button"))
    await siti.sees("duty_said.silenced")
    [silence] = await site.ask("/silences")
    assert (silence["target"], silence["reason"]) == (JCM.code, "Pelayan ditukar malam ini")
    await siti.press(siti.page.get_by_role("button", name=f"{siti.say('duty.end_silence')}: {JCM.code}"))
    await siti.sees("duty_said.unsilenced")
    assert await site.ask("/silences") == []


async def test_who_looks_at_an_old_page_hears_what_has_become_of_it_and_changes_nothing(
    site: RunningSite, door: Door
) -> None:
    number = await site.declared(JCM.code)
    siti, noc = await door.admit("siti", screen=NARROW), await door.admit("noc", language=PageLanguage.ENGLISH)
    for each in (siti, noc):
        await each.go(f"/incidents/{number}")
    await siti.press(siti.button("duty.acknowledge"))
    await noc.press(noc.button("duty.acknowledge"))
    await noc.sees("duty_said.has_another")
    taken = await site.ask(f"/incidents/{number}")
    assert taken["acknowledged_by"] == f"{JCM.duty.name} (siti)"
    await site.over(number)
    over = await site.ask(f"/incidents/{number}")
    await siti.press(siti.button("duty.prolong"))
    await siti.sees("duty_said.over")
    assert await site.ask(f"/incidents/{number}") == over
