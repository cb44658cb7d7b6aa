"""The second factor: set up, asked for, lost; and those who have the password alone, or a code that was used."""

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

from monitor.access.invitation_code import CodeWay
from monitor.access.role import Role
from monitor.store.admin.keyring import new_key
from monitor.store.schema.tables import audit_log, pending_session, portal_user, recovery_code, secret
from tests.authenticator import code_at
from tests.unit.monitor.web.signed import KEY, PASSWORD, House, house

pytestmark = pytest.mark.access

STEP = timedelta(seconds=30)
PAGE = "/account/second-factor"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


@dataclass
class Siti:
    """Somebody with a second factor, and the browser in which it was set up."""

    browser: httpx.AsyncClient
    secret: str
    codes: list[str]


def secret_on(page: httpx.Response) -> tuple[str, str]:
    """Return the secret that a page shows, and the offer in its form."""
    shown, offer = (
        re.search(r'class="secret">([A-Z2-7 ]+)<', page.text),
        re.search(r'name="offer" value="([^"]+)"', page.text),
    )
    assert shown is not None
    assert offer is not None
    return shown[1].replace(" ", ""), offer[1]


def codes_on(page: httpx.Response) -> list[str]:
    return re.findall(r"<code>([0-9A-Z-]{29})</code>", page.text)


async def set_up(place: House, browser: httpx.AsyncClient) -> Siti:
    secret, offer = secret_on(await browser.get(PAGE))
    form = {"offer": offer, "code": code_at(secret, place.clock.now()), "password": PASSWORD}
    done = await browser.post(PAGE, data=form)
    assert done.status_code == 200, done.text
    assert "?lang=" not in done.text
    return Siti(browser, secret, codes_on(done))


async def siti(place: House, *roles: str) -> Siti:
    return await set_up(place, await place.signed_in("siti", *(roles or ("viewer",))))


async def password(browser: httpx.AsyncClient, name: str = "siti", wanted: str = "/") -> httpx.Response:
    return await browser.post("/sign-in", data={"name": name, "password": PASSWORD, "next": wanted})


async def code(browser: httpx.AsyncClient, text: str, wanted: str = "/") -> httpx.Response:
    return await browser.post("/sign-in/code", data={"code": text, "next": wanted})


async def test_from_setting_it_up_to_the_next_sign_in(place: House) -> None:
    theirs = await siti(place)
    assert len(set(theirs.codes)) == 10
    assert (await theirs.browser.get("/")).status_code == 200
    place.clock.move(STEP)
    async with place.browser() as browser:
        first = await password(browser, wanted="/agencies/JCM")
        assert (first.status_code, first.headers["location"]) == (303, "/sign-in/code?next=/agencies/JCM")
        page = await browser.get(first.headers["location"])
        assert 'name="next" value="/agencies/JCM"' in page.text
        now = code_at(theirs.secret, place.clock.now())
        second = await code(browser, f" {now[:3]} {now[3:]}", "/agencies/JCM")
        assert (second.status_code, second.headers["location"]) == (303, "/agencies/JCM")
        assert (await browser.get("/agencies/JCM")).status_code == 200
        assert "pantau-half" not in browser.cookies


async def test_the_picture_and_the_text_hold_the_same_secret_and_the_page_needs_no_more_than_its_policy(
    place: House,
) -> None:
    browser = await place.signed_in("siti", "viewer")
    page = await browser.get(PAGE)
    assert 'src="data:image/svg+xml' in page.text
    assert "img-src 'self' data:" in page.headers["content-security-policy"]
    assert "style=" not in page.text.partition("<body>")[2].replace("data:image", "")
    # Shown once: the next look offers another.
    assert secret_on(page)[0] != secret_on(await browser.get(PAGE))[0]


async def test_half_a_sign_in_opens_nothing(place: House) -> None:
    await siti(place, "admin")
    async with place.browser() as browser:
        await password(browser)
        for path in ("/", "/account", PAGE, "/users", "/api/v1/agencies"):
            assert (await browser.get(path)).status_code == 401, path
        for path in (PAGE, f"{PAGE}/off", f"{PAGE}/codes", "/account/password", "/users/siti/disable"):
            assert (await browser.post(path, data={"code": "000000"})).status_code == 401, path
        # Nor does its key, shown as that of a session.
        browser.cookies.set("pantau", browser.cookies["pantau-half"], domain="localhost.local")
        assert (await browser.get("/")).status_code == 401


async def test_half_a_sign_in_is_over_after_five_minutes_and_with_another_password(place: House) -> None:
    theirs = await siti(place)
    async with place.browser() as browser:
        await password(browser)
        place.clock.move(timedelta(minutes=5))
        late = await code(browser, code_at(theirs.secret, place.clock.now()))
        assert late.status_code == 403
        assert "Log masuk semula" in late.text
        await password(browser)
        changed = await theirs.browser.post(
            "/account/password", data={"old": PASSWORD, "password": f"{PASSWORD} lebat"}
        )
        assert changed.status_code == 303
        place.clock.move(STEP)
        assert (await code(browser, code_at(theirs.secret, place.clock.now()))).status_code == 403
    async with place.database.read() as connection:
        assert not (await connection.execute(select(pending_session))).all()


async def test_the_code_of_the_set_up_is_used_up_and_every_other_after_its_use(place: House) -> None:
    theirs = await siti(place)
    async with place.browser() as browser:
        await password(browser)
        used = await code(browser, code_at(theirs.secret, place.clock.now()))
        assert used.status_code == 403
        assert "telah digunakan" in used.text
        place.clock.move(STEP)
        now = code_at(theirs.secret, place.clock.now())
        assert (await code(browser, now)).status_code == 303
        # Seen over a shoulder, and typed within the same half minute.
        async with place.browser() as other:
            await password(other)
            assert (await code(other, now)).status_code == 403


@pytest.mark.parametrize(("away", "status"), [(-2, 403), (-1, 303), (0, 303), (1, 303), (2, 403)])
async def test_a_telephone_whose_clock_is_off_by_a_step_is_taken(place: House, away: int, status: int) -> None:
    theirs = await siti(place)
    place.clock.move(10 * STEP)
    async with place.browser() as browser:
        await password(browser)
        assert (await code(browser, code_at(theirs.secret, place.clock.now() + away * STEP))).status_code == status


async def test_a_code_of_before_the_last_one_does_not_come_back(place: House) -> None:
    theirs = await siti(place)
    place.clock.move(10 * STEP)
    async with place.browser() as browser:
        await password(browser)
        assert (await code(browser, code_at(theirs.secret, place.clock.now() + STEP))).status_code == 303
        async with place.browser() as other:
            await password(other)
            assert (await code(other, code_at(theirs.secret, place.clock.now()))).status_code == 403


async def test_of_two_at_once_with_one_code_one_is_let_in_whichever_pantau_they_ask(place: House) -> None:
    theirs = await siti(place)
    for others in (place.app, place.another()):
        place.clock.move(STEP)
        now = code_at(theirs.secret, place.clock.now())
        async with place.browser() as one, place.browser(others) as two:
            await password(one)
            await password(two)
            answers = await asyncio.gather(code(one, now), code(two, now))
        assert sorted(each.status_code for each in answers) == [303, 403]


async def test_many_guesses_wait_as_passwords_do_and_the_right_code_waits_with_them(place: House) -> None:
    theirs = await siti(place)
    place.clock.move(STEP)
    right = code_at(theirs.secret, place.clock.now())
    guesses = [f"{each:06}" for each in range(12) if f"{each:06}" != right]
    async with place.browser() as browser:
        await password(browser)
        answers = await asyncio.gather(*(code(browser, each) for each in guesses))
        assert sum("tidak betul" in each.text for each in answers) == 3
        assert "Terlalu banyak" in (await code(browser, right)).text
        # Another right password is no way around it.
        assert (await password(browser)).status_code == 403
        place.clock.move(timedelta(seconds=2))
        assert (await password(browser)).status_code == 303
        assert (await code(browser, "999999" if right != "999999" else "999998")).status_code == 403
        assert "Terlalu banyak" in (await code(browser, right)).text
    async with place.database.read() as connection:
        events = (await connection.execute(select(audit_log.c.event))).scalars().all()
    assert events.count("one-time code refused") == 4


async def test_each_recovery_code_opens_once_and_new_ones_void_the_old(place: House) -> None:
    theirs = await siti(place)
    async with place.browser() as browser:
        await password(browser)
        assert (await code(browser, theirs.codes[0].lower().replace("-", " "))).status_code == 303
        assert "9" in (await browser.get(PAGE)).text
        async with place.browser() as other:
            await password(other)
            assert (await code(other, theirs.codes[0])).status_code == 403
        place.clock.move(STEP)
        new = codes_on(await browser.post(f"{PAGE}/codes", data={"code": theirs.codes[1]}))
        assert len(new) == 10
        async with place.browser() as other:
            await password(other)
            assert (await code(other, theirs.codes[2])).status_code == 403
            assert (await code(other, new[0])).status_code == 303


async def test_it_is_switched_on_with_the_right_code_and_password_only(place: House) -> None:
    browser = await place.signed_in("siti", "viewer")
    secret, offer = secret_on(await browser.get(PAGE))
    right = {"offer": offer, "code": code_at(secret, place.clock.now()), "password": PASSWORD}
    for wrong, told in (
        ({"code": "000000"}, "Kod tidak betul"),
        ({"password": "bukan kata laluan"}, "Kata laluan sekarang tidak betul"),
        ({"offer": "rahsia"}, "tidak sah lagi"),
    ):
        refused = await browser.post(PAGE, data={**right, **wrong})
        assert refused.status_code == 403
        assert told in refused.text
        # What was scanned stays good, unless it never was.
        assert (secret_on(refused)[0] == secret) is ("offer" not in wrong)
    other = await place.signed_in("ravi", "viewer")
    assert "tidak sah lagi" in (await other.post(PAGE, data=right)).text
    assert (await browser.post(PAGE, data=right)).status_code == 200
    # Two pages were open: the second changes nothing.
    assert (await browser.post(PAGE, data=right)).status_code == 403


async def test_switching_it_on_ends_all_other_sessions_and_this_one_has_a_new_key(place: House) -> None:
    browser = await place.signed_in("siti", "viewer")
    before = browser.cookies["pantau"]
    async with place.browser() as other:
        await password(other)
        await set_up(place, browser)
        assert (await other.get("/")).status_code == 401
    assert browser.cookies["pantau"] != before
    assert (await browser.get("/")).status_code == 200


async def test_it_is_taken_off_with_a_code_and_not_without(place: House) -> None:
    theirs = await siti(place)
    assert (await theirs.browser.post(f"{PAGE}/off", data={"code": "000000"})).status_code == 403
    assert (await theirs.browser.post(f"{PAGE}/off", data={"code": theirs.codes[0]})).status_code == 303
    async with place.browser() as browser:
        assert (await password(browser)).headers["location"] == "/"
    async with place.database.read() as connection:
        assert not (await connection.execute(select(secret))).all()
        assert not (await connection.execute(select(recovery_code))).all()


async def test_an_administrator_takes_it_away_and_what_was_begun_ends(place: House) -> None:
    theirs = await siti(place)
    boss = await place.signed_in("bos", "admin")
    assert "reset-second-factor" in (await boss.get("/users/siti")).text
    assert (await boss.post("/users/siti/reset-second-factor")).status_code == 303
    assert (await theirs.browser.get("/")).status_code == 401
    async with place.browser() as browser:
        assert (await password(browser)).headers["location"] == "/"
    refused = await boss.post("/users/siti/reset-second-factor")
    assert (refused.status_code, "tiada faktor kedua" in refused.text) == (409, True)
    async with place.database.read() as connection:
        rows = (await connection.execute(select(audit_log.c.actor, audit_log.c.event))).all()
    assert ("Bos Contoh (bos)", "second factor taken away") in [tuple(row) for row in rows]


async def test_a_new_password_by_a_code_does_not_go_around_it(place: House) -> None:
    theirs = await siti(place)
    invitation = await place.administration.invite("siti", CodeWay.LETTER, by="Ujian")
    async with place.browser() as browser:
        chosen = await browser.post(
            "/welcome", data={"name": "siti", "code": invitation.code, "password": f"{PASSWORD}!"}
        )
        assert chosen.headers["location"] == "/sign-in/code?next=/account%3Fwelcome%3D1"
        assert (await browser.get("/account")).status_code == 401
        assert (await code(browser, theirs.codes[0])).status_code == 303


async def test_whose_role_asks_for_it_sets_it_up_first_and_does_nothing_else(tmp_path: Path) -> None:
    async with house(tmp_path, required=frozenset({Role.ADMIN})) as place:
        browser = await place.signed_in("siti", "admin")
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
        theirs = await set_up(place, browser)
        assert (await browser.get("/users")).status_code == 200
        # Without it again: held again.
        assert (await browser.post(f"{PAGE}/off", data={"code": theirs.codes[0]})).status_code == 303
        assert (await browser.get("/users")).status_code == 303
        # Nobody else is held, until they have the role.
        other = await place.signed_in("ravi", "viewer")
        assert (await other.get("/")).status_code == 200
        await place.administration.assign("ravi", ["viewer", "admin"], by="Ujian")
        assert (await other.get("/")).status_code == 403
        assert (await other.post("/sign-out")).status_code == 303


async def test_without_a_key_it_is_said_who_can_help_and_passwords_work(tmp_path: Path) -> None:
    async with house(tmp_path, keys=()) as place:
        browser = await place.signed_in("siti", "viewer")
        page = await browser.get(PAGE)
        assert page.status_code == 200
        assert "secrets_key_file" in page.text
        assert (await browser.post(PAGE, data={"offer": "1:1.AA", "code": "000000"})).status_code == 403
        async with place.browser() as other:
            assert (await password(other)).headers["location"] == "/"


async def test_with_a_lost_key_recovery_codes_open_and_nobody_is_held_for_failing(place: House) -> None:
    theirs = await siti(place)
    place.clock.move(STEP)
    now = code_at(theirs.secret, place.clock.now())
    async with place.browser(place.another(keys=(new_key(),))) as browser:
        await password(browser)
        for _ in range(5):
            refused = await code(browser, now)
            assert refused.status_code == 403
            assert "kunci Pantau" in refused.text
        assert (await code(browser, theirs.codes[0])).status_code == 303
    # The key is found again, also as the one of before.
    async with place.browser(place.another(keys=(new_key(), KEY))) as browser:
        await password(browser)
        assert (await code(browser, now)).status_code == 303


async def test_a_secret_that_is_written_into_anothers_row_lets_nobody_in(place: House) -> None:
    mine = await siti(place)
    boss = await set_up(place, await place.signed_in("bos", "admin"))
    assert boss.secret != mine.secret
    async with place.database.write() as connection:
        ids = {row.name: str(row.id) for row in await connection.execute(select(portal_user.c.name, portal_user.c.id))}
        my_row = select(secret.c.ciphertext).where(secret.c.owner == ids["siti"]).scalar_subquery()
        await connection.execute(secret.update().where(secret.c.owner == ids["bos"]).values(ciphertext=my_row))
    place.clock.move(STEP)
    async with place.browser() as browser:
        await password(browser, "bos")
        assert (await code(browser, code_at(mine.secret, place.clock.now()))).status_code == 403


async def test_nothing_of_a_secret_is_in_the_store_or_the_journal(place: House) -> None:
    theirs = await siti(place)
    async with place.browser() as browser:
        await password(browser)
        await code(browser, theirs.codes[0])
    async with place.database.read() as connection:
        found = [
            str(row)
            for table in (audit_log, secret, recovery_code, pending_session, portal_user)
            for row in await connection.execute(select(table))
        ]
    for known in (theirs.secret, *theirs.codes, *(each.replace("-", "") for each in theirs.codes), PASSWORD):
        assert not any(known in row for row in found)


async def test_a_strangers_page_can_neither_set_it_up_nor_take_it_off(place: House) -> None:
    theirs = await siti(place)
    for path in (PAGE, f"{PAGE}/off", f"{PAGE}/codes", "/sign-in/code"):
        answer = await theirs.browser.post(
            path, data={"code": theirs.codes[0]}, headers={"Sec-Fetch-Site": "cross-site"}
        )
        assert answer.status_code == 403, path
    assert "9" not in re.findall(r"masih ada: (\d+)", (await theirs.browser.get(PAGE)).text)


async def test_over_tls_half_a_sign_in_goes_nowhere_else_either(tmp_path: Path) -> None:
    async with house(tmp_path, secure=True) as place:
        invitation = await place.invite("siti", "viewer")
        async with place.browser() as browser:
            browser.base_url = httpx.URL("https://localhost")
            await browser.post("/welcome", data={"name": "siti", "code": invitation, "password": PASSWORD})
            await set_up(place, browser)
        async with place.browser() as browser:
            cookie = (await password(browser)).headers["set-cookie"]
    assert cookie.startswith("__Host-pantau-half=")
    assert all(word in cookie for word in ("Secure", "HttpOnly", "SameSite=lax", "Path=/"))


async def test_who_comes_to_the_second_step_without_the_first_begins_there_and_is_led_on_and_not_back(
    place: House,
) -> None:
    browser = await place.admitted("siti", "viewer")
    answer = await browser.get("/sign-in/code?next=/account&lang=en")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/account")
    assert '<html lang="en">' in (await browser.get("/sign-in")).text
    assert (await browser.get("/sign-in/code?next=//penyerang.contoh.my")).headers["location"] == "/sign-in"


async def test_who_knows_the_password_guesses_codes_and_the_owner_does_not_wait_for_it(place: House) -> None:
    owner = await siti(place)
    await owner.browser.post("/sign-out")
    place.clock.move(STEP)
    async with place.browser() as thief:
        await password(thief)
        answers = [await code(thief, f"00000{n}") for n in range(4)]
        assert "Terlalu banyak" in answers[-1].text
    assert (await password(owner.browser)).status_code == 303
    assert (await code(owner.browser, code_at(owner.secret, place.clock.now()))).status_code == 303
