"""What an officer sets up for their agency by forms of their own: a mailbox, a rota, who is told, a drill, maintenance."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Locator, expect

from tests.browser.guest import NARROW, Door, Guest
from tests.browser.running_site import JCM, MDC, RunningSite
from tests.real.visitor import shut_out

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PASSWORD = "Daun-Pandan 7 helai"
PLACE = f"/agencies/{MDC.code}"
#: What keeps people from a page, and does not depend on how long its list of rules is.
SOME: tuple[str, ...] = ("label", "color-contrast", "target-size", "aria-valid-attr-value", "duplicate-id-aria")


async def fits(guest: Guest, width: int) -> None:
    """See that nothing reaches out of the page, and that everybody can use what stands there now."""
    assert await guest.wider_than(width) == []
    assert await shut_out(guest.page, rules=SOME) == []


async def told_at(field: Locator) -> str:
    """Return what a field is told to be wrong with: by the text that it names as its description."""
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_be_focused()
    described = await field.get_attribute("aria-describedby")
    return await field.page.locator(f"[id='{described}']").inner_text()


async def test_on_a_telephone_an_officer_adds_a_mailbox_by_hand_and_is_told_a_slip_where_it_was_made(
    site: RunningSite, door: Door
) -> None:
    ravi = await door.admit("ravi", screen=NARROW)
    await ravi.go(f"{PLACE}/settings")
    await ravi.press(ravi.link("boxes.link"))
    form = await ravi.unfold("boxes.add")
    address = f"kaunter.perkhidmatan.pelanggan@{MDC.domain}"
    await form.get_by_label(ravi.say("boxes.key")).fill("kaunter")
    await form.get_by_label(ravi.say("boxes.address"), exact=True).fill(address)
    for protocol in ("smtp", "imap"):
        await form.locator(f"[name='{protocol}.host']").fill(f"mel.{MDC.domain}")
    port = form.locator("[name='imap.port']")
    await port.fill("9930")
    await form.get_by_label(ravi.say("boxes.password")).fill(PASSWORD)
    await ravi.press(form.get_by_role("button", name=ravi.say("boxes.add_it")))

    assert await told_at(port) == ravi.say("boxes.out_port")
    await expect(port).to_have_value("9930")
    await expect(form.get_by_label(ravi.say("boxes.address"), exact=True)).to_have_value(address)
    # What is a secret is not given back, not to who has typed it either.
    await expect(form.get_by_label(ravi.say("boxes.password"))).to_have_value("")
    assert PASSWORD not in await ravi.page.content()
    assert "kaunter" not in (await site.document(MDC.code))["mailboxes"]
    await fits(ravi, NARROW["width"])

    await port.fill("993")
    await form.get_by_label(ravi.say("boxes.password")).fill(PASSWORD)
    await ravi.press(form.get_by_role("button", name=ravi.say("boxes.add_it")))
    await expect(ravi.page.get_by_role("heading", name=address)).to_be_visible()
    await ravi.sees("boxes.typed")
    assert PASSWORD not in await ravi.page.content()
    await fits(ravi, NARROW["width"])
    written = (await site.document(MDC.code))["mailboxes"]["kaunter"]
    assert list(written["login"]) == ["username", "password_stored"]
    assert PASSWORD not in str(written)

    own = ravi.page.locator("section").filter(has=ravi.page.get_by_role("heading", name=address))
    await own.locator("summary").filter(has_text=ravi.say("boxes.drop")).click()
    await ravi.press(own.get_by_role("button", name=ravi.say("edit.remove_this", what=address)))
    await expect(ravi.page.get_by_role("heading", name=address)).to_have_count(0)
    assert "kaunter" not in (await site.document(MDC.code))["mailboxes"]


async def test_an_officer_sees_who_would_be_on_call_and_when_nobody_before_a_rota_is_saved(
    site: RunningSite, door: Door
) -> None:
    ravi = await door.admit("ravi")
    await ravi.go(f"{PLACE}/settings")
    await ravi.press(ravi.link("edit.telling", code=MDC.code))
    form = await ravi.unfold("edit.rota_add")
    await form.get_by_label(ravi.say("edit.key")).fill("hujung-minggu")
    days = form.locator("[name='layers[0].days']")
    await days.select_option("workdays")
    await form.get_by_label(ravi.say("edit.layer_from")).fill("2026-01-05")
    turns = [form.locator(f"[name='layers[0].people[{turn}]']") for turn in range(2)]
    for turn, person in zip(turns, (MDC.duty, MDC.deputy), strict=True):
        await turn.select_option(person.key)
    await ravi.press(form.get_by_role("button", name=ravi.say("edit.rota_look")))

    alert = ravi.page.get_by_role("alert")
    await expect(alert).to_contain_text(ravi.say("edit.look_gaps"))
    # Of four weeks at least four weekends.
    assert await alert.get_by_role("listitem").count() >= 4
    await expect(ravi.button("edit.save_gaps")).to_be_visible()
    await expect(ravi.page.get_by_role("cell", name=MDC.deputy.name).first).to_be_visible()
    assert await shut_out(ravi.page, rules=SOME) == []
    assert not (await site.document(MDC.code)).get("rotas")

    # Who has seen the gaps goes on with what was typed.
    await ravi.press(ravi.button("edit.look_again"))
    await expect(turns[1]).to_have_value(MDC.deputy.key)
    await expect(days).to_have_value("workdays")
    await days.select_option("all")
    await ravi.press(form.get_by_role("button", name=ravi.say("edit.rota_look")))
    await ravi.sees("edit.look_no_gaps")
    await ravi.press(ravi.button("edit.save"))
    await ravi.sees("edit.saved", number=site.version(MDC.code))
    rota = (await site.document(MDC.code))["rotas"]["hujung-minggu"]
    assert rota["layers"][0]["people"] == [MDC.duty.key, MDC.deputy.key]

    folded = ravi.page.locator("details").filter(has=ravi.page.locator("summary", has_text="hujung-minggu"))
    await folded.locator("summary").first.click()
    await ravi.press(folded.get_by_role("button", name=ravi.say("edit.remove_this", what="hujung-minggu")))
    assert not (await site.document(MDC.code)).get("rotas")


async def test_without_a_script_an_officer_adds_a_step_and_a_recipient_on_a_telephone(
    site: RunningSite, door: Door
) -> None:
    ravi = await door.admit("ravi", screen=NARROW, script=False)
    await ravi.go(f"{PLACE}/notifications")
    steps = (await site.document(MDC.code))["escalation"]["steps"]
    added = await ravi.unfold("edit.step_add")
    wait = added.get_by_label(ravi.say("edit.after"))
    await wait.fill("sebentar lagi")
    await added.get_by_label(MDC.deputy.name, exact=True).check()
    await added.locator("[name$='.channels[0]']").select_option("voice")
    await ravi.press(ravi.page.locator("form").filter(has=added).get_by_role("button", name=ravi.say("edit.save")))
    assert await told_at(wait)
    await expect(wait).to_have_value("sebentar lagi")
    await expect(added.get_by_label(MDC.deputy.name, exact=True)).to_be_checked()
    assert (await site.document(MDC.code))["escalation"]["steps"] == steps
    assert await ravi.wider_than(NARROW["width"]) == []

    await wait.fill("3h")
    await ravi.press(ravi.page.locator("form").filter(has=added).get_by_role("button", name=ravi.say("edit.save")))
    new: dict[str, Any] = {"after": "3h", "contacts": [MDC.deputy.key], "channels": ["voice"]}
    assert (await site.document(MDC.code))["escalation"]["steps"] == [*steps, new]

    office = "Jabatan Perkhidmatan Digital Negeri Contoh, Bahagian Pengurusan Perkhidmatan"
    form = await ravi.unfold("recipient.add")
    await form.get_by_label(ravi.say("edit.key")).fill("negeri")
    await form.get_by_label(ravi.say("recipient.title")).fill("Ketua Pegawai Digital Negeri")
    await form.get_by_label(ravi.say("recipient.organisation")).fill(office)
    await form.get_by_label(ravi.say("recipient.fax"), exact=True).first.fill("03-0000 0299")
    await (
        form.get_by_role("group", name=ravi.say("recipient.channels"))
        .get_by_label(ravi.say("recipient.fax"), exact=True)
        .check()
    )
    await ravi.press(form.get_by_role("button", name=ravi.say("edit.add")))
    recipients = (await site.document(MDC.code))["announcement"]["recipients"]
    assert (recipients["negeri"]["organisation"], recipients["negeri"]["channels"]) == (office, ["fax"])
    assert await ravi.wider_than(NARROW["width"]) == []

    # As it was, for whoever comes next.
    await ravi.page.locator("summary").filter(has_text=office).click()
    await ravi.press(
        ravi.page.get_by_role("button", name=ravi.say("edit.remove_this", what="Ketua Pegawai Digital Negeri"))
    )
    last = ravi.page.get_by_role("group", name=ravi.say("edit.step", number=len(steps) + 1), exact=True)
    await last.get_by_label(ravi.say("edit.step_drop")).check()
    await ravi.press(ravi.page.locator("form").filter(has=last).get_by_role("button", name=ravi.say("edit.save")))
    document = await site.document(MDC.code)
    assert document["escalation"]["steps"] == steps
    assert "negeri" not in document["announcement"]["recipients"]


async def test_an_officer_has_one_of_their_people_tried_and_sees_what_came_of_it(site: RunningSite, door: Door) -> None:
    ali = await door.admit("ali")
    await ali.go(f"/agencies/{JCM.code}")
    await ali.press(ali.link("drill.drills"))
    await ali.choice("drill.whom").select_option(JCM.deputy.key)
    await ali.field("drill.sure").check()
    await ali.press(ali.button("drill.begin"))
    said = ali.page.get_by_role("status")
    await expect(said).to_contain_text(f"{JCM.deputy.name} (ali)")
    assert await shut_out(ali.page, rules=SOME) == []

    async def tried() -> bool:
        # The page asks by itself every ten seconds; nobody waits for that here.
        await ali.go(f"/agencies/{JCM.code}/drills")
        return await row.count() > 0

    row = ali.page.get_by_role("row").filter(has_text=JCM.deputy.name)
    await site.play.until(tried, "somebody is tried")
    await expect(row.first).to_contain_text(re.compile(r"JCM|\d+"))
    assert site.journal("drill begun")[-1][0] == f"{JCM.deputy.name} (ali)"


async def test_a_calendar_s_file_is_shown_before_anything_of_it_is_saved(site: RunningSite, door: Door) -> None:
    ravi = await door.admit("ravi", screen=NARROW)
    await ravi.go(f"{PLACE}/settings")
    form = await ravi.unfold("edit.calendar_add")
    day = (datetime.now(ZoneInfo("Asia/Kuala_Lumpur")) + timedelta(days=9)).strftime("%Y%m%d")
    long = "Naik taraf sistem pengurusan e-mel dan pelayan direktori"
    events = [
        f"SUMMARY:{long}\r\nDTSTART:{day}T220000\r\nDTEND:{day}T233000",
        f"SUMMARY:Tukar bateri UPS\r\nDTSTART:{day}T010000\r\nDTEND:{day}T020000",
        "SUMMARY:Sudah lama\r\nDTSTART:20200101T220000\r\nDTEND:20200101T230000",
    ]
    text = "".join(f"BEGIN:VEVENT\r\n{each}\r\nEND:VEVENT\r\n" for each in events)
    calendar = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{text}END:VCALENDAR\r\n".encode()
    await form.get_by_label(ravi.say("edit.calendar_file")).set_input_files(
        {"name": "kerja.ics", "mimeType": "text/calendar", "buffer": calendar}
    )
    await ravi.press(form.get_by_role("button", name=ravi.say("edit.calendar_look")))

    shown = ravi.page.get_by_role("group", name=ravi.say("edit.calendar_new"))
    await expect(shown.get_by_role("checkbox")).to_have_count(2)
    await expect(shown).to_contain_text(long)
    refused = ravi.page.locator("section").filter(has_text=ravi.say("edit.calendar_refused"))
    await expect(refused).to_contain_text(re.compile(f"Sudah lama.*{ravi.say('event_refusal.over')}", re.DOTALL))
    assert long not in str(await site.document(MDC.code))
    await fits(ravi, NARROW["width"])

    await shown.get_by_label(re.compile("UPS")).uncheck()
    await ravi.press(ravi.button("edit.save"))
    # What would be saved is not what was shown: it is shown again.
    await ravi.sees("edit.calendar_other")
    assert long not in str(await site.document(MDC.code))
    await fits(ravi, NARROW["width"])
    await ravi.press(ravi.button("edit.save"))
    row = ravi.page.locator(".row").filter(has_text=long)
    await expect(row).to_be_visible()
    await fits(ravi, NARROW["width"])
    assert [each["reason"] for each in (await site.document(MDC.code))["maintenance"]][-1] == long
    assert "UPS" not in str(await site.document(MDC.code))
    await ravi.press(row.get_by_role("button"))
    assert long not in str(await site.document(MDC.code))
