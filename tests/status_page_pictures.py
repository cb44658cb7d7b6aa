"""Screenshots of the status page: `python -m tests.status_page_pictures DIRECTORY [PART OF A NAME ...]`.

In each width, in light and dark, for few and many agencies, in every scenario of
`tests/unit/monitor/web/many_agencies.py`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from monitor.web.portal import portal
from monitor.web.serving import listener_url, open_port, serve
from tests.real.playwright_browser import open_browser
from tests.unit.monitor.web.many_agencies import ManyAgencies, Scenario

#: Path and viewport by name.
_WINDOWS = {
    "1400": ("/", {"width": 1400, "height": 900}),
    "400": ("/", {"width": 400, "height": 800}),
    "wall": ("/?wallboard=1", {"width": 1920, "height": 1080}),
}
_SIZES = (3, 300, 1000)
#: Height in pixels at which long pages are cut.
_MAX_HEIGHT = 2700


async def take_screenshots(directory: Path, parts: Sequence[str]) -> None:
    """Write a screenshot of each page whose name contains all *parts*."""
    async with open_browser() as browser:
        for scenario, size in product(Scenario, _SIZES):
            listener = open_port("127.0.0.1", 0)
            async with serve(portal(ManyAgencies(size=size, scenario=scenario), ["127.0.0.1"]), listener):
                for (window, (path, viewport)), scheme in product(_WINDOWS.items(), ("light", "dark")):
                    name = f"{scenario}-{size}-{window}-{scheme}"
                    if all(part in f"-{name}-" for part in parts):
                        how: dict[str, Any] = {"viewport": viewport, "color_scheme": scheme}
                        page = await browser.new_page(**how)
                        await page.goto(listener_url(listener) + path)
                        await page.wait_for_selector("#asof:not([hidden])")
                        tall = await page.evaluate("document.documentElement.scrollHeight")
                        clip = {"x": 0, "y": 0, "width": viewport["width"], "height": min(tall, _MAX_HEIGHT)}
                        shot: dict[str, Any] = {"clip": clip, "full_page": True}
                        await page.screenshot(path=directory / f"{name}.png", **shot)
                        await page.close()
                        print(name, tall, flush=True)  # noqa: T201 - a tool


if __name__ == "__main__":
    asyncio.run(take_screenshots(Path(sys.argv[1]), sys.argv[2:]))
