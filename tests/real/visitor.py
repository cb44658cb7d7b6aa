"""Debian's Chromium in the hands of somebody who clicks and types."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

from tests.real.browser import ALONE


@asynccontextmanager
async def opened_browser() -> AsyncIterator[Browser]:
    """Start a browser for as long as the block lasts; it ends with us."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=shutil.which("chromium"), args=list(ALONE[1:]))
        try:
            yield browser
        finally:
            await browser.close()
