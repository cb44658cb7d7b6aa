"""Sign-in with OpenID Connect at a provider over real sockets, correct and faulty."""

from __future__ import annotations

import html
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from alerts.persistence.store import AuditEntry
from monitor.access.encryption import Ciphertext
from monitor.access.invitation_code import digest_of_code
from monitor.config.service.openid import OpenIdClient
from monitor.service.access.openid import OpenIdLogin
from monitor.web.access.access_control import AccessControl
from monitor.web.portal import portal
from pantau_lab.oauth.openid_provider import OpenIdProvider, ProviderFault
from pantau_lab.serving import serve
from tests.unit.monitor.web.fake_service import Service
from tests.unit.monitor.web.portal_env import SAME_ORIGIN, PortalEnv, open_portal

PORTAL_URL = "http://localhost"
#: Parts of the messages after a failed sign-in.
MESSAGES = {
    "refused": "tidak diterima",
    "away": "tidak dapat dihubungi",
    "unknown": "belum dipautkan",
    "late": "terlalu lama",
}


@dataclass
class LoginEnv:
    env: PortalEnv
    provider: OpenIdProvider

    async def complete_login(self, browser: httpx.AsyncClient, begin: httpx.Response) -> httpx.Response:
        """Follow the redirect to the provider and back with its answer."""
        led = re.search(r'<a href="(http[^"]+)"', begin.text)
        async with httpx.AsyncClient(trust_env=False) as outside:
            there = await outside.get(html.unescape(led[1]) if led else begin.headers["location"])
        return await browser.get(there.headers["location"])

    async def sign_in(self, browser: httpx.AsyncClient, to: str = "/") -> httpx.Response:
        begin = await browser.get("/sign-in/openid", params={"next": to})
        return await self.complete_login(browser, begin) if begin.status_code == 303 else begin

    async def link_account(self, name: str = "siti") -> httpx.AsyncClient:
        """Let a user link the provider's current account."""
        browser = await self.env.session_for(name, "viewer")
        answer = await self.complete_login(browser, await browser.post("/account/openid"))
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        return browser


@asynccontextmanager
async def open_env(directory: Path) -> AsyncIterator[LoginEnv]:
    provider = OpenIdProvider()
    async with serve(provider.app()) as url, open_portal(directory) as env:
        provider.url = url
        client = OpenIdClient(
            issuer=url,
            client_id=provider.client_id,
            client_secret=provider.client_secret,
            redirect_uri=f"{PORTAL_URL}/sign-in/openid/answer",
            tls=ssl.create_default_context(),
        )
        login = OpenIdLogin(client, "SSO Contoh", env.authenticator, env.users, env.clock)
        env.app = portal(Service(), ["localhost"], access_control=AccessControl(env.authenticator), openid=login)
        yield LoginEnv(env, provider)


@pytest.fixture
async def login_env(tmp_path: Path) -> AsyncIterator[LoginEnv]:
    async with open_env(tmp_path) as opened:
        yield opened


async def test_linked_account_signs_in_and_returns_to_requested_page(login_env: LoginEnv) -> None:
    browser = await login_env.link_account()
    assert "telah dipautkan" in (await browser.get("/account")).text
    async with login_env.env.browser() as other:
        back = await login_env.sign_in(other, "/agencies/JCM")
        assert (back.status_code, back.headers["location"]) == (303, "/agencies/JCM")
        assert "Siti Contoh" in (await other.get("/account")).text


async def test_second_factor_is_required_after_provider(login_env: LoginEnv) -> None:
    await login_env.link_account()
    env = login_env.env
    [user] = await env.administration.users()
    entry = AuditEntry(at=env.clock.now(), actor="Ujian", event="second factor set up")
    code = "0123-4567-89AB-CDEF-GHJK-MNPQ"
    secret = Ciphertext(key_id="0a1b2c3d", text="1.AAAA")
    await env.factors.set_up(user.id, secret, 1, [digest_of_code(code)], entry)
    async with env.browser() as browser:
        back = await login_env.sign_in(browser, "/agencies/JCM")
        assert (back.status_code, back.headers["location"]) == (303, "/sign-in/code?next=/agencies/JCM")
        assert (await browser.get("/agencies/JCM")).status_code == 401
        inside = await browser.post("/sign-in/code", data={"code": code, "next": "/agencies/JCM"})
        assert (inside.status_code, inside.headers["location"]) == (303, "/agencies/JCM")
        assert (await browser.get("/agencies/JCM")).status_code == 200


async def test_unlinked_account_is_refused_and_creates_no_user(login_env: LoginEnv) -> None:
    async with login_env.env.browser() as browser:
        back = await login_env.sign_in(browser)
        assert (back.status_code, MESSAGES["unknown"] in back.text) == (403, True)
        assert (await browser.get("/")).status_code == 401
    assert await login_env.env.administration.users() == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (ProviderFault.ANOTHER_AUDIENCE, "refused"),
        (ProviderFault.ANOTHER_ISSUER, "refused"),
        (ProviderFault.ANOTHER_NONCE, "refused"),
        (ProviderFault.EXPIRED, "refused"),
        (ProviderFault.FORGED, "refused"),
        (ProviderFault.SHARED_SECRET, "refused"),
        (ProviderFault.NAMELESS, "refused"),
        (ProviderFault.DENIED, "refused"),
        (ProviderFault.AWAY, "away"),
        (ProviderFault.PORTAL, "away"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_faulty_or_malicious_provider_signs_nobody_in(
    login_env: LoginEnv, fault: ProviderFault, said: str, *, at_once: bool
) -> None:
    user = await login_env.env.administration.add("siti", "Siti Contoh", ["viewer"], by="Ujian")
    entry = AuditEntry(at=login_env.env.clock.now(), actor="Ujian", event="account linked")
    await login_env.env.users.link(user.id, login_env.provider.url, login_env.provider.subject, entry)
    async with login_env.env.browser() as browser:
        if at_once:
            login_env.provider.fault = fault
        begin = await browser.get("/sign-in/openid")
        login_env.provider.fault = fault
        back = await login_env.complete_login(browser, begin) if begin.status_code == 303 else begin
        assert back.status_code == 403
        assert MESSAGES[said] in back.text
        assert (await browser.get("/")).status_code == 401


async def test_provider_with_metadata_of_other_issuer_is_not_contacted(login_env: LoginEnv) -> None:
    login_env.provider.fault = ProviderFault.ANOTHER_METADATA
    async with login_env.env.browser() as browser:
        answer = await browser.get("/sign-in/openid")
    assert (answer.status_code, MESSAGES["away"] in answer.text) == (403, True)


async def test_login_begun_in_other_browser_cannot_be_completed(login_env: LoginEnv) -> None:
    await login_env.link_account()
    async with login_env.env.browser() as theirs, login_env.env.browser() as mine:
        begin = await theirs.get("/sign-in/openid")
        back = await login_env.complete_login(mine, begin)
        assert (back.status_code, MESSAGES["late"] in back.text) == (403, True)
        # Nor with a browser that has begun a login of its own.
        await mine.get("/sign-in/openid")
        back = await login_env.complete_login(mine, await theirs.get("/sign-in/openid"))
        assert back.status_code == 403
        assert (await mine.get("/")).status_code == 401


async def test_login_completes_once_within_ten_minutes(login_env: LoginEnv) -> None:
    await login_env.link_account()
    async with login_env.env.browser() as browser:
        begin = await browser.get("/sign-in/openid")
        login_env.env.clock.move(timedelta(minutes=10))
        assert MESSAGES["late"] in (await login_env.complete_login(browser, begin)).text
        begin = await browser.get("/sign-in/openid")
        async with httpx.AsyncClient(trust_env=False) as outside:
            there = (await outside.get(begin.headers["location"])).headers["location"]
        assert (await browser.get(there)).status_code == 303
        assert (await browser.get(there)).status_code == 403


async def test_account_belongs_to_one_user_and_admin_can_unlink(login_env: LoginEnv) -> None:
    await login_env.link_account("siti")
    browser = await login_env.env.session_for("ravi", "viewer")
    back = await login_env.complete_login(browser, await browser.post("/account/openid"))
    assert "dipautkan kepada pengguna lain" in back.text
    await login_env.env.administration.unlink("siti", by="Ujian")
    async with login_env.env.browser() as other:
        assert MESSAGES["unknown"] in (await login_env.sign_in(other)).text


async def test_disabled_user_cannot_sign_in(login_env: LoginEnv) -> None:
    await login_env.link_account()
    await login_env.env.administration.disable("siti", by="Ujian")
    async with login_env.env.browser() as browser:
        assert (await login_env.sign_in(browser)).status_code == 403
        assert (await browser.get("/")).status_code == 401


async def test_cross_site_request_links_nothing(login_env: LoginEnv) -> None:
    browser = await login_env.env.session_for("siti", "viewer")
    answer = await browser.post("/account/openid", headers={**SAME_ORIGIN, "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
