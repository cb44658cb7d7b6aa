"""Signing in, choosing a password, staying signed in; and those who try to get in otherwise."""

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
from monitor.access.invitation_code import CodeWay
from monitor.service.access.secret import SessionKey
from monitor.store.schema.tables import api_token, audit_log, portal_user, web_session
from tests.unit.monitor.web.signed import PASSWORD, House, house

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


async def sign_in(browser: httpx.AsyncClient, name: str, password: str, **more: str) -> httpx.Response:
    return await browser.post("/sign-in", data={"name": name, "password": password, **more})


async def test_from_the_code_to_the_page_and_out_again(place: House) -> None:
    code = await place.invite("siti", "viewer:JCM", way=CodeWay.TELEPHONE)
    async with place.browser(Accept="text/html") as browser:
        sent_on = await browser.get("/agencies/JCM?lang=en")
        assert (sent_on.status_code, sent_on.headers["location"]) == (303, "/sign-in?next=/agencies/JCM%3Flang%3Den")
        for page in ("/sign-in", "/welcome"):
            assert "Pantau: pemantauan e-mel rasmi agensi." in (await browser.get(f"{page}?lang=ms")).text
        chosen = await browser.post("/welcome", data={"name": " Siti ", "code": code.lower(), "password": PASSWORD})
        assert (chosen.status_code, chosen.headers["location"]) == (303, "/account?welcome=1")
        welcome = (await browser.get("/account?welcome=1")).text
        assert "Siti Contoh" in welcome
        # What became of it, and where to go: to the agency, and not to a form for yet another password.
        assert "Kata laluan telah disimpan" in welcome
        assert '<a href="/agencies/JCM">Keadaan e-mel JCM</a>' in welcome
        assert "Kata laluan telah disimpan" not in (await browser.get("/account")).text
        assert (await browser.get("/agencies/JCM")).status_code == 200
        assert (await browser.post("/sign-out")).status_code == 303
        assert (await browser.get("/agencies/JCM")).status_code == 303
        signed_in = await sign_in(browser, "siti", PASSWORD, next="/agencies/JCM")
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/agencies/JCM")


async def test_a_code_opens_once_and_not_when_it_is_old_or_anothers(place: House) -> None:
    code = await place.invite("siti", "viewer", way=CodeWay.TELEPHONE)
    other = await place.invite("ravi", "viewer")
    async with place.browser() as browser:

        async def choose(name: str, code: str, password: str = PASSWORD) -> int:
            answer = await browser.post("/welcome", data={"name": name, "code": code, "password": password})
            return answer.status_code

        assert await choose("siti", other) == 403
        # A poor password does not use it up.
        assert await choose("siti", code, "pendek") == 403
        place.clock.move(9 * MINUTE)
        assert await choose("siti", code) == 303
        assert await choose("siti", code) == 403
        place.clock.move(timedelta(days=14))
        assert await choose("ravi", other) == 403


async def test_whatever_is_wrong_the_answer_is_the_same(place: House) -> None:
    await place.signed_in("siti", "viewer")
    await place.invite("ravi", "viewer")
    await place.signed_in("lama", "viewer")
    await place.administration.disable("lama", by="Ujian")
    async with place.browser() as browser:
        answers = [
            await sign_in(browser, "siti", "bukan kata laluan saya"),
            await sign_in(browser, "ravi", PASSWORD),
            await sign_in(browser, "lama", PASSWORD),
            await sign_in(browser, "tiada", PASSWORD),
        ]
    said = {
        answer.text.replace(name, "X") for answer, name in zip(answers, ("siti", "ravi", "lama", "tiada"), strict=True)
    }
    assert len(said) == 1
    assert {answer.status_code for answer in answers} == {403}
    assert "tidak betul" in said.pop()


async def test_many_guesses_at_once_are_no_way_around_the_wait(place: House) -> None:
    await place.signed_in("siti", "viewer")
    async with place.browser() as browser:
        answers = await asyncio.gather(*(sign_in(browser, "siti", f"tekaan nombor {n} sahaja") for n in range(12)))
        looked_at = sum("tidak betul" in answer.text for answer in answers)
        assert looked_at == 3
        # The right one is not looked at either, until the wait is over.
        assert (await sign_in(browser, "siti", PASSWORD)).status_code == 403
        place.clock.move(timedelta(seconds=2))
        assert (await sign_in(browser, "siti", PASSWORD)).status_code == 303
    async with place.database.read() as connection:
        events = (await connection.execute(select(audit_log.c.event))).scalars().all()
    assert events.count("sign-in failed") == 3


async def guess(place: House, browser: httpx.AsyncClient, name: str, times: int) -> None:
    """Try wrong passwords, each as soon as it is looked at."""
    for n in range(times):
        place.clock.move(timedelta(seconds=0 if n < 3 else 2 ** (n - 3)))
        assert "tidak betul" in (await sign_in(browser, name, f"tekaan nombor {n} sahaja")).text


async def test_strangers_make_the_account_wait_and_not_the_browser_in_which_its_owner_has_signed_in(
    place: House,
) -> None:
    officer = await place.signed_in("siti", "duty")
    await officer.post("/sign-out")
    async with place.browser() as stranger:
        await guess(place, stranger, "siti", 7)
        assert "Terlalu banyak" in (await sign_in(stranger, "siti", PASSWORD)).text
        # Also from behind the same address.
        for n in range(30):
            await sign_in(stranger, f"tiada-{n}", "tekaan yang salah ini")
        assert "Terlalu banyak" in (await sign_in(stranger, "tiada", PASSWORD)).text
        assert (await sign_in(officer, "siti", PASSWORD)).status_code == 303
        assert (await officer.get("/account")).status_code == 200


async def test_a_browser_that_is_known_has_a_count_of_its_own_and_it_is_held_against_nobody_else(place: House) -> None:
    officer = await place.signed_in("siti", "duty")
    await guess(place, officer, "siti", 3)
    assert "Terlalu banyak" in (await sign_in(officer, "siti", PASSWORD)).text
    async with place.browser() as other:
        assert (await sign_in(other, "siti", PASSWORD)).status_code == 303
    place.clock.move(timedelta(seconds=2))
    assert (await sign_in(officer, "siti", PASSWORD)).status_code == 303
    # It begins anew, as an account does.
    await guess(place, officer, "siti", 2)
    assert (await sign_in(officer, "siti", PASSWORD)).status_code == 303
    async with place.database.read() as connection:
        events = (await connection.execute(select(audit_log.c.event))).scalars().all()
    assert events.count("sign-in failed") == 5


async def test_what_makes_a_browser_known_is_for_one_name_and_ends_with_the_password(place: House) -> None:
    officer, other = await place.signed_in("siti", "duty"), await place.signed_in("ravi", "duty")
    [mark] = [each for each in officer.cookies.jar if "-device-" in each.name]
    [theirs] = [each for each in other.cookies.jar if "-device-" in each.name]
    assert (mark.name, mark.value) != (theirs.name, theirs.value)
    assert mark.expires is not None
    async with place.browser() as stranger:
        stranger.cookies.set(mark.name, theirs.value or "", domain="localhost.local")
        await guess(place, stranger, "siti", 4)
        assert "Terlalu banyak" in (await sign_in(stranger, "siti", PASSWORD)).text
        # A mark opens nothing.
        stranger.cookies.set(mark.name, mark.value or "", domain="localhost.local")
        assert (await stranger.get("/account")).status_code == 401
    changed = {"old": PASSWORD, "password": "kerusi rotan di tepi sungai"}
    place.clock.move(MINUTE)
    assert (await officer.post("/account/password", data=changed)).status_code == 303
    # What was tried from that address is forgotten.
    place.clock.move(60 * MINUTE)
    async with place.browser() as stranger:
        stranger.cookies.set(mark.name, mark.value or "", domain="localhost.local")
        await guess(place, stranger, "siti", 4)
        assert "Terlalu banyak" in (await sign_in(stranger, "siti", changed["password"])).text
        assert (await sign_in(officer, "siti", changed["password"])).status_code == 303


async def test_who_comes_while_one_hands_over_to_the_next_waits_for_both(place: House) -> None:
    there = most = 0

    async def stay() -> None:
        nonlocal there, most
        async with place.authenticator._account_lock("siti"):
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
    assert not place.authenticator._account_locks


async def test_a_name_that_nobody_has_waits_as_one_that_somebody_has(place: House) -> None:
    async with place.browser() as browser:
        answers = [await sign_in(browser, "tiada", "apa sahaja yang panjang") for _ in range(5)]
    assert ["Terlalu banyak" in each.text for each in answers] == [False, False, False, True, True]


async def test_a_session_ends_when_nobody_uses_it_and_after_a_shift_however_it_is_used(place: House) -> None:
    browser = await place.signed_in("siti", "viewer")
    place.clock.move(29 * MINUTE)
    assert (await browser.get("/")).status_code == 200
    place.clock.move(31 * MINUTE)
    assert (await browser.get("/")).status_code == 401
    # A form that was left open meanwhile.
    sent = await browser.post("/users", data={"name": "ravi"}, headers={"Accept": "text/html"})
    assert (sent.status_code, '<a href="/sign-in?next=/account" target="_blank"' in sent.text) == (401, True)
    assert '<input type="hidden" name="name" value="ravi">' in sent.text

    browser = await place.signed_in("ravi", "viewer")
    for _ in range(47):
        place.clock.move(15 * MINUTE)
        assert (await browser.get("/")).status_code == 200
    place.clock.move(15 * MINUTE)
    assert (await browser.get("/")).status_code == 401


@pytest.mark.access
@pytest.mark.parametrize("path", ["/fragment", "/agencies/JCM/fragment", "/?lang=ms&polled"])
async def test_session_polls_of_a_visible_tab_do_not_extend_it(place: House, path: str) -> None:
    browser = await place.signed_in("siti", "viewer")
    for _ in range(14):
        place.clock.move(2 * MINUTE)
        assert (await browser.get(path)).status_code == 200
    place.clock.move(3 * MINUTE)
    assert (await browser.get(path)).status_code == 401
    # Somebody has typed or clicked beside it: its script says so.
    browser = await place.signed_in("ravi", "viewer")
    for _ in range(14):
        place.clock.move(4 * MINUTE)
        assert (await browser.get(path, headers={"X-Pantau-Used": "1"})).status_code == 200


async def test_a_clock_that_was_set_back_lets_no_session_go_on_for_longer(place: House) -> None:
    place.clock.move(60 * MINUTE)
    browser = await place.signed_in("siti", "viewer")
    place.clock.move(-60 * MINUTE)
    assert (await browser.get("/")).status_code == 200
    place.clock.move(31 * MINUTE)
    assert (await browser.get("/")).status_code == 401


async def test_a_new_session_has_a_new_key_whatever_the_browser_had_before(place: House) -> None:
    await place.signed_in("siti", "viewer")
    async with place.browser() as browser:
        browser.cookies.set("pantau", "dipilih oleh orang lain", domain="localhost.local")
        answer = await sign_in(browser, "siti", PASSWORD)
    cookie = answer.headers["set-cookie"]
    assert "dipilih" not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


async def test_over_tls_the_cookie_goes_nowhere_else(tmp_path: Path) -> None:
    async with house(tmp_path, secure=True) as place:
        code = await place.invite("siti", "viewer")
        async with place.browser() as browser:
            answer = await browser.post("/welcome", data={"name": "siti", "code": code, "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-pantau=")
    assert "Secure" in cookie
    assert "Domain" not in cookie
    assert answer.headers["strict-transport-security"] == "max-age=63072000"


async def test_what_the_store_keeps_lets_nobody_in(place: House) -> None:
    browser = await place.signed_in("siti", "viewer")
    key = browser.cookies["pantau"]
    async with place.database.read() as connection:
        [kept] = (await connection.execute(select(web_session.c.digest))).scalars().all()
        [password] = (await connection.execute(select(portal_user.c.password))).scalars().all()
    assert kept == SessionKey(text=key).digest
    assert key not in kept
    assert PASSWORD not in password
    async with place.browser() as other:
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
async def test_a_strangers_page_can_order_nothing_in_somebodys_name(place: House, headers: dict[str, str]) -> None:
    browser = await place.signed_in("bos", "admin")
    for path in ("/users", "/users/bos/disable", "/users/bos/invite", "/sign-out", "/account/password", "/sign-in"):
        answer = await browser.post(
            path, data={"name": "penyerang", "full_name": "Penyerang", "role": "admin"}, headers=headers
        )
        assert answer.status_code in {401, 403}, path
        assert "set-cookie" not in answer.headers
    assert [each.name for each in await place.administration.users()] == ["bos"]


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
async def test_nobody_is_sent_on_to_a_strangers_page(place: House, wanted: str) -> None:
    await place.signed_in("siti", "viewer")
    async with place.browser() as browser:
        answer = await sign_in(browser, "siti", PASSWORD, next=wanted)
        assert answer.headers["location"] == "/"
        page = await browser.get("/sign-in", params={"next": wanted})
        assert 'name="next" value="/"' in page.text


async def test_a_role_that_is_taken_and_a_user_that_is_disabled_count_at_the_next_click(place: House) -> None:
    browser = await place.signed_in("siti", "viewer")
    assert (await browser.get("/agencies/JCM")).status_code == 200
    await place.administration.assign("siti", ["viewer:MDC"], by="Ujian")
    assert (await browser.get("/agencies/JCM")).status_code == 403
    await place.administration.assign("siti", ["viewer"], by="Ujian")
    assert (await browser.get("/agencies/JCM")).status_code == 200
    await place.administration.disable("siti", by="Ujian")
    assert (await browser.get("/agencies/JCM")).status_code == 401


async def test_another_password_ends_all_other_sessions(place: House) -> None:
    browser = await place.signed_in("siti", "viewer")
    async with place.browser() as other:
        assert (await sign_in(other, "siti", PASSWORD)).status_code == 303
        refused = await browser.post("/account/password", data={"old": "bukan ini pun", "password": PASSWORD + "!"})
        assert refused.status_code == 403
        changed = await browser.post("/account/password", data={"old": PASSWORD, "password": f"{PASSWORD} lebat"})
        assert changed.status_code == 303
        assert (await browser.get("/")).status_code == 200
        assert (await other.get("/")).status_code == 401
        assert (await sign_in(other, "siti", PASSWORD)).status_code == 403


async def test_while_the_store_is_away_who_is_signed_in_sees_on(place: House, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = await place.signed_in("siti", "viewer")
    assert (await browser.get("/")).status_code == 200

    async def away(*_: object) -> None:
        raise StoreUnavailable("disk I/O error")

    for name in ("session", "see", "find"):
        monkeypatch.setattr(place.users, name, away)
    place.authenticator._session_cache = type(place.authenticator._session_cache)(
        (digest, (session, -1000.0)) for digest, (session, _) in place.authenticator._session_cache.items()
    )
    place.clock.move(5 * MINUTE)
    assert (await browser.get("/")).status_code == 200
    async with place.browser() as other:
        answer = await sign_in(other, "siti", PASSWORD)
        assert answer.status_code == 503


async def test_who_did_what_from_where_is_in_the_journal_and_no_secret_is(place: House) -> None:
    boss = await place.signed_in("bos", "admin")
    await boss.post(
        "/users", data={"name": "siti", "full_name": "Siti <b>Contoh</b>", "role": "officer", "agency": "JCM"}
    )
    shown = await boss.post("/users/siti/invite", data={"way": "telephone"})
    code = shown.text.partition('class="secret">')[2].partition("<")[0]
    assert len(code) == 11
    assert "Siti &lt;b&gt;Contoh" in shown.text
    # The same page in another language would be one without the code.
    assert ("?lang=" in shown.text, "ditunjukkan sekali sahaja" in shown.text) == (False, True)
    assert "?lang=en" in (await boss.get("/users/siti")).text
    async with place.database.read() as connection:
        rows = (await connection.execute(select(audit_log.c.actor, audit_log.c.event, audit_log.c.detail))).all()
    by_boss = [(row.event, row.detail) for row in rows if row.actor == "Bos Contoh (bos)"]
    assert [event for event, _ in by_boss[-3:]] == ["user made", "roles given", "code made"]
    assert all("127.0.0.1" in str(detail) for _, detail in by_boss)
    assert not any(secret in str(row) for row in rows for secret in (code, PASSWORD))


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"name": "Siti Contoh", "full_name": "Siti"}, "tidak boleh menjadi nama pengguna"),
        ({"name": "bos", "full_name": "Bos Lain"}, "sudah ada pengguna bos"),
        ({"name": "siti", "full_name": " "}, "Tulis nama penuh"),
        ({"name": "siti", "full_name": "Siti", "role": "officer", "agency": "ZZZ"}, "tiada agensi ZZZ"),
        ({"name": "siti", "full_name": "Siti", "role": "raja"}, "bukan peranan; tulis salah satu"),
    ],
)
async def test_what_cannot_be_made_is_said_and_what_was_typed_stays(
    place: House, form: dict[str, str], told: str
) -> None:
    boss = await place.signed_in("bos", "admin")
    answer = await boss.post("/users", data=form)
    assert answer.status_code in {409, 422}
    assert told in answer.text.replace("&#39;", "'")
    assert f'value="{form["name"]}"' in answer.text


async def test_thousands_of_users_and_tokens_are_looked_through_a_page_at_a_time(place: House) -> None:
    boss = await place.admitted("bos", "admin")
    made = {"made_by": "Ujian", "made_at": place.clock.now()}
    users = [{"name": f"pegawai-{n:03}", "full_name": f"Pegawai {n}", "failures": 0, **made} for n in range(150)]
    tokens = [{"name": f"program-{n}", "digest": f"{n}", "ends_at": place.clock.now(), **made} for n in range(150)]
    async with place.database.write() as connection:
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
    # In the other language the same.
    assert '<a href="/users?q=pegawai-10&amp;lang=en"' in (await boss.get("/users?q=pegawai-10")).text
    assert await seen("/tokens", token) == (100, "/tokens?before=51")
    assert await seen("/tokens?before=51", token) == (50, "")
    assert (await boss.get("/tokens?before=0")).status_code == 422


async def test_the_last_administrator_cannot_be_lost(place: House) -> None:
    boss = await place.signed_in("bos", "admin")
    for path, form in (("/users/bos/disable", {}), ("/users/bos/roles", {"kept": "viewer"})):
        answer = await boss.post(path, data=form)
        assert answer.status_code == 409
        assert "satu-satunya pentadbir" in answer.text
    await place.signed_in("kedua", "admin")
    assert (await boss.post("/users/bos/roles", data={"kept": "viewer"})).status_code == 303
    assert (await boss.get("/users")).status_code == 403


@pytest.mark.parametrize(("language", "told"), [("ms", "Anda tiada kebenaran"), ("en", "Permission denied")])
async def test_who_has_no_role_yet_reads_so_in_a_page_and_finds_their_account(
    place: House, language: str, told: str
) -> None:
    browser = await place.admitted("siti")
    answer = await browser.get("/", params={"lang": language}, headers={"Accept": "text/html"})
    assert answer.status_code == 403
    assert told in answer.text
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
async def test_the_other_language_leads_back_to_all_that_the_address_asks_for(place: House, address: str) -> None:
    browser = await place.admitted("siti", "admin")
    malay = await browser.get(address, headers={"Accept": "text/html"})
    there = re.search(r'href="([^"]*)" lang="en"', malay.text)
    assert there is not None
    english = await browser.get(unescape(there[1]), headers={"Accept": "text/html"})
    assert (english.status_code, english.url.path) == (malay.status_code, malay.url.path)
    assert '<html lang="en">' in english.text
    asked = parse_qsl(urlsplit(address).query)
    assert dict(parse_qsl(english.url.query.decode())) == {**dict(asked), "lang": "en"}


async def test_the_other_language_of_a_refusal_leads_to_no_strangers_page_and_stays(place: House) -> None:
    browser = await place.admitted("siti", "viewer")
    strange = await browser.get("http://localhost//penyerang.contoh.my/", headers={"Accept": "text/html"})
    assert 'href="/?lang=en"' in strange.text
    assert "penyerang" not in "".join(re.findall(r'href="[^"]*"', strange.text))
    refused = await browser.get("/users?lang=en", headers={"Accept": "text/html"})
    assert '<html lang="en">' in refused.text
    assert '<html lang="en">' in (await browser.get("/account")).text


async def test_what_is_to_be_done_is_done_by_pages_by_whoever_has_signed_in(place: House) -> None:
    browser = await place.admitted("siti", "noc")
    page = (await browser.get("/agencies/JCM")).text
    todo = re.findall(r'<section id="todo">(.*?)</section>', page, re.DOTALL)
    assert todo
    assert "<code>" not in todo[0]
    ways = set(re.findall(r'href="([^"]*)"', todo[0]))
    assert ways == {"/incidents/JCM-01", "/agencies/JCM/test"}
    assert [(await browser.get(way)).status_code for way in ways] == [200, 200]


async def test_the_page_to_sign_in_by_does_not_lead_in_a_circle(place: House) -> None:
    async with place.browser() as browser:
        for path in ("/sign-in", "/welcome"):
            assert "<footer" not in (await browser.get(path)).text
