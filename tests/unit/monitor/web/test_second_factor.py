"""Second factor: set-up, sign-in with codes, loss, and attacks with the password or a used code."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from monitor.access.invitation_code import CodeKind
from monitor.access.role import Role
from monitor.store.admin.keyring import new_key
from monitor.store.schema.tables import audit_log, pending_session, portal_user, recovery_code, secret
from tests.authenticator import code_at
from tests.unit.monitor.web.portal_env import KEY, PASSWORD, PortalEnv, open_portal

pytestmark = pytest.mark.access

STEP = timedelta(seconds=30)
PAGE = "/account/second-factor"


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path) as opened:
        yield opened


@dataclass
class UserWithFactor:
    """A user with a second factor, and the client in which it was set up."""

    browser: httpx.AsyncClient
    secret: str
    codes: list[str]


def secret_on(page: httpx.Response) -> tuple[str, str]:
    """Return the secret of the page, and the offer in its form."""
    shown, offer = (
        re.search(r'class="secret">([A-Z2-7 ]+)<', page.text),
        re.search(r'name="offer" value="([^"]+)"', page.text),
    )
    assert shown is not None
    assert offer is not None
    return shown[1].replace(" ", ""), offer[1]


def codes_on(page: httpx.Response) -> list[str]:
    return re.findall(r"<code>([0-9A-Z-]{29})</code>", page.text)


async def set_up(env: PortalEnv, browser: httpx.AsyncClient) -> UserWithFactor:
    secret, offer = secret_on(await browser.get(PAGE))
    form = {"offer": offer, "code": code_at(secret, env.clock.now()), "password": PASSWORD}
    done = await browser.post(PAGE, data=form)
    assert done.status_code == 200, done.text
    assert "?lang=" not in done.text
    return UserWithFactor(browser, secret, codes_on(done))


async def user_with_factor(env: PortalEnv, *roles: str) -> UserWithFactor:
    return await set_up(env, await env.signed_in("siti", *(roles or ("viewer",))))


async def submit_password(browser: httpx.AsyncClient, name: str = "siti", wanted: str = "/") -> httpx.Response:
    return await browser.post("/sign-in", data={"name": name, "password": PASSWORD, "next": wanted})


async def submit_code(browser: httpx.AsyncClient, text: str, wanted: str = "/") -> httpx.Response:
    return await browser.post("/sign-in/code", data={"code": text, "next": wanted})


async def test_second_factor_set_up_is_required_at_next_sign_in(env: PortalEnv) -> None:
    theirs = await user_with_factor(env)
    assert len(set(theirs.codes)) == 10
    assert (await theirs.browser.get("/")).status_code == 200
    env.clock.move(STEP)
    async with env.browser() as browser:
        first = await submit_password(browser, wanted="/agencies/JCM")
        assert (first.status_code, first.headers["location"]) == (303, "/sign-in/code?next=/agencies/JCM")
        page = await browser.get(first.headers["location"])
        assert 'name="next" value="/agencies/JCM"' in page.text
        now = code_at(theirs.secret, env.clock.now())
        second = await submit_code(browser, f" {now[:3]} {now[3:]}", "/agencies/JCM")
        assert (second.status_code, second.headers["location"]) == (303, "/agencies/JCM")
        assert (await browser.get("/agencies/JCM")).status_code == 200
        assert "pantau-half" not in browser.cookies


async def test_set_up_page_obeys_policy_and_offers_new_secret_each_time(
    env: PortalEnv,
) -> None:
    browser = await env.signed_in("siti", "viewer")
    page = await browser.get(PAGE)
    assert 'src="data:image/svg+xml' in page.text
    assert "img-src 'self' data:" in page.headers["content-security-policy"]
    assert "style=" not in page.text.partition("<body>")[2].replace("data:image", "")
    # The secret is shown once: the next page has another.
    assert secret_on(page)[0] != secret_on(await browser.get(PAGE))[0]


async def test_pending_session_permits_nothing(env: PortalEnv) -> None:
    await user_with_factor(env, "admin")
    async with env.browser() as browser:
        await submit_password(browser)
        for path in ("/", "/account", PAGE, "/users", "/api/v1/agencies"):
            assert (await browser.get(path)).status_code == 401, path
        for path in (PAGE, f"{PAGE}/off", f"{PAGE}/codes", "/account/password", "/users/siti/disable"):
            assert (await browser.post(path, data={"code": "000000"})).status_code == 401, path
        # Its key is no session key either.
        browser.cookies.set("pantau", browser.cookies["pantau-half"], domain="localhost.local")
        assert (await browser.get("/")).status_code == 401


async def test_pending_session_ends_after_five_minutes_or_password_change(env: PortalEnv) -> None:
    theirs = await user_with_factor(env)
    async with env.browser() as browser:
        await submit_password(browser)
        env.clock.move(timedelta(minutes=5))
        late = await submit_code(browser, code_at(theirs.secret, env.clock.now()))
        assert late.status_code == 403
        assert "Log masuk semula" in late.text
        await submit_password(browser)
        changed = await theirs.browser.post(
            "/account/password", data={"old": PASSWORD, "password": f"{PASSWORD} lebat"}
        )
        assert changed.status_code == 303
        env.clock.move(STEP)
        assert (await submit_code(browser, code_at(theirs.secret, env.clock.now()))).status_code == 403
    async with env.database.read() as connection:
        assert not (await connection.execute(select(pending_session))).all()


async def test_one_time_code_is_accepted_once_including_set_up(env: PortalEnv) -> None:
    theirs = await user_with_factor(env)
    async with env.browser() as browser:
        await submit_password(browser)
        used = await submit_code(browser, code_at(theirs.secret, env.clock.now()))
        assert used.status_code == 403
        assert "telah digunakan" in used.text
        env.clock.move(STEP)
        now = code_at(theirs.secret, env.clock.now())
        assert (await submit_code(browser, now)).status_code == 303
        # A code that another person saw, entered within the same half minute.
        async with env.browser() as other:
            await submit_password(other)
            assert (await submit_code(other, now)).status_code == 403


@pytest.mark.parametrize(("steps_off", "status"), [(-2, 403), (-1, 303), (0, 303), (1, 303), (2, 403)])
async def test_one_time_code_clock_off_by_one_step_is_accepted(env: PortalEnv, steps_off: int, status: int) -> None:
    theirs = await user_with_factor(env)
    env.clock.move(10 * STEP)
    async with env.browser() as browser:
        await submit_password(browser)
        assert (
            await submit_code(browser, code_at(theirs.secret, env.clock.now() + steps_off * STEP))
        ).status_code == status


async def test_one_time_code_before_last_used_is_refused(env: PortalEnv) -> None:
    theirs = await user_with_factor(env)
    env.clock.move(10 * STEP)
    async with env.browser() as browser:
        await submit_password(browser)
        assert (await submit_code(browser, code_at(theirs.secret, env.clock.now() + STEP))).status_code == 303
        async with env.browser() as other:
            await submit_password(other)
            assert (await submit_code(other, code_at(theirs.secret, env.clock.now()))).status_code == 403


async def test_one_time_code_concurrent_use_admits_one_across_processes(env: PortalEnv) -> None:
    theirs = await user_with_factor(env)
    for others in (env.app, env.other_portal()):
        env.clock.move(STEP)
        now = code_at(theirs.secret, env.clock.now())
        async with env.browser() as one, env.browser(others) as two:
            await submit_password(one)
            await submit_password(two)
            answers = await asyncio.gather(submit_code(one, now), submit_code(two, now))
        assert sorted(each.status_code for each in answers) == [303, 403]


async def test_one_time_code_guesses_delay_right_code_too(env: PortalEnv) -> None:
    theirs = await user_with_factor(env)
    env.clock.move(STEP)
    right = code_at(theirs.secret, env.clock.now())
    guesses = [f"{each:06}" for each in range(12) if f"{each:06}" != right]
    async with env.browser() as browser:
        await submit_password(browser)
        answers = await asyncio.gather(*(submit_code(browser, each) for each in guesses))
        assert sum("tidak betul" in each.text for each in answers) == 3
        assert "Terlalu banyak" in (await submit_code(browser, right)).text
        # Entering the password again does not end the wait.
        assert (await submit_password(browser)).status_code == 403
        env.clock.move(timedelta(seconds=2))
        assert (await submit_password(browser)).status_code == 303
        assert (await submit_code(browser, "999999" if right != "999999" else "999998")).status_code == 403
        assert "Terlalu banyak" in (await submit_code(browser, right)).text
    async with env.database.read() as connection:
        events = (await connection.execute(select(audit_log.c.event))).scalars().all()
    assert events.count("one-time code refused") == 4


async def test_recovery_code_works_once_and_new_codes_void_old(env: PortalEnv) -> None:
    theirs = await user_with_factor(env)
    async with env.browser() as browser:
        await submit_password(browser)
        assert (await submit_code(browser, theirs.codes[0].lower().replace("-", " "))).status_code == 303
        assert "9" in (await browser.get(PAGE)).text
        async with env.browser() as other:
            await submit_password(other)
            assert (await submit_code(other, theirs.codes[0])).status_code == 403
        env.clock.move(STEP)
        new = codes_on(await browser.post(f"{PAGE}/codes", data={"code": theirs.codes[1]}))
        assert len(new) == 10
        async with env.browser() as other:
            await submit_password(other)
            assert (await submit_code(other, theirs.codes[2])).status_code == 403
            assert (await submit_code(other, new[0])).status_code == 303


async def test_second_factor_set_up_requires_right_code_and_password(env: PortalEnv) -> None:
    browser = await env.signed_in("siti", "viewer")
    secret, offer = secret_on(await browser.get(PAGE))
    right = {"offer": offer, "code": code_at(secret, env.clock.now()), "password": PASSWORD}
    for wrong, expected in (
        ({"code": "000000"}, "Kod tidak betul"),
        ({"password": "bukan kata laluan"}, "Kata laluan sekarang tidak betul"),
        ({"offer": "rahsia"}, "tidak sah lagi"),
    ):
        refused = await browser.post(PAGE, data={**right, **wrong})
        assert refused.status_code == 403
        assert expected in refused.text
        # The scanned secret remains valid, unless the offer was invalid.
        assert (secret_on(refused)[0] == secret) is ("offer" not in wrong)
    other = await env.signed_in("ravi", "viewer")
    assert "tidak sah lagi" in (await other.post(PAGE, data=right)).text
    assert (await browser.post(PAGE, data=right)).status_code == 200
    # A second open page changes nothing.
    assert (await browser.post(PAGE, data=right)).status_code == 403


async def test_second_factor_set_up_ends_other_sessions_and_renews_key(env: PortalEnv) -> None:
    browser = await env.signed_in("siti", "viewer")
    before = browser.cookies["pantau"]
    async with env.browser() as other:
        await submit_password(other)
        await set_up(env, browser)
        assert (await other.get("/")).status_code == 401
    assert browser.cookies["pantau"] != before
    assert (await browser.get("/")).status_code == 200


async def test_second_factor_removal_requires_code(env: PortalEnv) -> None:
    theirs = await user_with_factor(env)
    assert (await theirs.browser.post(f"{PAGE}/off", data={"code": "000000"})).status_code == 403
    assert (await theirs.browser.post(f"{PAGE}/off", data={"code": theirs.codes[0]})).status_code == 303
    async with env.browser() as browser:
        assert (await submit_password(browser)).headers["location"] == "/"
    async with env.database.read() as connection:
        assert not (await connection.execute(select(secret))).all()
        assert not (await connection.execute(select(recovery_code))).all()


async def test_second_factor_reset_by_administrator_ends_sessions(env: PortalEnv) -> None:
    theirs = await user_with_factor(env)
    boss = await env.signed_in("bos", "admin")
    assert "reset-second-factor" in (await boss.get("/users/siti")).text
    assert (await boss.post("/users/siti/reset-second-factor")).status_code == 303
    assert (await theirs.browser.get("/")).status_code == 401
    async with env.browser() as browser:
        assert (await submit_password(browser)).headers["location"] == "/"
    refused = await boss.post("/users/siti/reset-second-factor")
    assert (refused.status_code, "tiada faktor kedua" in refused.text) == (409, True)
    async with env.database.read() as connection:
        rows = (await connection.execute(select(audit_log.c.actor, audit_log.c.event))).all()
    assert ("Bos Contoh (bos)", "second factor taken away") in [tuple(row) for row in rows]


async def test_password_reset_does_not_bypass_second_factor(env: PortalEnv) -> None:
    theirs = await user_with_factor(env)
    invitation = await env.administration.invite("siti", CodeKind.LETTER, by="Ujian")
    async with env.browser() as browser:
        chosen = await browser.post(
            "/welcome", data={"name": "siti", "code": invitation.code, "password": f"{PASSWORD}!"}
        )
        assert chosen.headers["location"] == "/sign-in/code?next=/account%3Fwelcome%3D1"
        assert (await browser.get("/account")).status_code == 401
        assert (await submit_code(browser, theirs.codes[0])).status_code == 303


async def test_required_second_factor_is_set_up_before_anything_else(tmp_path: Path) -> None:
    async with open_portal(tmp_path, second_factor_roles=frozenset({Role.ADMIN})) as env:
        browser = await env.signed_in("siti", "admin")
        browser.headers["Accept"] = "text/html"
        for path in ("/", "/users", "/account", "/agencies/JCM"):
            answer = await browser.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, PAGE), path
        assert (await browser.get("/api/v1/agencies", headers={"Accept": "application/json"})).status_code == 403
        for path, form in (
            ("/users", {"name": "x", "full_name": "X"}),
            ("/account/password", {"old": PASSWORD, "password": f"{PASSWORD}!"}),
            ("/-/reload", {}),
        ):
            assert (await browser.post(path, data=form)).status_code == 403, path
        assert "Peranan anda memerlukan" in (await browser.get(PAGE)).text
        theirs = await set_up(env, browser)
        assert (await browser.get("/users")).status_code == 200
        # Without a second factor the user is restricted again.
        assert (await browser.post(f"{PAGE}/off", data={"code": theirs.codes[0]})).status_code == 303
        assert (await browser.get("/users")).status_code == 303
        # Other users are not restricted, until they get the role.
        other = await env.signed_in("ravi", "viewer")
        assert (await other.get("/")).status_code == 200
        await env.administration.assign("ravi", ["viewer", "admin"], by="Ujian")
        assert (await other.get("/")).status_code == 403
        assert (await other.post("/sign-out")).status_code == 303


async def test_second_factor_without_secrets_key_shows_advice_and_passwords_work(tmp_path: Path) -> None:
    async with open_portal(tmp_path, keys=()) as env:
        browser = await env.signed_in("siti", "viewer")
        page = await browser.get(PAGE)
        assert page.status_code == 200
        assert "secrets_key_file" in page.text
        assert (await browser.post(PAGE, data={"offer": "1:1.AA", "code": "000000"})).status_code == 403
        async with env.browser() as other:
            assert (await submit_password(other)).headers["location"] == "/"


async def test_second_factor_lost_key_recovery_codes_work_without_lockout(env: PortalEnv) -> None:
    theirs = await user_with_factor(env)
    env.clock.move(STEP)
    now = code_at(theirs.secret, env.clock.now())
    async with env.browser(env.other_portal(keys=(new_key(),))) as browser:
        await submit_password(browser)
        for _ in range(5):
            refused = await submit_code(browser, now)
            assert refused.status_code == 403
            assert "kunci Pantau" in refused.text
        assert (await submit_code(browser, theirs.codes[0])).status_code == 303
    # The key is available again, also as the previous one.
    async with env.browser(env.other_portal(keys=(new_key(), KEY))) as browser:
        await submit_password(browser)
        assert (await submit_code(browser, now)).status_code == 303


async def test_second_factor_secret_of_other_user_is_refused(env: PortalEnv) -> None:
    mine = await user_with_factor(env)
    boss = await set_up(env, await env.signed_in("bos", "admin"))
    assert boss.secret != mine.secret
    async with env.database.write() as connection:
        ids = {row.name: str(row.id) for row in await connection.execute(select(portal_user.c.name, portal_user.c.id))}
        my_row = select(secret.c.ciphertext).where(secret.c.owner == ids["siti"]).scalar_subquery()
        await connection.execute(secret.update().where(secret.c.owner == ids["bos"]).values(ciphertext=my_row))
    env.clock.move(STEP)
    async with env.browser() as browser:
        await submit_password(browser, "bos")
        assert (await submit_code(browser, code_at(mine.secret, env.clock.now()))).status_code == 403


async def test_second_factor_secrets_are_not_in_store_or_audit_log(env: PortalEnv) -> None:
    theirs = await user_with_factor(env)
    async with env.browser() as browser:
        await submit_password(browser)
        await submit_code(browser, theirs.codes[0])
    async with env.database.read() as connection:
        found = [
            str(row)
            for table in (audit_log, secret, recovery_code, pending_session, portal_user)
            for row in await connection.execute(select(table))
        ]
    for known in (theirs.secret, *theirs.codes, *(each.replace("-", "") for each in theirs.codes), PASSWORD):
        assert not any(known in row for row in found)


async def test_second_factor_cross_site_post_is_refused(env: PortalEnv) -> None:
    theirs = await user_with_factor(env)
    for path in (PAGE, f"{PAGE}/off", f"{PAGE}/codes", "/sign-in/code"):
        answer = await theirs.browser.post(
            path, data={"code": theirs.codes[0]}, headers={"Sec-Fetch-Site": "cross-site"}
        )
        assert answer.status_code == 403, path
    assert "9" not in re.findall(r"masih ada: (\d+)", (await theirs.browser.get(PAGE)).text)


async def test_pending_session_cookie_over_tls_is_secure_and_host_bound(tmp_path: Path) -> None:
    async with open_portal(tmp_path, secure=True) as env:
        invitation = await env.invite("siti", "viewer")
        async with env.browser() as browser:
            browser.base_url = httpx.URL("https://localhost")
            await browser.post("/welcome", data={"name": "siti", "code": invitation, "password": PASSWORD})
            await set_up(env, browser)
        async with env.browser() as browser:
            cookie = (await submit_password(browser)).headers["set-cookie"]
    assert cookie.startswith("__Host-pantau-half=")
    assert all(word in cookie for word in ("Secure", "HttpOnly", "SameSite=lax", "Path=/"))


async def test_second_step_without_first_redirects_to_sign_in(
    env: PortalEnv,
) -> None:
    browser = await env.session_for("siti", "viewer")
    answer = await browser.get("/sign-in/code?next=/account&lang=en")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/account")
    assert '<html lang="en">' in (await browser.get("/sign-in")).text
    assert (await browser.get("/sign-in/code?next=//penyerang.contoh.my")).headers["location"] == "/sign-in"


async def test_second_step_guesses_do_not_delay_known_browser(env: PortalEnv) -> None:
    owner = await user_with_factor(env)
    await owner.browser.post("/sign-out")
    env.clock.move(STEP)
    async with env.browser() as thief:
        await submit_password(thief)
        answers = [await submit_code(thief, f"00000{n}") for n in range(4)]
        assert "Terlalu banyak" in answers[-1].text
    assert (await submit_password(owner.browser)).status_code == 303
    assert (await submit_code(owner.browser, code_at(owner.secret, env.clock.now()))).status_code == 303
