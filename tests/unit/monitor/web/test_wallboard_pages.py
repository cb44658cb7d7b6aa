"""Wallboard links: what they permit, how long, and their storage."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from alerts.persistence.store import StoreUnavailable
from monitor.store.schema.tables import audit_log, wallboard_link
from tests.unit.monitor.web.fake_service import LETTERS, Service
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal
from tests.unit.monitor.web.test_access_control import TABLE, ask

DAY = timedelta(days=1)


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path, Service(codes=("JCM", "MDC"), tray_letters=LETTERS)) as opened:
        yield opened


@pytest.fixture
async def admin(env: PortalEnv) -> httpx.AsyncClient:
    return await env.session_for("siti", "admin")


async def create_link(admin: httpx.AsyncClient, agencies: str = "", days: str = "90") -> str:
    """Create a link; return its path."""
    made = await admin.post("/wallboards", data={"name": "Dinding Contoh", "agencies": agencies, "days": days})
    assert made.status_code == 200, made.text
    assert "?lang=" not in made.text
    found = re.search(r'class="secret">http://localhost(/wallboard\?key=[^<]*)<', made.text)
    assert found
    return found[1]


async def open_wallboard(env: PortalEnv, path: str) -> httpx.AsyncClient:
    """Open a link in a new client."""
    browser = await env.stack.enter_async_context(env.browser())
    opened = await browser.get(path)
    assert (opened.status_code, opened.headers["location"]) == (303, "/?wallboard=1")
    return browser


async def test_wallboard_link_permits_wallboard_only(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    screen = await open_wallboard(env, await create_link(admin))
    shown = await screen.get("/?wallboard=1")
    assert (shown.status_code, "JCM" in shown.text) == (200, True)
    part = re.search(r'data-from="([^"]*)"', shown.text)
    assert part
    assert (await screen.get(part[1].replace("&amp;", "&"))).status_code == 200
    assert (await screen.head("/?wallboard=1")).status_code == 200
    # The usual status page is not permitted either.
    opened = set()
    for route, (kind, _) in TABLE.items():
        status = await ask(screen, route)
        if kind != "all" and status not in {401, 403}:
            opened.add(route)
    assert opened == set()
    assert (await screen.get("/agencies/JCM?wallboard=1")).status_code == 401
    assert (await screen.post("/?wallboard=1")).status_code in {401, 405}


async def test_wallboard_shows_its_agencies_only(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    ours, other = (
        await open_wallboard(env, await create_link(admin, "jcm")),
        await open_wallboard(env, await create_link(admin, "MDC")),
    )
    assert "JCM" in (await ours.get("/?wallboard=1")).text
    assert "JCM" not in (await other.get("/?wallboard=1")).text
    assert "JCM" not in (await other.get("/fragment?wallboard=1")).text
    # For any query.
    assert "JCM" not in (await other.get("/fragment?wallboard=1&q=jabatan")).text


async def test_wallboard_link_revoked_or_expired_is_refused(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    path = await create_link(admin, days="30")
    screen = await open_wallboard(env, path)
    (row,) = re.findall(r'action="(/wallboards/\d+/revoke)"', (await admin.get("/wallboards")).text)
    assert (await admin.post(row)).status_code == 303
    assert (await screen.get("/?wallboard=1")).status_code == 401
    async with env.browser() as again:
        assert (await again.get(path)).status_code == 404
    assert (await admin.post(row)).status_code == 404

    path = await create_link(admin, days="30")
    screen = await open_wallboard(env, path)
    env.clock.move(30 * DAY - timedelta(seconds=1))
    assert (await screen.get("/?wallboard=1")).status_code == 200
    env.clock.move(timedelta(seconds=2))
    assert (await screen.get("/?wallboard=1")).status_code == 401
    async with env.browser() as again:
        assert (await again.get(path)).status_code == 404
        assert (await again.get("/wallboard?key=teka")).status_code == 404
        assert (await again.get("/wallboard")).status_code == 404


async def test_wallboard_cookie_is_separate_and_lasts_as_link(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    async with env.browser() as browser:
        kept = (await browser.get(await create_link(admin, days="366"))).headers["set-cookie"]
        assert kept.startswith("pantau-wall=")
        assert {"HttpOnly", "Path=/", "SameSite=lax", f"Max-Age={366 * 86400}"} <= set(kept.split("; "))
        # A session in the same browser takes precedence over the wallboard.
        session = admin.cookies.get("pantau")
        assert session is not None
        browser.cookies.set("pantau", session, domain="localhost.local")
        assert (await browser.get("/wallboards")).status_code == 200


async def test_wallboard_key_is_stored_as_digest_and_audited(env: PortalEnv, admin: httpx.AsyncClient) -> None:
    path = await create_link(admin, "MDC")
    await open_wallboard(env, path)
    (row,) = re.findall(r'action="(/wallboards/\d+/revoke)"', (await admin.get("/wallboards")).text)
    await admin.post(row)
    key = path.partition("=")[2]
    async with env.database.read() as connection:
        entries = (await connection.execute(select(audit_log).where(audit_log.c.event.like("wall%")))).all()
        assert (await connection.execute(select(wallboard_link))).all() == []
    assert [(each.actor, each.event) for each in entries] == [
        ("Siti Contoh (siti)", "wall's link made"),
        ("wall Dinding Contoh", "wall opened by its link"),
        ("Siti Contoh (siti)", "wall's link revoked"),
    ]
    assert entries[0].detail["agencies"] == "MDC"
    assert all(each.detail["address"] == "127.0.0.1" for each in entries)
    assert len(key) >= 43
    assert not any(key in str(each.detail) for each in entries)
    await create_link(admin)
    async with env.database.read() as connection:
        (kept,) = (await connection.execute(select(wallboard_link))).all()
    assert re.fullmatch(r"[0-9a-f]{64}", kept.digest)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "", "days": "30"},
        {"name": "Dinding", "days": "0"},
        {"name": "Dinding", "days": "367"},
        {"name": "Dinding", "days": "lama"},
        {"name": "Dinding", "days": "³"},
        {"name": "Dinding", "days": "30", "agencies": "JCM TIADA"},
    ],
)
async def test_wallboards_page_invalid_link_is_refused(
    env: PortalEnv, admin: httpx.AsyncClient, wrong: dict[str, str]
) -> None:
    answer = await admin.post("/wallboards", data=wrong)
    assert answer.status_code in {409, 422}
    assert 'role="alert"' in answer.text
    assert await env.wallboards.links() == []


async def test_wallboard_store_unavailable_is_served_from_cache(
    env: PortalEnv, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = await open_wallboard(env, await create_link(admin))

    async def unavailable(*_: Any) -> None:
        raise StoreUnavailable("tiada")

    monkeypatch.setattr(env.wallboards._links, "find", unavailable)
    monkeypatch.setattr("monitor.service.access.wallboards._CACHE_SECONDS", 0.0)
    assert (await screen.get("/?wallboard=1")).status_code == 200
    async with AsyncExitStack() as stack:
        unknown = await stack.enter_async_context(env.browser())
        unknown.cookies.set("pantau-wall", "teka", domain="localhost.local")
        assert (await unknown.get("/?wallboard=1")).status_code == 503
