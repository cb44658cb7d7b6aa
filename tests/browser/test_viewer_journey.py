"""Viewer in a browser: sign-in, own agency only, and nothing left after sign-out."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from monitor.web.page import PageLanguage
from tests.browser.browser_session import BrowserSessions
from tests.browser.running_site import JCM, MDC, RunningSite

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("language", PageLanguage)
async def test_viewer_sees_own_agency_only_and_nothing_after_sign_out(
    site: RunningSite, sessions: BrowserSessions, language: PageLanguage
) -> None:
    mei = await sessions.open(language=language)
    # Sign-in returns to the page that was opened first.
    await mei.go(f"/agencies/{MDC.code}")
    await mei.sign_in(site.logins["mei"])
    assert await mei.path() == f"/agencies/{MDC.code}"
    await expect(mei.page.locator("#agencies h2")).to_contain_text(MDC.code)
    await mei.go("/")
    await expect(mei.page.locator(f"#a-{MDC.code}")).to_be_visible()
    assert JCM.code not in await mei.page.content()

    refused = await mei.go(f"/agencies/{JCM.code}")
    assert refused.status == 403
    await expect(mei.page.get_by_role("heading", level=1)).to_have_text(mei.translate("error_page.s403"))
    why = {
        PageLanguage.MALAY: f"mei tiada kebenaran untuk melihat keadaan e-mel bagi {JCM.code}",
        PageLanguage.ENGLISH: f"mei has no permission to read for {JCM.code}",
    }
    await expect(mei.page.get_by_role("alert")).to_contain_text(why[language])
    await mei.press(mei.link("common.back"))
    await expect(mei.page.locator(f"#a-{MDC.code}")).to_be_visible()

    await mei.go("/account")
    await mei.press(mei.button("access.sign_out"))
    assert await mei.path() == "/sign-in"
    await mei.page.go_back()
    await expect(mei.page.locator("body")).not_to_contain_text(site.logins["mei"].full_name)
    assert await mei.path() == "/sign-in"
    assert [by for by, _ in site.audit_entries("signed out")][-1] == f"{site.logins['mei'].full_name} (mei)"
