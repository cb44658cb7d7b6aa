"""Debian's Chromium in the hands of somebody who clicks and types, and what of a page would shut somebody out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

from tests.real.browser import ALONE, CHROMIUM

#: Of the axe rules those of WCAG 2.2, levels A and AA.
_RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_AXE: Final = Axe().axe_script
_GRAVE: Final = {"serious", "critical"}


@asynccontextmanager
async def opened_browser() -> AsyncIterator[Browser]:
    """Start a browser for as long as the block lasts; it ends with us."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=list(ALONE))
        try:
            yield browser
        finally:
            await browser.close()


async def shut_out(page: Page, *, rules: Sequence[str] = ()) -> Sequence[str]:
    """Return what shuts people out of the page as it is now: axe's serious findings; *rules*: only of these."""
    only: dict[str, Any] = {"type": "rule", "values": [*rules]} if rules else {"type": "tag", "values": _RULES}
    # Of what is well it need not list each element, which takes it a third of its time; and it need not fetch the
    # style sheets once more, which the page allows nobody.
    options = {"runOnly": only, "resultTypes": ["violations"], "preload": False, "selectors": False}
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_AXE)
    # Ninety days of each agency are most of a page, and to axe, which looks at each of them, parts of a picture that says nothing.
    await page.evaluate("document.querySelectorAll('.strip g').forEach((each) => each.remove())")
    found = await page.evaluate("(options) => axe.run(options)", options)
    return [
        f"{each['id']}: {node['html'][:160]}"
        for each in found["violations"]
        if each["impact"] in _GRAVE
        for node in each["nodes"]
    ]
