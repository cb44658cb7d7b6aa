"""Agency officer pages in a browser: invitation, settings, a run on demand, rotas and calendar feeds."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.async_api import expect

from monitor.web.page import PageLanguage
from tests.browser.browser_session import NARROW, BrowserSessions
from tests.browser.running_site import JCM, MDC, ROTA, RunningSite
from tests.real.playwright_browser import accessibility_violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PASSWORD = "kerusi rotan di beranda hujan"
SETTINGS = f"/agencies/{MDC.code}/settings"


def tomorrow(hour: int) -> str:
    """Return a time of tomorrow in the format of a form."""
    day = datetime.now(ZoneInfo("Asia/Kuala_Lumpur")) + timedelta(days=1)
    return day.replace(hour=hour, minute=0).strftime("%Y-%m-%dT%H:%M")


@pytest.mark.parametrize(
    ("language", "name", "interval"), [(PageLanguage.MALAY, "aminah", "18s"), (PageLanguage.ENGLISH, "lim", "19s")]
)
async def test_invited_officer_chooses_password_and_edits_agency_probing(
    site: RunningSite, sessions: BrowserSessions, language: PageLanguage, name: str, interval: str
) -> None:
    full = f"{name.title()} Contoh"
    await site.command("/users", name=name, full_name=full, roles=[f"officer:{MDC.code}"])
    code = (await site.command(f"/users/{name}/invite", kind="telephone"))["code"]
    officer = await sessions.open(language=language)
    await officer.go("/sign-in")
    await officer.press(officer.link("access.have_code"))
    await officer.field("access.name").fill(name)
    await officer.field("access.code").fill(code)
    await officer.field("access.new_password").fill("passwordpassword")
    await officer.press(officer.button("access.choose"))
    # The code stays in the form when the password is refused.
    await officer.expect_text("access.password_guessable")
    await expect(officer.field("access.code")).to_have_value(code)
    assert await accessibility_violations(officer.page) == []
    await officer.field("access.new_password").fill(PASSWORD)
    await officer.press(officer.button("access.choose"))
    assert await officer.path() == "/account"

    await officer.press(officer.link("edit.title", code=MDC.code))
    await officer.field("edit.interval").fill("sekejap")
    await officer.press(officer.button("edit.save").first)
    await expect(officer.page.get_by_role("alert")).to_contain_text("probing.interval")
    await expect(officer.field("edit.interval")).to_have_value("sekejap")
    assert await accessibility_violations(officer.page) == []
    assert (await site.document(MDC.code)).get("probing", {}).get("interval") != "sekejap"
    await officer.field("edit.interval").fill(interval)
    await officer.press(officer.button("edit.save").first)
    await expect(officer.page.locator(".done").first).to_be_visible()
    assert (await site.document(MDC.code))["probing"]["interval"] == interval

    form = await officer.expand("edit.maintenance_add")
    await form.get_by_label(officer.translate("edit.begins")).fill(tomorrow(1))
    await form.get_by_label(officer.translate("edit.ends")).fill(tomorrow(3))
    await form.get_by_label(officer.translate("edit.reason")).fill(f"Tukar cakera, {name}")
    await officer.press(form.get_by_role("button"))
    await expect(officer.page.locator(".row").filter(has_text=f"Tukar cakera, {name}")).to_be_visible()
    written = (await site.document(MDC.code))["maintenance"]
    assert f"Tukar cakera, {name}" in [each["reason"] for each in written]
    versions = [who for who, kept in site.audit_entries("documents written") if MDC.code in str(kept)]
    assert versions[-2:] == [f"{full} ({name})"] * 2

    await officer.go(f"/agencies/{MDC.code}")
    await officer.press(officer.link("on_demand_run.test_now"))
    await officer.page.get_by_label("internal").first.check()
    await officer.press(officer.button("on_demand_run.start"))
    await expect(officer.page.locator("[data-over]")).to_be_visible()
    assert [who for who, _ in site.audit_entries("route tested")][-1] == f"{full} ({name})"


async def test_settings_concurrent_edit_shows_both_changes_and_keeps_input(
    site: RunningSite, sessions: BrowserSessions
) -> None:
    ravi = await sessions.open("ravi")
    await ravi.go(SETTINGS)
    form = await ravi.expand("edit.maintenance_add")
    await form.get_by_label(ravi.translate("edit.begins")).fill(tomorrow(20))
    await form.get_by_label(ravi.translate("edit.ends")).fill(tomorrow(22))
    await form.get_by_label(ravi.translate("edit.reason")).fill("Kerja elektrik")
    number = await site.edit_document(MDC.code, lambda text: text.replace(MDC.telephone, "04-000 0399"))
    await ravi.press(form.get_by_role("button"))
    await expect(ravi.page.get_by_role("heading", level=1)).to_have_text(ravi.translate("edit.clash"))
    await expect(ravi.page.get_by_role("region", name=ravi.translate("edit.theirs_changed"))).to_contain_text(
        "04-000 0399"
    )
    await expect(ravi.page.get_by_role("region", name=ravi.translate("edit.ours_changed"))).to_contain_text(
        "Kerja elektrik"
    )
    assert await accessibility_violations(ravi.page) == []
    await ravi.page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    assert await ravi.overflowing(NARROW["width"]) == []
    assert "Kerja elektrik" not in str(await site.document(MDC.code))

    await ravi.press(ravi.button("edit.again", number=number))
    document = await site.document(MDC.code)
    assert document["letterhead"]["telephone"] == "04-000 0399"
    assert "Kerja elektrik" in [each["reason"] for each in document["maintenance"]]
    await ravi.press(ravi.link("edit.versions"))
    await expect(ravi.page.locator("tbody tr").first).to_contain_text(site.logins["ravi"].full_name)
    await expect(ravi.page.locator("tbody tr").nth(1)).to_contain_text(ravi.translate("document_sources.api"))


async def test_officer_adds_and_removes_rota_override(site: RunningSite, sessions: BrowserSessions) -> None:
    ali = await sessions.open("ali")
    await ali.go("/")
    await ali.go("/account")
    await ali.press(ali.link("rotas.heading"))
    rota = f"{JCM.code}/{ROTA}"
    await ali.press(ali.page.get_by_role("link", name=rota))
    await ali.choice("rotas.person").select_option(JCM.deputy.key)
    await ali.field("rotas.ends").fill(tomorrow(8))
    await ali.press(ali.button("rotas.save"))
    [made] = await site.get("/overrides")
    assert (made["rota"], made["person"], made["by"]) == (rota, JCM.deputy.key, f"{JCM.deputy.name} (ali)")
    await expect(ali.page.locator("main")).to_contain_text(ali.translate("rotas.instead", by=made["by"]))
    await ali.press(ali.button("rotas.take_back"))
    await ali.expect_text("rotas.no_overrides")
    assert await site.get("/overrides") == []


async def test_rota_feed_address_shown_once_works_until_revoked(site: RunningSite, sessions: BrowserSessions) -> None:
    ali = await sessions.open("ali", language=PageLanguage.ENGLISH)
    await ali.go(f"/rotas/{JCM.code}/{ROTA}")
    await ali.press(ali.button("rotas.feed_make"))
    address = await ali.page.locator(".link").inner_text()
    assert await accessibility_violations(ali.page) == []

    async def read() -> tuple[int, str]:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as calendar:
            answer = await calendar.get(address)
        return answer.status_code, answer.text

    status, text = await read()
    assert (status, text.startswith("BEGIN:VCALENDAR"), JCM.duty.name in text) == (200, True, True)
    await ali.go(f"/rotas/{JCM.code}/{ROTA}")
    await expect(ali.page.locator(".link")).to_have_count(0)
    await ali.press(ali.button("rotas.revoke"))
    assert (await read())[0] in {403, 404}
