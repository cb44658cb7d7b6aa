"""Behaviour of Chromium that no HTTP client has: the OpenID redirect of a form, and a form whose session has ended."""

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
from tests.real.playwright_browser import accessibility_violations
from tests.unit.monitor.web.fake_service import Service
from tests.unit.monitor.web.portal_env import PASSWORD, PortalEnv, open_portal

pytestmark = [pytest.mark.browser, pytest.mark.access, pytest.mark.asyncio(loop_scope="session")]


@asynccontextmanager
async def served(env: PortalEnv) -> AsyncIterator[str]:
    """Serve the portal that *env* has at the time of each request."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        present: ASGIApp = env.app
        await present(scope, receive, send)

    async with serve(app) as url:
        yield url.replace("127.0.0.1", "localhost")


async def window(browser: Browser, url: str, client: httpx.AsyncClient) -> Page:
    """Open a page with the cookies of a signed-in client."""
    context = await browser.new_context(locale="ms-MY")
    await context.add_cookies(
        [{"name": each.name, "value": each.value or "", "url": url} for each in client.cookies.jar]
    )
    return await context.new_page()


async def test_openid_link_leads_to_provider_and_back(browser: Browser, tmp_path: Path) -> None:
    provider = OpenIdProvider()
    async with serve(provider.app()) as provider.url, open_portal(tmp_path) as env, served(env) as url:
        client = OpenIdClient(
            issuer=provider.url,
            client_id=provider.client_id,
            client_secret=provider.client_secret,
            redirect_uri=f"{url}/sign-in/openid/answer",
            tls=ssl.create_default_context(),
        )
        openid = OpenIdLogin(client, "SSO Contoh", env.authenticator, env.users, env.clock)
        env.app = portal(Service(), ["localhost"], access_control=AccessControl(env.authenticator), openid=openid)
        page = await window(browser, url, await env.session_for("siti", "viewer"))
        await page.goto(f"{url}/account")
        await page.get_by_role("button", name="Pautkan akaun SSO Contoh saya").click()
        await page.get_by_text("Akaun SSO Contoh anda telah dipautkan.").wait_for()
        assert page.url == f"{url}/account"
        await page.context.close()


async def test_form_with_ended_session_is_sent_after_sign_in(browser: Browser, tmp_path: Path) -> None:
    async with open_portal(tmp_path) as env, served(env) as url:
        page = await window(browser, url, await env.signed_in("siti", "officer:JCM"))
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
        assert await accessibility_violations(page) == []
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
        assert await env.site.text() == typed
        await page.context.close()
