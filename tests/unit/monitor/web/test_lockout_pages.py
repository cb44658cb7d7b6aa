"""Lockout after wrong passwords and codes: per address, per account, and unlocking."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, update

from monitor.access.invitation_code import CodeKind
from monitor.access.lockout import FREE_ACCOUNT_ATTEMPTS, FREE_ADDRESS_ATTEMPTS, MAX_ACCOUNT_FAILURES, UNLOCK_DURATION
from monitor.store.schema.tables import audit_log, portal_user
from tests.authenticator import code_at
from tests.unit.monitor.web.portal_env import PASSWORD, SAME_ORIGIN, PortalEnv, open_portal
from tests.unit.monitor.web.test_second_factor import STEP, secret_on, submit_code, user_with_factor

pytestmark = pytest.mark.access

MINUTE = timedelta(minutes=1)
NEW_PASSWORD = "meja jati di serambi surau"


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path) as opened:
        yield opened


def browser_at(env: PortalEnv, address: str) -> httpx.AsyncClient:
    """Return a client with this address, without a session."""
    transport = httpx.ASGITransport(app=env.app, raise_app_exceptions=False, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=SAME_ORIGIN)


async def sign_in(browser: httpx.AsyncClient, password: str = PASSWORD) -> httpx.Response:
    return await browser.post("/sign-in", data={"name": "siti", "password": password})


async def lock_address(env: PortalEnv, address: str, times: int = FREE_ACCOUNT_ATTEMPTS + 1) -> None:
    """Try wrong passwords until the address is locked."""
    async with browser_at(env, address) as attacker:
        for number in range(times):
            await sign_in(attacker, f"tekaan nombor {number} sahaja")
        assert "Terlalu banyak" in (await sign_in(attacker)).text


async def lock_account(env: PortalEnv) -> None:
    """Record so many failures that the account is locked for every address."""
    held = {"failures": MAX_ACCOUNT_FAILURES + 20, "failed_at": env.clock.now()}
    async with env.database.write() as connection:
        await connection.execute(update(portal_user).where(portal_user.c.name == "siti").values(**held))


async def test_sign_in_guesses_lock_their_address_only(env: PortalEnv) -> None:
    await env.signed_in("siti", "duty")
    for _ in range(3):
        # Repeat as soon as the wait is over.
        await lock_address(env, "192.0.2.1")
        env.clock.move(6 * MINUTE)
    await lock_address(env, "192.0.2.1", 1)
    async with browser_at(env, "198.51.100.7") as officer:
        assert (await sign_in(officer)).status_code == 303


async def test_sign_in_guesses_from_many_addresses_lock_account(env: PortalEnv) -> None:
    await env.signed_in("siti", "duty")
    for address in ("192.0.2.1", "192.0.2.2"):
        await lock_address(env, address)
    kept = await env.users.find("siti")
    assert kept is not None
    assert kept.failures.count == 2 * FREE_ACCOUNT_ATTEMPTS
    await lock_account(env)
    async with browser_at(env, "198.51.100.7") as elsewhere:
        assert "Terlalu banyak" in (await sign_in(elsewhere)).text
    # The lock expires.
    env.clock.move(6 * MINUTE)
    async with browser_at(env, "198.51.100.7") as officer:
        assert (await sign_in(officer)).status_code == 303


@pytest.mark.parametrize("way", CodeKind)
async def test_welcome_fresh_code_works_despite_lockout(env: PortalEnv, way: CodeKind) -> None:
    await env.signed_in("siti", "duty")
    await lock_account(env)
    code = (await env.administration.invite("siti", way, by="Ujian")).code
    async with browser_at(env, "198.51.100.7") as officer:
        # A mistyped code does not lock the user either.
        for _ in range(FREE_ACCOUNT_ATTEMPTS + 1):
            wrong = await officer.post("/welcome", data={"name": "siti", "code": "0" * 10, "password": NEW_PASSWORD})
            assert "kod tidak betul" in wrong.text
        chosen = await officer.post("/welcome", data={"name": "siti", "code": code, "password": NEW_PASSWORD})
        assert chosen.status_code == 303
        assert (await officer.get("/account")).status_code == 200


async def test_welcome_code_guesses_lock_their_address(env: PortalEnv) -> None:
    await env.invite("siti", "duty", way=CodeKind.TELEPHONE)
    async with browser_at(env, "192.0.2.1") as attacker:
        for _ in range(FREE_ADDRESS_ATTEMPTS):
            await attacker.post("/welcome", data={"name": "siti", "code": "0" * 10, "password": NEW_PASSWORD})
        # An unknown name gets the same response.
        for name in ("siti", "tiada"):
            held = await attacker.post("/welcome", data={"name": name, "code": "0" * 10, "password": NEW_PASSWORD})
            assert "Terlalu banyak" in held.text


@pytest.mark.parametrize("where", ["192.0.2.1", "198.51.100.7"], ids=["attacked address", "another"])
async def test_unlock_permits_sign_in_for_ten_minutes(env: PortalEnv, where: str) -> None:
    await env.signed_in("siti", "duty")
    boss = await env.session_for("bos", "admin")
    await lock_account(env)
    async with browser_at(env, where) as officer:
        assert "Terlalu banyak" in (await sign_in(officer)).text
        assert (await boss.post("/users/siti/unlock")).headers["location"] == "/users/siti"
        # Wrong passwords continue, from the same address too.
        for number in range(FREE_ADDRESS_ATTEMPTS + 1):
            assert "tidak betul" in (await sign_in(officer, f"tekaan nombor {number} sahaja")).text
        assert "tanpa menunggu sehingga" in (await boss.get("/users/siti")).text
        assert (await sign_in(officer)).status_code == 303
    await lock_account(env)
    assert "tanpa menunggu sehingga" not in (await boss.get("/users/siti")).text
    async with env.database.read() as connection:
        entries = (await connection.execute(select(audit_log).where(audit_log.c.event == "user unlocked"))).all()
    assert [(each.actor, each.detail["user"], each.detail["address"]) for each in entries] == [
        ("Bos Contoh (bos)", "siti", "127.0.0.1")
    ]


async def test_unlock_expires(env: PortalEnv) -> None:
    await env.signed_in("siti", "duty")
    await env.administration.unlock("siti", by="Ujian")
    env.clock.move(UNLOCK_DURATION)
    await lock_address(env, "192.0.2.1")


async def test_second_step_is_not_locked_by_password_guesses(env: PortalEnv) -> None:
    owner = await user_with_factor(env)
    env.clock.move(STEP)
    async with browser_at(env, "198.51.100.7") as officer:
        assert (await sign_in(officer)).headers["location"].startswith("/sign-in/code")
        await lock_account(env)
        assert (await submit_code(officer, code_at(owner.secret, env.clock.now()))).status_code == 303


async def test_second_step_code_guesses_lock_it_from_every_address(env: PortalEnv) -> None:
    owner = await user_with_factor(env)
    env.clock.move(STEP)
    async with browser_at(env, "192.0.2.1") as thief, browser_at(env, "192.0.2.2") as elsewhere:
        for browser in (thief, elsewhere):
            assert (await sign_in(browser)).status_code == 303
        right = code_at(owner.secret, env.clock.now())
        for number in range(FREE_ACCOUNT_ATTEMPTS):
            assert "tidak betul" in (await submit_code(thief, "00000" + str(number))).text
        assert "Terlalu banyak" in (await submit_code(elsewhere, right)).text
        # Unlocking permits sign-in, and does not permit guessing codes.
        await env.administration.unlock("siti", by="Ujian")
        for number in range(FREE_ACCOUNT_ATTEMPTS):
            assert "tidak betul" in (await submit_code(elsewhere, "00000" + str(number))).text
        assert "Terlalu banyak" in (await submit_code(elsewhere, right)).text


@pytest.mark.parametrize("path", ["/account/password", "/account/second-factor"])
async def test_account_signed_in_user_is_not_locked_by_guesses(env: PortalEnv, path: str) -> None:
    officer = await env.signed_in("siti", "duty")
    await lock_account(env)
    await lock_address(env, "127.0.0.1")
    form = {"old": PASSWORD, "password": NEW_PASSWORD}
    if path != "/account/password":
        secret, offer = secret_on(await officer.get(path))
        form = {"offer": offer, "code": code_at(secret, env.clock.now()), "password": PASSWORD}
    assert (await officer.post(path, data=form)).status_code in {200, 303}


async def test_account_guesses_in_session_are_counted_separately(env: PortalEnv) -> None:
    officer = await env.signed_in("siti", "duty")
    for number in range(FREE_ACCOUNT_ATTEMPTS):
        form = {"old": f"tekaan nombor {number} sahaja", "password": NEW_PASSWORD}
        assert "tidak betul" in (await officer.post("/account/password", data=form)).text
    held = await officer.post("/account/password", data={"old": PASSWORD, "password": NEW_PASSWORD})
    assert "Terlalu banyak" in held.text
    async with browser_at(env, "127.0.0.1") as elsewhere:
        assert (await sign_in(elsewhere)).status_code == 303
