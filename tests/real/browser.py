"""Debian's Chromium, without a window: what a page has become after a while of its own time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

#: The browser, which goes on when networks come and go beside it.
CHROMIUM = str(Path(__file__).with_name("chromium.py"))
#: None of it is about the page: no sandbox for root, and no word to anybody but the page's own server.
ALONE = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
#: Starting takes seconds; a loaded machine may need many.
_PATIENCE = 90


async def page_after(url: str, span: timedelta, directory: Path) -> str:
    """Return the document at *url* as it stands after *span* of the page's own time, which passes at once."""
    browser = await asyncio.create_subprocess_exec(
        # Ends with us, even if we are killed.
        *("setpriv", "--pdeathsig", "KILL", CHROMIUM),
        *ALONE,
        f"--user-data-dir={directory / 'profile'}",
        f"--virtual-time-budget={span / timedelta(milliseconds=1):.0f}",
        "--dump-dom",
        url,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_PATIENCE):
            document, _ = await browser.communicate()
    finally:
        if browser.returncode is None:
            browser.kill()
            await browser.wait()
    return document.decode()


async def picture(url: str, image: Path, size: tuple[int, int], directory: Path) -> None:
    """Write how a page looks in a window of this size, as PNG."""
    browser = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", CHROMIUM),
        *ALONE,
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
        async with asyncio.timeout(_PATIENCE):
            await browser.wait()
    finally:
        if browser.returncode is None:
            browser.kill()
            await browser.wait()
