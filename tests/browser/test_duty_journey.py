"""Duty officer pages on a telephone, from a user's call to the end of the incident."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from monitor.web.page import PageLanguage
from tests.browser.browser_session import NARROW, BrowserSessions
from tests.browser.running_site import JCM, RunningSite
from tests.real.playwright_browser import accessibility_violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("language", PageLanguage)
async def test_outage_declared_acknowledged_released_and_closed_on_telephone(
    site: RunningSite, sessions: BrowserSessions, language: PageLanguage
) -> None:
    siti = await sessions.open("siti", language=language, screen=NARROW)
    by = site.logins["siti"].full_name
    await siti.go("/tasks")
    form = await siti.expand("duty.declare")
    # The agency is filled in for a role of one agency.
    await expect(form.get_by_label(siti.translate("duty.agency"))).to_have_value(JCM.code)
    await form.get_by_label(siti.translate("duty.both")).check()
    await form.get_by_label(siti.translate("duty.why")).fill("Tiga orang menelefon")
    await siti.press(form.get_by_role("button"))
    await siti.expect_text("duty_messages.declared")
    [incident] = [each for each in await site.get(f"/incidents?agency={JCM.code}") if each["state"] != "resolved"]
    number, here = incident["number"], f"/incidents/{incident['number']}"
    assert incident["declared_by"].startswith(by)

    async def now() -> Any:
        return await site.get(here)

    await siti.go("/tasks")
    await siti.press(siti.page.get_by_role("link", name=number, exact=True).first)
    assert await siti.path() == here
    await siti.press(siti.button("duty.acknowledge"))
    await siti.expect_text("duty_messages.acknowledged")
    assert (await now())["acknowledged_by"].startswith(by)

    await siti.field("duty.remark_text").fill("Pembekal dihubungi")
    await siti.press(siti.button("duty.remark_save"))
    await expect(siti.page.get_by_text("Pembekal dihubungi")).to_be_visible()
    assert [who for who, detail in site.audit_entries("remark") if detail.get("text") == "Pembekal dihubungi"][
        -1
    ].startswith(by)

    form = await siti.expand("duty.escalate")
    await siti.press(form.get_by_role("button"))
    await siti.expect_text("duty_messages.escalated")
    assert (await now())["escalated"] is True

    for button in (siti.button("duty.acknowledge"), siti.link("duty.release")):
        assert await button.evaluate("each => each.getBoundingClientRect().height") >= 44, "large enough for a thumb"
    await siti.press(siti.link("duty.release"))
    pages = siti.page.get_by_role("link", name=siti.translate("duty.look_at_page"))
    assert await pages.count() == 2
    for place in range(2):
        page = await siti.fetch(await pages.nth(place).get_attribute("href") or "")
        assert (await page.body()).startswith(b"%PDF")
    await siti.press(siti.button("duty.release_now", count=2))
    await siti.expect_text("duty_messages.released")
    assert (await now())["released_by"].startswith(by)

    form = await siti.expand("duty.close")
    await form.get_by_label(siti.translate("duty.why")).fill("Diuji dengan peti mel sendiri")
    await form.get_by_label(siti.translate("duty.recovered_yes")).check()
    await siti.press(form.get_by_role("button"))
    await siti.expect_text("duty_messages.closed")
    over = await now()
    assert (over["state"], over["recovered"], over["closed_by"].startswith(by)) == ("resolved", True, True)
    assert await siti.overflowing(NARROW["width"]) == []


async def test_silence_added_and_ended_on_telephone_refused_form_keeps_input(
    site: RunningSite, sessions: BrowserSessions
) -> None:
    siti = await sessions.open("siti", screen=NARROW)
    await siti.go("/tasks")
    form = await siti.expand("duty.silence")
    await form.get_by_label(siti.translate("duty.about")).fill("TIADA")
    await form.get_by_label(siti.translate("duty.silence_why")).fill("Pelayan ditukar malam ini")
    await siti.press(form.get_by_role("button"))
    await expect(siti.page.get_by_role("alert")).to_contain_text("TIADA")
    form = siti.details("duty.silence")
    await expect(form.get_by_label(siti.translate("duty.silence_why"))).to_have_value("Pelayan ditukar malam ini")
    assert await accessibility_violations(siti.page) == []

    await form.get_by_label(siti.translate("duty.about")).fill(JCM.code)
    await form.get_by_label(siti.translate("duty.lasts")).select_option("1h")
    await siti.press(form.get_by_role("button"))
    await siti.expect_text("duty_messages.silenced")
    [silence] = await site.get("/silences")
    assert (silence["target"], silence["reason"]) == (JCM.code, "Pelayan ditukar malam ini")
    await siti.press(siti.page.get_by_role("button", name=f"{siti.translate('duty.end_silence')}: {JCM.code}"))
    await siti.expect_text("duty_messages.unsilenced")
    assert await site.get("/silences") == []


async def test_incident_stale_page_shows_present_state_and_changes_nothing(
    site: RunningSite, sessions: BrowserSessions
) -> None:
    number = await site.declare_outage(JCM.code)
    siti, noc = await sessions.open("siti", screen=NARROW), await sessions.open("noc", language=PageLanguage.ENGLISH)
    for each in (siti, noc):
        await each.go(f"/incidents/{number}")
    await siti.press(siti.button("duty.acknowledge"))
    await noc.press(noc.button("duty.acknowledge"))
    await noc.expect_text("duty_messages.has_another")
    taken = await site.get(f"/incidents/{number}")
    assert taken["acknowledged_by"] == f"{JCM.duty.name} (siti)"
    await site.close_incident(number)
    over = await site.get(f"/incidents/{number}")
    await siti.press(siti.button("duty.prolong"))
    await siti.expect_text("duty_messages.over")
    assert await site.get(f"/incidents/{number}") == over
