"""Programs that show a token, and those who show something else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from alerts.persistence.store import StoreUnavailable
from monitor.service.access.secret import TokenSecret
from monitor.service.errors import OperationRejectedError
from monitor.store.schema.tables import api_token, audit_log
from tests.unit.monitor.web.signed import House, house
from tests.unit.monitor.web.source import TOKEN, Service

PATH = "/api/v1/agencies/JCM"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, Service(codes=("JCM", "MDC"))) as opened:
        yield opened


async def show(place: House, secret: str, path: str = PATH) -> httpx.Response:
    async with place.browser(Authorization=f"Bearer {secret}") as web:
        return await web.get(path)


async def test_a_program_is_shown_what_its_token_permits_and_nothing_of_another_agency(place: House) -> None:
    program = await place.program("viewer:JCM")
    assert (await program.get(PATH)).status_code == 200
    refused = await program.get("/api/v1/agencies/MDC")
    assert refused.status_code == 403
    assert refused.json()["detail"].startswith("program konsol has no permission to read for MDC")


async def test_a_token_needs_no_page_of_ours_since_no_page_of_a_strangers_can_send_it(place: House) -> None:
    program = await place.program("admin", **{"Sec-Fetch-Site": "cross-site"})
    # Its header tells a browser's page from a tool, and this is asked of the route itself.
    assert (await program.get(PATH)).status_code == 200
    del program.headers["Sec-Fetch-Site"]
    assert (await program.post("/-/reload")).status_code == 200


@pytest.mark.parametrize("secret", ["", "pantau_salah", TOKEN, "\udcff", "x" * 5000])
async def test_what_opens_nothing_is_told_which_header_it_was(place: House, secret: str) -> None:
    async with place.browser() as web:
        answer = await web.get(PATH, headers={b"Authorization": b"Bearer " + secret.encode("utf-8", "surrogateescape")})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert "the header Authorization" in answer.json()["detail"]
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_wrong_token_is_not_helped_by_a_session(place: House) -> None:
    browser = await place.admitted("siti", "viewer")
    assert (await browser.get(PATH)).status_code == 200
    assert (await browser.get(PATH, headers={"Authorization": "Bearer pantau_salah"})).status_code == 401


async def test_another_scheme_is_what_a_proxy_asks_for_and_none_of_ours(place: House) -> None:
    browser = await place.admitted("siti", "viewer")
    assert (await browser.get(PATH, headers={"Authorization": "Basic c2l0aTp4"})).status_code == 200


async def test_a_token_ends_when_it_is_over_and_when_it_is_taken_back(place: House) -> None:
    program = await place.program("viewer")
    place.clock.move(timedelta(days=90) - timedelta(seconds=1))
    assert (await program.get(PATH)).status_code == 200
    place.clock.move(timedelta(seconds=1))
    assert (await program.get(PATH)).status_code == 401

    other = await place.program("viewer")
    assert (await other.get(PATH)).status_code == 200
    [newest, *_] = await place.tokens.all()
    await place.tokens.revoke(newest.id, by="Ujian")
    assert (await other.get(PATH)).status_code == 401
    with pytest.raises(OperationRejectedError, match="was revoked before"):
        await place.tokens.revoke(newest.id, by="Ujian")


async def test_guesses_wait_longer_and_longer_and_a_good_token_from_the_same_address_never_does(place: House) -> None:
    program = await place.program("viewer")
    for n in range(20):
        assert (await show(place, f"pantau_tekaan{n}")).status_code == 401
    waits = await show(place, "pantau_tekaan")
    assert (waits.status_code, waits.headers["Retry-After"]) == (429, "1")
    assert (await program.get(PATH)).status_code == 200
    place.clock.move(timedelta(seconds=1))
    assert (await show(place, "pantau_tekaan")).status_code == 401
    assert (await show(place, "pantau_tekaan")).headers["Retry-After"] == "2"


async def test_guesses_cost_the_store_nothing(place: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.program("viewer")
    await show(place, "pantau_tekaan")

    async def asked(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(place.tokens._records, "standing", asked)
    assert (await show(place, "pantau_tekaan")).status_code == 401


async def test_while_the_store_is_away_a_program_that_is_known_sees_on(
    place: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = await place.program("viewer")
    assert (await program.get(PATH)).status_code == 200

    async def away(*_: object) -> None:
        raise StoreUnavailable("disk I/O error")

    for name in ("standing", "use"):
        monkeypatch.setattr(place.tokens._records, name, away)
    place.tokens._read_at = -1000.0
    place.clock.move(timedelta(minutes=5))
    assert (await program.get(PATH)).status_code == 200
    place.tokens._valid_tokens = None
    assert (await program.get(PATH)).status_code == 503


async def test_only_the_digest_is_kept_and_the_journal_says_who_made_it(place: House) -> None:
    boss = await place.admitted("bos", "admin", "duty:JCM")
    page = await boss.post("/tokens", data={"name": "konsol", "role": "duty", "agency": "jcm", "days": "30"})
    secret = page.text.partition('class="secret">')[2].partition("<")[0]
    assert secret.startswith("pantau_")
    assert "?lang=" not in page.text
    assert len(secret) == 50
    again = await boss.get("/tokens")
    assert secret not in again.text
    assert "sah sehingga 24/12/2026" in again.text
    async with place.database.read() as connection:
        [row] = (await connection.execute(select(api_token))).all()
        entries = (await connection.execute(select(audit_log.c.actor, audit_log.c.event, audit_log.c.detail))).all()
    assert row.digest == TokenSecret(text=secret).digest
    assert secret not in str(row)
    assert (entries[-1].actor, entries[-1].event) == ("Bos Contoh (bos)", "token made")
    assert all(part in str(entries[-1].detail) for part in ("duty:JCM", "127.0.0.1", "konsol"))
    assert secret not in str(entries)
    assert secret not in repr(TokenSecret(text=secret))


async def test_that_one_is_used_is_written_once_a_minute(place: House) -> None:
    program = await place.program("viewer")
    used = []
    for _ in range(3):
        place.clock.move(timedelta(seconds=40))
        await program.get(PATH)
        used.append((await place.tokens.all())[0].used_at)
    assert used[0] == used[1] != used[2] == place.clock.now()


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"name": "konsol noc", "role": "viewer"}, "bukan nama program"),
        ({"name": "konsol", "role": ""}, "token tanpa peranan"),
        ({"name": "konsol", "role": "duty"}, "duty melebihi kebenaran anda sendiri"),
        ({"name": "konsol", "role": "viewer", "agency": "ZZZ"}, "tiada agensi ZZZ"),
        ({"name": "konsol", "role": "viewer", "days": "367"}, "paling lama 366 hari"),
        ({"name": "konsol", "role": "viewer", "days": "0"}, "paling lama 366 hari"),
        ({"name": "konsol", "role": "viewer", "days": "²"}, "paling lama 366 hari"),
    ],
)
async def test_what_cannot_be_made_is_said_on_the_page(place: House, form: dict[str, str], told: str) -> None:
    boss = await place.admitted("bos", "admin")
    answer = await boss.post("/tokens", data={"days": "30", **form})
    assert answer.status_code == 409
    assert told in answer.text.replace("&#39;", "'")
    assert not await place.tokens.all()


async def test_where_there_is_no_token_the_page_says_so_and_has_no_empty_table(place: House) -> None:
    boss = await place.admitted("bos", "admin")
    page = (await boss.get("/tokens?lang=en")).text
    assert "No tokens yet." in page
    assert "<table" not in page


async def test_a_token_is_taken_back_on_the_page(place: House) -> None:
    boss = await place.admitted("bos", "admin")
    program = await place.program("viewer")
    assert (await boss.post("/tokens/1/revoke")).status_code == 303
    assert (await program.get(PATH)).status_code == 401
    assert "ditarik balik pada" in (await boss.get("/tokens")).text
    assert (await boss.post("/tokens/1/revoke")).status_code == 409


async def test_no_token_opens_the_pages_of_users_and_tokens(place: House) -> None:
    program = await place.program("admin")
    for path in ("/users", "/tokens"):
        assert (await program.get(path)).status_code == 403
        assert (await program.post(path, headers={"Sec-Fetch-Site": "same-origin"}, data={})).status_code == 403
