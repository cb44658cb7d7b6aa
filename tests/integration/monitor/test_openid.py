"""Signing in with an account elsewhere: a provider over real sockets, honest and not."""

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
from tests.unit.monitor.web.signed import OURS, House, house
from tests.unit.monitor.web.source import Service

US = "http://localhost"
#: Of what people read when they come back in vain.
SAID = {
    "refused": "tidak diterima",
    "away": "tidak dapat dihubungi",
    "unknown": "belum dipautkan",
    "late": "terlalu lama",
}


@dataclass
class Town:
    place: House
    provider: OpenIdProvider

    async def dance(self, browser: httpx.AsyncClient, begin: httpx.Response) -> httpx.Response:
        """Follow a browser to the provider, and back with what it says."""
        led = re.search(r'<a href="(http[^"]+)"', begin.text)
        async with httpx.AsyncClient(trust_env=False) as outside:
            there = await outside.get(html.unescape(led[1]) if led else begin.headers["location"])
        return await browser.get(there.headers["location"])

    async def sign_in(self, browser: httpx.AsyncClient, to: str = "/") -> httpx.Response:
        begin = await browser.get("/sign-in/openid", params={"next": to})
        return await self.dance(browser, begin) if begin.status_code == 303 else begin

    async def linked(self, name: str = "siti") -> httpx.AsyncClient:
        """Let a user link the account of whoever sits at the provider."""
        browser = await self.place.admitted(name, "viewer")
        answer = await self.dance(browser, await browser.post("/account/openid"))
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        return browser


@asynccontextmanager
async def town_in(directory: Path) -> AsyncIterator[Town]:
    provider = OpenIdProvider()
    async with serve(provider.app()) as url, house(directory) as place:
        provider.url = url
        client = OpenIdClient(
            issuer=url,
            client_id=provider.client_id,
            client_secret=provider.client_secret,
            redirect_uri=f"{US}/sign-in/openid/answer",
            trust=ssl.create_default_context(),
        )
        door = OpenIdLogin(client, "SSO Contoh", place.authenticator, place.users, place.clock)
        place.app = portal(Service(), ["localhost"], access_control=AccessControl(place.authenticator), openid=door)
        yield Town(place, provider)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with town_in(tmp_path) as opened:
        yield opened


async def test_who_has_linked_an_account_signs_in_with_it_and_arrives_where_they_wanted(town: Town) -> None:
    browser = await town.linked()
    assert "telah dipautkan" in (await browser.get("/account")).text
    async with town.place.browser() as other:
        back = await town.sign_in(other, "/agencies/JCM")
        assert (back.status_code, back.headers["location"]) == (303, "/agencies/JCM")
        assert "Siti Contoh" in (await other.get("/account")).text


async def test_whoever_has_a_second_factor_is_asked_for_it_after_the_provider_too(town: Town) -> None:
    await town.linked()
    place = town.place
    [user] = await place.administration.users()
    entry = AuditEntry(at=place.clock.now(), actor="Ujian", event="second factor set up")
    code = "0123-4567-89AB-CDEF-GHJK-MNPQ"
    secret = Ciphertext(key_id="0a1b2c3d", text="1.AAAA")
    await place.factors.set_up(user.id, secret, 1, [digest_of_code(code)], entry)
    async with place.browser() as browser:
        back = await town.sign_in(browser, "/agencies/JCM")
        assert (back.status_code, back.headers["location"]) == (303, "/sign-in/code?next=/agencies/JCM")
        assert (await browser.get("/agencies/JCM")).status_code == 401
        inside = await browser.post("/sign-in/code", data={"code": code, "next": "/agencies/JCM"})
        assert (inside.status_code, inside.headers["location"]) == (303, "/agencies/JCM")
        assert (await browser.get("/agencies/JCM")).status_code == 200


async def test_an_account_that_nobody_has_linked_opens_nothing_and_makes_no_user(town: Town) -> None:
    async with town.place.browser() as browser:
        back = await town.sign_in(browser)
        assert (back.status_code, SAID["unknown"] in back.text) == (403, True)
        assert (await browser.get("/")).status_code == 401
    assert await town.place.administration.users() == []


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
async def test_nobody_gets_in_by_a_provider_that_lies_or_fails(
    town: Town, fault: ProviderFault, said: str, *, at_once: bool
) -> None:
    user = await town.place.administration.add("siti", "Siti Contoh", ["viewer"], by="Ujian")
    entry = AuditEntry(at=town.place.clock.now(), actor="Ujian", event="account linked")
    await town.place.users.link(user.id, town.provider.url, town.provider.subject, entry)
    async with town.place.browser() as browser:
        if at_once:
            town.provider.fault = fault
        begin = await browser.get("/sign-in/openid")
        town.provider.fault = fault
        back = await town.dance(browser, begin) if begin.status_code == 303 else begin
        assert back.status_code == 403
        assert SAID[said] in back.text
        assert (await browser.get("/")).status_code == 401


async def test_a_provider_whose_metadata_name_another_is_not_gone_to(town: Town) -> None:
    town.provider.fault = ProviderFault.ANOTHER_METADATA
    async with town.place.browser() as browser:
        answer = await browser.get("/sign-in/openid")
    assert (answer.status_code, SAID["away"] in answer.text) == (403, True)


async def test_what_somebody_else_has_begun_nobody_can_end(town: Town) -> None:
    await town.linked()
    async with town.place.browser() as theirs, town.place.browser() as mine:
        begin = await theirs.get("/sign-in/openid")
        back = await town.dance(mine, begin)
        assert (back.status_code, SAID["late"] in back.text) == (403, True)
        # Nor with a browser that has begun something of its own.
        await mine.get("/sign-in/openid")
        back = await town.dance(mine, await theirs.get("/sign-in/openid"))
        assert back.status_code == 403
        assert (await mine.get("/")).status_code == 401


async def test_what_is_begun_ends_once_and_in_ten_minutes(town: Town) -> None:
    await town.linked()
    async with town.place.browser() as browser:
        begin = await browser.get("/sign-in/openid")
        town.place.clock.move(timedelta(minutes=10))
        assert SAID["late"] in (await town.dance(browser, begin)).text
        begin = await browser.get("/sign-in/openid")
        async with httpx.AsyncClient(trust_env=False) as outside:
            there = (await outside.get(begin.headers["location"])).headers["location"]
        assert (await browser.get(there)).status_code == 303
        assert (await browser.get(there)).status_code == 403


async def test_an_account_is_one_users_and_an_administrator_can_take_the_link_away(town: Town) -> None:
    await town.linked("siti")
    browser = await town.place.admitted("ravi", "viewer")
    back = await town.dance(browser, await browser.post("/account/openid"))
    assert "dipautkan kepada pengguna lain" in back.text
    await town.place.administration.unlink("siti", by="Ujian")
    async with town.place.browser() as other:
        assert SAID["unknown"] in (await town.sign_in(other)).text


async def test_who_is_disabled_gets_in_by_no_door(town: Town) -> None:
    await town.linked()
    await town.place.administration.disable("siti", by="Ujian")
    async with town.place.browser() as browser:
        assert (await town.sign_in(browser)).status_code == 403
        assert (await browser.get("/")).status_code == 401


async def test_a_strangers_page_links_nothing(town: Town) -> None:
    browser = await town.place.admitted("siti", "viewer")
    answer = await browser.post("/account/openid", headers={**OURS, "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
