"""What Chromium does that no HTTP client does: the provider of identities behind a form, and a form whose session has ended."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page
from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.config.service.openid import OpenIdClient
from monitor.service.access.openid import OpenIdLogin
from monitor.web.access.access_control import AccessControl
from monitor.web.portal import portal
from pantau_lab.oauth.openid_provider import OpenIdProvider
from pantau_lab.serving import serve
from tests.real.visitor import shut_out
from tests.unit.monitor.web.signed import PASSWORD, House, house
from tests.unit.monitor.web.source import Service

pytestmark = [pytest.mark.browser, pytest.mark.access, pytest.mark.asyncio(loop_scope="session")]


@asynccontextmanager
async def served(place: House) -> AsyncIterator[str]:
    """Serve what *place* has as its portal at the time of each request."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        present: ASGIApp = place.app
        await present(scope, receive, send)

    async with serve(app) as url:
        yield url.replace("127.0.0.1", "localhost")


async def window(browser: Browser, url: str, client: httpx.AsyncClient) -> Page:
    """Open a window with the cookies of somebody who is signed in."""
    context = await browser.new_context(locale="ms-MY")
    await context.add_cookies(
        [{"name": each.name, "value": each.value or "", "url": url} for each in client.cookies.jar]
    )
    return await context.new_page()


async def test_openid_link_leads_to_the_provider_and_back(browser: Browser, tmp_path: Path) -> None:
    provider = OpenIdProvider()
    async with serve(provider.app()) as provider.url, house(tmp_path) as place, served(place) as url:
        client = OpenIdClient(
            issuer=provider.url,
            client_id=provider.client_id,
            client_secret=provider.client_secret,
            redirect_uri=f"{url}/sign-in/openid/answer",
            trust=ssl.create_default_context(),
        )
        door = OpenIdLogin(client, "SSO Contoh", place.authenticator, place.users, place.clock)
        place.app = portal(Service(), ["localhost"], access_control=AccessControl(place.authenticator), openid=door)
        page = await window(browser, url, await place.admitted("siti", "viewer"))
        await page.goto(f"{url}/account")
        await page.get_by_role("button", name="Pautkan akaun SSO Contoh saya").click()
        await page.get_by_text("Akaun SSO Contoh anda telah dipautkan.").wait_for()
        assert page.url == f"{url}/account"
        await page.context.close()


async def test_form_whose_session_has_ended_is_sent_after_signing_in(browser: Browser, tmp_path: Path) -> None:
    async with house(tmp_path) as place, served(place) as url:
        page = await window(browser, url, await place.signed_in("siti", "officer:JCM"))
        await page.goto(f"{url}/agencies/JCM/settings")
        text = page.locator("textarea[name=text]")
        typed = (await text.input_value()) + '# Ditaip lama, "dengan" <tanda> & baris.\n'
        await text.evaluate(
            "(each) => { for (let a = each; a; a = a.parentElement) if (a.tagName == 'DETAILS') a.open = true }"
        )
        await text.fill(typed)
        await page.context.clear_cookies()
        await text.locator("xpath=ancestor::form").get_by_role("button").first.click()
        await page.get_by_text("Tiada apa-apa yang hilang").wait_for()
        assert await shut_out(page) == []
        async with page.expect_popup() as opened:
            await page.get_by_role("link", name="Log masuk").click()
        other = await opened.value
        await other.locator("input[name=name]").fill("siti")
        await other.locator("input[name=password]").fill(PASSWORD)
        await other.get_by_role("button", name="Log masuk").click()
        await other.wait_for_url(f"{url}/account")
        await other.close()
        await page.get_by_role("button", name="Hantar semula").click()
        await page.wait_for_load_state()
        assert await place.site.text() == typed
        await page.context.close()
