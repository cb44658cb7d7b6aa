"""Settings forms in a browser: mailbox, rota, escalation steps, recipients, drill and maintenance calendar."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Locator, expect

from tests.browser.browser_session import NARROW, BrowserSession, BrowserSessions
from tests.browser.running_site import JCM, MDC, RunningSite
from tests.real.playwright_browser import accessibility_violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PASSWORD = "Daun-Pandan 7 helai"
AGENCY = f"/agencies/{MDC.code}"
#: Accessibility rules whose number does not grow with the page.
RULES: tuple[str, ...] = ("label", "color-contrast", "target-size", "aria-valid-attr-value", "duplicate-id-aria")


async def expect_usable(session: BrowserSession, width: int) -> None:
    """Check that nothing overflows the page, and that it is accessible."""
    assert await session.overflowing(width) == []
    assert await accessibility_violations(session.page, rules=RULES) == []


async def error_at(field: Locator) -> str:
    """Return the error text that a field names as its description."""
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_be_focused()
    described = await field.get_attribute("aria-describedby")
    return await field.page.locator(f"[id='{described}']").inner_text()


async def test_mailbox_added_on_telephone_shows_error_at_field(site: RunningSite, sessions: BrowserSessions) -> None:
    ravi = await sessions.open("ravi", screen=NARROW)
    await ravi.go(f"{AGENCY}/settings")
    await ravi.press(ravi.link("mailbox_list.link"))
    form = await ravi.expand("mailbox_list.add")
    address = f"kaunter.perkhidmatan.pelanggan@{MDC.domain}"
    await form.get_by_label(ravi.translate("mailbox_list.key")).fill("kaunter")
    await form.get_by_label(ravi.translate("mailbox_list.address"), exact=True).fill(address)
    for protocol in ("smtp", "imap"):
        await form.locator(f"[name='{protocol}.host']").fill(f"mel.{MDC.domain}")
    port = form.locator("[name='imap.port']")
    await port.fill("9930")
    await form.get_by_label(ravi.translate("mailbox_list.password")).fill(PASSWORD)
    await ravi.press(form.get_by_role("button", name=ravi.translate("mailbox_list.add_it")))

    assert await error_at(port) == ravi.translate("mailbox_list.out_port")
    await expect(port).to_have_value("9930")
    await expect(form.get_by_label(ravi.translate("mailbox_list.address"), exact=True)).to_have_value(address)
    # A secret is never sent back.
    await expect(form.get_by_label(ravi.translate("mailbox_list.password"))).to_have_value("")
    assert PASSWORD not in await ravi.page.content()
    assert "kaunter" not in (await site.document(MDC.code))["mailboxes"]
    await expect_usable(ravi, NARROW["width"])

    await port.fill("993")
    await form.get_by_label(ravi.translate("mailbox_list.password")).fill(PASSWORD)
    await ravi.press(form.get_by_role("button", name=ravi.translate("mailbox_list.add_it")))
    await expect(ravi.page.get_by_role("heading", name=address)).to_be_visible()
    await ravi.expect_text("mailbox_list.typed")
    assert PASSWORD not in await ravi.page.content()
    await expect_usable(ravi, NARROW["width"])
    written = (await site.document(MDC.code))["mailboxes"]["kaunter"]
    assert list(written["login"]) == ["username", "password_stored"]
    assert PASSWORD not in str(written)

    section = ravi.page.locator("section").filter(has=ravi.page.get_by_role("heading", name=address))
    await section.locator("summary").filter(has_text=ravi.translate("mailbox_list.drop")).click()
    await ravi.press(section.get_by_role("button", name=ravi.translate("edit.remove_this", what=address)))
    await expect(ravi.page.get_by_role("heading", name=address)).to_have_count(0)
    assert "kaunter" not in (await site.document(MDC.code))["mailboxes"]


async def test_rota_preview_shows_on_call_and_gaps_before_save(site: RunningSite, sessions: BrowserSessions) -> None:
    ravi = await sessions.open("ravi")
    await ravi.go(f"{AGENCY}/settings")
    await ravi.press(ravi.link("edit.telling", code=MDC.code))
    form = await ravi.expand("edit.rota_add")
    await form.get_by_label(ravi.translate("edit.key")).fill("hujung-minggu")
    days = form.locator("[name='layers[0].days']")
    await days.select_option("workdays")
    await form.get_by_label(ravi.translate("edit.layer_from")).fill("2026-01-05")
    people = [form.locator(f"[name='layers[0].people[{turn}]']") for turn in range(2)]
    for turn, person in zip(people, (MDC.duty, MDC.deputy), strict=True):
        await turn.select_option(person.key)
    await ravi.press(form.get_by_role("button", name=ravi.translate("edit.rota_look")))

    alert = ravi.page.get_by_role("alert")
    await expect(alert).to_contain_text(ravi.translate("edit.look_gaps"))
    # Four weeks have at least four weekends.
    assert await alert.get_by_role("listitem").count() >= 4
    await expect(ravi.button("edit.save_gaps")).to_be_visible()
    await expect(ravi.page.get_by_role("cell", name=MDC.deputy.name).first).to_be_visible()
    assert await accessibility_violations(ravi.page, rules=RULES) == []
    assert not (await site.document(MDC.code)).get("rotas")

    # After the preview the form keeps its input.
    await ravi.press(ravi.button("edit.look_again"))
    await expect(people[1]).to_have_value(MDC.deputy.key)
    await expect(days).to_have_value("workdays")
    await days.select_option("all")
    await ravi.press(form.get_by_role("button", name=ravi.translate("edit.rota_look")))
    await ravi.expect_text("edit.look_no_gaps")
    await ravi.press(ravi.button("edit.save"))
    await ravi.expect_text("edit.saved", number=site.version(MDC.code))
    rota = (await site.document(MDC.code))["rotas"]["hujung-minggu"]
    assert rota["layers"][0]["people"] == [MDC.duty.key, MDC.deputy.key]

    folded = ravi.page.locator("details").filter(has=ravi.page.locator("summary", has_text="hujung-minggu"))
    await folded.locator("summary").first.click()
    await ravi.press(folded.get_by_role("button", name=ravi.translate("edit.remove_this", what="hujung-minggu")))
    assert not (await site.document(MDC.code)).get("rotas")


async def test_step_and_recipient_added_without_script_on_telephone(
    site: RunningSite, sessions: BrowserSessions
) -> None:
    ravi = await sessions.open("ravi", screen=NARROW, script=False)
    await ravi.go(f"{AGENCY}/notifications")
    steps = (await site.document(MDC.code))["escalation"]["steps"]
    step_form = await ravi.expand("edit.step_add")
    wait = step_form.get_by_label(ravi.translate("edit.after"))
    await wait.fill("sebentar lagi")
    await step_form.get_by_label(MDC.deputy.name, exact=True).check()
    await step_form.locator("[name$='.channels[0]']").select_option("voice")
    await ravi.press(
        ravi.page.locator("form").filter(has=step_form).get_by_role("button", name=ravi.translate("edit.save"))
    )
    assert await error_at(wait)
    await expect(wait).to_have_value("sebentar lagi")
    await expect(step_form.get_by_label(MDC.deputy.name, exact=True)).to_be_checked()
    assert (await site.document(MDC.code))["escalation"]["steps"] == steps
    assert await ravi.overflowing(NARROW["width"]) == []

    await wait.fill("3h")
    await ravi.press(
        ravi.page.locator("form").filter(has=step_form).get_by_role("button", name=ravi.translate("edit.save"))
    )
    new: dict[str, Any] = {"after": "3h", "contacts": [MDC.deputy.key], "channels": ["voice"]}
    assert (await site.document(MDC.code))["escalation"]["steps"] == [*steps, new]

    office = "Jabatan Perkhidmatan Digital Negeri Contoh, Bahagian Pengurusan Perkhidmatan"
    form = await ravi.expand("recipient.add")
    await form.get_by_label(ravi.translate("edit.key")).fill("negeri")
    await form.get_by_label(ravi.translate("recipient.title")).fill("Ketua Pegawai Digital Negeri")
    await form.get_by_label(ravi.translate("recipient.organisation")).fill(office)
    await form.get_by_label(ravi.translate("recipient.fax"), exact=True).first.fill("03-0000 0299")
    await (
        form.get_by_role("group", name=ravi.translate("recipient.channels"))
        .get_by_label(ravi.translate("recipient.fax"), exact=True)
        .check()
    )
    await ravi.press(form.get_by_role("button", name=ravi.translate("edit.add")))
    recipients = (await site.document(MDC.code))["announcement"]["recipients"]
    assert (recipients["negeri"]["organisation"], recipients["negeri"]["channels"]) == (office, ["fax"])
    assert await ravi.overflowing(NARROW["width"]) == []

    # Restore the document for other tests.
    await ravi.page.locator("summary").filter(has_text=office).click()
    await ravi.press(
        ravi.page.get_by_role("button", name=ravi.translate("edit.remove_this", what="Ketua Pegawai Digital Negeri"))
    )
    last = ravi.page.get_by_role("group", name=ravi.translate("edit.step", number=len(steps) + 1), exact=True)
    await last.get_by_label(ravi.translate("edit.step_drop")).check()
    await ravi.press(ravi.page.locator("form").filter(has=last).get_by_role("button", name=ravi.translate("edit.save")))
    document = await site.document(MDC.code)
    assert document["escalation"]["steps"] == steps
    assert "negeri" not in document["announcement"]["recipients"]


async def test_drill_of_one_contact_shows_result(site: RunningSite, sessions: BrowserSessions) -> None:
    ali = await sessions.open("ali")
    await ali.go(f"/agencies/{JCM.code}")
    await ali.press(ali.link("drill.drills"))
    await ali.choice("drill.whom").select_option(JCM.deputy.key)
    await ali.field("drill.sure").check()
    await ali.press(ali.button("drill.begin"))
    status = ali.page.get_by_role("status")
    await expect(status).to_contain_text(f"{JCM.deputy.name} (ali)")
    assert await accessibility_violations(ali.page, rules=RULES) == []

    async def is_listed() -> bool:
        # The page polls every ten seconds; this test does not wait for it.
        await ali.go(f"/agencies/{JCM.code}/drills")
        return await row.count() > 0

    row = ali.page.get_by_role("row").filter(has_text=JCM.deputy.name)
    await site.play.until(is_listed, "somebody is tried")
    await expect(row.first).to_contain_text(re.compile(r"JCM|\d+"))
    assert site.audit_entries("drill begun")[-1][0] == f"{JCM.deputy.name} (ali)"


async def test_calendar_file_is_previewed_before_save(site: RunningSite, sessions: BrowserSessions) -> None:
    ravi = await sessions.open("ravi", screen=NARROW)
    await ravi.go(f"{AGENCY}/settings")
    form = await ravi.expand("edit.calendar_add")
    day = (datetime.now(ZoneInfo("Asia/Kuala_Lumpur")) + timedelta(days=9)).strftime("%Y%m%d")
    long = "Naik taraf sistem pengurusan e-mel dan pelayan direktori"
    events = [
        f"SUMMARY:{long}\r\nDTSTART:{day}T220000\r\nDTEND:{day}T233000",
        f"SUMMARY:Tukar bateri UPS\r\nDTSTART:{day}T010000\r\nDTEND:{day}T020000",
        "SUMMARY:Sudah lama\r\nDTSTART:20200101T220000\r\nDTEND:20200101T230000",
    ]
    text = "".join(f"BEGIN:VEVENT\r\n{each}\r\nEND:VEVENT\r\n" for each in events)
    calendar = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{text}END:VCALENDAR\r\n".encode()
    await form.get_by_label(ravi.translate("edit.calendar_file")).set_input_files(
        {"name": "kerja.ics", "mimeType": "text/calendar", "buffer": calendar}
    )
    await ravi.press(form.get_by_role("button", name=ravi.translate("edit.calendar_look")))

    shown = ravi.page.get_by_role("group", name=ravi.translate("edit.calendar_new"))
    await expect(shown.get_by_role("checkbox")).to_have_count(2)
    await expect(shown).to_contain_text(long)
    refused = ravi.page.locator("section").filter(has_text=ravi.translate("edit.calendar_refused"))
    await expect(refused).to_contain_text(
        re.compile(f"Sudah lama.*{ravi.translate('event_rejections.over')}", re.DOTALL)
    )
    assert long not in str(await site.document(MDC.code))
    await expect_usable(ravi, NARROW["width"])

    await shown.get_by_label(re.compile("UPS")).uncheck()
    await ravi.press(ravi.button("edit.save"))
    # The selection differs from the preview, so it is shown again.
    await ravi.expect_text("edit.calendar_other")
    assert long not in str(await site.document(MDC.code))
    await expect_usable(ravi, NARROW["width"])
    await ravi.press(ravi.button("edit.save"))
    row = ravi.page.locator(".row").filter(has_text=long)
    await expect(row).to_be_visible()
    await expect_usable(ravi, NARROW["width"])
    assert [each["reason"] for each in (await site.document(MDC.code))["maintenance"]][-1] == long
    assert "UPS" not in str(await site.document(MDC.code))
    await ravi.press(row.get_by_role("button"))
    assert long not in str(await site.document(MDC.code))
