"""API tokens: permission, expiry, throttling, storage and the tokens page."""

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
from tests.unit.monitor.web.fake_service import TOKEN, Service
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal

PATH = "/api/v1/agencies/JCM"


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path, Service(codes=("JCM", "MDC"))) as opened:
        yield opened


async def get_with_token(env: PortalEnv, secret: str, path: str = PATH) -> httpx.Response:
    async with env.browser(Authorization=f"Bearer {secret}") as web:
        return await web.get(path)


async def test_token_permits_its_role_and_agency_only(env: PortalEnv) -> None:
    program = await env.program("viewer:JCM")
    assert (await program.get(PATH)).status_code == 200
    refused = await program.get("/api/v1/agencies/MDC")
    assert refused.status_code == 403
    assert refused.json()["detail"].startswith("program konsol has no permission to read for MDC")


async def test_token_needs_no_same_origin_request(env: PortalEnv) -> None:
    program = await env.program("admin", **{"Sec-Fetch-Site": "cross-site"})
    # This header marks a browser's request; the route checks it itself.
    assert (await program.get(PATH)).status_code == 200
    del program.headers["Sec-Fetch-Site"]
    assert (await program.post("/-/reload")).status_code == 200


@pytest.mark.parametrize("secret", ["", "pantau_salah", TOKEN, "\udcff", "x" * 5000])
async def test_token_invalid_returns_401_with_header_name(env: PortalEnv, secret: str) -> None:
    async with env.browser() as web:
        answer = await web.get(PATH, headers={b"Authorization": b"Bearer " + secret.encode("utf-8", "surrogateescape")})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert "the header Authorization" in answer.json()["detail"]
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_token_invalid_is_refused_despite_session(env: PortalEnv) -> None:
    browser = await env.session_for("siti", "viewer")
    assert (await browser.get(PATH)).status_code == 200
    assert (await browser.get(PATH, headers={"Authorization": "Bearer pantau_salah"})).status_code == 401


async def test_other_authorization_scheme_is_ignored(env: PortalEnv) -> None:
    browser = await env.session_for("siti", "viewer")
    assert (await browser.get(PATH, headers={"Authorization": "Basic c2l0aTp4"})).status_code == 200


async def test_token_ends_at_expiry_or_revocation(env: PortalEnv) -> None:
    program = await env.program("viewer")
    env.clock.move(timedelta(days=90) - timedelta(seconds=1))
    assert (await program.get(PATH)).status_code == 200
    env.clock.move(timedelta(seconds=1))
    assert (await program.get(PATH)).status_code == 401

    other = await env.program("viewer")
    assert (await other.get(PATH)).status_code == 200
    [newest, *_] = await env.tokens.all()
    await env.tokens.revoke(newest.id, by="Ujian")
    assert (await other.get(PATH)).status_code == 401
    with pytest.raises(OperationRejectedError, match="was revoked before"):
        await env.tokens.revoke(newest.id, by="Ujian")


async def test_token_guesses_are_throttled_and_valid_token_is_not(env: PortalEnv) -> None:
    program = await env.program("viewer")
    for n in range(20):
        assert (await get_with_token(env, f"pantau_tekaan{n}")).status_code == 401
    waits = await get_with_token(env, "pantau_tekaan")
    assert (waits.status_code, waits.headers["Retry-After"]) == (429, "1")
    assert (await program.get(PATH)).status_code == 200
    env.clock.move(timedelta(seconds=1))
    assert (await get_with_token(env, "pantau_tekaan")).status_code == 401
    assert (await get_with_token(env, "pantau_tekaan")).headers["Retry-After"] == "2"


async def test_token_guesses_do_not_query_store(env: PortalEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    await env.program("viewer")
    await get_with_token(env, "pantau_tekaan")

    async def asked(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(env.tokens._records, "list_valid", asked)
    assert (await get_with_token(env, "pantau_tekaan")).status_code == 401


async def test_token_store_unavailable_is_served_from_cache(env: PortalEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    program = await env.program("viewer")
    assert (await program.get(PATH)).status_code == 200

    async def unavailable(*_: object) -> None:
        raise StoreUnavailable("disk I/O error")

    for name in ("list_valid", "use"):
        monkeypatch.setattr(env.tokens._records, name, unavailable)
    env.tokens._read_at = -1000.0
    env.clock.move(timedelta(minutes=5))
    assert (await program.get(PATH)).status_code == 200
    env.tokens._valid_tokens = None
    assert (await program.get(PATH)).status_code == 503


async def test_token_is_stored_as_digest_and_audited(env: PortalEnv) -> None:
    boss = await env.session_for("bos", "admin", "duty:JCM")
    page = await boss.post("/tokens", data={"name": "konsol", "role": "duty", "agency": "jcm", "days": "30"})
    secret = page.text.partition('class="secret">')[2].partition("<")[0]
    assert secret.startswith("pantau_")
    assert "?lang=" not in page.text
    assert len(secret) == 50
    again = await boss.get("/tokens")
    assert secret not in again.text
    assert "sah sehingga 24/12/2026" in again.text
    async with env.database.read() as connection:
        [row] = (await connection.execute(select(api_token))).all()
        entries = (await connection.execute(select(audit_log.c.actor, audit_log.c.event, audit_log.c.detail))).all()
    assert row.digest == TokenSecret(text=secret).digest
    assert secret not in str(row)
    assert (entries[-1].actor, entries[-1].event) == ("Bos Contoh (bos)", "token made")
    assert all(part in str(entries[-1].detail) for part in ("duty:JCM", "127.0.0.1", "konsol"))
    assert secret not in str(entries)
    assert secret not in repr(TokenSecret(text=secret))


async def test_token_use_is_recorded_once_per_minute(env: PortalEnv) -> None:
    program = await env.program("viewer")
    used = []
    for _ in range(3):
        env.clock.move(timedelta(seconds=40))
        await program.get(PATH)
        used.append((await env.tokens.all())[0].used_at)
    assert used[0] == used[1] != used[2] == env.clock.now()


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"name": "konsol noc", "role": "viewer"}, "bukan nama program"),
        ({"name": "konsol", "role": ""}, "token tanpa peranan"),
        ({"name": "konsol", "role": "duty"}, "duty melebihi kebenaran anda sendiri"),
        ({"name": "konsol", "role": "viewer", "agency": "ZZZ"}, "tiada agensi ZZZ"),
        ({"name": "konsol", "role": "viewer", "days": "367"}, "paling lama 366 hari"),
        ({"name": "konsol", "role": "viewer", "days": "0"}, "sekurang-kurangnya sejam"),
        ({"name": "konsol", "role": "viewer", "days": "²"}, "sekurang-kurangnya sejam"),
    ],
)
async def test_tokens_page_invalid_token_shows_reason(env: PortalEnv, form: dict[str, str], expected: str) -> None:
    boss = await env.session_for("bos", "admin")
    answer = await boss.post("/tokens", data={"days": "30", **form})
    assert answer.status_code == 409
    assert expected in answer.text.replace("&#39;", "'")
    assert not await env.tokens.all()


async def test_tokens_page_empty_has_no_table(env: PortalEnv) -> None:
    boss = await env.session_for("bos", "admin")
    page = (await boss.get("/tokens?lang=en")).text
    assert "No tokens yet." in page
    assert "<table" not in page


async def test_tokens_page_revokes_token(env: PortalEnv) -> None:
    boss = await env.session_for("bos", "admin")
    program = await env.program("viewer")
    assert (await boss.post("/tokens/1/revoke")).status_code == 303
    assert (await program.get(PATH)).status_code == 401
    assert "ditarik balik pada" in (await boss.get("/tokens")).text
    assert (await boss.post("/tokens/1/revoke")).status_code == 409


async def test_token_is_refused_on_user_and_token_pages(env: PortalEnv) -> None:
    program = await env.program("admin")
    for path in ("/users", "/tokens"):
        assert (await program.get(path)).status_code == 403
        assert (await program.post(path, headers={"Sec-Fetch-Site": "same-origin"}, data={})).status_code == 403
