"""Updates of the status page in a real browser, and its display when the service is unreachable."""

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
from tests.real.browser import dump_page_after
from tests.unit.monitor.web.fake_service import Service

pytestmark = pytest.mark.real

A_MINUTE = timedelta(minutes=1)
ASSETS = ("/", "/static/status.css", "/static/uptime_bars.css", "/static/status.js", "/static/uptime_bars.js")


@asynccontextmanager
async def served(service: Service) -> AsyncIterator[str]:
    listener = open_port("127.0.0.1", 0)
    async with serve(portal(service, ["127.0.0.1"]), listener):
        yield listener_url(listener)


@asynccontextmanager
async def dying_service(*, without: str = "") -> AsyncIterator[str]:
    """Serve the page and its assets like the service, and close all other connections, as a dead service does."""
    async with served(Service()) as url, httpx.AsyncClient(base_url=url, trust_env=False) as web:
        answers = {path: await web.get(path) for path in ASSETS if path != without}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requested = await reader.readuntil(b"\r\n\r\n")
        if (found := answers.get(requested.split()[1].decode())) is not None:
            kind = found.headers["content-type"]
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(found.content)}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode() + found.content)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def stale_message(document: str) -> str:
    """Return the page's message about its age, or "" while it is hidden."""
    line = re.search(r'<p id="stale"([^>]*)>(.*?)</p>', document, re.DOTALL)
    assert line
    return "" if "hidden" in line[1] else line[2]


@pytest.mark.blind
@pytest.mark.parametrize("span", [timedelta(seconds=5), A_MINUTE])
async def test_page_unable_to_reach_service_shows_since_when_and_loses_colours(span: timedelta, tmp_path: Path) -> None:
    """Defect: A page whose service died stays green.

    Pantau: It shows in red since when it is old, and loses its colours.
    """
    async with dying_service() as url:
        document = await dump_page_after(url, span, tmp_path)

    assert re.search(
        r"LAPUK <span id=\"since\" data-word=\"sejak\">sejak \d\d:\d\d:\d\d</span>: Pantau tidak dapat dibaca",
        stale_message(document),
    )
    # This class removes the colours.
    assert '<body class="stale">' in document
    assert "<title>LAPUK · (1) Pantau</title>" in document


@pytest.mark.blind
async def test_page_reaching_service_shows_changes_and_time(tmp_path: Path) -> None:
    """Defect: A page that reaches the service shows itself as stale.

    Pantau: It shows as of when it is true, and open incidents grow older by themselves.
    """
    service = Service()
    async with served(service) as url:
        document = await dump_page_after(url, A_MINUTE, tmp_path)

    assert stale_message(document) == ""
    assert re.search(r'<span id="asof">Setakat <time>\d\d:\d\d:\d\d</time>', document)
    assert "<title>(1) Pantau</title>" in document
    # The age of an open incident is updated by the script.
    assert re.search(r'<time datetime="[^"]+" class="age" data-age="\d+ hari \d+ j">', document)


@pytest.mark.blind
async def test_page_shows_problem_reported_by_service(tmp_path: Path) -> None:
    """Defect: The page in a browser does not show a problem that the service reports about itself.

    Pantau: It shows the problem.
    """
    service = Service(problems_by_component={Component.STORE: {"health": Health.DOWN}})
    async with served(service) as url:
        document = await dump_page_after(url, A_MINUTE, tmp_path)

    assert '<section id="own" class="own-health down"' in document
    assert stale_message(document) == ""


async def test_page_without_script_shows_that_it_is_stale(tmp_path: Path) -> None:
    async with dying_service(without="/static/status.js") as url:
        document = await dump_page_after(url, A_MINUTE, tmp_path)

    # The style sheet alone shows the message half a minute after loading.
    assert "proving" not in document
    assert "keadaan sebenar tidak diketahui" in stale_message(document)
