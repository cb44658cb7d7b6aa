"""Administrator pages in a browser: users, invitation codes, roles, API tokens and agencies."""

from __future__ import annotations

import httpx
import pytest
from playwright.async_api import expect

from monitor.web.page import PageLanguage
from tests.browser.browser_session import BrowserSessions
from tests.browser.running_site import JCM, MDC, UCM, RunningSite
from tests.real.playwright_browser import accessibility_violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PASSWORD = "sampan kecil menyusur sungai"


@pytest.mark.parametrize(("language", "name"), [(PageLanguage.MALAY, "farid"), (PageLanguage.ENGLISH, "devi")])
async def test_user_created_with_roles_and_new_invitation_code_voids_earlier(
    site: RunningSite, sessions: BrowserSessions, language: PageLanguage, name: str
) -> None:
    admin = await sessions.open("pentadbir", language=language)
    await admin.go("/users")
    await admin.field("access.name").fill(name)
    await admin.field("access.full_name").fill(f"{name.title()} Contoh")
    await admin.choice("access.role").select_option("viewer")
    await admin.field("access.agency").fill(JCM.code)
    await admin.press(admin.button("access.add_user"))
    assert await admin.path() == f"/users/{name}"
    await admin.choice("access.role").select_option("clerk")
    await admin.field("access.agency").fill(MDC.code)
    await admin.press(admin.button("access.add_role"))
    assert [kept["roles"] for _, kept in site.audit_entries("roles given", user=name)][
        -1
    ] == f"clerk:{MDC.code} viewer:{JCM.code}"

    await admin.press(admin.button("access.by_letter"))
    first = await admin.page.locator(".secret").inner_text()
    await admin.press(admin.button("access.by_telephone"))
    second = await admin.page.locator(".secret").inner_text()
    assert await accessibility_violations(admin.page) == []
    them = await sessions.open(language=language)
    for code, is_good in ((first, False), (second, True)):
        await them.go("/welcome")
        await them.field("access.name").fill(name)
        await them.field("access.code").fill(code)
        await them.field("access.new_password").fill(PASSWORD)
        await them.press(them.button("access.choose"))
        if not is_good:
            await them.expect_text("access.code_wrong")
    assert await them.path() == "/account"
    assert (await them.go(f"/agencies/{JCM.code}")).status == 200
    assert (await them.go(f"/agencies/{UCM.code}")).status == 403


async def test_disabled_user_is_signed_out_of_open_page(site: RunningSite, sessions: BrowserSessions) -> None:
    admin, jok = await sessions.open("pentadbir"), await sessions.open("jok")
    await jok.go(f"/agencies/{UCM.code}")
    await expect(jok.page.locator("#asof")).to_be_visible()
    await admin.go("/users")
    await admin.press(admin.page.get_by_role("link", name="jok", exact=True))
    await admin.press(admin.button("access.disable"))
    await expect(admin.button("access.enable")).to_be_visible()
    await jok.expect_sign_in()
    await jok.sign_in(site.logins["jok"])
    await jok.expect_text("access.sign_in_wrong")
    assert [kept["user"] for _, kept in site.audit_entries("user disabled")] == ["jok"]


async def test_token_shown_once_authenticates_until_revoked(site: RunningSite, sessions: BrowserSessions) -> None:
    admin = await sessions.open("pentadbir", language=PageLanguage.ENGLISH)
    await admin.go("/tokens")
    await admin.field("token.program").fill("konsol-contoh")
    await admin.choice("access.role").select_option("admin")
    await admin.press(admin.button("token.add"))
    secret = await admin.page.locator(".secret").inner_text()
    assert secret.startswith("pantau_")
    assert await accessibility_violations(admin.page) == []

    async def asked() -> int:
        async with httpx.AsyncClient(base_url=site.url, trust_env=False, timeout=30) as program:
            shown = {"Authorization": f"Bearer {secret}"}
            return (await program.get(f"/api/v1/agencies/{JCM.code}/document", headers=shown)).status_code

    assert await asked() == 200
    await admin.go("/tokens")
    assert secret not in await admin.page.content()
    row = admin.page.locator("tr").filter(has_text="konsol-contoh")
    await admin.press(row.get_by_role("button"))
    await expect(row.get_by_role("button")).to_have_count(0)
    assert await asked() == 401


async def test_agency_added_leads_to_officer_form_and_is_removed(site: RunningSite, sessions: BrowserSessions) -> None:
    admin = await sessions.open("pentadbir")
    await admin.go("/agencies")
    for field, typed in (
        ("agency_list.code_field", "JLN"),
        ("agency_list.name_field", "Jabatan Laut Contoh"),
        ("agency_list.domains_field", "jln.gov.my"),
        ("agency_list.contact_name", "Ravi Contoh"),
        ("agency_list.contact_number", "013-000 0077"),
    ):
        await admin.field(field).fill(typed)
    await admin.press(admin.page.locator("#add-short button"))
    await admin.press(admin.link("agency_list.next_officers"))
    assert await admin.field("access.agency").input_value() == "JLN"
    assert (await admin.go("/agencies/JLN")).status == 200
    await admin.go("/agencies/JLN/remove")
    await admin.page.locator("main input[name=code]").fill("JLN")
    await admin.press(admin.page.locator("main form button"))
    await admin.expect_text("agency_list.gone", code="JLN")
    assert await admin.page.locator("td", has_text="JLN").count() == 0
    (_, removed) = site.audit_entries("documents written", removed="JLN")[-1]
    assert removed["address"] == "127.0.0.1"
