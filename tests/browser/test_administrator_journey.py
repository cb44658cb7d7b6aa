"""An administrator: people come by a code, have roles, and are gone when they are disabled; programs have tokens."""

from __future__ import annotations

import httpx
import pytest
from playwright.async_api import expect

from monitor.web.page import PageLanguage
from tests.browser.guest import Door
from tests.browser.running_site import JCM, MDC, UCM, RunningSite
from tests.real.visitor import shut_out

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PASSWORD = "sampan kecil menyusur sungai"


@pytest.mark.parametrize(("language", "name"), [(PageLanguage.MALAY, "farid"), (PageLanguage.ENGLISH, "devi")])
async def test_a_user_is_made_given_roles_and_a_code_that_a_later_one_makes_void(
    site: RunningSite, door: Door, language: PageLanguage, name: str
) -> None:
    admin = await door.admit("pentadbir", language=language)
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
    assert [kept["roles"] for _, kept in site.journal("roles given", user=name)][
        -1
    ] == f"clerk:{MDC.code} viewer:{JCM.code}"

    await admin.press(admin.button("access.by_letter"))
    first = await admin.page.locator(".secret").inner_text()
    await admin.press(admin.button("access.by_telephone"))
    second = await admin.page.locator(".secret").inner_text()
    assert await shut_out(admin.page) == []
    them = await door.admit(language=language)
    for code, is_good in ((first, False), (second, True)):
        await them.go("/welcome")
        await them.field("access.name").fill(name)
        await them.field("access.code").fill(code)
        await them.field("access.new_password").fill(PASSWORD)
        await them.press(them.button("access.choose"))
        if not is_good:
            await them.sees("access.code_wrong")
    assert await them.path() == "/account"
    assert (await them.go(f"/agencies/{JCM.code}")).status == 200
    assert (await them.go(f"/agencies/{UCM.code}")).status == 403


async def test_whoever_is_disabled_is_out_of_the_page_that_they_have_open(site: RunningSite, door: Door) -> None:
    admin, jok = await door.admit("pentadbir"), await door.admit("jok")
    await jok.go(f"/agencies/{UCM.code}")
    await expect(jok.page.locator("#asof")).to_be_visible()
    await admin.go("/users")
    await admin.press(admin.page.get_by_role("link", name="jok", exact=True))
    await admin.press(admin.button("access.disable"))
    await expect(admin.button("access.enable")).to_be_visible()
    await jok.is_sent_away()
    await jok.sign_in(site.logins["jok"])
    await jok.sees("access.sign_in_wrong")
    assert [kept["user"] for _, kept in site.journal("user disabled")] == ["jok"]


async def test_a_token_is_shown_once_opens_what_it_may_and_is_taken_back(site: RunningSite, door: Door) -> None:
    admin = await door.admit("pentadbir", language=PageLanguage.ENGLISH)
    await admin.go("/tokens")
    await admin.field("token.program").fill("konsol-contoh")
    await admin.choice("access.role").select_option("admin")
    await admin.press(admin.button("token.add"))
    secret = await admin.page.locator(".secret").inner_text()
    assert secret.startswith("pantau_")
    assert await shut_out(admin.page) == []

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


async def test_an_agency_is_added_its_officer_is_next_and_it_is_taken_out_again(site: RunningSite, door: Door) -> None:
    admin = await door.admit("pentadbir")
    await admin.go("/agencies")
    for field, typed in (
        ("roll.code_field", "JLN"),
        ("roll.name_field", "Jabatan Laut Contoh"),
        ("roll.domains_field", "jln.gov.my"),
        ("roll.contact_name", "Ravi Contoh"),
        ("roll.contact_number", "013-000 0077"),
    ):
        await admin.field(field).fill(typed)
    await admin.press(admin.page.locator("#add-short button"))
    await admin.press(admin.link("roll.next_officers"))
    assert await admin.field("access.agency").input_value() == "JLN"
    assert (await admin.go("/agencies/JLN")).status == 200
    await admin.go("/agencies/JLN/remove")
    await admin.page.locator("main input[name=code]").fill("JLN")
    await admin.press(admin.page.locator("main form button"))
    await admin.sees("roll.gone", code="JLN")
    assert await admin.page.locator("td", has_text="JLN").count() == 0
    (_, removed) = site.journal("documents written", removed="JLN")[-1]
    assert removed["address"] == "127.0.0.1"
