"""Debian's Chromium driven by Playwright, and accessibility violations of pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

from tests.real.browser import CHROMIUM, OFFLINE_OPTIONS

#: The axe rules of WCAG 2.2, levels A and AA.
_RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_AXE: Final = Axe().axe_script
_REPORTED_IMPACTS: Final = {"serious", "critical"}


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Run a browser for the duration of the block."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=list(OFFLINE_OPTIONS))
        try:
            yield browser
        finally:
            await browser.close()


async def accessibility_violations(page: Page, *, rules: Sequence[str] = ()) -> Sequence[str]:
    """Return axe's serious violations of the page as it is now. *rules*: only of these."""
    only: dict[str, Any] = {"type": "rule", "values": [*rules]} if rules else {"type": "tag", "values": _RULES}
    # Passed rules need no list of elements, which takes a third of the time. Style sheets must not be fetched again, which the page forbids.
    options = {"runOnly": only, "resultTypes": ["violations"], "preload": False, "selectors": False}
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_AXE)
    # The uptime bars are most of a page and, for axe, parts of a decorative picture.
    await page.evaluate("document.querySelectorAll('.strip g').forEach((each) => each.remove())")
    found = await page.evaluate("(options) => axe.run(options)", options)
    return [
        f"{each['id']}: {node['html'][:160]}"
        for each in found["violations"]
        if each["impact"] in _REPORTED_IMPACTS
        for node in each["nodes"]
    ]
