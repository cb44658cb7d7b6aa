"""Debian's Chromium without a window: documents and pictures of pages."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

#: A start script of the browser that ignores changes of the network.
CHROMIUM = str(Path(__file__).with_name("chromium.py"))
#: No sandbox, because tests run as root, and no connection except to the server of the page.
OFFLINE_OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
#: In seconds. A start takes some, and many more on a busy machine.
_TIMEOUT = 90


async def dump_page_after(url: str, span: timedelta, directory: Path) -> str:
    """Return the document at *url* after *span* of the page's virtual time, which passes at once."""
    browser = await asyncio.create_subprocess_exec(
        # The browser ends with this process, even if that is killed.
        *("setpriv", "--pdeathsig", "KILL", CHROMIUM),
        *OFFLINE_OPTIONS,
        f"--user-data-dir={directory / 'profile'}",
        f"--virtual-time-budget={span / timedelta(milliseconds=1):.0f}",
        "--dump-dom",
        url,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            document, _ = await browser.communicate()
    finally:
        if browser.returncode is None:
            browser.kill()
            await browser.wait()
    return document.decode()


async def take_screenshot(url: str, image: Path, size: tuple[int, int], directory: Path) -> None:
    """Write a screenshot of a page in a window of this size, as PNG."""
    browser = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", CHROMIUM),
        *OFFLINE_OPTIONS,
        f"--user-data-dir={directory / 'profile'}",
        f"--window-size={size[0]},{size[1]}",
        "--hide-scrollbars",
        f"--screenshot={image}",
        url,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            await browser.wait()
    finally:
        if browser.returncode is None:
            browser.kill()
            await browser.wait()
