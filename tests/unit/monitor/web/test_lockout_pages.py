"""A stranger who guesses at somebody's password keeps nobody out: not in another browser, and not with a code from an administrator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, update

from monitor.access.invitation_code import CodeWay
from monitor.access.lockout import FREE_ACCOUNT_ATTEMPTS, FREE_ADDRESS_ATTEMPTS, MAX_ACCOUNT_FAILURES, UNLOCK_DURATION
from monitor.store.schema.tables import audit_log, portal_user
from tests.authenticator import code_at
from tests.unit.monitor.web.signed import OURS, PASSWORD, House, house
from tests.unit.monitor.web.test_second_factor import STEP, code, secret_on, siti

pytestmark = pytest.mark.access

MINUTE = timedelta(minutes=1)
NEW_PASSWORD = "meja jati di serambi surau"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


def at(place: House, address: str) -> httpx.AsyncClient:
    """Open a browser at an address, in which nobody has signed in."""
    transport = httpx.ASGITransport(app=place.app, raise_app_exceptions=False, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=OURS)


async def sign_in(browser: httpx.AsyncClient, password: str = PASSWORD) -> httpx.Response:
    return await browser.post("/sign-in", data={"name": "siti", "password": password})


async def hold(place: House, address: str, times: int = FREE_ACCOUNT_ATTEMPTS + 1) -> None:
    """Let a stranger try wrong passwords, so that the next attempt from there is not looked at."""
    async with at(place, address) as stranger:
        for number in range(times):
            await sign_in(stranger, f"tekaan nombor {number} sahaja")
        assert "Terlalu banyak" in (await sign_in(stranger)).text


async def hold_everywhere(place: House) -> None:
    """Let strangers at so many addresses have tried that the account waits for everybody."""
    held = {"failures": MAX_ACCOUNT_FAILURES + 20, "failed_at": place.clock.now()}
    async with place.database.write() as connection:
        await connection.execute(update(portal_user).where(portal_user.c.name == "siti").values(**held))


async def test_sign_in_strangers_guesses_hold_their_address_and_no_other(place: House) -> None:
    await place.signed_in("siti", "duty")
    for _ in range(3):
        # Again and again, as soon as the wait is over.
        await hold(place, "192.0.2.1")
        place.clock.move(6 * MINUTE)
    await hold(place, "192.0.2.1", 1)
    async with at(place, "198.51.100.7") as officer:
        assert (await sign_in(officer)).status_code == 303


async def test_sign_in_guesses_from_many_addresses_are_held_together(place: House) -> None:
    await place.signed_in("siti", "duty")
    for address in ("192.0.2.1", "192.0.2.2"):
        await hold(place, address)
    kept = await place.users.find("siti")
    assert kept is not None
    assert kept.failures.count == 2 * FREE_ACCOUNT_ATTEMPTS
    await hold_everywhere(place)
    async with at(place, "198.51.100.7") as elsewhere:
        assert "Terlalu banyak" in (await sign_in(elsewhere)).text
    # The wait has an end, as ever.
    place.clock.move(6 * MINUTE)
    async with at(place, "198.51.100.7") as officer:
        assert (await sign_in(officer)).status_code == 303


@pytest.mark.parametrize("way", CodeWay)
async def test_welcome_fresh_code_opens_whatever_strangers_guess(place: House, way: CodeWay) -> None:
    await place.signed_in("siti", "duty")
    await hold_everywhere(place)
    code = (await place.administration.invite("siti", way, by="Ujian")).code
    async with at(place, "198.51.100.7") as officer:
        # Somebody who reads the code wrongly is not held up, either.
        for _ in range(FREE_ACCOUNT_ATTEMPTS + 1):
            wrong = await officer.post("/welcome", data={"name": "siti", "code": "0" * 10, "password": NEW_PASSWORD})
            assert "kod tidak betul" in wrong.text
        chosen = await officer.post("/welcome", data={"name": "siti", "code": code, "password": NEW_PASSWORD})
        assert chosen.status_code == 303
        assert (await officer.get("/account")).status_code == 200


async def test_welcome_guesses_at_codes_hold_their_address(place: House) -> None:
    await place.invite("siti", "duty", way=CodeWay.TELEPHONE)
    async with at(place, "192.0.2.1") as stranger:
        for _ in range(FREE_ADDRESS_ATTEMPTS):
            await stranger.post("/welcome", data={"name": "siti", "code": "0" * 10, "password": NEW_PASSWORD})
        # Of somebody whom nobody knows the same is said.
        for name in ("siti", "tiada"):
            held = await stranger.post("/welcome", data={"name": name, "code": "0" * 10, "password": NEW_PASSWORD})
            assert "Terlalu banyak" in held.text


@pytest.mark.parametrize("where", ["192.0.2.1", "198.51.100.7"], ids=["the stranger's address", "another"])
async def test_unlock_lets_somebody_sign_in_for_ten_minutes(place: House, where: str) -> None:
    await place.signed_in("siti", "duty")
    boss = await place.admitted("bos", "admin")
    await hold_everywhere(place)
    async with at(place, where) as officer:
        assert "Terlalu banyak" in (await sign_in(officer)).text
        assert (await boss.post("/users/siti/unlock")).headers["location"] == "/users/siti"
        # The stranger goes on, from the same address, too.
        for number in range(FREE_ADDRESS_ATTEMPTS + 1):
            assert "tidak betul" in (await sign_in(officer, f"tekaan nombor {number} sahaja")).text
        assert "tanpa menunggu sehingga" in (await boss.get("/users/siti")).text
        assert (await sign_in(officer)).status_code == 303
    await hold_everywhere(place)
    assert "tanpa menunggu sehingga" not in (await boss.get("/users/siti")).text
    async with place.database.read() as connection:
        entries = (await connection.execute(select(audit_log).where(audit_log.c.event == "user unlocked"))).all()
    assert [(each.actor, each.detail["user"], each.detail["address"]) for each in entries] == [
        ("Bos Contoh (bos)", "siti", "127.0.0.1")
    ]


async def test_unlock_ends_by_itself(place: House) -> None:
    await place.signed_in("siti", "duty")
    await place.administration.unlock("siti", by="Ujian")
    place.clock.move(UNLOCK_DURATION)
    await hold(place, "192.0.2.1")


async def test_second_step_guesses_at_the_password_do_not_hold_it(place: House) -> None:
    owner = await siti(place)
    place.clock.move(STEP)
    async with at(place, "198.51.100.7") as officer:
        assert (await sign_in(officer)).headers["location"].startswith("/sign-in/code")
        await hold_everywhere(place)
        assert (await code(officer, code_at(owner.secret, place.clock.now()))).status_code == 303


async def test_second_step_guesses_at_the_code_are_held_wherever_they_come_from(place: House) -> None:
    owner = await siti(place)
    place.clock.move(STEP)
    async with at(place, "192.0.2.1") as thief, at(place, "192.0.2.2") as elsewhere:
        for browser in (thief, elsewhere):
            assert (await sign_in(browser)).status_code == 303
        right = code_at(owner.secret, place.clock.now())
        for number in range(FREE_ACCOUNT_ATTEMPTS):
            assert "tidak betul" in (await code(thief, "00000" + str(number))).text
        assert "Terlalu banyak" in (await code(elsewhere, right)).text
        # An administrator's word lets somebody sign in, and nobody guess codes.
        await place.administration.unlock("siti", by="Ujian")
        for number in range(FREE_ACCOUNT_ATTEMPTS):
            assert "tidak betul" in (await code(elsewhere, "00000" + str(number))).text
        assert "Terlalu banyak" in (await code(elsewhere, right)).text


@pytest.mark.parametrize("path", ["/account/password", "/account/second-factor"])
async def test_account_strangers_guesses_do_not_hold_who_is_signed_in(place: House, path: str) -> None:
    officer = await place.signed_in("siti", "duty")
    await hold_everywhere(place)
    await hold(place, "127.0.0.1")
    form = {"old": PASSWORD, "password": NEW_PASSWORD}
    if path != "/account/password":
        secret, offer = secret_on(await officer.get(path))
        form = {"offer": offer, "code": code_at(secret, place.clock.now()), "password": PASSWORD}
    assert (await officer.post(path, data=form)).status_code in {200, 303}


async def test_account_guesses_in_a_session_have_a_count_of_their_own(place: House) -> None:
    officer = await place.signed_in("siti", "duty")
    for number in range(FREE_ACCOUNT_ATTEMPTS):
        form = {"old": f"tekaan nombor {number} sahaja", "password": NEW_PASSWORD}
        assert "tidak betul" in (await officer.post("/account/password", data=form)).text
    held = await officer.post("/account/password", data={"old": PASSWORD, "password": NEW_PASSWORD})
    assert "Terlalu banyak" in held.text
    async with at(place, "127.0.0.1") as elsewhere:
        assert (await sign_in(elsewhere)).status_code == 303
