"""A wall at which nobody signs in: what its link opens, for how long, and that it opens nothing else."""

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
from tests.unit.monitor.web.signed import House, house
from tests.unit.monitor.web.source import LETTERS, Service
from tests.unit.monitor.web.test_gate import TABLE, ask

DAY = timedelta(days=1)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, Service(codes=("JCM", "MDC"), in_the_tray=LETTERS)) as opened:
        yield opened


@pytest.fixture
async def admin(place: House) -> httpx.AsyncClient:
    return await place.admitted("siti", "admin")


async def make(admin: httpx.AsyncClient, agencies: str = "", days: str = "90") -> str:
    """Make a link, and return the path of it."""
    made = await admin.post("/wallboards", data={"name": "Dinding Contoh", "agencies": agencies, "days": days})
    assert made.status_code == 200, made.text
    assert "?lang=" not in made.text
    found = re.search(r'class="secret">http://localhost(/wallboard\?key=[^<]*)<', made.text)
    assert found
    return found[1]


async def hung(place: House, path: str) -> httpx.AsyncClient:
    """Open a link in the browser of a wall."""
    browser = await place.stack.enter_async_context(place.browser())
    opened = await browser.get(path)
    assert (opened.status_code, opened.headers["location"]) == (303, "/?wallboard=1")
    return browser


async def test_a_link_shows_the_wall_and_its_part_and_nothing_else(place: House, admin: httpx.AsyncClient) -> None:
    screen = await hung(place, await make(admin))
    shown = await screen.get("/?wallboard=1")
    assert (shown.status_code, "JCM" in shown.text) == (200, True)
    part = re.search(r'data-from="([^"]*)"', shown.text)
    assert part
    assert (await screen.get(part[1].replace("&amp;", "&"))).status_code == 200
    assert (await screen.head("/?wallboard=1")).status_code == 200
    # Not even the page as people have it.
    opened = set()
    for route, (kind, _) in TABLE.items():
        status = await ask(screen, route)
        if kind != "all" and status not in {401, 403}:
            opened.add(route)
    assert opened == set()
    assert (await screen.get("/agencies/JCM?wallboard=1")).status_code == 401
    assert (await screen.post("/?wallboard=1")).status_code in {401, 405}


async def test_a_wall_shows_its_agencies_only(place: House, admin: httpx.AsyncClient) -> None:
    ours, other = await hung(place, await make(admin, "jcm")), await hung(place, await make(admin, "MDC"))
    assert "JCM" in (await ours.get("/?wallboard=1")).text
    assert "JCM" not in (await other.get("/?wallboard=1")).text
    assert "JCM" not in (await other.get("/fragment?wallboard=1")).text
    # By whatever it asks.
    assert "JCM" not in (await other.get("/fragment?wallboard=1&q=jabatan")).text


async def test_a_link_that_is_revoked_or_too_old_opens_nothing(place: House, admin: httpx.AsyncClient) -> None:
    path = await make(admin, days="30")
    screen = await hung(place, path)
    (row,) = re.findall(r'action="(/wallboards/\d+/revoke)"', (await admin.get("/wallboards")).text)
    assert (await admin.post(row)).status_code == 303
    assert (await screen.get("/?wallboard=1")).status_code == 401
    async with place.browser() as again:
        assert (await again.get(path)).status_code == 404
    assert (await admin.post(row)).status_code == 404

    path = await make(admin, days="30")
    screen = await hung(place, path)
    place.clock.move(30 * DAY - timedelta(seconds=1))
    assert (await screen.get("/?wallboard=1")).status_code == 200
    place.clock.move(timedelta(seconds=2))
    assert (await screen.get("/?wallboard=1")).status_code == 401
    async with place.browser() as again:
        assert (await again.get(path)).status_code == 404
        assert (await again.get("/wallboard?key=teka")).status_code == 404
        assert (await again.get("/wallboard")).status_code == 404


async def test_its_cookie_is_its_own_and_lasts_as_long_as_the_link(place: House, admin: httpx.AsyncClient) -> None:
    async with place.browser() as browser:
        kept = (await browser.get(await make(admin, days="366"))).headers["set-cookie"]
        assert kept.startswith("pantau-wall=")
        assert {"HttpOnly", "Path=/", "SameSite=lax", f"Max-Age={366 * 86400}"} <= set(kept.split("; "))
        # Whoever signs in at that browser is who they are, and not the wall.
        session = admin.cookies.get("pantau")
        assert session is not None
        browser.cookies.set("pantau", session, domain="localhost.local")
        assert (await browser.get("/wallboards")).status_code == 200


async def test_only_the_digest_of_the_key_is_kept_and_the_journal_says_who_and_from_where(
    place: House, admin: httpx.AsyncClient
) -> None:
    path = await make(admin, "MDC")
    await hung(place, path)
    (row,) = re.findall(r'action="(/wallboards/\d+/revoke)"', (await admin.get("/wallboards")).text)
    await admin.post(row)
    key = path.partition("=")[2]
    async with place.database.read() as connection:
        told = (await connection.execute(select(audit_log).where(audit_log.c.event.like("wall%")))).all()
        assert (await connection.execute(select(wallboard_link))).all() == []
    assert [(each.actor, each.event) for each in told] == [
        ("Siti Contoh (siti)", "wall's link made"),
        ("wall Dinding Contoh", "wall opened by its link"),
        ("Siti Contoh (siti)", "wall's link revoked"),
    ]
    assert told[0].detail["agencies"] == "MDC"
    assert all(each.detail["address"] == "127.0.0.1" for each in told)
    assert len(key) >= 43
    assert not any(key in str(each.detail) for each in told)
    await make(admin)
    async with place.database.read() as connection:
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
async def test_what_cannot_be_made_is_said_and_nothing_is_made(
    place: House, admin: httpx.AsyncClient, wrong: dict[str, str]
) -> None:
    answer = await admin.post("/wallboards", data=wrong)
    assert answer.status_code in {409, 422}
    assert 'role="alert"' in answer.text
    assert await place.walls.links() == []


async def test_while_the_store_is_away_a_wall_that_is_known_does_not_go_dark(
    place: House, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = await hung(place, await make(admin))

    async def away(*_: Any) -> None:
        raise StoreUnavailable("tiada")

    monkeypatch.setattr(place.walls._links, "find", away)
    monkeypatch.setattr("monitor.service.access.wallboards._CACHE_SECONDS", 0.0)
    assert (await screen.get("/?wallboard=1")).status_code == 200
    async with AsyncExitStack() as stack:
        stranger = await stack.enter_async_context(place.browser())
        stranger.cookies.set("pantau-wall", "teka", domain="localhost.local")
        assert (await stranger.get("/?wallboard=1")).status_code == 503
