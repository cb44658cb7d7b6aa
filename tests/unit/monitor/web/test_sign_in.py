"""Sign-in, invitations, sessions, users, and attacks on them."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from sqlalchemy import insert, select

from alerts.persistence.store import StoreUnavailable
from monitor.access.invitation_code import CodeKind
from monitor.service.access.secret import SessionKey
from monitor.store.schema.tables import api_token, audit_log, portal_user, web_session
from tests.unit.monitor.web.portal_env import PASSWORD, PortalEnv, open_portal

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path) as opened:
        yield opened


async def sign_in(browser: httpx.AsyncClient, name: str, password: str, **more: str) -> httpx.Response:
    return await browser.post("/sign-in", data={"name": name, "password": password, **more})


async def test_user_accepts_invitation_signs_out_and_in(env: PortalEnv) -> None:
    code = await env.invite("siti", "viewer:JCM", way=CodeKind.TELEPHONE)
    async with env.browser(Accept="text/html") as browser:
        sent_on = await browser.get("/agencies/JCM?lang=en")
        assert (sent_on.status_code, sent_on.headers["location"]) == (303, "/sign-in?next=/agencies/JCM%3Flang%3Den")
        for page in ("/sign-in", "/welcome"):
            assert "Pantau: pemantauan e-mel rasmi agensi." in (await browser.get(f"{page}?lang=ms")).text
        chosen = await browser.post("/welcome", data={"name": " Siti ", "code": code.lower(), "password": PASSWORD})
        assert (chosen.status_code, chosen.headers["location"]) == (303, "/account?welcome=1")
        welcome = (await browser.get("/account?welcome=1")).text
        assert "Siti Contoh" in welcome
        # The page confirms the password and links to the agency, and shows no other password form.
        assert "Kata laluan telah disimpan" in welcome
        assert '<a href="/agencies/JCM">Keadaan e-mel JCM</a>' in welcome
        assert "Kata laluan telah disimpan" not in (await browser.get("/account")).text
        assert (await browser.get("/agencies/JCM")).status_code == 200
        assert (await browser.post("/sign-out")).status_code == 303
        assert (await browser.get("/agencies/JCM")).status_code == 303
        signed_in = await sign_in(browser, "siti", PASSWORD, next="/agencies/JCM")
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/agencies/JCM")


async def test_invitation_code_works_once_in_time_for_its_user(env: PortalEnv) -> None:
    code = await env.invite("siti", "viewer", way=CodeKind.TELEPHONE)
    other = await env.invite("ravi", "viewer")
    async with env.browser() as browser:

        async def choose(name: str, code: str, password: str = PASSWORD) -> int:
            answer = await browser.post("/welcome", data={"name": name, "code": code, "password": password})
            return answer.status_code

        assert await choose("siti", other) == 403
        # A refused password does not use up the code.
        assert await choose("siti", code, "pendek") == 403
        env.clock.move(9 * MINUTE)
        assert await choose("siti", code) == 303
        assert await choose("siti", code) == 403
        env.clock.move(timedelta(days=14))
        assert await choose("ravi", other) == 403


async def test_sign_in_failure_response_is_same_for_every_cause(env: PortalEnv) -> None:
    await env.signed_in("siti", "viewer")
    await env.invite("ravi", "viewer")
    await env.signed_in("lama", "viewer")
    await env.administration.disable("lama", by="Ujian")
    async with env.browser() as browser:
        answers = [
            await sign_in(browser, "siti", "bukan kata laluan saya"),
            await sign_in(browser, "ravi", PASSWORD),
            await sign_in(browser, "lama", PASSWORD),
            await sign_in(browser, "tiada", PASSWORD),
        ]
    responses = {
        answer.text.replace(name, "X") for answer, name in zip(answers, ("siti", "ravi", "lama", "tiada"), strict=True)
    }
    assert len(responses) == 1
    assert {answer.status_code for answer in answers} == {403}
    assert "tidak betul" in responses.pop()


async def test_sign_in_concurrent_guesses_are_throttled(env: PortalEnv) -> None:
    await env.signed_in("siti", "viewer")
    async with env.browser() as browser:
        answers = await asyncio.gather(*(sign_in(browser, "siti", f"tekaan nombor {n} sahaja") for n in range(12)))
        looked_at = sum("tidak betul" in answer.text for answer in answers)
        assert looked_at == 3
        # The right password is not checked either, until the wait is over.
        assert (await sign_in(browser, "siti", PASSWORD)).status_code == 403
        env.clock.move(timedelta(seconds=2))
        assert (await sign_in(browser, "siti", PASSWORD)).status_code == 303
    async with env.database.read() as connection:
        events = (await connection.execute(select(audit_log.c.event))).scalars().all()
    assert events.count("sign-in failed") == 3


async def try_wrong_passwords(env: PortalEnv, browser: httpx.AsyncClient, name: str, times: int) -> None:
    """Try wrong passwords, each after the wait."""
    for n in range(times):
        env.clock.move(timedelta(seconds=0 if n < 3 else 2 ** (n - 3)))
        assert "tidak betul" in (await sign_in(browser, name, f"tekaan nombor {n} sahaja")).text


async def test_sign_in_guesses_delay_account_but_not_known_browser(
    env: PortalEnv,
) -> None:
    officer = await env.signed_in("siti", "duty")
    await officer.post("/sign-out")
    async with env.browser() as attacker:
        await try_wrong_passwords(env, attacker, "siti", 7)
        assert "Terlalu banyak" in (await sign_in(attacker, "siti", PASSWORD)).text
        # Also from the same address.
        for n in range(30):
            await sign_in(attacker, f"tiada-{n}", "tekaan yang salah ini")
        assert "Terlalu banyak" in (await sign_in(attacker, "tiada", PASSWORD)).text
        assert (await sign_in(officer, "siti", PASSWORD)).status_code == 303
        assert (await officer.get("/account")).status_code == 200


async def test_sign_in_known_browser_failures_are_counted_separately(env: PortalEnv) -> None:
    officer = await env.signed_in("siti", "duty")
    await try_wrong_passwords(env, officer, "siti", 3)
    assert "Terlalu banyak" in (await sign_in(officer, "siti", PASSWORD)).text
    async with env.browser() as other:
        assert (await sign_in(other, "siti", PASSWORD)).status_code == 303
    env.clock.move(timedelta(seconds=2))
    assert (await sign_in(officer, "siti", PASSWORD)).status_code == 303
    # The count starts again, as that of an account does.
    await try_wrong_passwords(env, officer, "siti", 2)
    assert (await sign_in(officer, "siti", PASSWORD)).status_code == 303
    async with env.database.read() as connection:
        events = (await connection.execute(select(audit_log.c.event))).scalars().all()
    assert events.count("sign-in failed") == 5


async def test_device_cookie_is_for_one_user_until_password_changes(env: PortalEnv) -> None:
    officer, other = await env.signed_in("siti", "duty"), await env.signed_in("ravi", "duty")
    [mark] = [each for each in officer.cookies.jar if "-device-" in each.name]
    [theirs] = [each for each in other.cookies.jar if "-device-" in each.name]
    assert (mark.name, mark.value) != (theirs.name, theirs.value)
    assert mark.expires is not None
    async with env.browser() as attacker:
        attacker.cookies.set(mark.name, theirs.value or "", domain="localhost.local")
        await try_wrong_passwords(env, attacker, "siti", 4)
        assert "Terlalu banyak" in (await sign_in(attacker, "siti", PASSWORD)).text
        # The device cookie is no session.
        attacker.cookies.set(mark.name, mark.value or "", domain="localhost.local")
        assert (await attacker.get("/account")).status_code == 401
    changed = {"old": PASSWORD, "password": "kerusi rotan di tepi sungai"}
    env.clock.move(MINUTE)
    assert (await officer.post("/account/password", data=changed)).status_code == 303
    # The failures of that address are forgotten.
    env.clock.move(60 * MINUTE)
    async with env.browser() as attacker:
        attacker.cookies.set(mark.name, mark.value or "", domain="localhost.local")
        await try_wrong_passwords(env, attacker, "siti", 4)
        assert "Terlalu banyak" in (await sign_in(attacker, "siti", changed["password"])).text
        assert (await sign_in(officer, "siti", changed["password"])).status_code == 303


async def test_account_lock_admits_one_at_a_time(env: PortalEnv) -> None:
    there = most = 0

    async def stay() -> None:
        nonlocal there, most
        async with env.authenticator._account_lock("siti"):
            there += 1
            most = max(most, there)
            for _ in range(5):
                await asyncio.sleep(0)
            there -= 1

    async def follow(first: asyncio.Task[None]) -> None:
        await first
        await stay()

    first = asyncio.create_task(stay())
    await asyncio.gather(first, stay(), follow(first))
    assert most == 1
    assert not env.authenticator._account_locks


async def test_sign_in_unknown_name_is_throttled_like_known(env: PortalEnv) -> None:
    async with env.browser() as browser:
        answers = [await sign_in(browser, "tiada", "apa sahaja yang panjang") for _ in range(5)]
    assert ["Terlalu banyak" in each.text for each in answers] == [False, False, False, True, True]


async def test_session_ends_after_idle_time_and_maximum_time(env: PortalEnv) -> None:
    browser = await env.signed_in("siti", "viewer")
    env.clock.move(29 * MINUTE)
    assert (await browser.get("/")).status_code == 200
    env.clock.move(31 * MINUTE)
    assert (await browser.get("/")).status_code == 401
    # A form that was left open.
    sent = await browser.post("/users", data={"name": "ravi"}, headers={"Accept": "text/html"})
    assert (sent.status_code, '<a href="/sign-in?next=/account" target="_blank"' in sent.text) == (401, True)
    assert '<input type="hidden" name="name" value="ravi">' in sent.text

    browser = await env.signed_in("ravi", "viewer")
    for _ in range(47):
        env.clock.move(15 * MINUTE)
        assert (await browser.get("/")).status_code == 200
    env.clock.move(15 * MINUTE)
    assert (await browser.get("/")).status_code == 401


@pytest.mark.access
@pytest.mark.parametrize("path", ["/fragment", "/agencies/JCM/fragment", "/?lang=ms&polled"])
async def test_session_polling_does_not_extend_it(env: PortalEnv, path: str) -> None:
    browser = await env.signed_in("siti", "viewer")
    for _ in range(14):
        env.clock.move(2 * MINUTE)
        assert (await browser.get(path)).status_code == 200
    env.clock.move(3 * MINUTE)
    assert (await browser.get(path)).status_code == 401
    # The user typed or clicked: the script reports it.
    browser = await env.signed_in("ravi", "viewer")
    for _ in range(14):
        env.clock.move(4 * MINUTE)
        assert (await browser.get(path, headers={"X-Pantau-Used": "1"})).status_code == 200


async def test_session_clock_set_back_does_not_extend_it(env: PortalEnv) -> None:
    env.clock.move(60 * MINUTE)
    browser = await env.signed_in("siti", "viewer")
    env.clock.move(-60 * MINUTE)
    assert (await browser.get("/")).status_code == 200
    env.clock.move(31 * MINUTE)
    assert (await browser.get("/")).status_code == 401


async def test_session_key_is_new_at_sign_in(env: PortalEnv) -> None:
    await env.signed_in("siti", "viewer")
    async with env.browser() as browser:
        browser.cookies.set("pantau", "dipilih oleh orang lain", domain="localhost.local")
        answer = await sign_in(browser, "siti", PASSWORD)
    cookie = answer.headers["set-cookie"]
    assert "dipilih" not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


async def test_session_cookie_over_tls_is_secure_and_host_bound(tmp_path: Path) -> None:
    async with open_portal(tmp_path, secure=True) as env:
        code = await env.invite("siti", "viewer")
        async with env.browser() as browser:
            answer = await browser.post("/welcome", data={"name": "siti", "code": code, "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-pantau=")
    assert "Secure" in cookie
    assert "Domain" not in cookie
    assert answer.headers["strict-transport-security"] == "max-age=63072000"


async def test_session_stored_digest_does_not_sign_in(env: PortalEnv) -> None:
    browser = await env.signed_in("siti", "viewer")
    key = browser.cookies["pantau"]
    async with env.database.read() as connection:
        [kept] = (await connection.execute(select(web_session.c.digest))).scalars().all()
        [password] = (await connection.execute(select(portal_user.c.password))).scalars().all()
    assert kept == SessionKey(text=key).digest
    assert key not in kept
    assert PASSWORD not in password
    async with env.browser() as other:
        other.cookies.set("pantau", kept, domain="localhost.local")
        assert (await other.get("/")).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "", "Origin": "https://penyerang.contoh.my"},
        {"Sec-Fetch-Site": "", "Origin": "null"},
    ],
)
async def test_cross_site_post_is_refused(env: PortalEnv, headers: dict[str, str]) -> None:
    browser = await env.signed_in("bos", "admin")
    for path in ("/users", "/users/bos/disable", "/users/bos/invite", "/sign-out", "/account/password", "/sign-in"):
        answer = await browser.post(
            path, data={"name": "penyerang", "full_name": "Penyerang", "role": "admin"}, headers=headers
        )
        assert answer.status_code in {401, 403}, path
        assert "set-cookie" not in answer.headers
    assert [each.name for each in await env.administration.users()] == ["bos"]


@pytest.mark.parametrize(
    "wanted",
    [
        "https://penyerang.contoh.my/",
        "//penyerang.contoh.my",
        "/\\penyerang.contoh.my",
        "\\\\penyerang",
        "/\tx",
        "javascript:alert(1)",
        "/a\\..\\b",
        "",
    ],
)
async def test_sign_in_redirects_within_portal_only(env: PortalEnv, wanted: str) -> None:
    await env.signed_in("siti", "viewer")
    async with env.browser() as browser:
        answer = await sign_in(browser, "siti", PASSWORD, next=wanted)
        assert answer.headers["location"] == "/"
        page = await browser.get("/sign-in", params={"next": wanted})
        assert 'name="next" value="/"' in page.text


async def test_session_role_loss_and_disabling_apply_at_once(env: PortalEnv) -> None:
    browser = await env.signed_in("siti", "viewer")
    assert (await browser.get("/agencies/JCM")).status_code == 200
    await env.administration.assign("siti", ["viewer:MDC"], by="Ujian")
    assert (await browser.get("/agencies/JCM")).status_code == 403
    await env.administration.assign("siti", ["viewer"], by="Ujian")
    assert (await browser.get("/agencies/JCM")).status_code == 200
    await env.administration.disable("siti", by="Ujian")
    assert (await browser.get("/agencies/JCM")).status_code == 401


async def test_password_change_ends_other_sessions(env: PortalEnv) -> None:
    browser = await env.signed_in("siti", "viewer")
    async with env.browser() as other:
        assert (await sign_in(other, "siti", PASSWORD)).status_code == 303
        refused = await browser.post("/account/password", data={"old": "bukan ini pun", "password": PASSWORD + "!"})
        assert refused.status_code == 403
        changed = await browser.post("/account/password", data={"old": PASSWORD, "password": f"{PASSWORD} lebat"})
        assert changed.status_code == 303
        assert (await browser.get("/")).status_code == 200
        assert (await other.get("/")).status_code == 401
        assert (await sign_in(other, "siti", PASSWORD)).status_code == 403


async def test_session_store_unavailable_is_served_from_cache(env: PortalEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = await env.signed_in("siti", "viewer")
    assert (await browser.get("/")).status_code == 200

    async def unavailable(*_: object) -> None:
        raise StoreUnavailable("disk I/O error")

    for name in ("session", "record_use", "find"):
        monkeypatch.setattr(env.users, name, unavailable)
    env.authenticator._session_cache = type(env.authenticator._session_cache)(
        (digest, (session, -1000.0)) for digest, (session, _) in env.authenticator._session_cache.items()
    )
    env.clock.move(5 * MINUTE)
    assert (await browser.get("/")).status_code == 200
    async with env.browser() as other:
        answer = await sign_in(other, "siti", PASSWORD)
        assert answer.status_code == 503


async def test_audit_log_records_user_changes_and_no_secret(env: PortalEnv) -> None:
    boss = await env.signed_in("bos", "admin")
    await boss.post(
        "/users", data={"name": "siti", "full_name": "Siti <b>Contoh</b>", "role": "officer", "agency": "JCM"}
    )
    shown = await boss.post("/users/siti/invite", data={"way": "telephone"})
    code = shown.text.partition('class="secret">')[2].partition("<")[0]
    assert len(code) == 11
    assert "Siti &lt;b&gt;Contoh" in shown.text
    # The page in another language would not have the code.
    assert ("?lang=" in shown.text, "ditunjukkan sekali sahaja" in shown.text) == (False, True)
    assert "?lang=en" in (await boss.get("/users/siti")).text
    async with env.database.read() as connection:
        rows = (await connection.execute(select(audit_log.c.actor, audit_log.c.event, audit_log.c.detail))).all()
    by_boss = [(row.event, row.detail) for row in rows if row.actor == "Bos Contoh (bos)"]
    assert [event for event, _ in by_boss[-3:]] == ["user made", "roles given", "code made"]
    assert all("127.0.0.1" in str(detail) for _, detail in by_boss)
    assert not any(secret in str(row) for row in rows for secret in (code, PASSWORD))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"name": "Siti Contoh", "full_name": "Siti"}, "tidak boleh menjadi nama pengguna"),
        ({"name": "bos", "full_name": "Bos Lain"}, "sudah ada pengguna bos"),
        ({"name": "siti", "full_name": " "}, "Tulis nama penuh"),
        ({"name": "siti", "full_name": "Siti", "role": "officer", "agency": "ZZZ"}, "tiada agensi ZZZ"),
        ({"name": "siti", "full_name": "Siti", "role": "raja"}, "bukan peranan; tulis salah satu"),
    ],
)
async def test_users_page_invalid_user_shows_reason_and_keeps_input(
    env: PortalEnv, form: dict[str, str], expected: str
) -> None:
    boss = await env.signed_in("bos", "admin")
    answer = await boss.post("/users", data=form)
    assert answer.status_code in {409, 422}
    assert expected in answer.text.replace("&#39;", "'")
    assert f'value="{form["name"]}"' in answer.text


async def test_users_and_tokens_pages_are_paged(env: PortalEnv) -> None:
    boss = await env.session_for("bos", "admin")
    made = {"made_by": "Ujian", "made_at": env.clock.now()}
    users = [{"name": f"pegawai-{n:03}", "full_name": f"Pegawai {n}", "failures": 0, **made} for n in range(150)]
    tokens = [{"name": f"program-{n}", "digest": f"{n}", "ends_at": env.clock.now(), **made} for n in range(150)]
    async with env.database.write() as connection:
        await connection.execute(insert(portal_user), users)
        await connection.execute(insert(api_token), tokens)

    async def seen(path: str, row: str) -> tuple[int, str]:
        page = await boss.get(path)
        further = re.findall(r'<a href="(/(?:users|tokens)\?[^"]+)">', page.text)
        return len(re.findall(row, page.text)), html.unescape(further[0]) if further else ""

    user, token = r'<td><a href="/users/', r"<td>program-"
    assert await seen("/users", user) == (100, "/users?q=&after=pegawai-098")
    assert await seen("/users?q=&after=pegawai-098", user) == (51, "")
    assert await seen("/users?q=PEGAWAI-10", user) == (10, "")
    assert await seen("/users?q=tiada", user) == (0, "")
    # The language link keeps the search.
    assert '<a href="/users?q=pegawai-10&amp;lang=en"' in (await boss.get("/users?q=pegawai-10")).text
    assert await seen("/tokens", token) == (100, "/tokens?before=51")
    assert await seen("/tokens?before=51", token) == (50, "")
    assert (await boss.get("/tokens?before=0")).status_code == 422


async def test_last_administrator_cannot_be_removed(env: PortalEnv) -> None:
    boss = await env.signed_in("bos", "admin")
    for path, form in (("/users/bos/disable", {}), ("/users/bos/roles", {"kept": "viewer"})):
        answer = await boss.post(path, data=form)
        assert answer.status_code == 409
        assert "satu-satunya pentadbir" in answer.text
    await env.signed_in("kedua", "admin")
    assert (await boss.post("/users/bos/roles", data={"kept": "viewer"})).status_code == 303
    assert (await boss.get("/users")).status_code == 403


@pytest.mark.parametrize(("language", "expected"), [("ms", "Anda tiada kebenaran"), ("en", "Permission denied")])
async def test_user_without_role_sees_refusal_and_account(env: PortalEnv, language: str, expected: str) -> None:
    browser = await env.session_for("siti")
    answer = await browser.get("/", params={"lang": language}, headers={"Accept": "text/html"})
    assert answer.status_code == 403
    assert expected in answer.text
    assert 'href="/account"' in answer.text
    assert (await browser.get("/api/v1/agencies", headers={"Accept": "text/html"})).json()["status"] == 403
    assert (await browser.get("/account")).status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "/sign-in?next=/agencies/JCM%3Fq%3D1",
        "/audit?by=siti&event=signed+in",
        "/rotas?q=jcm",
        "/agencies/JCM/versions?from=1&to=1",
        "/agencies/TIADA",
    ],
)
async def test_language_link_keeps_query(env: PortalEnv, address: str) -> None:
    browser = await env.session_for("siti", "admin")
    malay = await browser.get(address, headers={"Accept": "text/html"})
    there = re.search(r'href="([^"]*)" lang="en"', malay.text)
    assert there is not None
    english = await browser.get(unescape(there[1]), headers={"Accept": "text/html"})
    assert (english.status_code, english.url.path) == (malay.status_code, malay.url.path)
    assert '<html lang="en">' in english.text
    asked = parse_qsl(urlsplit(address).query)
    assert dict(parse_qsl(english.url.query.decode())) == {**dict(asked), "lang": "en"}


async def test_language_link_of_refusal_stays_in_portal(env: PortalEnv) -> None:
    browser = await env.session_for("siti", "viewer")
    strange = await browser.get("http://localhost//penyerang.contoh.my/", headers={"Accept": "text/html"})
    assert 'href="/?lang=en"' in strange.text
    assert "penyerang" not in "".join(re.findall(r'href="[^"]*"', strange.text))
    refused = await browser.get("/users?lang=en", headers={"Accept": "text/html"})
    assert '<html lang="en">' in refused.text
    assert '<html lang="en">' in (await browser.get("/account")).text


async def test_agency_page_actions_link_to_pages_for_signed_in_user(env: PortalEnv) -> None:
    browser = await env.session_for("siti", "noc")
    page = (await browser.get("/agencies/JCM")).text
    todo = re.findall(r'<section id="todo">(.*?)</section>', page, re.DOTALL)
    assert todo
    assert "<code>" not in todo[0]
    ways = set(re.findall(r'href="([^"]*)"', todo[0]))
    assert ways == {"/incidents/JCM-01", "/agencies/JCM/test"}
    assert [(await browser.get(way)).status_code for way in ways] == [200, 200]


async def test_sign_in_pages_have_no_footer(env: PortalEnv) -> None:
    async with env.browser() as browser:
        for path in ("/sign-in", "/welcome"):
            assert "<footer" not in (await browser.get(path)).text
