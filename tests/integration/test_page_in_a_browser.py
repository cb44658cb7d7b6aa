"""The status page in a real browser: it is kept up to date, and says so itself when it cannot be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from monitor.model.health import Health
from monitor.views.self_health import Component
from monitor.web.portal import portal
from monitor.web.serving import listener_url, open_port, serve
from tests.real.browser import page_after
from tests.unit.monitor.web.source import Service

pytestmark = pytest.mark.real

A_MINUTE = timedelta(minutes=1)
SEEN = ("/", "/static/status.css", "/static/uptime_bars.css", "/static/status.js", "/static/uptime_bars.js")


@asynccontextmanager
async def served(service: Service) -> AsyncIterator[str]:
    listener = open_port("127.0.0.1", 0)
    async with serve(portal(service, ["127.0.0.1"]), listener):
        yield listener_url(listener)


@asynccontextmanager
async def dying(*, without: str = "") -> AsyncIterator[str]:
    """Serve what a browser loads first as the service does, and hang up on everything after that: it has died."""
    async with served(Service()) as url, httpx.AsyncClient(base_url=url, trust_env=False) as web:
        answers = {path: await web.get(path) for path in SEEN if path != without}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        if (found := answers.get(asked.split()[1].decode())) is not None:
            kind = found.headers["content-type"]
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(found.content)}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode() + found.content)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def stale(document: str) -> str:
    """Return what the page says of its being old; nothing while that is hidden."""
    line = re.search(r'<p id="stale"([^>]*)>(.*?)</p>', document, re.DOTALL)
    assert line
    return "" if "hidden" in line[1] else line[2]


@pytest.mark.blind
@pytest.mark.parametrize("span", [timedelta(seconds=5), A_MINUTE])
async def test_a_page_that_can_no_longer_reach_the_service_says_since_when_and_loses_its_green(
    span: timedelta, tmp_path: Path
) -> None:
    """Defect: A page whose service died stays green.

    Pantau: It shows in red since when it is old, and loses its colours.
    """
    async with dying() as url:
        document = await page_after(url, span, tmp_path)

    assert re.search(
        r"LAPUK <span id=\"since\" data-word=\"sejak\">sejak \d\d:\d\d:\d\d</span>: Pantau tidak dapat dibaca",
        stale(document),
    )
    # The style sheet takes the colours away with that.
    assert '<body class="stale">' in document
    assert "<title>LAPUK · (1) Pantau</title>" in document


@pytest.mark.blind
async def test_a_page_that_reaches_the_service_shows_what_changed_and_as_of_when(tmp_path: Path) -> None:
    """Defect: As long as it reaches the service it must not cry wolf.

    Pantau: It shows as of when it is true, and open incidents grow older by themselves.
    """
    service = Service()
    async with served(service) as url:
        document = await page_after(url, A_MINUTE, tmp_path)

    assert stale(document) == ""
    assert re.search(r'<span id="asof">Setakat <time>\d\d:\d\d:\d\d</time>', document)
    assert "<title>(1) Pantau</title>" in document
    # The clock of an open incident goes on by itself.
    assert re.search(r'<time datetime="[^"]+" class="age" data-age="\d+ hari \d+ j">', document)


@pytest.mark.blind
async def test_the_page_is_no_longer_green_by_what_it_is_told_of_the_service(tmp_path: Path) -> None:
    """Defect: The page in a browser must say what the service knows against itself.

    Pantau: It does.
    """
    service = Service(ills={Component.STORE: {"health": Health.DOWN}})
    async with served(service) as url:
        document = await page_after(url, A_MINUTE, tmp_path)

    assert '<section id="own" class="own-health down"' in document
    assert stale(document) == ""


async def test_without_its_script_nothing_in_the_page_hides_that_it_is_old(tmp_path: Path) -> None:
    async with dying(without="/static/status.js") as url:
        document = await page_after(url, A_MINUTE, tmp_path)

    # Shown by the style sheet alone: half a minute after the page was loaded.
    assert "proving" not in document
    assert "keadaan sebenar tidak diketahui" in stale(document)
